//! Spearman's rank correlation.

/// Ranks from 1; equal values share the mean of their ranks.
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (group.len() as f64 + 1.0) / 2.0;
        group.iter().for_each(|&index| ranks[index] = rank);
        before += group.len();
    }
    ranks
}

/// A rank correlation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spearman {
    /// -1 to 1.
    pub rho: f64,
    /// Two-sided p-value of "no correlation" by Student's t with n - 2 degrees of freedom; `None` for two samples.
    pub p_value: Option<f64>,
}

/// Spearman's rho: Pearson's correlation of the average ranks.
///
/// `None` if it is not defined: fewer than two samples, one side constant, a NaN, or sides of different lengths.
///
/// Source: Spearman 1904; ranks and p-value as `scipy.stats.spearmanr`.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<Spearman> {
    if x.len() != y.len() || x.len() < 2 || x.iter().chain(y).any(|value| value.is_nan()) {
        return None;
    }
    // Twice the centred ranks are whole numbers, so the sums are exact and the order of samples does not matter.
    let centred = |values: &[f64]| -> Vec<f64> {
        let middle = values.len() as f64 + 1.0;
        average_ranks(values).into_iter().map(|rank| 2.0 * rank - middle).collect()
    };
    let (x, y) = (centred(x), centred(y));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (xx, yy) = (dot(&x, &x), dot(&y, &y));
    if xx == 0.0 || yy == 0.0 {
        return None;
    }
    let rho = (dot(&x, &y) / (xx * yy).sqrt()).clamp(-1.0, 1.0);
    Some(Spearman { rho, p_value: p_value(rho, x.len()) })
}

fn p_value(rho: f64, samples: usize) -> Option<f64> {
    let freedom = samples.checked_sub(2).filter(|&freedom| freedom > 0)? as f64;
    // P(|T| > t) = I_x(freedom / 2, 1 / 2) with x = freedom / (freedom + t^2), which is 1 - rho^2 here.
    Some(incomplete_beta(freedom / 2.0, 0.5, 1.0 - rho * rho))
}

/// The regularised incomplete beta function `I_x(a, b)` by its continued fraction (DLMF 8.17.22, modified Lentz).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast on this side of the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let tiny = 1e-300;
    let away_from_zero = |value: f64| if value.abs() < tiny { tiny } else { value };
    let (mut c, mut d) = (1.0, 1.0 / away_from_zero(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for m in 1..500 {
        let m = f64::from(m);
        for term in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / away_from_zero(1.0 + term * d);
            c = away_from_zero(1.0 + term / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

/// Logarithm of the gamma function for positive numbers: Stirling's series after shifting the argument beyond 10.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let (inverse, square) = (1.0 / x, 1.0 / (x * x));
    let series = inverse
        * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0 - square / 1188.0))));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - product.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(average_ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(average_ranks(&[]), [0.0; 0]);
    }

    #[test]
    fn undefined_is_none() {
        assert_eq!(spearman(&[1.0], &[2.0]), None);
        assert_eq!(spearman(&[1.0, 1.0], &[2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, f64::NAN], &[2.0, 3.0]), None);
        assert_eq!(spearman(&[1.0, 2.0], &[2.0]), None);
        assert_eq!(spearman(&[1.0, 2.0], &[2.0, 3.0]), Some(Spearman { rho: 1.0, p_value: None }));
    }

    #[test]
    fn p_values_have_closed_forms() {
        // 1 degree of freedom: Cauchy, p = 1 - 2 atan(t) / pi. 2 degrees: p = 1 - |rho|.
        let rho: f64 = 0.5;
        let t = rho * (1.0 / (1.0 - rho * rho)).sqrt();
        let cauchy = 1.0 - 2.0 * t.atan() / std::f64::consts::PI;
        assert!((p_value(rho, 3).unwrap() - cauchy).abs() < 1e-13);
        for rho in [0.0, 0.1, -0.4, 0.8, 0.999] {
            assert!((p_value(rho, 4).unwrap() - (1.0 - f64::abs(rho))).abs() < 1e-13, "{rho}");
        }
        assert_eq!(p_value(1.0, 9), Some(0.0));
        // 4 degrees: p = 1 - 3/2 |rho| + 1/2 |rho|^3, by integrating (1 - r^2).
        let rho: f64 = 0.3;
        assert!((p_value(rho, 6).unwrap() - (1.0 - 1.5 * rho + 0.5 * rho.powi(3))).abs() < 1e-13);
        // Many degrees approach the normal distribution: P(|Z| > 1.96) = 0.0499958.
        let n = 4_000_002;
        let rho = 1.96 / (4_000_000f64 + 1.96 * 1.96).sqrt();
        assert!((p_value(rho, n).unwrap() - 0.049_995_8).abs() < 1e-6);
    }
}
