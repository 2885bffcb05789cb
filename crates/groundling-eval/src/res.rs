//! Referring expression segmentation, and the protocol of Ref-ZOM, which adds expressions without a target.
//!
//! Over samples with a target: `I = |pred ∧ gt|`, `U = |pred ∨ gt|`, `iou = I / U`, 0 if `U = 0`.
//!
//! | figure | formula, in percent |
//! |---|---|
//! | oIoU (also cIoU) | `ΣI / ΣU` |
//! | mIoU | `mean(iou)` |
//! | P@X | share of `iou >= X`, X = 0.5, 0.6, 0.7, 0.8, 0.9 |
//! | Acc (Ref-ZOM) | over samples without a target: share whose predicted mask has no pixel at all |
//!
//! Samples without a target enter Acc only: a false positive there does not enlarge `ΣU`. Figures over no samples are
//! not available. The predicted mask is the union of the masks of all listed targets; the record's no-target answer
//! is not read. A missing prediction has `I = 0`, `U = |gt|`, and is wrong for Acc.
//!
//! Source: Hu, Wang et al. 2023, Beyond One-to-One (arXiv:2308.13853), Sec. 5.2, and the behaviour of its released
//! program; Yang et al. 2022, LAVT (arXiv:2112.02244), for the 480 x 480 mode.

use rayon::prelude::*;

use crate::figures::{one_if, percent, ratio};
use crate::masks::{MaskOverlap, MaskSize, overlap};
use crate::records::Sample;
use crate::{EvalError, RatioFigure};

/// Thresholds of P@X.
pub const PRECISION_THRESHOLDS: [f64; 5] = [0.5, 0.6, 0.7, 0.8, 0.9];

/// How to compare masks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResOptions {
    /// At which size.
    pub size: MaskSize,
    /// Predicted targets with a lower score are left out.
    pub min_score: f64,
}

impl ResOptions {
    /// All listed targets.
    pub fn new(size: MaskSize) -> Self {
        Self { size, min_score: 0.0 }
    }
}

/// What became of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ResOutcome {
    /// A sample with a target.
    Targeted {
        /// Pixels in both masks.
        intersection: u64,
        /// Pixels in either.
        union: u64,
    },
    /// A sample without.
    Absent {
        /// Whether the predicted mask is empty.
        right: bool,
    },
}

impl ResOutcome {
    /// From the counted pixels of a targeted sample.
    pub fn targeted(overlap: MaskOverlap) -> Self {
        ResOutcome::Targeted { intersection: overlap.intersection, union: overlap.union() }
    }

    /// IoU of a targeted sample, 0 if both masks are empty.
    pub fn iou(self) -> Option<f64> {
        match self {
            ResOutcome::Targeted { union: 0, .. } => Some(0.0),
            ResOutcome::Targeted { intersection, union } => Some(intersection as f64 / union as f64),
            ResOutcome::Absent { .. } => None,
        }
    }
}

/// The figures of a data set, in percent.
#[derive(Debug, Clone, PartialEq)]
pub struct ResScores {
    /// Samples with a target.
    pub targeted: usize,
    /// Samples without.
    pub absent: usize,
    /// ΣI.
    pub intersection: u64,
    /// ΣU.
    pub union: u64,
    /// Overall IoU.
    pub overall_iou: Option<f64>,
    /// Mean IoU.
    pub mean_iou: Option<f64>,
    /// Threshold and P@threshold.
    pub precision: [(f64, Option<f64>); 5],
    /// Share of samples without a target whose predicted mask is empty.
    pub absent_accuracy: Option<f64>,
}

impl ResScores {
    /// From the outcome of every sample.
    pub fn of(outcomes: &[ResOutcome]) -> Self {
        let ious: Vec<f64> = outcomes.iter().filter_map(|outcome| outcome.iou()).collect();
        let (mut intersection, mut union, mut absent, mut right) = (0u64, 0u64, 0, 0u64);
        for outcome in outcomes {
            match *outcome {
                ResOutcome::Targeted { intersection: i, union: u } => {
                    (intersection, union) = (intersection + i, union + u)
                }
                ResOutcome::Absent { right: is } => (absent, right) = (absent + 1, right + u64::from(is)),
            }
        }
        let targeted = ious.len();
        let at = |threshold: f64| ious.iter().filter(|&&iou| iou >= threshold).count() as f64;
        Self {
            targeted,
            absent,
            intersection,
            union,
            overall_iou: ratio(intersection as f64, union as f64),
            mean_iou: percent(ious.iter().sum(), targeted),
            precision: PRECISION_THRESHOLDS.map(|threshold| (threshold, percent(at(threshold), targeted))),
            absent_accuracy: percent(right as f64, absent),
        }
    }
}

/// The outcome of every sample.
///
/// # Errors
/// If a listed target has no mask, or masks have different sizes.
pub fn outcomes(samples: &[Sample], options: ResOptions) -> Result<Vec<ResOutcome>, EvalError> {
    samples
        .par_iter()
        .map(|sample| {
            let (overlap, truth) = overlap(sample, options.size, options.min_score)?;
            Ok(if sample.truth.is_absent() {
                ResOutcome::Absent { right: overlap.is_some_and(|overlap| overlap.predicted == 0) }
            } else {
                ResOutcome::targeted(overlap.unwrap_or(MaskOverlap { truth, ..MaskOverlap::default() }))
            })
        })
        .collect()
}

/// Scores samples.
///
/// # Errors
/// As [`outcomes`].
pub fn score(samples: &[Sample], options: ResOptions) -> Result<ResScores, EvalError> {
    Ok(ResScores::of(&outcomes(samples, options)?))
}

/// The same figures as sums over samples, for intervals; Acc only where `with_absent`.
pub fn figures(outcomes: &[ResOutcome], with_absent: bool) -> Vec<RatioFigure> {
    let each = |f: &dyn Fn(u64, u64, f64) -> (f64, f64)| -> Vec<(f64, f64)> {
        let term = |outcome: &ResOutcome| match *outcome {
            ResOutcome::Targeted { intersection, union } => f(intersection, union, outcome.iou().unwrap_or(0.0)),
            ResOutcome::Absent { .. } => (0.0, 0.0),
        };
        outcomes.iter().map(term).collect()
    };
    let mut figures = vec![
        RatioFigure::percent("oIoU", true, each(&|i, u, _| (i as f64, u as f64))),
        RatioFigure::percent("mIoU", true, each(&|_, _, iou| (iou, 1.0))),
    ];
    figures.extend(PRECISION_THRESHOLDS.map(|threshold| {
        RatioFigure::percent(format!("P@{threshold}"), false, each(&|_, _, iou| (one_if(iou >= threshold), 1.0)))
    }));
    if with_absent {
        let term = |outcome: &ResOutcome| match *outcome {
            ResOutcome::Absent { right } => (one_if(right), 1.0),
            ResOutcome::Targeted { .. } => (0.0, 0.0),
        };
        figures.push(RatioFigure::percent("Acc", true, outcomes.iter().map(term)));
    }
    figures
}
