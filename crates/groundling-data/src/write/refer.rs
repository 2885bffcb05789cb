//! The layouts of RefCOCO, Ref-ZOM and gRefCOCO: one `instances.json`, one list of refs, images named as COCO names them.
//!
//! A ref is a set of targets in one image with all the sentences about it.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::files::{WholeFile, checked_name, write_whole};
use super::instances::Instances;
use super::pickle::{self, Pickle};
use super::{Category, DatasetWriter, Record, Summary, WriteError};

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flavour {
    /// One target a ref; other phrases are left out.
    Refer,
    /// A list of targets, and how many there are in words.
    RefZom,
    /// A list of targets in a JSON file.
    Grefcoco,
}

/// A set of this kind in the making.
#[derive(Debug)]
pub(super) struct ReferSet {
    flavour: Flavour,
    images: PathBuf,
    instances: Instances,
    refs: WholeFile,
    summary: Summary,
}

/// The sentences of an image that have the same targets.
struct Ref<'a> {
    targets: &'a [usize],
    phrases: Vec<&'a str>,
}

/// What the numbers of a ref are.
struct Numbers {
    ref_id: u64,
    image_id: u64,
    first_sentence: u64,
    /// Annotation ids of the targets.
    annotations: Vec<u64>,
    categories: Vec<i64>,
    file_name: String,
}

impl ReferSet {
    pub(super) fn create(root: &Path, flavour: Flavour, set: &str, split_by: &str) -> Result<Self, WriteError> {
        let folder = root.join(checked_name(set)?);
        let split_by = checked_name(split_by)?;
        let mut refs = match flavour {
            Flavour::Grefcoco => WholeFile::create(&folder.join(format!("grefs({split_by}).json")))?,
            _ => WholeFile::create(&folder.join(format!("refs({split_by}).p")))?,
        };
        match flavour {
            Flavour::Grefcoco => refs.with(|sink| sink.write_all(b"["))?,
            _ => refs.with(pickle::start_list)?,
        }
        let instances = Instances::create(&folder.join("instances.json"))?;
        let images = root.join("images").join("train2014");
        Ok(Self { flavour, images, instances, refs, summary: Summary::default() })
    }

    fn add_ref(&mut self, split: &str, reference: &Ref<'_>, numbers: &Numbers) -> Result<(), WriteError> {
        match self.flavour {
            Flavour::Grefcoco => {
                let separator: &[u8] = if numbers.ref_id == 0 { b"\n" } else { b",\n" };
                self.refs.with(|sink| sink.write_all(separator))?;
                self.refs.json(&json_ref(split, reference, numbers))
            }
            flavour => {
                let item = pickled_ref(flavour, split, reference, numbers);
                self.refs.with(|sink| pickle::append(&item, sink))
            }
        }
    }
}

impl DatasetWriter for ReferSet {
    fn add(&mut self, record: &Record, png: &[u8]) -> Result<(), WriteError> {
        self.summary.images += 1;
        let image_id = self.summary.images;
        let stem = format!("COCO_train2014_{image_id:012}");
        write_whole(&self.images.join(format!("{stem}.png")), png)?;
        self.instances.add_image(image_id, format!("{stem}.png"), record.size);
        let first_annotation = self.summary.annotations + 1;
        for annotation in &record.annotations {
            self.summary.annotations += 1;
            self.instances.add_annotation(self.summary.annotations, image_id, annotation)?;
        }
        for reference in refs_of(record) {
            let count = reference.phrases.len() as u64;
            if self.flavour == Flavour::Refer && reference.targets.len() != 1 {
                self.summary.left_out += count;
                continue;
            }
            let ref_id = self.summary.refs;
            let numbers = Numbers {
                ref_id,
                image_id,
                first_sentence: self.summary.phrases,
                annotations: reference.targets.iter().map(|&index| first_annotation + index as u64).collect(),
                categories: reference.targets.iter().map(|&index| record.annotations[index].category_id).collect(),
                file_name: format!("{stem}_{ref_id}.png"),
            };
            self.add_ref(&record.split, &reference, &numbers)?;
            self.summary.refs += 1;
            self.summary.phrases += count;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>, categories: &[Category]) -> Result<Summary, WriteError> {
        match self.flavour {
            Flavour::Grefcoco => self.refs.with(|sink| sink.write_all(b"\n]\n"))?,
            _ => self.refs.with(pickle::end_list)?,
        }
        self.refs.finish()?;
        self.instances.finish(categories)?;
        Ok(self.summary)
    }
}

/// Phrases with equal targets together, in order of first mention.
fn refs_of(record: &Record) -> Vec<Ref<'_>> {
    let mut refs: Vec<Ref<'_>> = Vec::new();
    for expression in &record.expressions {
        match refs.iter_mut().find(|known| known.targets == expression.targets) {
            Some(known) => known.phrases.push(&expression.phrase),
            None => refs.push(Ref { targets: &expression.targets, phrases: vec![&expression.phrase] }),
        }
    }
    refs
}

