//! COCO average precision, for boxes and for masks.
//!
//! Detections are matched with annotations per image, category and area range, at ten IoU thresholds, then ranked over
//! the whole data set. [`evaluate`] gives the twelve numbers of the COCO table, precision and recall arrays and the AP of
//! every category.
//!
//! | # | name | mean over entries that exist of |
//! |---|---|---|
//! | 0 | AP | precision, all thresholds, all 101 recalls, area all, 100 detections, all categories |
//! | 1, 2 | AP50, AP75 | the same at IoU 0.5 and 0.75 alone |
//! | 3, 4, 5 | APs, APm, APl | as AP for area small, medium, large |
//! | 6, 7, 8 | AR1, AR10, AR100 | recall, all thresholds, area all, 1, 10, 100 detections an image |
//! | 9, 10, 11 | ARs, ARm, ARl | recall, 100 detections, area small, medium, large |
//!
//! All values are fractions, `None` where there is nothing to average (COCO writes -1).
//!
//! Corner cases:
//! - thresholds are `0.5 + k * ((0.95 - 0.5) / 9)` and recalls `i * 0.01`, as floating products: both differ from the
//!   decimal numbers in the last bit here and there, and a value may hit them exactly;
//! - an IoU of exactly the threshold matches; among equal IoUs the later annotation wins;
//! - crowds and annotations outside the area range are ignored: a detection matched to one counts neither way. A crowd
//!   takes any number of detections, and its IoU is the share of the detection inside it;
//! - the area of an annotation is its `area` field; of a detection it is width times height, or the pixels of its mask;
//! - unmatched detections outside the area range are ignored too.
//!
//! Source: the behaviour of pycocotools 2.0.11 (`COCOeval`), described from outside; Lin et al. 2014
//! (arXiv:1405.0312).

mod accumulate;
pub mod json;
mod matching;

use groundling_core::{BoxXywh, ImageSize, Pixels, Rle};

pub(crate) use accumulate::ApRanking;
pub use accumulate::CocoEvaluation;
pub use matching::{ImageMatches, image_matches};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IouKind {
    /// Boxes.
    Box,
    /// Masks.
    Mask,
}

/// Which annotations and detections count, by area in pixels; both ends belong to a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AreaRange {
    /// Up to 10^10.
    All,
    /// Up to 32^2.
    Small,
    /// 32^2 to 96^2.
    Medium,
    /// From 96^2.
    Large,
}

impl AreaRange {
    /// In the order of the arrays.
    pub const ALL: [AreaRange; 4] = [AreaRange::All, AreaRange::Small, AreaRange::Medium, AreaRange::Large];

    /// COCO's name.
    pub fn name(self) -> &'static str {
        match self {
            AreaRange::All => "all",
            AreaRange::Small => "small",
            AreaRange::Medium => "medium",
            AreaRange::Large => "large",
        }
    }

    /// Smallest and largest area.
    pub fn bounds(self) -> (f64, f64) {
        match self {
            AreaRange::All => (0.0, 1e10),
            AreaRange::Small => (0.0, 1024.0),
            AreaRange::Medium => (1024.0, 9216.0),
            AreaRange::Large => (9216.0, 1e10),
        }
    }

    fn holds(self, area: f64) -> bool {
        let (low, high) = self.bounds();
        (low..=high).contains(&area)
    }
}

/// Number of IoU thresholds.
pub const THRESHOLDS: usize = 10;
/// Number of recalls at which precision is read.
pub const RECALLS: usize = 101;
/// Detections an image that are looked at, best first; the last is the most that are matched at all.
pub const MAX_DETECTIONS: [usize; 3] = [1, 10, 100];
/// Names of the twelve numbers, in order.
pub const STAT_NAMES: [&str; 12] =
    ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

/// The IoU threshold of an index below [`THRESHOLDS`].
pub fn iou_threshold(index: usize) -> f64 {
    0.5 + index as f64 * ((0.95 - 0.5) / 9.0)
}

/// The recall of an index below [`RECALLS`].
pub fn recall_level(index: usize) -> f64 {
    index as f64 * 0.01
}

/// An image of the data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CocoImage {
    /// Its id.
    pub id: i64,
    /// Its size, where the file states it.
    pub size: Option<ImageSize>,
}

/// A category of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CocoCategory {
    /// Its id.
    pub id: i64,
    /// Its name.
    pub name: String,
}

