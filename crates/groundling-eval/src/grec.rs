//! Generalised referring expression comprehension: zero, one or many boxes.
//!
//! Boxes with `score >= 0.7` are kept. Kept and true boxes are paired greedily, best overlap first, each box used once,
//! until the best overlap left is below 0.5; `F1 = 2 TP / (2 TP + FP + FN)`. Without a target F1 is 1 if no box is kept and 0
//! otherwise.
//!
//! | figure | formula |
//! |---|---|
//! | Pr@(F1=1) | 100 * share of samples with `F1 >= 1` |
//! | N-acc | samples without a target that keep no box / samples without a target, a fraction |
//! | T-acc | samples with a target that keep a box / samples with a target, a fraction |
//!
//! N-acc and T-acc are both 0 when there is no empty sample at all, as in [`crate::gres`]. Among equal overlaps the earlier
//! predicted box goes first, then the earlier true one. The record's no-target answer is not read: kept boxes decide. A
//! missing prediction is wrong in every figure.
//!
//! Source: He, Ding, Liu and Jiang 2023, GREC (arXiv:2308.16182), Sec. 3.2. The paper speaks of IoU, the released
//! gRefCOCO evaluator pairs by GIoU: [`Pairing::Iou`] is `paper-iou`, [`Pairing::Giou`] is `repo-giou`.

use groundling_core::{BoxXyxy, Pixels};
use rayon::prelude::*;

use crate::figures::{one_if, percent};
use crate::gres::emptiness_figures;
use crate::records::Sample;
use crate::{EvalError, RatioFigure};

/// By which overlap boxes are paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pairing {
    /// Generalised IoU, as the released evaluator (`repo-giou`).
    Giou,
    /// IoU, as the paper (`paper-iou`).
    Iou,
}

impl Pairing {
    /// Overlap of two boxes.
    pub fn overlap(self, predicted: BoxXyxy<Pixels>, truth: BoxXyxy<Pixels>) -> f64 {
        match self {
            Pairing::Giou => predicted.giou(truth),
            Pairing::Iou => predicted.iou(truth),
        }
    }
}

/// How to compare.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GrecOptions {
    /// By which overlap boxes are paired.
    pub pairing: Pairing,
    /// Boxes with at least this score are kept.
    pub min_score: f64,
    /// Pairs below this overlap are none.
    pub min_overlap: f64,
}

impl GrecOptions {
    /// The protocol: score 0.7, overlap 0.5.
    pub fn new(pairing: Pairing) -> Self {
        Self { pairing, min_score: 0.7, min_overlap: 0.5 }
    }
}

/// What became of one sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GrecOutcome {
    /// Whether there is no target.
    pub absent: bool,
    /// Whether no box was kept. A missing prediction counts as the wrong answer.
    pub predicted_empty: bool,
    /// Pairs.
    pub true_positives: usize,
    /// Kept boxes without a pair.
    pub false_positives: usize,
    /// True boxes without a pair.
    pub false_negatives: usize,
    /// 0 to 1.
    pub f1: f64,
}

impl GrecOutcome {
    /// From the kept and the true boxes.
    pub fn of(kept: &[BoxXyxy<Pixels>], truth: &[BoxXyxy<Pixels>], options: GrecOptions) -> Self {
        let true_positives = greedy_pairs(kept, truth, options).len();
        let (false_positives, false_negatives) = (kept.len() - true_positives, truth.len() - true_positives);
        let f1 = if truth.is_empty() {
            one_if(kept.is_empty())
        } else {
            2.0 * true_positives as f64 / (2 * true_positives + false_positives + false_negatives) as f64
        };
        let (absent, predicted_empty) = (truth.is_empty(), kept.is_empty());
        Self { absent, predicted_empty, true_positives, false_positives, false_negatives, f1 }
    }

    /// Whether every target is found and nothing else.
    pub fn is_perfect(self) -> bool {
        self.f1 >= 1.0
    }
}

