//! The `refer` layout and its relatives: `<set>/instances.json` with `refs(<split_by>).p` or `grefs(<split_by>).json`.
//!
//! RefCOCO, RefCOCO+, RefCOCOg, ReferItGame, Ref-ZOM (`source`, list-valued `ann_id`) and gRefCOCO (`ann_id` of `[-1]` for nothing)
//! are one format with small differences; both pickles and JSON are read.
//!
//! Source: specification of DMMI, Sec. 15 there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use groundling_core::Phrase;

use super::{CopyBudget, coco};
use crate::dataset::{Dataset, DatasetError, MAX_ANNOTATION_BYTES, Sample, parse_json, read_file};
use crate::pickle::{Pickle, PickleLimits};

/// Which flavour of the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// One target a ref; splits `testA`, `testB`, `testC` by letter.
    Refer,
    /// `source` tells zero, one and many; `ann_id` is a number or a list.
    RefZom,
    /// `ann_id` is a list, `[-1]` says nothing; crowds are left out; splits match exactly.
    GRefCoco,
}

/// Where the files of one data set lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferFiles {
    /// COCO annotations.
    pub instances: PathBuf,
    /// The expressions, pickle or JSON.
    pub refs: PathBuf,
    /// Folders with images.
    pub image_folders: Vec<PathBuf>,
    /// Which flavour.
    pub flavour: Flavour,
}

impl ReferFiles {
    /// The files of `<folder>` (for instance `data/refcoco`) split by `split_by` (`unc`, `umd`, `google`, `final`).
    ///
    /// # Errors
    /// If the folder has no such expressions; the message lists those it has.
    pub fn find(folder: &Path, split_by: &str, flavour: Flavour) -> Result<Self, DatasetError> {
        let stem = if flavour == Flavour::GRefCoco { "grefs" } else { "refs" };
        let names = ["p", "json"].map(|ending| folder.join(format!("{stem}({split_by}).{ending}")));
        let refs = names.iter().find(|path| path.is_file()).cloned();
        let Some(refs) = refs else {
            return Err(DatasetError::UnknownSplit {
                path: folder.to_owned(),
                found: format!("{stem}({split_by})"),
                known: split_files(folder).into_iter().map(|(stem, by)| format!("{stem}({by})")).collect(),
            });
        };
        let image_folders = image_folders(folder);
        Ok(Self { instances: folder.join("instances.json"), refs, image_folders, flavour })
    }

    /// Reads both files. Samples keep the order of the file, sentence by sentence.
    ///
    /// # Errors
    /// [`DatasetError`] naming file and place.
    pub fn read(&self) -> Result<Dataset, DatasetError> {
        let mut dataset = coco::read(&self.instances, self.image_folders.clone())?;
        let refs = read_refs(&self.refs)?;
        (dataset.samples, dataset.skipped) = samples(&refs, &dataset, self)?;
        dataset.name = display_name(&self.refs);
        Ok(dataset)
    }
}

