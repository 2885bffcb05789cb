//! Tensors made from a name (`FILL.md` beside the fixtures).

use crate::Array;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Hash of a name after the seed was mixed in.
pub fn hash(name: &str, seed: u64) -> u64 {
    let fnv = name.bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    fnv ^ seed.wrapping_mul(GOLDEN)
}

/// The numbers `u_0, u_1, ...` in `[0, 1)` that belong to a name, each exact in `f32`.
pub fn unit(name: &str, seed: u64) -> impl Iterator<Item = f64> {
    let h = hash(name, seed);
    (0u64..).map(move |i| {
        let mut z = h.wrapping_add(i.wrapping_mul(GOLDEN)).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f64 / f64::from(1u32 << 24)
    })
}

/// A parameter or buffer: its values by the first rule that applies to its name and rank, rounded to `f32`.
pub fn parameter(name: &str, shape: &[usize], seed: u64) -> Array {
    let count = shape.iter().product();
    let scale_like =
        name.ends_with("running_var") || (shape.len() == 1 && (name.ends_with("weight") || name.ends_with("gamma")));
    let bound = 2.0 * (3.0 / shape.iter().skip(1).product::<usize>() as f64).sqrt();
    let value = |u: f64| match shape.len() {
        _ if scale_like => 0.5 + u,
        0 | 1 => (u - 0.5) * 0.2,
        _ => (u - 0.5) * bound,
    };
    Array::new(shape, unit(name, seed).take(count).map(|u| f64::from(value(u) as f32)).collect())
}

/// An input: `lo + (hi - lo) * u`, rounded to `f32`.
pub fn uniform(name: &str, shape: &[usize], lo: f64, hi: f64, seed: u64) -> Array {
    let count = shape.iter().product();
    Array::new(shape, unit(name, seed).take(count).map(|u| f64::from((lo + (hi - lo) * u) as f32)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::excessive_precision)] // digits as the rule prints them
    fn the_vectors_of_the_rule() {
        for (name, seed, expected, first) in [
            ("a.weight", 0, 0xde73_ae9d_17c1_3f4e, [0.6705318093299866, 0.22916942834854126, 0.903333842754364]),
            ("a.weight", 5, 0xc966_ce02_6bb5_5327, [0.3991425633430481, 0.8657276630401611, 0.5909789204597473]),
            ("image", 7, 0x7932_469a_fe21_2c09, [0.5835156440734863, 0.03873258829116821, 0.8542976379394531]),
        ] {
            assert_eq!(hash(name, seed), expected);
            assert_eq!(unit(name, seed).take(3).collect::<Vec<_>>(), first);
        }
        // FILL.md prints the third value as 0.8066757; its own u, 0.903333842754364, gives 0.80666769.
        let matrix = parameter("a.weight", &[2, 3], 0).to_f32();
        assert_eq!(matrix, [0.34106362, -0.54166114, 0.8066677, 0.9545592, -0.913972, -0.54326427]);
        assert_eq!(parameter("a.weight", &[3], 0).to_f32(), [1.1705317, 0.72916943, 1.4033339]);
        assert_eq!(parameter("a.bias", &[3], 0).to_f32(), [0.051077127, 0.052638471, 0.0048833489]);
        assert_eq!(uniform("image", &[3], -1.0, 1.0, 7).to_f32(), [0.16703129, -0.92253482, 0.70859528]);
    }

    #[test]
    fn scale_like_names_are_positive() {
        assert!(parameter("bn.running_var", &[8], 1).data.iter().all(|&v| v >= 0.5));
        assert!(parameter("norm.gamma", &[8], 1).data.iter().all(|&v| v >= 0.5));
        assert!(parameter("scalar", &[], 1).data[0].abs() <= 0.1);
    }
}
