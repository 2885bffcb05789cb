//! Sizes of a VLTVG.

use groundling_nn::bert::BertConfig;
use groundling_nn::macs;
use groundling_nn::resnet::ResNetConfig;
use serde::{Deserialize, Serialize};

use crate::backbone::BackboneConfig;
use crate::bases::{check_backbone, check_bert, check_numbers, check_transformer, flops, last_stage};
use crate::contract::ConfigError;

/// Everything that decides the shapes of a VLTVG; `config.json` beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VltvgConfig {
    /// The image backbone.
    pub backbone: BackboneConfig,
    /// Which of its four maps is read, from 0: the last in published models.
    #[serde(default = "last_stage")]
    pub stage: usize,
    /// Whether visual tokens hold their places themselves, rather than queries and keys alone as in published models, whose detectors have
    /// taught the backbone where things are.
    #[serde(default)]
    pub placed: bool,
    /// The phrase encoder.
    pub bert: BertConfig,
    /// Of how many of its last layers the mean is read.
    pub bert_output_layers: usize,
    /// Side of the canvas in pixels, a multiple of the backbone's stride.
    pub image_size: usize,
    /// Most word pieces of a phrase, special ones included.
    pub max_text: usize,
    /// Width `D` of a token.
    pub dim: usize,
    /// Attention heads `G`.
    pub heads: usize,
    /// Width `F` of the feed-forward parts.
    pub mlp_hidden: usize,
    /// Layers over the picture alone.
    pub encoder_layers: usize,
    /// Stages of the decoder.
    pub decoder_stages: usize,
    /// Whether cells outside the picture are hidden. The released weights were trained seeing them.
    pub hide_padding: bool,
    /// Share of values that training sets to 0: in the encoder, and of attention weights in the decoder; that of the phrase encoder is its
    /// own.
    pub dropout: f64,
}

impl VltvgConfig {
    /// VLTVG with a ResNet-50.
    pub fn r50() -> Self {
        Self {
            backbone: BackboneConfig::ResNet(ResNetConfig::r50().with_frozen(2)),
            stage: last_stage(),
            placed: false,
            bert: BertConfig::base_uncased(),
            bert_output_layers: 4,
            image_size: 640,
            max_text: 40,
            dim: 256,
            heads: 8,
            mlp_hidden: 2048,
            encoder_layers: 6,
            decoder_stages: 6,
            hide_padding: false,
            dropout: 0.1,
        }
    }

    /// VLTVG with a ResNet-101.
    pub fn r101() -> Self {
        Self { backbone: BackboneConfig::ResNet(ResNetConfig::r101().with_frozen(2)), ..Self::r50() }
    }

    /// For tests and experiments: 8 by 8 visual tokens, all of it trained.
    pub fn tiny() -> Self {
        Self {
            backbone: BackboneConfig::ResNet(ResNetConfig::tiny().with_dilate_last(true).with_train_norms(true)),
            bert: BertConfig::tiny(),
            bert_output_layers: 2,
            image_size: 128,
            max_text: 24,
            dim: 48,
            heads: 3,
            mlp_hidden: 96,
            encoder_layers: 2,
            decoder_stages: 3,
            ..Self::r50()
        }
    }

    /// The preset of this name: `tiny`, `r50`, `r101`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "r50" => Some(Self::r50()),
            "r101" => Some(Self::r101()),
            _ => None,
        }
    }

    /// Cells a side of the visual map.
    pub fn grid(&self) -> usize {
        self.backbone.grid(self.stage, self.image_size)
    }

    /// Checks that the numbers go together.
    ///
    /// # Errors
    /// Naming the first field that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_numbers(&[
            ("image_size", self.image_size, 1),
            ("max_text", self.max_text, 2),
            ("dim", self.dim, 1),
            ("mlp_hidden", self.mlp_hidden, 1),
            ("encoder_layers", self.encoder_layers, 1),
            ("decoder_stages", self.decoder_stages, 1),
        ])?;
        check_transformer(self.dim, self.heads, self.dropout)?;
        check_bert(&self.bert, self.max_text)?;
        if !(1..=self.bert.layers).contains(&self.bert_output_layers) {
            let expected = format!("1 to {}", self.bert.layers);
            let found = self.bert_output_layers.to_string();
            return Err(ConfigError { field: "bert_output_layers", found, expected });
        }
        check_backbone(&self.backbone, self.stage, self.image_size)
    }

    /// Operations of a phrase of this many pieces and a picture, everything included; a multiply-add is two.
    pub fn dense_flops(&self, pieces: usize) -> u64 {
        let (s, d, f) = (self.grid().pow(2), self.dim, self.mlp_hidden);
        let picture = macs::sum([
            self.backbone.macs_to(self.stage, [self.image_size; 2]),
            macs::dense(s, self.backbone.channels()[self.stage], d),
            macs::encoder(self.encoder_layers, s, d, f),
        ]);
        let offsets = 2 * self.grid() + 1;
        // Every query with both tables of offsets, and the tables through the keys' projection.
        let relative = macs::sum([macs::dense(s, d, 2 * offsets), macs::dense(offsets, d, d)]);
        let verify = macs::sum([
            macs::projected_attention(s, pieces, d),
            macs::projected_attention(s, pieces, d),
            macs::dense(2 * s, d, d),
            macs::projected_attention(s, s, d),
            relative,
        ]);
        let stage = macs::sum([
            macs::projected_attention(1, pieces, d),
            macs::projected_attention(1, s, d),
            macs::dense(1, d, f),
            macs::dense(1, f, d),
            flops::box_head(d),
        ]);
        let stages = stage.saturating_mul(self.decoder_stages as u64);
        macs::sum([flops::phrase(&self.bert, pieces, d), picture, verify, stages]).saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_sound_and_known_by_name() {
        for name in ["tiny", "r50", "r101"] {
            assert_eq!(VltvgConfig::preset(name).unwrap().check(), Ok(()), "{name}");
        }
        assert_eq!(VltvgConfig::preset("r18"), None);
        let tiny = VltvgConfig::tiny;
        for (config, field) in [
            (VltvgConfig { bert_output_layers: 3, ..tiny() }, "bert_output_layers"),
            (VltvgConfig { bert_output_layers: 0, ..tiny() }, "bert_output_layers"),
            (VltvgConfig { decoder_stages: 0, ..tiny() }, "decoder_stages"),
            (VltvgConfig { image_size: 8, ..tiny() }, "image_size"),
        ] {
            assert_eq!(config.check().unwrap_err().field, field);
        }
    }
}
