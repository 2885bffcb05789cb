//! Whether a confidence means what it says: here, the score with which a model answers "no target".
//!
//! Everything is computed from [`Judged`] pairs: a score in 0 to 1, and whether what it is the confidence of was true.
//!
//! Source: Naeini et al. 2015 and Guo et al. 2017 (arXiv:1706.04599) for ECE; Brier 1950; Hanley and McNeil 1982 for
//! AUROC as the share of rightly ordered pairs.

use serde::{Deserialize, Serialize};

use crate::correlation::average_ranks;
use crate::records::Sample;

/// Bins of ECE unless the caller says otherwise.
pub const USUAL_BINS: usize = 15;

/// A confidence and what came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Confidence, 0 to 1.
    pub score: f64,
    /// Whether it was so.
    pub holds: bool,
}

/// One bar of a reliability diagram. Bin `b` of `n` holds scores from `b / n` to below `(b + 1) / n`, the last also 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Where the bin begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
    /// Samples in it.
    pub count: usize,
    /// Their mean score; absent without samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_score: Option<f64>,
    /// Share of them for which it was so; absent without samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// A threshold and what it does: "no target" is said where `score >= threshold`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OperatingPoint {
    /// The smallest threshold that keeps the false-alarm rate.
    pub threshold: f64,
    /// Share of the samples where it was not so that reach it.
    pub false_alarm_rate: f64,
    /// Share of the samples where it was so that reach it; absent without such samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection_rate: Option<f64>,
}

/// All figures together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Samples with a score.
    pub count: usize,
    /// Expected calibration error, 0 to 1.
    pub ece: f64,
    /// Brier score, 0 to 1.
    pub brier: f64,
    /// Area under the ROC curve; absent if all samples are of one kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auroc: Option<f64>,
    /// The false-alarm rate asked for.
    pub wanted_false_alarm_rate: f64,
    /// The threshold for it; absent without samples where it was not so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operating_point: Option<OperatingPoint>,
    /// The reliability diagram.
    pub reliability: Vec<ReliabilityBin>,
}

impl Calibration {
    /// All figures; `None` without samples.
    pub fn of(judged: &[Judged], bins: usize, false_alarm_rate: f64) -> Option<Self> {
        Some(Self {
            count: judged.len(),
            ece: expected_calibration_error(judged, bins)?,
            brier: brier_score(judged)?,
            auroc: auroc(judged),
            wanted_false_alarm_rate: false_alarm_rate,
            operating_point: threshold_at_false_alarm_rate(judged, false_alarm_rate),
            reliability: reliability(judged, bins),
        })
    }
}

/// The no-target scores of samples whose predictions have one, judged by the truth.
pub fn no_target_scores(samples: &[Sample]) -> Vec<Judged> {
    let judged = |sample: &Sample| {
        let score = sample.prediction.as_ref()?.prediction.no_target_score?;
        Some(Judged { score, holds: sample.truth.is_absent() })
    };
    samples.iter().filter_map(judged).collect()
}

/// The reliability diagram, in `bins` equal widths (at least 1).
pub fn reliability(judged: &[Judged], bins: usize) -> Vec<ReliabilityBin> {
    let bins = bins.max(1);
    let mut sums = vec![(0usize, 0.0, 0usize); bins];
    for pair in judged {
        // The conversion saturates: a score beyond 1 falls in the last bin, one below 0 or NaN in the first.
        let (count, score, held) = &mut sums[((pair.score * bins as f64) as usize).min(bins - 1)];
        *count += 1;
        *score += pair.score;
        *held += usize::from(pair.holds);
    }
    let edge = |bin: usize| bin as f64 / bins as f64;
    let bin = |(bin, (count, score, held)): (usize, (usize, f64, usize))| ReliabilityBin {
        low: edge(bin),
        high: edge(bin + 1),
        count,
        mean_score: (count > 0).then(|| score / count as f64),
        share: (count > 0).then(|| held as f64 / count as f64),
    };
    sums.into_iter().enumerate().map(bin).collect()
}

/// `Σ (n_b / N) |share_b - mean score_b|` over equal-width bins; `None` without samples.
pub fn expected_calibration_error(judged: &[Judged], bins: usize) -> Option<f64> {
    if judged.is_empty() {
        return None;
    }
    let bins = reliability(judged, bins);
    let gap = |bin: &ReliabilityBin| Some(bin.count as f64 * (bin.share? - bin.mean_score?).abs());
    Some(bins.iter().filter_map(gap).sum::<f64>() / judged.len() as f64)
}

/// Mean squared distance of the score from 1 where it was so and from 0 where it was not; `None` without samples.
pub fn brier_score(judged: &[Judged]) -> Option<f64> {
    let square = |pair: &Judged| (pair.score - f64::from(u8::from(pair.holds))).powi(2);
    (!judged.is_empty()).then(|| judged.iter().map(square).sum::<f64>() / judged.len() as f64)
}

