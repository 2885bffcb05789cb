//! Which patches the next level reads: by threshold, or as many as a budget allows.

use super::flops::LevelLoad;
use super::{ScanFormerConfig, geometry};
use crate::contract::OptionError;

/// Patches of a level that are open to choice, in raster order, with their selection values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Candidates {
    pub(super) indices: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// What the level above says about its parts.
pub(super) struct Votes<'a> {
    /// Patches that were read, in raster order.
    pub(super) kept: &'a [usize],
    /// Four values for each of them, then, if there is a constant, four for all constants.
    pub(super) slots: &'a [f32],
}

impl Candidates {
    /// The candidates of a level among its valid patches.
    pub(super) fn new(config: &ScanFormerConfig, level: usize, valid: &[usize], votes: &Votes<'_>) -> Self {
        let grid = config.grid(level);
        let mut row_of = vec![None; config.grid(level - 1).pow(2)];
        for (row, &patch) in votes.kept.iter().enumerate() {
            row_of[patch] = Some(row);
        }
        let constant = (!config.nested).then_some(votes.kept.len());
        let mut candidates = Self::default();
        for &index in valid {
            let (parent, slot) = geometry::parent(index, grid);
            let Some(row) = row_of[parent].or(constant) else { continue };
            candidates.indices.push(index);
            candidates.values.push(votes.slots[4 * row + slot]);
        }
        candidates
    }

    /// Those from the threshold up. NaN is below everything.
    pub(super) fn reaching(&self, threshold: f32) -> Vec<usize> {
        let pairs = self.indices.iter().zip(&self.values);
        pairs.filter(|&(_, &value)| value >= threshold).map(|(&index, _)| index).collect()
    }

    /// The lowest threshold, not below `least`, that keeps at most `most`.
    pub(super) fn threshold_for(&self, most: usize, least: f32) -> f32 {
        let mut values: Vec<f32> = self.values.iter().copied().filter(|&value| value >= least).collect();
        if values.len() <= most {
            return least;
        }
        values.sort_unstable_by(|a, b| b.total_cmp(a));
        // Equal values stand or fall together: a threshold cannot tell them apart.
        let first_out = values[most];
        values[..most].iter().copied().rfind(|&value| value > first_out).unwrap_or_else(|| first_out.next_up())
    }
}

/// Shares a budget among the levels of one pair.
///
/// A level gets what it needs with nothing read, and of what is left over the share that its dense cost has of the dense costs of all
/// levels still to come; the last takes all.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    budget: u64,
    merge: bool,
    /// Valid patches of the levels that run.
    valid: Vec<usize>,
}

impl Budget {
    /// # Errors
    /// If even with nothing read above the first level the count is higher.
    pub(super) fn new(
        config: &ScanFormerConfig,
        budget: u64,
        merge: bool,
        tokens: usize,
        valid: Vec<usize>,
    ) -> Result<Self, OptionError> {
        let this = Self { budget, merge, valid };
        let first = this.load(config, 0, this.valid[0]);
        let flops = config.level_flops(first, tokens);
        let spent = config.language_flops(tokens).saturating_add(flops.total());
        let least = spent.saturating_add(this.later(config, 1, flops.keys));
        if budget < least { Err(OptionError::Budget { found: budget, least }) } else { Ok(this) }
    }