/// The files `refs(*)` and `grefs(*)` of a folder, as (stem, what is in brackets).
pub fn split_files(folder: &Path) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for name in entries.map(|entry| entry.file_name().to_string_lossy().into_owned()) {
        for stem in ["refs", "grefs"] {
            let inner = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix('('));
            let by = inner.and_then(|rest| rest.strip_suffix(").p").or_else(|| rest.strip_suffix(").json")));
            if let Some(by) = by {
                found.push((stem, by.to_owned()));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Whether a ref of split `of_ref` belongs to the split asked for.
///
/// PARITY: the original API matches `testA`, `testB`, `testC` by the letter anywhere in the name, and `test` by the word; so
/// `testAB` is in both `testA` and `testB`.
pub fn in_split(of_ref: &str, wanted: &str, flavour: Flavour) -> bool {
    if flavour == Flavour::GRefCoco {
        return of_ref == wanted;
    }
    match wanted {
        "testA" | "testB" | "testC" => of_ref.contains(&wanted[4..]),
        "test" => of_ref.contains("test"),
        _ => of_ref == wanted,
    }
}

/// Keeps the samples of one split.
///
/// # Errors
/// If no sample belongs to it; the message lists the splits there are.
pub fn select_split(dataset: &mut Dataset, wanted: &str, files: &ReferFiles) -> Result<(), DatasetError> {
    let known = dataset.splits();
    if !known.keys().any(|split| in_split(split, wanted, files.flavour)) {
        return Err(DatasetError::UnknownSplit {
            path: files.refs.clone(),
            found: wanted.to_owned(),
            known: known.into_keys().collect(),
        });
    }
    dataset.keep_samples(|sample| in_split(&sample.split, wanted, files.flavour));
    Ok(())
}

/// Where images of COCO 2014 may lie: beside the folder of the set, in the places the original tools use.
fn image_folders(set: &Path) -> Vec<PathBuf> {
    let roots = [set, set.parent().unwrap_or(set), set.parent().and_then(Path::parent).unwrap_or(set)];
    const PLACES: [&str; 7] = [
        "images/train2014",
        "images/mscoco/images/train2014",
        "train2014",
        "images",
        "images/val2014",
        "val2014",
        "images/saiapr_tc-12",
    ];
    let mut folders: Vec<PathBuf> = roots.iter().flat_map(|root| PLACES.iter().map(|place| root.join(place))).collect();
    folders.retain(|folder| folder.is_dir());
    folders.dedup();
    if folders.is_empty() {
        folders.push(set.parent().unwrap_or(set).join(PLACES[0]));
    }
    folders
}

fn display_name(refs: &Path) -> String {
    let part = |path: Option<&std::ffi::OsStr>| path.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let set = part(refs.parent().and_then(Path::file_name));
    let stem = part(refs.file_stem());
    let by = stem.split_once('(').map_or("", |(_, by)| by.trim_end_matches(')'));
    format!("{set} ({by})")
}

/// One entry of a refs file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ref {
    /// `ref_id`.
    pub ref_id: i64,
    /// `ann_id`, one or several, as written: `[-1]` is kept.
    pub ann_ids: Vec<i64>,
    /// `image_id`.
    pub image_id: i64,
    /// `split`.
    pub split: String,
    /// `source`, Ref-ZOM only.
    pub source: Option<String>,
    /// `sentences`.
    pub sentences: Vec<Sentence>,
}

/// One sentence of a ref.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sentence {
    /// `sent_id`.
    pub sent_id: i64,
    /// `raw`: as it was said.
    pub raw: String,
    /// `sent`: cleaned.
    pub sent: Option<String>,
}

/// Reads the list of refs of a `.p` or `.json` file.
///
/// # Errors
/// [`DatasetError`] naming file and place.
pub fn read_refs(path: &Path) -> Result<Vec<Ref>, DatasetError> {
    let bytes = read_file(path, MAX_ANNOTATION_BYTES)?;
    parse_refs(&bytes, path)
}

/// As [`read_refs`], from memory. JSON is told from a pickle by the ending of `path`.
///
/// # Errors
/// As [`read_refs`].
pub fn parse_refs(bytes: &[u8], path: &Path) -> Result<Vec<Ref>, DatasetError> {
    if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json")) {
        let json: serde_json::Value = parse_json(path, bytes)?;
        return parse_list(&json, path, CopyBudget::for_file(bytes, path));
    }
    let pickle = Pickle::read(bytes, PickleLimits::default())
        .map_err(|source| DatasetError::Pickle { path: path.to_owned(), source })?;
    parse_list(pickle.root(), path, CopyBudget::for_file(bytes, path))
}

/// What pickles and JSON have in common.
trait Tree: Copy {
    fn field(self, key: &str) -> Option<Self>;
    /// Entries of a dictionary, which every look-up passes.
    fn width(self) -> usize;
    fn list(self) -> Option<Vec<Self>>;
    fn int(self) -> Option<i64>;
    fn text(self) -> Option<String>;
    fn describe(self) -> String;
}

impl Tree for crate::pickle::Value<'_> {
    fn field(self, key: &str) -> Option<Self> {
        self.get(key)
    }
    fn width(self) -> usize {
        self.entries().map_or(0, Iterator::count)
    }
    fn list(self) -> Option<Vec<Self>> {
        self.items().map(Iterator::collect)
    }
    fn int(self) -> Option<i64> {
        self.as_i64()
    }
    fn text(self) -> Option<String> {
        // Python 2 wrote some sentences as Latin-1 byte strings.
        let latin1 = |bytes: &[u8]| bytes.iter().map(|&b| char::from(b)).collect();
        self.as_str().map(str::to_owned).or_else(|| self.as_bytes().map(latin1))
    }
    fn describe(self) -> String {
        self.type_name().to_owned()
    }
}

