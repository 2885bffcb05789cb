//! A small random generator of our own: resamples must be the same on every machine and for any number of threads.

/// xoshiro256++ (Blackman and Vigna 2019), seeded by splitmix64.
pub(crate) struct Rng([u64; 4]);

impl Rng {
    /// The stream of a seed and an index; streams of different indices are unrelated.
    pub(crate) fn stream(seed: u64, index: u64) -> Self {
        let mut state = seed ^ splitmix64(index.wrapping_add(0x5851_F42D_4C95_7F2D));
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            splitmix64(state)
        }))
    }

    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `limit`; the bias of the multiplication is below `limit / 2^64`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }
}

fn splitmix64(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_xoshiro256_plus_plus() {
        // First outputs for the state 1, 2, 3, 4, as published with the algorithm.
        let mut rng = Rng([1, 2, 3, 4]);
        let first: Vec<u64> = (0..4).map(|_| rng.next()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    #[test]
    fn numbers_below_a_limit_are_even_and_streams_differ() {
        let mut counts = [0u32; 7];
        let mut rng = Rng::stream(3, 0);
        (0..70_000).for_each(|_| counts[rng.below(7) as usize] += 1);
        assert!(counts.iter().all(|&count| (9_600..10_400).contains(&count)), "{counts:?}");
        assert_ne!(Rng::stream(3, 0).next(), Rng::stream(3, 1).next());
        assert_ne!(Rng::stream(3, 0).next(), Rng::stream(4, 0).next());
    }
}
