//! Flickr30k Entities: `Annotations/<image>.xml`, `Sentences/<image>.txt`, `train.txt`, `val.txt`, `test.txt`.
//!
//! A sentence marks its phrases: `[/EN#283585/people Two young guys] look at [/EN#283587/bodyparts their hands] .` A sample
//! is one marked phrase; its targets are all boxes with its number. Phrases without a box in the image (scenes, `nobndbox`) are left
//! out, as every published protocol does: the data set does not say that they are absent.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use groundling_core::{BoxXyxy, ImageSize, Phrase, Pixels};

use super::coco::checked_box;
use crate::dataset::{Annotation, Dataset, DatasetError, ImageRecord, Sample, Shape, read_file, stated_size};

/// Annotation files of one image are a few kilobytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads one split of a checkout of Flickr30k Entities. Images are looked for in `image_folders`, named `<image>.jpg`.
///
/// # Errors
/// [`DatasetError`] naming file and line.
pub fn read(root: &Path, split: &str, image_folders: Vec<PathBuf>) -> Result<Dataset, DatasetError> {
    let list = root.join(format!("{split}.txt"));
    let known = || {
        let names = ["train", "val", "test"];
        names.iter().filter(|name| root.join(format!("{name}.txt")).is_file()).map(|s| (*s).to_owned()).collect()
    };
    if !list.is_file() {
        return Err(DatasetError::UnknownSplit { path: root.to_owned(), found: split.to_owned(), known: known() });
    }
    let mut dataset = Dataset { name: format!("flickr30k ({split})"), image_folders, ..Dataset::default() };
    let names = text(&list)?;
    for name in names.lines().map(str::trim).filter(|name| !name.is_empty()) {
        image(root, name, split, &mut dataset)?;
    }
    Ok(dataset)
}

fn text(path: &Path) -> Result<String, DatasetError> {
    String::from_utf8(read_file(path, MAX_FILE_BYTES)?).map_err(|error| DatasetError::Xml {
        path: path.to_owned(),
        line: 1,
        message: format!("the file is not UTF-8 at byte {}", error.utf8_error().valid_up_to()),
    })
}

fn image(root: &Path, name: &str, split: &str, dataset: &mut Dataset) -> Result<(), DatasetError> {
    let path = root.join("Annotations").join(format!("{name}.xml"));
    let (size, boxes) = boxes(&path)?;
    let image = dataset.images.len();
    let id = name.parse().unwrap_or(image as i64);
    dataset.images.push(ImageRecord { id, file_name: format!("{name}.jpg"), size });
    // One annotation a box, though several phrases may share it.
    let mut targets: HashMap<String, Vec<usize>> = HashMap::new();
    for (entities, bbox) in boxes {
        let xywh = checked_box(bbox.to_xywh().to_array(), &path, &format!("image {name}"))?;
        let index = dataset.annotations.len();
        dataset.annotations.push(Annotation {
            id: index as i64 + 1,
            image,
            category_id: None,
            bbox: xywh,
            area: None,
            is_crowd: false,
            shape: Shape::None,
        });
        for entity in entities {
            targets.entry(entity).or_default().push(index);
        }
    }
    let path = root.join("Sentences").join(format!("{name}.txt"));
    for (line, sentence) in text(&path)?.lines().enumerate() {
        for (position, (entity, phrase)) in phrases(sentence, &path, line + 1)?.into_iter().enumerate() {
            let Some(targets) = targets.get(&entity) else { continue };
            let place = format!("line {}", line + 1);
            if let Err(error) = Phrase::parse(&phrase) {
                dataset.skipped.push(format!("{name}, {place}: {error}"));
                continue;
            }
            dataset.samples.push(Sample {
                id: format!("{name}-{line}-{position}"),
                image,
                phrase,
                cleaned: None,
                split: split.to_owned(),
                targets: targets.clone(),
                group: entity.parse().unwrap_or(0),
                sentence_id: Some(line as i64),
                source: None,
            });
        }
    }
    Ok(())
}

type EntityBoxes = Vec<(Vec<String>, BoxXyxy<Pixels>)>;

fn boxes(path: &Path) -> Result<(Option<ImageSize>, EntityBoxes), DatasetError> {
    let text = text(path)?;
    let bad = |line: u32, message: String| DatasetError::Xml { path: path.to_owned(), line, message };
    let document = roxmltree::Document::parse(&text).map_err(|error| bad(error.pos().row, error.to_string()))?;
    let number = |parent: roxmltree::Node<'_, '_>, tag: &str| -> Result<f64, DatasetError> {
        let line = document.text_pos_at(parent.range().start).row;
        let node = parent.children().find(|node| node.has_tag_name(tag));
        let value = node.and_then(|node| node.text()).map(str::trim);
        value
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| bad(line, format!("<{tag}> is {:?}, expected a number", value.unwrap_or("missing"))))
    };
    let root = document.root_element();
    let size = match root.children().find(|node| node.has_tag_name("size")) {
        Some(node) => {
            let (height, width) = (number(node, "height")? as u32, number(node, "width")? as u32);
            Some(stated_size(height, width, path, "<size>", "height, width")?)
        }
        None => None,
    };
    let mut found = Vec::new();
    for object in root.children().filter(|node| node.has_tag_name("object")) {
        let Some(bndbox) = object.children().find(|node| node.has_tag_name("bndbox")) else { continue };
        let names = object.children().filter(|node| node.has_tag_name("name"));
        let entities = names.filter_map(|node| node.text()).map(|name| name.trim().to_owned()).collect();
        let [x0, y0, x1, y1] = ["xmin", "ymin", "xmax", "ymax"].map(|tag| number(bndbox, tag));
        found.push((entities, BoxXyxy::new(x0?, y0?, x1?, y1?)));
    }
    Ok((size, found))
}

/// The marked phrases of a sentence as (entity number, words).
fn phrases(sentence: &str, path: &Path, line: usize) -> Result<Vec<(String, String)>, DatasetError> {
    let bad = |found: &str| DatasetError::Field {
        path: path.to_owned(),
        place: format!("line {line}"),
        field: "phrase".to_owned(),
        found: format!("{:?}", found.chars().take(40).collect::<String>()),
        expected: "[/EN#<number>/<type> <words>]",
    };
    let mut found = Vec::new();
    let mut rest = sentence;
    while let Some(start) = rest.find("[/EN#") {
        let marked = &rest[start..];
        let end = marked.find(']').ok_or_else(|| bad(marked))?;
        let inner = &marked["[/EN#".len()..end];
        let (mark, words) = inner.split_once(' ').ok_or_else(|| bad(marked))?;
        let (entity, _) = mark.split_once('/').ok_or_else(|| bad(marked))?;
        found.push((entity.to_owned(), words.to_owned()));
        rest = &marked[end + 1..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_found_in_their_sentence() {
        let sentence = "[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] look at [/EN#3/other/x it] .";
        let found = phrases(sentence, Path::new("a.txt"), 1).unwrap();
        let expected = [("1", "Two young guys"), ("2", "shaggy hair"), ("3", "it")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        let error = phrases("[/EN#1/people Two", Path::new("a.txt"), 7).unwrap_err().to_string();
        assert!(error.starts_with("a.txt: line 7: phrase is \"[/EN#1/people Two\""), "{error}");
    }
}
