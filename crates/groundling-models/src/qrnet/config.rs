//! Sizes of a QRNet.

use groundling_nn::bert::BertConfig;
use groundling_nn::macs;
use groundling_nn::swin::SwinConfig;
use serde::{Deserialize, Serialize};

use crate::bases::{check_bert, check_numbers, check_transformer, flops};
use crate::contract::ConfigError;

/// Everything that decides the shapes of a QRNet; `config.json` beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QrNetConfig {
    /// The image backbone, with patches of 4 pixels.
    pub backbone: SwinConfig,
    /// The phrase encoder.
    pub bert: BertConfig,
    /// Rank of the weights that the phrase makes.
    pub rank: usize,
    /// How many times narrower the middle of a channel gate is than the map.
    pub reduction: usize,
    /// Side of the canvas in pixels, a multiple of 64.
    pub image_size: usize,
    /// Most word pieces of a phrase, special ones included. Places of visual tokens depend on it.
    pub max_text: usize,
    /// Width `D` of a token, and of the maps of the neck.
    pub dim: usize,
    /// Attention heads `G`.
    pub heads: usize,
    /// Width `F` of the feed-forward parts.
    pub mlp_hidden: usize,
    /// Layers over phrase and picture.
    pub fusion_layers: usize,
    /// Whether cells outside the picture are hidden.
    pub hide_padding: bool,
    /// Share of values that training sets to 0 in the fusion encoder; those of the phrase encoder and of the backbone are their own.
    pub dropout: f64,
}

impl QrNetConfig {
    /// QRNet with Swin-S: phrases of 20 pieces, or of 40 where the data are RefCOCOg.
    pub fn swin_s() -> Self {
        Self {
            backbone: SwinConfig::small_224().with_drop_path(0.2),
            bert: BertConfig::base_uncased(),
            rank: 30,
            reduction: 16,
            image_size: 640,
            max_text: 20,
            dim: 256,
            heads: 8,
            mlp_hidden: 2048,
            fusion_layers: 6,
            hide_padding: true,
            dropout: 0.1,
        }
    }

    /// For tests and experiments.
    pub fn tiny() -> Self {
        Self {
            backbone: SwinConfig::tiny(),
            bert: BertConfig::tiny(),
            rank: 6,
            reduction: 4,
            image_size: 128,
            max_text: 24,
            dim: 48,
            heads: 3,
            mlp_hidden: 96,
            fusion_layers: 3,
            ..Self::swin_s()
        }
    }