/// Pairs of (predicted, true) places, best first.
pub fn greedy_pairs(
    predicted: &[BoxXyxy<Pixels>],
    truth: &[BoxXyxy<Pixels>],
    options: GrecOptions,
) -> Vec<(usize, usize)> {
    let mut candidates = Vec::new();
    for (p, &found) in predicted.iter().enumerate() {
        let overlaps = truth.iter().enumerate().map(|(t, &wanted)| (options.pairing.overlap(found, wanted), p, t));
        // Pairs too far apart could only be drawn after the pairing has stopped.
        candidates.extend(overlaps.filter(|(overlap, ..)| *overlap >= options.min_overlap));
    }
    // Stable: candidates stand in the order of predicted, then true boxes.
    candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
    let (mut used, mut found) = (vec![false; predicted.len()], vec![false; truth.len()]);
    candidates.retain(|&(_, p, t)| {
        let free = !used[p] && !found[t];
        (used[p], found[t]) = (used[p] || free, found[t] || free);
        free
    });
    candidates.into_iter().map(|(_, p, t)| (p, t)).collect()
}

/// The figures of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct GrecScores {
    /// Samples with a target.
    pub targeted: usize,
    /// Samples without.
    pub absent: usize,
    /// Percent.
    pub precision: Option<f64>,
    /// Fraction; 0 by convention without empty samples.
    pub no_target_accuracy: f64,
    /// Fraction; 0 by convention without empty samples.
    pub target_accuracy: f64,
}

impl GrecScores {
    /// From the outcome of every sample.
    pub fn of(outcomes: &[GrecOutcome]) -> Self {
        let count = |f: &dyn Fn(&GrecOutcome) -> bool| outcomes.iter().filter(|outcome| f(outcome)).count();
        let absent = count(&|outcome| outcome.absent);
        let targeted = outcomes.len() - absent;
        let share = |part: usize, whole: usize| if whole > 0 && absent > 0 { part as f64 / whole as f64 } else { 0.0 };
        Self {
            targeted,
            absent,
            precision: percent(count(&|outcome| outcome.is_perfect()) as f64, outcomes.len()),
            no_target_accuracy: share(count(&|outcome| outcome.absent && outcome.predicted_empty), absent),
            target_accuracy: share(count(&|outcome| !outcome.absent && !outcome.predicted_empty), targeted),
        }
    }
}

/// The outcome of every sample.
///
/// # Errors
/// If a sample that is not "no target" lists no box.
pub fn outcomes(samples: &[Sample], options: GrecOptions) -> Result<Vec<GrecOutcome>, EvalError> {
    samples
        .par_iter()
        .map(|sample| {
            let truth: Vec<_> = sample.truth.truth.targets.iter().map(|target| target.bbox).collect();
            let absent = sample.truth.is_absent();
            if !absent && truth.is_empty() {
                return Err(EvalError::NoTargetBox { id: sample.truth.id.clone(), protocol: "grec" });
            }
            Ok(match &sample.prediction {
                Some(record) => {
                    let kept: Vec<_> = record.prediction.above(options.min_score).map(|target| target.bbox).collect();
                    GrecOutcome::of(&kept, &truth, options)
                }
                None => GrecOutcome {
                    absent,
                    predicted_empty: !absent,
                    true_positives: 0,
                    false_positives: 0,
                    false_negatives: truth.len(),
                    f1: 0.0,
                },
            })
        })
        .collect()
}

/// Scores samples.
///
/// # Errors
/// As [`outcomes`].
pub fn score(samples: &[Sample], options: GrecOptions) -> Result<GrecScores, EvalError> {
    Ok(GrecScores::of(&outcomes(samples, options)?))
}

/// The same figures as sums over samples, for intervals; all in percent, also N-acc and T-acc.
pub fn figures(outcomes: &[GrecOutcome]) -> Vec<RatioFigure> {
    let perfect = outcomes.iter().map(|outcome| (one_if(outcome.is_perfect()), 1.0));
    let mut figures = vec![RatioFigure::percent("Pr@(F1=1)", true, perfect)];
    figures.extend(emptiness_figures(&outcomes.iter().map(|o| (o.absent, o.predicted_empty)).collect::<Vec<_>>()));
    figures
}
