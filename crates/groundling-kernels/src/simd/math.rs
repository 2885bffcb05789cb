//! Functions of one vector: exponential, logarithm, error function, GELU, hyperbolic tangent.

#![allow(clippy::excessive_precision)] // coefficients stand as they were published

use super::Simd;

/// `e^x`, to 2 units in the last place; 0 below -87.3 and for `-inf`, about 3.4e38 above 88.7, NaN stays NaN.
///
/// Cephes' method: `x = n ln 2 + r`, a polynomial for `e^r`, then times `2^n`.
#[inline(always)]
pub(crate) unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    const LOWEST: f32 = -87.336_54;
    const POLYNOMIAL: [f32; 5] = [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    unsafe {
        // The operand that may be NaN comes second: it is the one that survives.
        let bounded = S::min(S::splat(88.722_8), S::max(S::splat(LOWEST), x));
        // The largest n is 127: one more would not be a power that a float can hold.
        let n = S::min(S::splat(127.0), S::round(S::mul(bounded, S::splat(std::f32::consts::LOG2_E))));
        let r = S::fma(n, S::splat(-0.693_359_375), bounded);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.987_569_150_0e-4);
        for coefficient in POLYNOMIAL {
            p = S::fma(p, r, S::splat(coefficient));
        }
        let value = S::fma(p, S::mul(r, r), S::add(r, S::splat(1.0)));
        let value = S::scale_by_power(value, n);
        S::select_greater(S::splat(LOWEST), x, S::splat(0.0), value)
    }
}

/// Gauss error function, to 5e-7 absolute.
///
/// A rational function of `x` on [-4, 4] (odd, degree 13 over 8; the coefficients are those of XLA and Eigen); beyond it `±1`.
#[inline(always)]
pub(crate) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    const ABOVE: [f32; 6] = [
        2.770_681_424_95e-8,
        -2.101_024_020_82e-6,
        -5.692_506_394_62e-5,
        -7.349_906_303_27e-4,
        -2.954_599_808_54e-3,
        -1.609_603_332_62e-2,
    ];
    const BELOW: [f32; 4] = [-2.133_740_552_79e-4, -1.682_826_974_38e-3, -7.373_329_167_20e-3, -1.426_473_905_14e-2];
    unsafe {
        let x = S::min(S::splat(4.0), S::max(S::splat(-4.0), x));
        let square = S::mul(x, x);
        let mut above = S::splat(-2.726_142_258_01e-10);
        for coefficient in ABOVE {
            above = S::fma(above, square, S::splat(coefficient));
        }
        let mut below = S::splat(-1.456_607_184_65e-5);
        for coefficient in BELOW {
            below = S::fma(below, square, S::splat(coefficient));
        }
        S::div(S::mul(x, above), below)
    }
}

/// `x Phi(x)`, the exact GELU (Hendrycks and Gimpel 2016, arXiv:1606.08415).
#[inline(always)]
pub(crate) unsafe fn gelu<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let half = S::mul(x, S::splat(0.5));
        S::fma(half, erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2))), half)
    }
}

/// `d gelu / dx = Phi(x) + x phi(x)`.
#[inline(always)]
pub(crate) unsafe fn gelu_gradient<S: Simd>(x: S::V) -> S::V {
    const DENSITY: f32 = 0.398_942_28; // 1 / sqrt(2 pi)
    unsafe {
        let phi = S::mul(exp::<S>(S::mul(S::mul(x, x), S::splat(-0.5))), S::splat(DENSITY));
        let cumulative =
            S::fma(erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2))), S::splat(0.5), S::splat(0.5));
        S::fma(x, phi, cumulative)
    }
}

/// Hyperbolic tangent, to 5e-7 of its value; NaN stays NaN.
///
/// A rational function of `x` (odd, degree 13 over 6; the coefficients are those of XLA and Eigen), which is one to seven digits where it is
/// cut off.
#[inline(always)]
pub(crate) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    const LARGEST: f32 = 7.905_311_107_635_45;
    const ABOVE: [f32; 6] = [
        2.000_187_904_824_77e-13,
        -8.604_671_522_137_35e-11,
        5.122_297_090_371_14e-8,
        1.485_722_357_179_79e-5,
        6.372_619_288_754_36e-4,
        4.893_524_558_917_86e-3,
    ];
    const BELOW: [f32; 3] = [1.185_347_056_866_54e-4, 2.268_434_632_439_00e-3, 4.893_525_185_543_85e-3];
    unsafe {
        // The operand that may be NaN comes second: it is the one that survives.
        let x = S::min(S::splat(LARGEST), S::max(S::splat(-LARGEST), x));
        let square = S::mul(x, x);
        let mut above = S::splat(-2.760_768_477_423_55e-16);
        for coefficient in ABOVE {
            above = S::fma(above, square, S::splat(coefficient));
        }
        let mut below = S::splat(1.198_258_394_667_02e-6);
        for coefficient in BELOW {
            below = S::fma(below, square, S::splat(coefficient));
        }
        S::div(S::mul(x, above), below)
    }
}