fn pickled_ref(flavour: Flavour, split: &str, reference: &Ref<'_>, numbers: &Numbers) -> Pickle {
    let int = |number: u64| Pickle::Int(number as i64);
    let text = |text: &str| Pickle::Str(text.to_owned());
    let ids = |ids: &[u64]| ids.iter().map(|&id| int(id)).collect::<Vec<_>>();
    let one_target = flavour == Flavour::Refer;
    let annotations = ids(&numbers.annotations);
    let mut items = vec![
        ("ref_id", int(numbers.ref_id)),
        ("ann_id", if one_target { annotations[0].clone() } else { Pickle::List(annotations) }),
        ("image_id", int(numbers.image_id)),
        ("file_name", text(&numbers.file_name)),
        ("split", text(split)),
    ];
    if one_target {
        items.push(("category_id", Pickle::Int(numbers.categories[0])));
    } else {
        items.push(("source", text(["zero", "one", "many"][reference.targets.len().min(2)])));
    }
    let sentences = (numbers.first_sentence..).zip(&reference.phrases).map(|(id, phrase)| {
        let sent = normalised(phrase);
        Pickle::Dict(vec![
            ("tokens", Pickle::List(sent.split(' ').map(text).collect())),
            ("raw", text(phrase)),
            ("sent_id", int(id)),
            ("sent", text(&sent)),
        ])
    });
    items.push(("sentences", Pickle::List(sentences.collect())));
    items.push(("sent_ids", Pickle::List(ids(&sentence_ids(reference, numbers)))));
    Pickle::Dict(items)
}

fn json_ref(split: &str, reference: &Ref<'_>, numbers: &Numbers) -> Value {
    let none = numbers.annotations.is_empty();
    let sentences = (numbers.first_sentence..).zip(&reference.phrases).map(|(id, phrase)| {
        let sent = normalised(phrase);
        let tokens: Vec<&str> = sent.split(' ').collect();
        json!({ "tokens": tokens, "raw": phrase, "sent_id": id, "sent": sent, "exist": !none })
    });
    json!({
        "ref_id": numbers.ref_id,
        "ann_id": if none { json!([-1]) } else { json!(numbers.annotations) },
        "category_id": if none { json!([-1]) } else { json!(numbers.categories) },
        "image_id": numbers.image_id,
        "split": split,
        "no_target": none,
        "sentences": sentences.collect::<Vec<_>>(),
        "sent_ids": sentence_ids(reference, numbers),
        "file_name": numbers.file_name,
    })
}

fn sentence_ids(reference: &Ref<'_>, numbers: &Numbers) -> Vec<u64> {
    (numbers.first_sentence..).take(reference.phrases.len()).collect()
}

/// Lower case, punctuation off except inside words, single spaces: what `sent` holds.
fn normalised(phrase: &str) -> String {
    let bare = |word: &str| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let words: Vec<String> = phrase.split_whitespace().map(bare).filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_normalised() {
        assert_eq!(normalised("In the corner,  the non-red Star."), "in the corner the non-red star");
    }
}