impl Tree for &serde_json::Value {
    fn field(self, key: &str) -> Option<Self> {
        self.get(key)
    }
    fn width(self) -> usize {
        self.as_object().map_or(0, serde_json::Map::len)
    }
    fn list(self) -> Option<Vec<Self>> {
        self.as_array().map(|items| items.iter().collect())
    }
    fn int(self) -> Option<i64> {
        self.as_i64()
    }
    fn text(self) -> Option<String> {
        self.as_str().map(str::to_owned)
    }
    fn describe(self) -> String {
        self.to_string().chars().take(60).collect()
    }
}

/// Reads fields of one entry and says where it failed.
struct Fields<'a, T> {
    tree: T,
    path: &'a Path,
    place: String,
}

impl<T: Tree> Fields<'_, T> {
    fn error(&self, field: &str, found: Option<T>, expected: &'static str) -> DatasetError {
        DatasetError::Field {
            path: self.path.to_owned(),
            place: self.place.clone(),
            field: field.to_owned(),
            found: found.map_or("missing".to_owned(), Tree::describe),
            expected,
        }
    }

    fn need<V>(&self, field: &str, expected: &'static str, read: impl Fn(T) -> Option<V>) -> Result<V, DatasetError> {
        let value = self.tree.field(field);
        value.and_then(read).ok_or_else(|| self.error(field, value, expected))
    }
}

fn parse_list<T: Tree>(tree: T, path: &Path, mut budget: CopyBudget<'_>) -> Result<Vec<Ref>, DatasetError> {
    let whole = Fields { tree, path, place: "the file".to_owned() };
    let entries = tree.list().ok_or_else(|| whole.error("top value", Some(tree), "a list of refs"))?;
    entries
        .into_iter()
        .enumerate()
        .map(|(index, tree)| parse_ref(Fields { tree, path, place: format!("ref {index} of the list") }, &mut budget))
        .collect()
}

fn parse_ref<T: Tree>(mut fields: Fields<'_, T>, budget: &mut CopyBudget<'_>) -> Result<Ref, DatasetError> {
    let ref_id = fields.need("ref_id", "a whole number", T::int)?;
    fields.place = format!("ref {ref_id}");
    let ann_ids = fields.need("ann_id", "a whole number or a list of them", |value| match value.int() {
        Some(id) => Some(vec![id]),
        None => value.list()?.into_iter().map(T::int).collect(),
    })?;
    let sentences = fields.need("sentences", "a list of sentences", T::list)?;
    let sentences = sentences.into_iter().enumerate().map(|(index, tree)| {
        let place = format!("{}, sentence {index}", fields.place);
        parse_sentence(&Fields { tree, path: fields.path, place }, budget)
    });
    let sentences = sentences.collect::<Result<_, _>>()?;
    let found = Ref {
        ref_id,
        ann_ids,
        image_id: fields.need("image_id", "a whole number", T::int)?,
        split: fields.need("split", "a text", T::text)?,
        source: fields.tree.field("source").and_then(T::text),
        sentences,
    };
    // Split and source are copied into every sample.
    let repeated = found.split.len() + found.source.as_ref().map_or(0, String::len) + found.ann_ids.len() * 8;
    budget.pay(
        &fields.place,
        repeated.saturating_mul(1 + found.sentences.len()).saturating_add(8 * fields.tree.width()),
    )?;
    Ok(found)
}

fn parse_sentence<T: Tree>(fields: &Fields<'_, T>, budget: &mut CopyBudget<'_>) -> Result<Sentence, DatasetError> {
    let sent = fields.tree.field("sent").and_then(T::text);
    let raw = match (fields.tree.field("raw").and_then(T::text), &sent) {
        (Some(raw), _) => raw,
        (None, Some(sent)) => sent.clone(),
        (None, None) => return Err(fields.error("raw", fields.tree.field("raw"), "a text")),
    };
    budget.pay(&fields.place, raw.len() + sent.as_ref().map_or(0, String::len) + 8 * fields.tree.width())?;
    Ok(Sentence { sent_id: fields.need("sent_id", "a whole number", T::int)?, raw, sent })
}

