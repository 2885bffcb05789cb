//! Our own format, in which people bring their data: one JSON object a line.
//!
//! ```json
//! {"image": "cups/1.jpg", "phrase": "the left cup", "targets": [{"bbox": [10, 20, 110, 220]}]}
//! {"image": "cups/1.jpg", "phrase": "the dog", "targets": []}
//! ```
//!
//! | field | |
//! |---|---|
//! | `image` | path of the image, relative to the file |
//! | `phrase` | the expression |
//! | `targets` | what it refers to; `[]` says that nothing in the image fits |
//! | `targets[].bbox` | `[x0, y0, x1, y1]` in pixels; may be left out beside a mask |
//! | `targets[].mask` | `{"size": [h, w], "counts": ...}` (COCO run lengths, list or string) or `{"polygons": [[x, y, ...], ...]}` |
//! | `targets[].category` | a name, optional |
//! | `id`, `split`, `width`, `height` | optional; ids must be unique, the split is `all` if not said |
//!
//! `boxes: [[x0, y0, x1, y1], ...]` may stand for `targets` that have nothing but boxes. Unknown fields are errors: a
//! misspelt field must not silently become "nothing fits".

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use groundling_core::{BoxXyxy, Phrase, Pixels};
use serde::Deserialize;

use super::coco::Code;
use crate::dataset::{
    Annotation, Dataset, DatasetError, ImageRecord, MAX_ANNOTATION_BYTES, Sample, Shape, json_message, read_file,
    stated_size,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Option<String>,
    image: String,
    width: Option<u32>,
    height: Option<u32>,
    split: Option<String>,
    phrase: String,
    targets: Option<Vec<Target>>,
    boxes: Option<Vec<[f64; 4]>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    bbox: Option<[f64; 4]>,
    mask: Option<Outline>,
    category: Option<String>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected {\"size\": [h, w], \"counts\": list or text} or {\"polygons\": [[x, y, ...], ...]} as mask"
)]
enum Outline {
    Code(Code),
    Polygons { polygons: Vec<Vec<f64>> },
}

/// Longest line we read.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// Reads a file of lines. Image paths are relative to its folder.
///
/// # Errors
/// [`DatasetError`] naming file and line.
pub fn read(path: &Path) -> Result<Dataset, DatasetError> {
    let bytes = read_file(path, MAX_ANNOTATION_BYTES)?;
    parse(&bytes, path)
}

/// As [`read`], from memory.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path) -> Result<Dataset, DatasetError> {
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let mut builder = Builder {
        dataset: Dataset { name, image_folders: vec![folder], ..Dataset::default() },
        path,
        images: HashMap::new(),
        categories: BTreeMap::new(),
        ids: HashSet::new(),
    };
    // Editors on Windows put a mark in front of UTF-8.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    for (index, line) in bytes.split(|&b| b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        builder.line(index + 1, line)?;
    }
    builder.dataset.categories = builder.categories.into_iter().map(|(name, id)| (id, name)).collect();
    Ok(builder.dataset)
}

struct Builder<'a> {
    dataset: Dataset,
    path: &'a Path,
    images: HashMap<String, usize>,
    categories: BTreeMap<String, i64>,
    ids: HashSet<String>,
}

