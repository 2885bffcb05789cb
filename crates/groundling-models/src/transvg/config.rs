//! Sizes of a TransVG.

use groundling_nn::bert::BertConfig;
use groundling_nn::macs;
use groundling_nn::resnet::ResNetConfig;
use serde::{Deserialize, Serialize};

use crate::backbone::BackboneConfig;
use crate::bases::{check_backbone, check_bert, check_numbers, check_transformer, flops, last_stage};
use crate::contract::ConfigError;

/// Everything that decides the shapes of a TransVG; `config.json` beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransVgConfig {
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
    /// Side of the canvas in pixels, a multiple of the backbone's stride.
    pub image_size: usize,
    /// Most word pieces of a phrase, special ones included. Places of visual tokens depend on it.
    pub max_text: usize,
    /// Width `D` of a token.
    pub dim: usize,
    /// Attention heads `G`.
    pub heads: usize,
    /// Width `F` of the feed-forward parts.
    pub mlp_hidden: usize,
    /// Layers over the picture alone.
    pub encoder_layers: usize,
    /// Layers over phrase and picture.
    pub fusion_layers: usize,
    /// Whether cells outside the picture are hidden. The released weights were trained so; later work of others shows them.
    pub hide_padding: bool,
    /// Share of values that training sets to 0 in both encoders; that of the phrase encoder is its own.
    pub dropout: f64,
}

impl TransVgConfig {
    /// TransVG with a ResNet-50: phrases of 20 pieces, or of 40 where the data are RefCOCOg.
    pub fn r50() -> Self {
        Self {
            backbone: BackboneConfig::ResNet(ResNetConfig::r50().with_frozen(2)),
            stage: last_stage(),
            placed: false,
            bert: BertConfig::base_uncased(),
            image_size: 640,
            max_text: 20,
            dim: 256,
            heads: 8,
            mlp_hidden: 2048,
            encoder_layers: 6,
            fusion_layers: 6,
            hide_padding: true,
            dropout: 0.1,
        }
    }

    /// TransVG with a ResNet-101.
    pub fn r101() -> Self {
        Self { backbone: BackboneConfig::ResNet(ResNetConfig::r101().with_frozen(2)), ..Self::r50() }
    }

    /// For tests and experiments: 8 by 8 visual tokens, all of it trained.
    pub fn tiny() -> Self {
        Self {
            backbone: BackboneConfig::ResNet(ResNetConfig::tiny().with_dilate_last(true).with_train_norms(true)),
            bert: BertConfig::tiny(),
            image_size: 128,
            max_text: 24,
            dim: 48,
            heads: 3,
            mlp_hidden: 96,
            encoder_layers: 2,
            fusion_layers: 3,
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
            ("fusion_layers", self.fusion_layers, 1),
        ])?;
        check_transformer(self.dim, self.heads, self.dropout)?;
        check_bert(&self.bert, self.max_text)?;
        check_backbone(&self.backbone, self.stage, self.image_size)
    }

    /// Operations of a phrase of this many pieces and a picture, everything included; a multiply-add is two.
    pub fn dense_flops(&self, pieces: usize) -> u64 {
        let (tokens, d) = (self.grid().pow(2), self.dim);
        let picture = macs::sum([
            self.backbone.macs_to(self.stage, [self.image_size; 2]),
            macs::dense(tokens, self.backbone.channels()[self.stage], d),
            macs::encoder(self.encoder_layers, tokens, d, self.mlp_hidden),
            macs::dense(tokens, d, d),
        ]);
        let fusion = macs::encoder(self.fusion_layers, 1 + pieces + tokens, d, self.mlp_hidden);
        macs::sum([flops::phrase(&self.bert, pieces, d), picture, fusion, flops::box_head(d)]).saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_sound_and_known_by_name() {
        for name in ["tiny", "r50", "r101"] {
            assert_eq!(TransVgConfig::preset(name).unwrap().check(), Ok(()), "{name}");
        }
        assert_eq!(TransVgConfig::preset("r18"), None);
        assert_eq!((TransVgConfig::tiny().grid(), TransVgConfig::r50().grid()), (8, 20));
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let tiny = TransVgConfig::tiny;
        let bert = |change: fn(&mut BertConfig)| {
            let mut config = tiny();
            change(&mut config.bert);
            config
        };
        let resnet = |sizes| TransVgConfig { backbone: BackboneConfig::ResNet(sizes), ..tiny() };
        for (config, field) in [
            (TransVgConfig { heads: 5, ..tiny() }, "heads"),
            (TransVgConfig { dim: 6, heads: 1, ..tiny() }, "dim"),
            (TransVgConfig { image_size: 100, ..tiny() }, "image_size"),
            (TransVgConfig { stage: 4, ..tiny() }, "stage"),
            (TransVgConfig { max_text: 1, ..tiny() }, "max_text"),
            (TransVgConfig { max_text: 65, ..tiny() }, "bert.positions"),
            (TransVgConfig { fusion_layers: 0, ..tiny() }, "fusion_layers"),
            (TransVgConfig { dropout: 1.0, ..tiny() }, "dropout"),
            (TransVgConfig { mlp_hidden: usize::MAX, ..tiny() }, "mlp_hidden"),
            (bert(|bert| bert.heads = 3), "bert.heads"),
            (bert(|bert| bert.pooler = true), "bert.pooler"),
            (bert(|bert| bert.dropout = -0.1), "bert.dropout"),
            (resnet(ResNetConfig::tiny().with_classes(Some(3))), "backbone.res_net"),
        ] {
            assert_eq!(config.check().unwrap_err().field, field);
        }
    }
}