/// `ln(1 + y)` for `y` in `[0, 1]`, to 3e-7 of its value; NaN stays NaN.
///
/// `2 artanh(s)`, `s = y / (2 + y)`, by its series, of which eight terms are enough for `s` up to a third.
#[inline(always)]
pub(crate) unsafe fn ln_1p<S: Simd>(y: S::V) -> S::V {
    const ODD: [f32; 7] = [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0];
    unsafe {
        let s = S::div(y, S::add(y, S::splat(2.0)));
        let square = S::mul(s, s);
        let mut series = S::splat(2.0 / 15.0);
        for odd in ODD {
            series = S::fma(series, square, S::splat(2.0 / odd));
        }
        S::mul(s, series)
    }
}

#[cfg(test)]
mod tests {
    use crate::Isa;
    use crate::simd::{blocks, multiversion};

    use super::*;

    multiversion! {
        fn apply<S>(x: &[f32], out: &mut [[f32; 5]]) {
            blocks::<S>(x.len(), |i| {
                let mut buffer = [[0.0f32; 16]; 5];
                let v = S::load(x.as_ptr().add(i));
                S::store(buffer[0].as_mut_ptr(), exp::<S>(v));
                S::store(buffer[1].as_mut_ptr(), gelu::<S>(v));
                S::store(buffer[2].as_mut_ptr(), gelu_gradient::<S>(v));
                S::store(buffer[3].as_mut_ptr(), tanh::<S>(v));
                // From 0 to 1 for arguments of all signs and sizes.
                S::store(buffer[4].as_mut_ptr(), ln_1p::<S>(exp::<S>(S::min(v, S::sub(S::splat(0.0), v)))));
                for lane in 0..S::LANES {
                    out[i + lane] = buffer.map(|values| values[lane]);
                }
            }, |_, _| unreachable!("a multiple of every width"));
        }
    }

    /// Abramowitz and Stegun would do; the continued series in f64 is exact enough to judge f32.
    fn erf64(x: f64) -> f64 {
        if x.abs() > 6.0 {
            return x.signum();
        }
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > 1e-18 {
            n += 1.0;
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn functions_are_close_to_their_definition_everywhere() {
        let x: Vec<f32> = (0..32_000)
            .map(|i| (i as f32 - 16_000.0) / 2_700.0)
            .chain((0..1600).map(|i| i as f32 * 0.11 - 88.0))
            .collect();
        for isa in Isa::available() {
            let mut out = vec![[0.0; 5]; x.len()];
            apply(isa, &x, &mut out);
            for (x, [e, g, d, t, l]) in x.iter().zip(&out) {
                let x = f64::from(*x);
                let exact = x.tanh();
                assert!((f64::from(*t) - exact).abs() <= 5e-7 * exact.abs(), "{isa:?}: tanh({x}) = {t}, not {exact}");
                let exact = (-x.abs()).exp().ln_1p();
                assert!((f64::from(*l) - exact).abs() <= 7e-7 * exact + 2e-38, "{isa:?}: ln_1p: {l}, not {exact}");
                let exact = x.exp();
                // Below the smallest normal number results are flushed, which no softmax notices.
                assert!((f64::from(*e) - exact).abs() <= 3e-7 * exact + 2e-38, "{isa:?}: exp({x}) = {e}, not {exact}");
                if x.abs() > 5.6 {
                    // The series in `erf64` cancels out here, and the functions are straight lines to eight digits.
                    let (line, slope) = (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 });
                    assert!((f64::from(*g) - line).abs() <= 1e-6 + 2e-7 * x.abs(), "{isa:?}: gelu({x}) = {g}");
                    assert!((f64::from(*d) - slope).abs() <= 1e-6, "{isa:?}: gelu'({x}) = {d}");
                    continue;
                }
                let cumulative = 0.5 * (1.0 + erf64(x / 2f64.sqrt()));
                let value = x * cumulative;
                assert!(
                    (f64::from(*g) - value).abs() <= 8e-7 + 3e-7 * x.abs(),
                    "{isa:?}: gelu({x}) = {g}, not {value}"
                );
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let gradient = cumulative + x * density;
                assert!((f64::from(*d) - gradient).abs() <= 1e-6, "{isa:?}: gelu'({x}) = {d}, not {gradient}");
            }
        }
    }

    #[test]
    fn the_ends_of_the_exponential() {
        for isa in Isa::available() {
            let mut x = vec![0.0f32; 16];
            x[..6].copy_from_slice(&[f32::NEG_INFINITY, -1e30, -87.4, f32::INFINITY, f32::NAN, 0.0]);
            let mut out = vec![[0.0; 5]; 16];
            apply(isa, &x, &mut out);
            let e: Vec<f32> = out.iter().map(|row| row[0]).collect();
            assert_eq!(&e[..3], &[0.0, 0.0, 0.0], "{isa:?}");
            assert!(e[3] > 3.3e38, "{isa:?}: {}", e[3]);
            assert!(e[4].is_nan(), "{isa:?}: {}", e[4]);
            assert_eq!(e[5], 1.0, "{isa:?}");
            let t: Vec<f32> = out.iter().map(|row| row[3]).collect();
            assert!((t[0] + 1.0).abs() < 5e-7 && (t[3] - 1.0).abs() < 5e-7, "{isa:?}: {t:?}");
            assert!(t[4].is_nan() && t[5] == 0.0, "{isa:?}: {t:?}");
        }
    }
}
