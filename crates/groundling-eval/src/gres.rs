//! Generalised referring expression segmentation: zero, one or many targets in one protocol.
//!
//! | | predicted empty | not predicted empty |
//! |---|---|---|
//! | truth empty | TP: iou 1, I and U += 0 | FN: iou 0, I += 0, U += predicted area |
//! | truth not empty | FP: iou 0, I += 0, U += `\|pred ∨ gt\|` with the raw predicted mask | TN: iou = I/U (0 if U = 0) |
//!
//! | figure | formula |
//! |---|---|
//! | gIoU | `100 * Σ iou / all samples` |
//! | cIoU | `100 * ΣI / ΣU` |
//! | Pr@0.7, 0.8, 0.9 | 100 * share of targeted samples with `iou >= X` |
//! | N-acc | `TP / (TP + FN)`, a fraction |
//! | T-acc | `TN / (TN + FP)`, a fraction |
//!
//! N-acc and T-acc are both 0 when there is no empty sample at all, by the convention of the reference. A missing
//! prediction is FN without pixels, or FP with `U += |gt|`.
//!
//! Source: Liu, Ding and Jiang 2023, GRES (arXiv:2306.00968), Sec. 4, and the behaviour of the released ReLA evaluator.

use rayon::prelude::*;

use crate::figures::{one_if, percent, ratio};
use crate::masks::{MaskOverlap, MaskSize, overlap};
use crate::records::Sample;
use crate::{EvalError, RatioFigure};

/// Thresholds of Pr@X.
pub const PRECISION_THRESHOLDS: [f64; 3] = [0.7, 0.8, 0.9];
/// The area rule's usual number of pixels.
pub const USUAL_MIN_PIXELS: u64 = 50;

/// When a prediction counts as "nothing here".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PredictedEmpty {
    /// When the record's `no_target` says so; the masks stay as they are. For models that can tell.
    Flag,
    /// When the predicted mask has no pixel.
    EmptyMask,
    /// When it has fewer than `min_pixels`, counted at the size of the comparison; the mask is cleared then.
    Area {
        /// Pixels a mask must have.
        min_pixels: u64,
    },
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GresOptions {
    /// When a prediction counts as empty.
    pub empty: PredictedEmpty,
    /// At which size.
    pub size: MaskSize,
    /// Predicted targets with a lower score are left out.
    pub min_score: f64,
}

impl GresOptions {
    /// All listed targets, at the size of the image.
    pub fn new(empty: PredictedEmpty) -> Self {
        Self { empty, size: MaskSize::Original, min_score: 0.0 }
    }
}

/// What became of one sample: one cell of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GresOutcome {
    /// Whether the truth is empty.
    pub absent: bool,
    /// Whether the prediction counts as empty.
    pub predicted_empty: bool,
    /// What the sample adds to ΣI.
    pub intersection: u64,
    /// What it adds to ΣU.
    pub union: u64,
    /// What it adds to Σ iou.
    pub iou: f64,
}

impl GresOutcome {
    /// From the pixels of the raw masks, and whether the record says "no target".
    pub fn of(absent: bool, mut pixels: MaskOverlap, no_target: bool, empty: PredictedEmpty) -> Self {
        let predicted_empty = match empty {
            PredictedEmpty::Flag => no_target,
            PredictedEmpty::EmptyMask => pixels.predicted == 0,
            PredictedEmpty::Area { min_pixels } => pixels.predicted < min_pixels,
        };
        if predicted_empty && matches!(empty, PredictedEmpty::Area { .. }) {
            (pixels.predicted, pixels.intersection) = (0, 0);
        }
        let (intersection, union, iou) = match (absent, predicted_empty) {
            (true, true) => (0, 0, 1.0),
            (true, false) | (false, true) => (0, pixels.union(), 0.0),
            (false, false) => (pixels.intersection, pixels.union(), pixels.iou()),
        };
        Self { absent, predicted_empty, intersection, union, iou }
    }

    /// Whether "empty or not" was answered rightly.
    pub fn emptiness_is_right(self) -> bool {
        self.absent == self.predicted_empty
    }
}

/// The figures of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct GresScores {
    /// Samples with a target.
    pub targeted: usize,
    /// Samples without.
    pub absent: usize,
    /// Percent.
    pub generalized_iou: Option<f64>,
    /// Percent.
    pub cumulative_iou: Option<f64>,
    /// Fraction; 0 by convention without empty samples.
    pub no_target_accuracy: f64,
    /// Fraction; 0 by convention without empty samples.
    pub target_accuracy: f64,
    /// Threshold and percent.
    pub precision: [(f64, Option<f64>); 3],
}

