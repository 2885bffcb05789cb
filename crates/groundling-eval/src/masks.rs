//! Masks of samples, and how much they overlap at the original or at a fixed size.

use groundling_core::{ImageSize, Rle, RleError, mask::nearest_indices};

use crate::EvalError;
use crate::records::Sample;

/// The size at which masks are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MaskSize {
    /// That of the image.
    Original,
    /// Both masks are resized to N x N first, by nearest neighbour without keeping the aspect, as LAVT and its
    /// followers do with N = 480 (see [`groundling_core::BinaryMask::resized_nearest`]).
    ///
    /// DEVIATION: the reference resizes the truth only, since its network already answers at N x N; a record holds the
    /// answer at the original size, so it is resized back.
    Resized(u32),
}

/// Pixels of a predicted and a true mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaskOverlap {
    /// In both.
    pub intersection: u64,
    /// In the predicted mask.
    pub predicted: u64,
    /// In the true mask.
    pub truth: u64,
}

impl MaskOverlap {
    /// Counts pixels without decoding either mask.
    ///
    /// # Errors
    /// If the masks have different sizes.
    pub fn count(predicted: &Rle, truth: &Rle, size: MaskSize) -> Result<Self, RleError> {
        // Also checks the sizes.
        let intersection = predicted.intersection(truth)?;
        let MaskSize::Resized(side) = size else {
            return Ok(Self { intersection, predicted: predicted.area(), truth: truth.area() });
        };
        let weights = Weights::new(truth.size(), side);
        Ok(Self {
            intersection: common_runs(predicted, truth).map(|run| weights.of(run)).sum(),
            predicted: predicted.foreground().map(|run| weights.of(run)).sum(),
            truth: truth.foreground().map(|run| weights.of(run)).sum(),
        })
    }

    /// In either mask.
    pub fn union(self) -> u64 {
        self.predicted + self.truth - self.intersection
    }

    /// Intersection over union, 0 where both are empty.
    pub fn iou(self) -> f64 {
        if self.union() == 0 { 0.0 } else { self.intersection as f64 / self.union() as f64 }
    }
}

/// How many pixels of the resized mask each pixel of the original becomes: rows times columns.
///
/// Only the pixels that are taken are listed, in ascending order: a record may state an image of one row and four thousand
/// million columns.
struct Weights {
    height: u64,
    /// The row that every output row is taken from.
    rows: Vec<u32>,
    /// The column that every output column is taken from.
    columns: Vec<u32>,
}

impl Weights {
    fn new(from: ImageSize, side: u32) -> Self {
        let (rows, columns) = (nearest_indices(from.height(), side), nearest_indices(from.width(), side));
        Self { height: u64::from(from.height()), rows, columns }
    }

    /// Output pixels made from a run of column-major positions, which is not empty.
    fn of(&self, (start, end): (u64, u64)) -> u64 {
        let (first, last) = (start / self.height, (end - 1) / self.height);
        let (top, bottom) = (start - first * self.height, end - last * self.height);
        let column = |column| taken(&self.columns, column, column + 1);
        if first == last {
            return column(first) * taken(&self.rows, top, bottom);
        }
        column(first) * taken(&self.rows, top, self.height)
            + taken(&self.columns, first + 1, last) * self.rows.len() as u64
            + column(last) * taken(&self.rows, 0, bottom)
    }
}

/// How many of some ascending indices lie in `from..to`.
fn taken(indices: &[u32], from: u64, to: u64) -> u64 {
    let below = |end: u64| indices.partition_point(|&index| u64::from(index) < end);
    (below(to) - below(from)) as u64
}

/// Runs that are foreground in both.
fn common_runs<'a>(left: &'a Rle, right: &'a Rle) -> impl Iterator<Item = (u64, u64)> + 'a {
    let (mut lefts, mut rights) = (left.foreground(), right.foreground());
    let (mut a, mut b) = (lefts.next(), rights.next());
    std::iter::from_fn(move || {
        loop {
            let ((a0, a1), (b0, b1)) = (a?, b?);
            if a1 <= b1 {
                a = lefts.next();
            } else {
                b = rights.next();
            }
            let (start, end) = (a0.max(b0), a1.min(b1));
            if start < end {
                return Some((start, end));
            }
        }
    })
}

/// The union of the masks of all predicted targets with at least this score: what a segmentation model says. The
/// no-target answer does not empty it; protocols that read that answer do so themselves. `None` without a prediction.
pub(crate) fn predicted_mask(sample: &Sample, min_score: f64) -> Result<Option<Rle>, EvalError> {
    let Some(record) = &sample.prediction else { return Ok(None) };
    let targets = record.prediction.targets.iter().enumerate().filter(|(_, target)| target.score >= min_score);
    let masks = targets.map(|(index, target)| (index, target.mask.as_ref()));
    union(sample, "predicted", masks).map(Some)
}

/// The merged mask if the data set states one, else the union of the targets' masks.
pub(crate) fn true_mask(sample: &Sample) -> Result<Rle, EvalError> {
    let truth = &sample.truth.truth;
    if let Some(mask) = &truth.merged_mask {
        return Ok(mask.clone());
    }
    union(sample, "true", truth.targets.iter().map(|target| target.mask.as_ref()).enumerate())
}

fn union<'a>(
    sample: &Sample,
    whose: &'static str,
    masks: impl Iterator<Item = (usize, Option<&'a Rle>)>,
) -> Result<Rle, EvalError> {
    let id = || sample.truth.id.clone();
    let mut masks = masks
        .map(|(target, mask)| mask.cloned().ok_or_else(|| EvalError::NoMask { id: id(), whose, target }))
        .collect::<Result<Vec<_>, _>>()?;
    if masks.len() < 2 {
        return Ok(masks.pop().unwrap_or_else(|| Rle::empty(sample.truth.image_size)));
    }
    let size = masks.first().map_or(sample.truth.image_size, Rle::size);
    // One pass over all runs: a record may list thousands of masks.
    Rle::layered(size, &masks, |covering| covering > 0).map_err(|source| EvalError::MaskSize { id: id(), source })
}

/// Overlap of a sample's masks; `None` without a prediction, with the pixels of the truth beside it.
pub(crate) fn overlap(
    sample: &Sample,
    size: MaskSize,
    min_score: f64,
) -> Result<(Option<MaskOverlap>, u64), EvalError> {
    let truth = true_mask(sample)?;
    let predicted = predicted_mask(sample, min_score)?;
    let counted = |predicted: &Rle| {
        let counted = MaskOverlap::count(predicted, &truth, size);
        counted.map_err(|source| EvalError::MaskSize { id: sample.truth.id.clone(), source })
    };
    match predicted {
        Some(predicted) => counted(&predicted).map(|overlap| (Some(overlap), overlap.truth)),
        None => counted(&Rle::empty(truth.size())).map(|overlap| (None, overlap.truth)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resizing_costs_what_the_result_costs() {
        // One row of four thousand million pixels, and one column: tables of them would be 32 GiB.
        for (height, width) in [(1, u32::MAX), (u32::MAX, 1)] {
            let size = ImageSize::new(height, width).unwrap();
            let all = Rle::from_counts(size, vec![0, u32::MAX]).unwrap();
            let half = Rle::from_counts(size, vec![u32::MAX / 2, u32::MAX - u32::MAX / 2]).unwrap();
            let overlap = MaskOverlap::count(&half, &all, MaskSize::Resized(480)).unwrap();
            assert_eq!(overlap, MaskOverlap { intersection: 115_200, predicted: 115_200, truth: 230_400 });
        }
    }
}
