//! COCO's `instances.json`: images, boxes, polygons, run-length codes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use groundling_core::{BoxXywh, ImageSize, Rle};
use serde::Deserialize;

use crate::dataset::{
    Annotation, Dataset, DatasetError, ImageRecord, MAX_ANNOTATION_BYTES, Shape, parse_json, read_file, stated_size,
    stays_below,
};

#[derive(Deserialize)]
struct File {
    images: Vec<Image>,
    #[serde(default)]
    annotations: Vec<Object>,
    #[serde(default)]
    categories: Vec<Category>,
}

#[derive(Deserialize)]
struct Image {
    id: i64,
    file_name: String,
    height: u32,
    width: u32,
}

#[derive(Deserialize)]
struct Category {
    id: i64,
    name: String,
}

#[derive(Deserialize)]
struct Object {
    id: i64,
    image_id: i64,
    category_id: Option<i64>,
    bbox: [f64; 4],
    area: Option<f64>,
    #[serde(default)]
    iscrowd: u8,
    segmentation: Option<Outline>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "expected [[x, y, ...], ...] or {\"size\": [h, w], \"counts\": list or text} as segmentation"
)]
enum Outline {
    Polygons(Vec<Vec<f64>>),
    Code(Code),
    Codes(Vec<Code>),
}

/// A run-length code as COCO files hold it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Code {
    /// Height, width.
    size: [u32; 2],
    counts: Counts,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged, expecting = "expected a list of run lengths or a text as counts")]
enum Counts {
    Runs(Vec<u32>),
    Compressed(String),
}

impl Code {
    /// The code, if it is one and of the image's size.
    pub(crate) fn decode(&self, image: Option<ImageSize>, path: &Path, place: &str) -> Result<Rle, DatasetError> {
        const FIELD: &str = "size of the mask";
        let [height, width] = self.size;
        let size = stated_size(height, width, path, place, FIELD)?;
        if image.is_some_and(|image| image != size) {
            return Err(DatasetError::Field {
                path: path.to_owned(),
                place: place.to_owned(),
                field: FIELD.to_owned(),
                found: format!("[{height}, {width}]"),
                expected: "the size of the image",
            });
        }
        let code = match &self.counts {
            Counts::Runs(counts) => Rle::from_counts(size, counts.clone()),
            Counts::Compressed(text) => Rle::from_compressed(size, text),
        };
        code.map_err(|source| DatasetError::BadCode { path: path.to_owned(), place: place.to_owned(), source })
    }
}

/// Reads a COCO annotation file. Images are looked for in `image_folders`.
///
/// # Errors
/// If the file cannot be read, an id refers to nothing or stands twice, or a box or code is none.
pub fn read(path: &Path, image_folders: Vec<PathBuf>) -> Result<Dataset, DatasetError> {
    let bytes = read_file(path, MAX_ANNOTATION_BYTES)?;
    parse(&bytes, path, image_folders)
}

/// As [`read`], from memory; `path` names the file in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(bytes: &[u8], path: &Path, image_folders: Vec<PathBuf>) -> Result<Dataset, DatasetError> {
    let file: File = parse_json(path, bytes)?;
    let images = file.images.into_iter().map(|image| image_record(image, path)).collect::<Result<Vec<_>, _>>()?;
    let by_id = unique_ids(images.iter().map(|image| image.id), "image", path)?;
    unique_ids(file.annotations.iter().map(|object| object.id), "annotation", path)?;
    let categories = file.categories.into_iter().map(|category| (category.id, category.name)).collect();
    let annotations = file
        .annotations
        .into_iter()
        .map(|object| annotation(object, &by_id, &images, path))
        .collect::<Result<Vec<_>, _>>()?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Dataset { name, images, categories, annotations, samples: Vec::new(), skipped: Vec::new(), image_folders })
}

fn image_record(image: Image, path: &Path) -> Result<ImageRecord, DatasetError> {
    let Image { id, file_name, height, width } = image;
    let size = stated_size(height, width, path, &format!("image {id}"), "height, width")?;
    if !stays_below(&file_name) {
        return Err(DatasetError::Field {
            path: path.to_owned(),
            place: format!("image {id}"),
            field: "file_name".to_owned(),
            found: format!("{file_name:?}"),
            expected: "a relative path without `..`",
        });
    }
    Ok(ImageRecord { id, file_name, size: Some(size) })
}

pub(crate) fn unique_ids(
    ids: impl Iterator<Item = i64>,
    kind: &'static str,
    path: &Path,
) -> Result<HashMap<i64, usize>, DatasetError> {
    let mut by_id = HashMap::new();
    for (index, id) in ids.enumerate() {
        if by_id.insert(id, index).is_some() {
            return Err(DatasetError::DuplicateId { path: path.to_owned(), kind, id: id.to_string() });
        }
    }
    Ok(by_id)
}

fn annotation(
    object: Object,
    by_id: &HashMap<i64, usize>,
    images: &[ImageRecord],
    path: &Path,
) -> Result<Annotation, DatasetError> {
    let place = format!("annotation {}", object.id);
    let Some(&image) = by_id.get(&object.image_id) else {
        return Err(DatasetError::UnknownId { path: path.to_owned(), place, kind: "image", id: object.image_id });
    };
    let bbox = checked_box(object.bbox, path, &place)?;
    let size = images[image].size;
    let decode = |code: &Code| code.decode(size, path, &place);
    let shape = match object.segmentation {
        None => Shape::None,
        Some(Outline::Polygons(polygons)) => Shape::Polygons(polygons),
        Some(Outline::Code(code)) => Shape::Codes(vec![decode(&code)?]),
        Some(Outline::Codes(codes)) => Shape::Codes(codes.iter().map(decode).collect::<Result<_, _>>()?),
    };
    Ok(Annotation {
        id: object.id,
        image,
        category_id: object.category_id,
        bbox,
        area: object.area,
        is_crowd: object.iscrowd != 0,
        shape,
    })
}

/// A COCO box with finite numbers and sides that are not negative. Empty boxes exist in COCO and are left to the linter.
pub(crate) fn checked_box(
    found: [f64; 4],
    path: &Path,
    place: &str,
) -> Result<BoxXywh<groundling_core::Pixels>, DatasetError> {
    let [_, _, width, height] = found;
    if found.iter().any(|v| !v.is_finite()) || width < 0.0 || height < 0.0 {
        return Err(DatasetError::BadBox {
            path: path.to_owned(),
            place: place.to_owned(),
            found,
            format: "x, y, width, height",
        });
    }
    Ok(BoxXywh::from_array(found))
}
