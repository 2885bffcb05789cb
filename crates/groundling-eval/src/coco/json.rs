//! Reads the annotation and result files of COCO.
//!
//! Annotation files hold much that an evaluation does not need; unknown fields are skipped there. What is read is
//! checked: ids that lead nowhere, boxes and areas that are negative or not finite, masks that do not fit their image.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use groundling_core::{BoxXywh, ImageSize, PolygonError, Rle, RleError, SizeError};
use serde::{Deserialize, Serialize};

use super::{CocoAnnotation, CocoCategory, CocoDetection, CocoImage, CocoTruth, IouKind};

/// What is wrong with a COCO file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CocoJsonError {
    /// Not JSON, or not of the expected form.
    #[error("{file}: {source}")]
    Json {
        /// Name of the file.
        file: PathBuf,
        /// What and where.
        source: serde_json::Error,
    },
    /// An entry is wrong.
    #[error("{file}: {list}[{index}]: {problem}")]
    Entry {
        /// Name of the file.
        file: PathBuf,
        /// `images`, `categories`, `annotations` or `results`.
        list: &'static str,
        /// Which entry, from 0.
        index: usize,
        /// What is wrong with it.
        problem: CocoProblem,
    },
}

/// What is wrong with one entry of a COCO file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CocoProblem {
    /// An id that an earlier entry has.
    #[error("id {id} stands there twice, expected every id once")]
    DuplicateId {
        /// The id.
        id: i64,
    },
    /// An image that the annotation file does not list.
    #[error("image_id is {found}, expected one of the {known} images of the annotation file")]
    UnknownImage {
        /// The id.
        found: i64,
        /// Images there are.
        known: usize,
    },
    /// A category that the annotation file does not list.
    #[error("category_id is {found}, expected one of the {known} categories of the annotation file")]
    UnknownCategory {
        /// The id.
        found: i64,
        /// Categories there are.
        known: usize,
    },
    /// A box with a negative side or a number that is not finite.
    #[error("bbox is {found:?} (x, y, width, height), expected finite numbers and sides of at least 0")]
    Box {
        /// x, y, width, height.
        found: [f64; 4],
    },
    /// No box where boxes are evaluated.
    #[error("bbox is missing, expected [x, y, width, height] for an evaluation of boxes")]
    NoBox,
    /// No mask where masks are evaluated.
    #[error("segmentation is missing, expected polygons or run lengths for an evaluation of masks")]
    NoMask,
    /// A mask in an image whose size is not stated.
    #[error("image {image_id} states no height and width, expected both for an evaluation of masks")]
    NoSize {
        /// The image.
        image_id: i64,
    },
    /// An area that is negative or not finite.
    #[error("area is {found}, expected a finite number of at least 0")]
    Area {
        /// The area.
        found: f64,
    },
    /// A score that is not finite.
    #[error("score is {found}, expected a finite number")]
    Score {
        /// The score.
        found: f64,
    },
    /// Neither 0 nor 1.
    #[error("iscrowd is {found}, expected 0 or 1")]
    IsCrowd {
        /// The value.
        found: i64,
    },
    /// An image size that is none.
    #[error("{0}")]
    Size(SizeError),
    /// A mask of another size than its image.
    #[error("segmentation is for {found}, expected {expected} (width x height)")]
    MaskSize {
        /// Size of the image.
        expected: ImageSize,
        /// Size of the mask.
        found: ImageSize,
    },
    /// A run-length code that is not one.
    #[error("segmentation: {0}")]
    Rle(RleError),
    /// A polygon that is not one.
    #[error("segmentation: {0}")]
    Polygon(PolygonError),
}

/// A mask of a COCO file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SegmentationJson {
    /// Polygons, each `x, y, x, y, ...`; their union is the object.
    Polygons(Vec<Vec<f64>>),
    /// Run lengths.
    Runs(MaskJson),
}

/// Run lengths of a COCO file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskJson {
    /// Height, width.
    pub size: [u32; 2],
    /// The runs.
    pub counts: CountsJson,
}

/// Run lengths as a compressed string or as numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CountsJson {
    /// Compressed.
    Compressed(String),
    /// As they are.
    Plain(Vec<u32>),
}

/// One entry of a COCO results file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultJson {
    /// Which image.
    pub image_id: i64,
    /// Which category.
    pub category_id: i64,
    /// x, y, width, height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bbox: Option<[f64; 4]>,
    /// Confidence.
    pub score: f64,
    /// The mask, as run lengths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmentation: Option<MaskJson>,
}

