//! Which tokens are foreground in training, and the selector's loss.

use burn::tensor::{Tensor, TensorData};
use groundling_nn::losses::{FocalLoss, sigmoid_focal};
use serde::{Deserialize, Serialize};

/// Which boxes make the cells of a level foreground.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelRule {
    /// By the largest distance from the cell's centre to a side of the box: above the range's start, up to its end. One range a level.
    /// PARITY: the released code's rule, where ranges meet but do not overlap.
    Distance(Vec<SizeRange>),
    /// By half of the box's longer side: within the range, both ends included. One range a level; the paper's ranges overlap.
    HalfSide(Vec<SizeRange>),
}

/// Pixels of the network input.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeRange {
    /// Where it starts.
    pub above: f32,
    /// Where it ends.
    pub up_to: f32,
}

/// Larger than any image.
const NO_END: f32 = 999_999.0;

impl LabelRule {
    /// Of the released code: up to 64, 128, 256 and all beyond.
    pub fn published() -> Self {
        let range = |(above, up_to)| SizeRange { above, up_to };
        Self::Distance([(-1.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, NO_END)].map(range).to_vec())
    }

    /// Of the paper, with the code's ends: each range starts in the middle of the one before.
    pub fn overlapping() -> Self {
        let mut ranges: Vec<SizeRange> = Vec::new();
        for up_to in [64.0, 128.0, 256.0, NO_END] {
            let above = ranges.last().map_or(0.0, |before| (before.above + before.up_to) / 2.0);
            ranges.push(SizeRange { above, up_to });
        }
        Self::HalfSide(ranges)
    }

    /// One for each level.
    pub(super) fn ranges(&self) -> &[SizeRange] {
        match self {
            Self::Distance(ranges) | Self::HalfSide(ranges) => ranges,
        }
    }
}

/// Side of level 0's cells in pixels; each level doubles it.
const FIRST_STRIDE: usize = 8;

/// Labels of all tokens, `true` = foreground: those whose centre lies inside of a box (not on its edge) that is of the level's size.
///
/// `boxes` are left, top, right, bottom in pixels of the network input; `sizes` rows and columns of the levels.
///
/// # Panics
/// If there are fewer ranges than levels.
pub fn foreground_labels(rule: &LabelRule, boxes: &[[f32; 4]], sizes: &[[usize; 2]]) -> Vec<bool> {
    assert!(rule.ranges().len() >= sizes.len(), "a range for each level");
    let mut labels = Vec::with_capacity(sizes.iter().map(|[height, width]| height * width).sum());
    for (level, (&[height, width], range)) in sizes.iter().zip(rule.ranges()).enumerate() {
        let stride = FIRST_STRIDE << level;
        let centre = |cell: usize| (cell * stride + stride / 2) as f32;
        for cell in 0..height * width {
            let (x, y) = (centre(cell % width), centre(cell / width));
            let claims = |[x0, y0, x1, y1]: &[f32; 4]| {
                let sides = [x - x0, y - y0, x1 - x, y1 - y];
                let inside = sides.iter().all(|&side| side > 0.0);
                inside
                    && match rule {
                        LabelRule::Distance(_) => {
                            let most = sides.into_iter().fold(f32::MIN, f32::max);
                            most > range.above && most <= range.up_to
                        }
                        LabelRule::HalfSide(_) => {
                            let half = (x1 - x0).max(y1 - y0) / 2.0;
                            half >= range.above && half <= range.up_to
                        }
                    }
            };
            labels.push(boxes.iter().any(claims));
        }
    }
    labels
}

/// The selector's loss of each image, `[B]`: focal, summed over all tokens, over the number of foreground tokens (at least 1).
///
/// # Shapes
/// - `scores` `[B, N]`, logits; `labels` one list of `N` for each image
///
/// # Panics
/// If there are not `N` labels for each image.
pub fn select_losses(scores: Tensor<2>, labels: &[Vec<bool>], focal: FocalLoss) -> Tensor<1> {
    let [b, n] = scores.dims();
    let device = scores.device();
    let values: Vec<f32> = labels.iter().flatten().map(|&label| f32::from(u8::from(label))).collect();
    let counts: Vec<f32> = labels.iter().map(|row| row.iter().filter(|&&l| l).count().max(1) as f32).collect();
    let targets = Tensor::from_data(TensorData::new(values, [b, n]), &device);
    let each: Tensor<1> = sigmoid_focal(scores, targets, focal).sum_dim(1).squeeze_dim(1);
    each / Tensor::from_data(TensorData::new(counts, [b]), &device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_the_paper_overlap_by_half() {
        let LabelRule::HalfSide(ranges) = LabelRule::overlapping() else { panic!("by half a side") };
        let found: Vec<f32> = ranges.iter().map(|range| range.above).collect();
        assert_eq!(found, [0.0, 32.0, 80.0, 168.0]);
        let sizes = [[16, 16], [8, 8], [4, 4], [2, 2]];
        let per_level = |bbox: [f32; 4]| {
            let labels = foreground_labels(&LabelRule::overlapping(), &[bbox], &sizes);
            let starts = [0, 256, 320, 336, 340];
            [0, 1, 2, 3].map(|level| labels[starts[level]..starts[level + 1]].iter().any(|&label| label))
        };
        // Half of the longer side is 50: levels 0 and 1.
        assert_eq!(per_level([10.0, 10.0, 110.0, 60.0]), [true, true, false, false]);
        assert_eq!(per_level([10.0, 10.0, 40.0, 30.0]), [true, false, false, false]);
    }
}
