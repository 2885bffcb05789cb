//! Sizes of a ScanFormer.

use serde::{Deserialize, Serialize};

use crate::contract::ConfigError;

/// Everything that decides the shapes of a ScanFormer; `config.json` beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanFormerConfig {
    /// Width `D` of a token.
    pub dim: usize,
    /// Attention heads `G`, a divisor of the width.
    pub heads: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Width `F` of the feed-forward part.
    pub mlp_hidden: usize,
    /// Rows of the word table.
    pub vocab: usize,
    /// Most word pieces of a phrase, special ones included.
    pub max_text: usize,
    /// Channels of the image: 3.
    #[serde(default = "three")]
    pub channels: usize,
    /// Side of a patch in pixels, the same on every level of the pyramid.
    pub patch: usize,
    /// Side of the canvas in pixels, which is the finest level.
    pub image_size: usize,
    /// Levels of the pyramid; each has twice the side of the one before.
    pub levels: usize,
    /// Side of the table of positions.
    pub pos_grid: usize,
    /// Blocks of the first encoder, whose output decides what the next level reads.
    pub select_layer: usize,
    /// Added to the variance in all norms but that of the text.
    pub ln_eps: f64,
    /// Added to the variance in the norm of the text.
    pub text_ln_eps: f64,
    /// So many levels, the coarsest ones, are read in full: at least 1. DEVIATION: in the paper every level but the first is chosen; a level that
    /// costs a small share of the finest is better read than guessed at.
    #[serde(default = "first")]
    pub whole_levels: usize,
    /// What the embedding of places calls the scale of the finest level; coarser ones have halves of it. DEVIATION: 1 in the paper. A model that
    /// was trained with a level less and goes on with one more sets 2, so that the levels it knows keep their scales.
    #[serde(default = "whole")]
    pub finest_scale: f64,
    /// Whether only parts of patches that were read can be read on the next level. Otherwise everything can, and the children of what
    /// was not read share one decision for each of the four places.
    pub nested: bool,
    /// Share of values that training sets to 0.
    #[serde(default)]
    pub dropout: f64,
}

fn three() -> usize {
    3
}
fn first() -> usize {
    1
}
fn whole() -> f64 {
    1.0
}

impl ScanFormerConfig {
    /// The sizes of ViLT-B/32 (Kim et al. 2021, arXiv:2102.03334) with a pyramid up to 640 pixels: 113,377,544 parameters.
    pub fn vilt_b() -> Self {
        Self {
            dim: 768,
            heads: 12,
            layers: 12,
            mlp_hidden: 3072,
            vocab: 30522,
            max_text: 40,
            channels: 3,
            patch: 32,
            image_size: 640,
            levels: 3,
            pos_grid: 12,
            select_layer: 6,
            ln_eps: 1e-6,
            text_ln_eps: 1e-12,
            whole_levels: 1,
            finest_scale: 1.0,
            nested: true,
            dropout: 0.1,
        }
    }

    /// [`ScanFormerConfig::vilt_b`] for weights in the layout of Hugging Face, whose norms add 1e-12.
    pub fn vilt_b_hf() -> Self {
        Self { ln_eps: 1e-12, ..Self::vilt_b() }
    }

    /// What the default model has: for a laptop's CPU, and trained on one. Grids of 2, 4 and 8 patches: as measured on generated scenes, a canvas
    /// of 192 pixels learns no more from a sample and costs twice as much.
    pub fn small() -> Self {
        Self {
            dim: 128,
            heads: 4,
            layers: 6,
            mlp_hidden: 512,
            max_text: 32,
            patch: 16,
            image_size: 128,
            pos_grid: 8,
            select_layer: 3,
            dropout: 0.0,
            ..Self::vilt_b()
        }
    }

    /// For tests and experiments.
    pub fn tiny() -> Self {
        Self {
            dim: 48,
            heads: 3,
            layers: 4,
            mlp_hidden: 96,
            max_text: 24,
            patch: 8,
            image_size: 64,
            pos_grid: 8,
            select_layer: 2,
            ..Self::small()
        }
    }

