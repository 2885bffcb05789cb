//! Sizes, presets and switches.

use groundling_nn::position::SinePosition2d;
use groundling_nn::resnet::ResNetConfig;
use groundling_nn::swin::SwinConfig;
use serde::{Deserialize, Serialize};

use crate::backbone::BackboneConfig;
use crate::contract::ConfigError;

/// Feature levels: three of the backbone, and one more of half the resolution.
pub const LEVELS: usize = 4;

/// No image is made larger.
const MAX_SIDE: u32 = 16_384;

/// Everything that decides shapes and behaviour of the network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FocusDetrConfig {
    /// How large images are made for the network.
    pub input: ImageSides,
    /// What makes maps of the image; the first convolution of a ResNet is frozen.
    pub backbone: BackboneConfig,
    /// Object classes, `K`.
    pub classes: usize,
    /// Model width, `C`: a multiple of 4, of the heads and of the neck's groups.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Sampling points of a head on each level.
    pub points: usize,
    /// Width of the feed-forward parts.
    pub feed_forward: usize,
    /// Groups of the neck's norms.
    pub neck_groups: usize,
    /// Layers of the encoder.
    pub encoder_layers: usize,
    /// Layers of the decoder.
    pub decoder_layers: usize,
    /// Object queries, `Q`.
    pub queries: usize,
    /// Sine encoding of the cells.
    pub position: PositionConfig,
    /// On which tokens the encoder works.
    pub encoder: EncoderConfig,
    /// Where the decoder's queries come from.
    pub decoder: DecoderKind,
}

/// How large images are made for the network: the shorter side becomes `short`, unless the longer one would pass `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSides {
    /// Of the shorter side, pixels.
    pub short: u32,
    /// Bound of the longer side, pixels.
    pub longest: u32,
}

impl ImageSides {
    /// As published.
    pub const PUBLISHED: Self = Self { short: 800, longest: 1333 };
}

/// Sine encoding of the cells.
///
/// It is not stored in published checkpoints, and the wrong pair costs several points of AP.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PositionConfig {
    /// Ratio of the slowest wave to the fastest.
    pub temperature: f64,
    /// Added to the counts of cells.
    pub offset: f64,
}

impl PositionConfig {
    /// Configurations of 12 epochs, and all with Swin.
    pub const SHORT: Self = Self { temperature: 10_000.0, offset: -0.5 };
    /// ResNet configurations of 24 and 36 epochs.
    pub const LONG: Self = Self { temperature: 20.0, offset: 0.0 };

    /// For a model of this width: half of the channels are of each axis.
    pub fn encoding(self, width: usize) -> SinePosition2d {
        let Self { temperature, offset } = self;
        SinePosition2d { features: width / 2, temperature, offset, normalise: true }
    }
}

/// On which tokens the encoder works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EncoderConfig {
    /// On foreground tokens, fewer in each layer, with attention among the finest of them (Focus-DETR).
    Focus(FocusConfig),
    /// On all tokens (Deformable DETR, DINO).
    Dense,
    /// On one list of tokens in all layers (Sparse DETR, arXiv:2111.14330).
    Sparse {
        /// Share of the tokens that are kept.
        keep: f32,
    },
}

/// Choice of tokens in Focus-DETR.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FocusConfig {
    /// Share of the tokens that enter the cascade.
    pub keep: f32,
    /// Share of those that each layer keeps, one number a layer, not increasing.
    pub cascade: Vec<f32>,
    /// Tokens that attend to one another in each layer.
    pub fine_tokens: usize,
    /// What a level's score does to the next finer level.
    pub modulation: Modulation,
}

impl FocusConfig {
    /// As published for six layers: 30 % of the tokens on average.
    pub fn published() -> Self {
        Self {
            keep: 0.5,
            cascade: vec![1.0, 0.8, 0.6, 0.6, 0.4, 0.2],
            fine_tokens: 300,
            modulation: Modulation::Published,
        }
    }

    /// The cascade's mean, by which [`FocusConfig::keep`] is multiplied on average.
    pub fn mean_cascade(&self) -> f32 {
        self.cascade.iter().sum::<f32>() / self.cascade.len().max(1) as f32
    }
}

/// What a level's score does to the next finer level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modulation {
    /// PARITY: it scales the tokens before a norm, which takes the scale away again but for its sign and epsilon; as released.
    Published,
    /// DEVIATION: it is scaled and added to the finer level's score.
    Additive,
}

/// Where the decoder's queries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoderKind {
    /// Learned contents at the best tokens' boxes, encoded anew in every layer; a box is refined with gradient into the layer before
    /// (DINO, arXiv:2203.03605).
    Dino,
    /// The best tokens themselves at their boxes, encoded once (two-stage Deformable DETR and Sparse DETR).
    TwoStage,
}

impl DecoderKind {
    /// Least distance of a coordinate from 0 and 1 when its logit is taken.
    pub fn logit_epsilon(self) -> f64 {
        match self {
            Self::Dino => 1e-3,
            Self::TwoStage => 1e-5,
        }
    }
}

