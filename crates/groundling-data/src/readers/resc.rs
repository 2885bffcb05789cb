//! Split lists of ReSC and TransVG: `<set>_<split>.pth`, a pickled Python list saved by torch.
//!
//! An entry is (image file, mask file, box, phrase, attributes), for Flickr30k (image file, box, phrase). **Boxes are
//! x, y, width, height for the COCO sets but corner to corner for ReferIt and Flickr**; the caller says which. Both containers
//! of torch are read: the old stream of five pickles and the zip archive. No class is ever looked up.
//!
//! Source: specification of the base models (TransVG, VLTVG, QRNet), Sec. 6 there.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use groundling_core::{BoxXyxy, Phrase};

use super::CopyBudget;
use super::coco::checked_box;
use crate::dataset::{
    Annotation, Dataset, DatasetError, ImageRecord, MAX_ANNOTATION_BYTES, Sample, Shape, read_file, stays_below,
};
use crate::pickle::{Pickle, PickleError, PickleLimits, Value};

/// What the four numbers of an entry mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListBox {
    /// Left, top, width, height: `unc`, `unc+`, `gref`, `gref_umd`.
    Xywh,
    /// Left, top, right, bottom: `referit`, `flickr`.
    Xyxy,
}

impl ListBox {
    /// The meaning that belongs to a file name such as `unc_testB.pth` or `flickr_val.pth`.
    pub fn of_file(path: &Path) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("referit") || name.starts_with("flickr") { ListBox::Xyxy } else { ListBox::Xywh }
    }
}

/// Reads a split list. The split is the last part of the file name, `testB` in `unc_testB.pth`.
///
/// # Errors
/// [`DatasetError`] naming file and entry.
pub fn read(path: &Path, boxes: ListBox, image_folders: Vec<PathBuf>) -> Result<Dataset, DatasetError> {
    let bytes = read_file(path, MAX_ANNOTATION_BYTES)?;
    parse(&bytes, path, boxes, image_folders)
}

/// As [`read`], from memory.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path, boxes: ListBox, image_folders: Vec<PathBuf>) -> Result<Dataset, DatasetError> {
    let pickle = saved_object(bytes, path)?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let split = stem.rsplit('_').next().unwrap_or_default().to_owned();
    let entries = pickle.root().items().ok_or_else(|| field(path, "the file", "saved object", pickle.root()))?;
    let mut dataset = Dataset { name: stem, image_folders, ..Dataset::default() };
    let mut images: HashMap<String, usize> = HashMap::new();
    let mut budget = CopyBudget::for_file(bytes, path);
    for (index, entry) in entries.enumerate() {
        let place = format!("entry {index}");
        let entry = Entry::read(entry, path, &place)?;
        budget.pay(&place, entry.file_name.len() + entry.phrase.len() + split.len())?;
        if !stays_below(entry.file_name) {
            return Err(DatasetError::Field {
                path: path.to_owned(),
                place,
                field: "image file".to_owned(),
                found: format!("{:?}", entry.file_name),
                expected: "a relative path without `..`",
            });
        }
        let next = dataset.images.len();
        let image = *images.entry(entry.file_name.to_owned()).or_insert(next);
        if image == next {
            let file_name = entry.file_name.to_owned();
            dataset.images.push(ImageRecord { id: next as i64, file_name, size: None });
        }
        let [x0, y0, x1, y1] = entry.numbers;
        let xywh = match boxes {
            ListBox::Xywh => entry.numbers,
            ListBox::Xyxy => BoxXyxy::<groundling_core::Pixels>::new(x0, y0, x1, y1).to_xywh().to_array(),
        };
        let bbox = checked_box(xywh, path, &place)?;
        let id = index as i64;
        let (is_crowd, shape) = (false, Shape::None);
        dataset.annotations.push(Annotation { id, image, category_id: None, bbox, area: None, is_crowd, shape });
        if let Err(error) = Phrase::parse(entry.phrase) {
            dataset.skipped.push(format!("{place}: {error}"));
            continue;
        }
        dataset.samples.push(Sample {
            id: format!("{index}"),
            image,
            phrase: entry.phrase.to_owned(),
            cleaned: None,
            split: split.clone(),
            targets: vec![index],
            group: id,
            sentence_id: None,
            source: None,
        });
    }
    Ok(dataset)
}