    /// The preset of this name: `tiny`, `swin_s`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "swin_s" => Some(Self::swin_s()),
            _ => None,
        }
    }

    /// Rows and columns of the two maps whose cells are visual tokens.
    pub fn grids(&self) -> [[usize; 2]; 2] {
        [[self.image_size / 32; 2], [self.image_size / 64; 2]]
    }

    /// Visual tokens.
    pub fn visual_tokens(&self) -> usize {
        self.grids().iter().map(|[rows, columns]| rows * columns).sum()
    }

    /// Checks that the numbers go together.
    ///
    /// # Errors
    /// Naming the first field that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field, found: String, expected: String| Err(ConfigError { field, found, expected });
        check_numbers(&[
            ("rank", self.rank, 1),
            ("reduction", self.reduction, 1),
            ("image_size", self.image_size, 1),
            ("max_text", self.max_text, 2),
            ("dim", self.dim, 1),
            ("mlp_hidden", self.mlp_hidden, 1),
            ("fusion_layers", self.fusion_layers, 1),
            ("backbone.embed_dim", self.backbone.embed_dim, 1),
            ("backbone.window", self.backbone.window, 1),
        ])?;
        check_transformer(self.dim, self.heads, self.dropout)?;
        check_bert(&self.bert, self.max_text)?;
        let Self { backbone, reduction, .. } = self;
        if !self.image_size.is_multiple_of(64) {
            return bad("image_size", self.image_size.to_string(), "a multiple of 64".to_owned());
        }
        if backbone.patch != 4 || backbone.in_channels != 3 {
            let found = format!("{} and {}", backbone.patch, backbone.in_channels);
            return bad("backbone.patch", found, "patches of 4 pixels of 3 channels".to_owned());
        }
        if backbone.depths.iter().any(|&depth| !(1..=1000).contains(&depth)) {
            return bad("backbone.depths", format!("{:?}", backbone.depths), "1 to 1000 each".to_owned());
        }
        let heads = backbone.heads.iter().zip(backbone.channels());
        if heads.into_iter().any(|(&heads, channels)| heads == 0 || !channels.is_multiple_of(heads)) {
            let expected = format!("divisors of {:?}", backbone.channels());
            return bad("backbone.heads", format!("{:?}", backbone.heads), expected);
        }
        for (field, share) in [("backbone.drop_path", backbone.drop_path), ("backbone.epsilon", backbone.epsilon)] {
            if !(0.0..1.0).contains(&share) {
                return bad(field, share.to_string(), "at least 0 and below 1".to_owned());
            }
        }
        if !(backbone.mlp_ratio > 0.0 && backbone.mlp_ratio <= 64.0) {
            return bad("backbone.mlp_ratio", backbone.mlp_ratio.to_string(), "above 0, at most 64".to_owned());
        }
        if backbone.embed_dim < *reduction || self.dim < *reduction {
            let expected = format!("at most {}, the narrowest map", backbone.embed_dim.min(self.dim));
            return bad("reduction", reduction.to_string(), expected);
        }
        Ok(())
    }

    /// Operations of a phrase of this many pieces and a picture, everything included; a multiply-add is two.
    pub fn dense_flops(&self, pieces: usize) -> u64 {
        let Self { backbone, dim, .. } = self;
        let mut picture = backbone.macs([self.image_size; 2]);
        for (stage, channels) in backbone.channels().into_iter().enumerate() {
            let tokens = ((self.image_size / backbone.patch) >> stage).pow(2);
            let lateral = macs::dense(tokens, channels, *dim);
            let neck = if stage < 3 { self.gate_macs(tokens, *dim) } else { 0 };
            picture = macs::sum([picture, lateral, neck, self.gate_macs(tokens, channels)]);
        }
        let visual = self.visual_tokens();
        macs::sum([
            picture,
            flops::phrase(&self.bert, pieces, *dim),
            macs::dense(visual, *dim, *dim),
            macs::encoder(self.fusion_layers, 1 + pieces + visual, *dim, self.mlp_hidden),
            flops::box_head(*dim),
        ])
        .saturating_mul(2)
    }

    /// Multiply-adds of both gates of a map.
    fn gate_macs(&self, tokens: usize, channels: usize) -> u64 {
        let middle = channels / self.reduction;
        let made = |inputs: usize, outputs: usize| {
            let rows = inputs + 1;
            macs::sum([macs::dense(1, self.bert.width, rows * self.rank), macs::dense(rows, self.rank, outputs)])
        };
        macs::sum([
            made(channels, middle),
            made(middle, channels),
            made(channels, 1),
            macs::dense(4, channels, middle),
            macs::dense(tokens, channels, 1),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_sound_and_known_by_name() {
        for name in ["tiny", "swin_s"] {
            assert_eq!(QrNetConfig::preset(name).unwrap().check(), Ok(()), "{name}");
        }
        assert_eq!(QrNetConfig::preset("swin_t"), None);
        assert_eq!(QrNetConfig::swin_s().visual_tokens(), 500);
        let tiny = QrNetConfig::tiny;
        let swin = |change: fn(&mut SwinConfig)| {
            let mut config = tiny();
            change(&mut config.backbone);
            config
        };
        for (config, field) in [
            (QrNetConfig { image_size: 96, ..tiny() }, "image_size"),
            (QrNetConfig { reduction: 9, ..tiny() }, "reduction"),
            (QrNetConfig { rank: 0, ..tiny() }, "rank"),
            (swin(|swin| swin.patch = 8), "backbone.patch"),
            (swin(|swin| swin.heads = [3, 2, 2, 4]), "backbone.heads"),
            (swin(|swin| swin.depths[2] = 0), "backbone.depths"),
            (swin(|swin| swin.drop_path = 1.0), "backbone.drop_path"),
        ] {
            assert_eq!(config.check().unwrap_err().field, field);
        }
    }
}
