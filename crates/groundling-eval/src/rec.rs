//! Referring expression comprehension: one expression, one box.
//!
//! A sample's prediction is its best-scored target (the first of equals), whatever the record's no-target answer says,
//! because these protocols have no such answer; no target at all is an IoU of 0. The truth must be one box.
//!
//! | rule | prediction is clipped to | IoU | hit |
//! |---|---|---|---|
//! | [`RecRule::Standard`] | the image | `I / U` | `IoU >= t` |
//! | [`RecRule::TransVg`] | the square canvas around the image | `I / (U + 1e-16)` in fractions of its side | `IoU >= t` |
//! | [`RecRule::VltVg`] | the image | `I / U` | `IoU > t` |
//!
//! The truth is never clipped. Acc@t is the share of hits, mAcc the mean of Acc@t over 0.5, 0.55, ..., 0.95, mIoU the mean
//! IoU; all in percent, and not available without samples.
//!
//! Source: Yu et al. 2016 (arXiv:1608.00272) for the task; Deng et al. 2021 (arXiv:2104.08541) and the released
//! `TransVG/utils/eval_utils.py` for TransVG; Yang et al., CVPR 2022, and its released evaluation for VLTVG.

use groundling_core::{BoxXyxy, ImageSize, Pixels};
use rayon::prelude::*;

use crate::figures::{one_if, percent};
use crate::records::Sample;
use crate::{EvalError, RatioFigure};

/// IoU 0.5, 0.55, ..., 0.95, over which mAcc is the mean.
pub const MEAN_ACC_THRESHOLDS: [f64; 10] = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95];

/// Whose rule decides what a hit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecRule {
    /// The field's: clipped to the image, `IoU >= t`.
    Standard,
    /// TransVG's and QRNet's. PARITY: they clamp to the network's canvas and not to the image, and add 1e-16 to the
    /// union. The canvas is a square of the image's longer side with the image in its centre; records that were
    /// clipped to the image when written are not affected.
    TransVg,
    /// VLTVG's. PARITY: an IoU of exactly the threshold is no hit.
    VltVg,
}

impl RecRule {
    /// Name of the protocol.
    pub fn name(self) -> &'static str {
        match self {
            RecRule::Standard => "rec",
            RecRule::TransVg => "rec-transvg",
            RecRule::VltVg => "rec-vltvg",
        }
    }

    /// Thresholds whose accuracy is reported; the first is the headline.
    pub fn thresholds(self) -> &'static [f64] {
        match self {
            RecRule::Standard => &[0.5, 0.75, 0.9],
            RecRule::TransVg => &[0.5],
            RecRule::VltVg => &[0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9],
        }
    }

    /// IoU of a predicted box with the true one, both in pixels of the image.
    pub fn iou(self, predicted: BoxXyxy<Pixels>, truth: BoxXyxy<Pixels>, image: ImageSize) -> f64 {
        match self {
            RecRule::Standard | RecRule::VltVg => predicted.clipped_to(image).iou(truth),
            RecRule::TransVg => {
                let side = f64::from(image.long_side());
                let left = (side - f64::from(image.width())) / 2.0;
                let top = (side - f64::from(image.height())) / 2.0;
                let unit = |bbox: BoxXyxy<Pixels>| {
                    bbox.shifted(left, top).scaled_into::<groundling_core::Unit>(1.0 / side, 1.0 / side)
                };
                let (predicted, truth) = (unit(predicted).clipped(1.0, 1.0), unit(truth));
                let intersection = predicted.intersection(truth);
                let union = predicted.area() + truth.area() - intersection;
                // The reference's arithmetic is float32, which absorbs the epsilon except where it keeps 0/0 away. Added
                // in float64 it would turn an IoU of exactly 0.5 into a miss.
                let epsilon = if union as f32 + 1e-16 == union as f32 { 0.0 } else { 1e-16 };
                intersection / (union + epsilon)
            }
        }
    }

    /// Whether an IoU is a hit.
    pub fn is_hit(self, iou: f64, threshold: f64) -> bool {
        match self {
            RecRule::Standard | RecRule::TransVg => iou >= threshold,
            RecRule::VltVg => iou > threshold,
        }
    }
}

/// The figures of a data set, in percent; `None` without samples.
#[derive(Debug, Clone, PartialEq)]
pub struct RecScores {
    /// Number of expressions.
    pub count: usize,
    /// Threshold and Acc@threshold, see [`RecRule::thresholds`].
    pub accuracy: Vec<(f64, Option<f64>)>,
    /// Mean accuracy over [`MEAN_ACC_THRESHOLDS`].
    pub mean_acc: Option<f64>,
    /// Mean IoU.
    pub mean_iou: Option<f64>,
}