impl FocusDetrConfig {
    /// ResNet-50, 80 classes, 12 epochs: 49,339,920 parameters.
    pub fn r50() -> Self {
        Self {
            input: ImageSides::PUBLISHED,
            backbone: BackboneConfig::ResNet(ResNetConfig::r50()),
            classes: 80,
            width: 256,
            heads: 8,
            points: 4,
            feed_forward: 2048,
            neck_groups: 32,
            encoder_layers: 6,
            decoder_layers: 6,
            queries: 900,
            position: PositionConfig::SHORT,
            encoder: EncoderConfig::Focus(FocusConfig::published()),
            decoder: DecoderKind::Dino,
        }
    }

    /// ResNet-101, 12 epochs.
    pub fn r101() -> Self {
        Self { backbone: BackboneConfig::ResNet(ResNetConfig::r101()), ..Self::r50() }
    }

    /// Swin-L trained at 384 pixels, window 12.
    pub fn swin_l() -> Self {
        let swin = SwinConfig::new(192, [2, 2, 18, 2], [6, 12, 24, 48], 12).with_drop_path(0.2);
        Self { backbone: BackboneConfig::Swin(swin), ..Self::r50() }
    }

    /// For tests and for training on two cores: narrow, three layers each.
    pub fn tiny() -> Self {
        let focus = FocusConfig { cascade: vec![1.0, 0.5, 0.3], fine_tokens: 32, ..FocusConfig::published() };
        Self {
            input: ImageSides { short: 128, longest: 256 },
            backbone: BackboneConfig::ResNet(ResNetConfig::tiny()),
            classes: 10,
            width: 64,
            heads: 4,
            points: 4,
            feed_forward: 128,
            neck_groups: 8,
            encoder_layers: 3,
            decoder_layers: 3,
            queries: 40,
            encoder: EncoderConfig::Focus(focus),
            ..Self::r50()
        }
    }

    /// The preset of a name; `_long` stands for [`FocusDetrConfig::long_schedule`].
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "r50" => Some(Self::r50()),
            "r50_long" => Some(Self::r50().long_schedule()),
            "r101" => Some(Self::r101()),
            "r101_long" => Some(Self::r101().long_schedule()),
            "swin_l" => Some(Self::swin_l()),
            _ => None,
        }
    }

    /// The same with the positions of the ResNet configurations of 24 and 36 epochs.
    pub fn long_schedule(self) -> Self {
        Self { position: PositionConfig::LONG, ..self }
    }

    /// # Errors
    /// Naming the field that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad =
            |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
        if self.input.short == 0 || self.input.longest < self.input.short || self.input.longest > MAX_SIDE {
            let found = format!("{} and {}", self.input.short, self.input.longest);
            return bad("input", found, "a shorter side above 0 and a longest that is not below it, nor above 16384");
        }
        let counts = [
            ("classes", self.classes),
            ("points", self.points),
            ("feed_forward", self.feed_forward),
            ("encoder_layers", self.encoder_layers),
            ("decoder_layers", self.decoder_layers),
            ("queries", self.queries),
        ];
        if let Some((field, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return bad(field, "0".into(), "at least 1");
        }
        if self.heads == 0 || self.width == 0 || !self.width.is_multiple_of(self.heads) {
            return bad("heads", format!("{} for a width of {}", self.heads, self.width), "a divisor of the width");
        }
        if !self.width.is_multiple_of(4) {
            return bad("width", self.width.to_string(), "a multiple of 4");
        }
        if self.neck_groups == 0 || !self.width.is_multiple_of(self.neck_groups) {
            return bad("neck_groups", self.neck_groups.to_string(), "a divisor of the width");
        }
        if !(self.position.temperature.is_finite() && self.position.temperature > 0.0) {
            return bad("position.temperature", self.position.temperature.to_string(), "above 0");
        }
        let share = |keep: f32| keep.is_finite() && keep > 0.0;
        match &self.encoder {
            EncoderConfig::Focus(focus) => {
                if !share(focus.keep) {
                    return bad("encoder.focus.keep", focus.keep.to_string(), "above 0");
                }
                let falls = focus.cascade.windows(2).all(|pair| pair[0] >= pair[1]);
                if focus.cascade.len() != self.encoder_layers || !falls || !focus.cascade.iter().all(|&s| share(s)) {
                    let found = format!("{:?} for {} layers", focus.cascade, self.encoder_layers);
                    return bad(
                        "encoder.focus.cascade",
                        found,
                        "a share above 0 for each layer, none above the one before",
                    );
                }
                if focus.fine_tokens == 0 {
                    return bad("encoder.focus.fine_tokens", "0".into(), "at least 1");
                }
            }
            EncoderConfig::Sparse { keep } if !share(*keep) => {
                return bad("encoder.sparse.keep", keep.to_string(), "above 0");
            }
            EncoderConfig::Sparse { .. } | EncoderConfig::Dense => {}
        }
        self.backbone.check()?;
        // Costs and the size ranges of labels go by these.
        let strides = self.backbone.strides();
        if strides != [4, 8, 16, 32] {
            return bad("backbone", format!("one of strides {strides:?}"), "[4, 8, 16, 32]");
        }
        Ok(())
    }
}
