//! Calibrates the no-target score: fits the [`Scaling`] that makes it a probability, and finds the threshold for a false-alarm rate.
//!
//! Source: Platt 1999, Probabilistic Outputs for Support Vector Machines, with his targets, which keep separable samples finite.

use groundling_core::Scaling;
use groundling_core::scaling::log_odds;

use crate::calibration::{Calibration, Judged, OperatingPoint, auroc};

/// Newton steps; a dozen are usual.
const MOST_STEPS: usize = 100;
/// Temperatures beyond this make every score the same.
const MOST_TEMPERATURE: f64 = 1e4;

/// Why a score cannot be calibrated.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScalingError {
    /// The rate is no share, or one of none or all.
    #[error("a false-alarm rate of {found}, expected a number above 0 and below 1")]
    Rate {
        /// The rate.
        found: f64,
    },
    /// No sample is one where nothing fits, or every one is.
    #[error("{present} phrases about something and {absent} that nothing fits: both kinds are needed")]
    NoContrast {
        /// Phrases about something.
        present: usize,
        /// Phrases that nothing fits.
        absent: usize,
    },
    /// A single false alarm would be more than the rate allows.
    #[error(
        "{present} phrases about something are too few for a false-alarm rate of {rate}: it needs at least {needed}"
    )]
    TooFew {
        /// Phrases about something.
        present: usize,
        /// The rate.
        rate: f64,
        /// How many it needs.
        needed: usize,
    },
    /// A score is not a number.
    #[error("score {index} (from 0) is not a number")]
    NotANumber {
        /// Its place.
        index: usize,
    },
    /// Higher scores do not mean that it holds more often.
    #[error("a higher score does not make it likelier (AUROC {auroc:.3}): there is nothing to calibrate")]
    Uninformative {
        /// Area under the ROC curve.
        auroc: f64,
    },
}

/// A calibrated no-target score, with what it was before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Makes raw scores probabilities.
    pub scaling: Scaling,
    /// From which calibrated score on "not here" is said, and how often that is wrong and right on the samples.
    pub point: OperatingPoint,
    /// Figures of the raw scores.
    pub before: Calibration,
    /// Figures of the calibrated scores, on the same samples.
    pub after: Calibration,
}

/// Calibrates the no-target score on samples that hold where nothing fits: the likeliest scaling, and the smallest threshold that keeps the
/// false-alarm rate.
///
/// # Errors
/// If the rate is none, the samples are of one kind or too few for the rate, or the score says nothing.
pub fn fit_no_target(judged: &[Judged], bins: usize, rate: f64) -> Result<Fitted, ScalingError> {
    if !(rate > 0.0 && rate < 1.0) {
        return Err(ScalingError::Rate { found: rate });
    }
    let absent = judged.iter().filter(|pair| pair.holds).count();
    let present = judged.len() - absent;
    let needed = (1.0 / rate).ceil() as usize;
    if present < needed && present > 0 && absent > 0 {
        return Err(ScalingError::TooFew { present, rate, needed });
    }
    let scaling = fit(judged)?;
    let scaled: Vec<Judged> =
        judged.iter().map(|pair| Judged { score: scaling.apply(pair.score), holds: pair.holds }).collect();
    let none = ScalingError::NoContrast { present, absent };
    let (before, after) = Calibration::of(judged, bins, rate).zip(Calibration::of(&scaled, bins, rate)).ok_or(none)?;
    let point = after.operating_point.ok_or(none)?;
    Ok(Fitted { scaling, point, before, after })
}

