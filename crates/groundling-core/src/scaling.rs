//! From a score to a probability.

/// How raw scores become probabilities: `sigmoid((log-odds of the score - shift) / temperature)`.
///
/// With `shift = 0` this is temperature scaling (Guo et al. 2017, arXiv:1706.04599). The shift is needed where even odds of the raw score
/// mean something else than even chances, as for the best of many pixels (Platt 1999).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// By which log-odds are divided, above 0.
    pub temperature: f64,
    /// Log-odds of the raw score that mean even chances.
    pub shift: f64,
}

/// Raw scores are taken to be at least this far from 0 and 1: beyond it single precision cannot tell them from certainty.
const LEAST: f64 = 1e-7;

impl Scaling {
    /// Leaves scores as they are.
    pub const NONE: Self = Self { temperature: 1.0, shift: 0.0 };

    /// The calibrated score of a raw one, both 0 to 1.
    pub fn apply(&self, score: f64) -> f64 {
        1.0 / (1.0 + (-(log_odds(score) - self.shift) / self.temperature).exp())
    }

    /// Log-odds of the raw score that becomes this calibrated one. Infinite for 0 and 1 and beyond.
    pub fn raw_log_odds(&self, calibrated: f64) -> f64 {
        let calibrated = calibrated.clamp(0.0, 1.0);
        self.shift + self.temperature * (calibrated / (1.0 - calibrated)).ln()
    }
}

/// Log-odds of a score of 0 to 1, always finite: scores next to certainty count as 1e-7 away from it.
pub fn log_odds(score: f64) -> f64 {
    let score = score.clamp(LEAST, 1.0 - LEAST);
    (score / (1.0 - score)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_changes_without_scaling() {
        for score in [0.01, 0.5, 0.9] {
            assert!((Scaling::NONE.apply(score) - score).abs() < 1e-12);
        }
        assert!(Scaling::NONE.apply(1.0) > 0.999_999 && Scaling::NONE.apply(0.0) < 1e-6);
    }

    #[test]
    fn the_way_back() {
        let scaling = Scaling { temperature: 2.5, shift: -1.5 };
        for score in [0.001, 0.2, 0.7, 0.999] {
            assert!((scaling.raw_log_odds(scaling.apply(score)) - log_odds(score)).abs() < 1e-9, "{score}");
        }
        // By hand: log-odds of 0.8 are ln 4; (ln 4 + 1.5) / 2.5 = 1.15452.
        assert!((scaling.apply(0.8) - 0.760_337).abs() < 1e-5, "{}", scaling.apply(0.8));
        assert_eq!((scaling.raw_log_odds(1.5), scaling.raw_log_odds(0.0)), (f64::INFINITY, f64::NEG_INFINITY));
    }
}
