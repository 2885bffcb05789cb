//! Counts operations: a multiply-add is two. Counted are products of matrices in the layers, the projection of patches that are read,
//! and the heads; not norms, softmax, biases, activations, embeddings of places (they are known beforehand) and look-ups.

use super::ScanFormerConfig;

/// Operations of a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LevelFlops {
    /// Tokens of the level's block.
    pub tokens: usize,
    /// Keys that they see: those of the phrase, of earlier levels and their own.
    pub keys: usize,
    /// Of the layers.
    pub encoder: u64,
    /// Of the projection of patches.
    pub patch: u64,
    /// Of the box head.
    pub bbox: u64,
    /// Of the selection head.
    pub select: u64,
}

impl LevelFlops {
    /// All of it.
    pub fn total(&self) -> u64 {
        [self.encoder, self.patch, self.bbox, self.select].into_iter().fold(0, u64::saturating_add)
    }
}

/// What is run on a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelLoad {
    /// Patches that are read.
    pub kept: usize,
    /// Valid patches that are not.
    pub constants: usize,
    /// Whether all constants run as one token.
    pub merge: bool,
    /// Whether another level follows, for which this one chooses.
    pub chooses: bool,
}

impl LevelLoad {
    /// Rows of constants.
    pub(super) fn constant_tokens(&self) -> usize {
        if self.merge { self.constants.min(1) } else { self.constants }
    }

    /// Rows of the block.
    pub(super) fn tokens(&self) -> usize {
        1 + self.kept + self.constant_tokens()
    }
}

impl ScanFormerConfig {
    /// Operations of the phrase.
    pub fn language_flops(&self, tokens: usize) -> u64 {
        small(self.layers as u128 * self.layer_flops(tokens, tokens))
    }

    /// Operations of a level that sees this many keys before its own.
    pub fn level_flops(&self, load: LevelLoad, keys_before: usize) -> LevelFlops {
        let (tokens, d) = (load.tokens(), self.dim as u128);
        let keys = keys_before + tokens;
        let voters = match (load.chooses, self.nested) {
            (false, _) => 0,
            (true, true) => load.kept,
            (true, false) => load.kept + load.constant_tokens(),
        };
        let pixels = (self.channels * self.patch * self.patch) as u128;
        LevelFlops {
            tokens,
            keys,
            encoder: small(self.layers as u128 * self.layer_flops(tokens, keys)),
            patch: small(2 * load.kept as u128 * pixels * d),
            bbox: small(2 * (2 * d * d + 4 * d)),
            select: small(2 * voters as u128 * (d * d + 4 * d)),
        }
    }

    /// Operations of phrase and levels when everything is read; `valid` patches on each level.
    pub fn dense_flops(&self, tokens: usize, valid: &[usize]) -> u64 {
        let mut keys = tokens;
        let mut total = self.language_flops(tokens);
        for (level, &kept) in valid.iter().enumerate() {
            let chooses = level + 1 < valid.len() && self.is_chosen(level + 1);
            let load = LevelLoad { kept, constants: 0, merge: true, chooses };
            let flops = self.level_flops(load, keys);
            keys = flops.keys;
            total = total.saturating_add(flops.total());
        }
        total
    }

    /// Of one layer, for new tokens that see so many keys.
    fn layer_flops(&self, tokens: usize, keys: usize) -> u128 {
        let [n, m, d, f] = [tokens, keys, self.dim, self.mlp_hidden].map(|size| size as u128);
        6 * n * d * d + 4 * n * m * d + 2 * n * d * d + 4 * n * d * f
    }
}

fn small(flops: u128) -> u64 {
    u64::try_from(flops).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(kept: [usize; 3], merge: bool) -> u64 {
        let config = ScanFormerConfig::vilt_b();
        let mut keys = 11;
        let mut total = config.language_flops(11);
        for (level, (kept, valid)) in kept.into_iter().zip([25, 100, 400]).enumerate() {
            let load = LevelLoad { kept, constants: valid - kept, merge, chooses: level < 2 };
            let flops = config.level_flops(load, keys);
            keys = flops.keys;
            total += flops.total();
        }
        total
    }

    #[test]
    fn published_totals() {
        let config = ScanFormerConfig::vilt_b();
        assert_eq!(config.dense_flops(11, &[25, 100, 400]), 102_713_622_528);
        assert_eq!(total([25, 100, 400], true), 102_713_622_528);
        assert_eq!(total([25, 50, 100], true), 34_295_537_664);
        assert_eq!(total([25, 0, 0], true), 7_165_169_664);
        assert_eq!(total([25, 50, 100], false) / 10_000_000, 10_100);
        assert!(total([25, 50, 100], true) < config.dense_flops(11, &[25, 100, 400]));
    }
}