    /// Most patches that a level may read after so many operations and keys.
    pub(super) fn most(&self, config: &ScanFormerConfig, level: usize, spent: u64, keys: usize) -> usize {
        let cost = |kept: usize| {
            let flops = config.level_flops(self.load(config, level, kept), keys);
            flops.total().saturating_add(self.later(config, level + 1, flops.keys))
        };
        let left = self.budget.saturating_sub(spent);
        let least = cost(0);
        let spare = left.saturating_sub(least);
        let dense = |level: usize| config.level_flops(self.load(config, level, self.valid[level]), keys).total() as f64;
        let coming: f64 = (level..self.valid.len()).map(dense).sum();
        let last = level + 1 == self.valid.len();
        let share = if last { spare } else { (spare as f64 * (dense(level) / coming)) as u64 };
        let allowed = least.saturating_add(share).min(left);
        // The cost never falls with the number of patches.
        let (mut low, mut high) = (0, self.valid[level]);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if cost(middle) <= allowed { low = middle } else { high = middle - 1 }
        }
        low
    }

    /// What the levels from here on cost with nothing read that is chosen.
    fn later(&self, config: &ScanFormerConfig, level: usize, mut keys: usize) -> u64 {
        (level..self.valid.len()).fold(0, |sum: u64, level| {
            let kept = if config.is_chosen(level) { 0 } else { self.valid[level] };
            let flops = config.level_flops(self.load(config, level, kept), keys);
            keys = flops.keys;
            sum.saturating_add(flops.total())
        })
    }

    fn load(&self, config: &ScanFormerConfig, level: usize, kept: usize) -> LevelLoad {
        let chooses = level + 1 < self.valid.len() && config.is_chosen(level + 1);
        LevelLoad { kept, constants: self.valid[level] - kept, merge: self.merge, chooses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(values: &[f32]) -> Candidates {
        Candidates { indices: (0..values.len()).collect(), values: values.to_vec() }
    }

    #[test]
    fn thresholds_keep_no_more_than_asked() {
        let found = candidates(&[0.5, -1.0, 2.0, 0.5, f32::NAN, 1.0]);
        assert_eq!(found.reaching(0.0), [0, 2, 3, 5]);
        assert_eq!(found.reaching(f32::NEG_INFINITY), [0, 1, 2, 3, 5]);
        assert_eq!(found.reaching(f32::INFINITY), [0usize; 0]);
        for (most, least, kept) in [
            (9, 0.0, vec![0, 2, 3, 5]),
            (4, 0.0, vec![0, 2, 3, 5]),
            (3, 0.0, vec![2, 5]), // the two halves stand or fall together
            (1, 0.0, vec![2]),
            (0, 0.0, vec![]),
            (9, 1.5, vec![2]),
        ] {
            let threshold = found.threshold_for(most, least);
            assert_eq!(found.reaching(threshold), kept, "{most} {least}");
            assert!(threshold >= least);
        }
    }

    #[test]
    fn children_of_constants_share_their_votes() {
        let config = ScanFormerConfig { nested: false, ..ScanFormerConfig::tiny() };
        let valid = [0, 1, 4, 5, 2, 3];
        let slots = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0];
        let votes = Votes { kept: &[0], slots: &slots };
        let flat = Candidates::new(&config, 1, &valid, &votes);
        assert_eq!(flat.values, [0.0, 1.0, 2.0, 3.0, 10.0, 11.0]);
        let nested = Candidates::new(&ScanFormerConfig { nested: true, ..config }, 1, &valid, &votes);
        assert_eq!(nested.indices, [0, 1, 4, 5]);
    }

    #[test]
    fn a_budget_is_met_and_used() {
        let config = ScanFormerConfig::vilt_b();
        let (tokens, valid) = (11, vec![25, 100, 400]);
        let refused = Budget::new(&config, 1, true, tokens, valid.clone()).unwrap_err();
        assert_eq!(refused, OptionError::Budget { found: 1, least: 7_165_169_664 });
        for budget in [7_165_169_664, 8_000_000_000, 34_000_000_000, 102_713_622_528, u64::MAX] {
            let shares = Budget::new(&config, budget, true, tokens, valid.clone()).unwrap();
            let (mut spent, mut keys) = (config.language_flops(tokens), tokens);
            for level in 0..3 {
                let kept = if level == 0 { 25 } else { shares.most(&config, level, spent, keys) };
                let flops = config.level_flops(shares.load(&config, level, kept), keys);
                spent += flops.total();
                keys = flops.keys;
            }
            assert!(spent <= budget);
            // The last level takes all that is left, to within a patch.
            assert!(spent == 102_713_622_528 || budget - spent < 300_000_000, "{budget} {spent}");
        }
    }
}
