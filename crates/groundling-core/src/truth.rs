//! What a phrase really refers to.

use crate::{BoxXyxy, Pixels, Rle};

/// One thing a phrase refers to.
#[derive(Debug, Clone, PartialEq)]
pub struct TrueTarget {
    /// Its box, in pixels of the original image.
    pub bbox: BoxXyxy<Pixels>,
    /// Its exact shape, where the data set has one.
    pub mask: Option<Rle>,
    /// Category id of the data set, where it has one.
    pub category_id: Option<i64>,
}

/// Everything a phrase refers to in one image: nothing, one thing or several.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GroundTruth {
    /// The targets; an empty list means that the phrase describes nothing in the image.
    pub targets: Vec<TrueTarget>,
    /// The union of the targets' shapes where the data set states it for the phrase as a whole.
    pub merged_mask: Option<Rle>,
}

/// Zero, one or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetCount {
    /// The phrase describes nothing in the image.
    Zero,
    /// It describes exactly one thing.
    One,
    /// It describes two or more.
    Many,
}

impl TargetCount {
    /// The word Ref-ZOM uses.
    pub fn name(self) -> &'static str {
        match self {
            TargetCount::Zero => "zero",
            TargetCount::One => "one",
            TargetCount::Many => "many",
        }
    }
}

impl GroundTruth {
    /// Nothing in the image fits the phrase.
    pub fn absent() -> Self {
        Self::default()
    }

    /// Whether nothing in the image fits the phrase.
    pub fn is_absent(&self) -> bool {
        self.targets.is_empty()
    }

    /// Zero, one or many.
    pub fn count(&self) -> TargetCount {
        match self.targets.len() {
            0 => TargetCount::Zero,
            1 => TargetCount::One,
            _ => TargetCount::Many,
        }
    }

    /// The union of all masks; `None` if a target has none or the sizes disagree. `None` for absent targets too, since
    /// there is no size to make an empty mask of.
    pub fn union_mask(&self) -> Option<Rle> {
        if let Some(mask) = &self.merged_mask {
            return Some(mask.clone());
        }
        let mut masks = self.targets.iter().map(|target| target.mask.as_ref());
        let first = masks.next()??.clone();
        masks.try_fold(first, |union, mask| union.union(mask?).ok())
    }

    /// The smallest box around all targets.
    pub fn enclosing_box(&self) -> Option<BoxXyxy<Pixels>> {
        self.targets.iter().map(|target| target.bbox).reduce(BoxXyxy::enclosing)
    }
}