/// The samples, and which sentences are no phrases.
fn samples(refs: &[Ref], dataset: &Dataset, files: &ReferFiles) -> Result<(Vec<Sample>, Vec<String>), DatasetError> {
    let images: HashMap<i64, usize> = dataset.images.iter().enumerate().map(|(i, image)| (image.id, i)).collect();
    let annotations: HashMap<i64, usize> =
        dataset.annotations.iter().enumerate().map(|(i, annotation)| (annotation.id, i)).collect();
    let (mut samples, mut skipped) = (Vec::new(), Vec::new());
    for entry in refs {
        let place = format!("ref {}", entry.ref_id);
        let unknown = |kind, id| DatasetError::UnknownId { path: files.refs.clone(), place: place.clone(), kind, id };
        let &image = images.get(&entry.image_id).ok_or_else(|| unknown("image", entry.image_id))?;
        let ids = match (files.flavour, entry.ann_ids.as_slice()) {
            (Flavour::GRefCoco, [-1]) => &[],
            // Ref-ZOM's authors go by the source alone.
            (Flavour::RefZom, _) if entry.source.as_deref() == Some("zero") => &[],
            (_, ids) => ids,
        };
        let mut targets = Vec::with_capacity(ids.len());
        for &id in ids {
            let &annotation = annotations.get(&id).ok_or_else(|| unknown("annotation", id))?;
            let of = &dataset.annotations[annotation];
            if of.image != image {
                return Err(DatasetError::Field {
                    path: files.refs.clone(),
                    place,
                    field: format!("annotation {id}"),
                    found: format!("of image {}", dataset.images[of.image].id),
                    expected: "an annotation of the ref's own image",
                });
            }
            if !(files.flavour == Flavour::GRefCoco && of.is_crowd) {
                targets.push(annotation);
            }
        }
        for (index, sentence) in entry.sentences.iter().enumerate() {
            let place = format!("ref {}, sentence {index}", entry.ref_id);
            if let Err(error) = Phrase::parse(&sentence.raw) {
                skipped.push(format!("{place}: {error}"));
                continue;
            }
            samples.push(Sample {
                id: format!("{}-{}", entry.ref_id, sentence.sent_id),
                image,
                phrase: sentence.raw.clone(),
                cleaned: sentence.sent.clone(),
                split: entry.split.clone(),
                targets: targets.clone(),
                group: entry.ref_id,
                sentence_id: Some(sentence.sent_id),
                source: entry.source.clone(),
            });
        }
    }
    Ok((samples, skipped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_match_by_letter() {
        let matches = |of_ref, wanted| in_split(of_ref, wanted, Flavour::Refer);
        assert!(matches("testAB", "testA") && matches("testAB", "testB") && matches("testB", "test"));
        assert!(!matches("testA", "testB") && !matches("train", "test") && matches("val", "val"));
        assert!(!in_split("testAB", "testA", Flavour::GRefCoco));
    }

    #[test]
    fn broken_entries_are_named() {
        let parse = |text: &str| parse_refs(text.as_bytes(), Path::new("refs(x).json")).unwrap_err().to_string();
        assert_eq!(parse("{}"), "refs(x).json: the file: top value is {}, expected a list of refs");
        assert_eq!(parse("[{}]"), "refs(x).json: ref 0 of the list: ref_id is missing, expected a whole number");
        let no_split = r#"[{"ref_id": 4, "ann_id": "x", "image_id": 1}]"#;
        assert!(parse(no_split).contains("ref 4: ann_id is \"x\", expected a whole number or a list"));
        assert!(parse("[").starts_with("refs(x).json:1:1: EOF"));
    }

    #[test]
    fn shared_records_cannot_fill_the_memory() {
        // A list of sentences that names one sentence 20 000 times, in a ref that stands 20 000 times: 4 * 10^8 samples.
        let many = |name: &[u8]| [b"(".to_vec(), name.repeat(20_000), b"e".to_vec()].concat();
        let key = |key: &str| [b"U".as_slice(), &[key.len() as u8], key.as_bytes()].concat();
        let mut bytes = b"\x80\x02}q\x00(".to_vec();
        bytes.extend([key("raw"), key("a cup"), key("sent_id"), b"K\x01u0]q\x01".to_vec(), many(b"h\x00")].concat());
        bytes.extend(
            [b"0}q\x02(".to_vec(), key("ref_id"), b"K\x01".to_vec(), key("ann_id"), b"K\x01".to_vec()].concat(),
        );
        bytes.extend([key("image_id"), b"K\x01".to_vec(), key("split"), key("val")].concat());
        bytes.extend([key("sentences"), b"h\x01u0]".to_vec(), many(b"h\x02"), b".".to_vec()].concat());
        assert!(bytes.len() < 100_000);
        let error = parse_refs(&bytes, Path::new("refs(unc).p")).unwrap_err().to_string();
        assert!(error.contains("expected records that stand in the file one by one"), "{error}");
    }

    #[test]
    fn look_ups_in_a_wide_record_are_paid_for() {
        // One sentence with 20 000 fields, named 20 000 times: nothing is copied, but 10^9 fields would be looked at.
        let fields = b"U\x01xN".repeat(20_000);
        let sentence = [&b"}q\x00("[..], &fields, b"U\x03rawU\x01aU\x07sent_idK\x01u0"].concat();
        let many = [&b"]q\x01("[..], &b"h\x00".repeat(20_000), b"e0"].concat();
        let entry = b"](}(U\x06ref_idK\x01U\x06ann_idK\x01U\x08image_idK\x01U\x05splitU\x01vU\x09sentencesh\x01ue.";
        let bytes = [&b"\x80\x02"[..], &sentence, &many, entry].concat();
        let error = parse_refs(&bytes, Path::new("refs(unc).p")).unwrap_err().to_string();
        assert!(error.contains("expected records that stand in the file one by one"), "{error}");
    }

    #[test]
    fn blank_sentences_are_left_out_and_listed() {
        let instances = br#"{"images": [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}],
            "annotations": [{"id": 5, "image_id": 1, "bbox": [0, 0, 3, 3]}]}"#;
        let dataset = coco::parse(instances, Path::new("instances.json"), Vec::new()).unwrap();
        let sentence = |raw: &str| Sentence { sent_id: 1, raw: raw.into(), sent: None };
        let sentences = vec![sentence("  "), sentence("the dog")];
        let entry = Ref { ref_id: 7, ann_ids: vec![5], image_id: 1, split: "val".into(), source: None, sentences };
        let (instances, refs) = (PathBuf::new(), PathBuf::new());
        let files = ReferFiles { instances, refs, image_folders: Vec::new(), flavour: Flavour::Refer };
        let (kept, skipped) = samples(&[entry], &dataset, &files).unwrap();
        assert_eq!((kept.len(), kept[0].phrase.as_str()), (1, "the dog"));
        assert_eq!(skipped, ["ref 7, sentence 0: the phrase is empty, expected at least one word"]);
    }

    #[test]
    fn the_source_decides_what_refers_to_nothing() {
        let instances = br#"{"images": [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}],
            "annotations": [{"id": 5, "image_id": 1, "bbox": [0, 0, 3, 3]}]}"#;
        let dataset = coco::parse(instances, Path::new("instances.json"), Vec::new()).unwrap();
        let sentences = vec![Sentence { sent_id: 1, raw: "the dog".into(), sent: None }];
        let entry = |source: &str| Ref {
            ref_id: 1,
            ann_ids: vec![5],
            image_id: 1,
            split: "test".into(),
            source: Some(source.into()),
            sentences: sentences.clone(),
        };
        let targets = |source, flavour| {
            let (instances, refs) = (PathBuf::new(), PathBuf::new());
            let files = ReferFiles { instances, refs, image_folders: Vec::new(), flavour };
            samples(&[entry(source)], &dataset, &files).unwrap().0[0].targets.len()
        };
        assert_eq!((targets("zero", Flavour::RefZom), targets("one", Flavour::RefZom)), (0, 1));
        assert_eq!(targets("zero", Flavour::Refer), 1);
    }

    #[test]
    fn code_in_a_pickle_is_refused() {
        let bytes = groundling_testkit::hostile::malicious_pickle();
        let error = parse_refs(&bytes, Path::new("refs(unc).p")).unwrap_err().to_string();
        assert!(error.starts_with("refs(unc).p: byte 0: opcode GLOBAL (0x63) is refused"), "{error}");
    }
}