struct Entry<'a> {
    file_name: &'a str,
    numbers: [f64; 4],
    phrase: &'a str,
}

impl<'a> Entry<'a> {
    fn read(entry: Value<'a>, path: &Path, place: &str) -> Result<Self, DatasetError> {
        let parts: Vec<Value<'a>> = entry.items().map(Iterator::collect).unwrap_or_default();
        let (image, numbers, phrase) = match *parts.as_slice() {
            [image, _, numbers, phrase, _] => (image, numbers, phrase),
            [image, numbers, phrase] => (image, numbers, phrase),
            _ => return Err(field(path, place, "entry", entry)),
        };
        let four = |value: Value<'_>| -> Option<[f64; 4]> {
            let numbers: Vec<f64> = value.items()?.map(Value::as_f64).collect::<Option<_>>()?;
            numbers.try_into().ok()
        };
        Ok(Self {
            file_name: image.as_str().ok_or_else(|| field(path, place, "image file", image))?,
            numbers: four(numbers).ok_or_else(|| field(path, place, "box", numbers))?,
            phrase: phrase.as_str().ok_or_else(|| field(path, place, "phrase", phrase))?,
        })
    }
}

fn field(path: &Path, place: &str, name: &str, found: Value<'_>) -> DatasetError {
    DatasetError::Field {
        path: path.to_owned(),
        place: place.to_owned(),
        field: name.to_owned(),
        found: format!("{found:?}"),
        expected: "(image file, mask file, [four numbers], phrase, attributes) or (image file, [four numbers], phrase)",
    }
}

/// The object inside a file that torch saved.
fn saved_object(bytes: &[u8], path: &Path) -> Result<Pickle, DatasetError> {
    if bytes.starts_with(b"PK\x03\x04") {
        return archived_object(bytes, path);
    }
    let pickled = |source| DatasetError::Pickle { path: path.to_owned(), source };
    let limits = PickleLimits::default();
    let (first, used) = Pickle::read_prefix(bytes, limits).map_err(pickled)?;
    // Torch's magic number, 0x1950a86a20f9469cfc6c, opens a stream: number, protocol, system, object, storages.
    const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
    if first.root().as_bytes() != Some(&MAGIC) {
        return Ok(first);
    }
    let mut rest = &bytes[used..];
    for _ in 0..2 {
        let (_, used) = Pickle::read_prefix(rest, limits).map_err(pickled)?;
        rest = &rest[used..];
    }
    Pickle::read(rest, limits).map_err(pickled)
}

fn archived_object(bytes: &[u8], path: &Path) -> Result<Pickle, DatasetError> {
    let broken = |message: String| DatasetError::Field {
        path: path.to_owned(),
        place: "the archive".to_owned(),
        field: "data.pkl".to_owned(),
        found: message,
        expected: "a stored file of a zip archive that torch wrote",
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(error.to_string()))?;
    let entries = archive.len();
    let index = (0..entries).find(|&index| {
        let entry = archive.by_index(index).ok();
        entry.is_some_and(|file| file.name().is_ok_and(|name| name.ends_with("data.pkl")))
    });
    let index = index.ok_or_else(|| broken("missing".to_owned()))?;
    let file = archive.by_index(index).map_err(|error| broken(error.to_string()))?;
    let mut pickled = Vec::new();
    // Stored, not packed: what it holds can be no longer than the archive itself.
    let limit = bytes.len() as u64;
    file.take(limit).read_to_end(&mut pickled).map_err(|error| broken(error.to_string()))?;
    Pickle::read(&pickled, PickleLimits::default())
        .map_err(|source: PickleError| DatasetError::Pickle { path: path.to_owned(), source })
}