/// An object of the data set.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoAnnotation {
    /// Its id.
    pub id: i64,
    /// The image it is in.
    pub image_id: i64,
    /// What it is.
    pub category_id: i64,
    /// Its box; needed for [`IouKind::Box`].
    pub bbox: Option<BoxXywh<Pixels>>,
    /// Its area by the file, which decides the area range.
    pub area: f64,
    /// Whether it stands for a crowd.
    pub is_crowd: bool,
    /// Its mask; needed for [`IouKind::Mask`].
    pub mask: Option<Rle>,
}

/// The truth of a data set.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CocoTruth {
    /// Images.
    pub images: Vec<CocoImage>,
    /// Categories.
    pub categories: Vec<CocoCategory>,
    /// Objects.
    pub annotations: Vec<CocoAnnotation>,
}

/// Something that was detected. Its place in the list matters where scores are equal: the earlier one goes first.
#[derive(Debug, Clone, PartialEq)]
pub struct CocoDetection {
    /// The image it is in.
    pub image_id: i64,
    /// What it is said to be.
    pub category_id: i64,
    /// Confidence.
    pub score: f64,
    /// Its box; needed for [`IouKind::Box`].
    pub bbox: Option<BoxXywh<Pixels>>,
    /// Its mask; needed for [`IouKind::Mask`].
    pub mask: Option<Rle>,
}

/// How to evaluate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CocoOptions {
    /// Boxes or masks.
    pub kind: IouKind,
    /// PARITY: pycocotools remembers a match by the annotation's id and takes id 0 for "no match", so a detection
    /// matched to annotation 0 counts as false. `true` repeats that; it is wrong, and needed only to reproduce numbers.
    pub zero_id_is_no_match: bool,
}

impl CocoOptions {
    /// The correct evaluation.
    pub fn new(kind: IouKind) -> Self {
        Self { kind, zero_id_is_no_match: false }
    }
}

/// Why truth and detections cannot be evaluated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CocoError {
    /// An annotation or detection of an image that is not listed.
    #[error("{what} {index}: image {id} is not in the list of images")]
    UnknownImage {
        /// `annotation` or `detection`.
        what: &'static str,
        /// Place in the list, from 0.
        index: usize,
        /// The image.
        id: i64,
    },
    /// An annotation or detection of a category that is not listed.
    #[error("{what} {index}: category {id} is not in the list of categories")]
    UnknownCategory {
        /// `annotation` or `detection`.
        what: &'static str,
        /// Place in the list, from 0.
        index: usize,
        /// The category.
        id: i64,
    },
    /// No box, or no mask, where it is what is compared.
    #[error("{what} {index} has no {missing}, expected one for this evaluation")]
    NoShape {
        /// `annotation` or `detection`.
        what: &'static str,
        /// Place in the list, from 0.
        index: usize,
        /// `box` or `mask`.
        missing: &'static str,
    },
    /// Two masks of one image have different sizes.
    #[error("image {image_id}: masks of {left} and {right} (width x height), expected one size for an image")]
    MaskSizes {
        /// The image.
        image_id: i64,
        /// Size of one.
        left: ImageSize,
        /// Size of another.
        right: ImageSize,
    },
    /// A score or area that is NaN or infinite.
    #[error("{what} {index}: {field} is {found}, expected a finite number")]
    NotFinite {
        /// `annotation` or `detection`.
        what: &'static str,
        /// Place in the list, from 0.
        index: usize,
        /// `score`, `area` or `box`.
        field: &'static str,
        /// The number.
        found: f64,
    },
}

/// Evaluates detections. An empty list of detections is a result like any other: zero for every category with objects.
///
/// # Errors
/// [`CocoError`] if an id leads nowhere, a number is not finite, or a box or mask is missing where it is what is compared.
pub fn evaluate(
    truth: &CocoTruth,
    detections: &[CocoDetection],
    options: CocoOptions,
) -> Result<CocoEvaluation, CocoError> {
    let index = matching::Index::build(truth, detections, options)?;
    Ok(accumulate::accumulate(&index))
}

/// The ranking behind AP, for resampling. Images are 1 to N, there is one category, and nothing is a crowd.
pub(crate) fn ap_ranking(
    truth: &CocoTruth,
    detections: &[CocoDetection],
    options: CocoOptions,
) -> Result<ApRanking, CocoError> {
    let index = matching::Index::build(truth, detections, options)?;
    Ok(ApRanking::of(&index, truth.images.len()))
}