#[derive(Deserialize)]
struct TruthJson {
    images: Vec<ImageJson>,
    #[serde(default)]
    annotations: Vec<AnnotationJson>,
    categories: Vec<CategoryJson>,
}

#[derive(Deserialize)]
struct ImageJson {
    id: i64,
    height: Option<u32>,
    width: Option<u32>,
}

#[derive(Deserialize)]
struct CategoryJson {
    id: i64,
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct AnnotationJson {
    id: i64,
    image_id: i64,
    category_id: i64,
    bbox: Option<[f64; 4]>,
    area: f64,
    #[serde(default)]
    iscrowd: i64,
    segmentation: Option<SegmentationJson>,
}

impl MaskJson {
    /// The compressed form of a mask.
    pub fn of(mask: &Rle) -> Self {
        let size = [mask.size().height(), mask.size().width()];
        Self { size, counts: CountsJson::Compressed(mask.to_compressed()) }
    }

    /// The mask, which must be of the size of its image.
    ///
    /// # Errors
    /// If it is of another size, or its runs do not fit.
    pub fn to_rle(&self, image: ImageSize) -> Result<Rle, CocoProblem> {
        let found = ImageSize::new(self.size[0], self.size[1]).map_err(CocoProblem::Size)?;
        if found != image {
            return Err(CocoProblem::MaskSize { expected: image, found });
        }
        match &self.counts {
            CountsJson::Compressed(code) => Rle::from_compressed(image, code),
            CountsJson::Plain(counts) => Rle::from_counts(image, counts.clone()),
        }
        .map_err(CocoProblem::Rle)
    }
}

impl SegmentationJson {
    /// The mask at the size of its image; polygons are drawn as pycocotools draws them.
    ///
    /// # Errors
    /// If it is no mask of that size.
    pub fn to_rle(&self, image: ImageSize) -> Result<Rle, CocoProblem> {
        match self {
            SegmentationJson::Polygons(polygons) => Rle::from_polygons(image, polygons).map_err(CocoProblem::Polygon),
            SegmentationJson::Runs(runs) => runs.to_rle(image),
        }
    }
}

/// Parses an annotation file. Masks are read for [`IouKind::Mask`] only. `file` is the name used in messages.
///
/// # Errors
/// [`CocoJsonError`] at the first entry that is wrong.
pub fn parse_truth(bytes: &[u8], file: impl AsRef<Path>, kind: IouKind) -> Result<CocoTruth, CocoJsonError> {
    let file = file.as_ref();
    let json: TruthJson = parse(bytes, file)?;
    let entry = |list, index, problem| CocoJsonError::Entry { file: file.to_owned(), list, index, problem };

    let mut sizes: HashMap<i64, Option<ImageSize>> = HashMap::with_capacity(json.images.len());
    let mut images = Vec::with_capacity(json.images.len());
    for (index, image) in json.images.iter().enumerate() {
        let size = match (image.height, image.width) {
            (Some(height), Some(width)) => {
                Some(ImageSize::new(height, width).map_err(|error| entry("images", index, CocoProblem::Size(error)))?)
            }
            _ => None,
        };
        if sizes.insert(image.id, size).is_some() {
            return Err(entry("images", index, CocoProblem::DuplicateId { id: image.id }));
        }
        images.push(CocoImage { id: image.id, size });
    }
    let mut category_ids = HashSet::new();
    for (index, category) in json.categories.iter().enumerate() {
        if !category_ids.insert(category.id) {
            return Err(entry("categories", index, CocoProblem::DuplicateId { id: category.id }));
        }
    }
    let mut annotation_ids = HashSet::with_capacity(json.annotations.len());
    let mut annotations = Vec::with_capacity(json.annotations.len());
    for (index, annotation) in json.annotations.iter().enumerate() {
        if !annotation_ids.insert(annotation.id) {
            return Err(entry("annotations", index, CocoProblem::DuplicateId { id: annotation.id }));
        }
        let checked = checked_annotation(annotation, &sizes, &category_ids, kind);
        annotations.push(checked.map_err(|problem| entry("annotations", index, problem))?);
    }
    let categories = json.categories.into_iter().map(|c| CocoCategory { id: c.id, name: c.name }).collect();
    Ok(CocoTruth { images, categories, annotations })
}

/// Parses a results file and checks it against the annotations it goes with. Masks are read for [`IouKind::Mask`] only.
///
/// # Errors
/// [`CocoJsonError`] at the first entry that is wrong.
pub fn parse_results(
    bytes: &[u8],
    file: impl AsRef<Path>,
    truth: &CocoTruth,
    kind: IouKind,
) -> Result<Vec<CocoDetection>, CocoJsonError> {
    let file = file.as_ref();
    let results: Vec<ResultJson> = parse(bytes, file)?;
    let sizes: HashMap<i64, Option<ImageSize>> = truth.images.iter().map(|image| (image.id, image.size)).collect();
    let category_ids: HashSet<i64> = truth.categories.iter().map(|category| category.id).collect();
    let detections = results.iter().enumerate().map(|(index, result)| {
        checked_result(result, &sizes, &category_ids, kind).map_err(|problem| CocoJsonError::Entry {
            file: file.to_owned(),
            list: "results",
            index,
            problem,
        })
    });
    detections.collect()
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8], file: &Path) -> Result<T, CocoJsonError> {
    serde_json::from_slice(bytes).map_err(|source| CocoJsonError::Json { file: file.to_owned(), source })
}