impl RecScores {
    /// From the IoU of every expression.
    pub fn of(ious: &[f64], rule: RecRule) -> Self {
        let hits = |threshold: f64| ious.iter().filter(|&&iou| rule.is_hit(iou, threshold)).count() as f64;
        let total: f64 = MEAN_ACC_THRESHOLDS.iter().map(|&threshold| hits(threshold)).sum();
        let count = ious.len();
        Self {
            count,
            accuracy: rule.thresholds().iter().map(|&t| (t, percent(hits(t), count))).collect(),
            mean_acc: percent(total, count * MEAN_ACC_THRESHOLDS.len()),
            mean_iou: percent(ious.iter().sum(), count),
        }
    }
}

/// The IoU of every sample.
///
/// # Errors
/// If a sample has not exactly one true box.
pub fn ious(samples: &[Sample], rule: RecRule) -> Result<Vec<f64>, EvalError> {
    samples
        .par_iter()
        .map(|sample| {
            let [target] = sample.truth.truth.targets.as_slice() else {
                let found = sample.truth.truth.targets.len();
                return Err(EvalError::NotOneTarget { id: sample.truth.id.clone(), protocol: rule.name(), found });
            };
            let best = sample.prediction.as_ref().and_then(|record| record.prediction.best());
            Ok(best.map_or(0.0, |best| rule.iou(best.bbox, target.bbox, sample.truth.image_size)))
        })
        .collect()
}

/// Scores samples.
///
/// # Errors
/// As [`ious`].
pub fn score(samples: &[Sample], rule: RecRule) -> Result<RecScores, EvalError> {
    Ok(RecScores::of(&ious(samples, rule)?, rule))
}

/// The same figures as sums over samples, for intervals.
pub fn figures(ious: &[f64], rule: RecRule) -> Vec<RatioFigure> {
    let hit = |iou, threshold| one_if(rule.is_hit(iou, threshold));
    let at = |(index, &threshold): (usize, &f64)| {
        RatioFigure::percent(format!("Acc@{threshold}"), index == 0, ious.iter().map(|&iou| (hit(iou, threshold), 1.0)))
    };
    let mut figures: Vec<RatioFigure> = rule.thresholds().iter().enumerate().map(at).collect();
    if rule == RecRule::Standard {
        let hits = |iou| MEAN_ACC_THRESHOLDS.iter().map(|&threshold| hit(iou, threshold)).sum::<f64>();
        let count = MEAN_ACC_THRESHOLDS.len() as f64;
        figures.push(RatioFigure::percent("mAcc", false, ious.iter().map(|&iou| (hits(iou), count))));
    }
    figures.push(RatioFigure::percent("mIoU", false, ious.iter().map(|&iou| (iou, 1.0))));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(x0: f64, y0: f64, x1: f64, y1: f64) -> BoxXyxy<Pixels> {
        BoxXyxy::new(x0, y0, x1, y1)
    }

    #[test]
    fn the_rules_differ_at_the_threshold() {
        let image = ImageSize::new(64, 64).unwrap();
        let (truth, half) = (bbox(0.0, 0.0, 32.0, 32.0), bbox(0.0, 0.0, 32.0, 16.0));
        for (rule, hit) in [(RecRule::Standard, true), (RecRule::TransVg, true), (RecRule::VltVg, false)] {
            assert_eq!(rule.is_hit(rule.iou(half, truth, image), 0.5), hit, "{rule:?}");
        }
    }

    #[test]
    fn predictions_are_clipped_and_truths_are_not() {
        let image = ImageSize::new(50, 100).unwrap();
        let truth = bbox(50.0, 0.0, 100.0, 50.0);
        let far_right = bbox(50.0, 0.0, 900.0, 50.0);
        assert_eq!(RecRule::Standard.iou(far_right, truth, image), 1.0);
        assert!((RecRule::TransVg.iou(far_right, truth, image) - 1.0).abs() < 1e-12);
        // The canvas is 100 high with the image in the middle, so 25 rows below the image remain.
        let far_down = bbox(50.0, 0.0, 100.0, 900.0);
        assert_eq!(RecRule::VltVg.iou(far_down, truth, image), 1.0);
        assert!((RecRule::TransVg.iou(far_down, truth, image) - 50.0 / 75.0).abs() < 1e-12);
        let outside_truth = bbox(50.0, 0.0, 150.0, 50.0);
        assert_eq!(RecRule::Standard.iou(outside_truth, outside_truth, image), 0.5);
    }

    #[test]
    fn figures_and_scores_agree() {
        let ious = [0.5, 0.5000001, 0.91, 0.0, 0.76];
        for rule in [RecRule::Standard, RecRule::TransVg, RecRule::VltVg] {
            let (scores, figures) = (RecScores::of(&ious, rule), figures(&ious, rule));
            for ((_, value), figure) in scores.accuracy.iter().zip(&figures) {
                assert_eq!(*value, figure.value(), "{}", figure.name);
            }
            assert_eq!(scores.mean_iou, figures.last().unwrap().value());
        }
        assert_eq!(RecScores::of(&ious, RecRule::Standard).mean_acc, figures(&ious, RecRule::Standard)[3].value());
        assert_eq!(RecScores::of(&[], RecRule::Standard).mean_iou, None);
    }
}