/// The scaling under which the samples are likeliest.
///
/// # Errors
/// If the samples are of one kind, a score is not a number, or higher scores do not mean that it holds more often.
pub fn fit(judged: &[Judged]) -> Result<Scaling, ScalingError> {
    let absent = judged.iter().filter(|pair| pair.holds).count();
    let present = judged.len() - absent;
    if absent == 0 || present == 0 {
        return Err(ScalingError::NoContrast { present, absent });
    }
    if let Some(index) = judged.iter().position(|pair| pair.score.is_nan()) {
        return Err(ScalingError::NotANumber { index });
    }
    // Platt's targets: what a sample of each kind says under a uniform prior.
    let (high, low) = ((absent as f64 + 1.0) / (absent as f64 + 2.0), 1.0 / (present as f64 + 2.0));
    let points: Vec<(f64, f64)> =
        judged.iter().map(|pair| (log_odds(pair.score), if pair.holds { high } else { low })).collect();
    let Line { slope, offset } = Line::likeliest(&points);
    if slope * MOST_TEMPERATURE <= 1.0 {
        return Err(ScalingError::Uninformative { auroc: auroc(judged).unwrap_or(0.5) });
    }
    Ok(Scaling { temperature: 1.0 / slope, shift: -offset / slope })
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `slope * x + offset`, the log-odds that are fitted.
#[derive(Debug, Clone, Copy)]
struct Line {
    slope: f64,
    offset: f64,
}

impl Line {
    /// Logistic regression by Newton's method, halving steps that do not help.
    fn likeliest(points: &[(f64, f64)]) -> Self {
        let share = points.iter().map(|(_, target)| target).sum::<f64>() / points.len() as f64;
        let mut line = Self { slope: 0.0, offset: (share / (1.0 - share)).ln() };
        let mut loss = line.loss(points);
        for _ in 0..MOST_STEPS {
            let Some((slope, offset)) = line.newton(points) else { break };
            let stepped = |part: f64| Self { slope: line.slope - part * slope, offset: line.offset - part * offset };
            let better = (0..30).map(|halvings| stepped(0.5f64.powi(halvings))).find(|next| next.loss(points) < loss);
            let Some(next) = better else { break };
            (line, loss) = (next, next.loss(points));
        }
        line
    }

    /// Mean cross-entropy.
    fn loss(&self, points: &[(f64, f64)]) -> f64 {
        let of = |&(x, target): &(f64, f64)| {
            let z = self.slope * x + self.offset;
            // ln(1 + exp(z)) - target * z, without overflow.
            z.max(0.0) + (-z.abs()).exp().ln_1p() - target * z
        };
        points.iter().map(of).sum::<f64>() / points.len() as f64
    }

    /// Newton's step for slope and offset; `None` where the loss is flat.
    fn newton(&self, points: &[(f64, f64)]) -> Option<(f64, f64)> {
        let (mut gradient, mut hessian) = ([0.0; 2], [0.0; 3]);
        for &(x, target) in points {
            let p = sigmoid(self.slope * x + self.offset);
            let (error, weight) = (p - target, p * (1.0 - p));
            gradient = [gradient[0] + error * x, gradient[1] + error];
            hessian = [hessian[0] + weight * x * x, hessian[1] + weight * x, hessian[2] + weight];
        }
        let determinant = hessian[0] * hessian[2] - hessian[1] * hessian[1];
        (determinant > 1e-12 * hessian[0] * hessian[2]).then(|| {
            let slope = (hessian[2] * gradient[0] - hessian[1] * gradient[1]) / determinant;
            let offset = (hessian[0] * gradient[1] - hessian[1] * gradient[0]) / determinant;
            (slope, offset)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::expected_calibration_error;

    /// `count` samples of log-odds `x`, of which `holds` hold.
    fn group(x: f64, holds: usize, count: usize) -> Vec<Judged> {
        (0..count).map(|index| Judged { score: sigmoid(x), holds: index < holds }).collect()
    }

    /// Two groups fix two numbers: the fitted line goes through the log-odds of the mean of their targets.
    #[test]
    fn two_groups_have_a_closed_form() {
        let judged = [group(3.0, 700, 1000), group(-1.0, 100, 1000)].concat();
        let found = fit(&judged).unwrap();
        // 800 hold and 1200 do not; Platt's targets.
        let (high, low) = (801.0 / 802.0, 1.0 / 1202.0);
        let mean = |share: f64| share * high + (1.0 - share) * low;
        let logit = |p: f64| (p / (1.0 - p)).ln();
        let slope = (logit(mean(0.7)) - logit(mean(0.1))) / 4.0;
        let shift = 3.0 - logit(mean(0.7)) / slope;
        assert!((found.temperature - 1.0 / slope).abs() < 1e-9, "{found:?}, expected {}", 1.0 / slope);
        assert!((found.shift - shift).abs() < 1e-9, "{found:?}, expected {shift}");
        assert!((found.apply(sigmoid(3.0)) - mean(0.7)).abs() < 1e-9);
    }

    /// A score that is overconfident by a known factor, and off by a known shift: the fit undoes both, and the calibration error falls.
    #[test]
    fn a_known_distortion_is_undone() {
        let (mut judged, steps) = (Vec::new(), 400);
        for step in 0..steps {
            let honest = -4.0 + 8.0 * step as f64 / (steps - 1) as f64;
            let holds = (1000.0 * sigmoid(honest)).round() as usize;
            judged.extend(group(2.5 * honest - 1.5, holds, 1000));
        }
        let found = fit(&judged).unwrap();
        assert!((found.temperature - 2.5).abs() < 0.01 && (found.shift + 1.5).abs() < 0.01, "{found:?}");
        let after: Vec<Judged> =
            judged.iter().map(|pair| Judged { score: found.apply(pair.score), holds: pair.holds }).collect();
        let ece = |judged: &[Judged]| expected_calibration_error(judged, 15).unwrap();
        assert!(ece(&judged) > 0.1 && ece(&after) < 0.002, "{} {}", ece(&judged), ece(&after));
    }

    #[test]
    fn the_threshold_is_one_of_calibrated_scores() {
        // Of 20 phrases about something one has raw log-odds of 2, above half of the absent.
        let judged = [group(-3.0, 0, 19), group(2.0, 0, 1), group(1.0, 5, 5), group(4.0, 5, 5)].concat();
        let fitted = fit_no_target(&judged, 15, 0.05).unwrap();
        // One alarm of 20 is allowed: everything from 1 on.
        assert!((fitted.point.threshold - fitted.scaling.apply(sigmoid(1.0))).abs() < 1e-12);
        assert_eq!((fitted.point.false_alarm_rate, fitted.point.detection_rate), (0.05, Some(1.0)));
        // With 21 it is less than the rate of 0.04 allows.
        let more = [judged, group(-3.0, 0, 5)].concat();
        let fitted = fit_no_target(&more, 15, 0.039).unwrap_err();
        assert_eq!(fitted, ScalingError::TooFew { present: 25, rate: 0.039, needed: 26 });
        let fitted = fit_no_target(&[more, group(2.5, 0, 1)].concat(), 15, 0.04).unwrap();
        assert!((fitted.point.threshold - fitted.scaling.apply(sigmoid(2.5))).abs() < 1e-12);
        assert_eq!((fitted.point.false_alarm_rate, fitted.point.detection_rate), (1.0 / 26.0, Some(0.5)));
        assert_eq!(fitted.before.auroc, fitted.after.auroc, "the order stays");
    }

    #[test]
    fn rates_and_kinds_are_checked() {
        let judged = [group(1.0, 5, 5), group(-1.0, 0, 5)].concat();
        for found in [0.0, 1.0, -0.1, 1.5, f64::INFINITY] {
            assert_eq!(fit_no_target(&judged, 15, found), Err(ScalingError::Rate { found }));
        }
        assert!(fit_no_target(&judged, 15, f64::NAN).unwrap_err().to_string().contains("rate of NaN, expected"));
        let none = |present, absent| Err(ScalingError::NoContrast { present, absent });
        assert_eq!(fit_no_target(&judged[5..], 15, 0.5), none(5, 0));
        assert_eq!(fit_no_target(&judged[..5], 15, 0.5), none(0, 5));
        assert_eq!(fit_no_target(&[], 15, 0.5), none(0, 0));
        assert_eq!(fit_no_target(&judged, 15, 0.1), Err(ScalingError::TooFew { present: 5, rate: 0.1, needed: 10 }));
    }

    #[test]
    fn separable_and_certain_samples_stay_finite() {
        let judged = [group(50.0, 30, 30), group(-50.0, 0, 40)].concat();
        assert_eq!((judged[0].score, judged[69].score), (1.0, sigmoid(-50.0)));
        let found = fit(&judged).unwrap();
        assert!(found.temperature > 0.5 && found.temperature.is_finite() && found.shift.is_finite(), "{found:?}");
        // Platt's targets are what certain scores become.
        assert!((found.apply(1.0) - 31.0 / 32.0).abs() < 1e-6 && (found.apply(0.0) - 1.0 / 42.0).abs() < 1e-6);
    }

    #[test]
    fn what_cannot_be_fitted_is_said() {
        assert_eq!(fit(&group(1.0, 5, 5)), Err(ScalingError::NoContrast { present: 0, absent: 5 }));
        assert_eq!(fit(&[]), Err(ScalingError::NoContrast { present: 0, absent: 0 }));
        let wrong_way = [group(1.0, 2, 10), group(-1.0, 8, 10)].concat();
        let Err(ScalingError::Uninformative { auroc }) = fit(&wrong_way) else { panic!("an error") };
        assert!((auroc - 0.2).abs() < 1e-12);
        let constant = group(1.0, 5, 10);
        assert_eq!(fit(&constant), Err(ScalingError::Uninformative { auroc: 0.5 }));
        let mut judged = group(1.0, 5, 10);
        judged[7].score = f64::NAN;
        assert_eq!(fit(&judged), Err(ScalingError::NotANumber { index: 7 }));
    }
}
