//! Closeness with a reason.

/// How far two numbers may be apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// At most this, whatever the size of the numbers.
    Abs(f64),
    /// At most this share of the largest expected magnitude.
    Rel(f64),
}

/// Compares two lists of numbers; `reason` says why the tolerance is what it is, and stands in the failure.
///
/// # Panics
/// If the lengths differ, or numbers are further apart than allowed, or a NaN stands on one side only.
#[track_caller]
pub fn assert_close(name: &str, found: &[f64], expected: &[f64], tolerance: Tolerance, reason: &str) {
    assert!(!reason.trim().is_empty(), "{name}: a tolerance needs a reason");
    assert_eq!(found.len(), expected.len(), "{name}: number of values");
    let limit = match tolerance {
        Tolerance::Abs(limit) => limit,
        Tolerance::Rel(share) => {
            share * expected.iter().filter(|v| v.is_finite()).fold(0.0, |m: f64, v| m.max(v.abs()))
        }
    };
    let apart = |(a, b): (&f64, &f64)| if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() };
    let distances: Vec<f64> = found.iter().zip(expected).map(apart).collect();
    let too_far: Vec<usize> = (0..distances.len()).filter(|&i| distances[i].is_nan() || distances[i] > limit).collect();
    let Some(&worst) = too_far.iter().max_by(|&&a, &&b| distances[a].total_cmp(&distances[b])) else { return };
    panic!(
        "{name}: {} of {} values too far; worst at {worst}: {} instead of {}, off by {:.3e} > {limit:.3e} ({reason})",
        too_far.len(),
        found.len(),
        found[worst],
        expected[worst],
        distances[worst],
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(found: &[f64], expected: &[f64], tolerance: Tolerance) -> bool {
        std::panic::catch_unwind(|| assert_close("x", found, expected, tolerance, "a test")).is_err()
    }

    #[test]
    fn both_tolerances_can_fail() {
        assert!(!fails(&[1.0, 100.4], &[1.0, 100.0], Tolerance::Rel(0.005)));
        assert!(fails(&[1.0, 100.6], &[1.0, 100.0], Tolerance::Rel(0.005)));
        assert!(!fails(&[1.0], &[1.05], Tolerance::Abs(0.1)));
        assert!(fails(&[1.0], &[1.2], Tolerance::Abs(0.1)));
        assert!(
            fails(&[f64::NAN], &[1.0], Tolerance::Abs(9.0)) && !fails(&[f64::NAN], &[f64::NAN], Tolerance::Abs(0.0))
        );
        assert!(fails(&[1.0], &[1.0, 2.0], Tolerance::Abs(9.0)));
    }
}
