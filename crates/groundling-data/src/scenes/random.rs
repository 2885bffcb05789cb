//! Random numbers that depend on their place only: no state is shared between scenes, threads or machines.
//!
//! The generator is splitmix64 (Steele, Lea, Flood, OOPSLA 2014): the n-th number is a hash of `key + n * GAMMA`. A key is
//! a hash of everything that names the place (seed, split, index, purpose), so any scene can be made alone.

use crate::rng::{GAMMA, Rng, mix, unit_of};

/// A stream of numbers for one purpose.
#[derive(Debug, Clone)]
pub(crate) struct Draws(Rng);

impl Draws {
    /// The stream named by `parts`.
    pub(crate) fn named(parts: &[u64]) -> Self {
        Self(Rng::new(parts.iter().fold(GAMMA, |key, &part| mix(key.wrapping_add(GAMMA) ^ mix(part ^ GAMMA)))))
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.unit()
    }

    /// A number in `[low, high)`.
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        self.0.uniform(low, high)
    }

    /// A whole number below `count`; 0 if `count` is 0.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0.below(count)
    }

    /// `true` with this probability.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.0.chance(probability)
    }

    /// One of `choices`, all equally likely; `None` if there is none.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        choices.get(self.below(choices.len())).copied()
    }

    /// One of a table that is never empty.
    ///
    /// # Panics
    /// If the table is empty, which the array length rules out.
    pub(crate) fn word<const N: usize>(&mut self, choices: [&'static str; N]) -> &'static str {
        const { assert!(N > 0) };
        choices[self.below(N)]
    }

    /// An index with probability proportional to its weight; 0 if all weights are 0.
    pub(crate) fn weighted(&mut self, weights: &[f64]) -> usize {
        let total: f64 = weights.iter().sum();
        let mut left = self.unit() * total;
        for (index, &weight) in weights.iter().enumerate() {
            if weight > 0.0 && left < weight {
                return index;
            }
            left -= weight;
        }
        weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0)
    }
}

/// A hash of two coordinates, for textures, in `[0, 1)`.
pub(crate) fn noise_at(key: u64, x: i64, y: i64) -> f64 {
    unit_of(mix(key ^ (x as u64).wrapping_mul(GAMMA) ^ (y as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_splitmix64() {
        // The published first outputs for state 0.
        let mut draws = Draws(Rng::new(0));
        assert_eq!(draws.bits(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(draws.bits(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn streams_are_apart_and_draws_in_range() {
        assert_ne!(Draws::named(&[1, 2]).bits(), Draws::named(&[2, 1]).bits());
        assert_ne!(Draws::named(&[0]).bits(), Draws::named(&[0, 0]).bits());
        let mut draws = Draws::named(&[7]);
        let mut seen = [0; 3];
        for _ in 0..3000 {
            seen[draws.weighted(&[1.0, 0.0, 2.0])] += 1;
            assert!(draws.below(5) < 5 && (2.0..3.0).contains(&draws.between(2.0, 3.0)));
        }
        assert_eq!(seen[1], 0);
        assert!((900..1100).contains(&seen[0]), "{seen:?}");
        assert_eq!((draws.below(0), draws.pick::<u8>(&[])), (0, None));
    }
}