    /// The preset of this name: `tiny`, `small`, `vilt_b`, `vilt_b_hf`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "small" => Some(Self::small()),
            "vilt_b" => Some(Self::vilt_b()),
            "vilt_b_hf" => Some(Self::vilt_b_hf()),
            _ => None,
        }
    }

    /// Patches a side on a level.
    pub fn grid(&self, level: usize) -> usize {
        self.image_size / self.patch / self.shrink(level)
    }

    /// How many times smaller a level is than the canvas, on a side.
    pub fn shrink(&self, level: usize) -> usize {
        1 << (self.levels - 1 - level)
    }

    /// Whether what a level reads is chosen, by the level before it.
    pub fn is_chosen(&self, level: usize) -> bool {
        (self.whole_levels..self.levels).contains(&level)
    }

    /// Pixels of the canvas that a patch of a level covers, on a side.
    pub fn reach(&self, level: usize) -> usize {
        self.patch * self.shrink(level)
    }

    /// Checks that the numbers go together.
    ///
    /// # Errors
    /// Naming the first field that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field, found: &dyn ToString, expected: &str| {
            Err(ConfigError { field, found: found.to_string(), expected: expected.to_owned() })
        };
        // Beyond these, products of sizes would not fit their type.
        const MOST: usize = 1 << 20;
        let sizes = [
            ("dim", self.dim, 1),
            ("heads", self.heads, 1),
            ("layers", self.layers, 1),
            ("mlp_hidden", self.mlp_hidden, 1),
            ("vocab", self.vocab, 1),
            ("max_text", self.max_text, 2),
            ("patch", self.patch, 1),
            ("image_size", self.image_size, 1),
            ("pos_grid", self.pos_grid, 1),
        ];
        if let Some((field, found, least)) = sizes.into_iter().find(|&(_, size, least)| size < least || size > MOST) {
            return bad(field, &found, &format!("{least} to {MOST}"));
        }
        if !(1..=8).contains(&self.levels) {
            return bad("levels", &self.levels, "1 to 8");
        }
        if !(1..=self.levels).contains(&self.whole_levels) {
            return bad("whole_levels", &self.whole_levels, &format!("1 to {}, the number of levels", self.levels));
        }
        if !self.dim.is_multiple_of(self.heads) {
            return bad("heads", &self.heads, &format!("a divisor of the width {}", self.dim));
        }
        if self.channels != 3 {
            return bad("channels", &self.channels, "3");
        }
        let unit = self.patch << (self.levels - 1);
        if !self.image_size.is_multiple_of(unit) {
            let expected = format!("a multiple of {unit}, the reach of a patch of the coarsest level");
            return bad("image_size", &self.image_size, &expected);
        }
        if !(1..=self.layers).contains(&self.select_layer) {
            return bad("select_layer", &self.select_layer, &format!("1 to {}", self.layers));
        }
        for (field, epsilon) in [("ln_eps", self.ln_eps), ("text_ln_eps", self.text_ln_eps)] {
            if !(epsilon > 0.0 && epsilon < 1.0) {
                return bad(field, &epsilon, "between 0 and 1");
            }
        }
        if !(self.finest_scale > 0.0 && self.finest_scale <= 256.0) {
            return bad("finest_scale", &self.finest_scale, "above 0 and at most 256");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("dropout", &self.dropout, "at least 0 and below 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_sound_and_known_by_name() {
        for name in ["tiny", "small", "vilt_b", "vilt_b_hf"] {
            let config = ScanFormerConfig::preset(name).unwrap();
            assert_eq!(config.check(), Ok(()), "{name}");
        }
        assert_eq!(ScanFormerConfig::preset("huge"), None);
        let config = ScanFormerConfig::vilt_b();
        assert_eq!([0, 1, 2].map(|level| config.grid(level)), [5, 10, 20]);
        assert_eq!([0, 1, 2].map(|level| config.reach(level)), [128, 64, 32]);
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let tiny = ScanFormerConfig::tiny;
        for (config, field) in [
            (ScanFormerConfig { dim: 50, ..tiny() }, "heads"),
            (ScanFormerConfig { dim: 0, ..tiny() }, "dim"),
            (ScanFormerConfig { image_size: 48, ..tiny() }, "image_size"),
            (ScanFormerConfig { select_layer: 5, ..tiny() }, "select_layer"),
            (ScanFormerConfig { select_layer: 0, ..tiny() }, "select_layer"),
            (ScanFormerConfig { levels: 0, ..tiny() }, "levels"),
            (ScanFormerConfig { levels: 70, ..tiny() }, "levels"),
            (ScanFormerConfig { channels: 1, ..tiny() }, "channels"),
            (ScanFormerConfig { dropout: 1.0, ..tiny() }, "dropout"),
            (ScanFormerConfig { ln_eps: f64::NAN, ..tiny() }, "ln_eps"),
            (ScanFormerConfig { patch: usize::MAX, ..tiny() }, "patch"),
        ] {
            assert_eq!(config.check().unwrap_err().field, field);
        }
    }
}