impl Builder<'_> {
    fn line(&mut self, number: usize, bytes: &[u8]) -> Result<(), DatasetError> {
        if bytes.len() > MAX_LINE_BYTES {
            return Err(self.field(number, "line", format!("{} bytes long", bytes.len()), "at most 64 MiB"));
        }
        let line: Line = serde_json::from_slice(bytes).map_err(|error| DatasetError::Json {
            path: self.path.to_owned(),
            line: number,
            column: error.column(),
            message: json_message(&error),
        })?;
        let image = self.image(number, &line)?;
        Phrase::parse(&line.phrase).map_err(|source| DatasetError::BadPhrase {
            path: self.path.to_owned(),
            place: format!("line {number}"),
            source,
        })?;
        let id = line.id.unwrap_or_else(|| number.to_string());
        if !self.ids.insert(id.clone()) {
            return Err(DatasetError::DuplicateId { path: self.path.to_owned(), kind: "sample", id });
        }
        let bare = |bbox| Target { bbox: Some(bbox), mask: None, category: None };
        let targets = match (line.targets, line.boxes) {
            (Some(targets), None) => targets,
            (None, Some(boxes)) => boxes.into_iter().map(bare).collect(),
            (Some(_), Some(_)) => {
                return Err(self.field(number, "targets and boxes", "both there".into(), "one of the two"));
            }
            (None, None) => {
                let expected = "a list; `[]` says that nothing in the image fits";
                return Err(self.field(number, "targets", "missing".into(), expected));
            }
        };
        let targets =
            targets.into_iter().map(|target| self.target(number, image, target)).collect::<Result<Vec<_>, _>>()?;
        self.dataset.samples.push(Sample {
            id,
            image,
            phrase: line.phrase,
            cleaned: None,
            split: line.split.unwrap_or_else(|| "all".to_owned()),
            targets,
            group: number as i64,
            sentence_id: None,
            source: None,
        });
        Ok(())
    }

    fn field(&self, number: usize, field: &str, found: String, expected: &'static str) -> DatasetError {
        let (path, place, field) = (self.path.to_owned(), format!("line {number}"), field.to_owned());
        DatasetError::Field { path, place, field, found, expected }
    }

    fn image(&mut self, number: usize, line: &Line) -> Result<usize, DatasetError> {
        let size = match (line.height, line.width) {
            (Some(height), Some(width)) => {
                Some(stated_size(height, width, self.path, &format!("line {number}"), "height, width")?)
            }
            (None, None) => None,
            _ => return Err(self.field(number, "width, height", "only one of them".into(), "both or neither")),
        };
        if line.image.is_empty() {
            return Err(self.field(number, "image", "empty".into(), "a path"));
        }
        if let Some(&known) = self.images.get(&line.image) {
            let stated = &mut self.dataset.images[known].size;
            if let (Some(first), Some(second)) = (*stated, size)
                && first != second
            {
                let found = format!("{second}");
                return Err(self.field(number, "width, height", found, "the size that an earlier line states"));
            }
            *stated = stated.or(size);
            return Ok(known);
        }
        let index = self.dataset.images.len();
        self.images.insert(line.image.clone(), index);
        self.dataset.images.push(ImageRecord { id: index as i64 + 1, file_name: line.image.clone(), size });
        Ok(index)
    }

    fn target(&mut self, number: usize, image: usize, target: Target) -> Result<usize, DatasetError> {
        let place = format!("line {number}");
        let size = self.dataset.images[image].size;
        let shape = match target.mask {
            None => Shape::None,
            Some(Outline::Polygons { polygons }) => Shape::Polygons(polygons),
            Some(Outline::Code(code)) => {
                let code = code.decode(size, self.path, &place)?;
                self.dataset.images[image].size = Some(code.size());
                Shape::Codes(vec![code])
            }
        };
        let bbox = match (target.bbox, &shape) {
            (Some(numbers), _) => {
                let bbox = BoxXyxy::<Pixels>::from_array(numbers);
                if !bbox.is_finite() || bbox.width() < 0.0 || bbox.height() < 0.0 {
                    return Err(DatasetError::BadBox {
                        path: self.path.to_owned(),
                        place,
                        found: numbers,
                        format: "x0, y0, x1, y1",
                    });
                }
                bbox
            }
            (None, shape) => self.box_of_shape(number, shape)?,
        };
        let next = self.categories.len() as i64 + 1;
        let category_id = target.category.map(|name| *self.categories.entry(name).or_insert(next));
        let index = self.dataset.annotations.len();
        self.dataset.annotations.push(Annotation {
            id: index as i64 + 1,
            image,
            category_id,
            bbox: bbox.to_xywh(),
            area: None,
            is_crowd: false,
            shape,
        });
        Ok(index)
    }

    fn box_of_shape(&self, number: usize, shape: &Shape) -> Result<BoxXyxy<Pixels>, DatasetError> {
        shape.bounds().filter(|bbox| bbox.is_finite()).ok_or_else(|| {
            self.field(number, "target", "without box and without a mask that has pixels".into(), "a bbox or a mask")
        })
    }
}
