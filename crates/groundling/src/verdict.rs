//! Whether an answer is "not here".

use groundling_core::Scaling;
use groundling_core::scaling::log_odds;

use crate::bundle::CalibrationRecord;

/// What a model's raw no-target score comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Verdict {
    /// The score that is told; calibrated where there is a calibration. `None` from models that cannot tell.
    pub(crate) score: Option<f64>,
    /// Whether it is "not here".
    pub(crate) no_target: bool,
}

impl Verdict {
    /// Without a calibration "not here" is said from a raw score of one half on.
    pub(crate) fn of(raw: Option<f32>, calibration: Option<&CalibrationRecord>) -> Self {
        let Some(raw) = raw.map(|raw| f64::from(raw).clamp(0.0, 1.0)) else {
            return Self { score: None, no_target: false };
        };
        let (score, threshold) = match calibration {
            Some(calibration) => (calibration.scaling().apply(raw), calibration.threshold),
            None => (raw, 0.5),
        };
        Self { score: Some(score), no_target: score >= threshold }
    }
}

/// Log-odds above which pixels are at least half as likely as the likeliest, of which these are the log-odds: the mask where something is
/// there, though no pixel of it is likelier target than background.
pub(crate) fn faint_cut(highest: f32) -> f32 {
    -log_odds(1.0 - 0.5 * probability(f64::from(highest))) as f32
}

fn probability(log_odds: f64) -> f64 {
    Scaling::NONE.apply(1.0 / (1.0 + (-log_odds).exp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calibration(temperature: f64, shift: f64, threshold: f64) -> CalibrationRecord {
        CalibrationRecord {
            temperature,
            shift,
            threshold,
            false_alarm_rate: 0.1,
            source: "scenes:val".into(),
            seed: None,
            present: 10,
            absent: 10,
        }
    }

    #[test]
    fn without_calibration_the_raw_score_decides() {
        let verdict = |raw| Verdict::of(Some(raw), None);
        assert!(verdict(0.5).no_target, "a tie is background");
        assert!(!verdict(0.499).no_target);
        let cannot_tell = Verdict::of(None, Some(&calibration(1.0, 0.0, 0.0)));
        assert!(!cannot_tell.no_target && cannot_tell.score.is_none());
    }

    #[test]
    fn a_calibration_decides_both_ways() {
        // Raw log-odds of -2 and 1 become (-2 + 2) / 2 = 0 and 1.5: scores of 0.5 and 0.8176.
        let rule = calibration(2.0, -2.0, 0.6);
        let raw = |log_odds: f64| Some((1.0 / (1.0 + (-log_odds).exp())) as f32);
        let some = Verdict::of(raw(-2.0), Some(&rule));
        assert!((some.score.unwrap() - 0.5).abs() < 1e-6 && !some.no_target);
        let none = Verdict::of(raw(-1.0), Some(&rule));
        // A mask with pixels, and still "not here".
        assert!((none.score.unwrap() - 0.622_459).abs() < 1e-5 && none.no_target);
        // The other way round: no pixel is likelier target than background (p = 0.268941 at the best), and still something.
        let faint = Verdict::of(raw(1.0), Some(&calibration(1.0, 3.0, 0.6)));
        let p: f64 = 0.268_941 / 2.0;
        assert!(!faint.no_target && (f64::from(faint_cut(-1.0)) - (p / (1.0 - p)).ln()).abs() < 1e-4, "{faint:?}");
    }
}