type Sizes = HashMap<i64, Option<ImageSize>>;

fn checked_annotation(
    annotation: &AnnotationJson,
    sizes: &Sizes,
    category_ids: &HashSet<i64>,
    kind: IouKind,
) -> Result<CocoAnnotation, CocoProblem> {
    let size = known_image(annotation.image_id, sizes)?;
    known_category(annotation.category_id, category_ids)?;
    if !annotation.area.is_finite() || annotation.area < 0.0 {
        return Err(CocoProblem::Area { found: annotation.area });
    }
    let is_crowd = match annotation.iscrowd {
        0 => false,
        1 => true,
        found => return Err(CocoProblem::IsCrowd { found }),
    };
    let bbox = checked_box(annotation.bbox)?;
    let mask = match (kind, &annotation.segmentation) {
        (IouKind::Box, _) if bbox.is_none() => return Err(CocoProblem::NoBox),
        (IouKind::Box, _) => None,
        (IouKind::Mask, None) => return Err(CocoProblem::NoMask),
        (IouKind::Mask, Some(mask)) => {
            Some(mask.to_rle(size.ok_or(CocoProblem::NoSize { image_id: annotation.image_id })?)?)
        }
    };
    Ok(CocoAnnotation {
        id: annotation.id,
        image_id: annotation.image_id,
        category_id: annotation.category_id,
        bbox,
        area: annotation.area,
        is_crowd,
        mask,
    })
}

fn checked_result(
    result: &ResultJson,
    sizes: &Sizes,
    category_ids: &HashSet<i64>,
    kind: IouKind,
) -> Result<CocoDetection, CocoProblem> {
    let size = known_image(result.image_id, sizes)?;
    known_category(result.category_id, category_ids)?;
    if !result.score.is_finite() {
        return Err(CocoProblem::Score { found: result.score });
    }
    let bbox = checked_box(result.bbox)?;
    let mask = match (kind, &result.segmentation) {
        (IouKind::Box, _) if bbox.is_none() => return Err(CocoProblem::NoBox),
        (IouKind::Box, _) => None,
        (IouKind::Mask, None) => return Err(CocoProblem::NoMask),
        (IouKind::Mask, Some(mask)) => {
            Some(mask.to_rle(size.ok_or(CocoProblem::NoSize { image_id: result.image_id })?)?)
        }
    };
    Ok(CocoDetection { image_id: result.image_id, category_id: result.category_id, score: result.score, bbox, mask })
}

fn known_image(id: i64, sizes: &Sizes) -> Result<Option<ImageSize>, CocoProblem> {
    sizes.get(&id).copied().ok_or(CocoProblem::UnknownImage { found: id, known: sizes.len() })
}

fn known_category(id: i64, ids: &HashSet<i64>) -> Result<(), CocoProblem> {
    if ids.contains(&id) { Ok(()) } else { Err(CocoProblem::UnknownCategory { found: id, known: ids.len() }) }
}

fn checked_box(bbox: Option<[f64; 4]>) -> Result<Option<BoxXywh<groundling_core::Pixels>>, CocoProblem> {
    let Some(found) = bbox else { return Ok(None) };
    if found.iter().any(|value| !value.is_finite()) || found[2] < 0.0 || found[3] < 0.0 {
        return Err(CocoProblem::Box { found });
    }
    Ok(Some(BoxXywh::from_array(found)))
}