impl GresScores {
    /// From the outcome of every sample.
    pub fn of(outcomes: &[GresOutcome]) -> Self {
        let count = |f: &dyn Fn(&GresOutcome) -> bool| outcomes.iter().filter(|outcome| f(outcome)).count();
        let absent = count(&|outcome| outcome.absent);
        let targeted = outcomes.len() - absent;
        let share = |part: usize, whole: usize| if whole > 0 && absent > 0 { part as f64 / whole as f64 } else { 0.0 };
        let at = |threshold: f64| count(&|outcome| !outcome.absent && outcome.iou >= threshold) as f64;
        let sum = |f: fn(&GresOutcome) -> u64| outcomes.iter().map(f).sum::<u64>() as f64;
        Self {
            targeted,
            absent,
            generalized_iou: percent(outcomes.iter().map(|outcome| outcome.iou).sum(), outcomes.len()),
            cumulative_iou: ratio(sum(|outcome| outcome.intersection), sum(|outcome| outcome.union)),
            no_target_accuracy: share(count(&|outcome| outcome.absent && outcome.predicted_empty), absent),
            target_accuracy: share(count(&|outcome| !outcome.absent && !outcome.predicted_empty), targeted),
            precision: PRECISION_THRESHOLDS.map(|threshold| (threshold, percent(at(threshold), targeted))),
        }
    }
}

/// The outcome of every sample.
///
/// # Errors
/// If a listed target has no mask, or masks have different sizes.
pub fn outcomes(samples: &[Sample], options: GresOptions) -> Result<Vec<GresOutcome>, EvalError> {
    samples
        .par_iter()
        .map(|sample| {
            let (pixels, truth) = overlap(sample, options.size, options.min_score)?;
            let absent = sample.truth.is_absent();
            Ok(match (pixels, &sample.prediction) {
                (Some(pixels), Some(record)) => {
                    GresOutcome::of(absent, pixels, record.prediction.no_target, options.empty)
                }
                _ => GresOutcome { absent, predicted_empty: !absent, intersection: 0, union: truth, iou: 0.0 },
            })
        })
        .collect()
}

/// Scores samples.
///
/// # Errors
/// As [`outcomes`].
pub fn score(samples: &[Sample], options: GresOptions) -> Result<GresScores, EvalError> {
    Ok(GresScores::of(&outcomes(samples, options)?))
}

/// The same figures as sums over samples, for intervals; all in percent, also N-acc and T-acc.
pub fn figures(outcomes: &[GresOutcome]) -> Vec<RatioFigure> {
    let each = |f: &dyn Fn(&GresOutcome) -> (f64, f64)| outcomes.iter().map(f).collect::<Vec<_>>();
    let mut figures = vec![
        RatioFigure::percent("gIoU", true, each(&|outcome| (outcome.iou, 1.0))),
        RatioFigure::percent("cIoU", true, each(&|o| (o.intersection as f64, o.union as f64))),
    ];
    figures.extend(emptiness_figures(&outcomes.iter().map(|o| (o.absent, o.predicted_empty)).collect::<Vec<_>>()));
    figures.extend(PRECISION_THRESHOLDS.map(|threshold| {
        let term = |o: &GresOutcome| (one_if(!o.absent && o.iou >= threshold), one_if(!o.absent));
        RatioFigure::percent(format!("Pr@{threshold}"), false, each(&term))
    }));
    figures
}

/// N-acc and T-acc from (absent, predicted empty) of every sample.
pub(crate) fn emptiness_figures(samples: &[(bool, bool)]) -> [RatioFigure; 2] {
    // With no empty sample at all T-acc is 0 by convention, and so is N-acc, which has no denominator then.
    let any_absent = samples.iter().any(|(absent, _)| *absent);
    let zero = |holds: bool| one_if(holds && any_absent);
    let n_acc = samples.iter().map(|&(absent, empty)| (zero(absent && empty), one_if(absent || !any_absent)));
    let t_acc = samples.iter().map(|&(absent, empty)| (zero(!absent && !empty), one_if(!absent)));
    [RatioFigure::percent("N-acc", false, n_acc), RatioFigure::percent("T-acc", false, t_acc)]
}