/// Share of pairs (one sample where it was so, one where it was not) in which the first has the higher score, equal scores
/// counted half; `None` if all samples are of one kind.
pub fn auroc(judged: &[Judged]) -> Option<f64> {
    let ranks = average_ranks(&judged.iter().map(|pair| pair.score).collect::<Vec<_>>());
    let held = judged.iter().filter(|pair| pair.holds).count() as f64;
    let not = judged.len() as f64 - held;
    let sum: f64 = judged.iter().zip(ranks).filter(|(pair, _)| pair.holds).map(|(_, rank)| rank).sum();
    (held > 0.0 && not > 0.0).then(|| (sum - held * (held + 1.0) / 2.0) / (held * not))
}

/// The smallest threshold among the scores whose false-alarm rate is at most `rate`; if even the highest score
/// gives more, the next number above it, which nothing reaches. `None` without a sample where it was not so.
pub fn threshold_at_false_alarm_rate(judged: &[Judged], rate: f64) -> Option<OperatingPoint> {
    let mut sorted: Vec<Judged> = judged.to_vec();
    sorted.sort_by(|a, b| b.score.total_cmp(&a.score));
    let held = sorted.iter().filter(|pair| pair.holds).count();
    let not = sorted.len() - held;
    if not == 0 {
        return None;
    }
    let point = |threshold, alarms: usize, found: usize| OperatingPoint {
        threshold,
        false_alarm_rate: alarms as f64 / not as f64,
        detection_rate: (held > 0).then(|| found as f64 / held as f64),
    };
    let mut best = point(sorted[0].score.next_up(), 0, 0);
    let (mut alarms, mut found) = (0, 0);
    for group in sorted.chunk_by(|a, b| a.score == b.score) {
        alarms += group.iter().filter(|pair| !pair.holds).count();
        found += group.iter().filter(|pair| pair.holds).count();
        let next = point(group[0].score, alarms, found);
        if next.false_alarm_rate > rate {
            break;
        }
        best = next;
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(f64, bool)]) -> Vec<Judged> {
        pairs.iter().map(|&(score, holds)| Judged { score, holds }).collect()
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(Calibration::of(&[], USUAL_BINS, 0.05), None);
        assert_eq!(auroc(&[]), None);
        assert_eq!(threshold_at_false_alarm_rate(&[], 0.1), None);
        assert_eq!(auroc(&judged(&[(0.3, true)])), None);
    }

    #[test]
    fn a_small_case_by_hand() {
        let pairs = judged(&[(0.9, true), (0.8, false), (0.8, true), (0.2, false), (1.0, true), (0.0, false)]);
        // Pairs: 0.9 beats all three, 0.8 ties once and wins twice, 1.0 beats all.
        assert_eq!(auroc(&pairs), Some(8.5 / 9.0));
        assert!((brier_score(&pairs).unwrap() - (0.01 + 0.64 + 0.04 + 0.04) / 6.0).abs() < 1e-12);
        // Two bins: (0.2, 0.0) with share 0, and (0.9, 0.8, 0.8, 1.0) with share 3/4 and mean 0.875.
        let ece = expected_calibration_error(&pairs, 2).unwrap();
        assert!((ece - (2.0 * 0.1 + 4.0 * 0.125) / 6.0).abs() < 1e-12, "{ece}");
        let bins = reliability(&pairs, 10);
        assert_eq!((bins[9].count, bins[8].count, bins[5].count, bins[5].share), (2, 2, 0, None));
    }

    #[test]
    fn a_certain_and_right_answer_is_perfect() {
        let pairs = judged(&[(1.0, true), (0.0, false)]);
        let all = Calibration::of(&pairs, USUAL_BINS, 0.0).unwrap();
        assert_eq!((all.ece, all.brier, all.auroc), (0.0, 0.0, Some(1.0)));
        assert_eq!(all.operating_point.unwrap().threshold, 1.0);
        assert_eq!(all.operating_point.unwrap().detection_rate, Some(1.0));
    }

    #[test]
    fn the_threshold_keeps_its_rate() {
        let pairs = judged(&[(0.9, false), (0.8, true), (0.7, false), (0.6, true), (0.5, false), (0.4, false)]);
        let at = |rate| threshold_at_false_alarm_rate(&pairs, rate).unwrap();
        assert!(at(0.0).threshold > 0.9 && at(0.0).detection_rate == Some(0.0));
        assert_eq!((at(0.25).threshold, at(0.25).detection_rate), (0.8, Some(0.5)));
        assert_eq!((at(0.5).threshold, at(0.5).false_alarm_rate), (0.6, 0.5));
        assert_eq!((at(1.0).threshold, at(1.0).detection_rate), (0.4, Some(1.0)));
    }
}
