//! Sizes of a DMMI.

use groundling_kernels::Activation;
use groundling_nn::bert::BertConfig;
use groundling_nn::resnet::{BlockKind, ResNetConfig};
use groundling_nn::swin::SwinConfig;
use groundling_nn::transformer::{NormOrder, TransformerConfig};
use serde::{Deserialize, Serialize};

use crate::backbone::BackboneConfig;
use crate::contract::ConfigError;
use crate::scalablevit::ScalableVitConfig;

/// Everything that decides the shapes of a DMMI; `config.json` beside its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DmmiConfig {
    /// Side of the canvas in pixels, which the picture fills whatever its aspect ratio.
    pub image_size: usize,
    /// Word pieces of a phrase, special ones included. Shorter phrases are filled up to it, longer ones cut.
    pub text_len: usize,
    /// The image encoder.
    pub backbone: Backbone,
    /// The phrase encoder; its width `D` is that of the decoder, too.
    pub text: TextConfig,
    /// Sides of the windows of pixels over which the image asks the phrase: odd numbers.
    #[serde(default = "regions")]
    pub regions: Vec<usize>,
    /// Lengths of the windows of tokens over which the phrase asks the image; none leaves the phrase as its encoder made it. With
    /// `regions = [1]` that is plain cross-attention: every pixel asks the words, by itself.
    #[serde(default = "spans")]
    pub spans: Vec<usize>,
    /// Attention heads of the decoder's transformer layers, a divisor of the width.
    pub decoder_heads: usize,
    /// Width between the two linear layers of the decoder's transformer layers.
    pub decoder_ffn: usize,
    /// Share of values that training sets to 0 in the decoder's transformer layers.
    #[serde(default)]
    pub dropout: f64,
    /// DEVIATION: transformer layers in which the words ask the decoder's maps whether anything fits the phrase; 0 is the published model,
    /// which says so by its likeliest pixel. Where it is hard to say which of several things is meant no pixel is likely, though it may be
    /// easy to say that one of them is.
    #[serde(default)]
    pub absence_layers: usize,
    /// DEVIATION: how many pixels to the right and down the picture is moved on the canvas to be read again, for each further reading of an
    /// answer; log-odds are the means over all readings. None is the published model. Training reads pictures once.
    #[serde(default)]
    pub moves: Vec<[i64; 2]>,
}

/// The image encoder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Backbone {
    /// Swin as detectors use it.
    Swin {
        /// Channels of the image: 3.
        #[serde(default = "three")]
        in_channels: usize,
        /// Side of a patch in pixels.
        #[serde(default = "four")]
        patch: usize,
        /// Channels of the first stage; each stage doubles them.
        embed_dim: usize,
        /// Blocks in each stage.
        depths: [usize; 4],
        /// Attention heads in each stage.
        heads: [usize; 4],
        /// Side of a window in patches.
        window: usize,
        /// Width of the feed-forward part over that of the stage.
        #[serde(default = "four_times")]
        mlp_ratio: f64,
        /// Whether the projection to queries, keys and values has a bias.
        #[serde(default = "yes")]
        qkv_bias: bool,
        /// Whether patches are normalised.
        #[serde(default = "yes")]
        patch_norm: bool,
        /// Share of the samples that training drops in the last block; rises from 0 in the first.
        #[serde(default)]
        drop_path: f64,
        /// Added to variances.
        #[serde(default = "epsilon")]
        ln_eps: f64,
    },
    /// ResNet of bottlenecks.
    Resnet {
        /// Blocks in each stage.
        depths: [usize; 4],
        /// Channels of the stem; 64 in every published model.
        #[serde(default = "stem")]
        width: usize,
    },
    /// ScalableViT without head. What the phrase says about a map goes to the decoder through the norm of its stage, as in a Swin.
    #[serde(rename = "scalable_vit")]
    ScalableVit(ScalableVitConfig),
}

/// A BERT without pooler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Rows of the word table.
    pub vocab: usize,
    /// Width `D`.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads, a divisor of the width.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub mlp_hidden: usize,
    /// Rows of the table of positions.
    pub positions: usize,
    /// Added to variances.
    #[serde(default = "text_epsilon")]
    pub ln_eps: f64,
}

fn three() -> usize {
    3
}
fn four() -> usize {
    4
}
fn four_times() -> f64 {
    4.0
}
fn yes() -> bool {
    true
}
fn epsilon() -> f64 {
    1e-5
}
fn text_epsilon() -> f64 {
    1e-12
}
fn stem() -> usize {
    64
}
fn regions() -> Vec<usize> {
    vec![1, 3, 5]
}
fn spans() -> Vec<usize> {
    vec![1, 2, 3]
}

impl TextConfig {
    /// `bert-base-uncased`.
    pub fn base_uncased() -> Self {
        let BertConfig { vocabulary, width, layers, heads, feed_forward, positions, epsilon, .. } =
            BertConfig::base_uncased();
        Self { vocab: vocabulary, width, layers, heads, mlp_hidden: feed_forward, positions, ln_eps: epsilon }
    }

    /// As the shared encoder has them. PARITY: its dropout never acts, in training either.
    pub(super) fn bert(&self) -> BertConfig {
        BertConfig {
            vocabulary: self.vocab,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            feed_forward: self.mlp_hidden,
            positions: self.positions,
            token_types: 2,
            epsilon: self.ln_eps,
            dropout: 0.0,
            pooler: false,
        }
    }
}

impl Backbone {
    /// Channels of the four maps.
    pub fn channels(&self) -> [usize; 4] {
        match self {
            Self::Swin { embed_dim, .. } => [1, 2, 4, 8].map(|factor| factor * embed_dim),
            Self::Resnet { width, .. } => [1, 2, 4, 8].map(|factor| factor * width * BlockKind::Bottleneck.expansion()),
            Self::ScalableVit(config) => config.channels(),
        }
    }

    /// Sides of the four maps for a canvas of this side.
    pub fn sides(&self, image_size: usize) -> [usize; 4] {
        let patch = match self {
            Self::Swin { patch, .. } => *patch,
            Self::Resnet { .. } => 4,
            Self::ScalableVit(config) => return config.grids(image_size, image_size).map(|[rows, _]| rows),
        };
        let first = image_size.div_ceil(patch.max(1));
        [first, first.div_ceil(2), first.div_ceil(4), first.div_ceil(8)]
    }

    /// As other systems have them.
    pub(super) fn shared(&self) -> BackboneConfig {
        match self {
            Self::Swin {
                in_channels,
                patch,
                embed_dim,
                depths,
                heads,
                window,
                mlp_ratio,
                qkv_bias,
                patch_norm,
                drop_path,
                ln_eps,
            } => BackboneConfig::Swin(
                SwinConfig::new(*embed_dim, *depths, *heads, *window)
                    .with_in_channels(*in_channels)
                    .with_patch(*patch)
                    .with_mlp_ratio(*mlp_ratio)
                    .with_qkv_bias(*qkv_bias)
                    .with_patch_norm(*patch_norm)
                    .with_drop_path(*drop_path)
                    .with_epsilon(*ln_eps),
            ),
            Self::Resnet { depths, width } => BackboneConfig::ResNet(
                ResNetConfig::new(BlockKind::Bottleneck, *depths).with_width(*width).with_train_norms(true),
            ),
            Self::ScalableVit(config) => BackboneConfig::ScalableVit(config.clone()),
        }
    }

    /// Whether the decoder reads the gated map of a stage. PARITY: of a ResNet alone, as released weights expect; of the others it reads the
    /// residual, so that nothing reads the last gate.
    pub(super) fn shows_gated(&self) -> bool {
        matches!(self, Self::Resnet { .. })
    }
}

impl DmmiConfig {
    /// Swin-B with windows of 12 at 480 pixels, as the published checkpoints for RefCOCOg and Ref-ZOM: 208,052,848 parameters and
    /// those of BERT.
    pub fn swin_b() -> Self {
        Self {
            image_size: 480,
            text_len: 20,
            backbone: Backbone::Swin {
                in_channels: 3,
                patch: 4,
                embed_dim: 128,
                depths: [2, 2, 18, 2],
                heads: [4, 8, 16, 32],
                window: 12,
                mlp_ratio: 4.0,
                qkv_bias: true,
                patch_norm: true,
                drop_path: 0.3,
                ln_eps: 1e-5,
            },
            text: TextConfig::base_uncased(),
            regions: regions(),
            spans: spans(),
            decoder_heads: 8,
            decoder_ffn: 2048,
            dropout: 0.1,
            absence_layers: 0,
            moves: Vec::new(),
        }
    }

    /// ResNet-101 at 480 pixels, as the published checkpoint for RefCOCOg.
    pub fn resnet101() -> Self {
        Self { backbone: Backbone::Resnet { depths: [3, 4, 23, 3], width: 64 }, ..Self::swin_b() }
    }

    /// For a laptop's CPU, and to be trained on one.
    pub fn small() -> Self {
        let text = TextConfig {
            width: 128,
            layers: 4,
            heads: 4,
            mlp_hidden: 512,
            positions: 64,
            ..TextConfig::base_uncased()
        };
        let tiny = Self::tiny();
        Self {
            image_size: 128,
            backbone: tiny.backbone.with_swin_sizes(32, [1, 1, 4, 1], [1, 2, 4, 8], 8),
            text,
            decoder_heads: 4,
            decoder_ffn: 256,
            dropout: 0.0,
            ..tiny
        }
    }

    /// For tests and experiments.
    pub fn tiny() -> Self {
        let swin = Self::swin_b().backbone.with_swin_sizes(16, [2, 1, 1, 1], [1, 2, 2, 4], 4);
        let text =
            TextConfig { width: 48, layers: 2, heads: 3, mlp_hidden: 96, positions: 32, ..TextConfig::base_uncased() };
        Self {
            image_size: 64,
            text_len: 20,
            backbone: swin,
            text,
            regions: regions(),
            spans: spans(),
            decoder_heads: 3,
            decoder_ffn: 96,
            dropout: 0.1,
            absence_layers: 0,
            moves: Vec::new(),
        }
    }

    /// The preset of this name: `tiny`, `small`, `resnet101`, `swin_b`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "small" => Some(Self::small()),
            "resnet101" => Some(Self::resnet101()),
            "swin_b" => Some(Self::swin_b()),
            _ => None,
        }
    }

    /// The decoder's transformer layers.
    pub(super) fn transformer(&self) -> TransformerConfig {
        TransformerConfig {
            width: self.text.width,
            heads: self.decoder_heads,
            feed_forward: self.decoder_ffn,
            activation: Activation::Relu,
            order: NormOrder::Post,
            dropout: self.dropout,
            epsilon: 1e-5,
        }
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
        let text = &self.text;
        let mut sizes = vec![
            // At 32 pixels the last map would be one pixel, over which nothing can be normalised.
            ("image_size", self.image_size, 33, 1 << 14),
            ("text_len", self.text_len, 2, 512),
            ("text.vocab", text.vocab, 1, MOST),
            ("text.width", text.width, 1, 1 << 14),
            ("text.layers", text.layers, 1, 1 << 10),
            ("text.heads", text.heads, 1, MOST),
            ("text.mlp_hidden", text.mlp_hidden, 1, MOST),
            ("text.positions", text.positions, 2, MOST),
            ("decoder_heads", self.decoder_heads, 1, MOST),
            ("decoder_ffn", self.decoder_ffn, 1, MOST),
            ("absence_layers", self.absence_layers, 0, 1 << 10),
        ];
        let (depths, heads) = match &self.backbone {
            Backbone::Swin { in_channels, patch, embed_dim, depths, heads, window, .. } => {
                sizes.push(("backbone.in_channels", *in_channels, 3, 3));
                sizes.push(("backbone.patch", *patch, 1, 64));
                sizes.push(("backbone.embed_dim", *embed_dim, 4, 1 << 12));
                sizes.push(("backbone.window", *window, 1, 64));
                (depths, heads)
            }
            Backbone::Resnet { depths, width } => {
                sizes.push(("backbone.width", *width, 1, 1 << 12));
                (depths, &[1; 4])
            }
            Backbone::ScalableVit(config) => {
                self.backbone.shared().check()?;
                (&config.depths, &config.heads)
            }
        };
        sizes.extend(depths.map(|depth| ("backbone.depths", depth, 1, 1 << 10)));
        sizes.extend(heads.map(|heads| ("backbone.heads", heads, 1, MOST)));
        sizes.extend(self.regions.iter().map(|&side| ("regions", side, 1, 31)));
        sizes.extend(self.spans.iter().map(|&span| ("spans", span, 1, 31)));
        if let Some((field, found, least, most)) =
            sizes.into_iter().find(|&(_, size, least, most)| size < least || size > most)
        {
            return bad(field, &found, &format!("{least} to {most}"));
        }
        if let Err(error) = self.backbone.shared().fits([self.image_size; 2]) {
            return bad("image_size", &self.image_size, &format!("at least {}, for the image encoder", error.least));
        }
        if self.backbone.sides(self.image_size)[3] < 2 {
            let expected = "so large that the last map has more than one pixel, for the stride of the image encoder";
            return bad("image_size", &self.image_size, expected);
        }
        let channels = self.backbone.channels();
        if channels.iter().zip(heads).any(|(channels, heads)| !channels.is_multiple_of(*heads)) {
            return bad("backbone.heads", &format!("{heads:?}"), &format!("divisors of the channels {channels:?}"));
        }
        for (field, heads) in [("text.heads", text.heads), ("decoder_heads", self.decoder_heads)] {
            if !text.width.is_multiple_of(heads) {
                return bad(field, &heads, &format!("a divisor of the width {}", text.width));
            }
        }
        if text.positions < self.text_len {
            return bad("text.positions", &text.positions, &format!("at least text_len, {}", self.text_len));
        }
        let farthest = self.image_size as i64 / 4;
        if let Some(found) = self.moves.iter().find(|by| by.iter().any(|by| by.abs() > farthest)) {
            return bad("moves", &format!("{found:?}"), &format!("at most {farthest} pixels, a quarter of the canvas"));
        }
        if self.moves.len() > 64 {
            return bad("moves", &self.moves.len(), "at most 64");
        }
        if self.regions.is_empty() || self.regions.iter().any(|side| side % 2 == 0) {
            return bad("regions", &format!("{:?}", self.regions), "one or more odd numbers");
        }
        let narrowest = |windows: &[usize], share: fn(usize, usize) -> usize| {
            windows.iter().map(|&side| share(channels[0], side)).min().unwrap_or(1)
        };
        if narrowest(&self.regions, region_width) == 0 || narrowest(&self.spans, span_width) == 0 {
            return bad("backbone.embed_dim", &channels[0], "enough channels for the largest window");
        }
        let mut rates = vec![("dropout", self.dropout)];
        let mut epsilons = vec![("text.ln_eps", text.ln_eps)];
        if let Backbone::Swin { drop_path, ln_eps, mlp_ratio, .. } = &self.backbone {
            rates.push(("backbone.drop_path", *drop_path));
            epsilons.push(("backbone.ln_eps", *ln_eps));
            if !(*mlp_ratio > 0.0 && *mlp_ratio <= 64.0 && mlp_ratio * channels[0] as f64 >= 1.0) {
                return bad("backbone.mlp_ratio", mlp_ratio, "above 0 and at most 64");
            }
        }
        if let Some((field, found)) = rates.into_iter().find(|(_, rate)| !(0.0..1.0).contains(rate)) {
            return bad(field, &found, "at least 0 and below 1");
        }
        if let Some((field, found)) = epsilons.into_iter().find(|&(_, epsilon)| !(epsilon > 0.0 && epsilon < 1.0)) {
            return bad(field, &found, "between 0 and 1");
        }
        Ok(())
    }
}

/// Channels of the queries of a window of this side: fewer for larger windows.
pub(super) fn region_width(channels: usize, side: usize) -> usize {
    channels >> (side / 2).min(usize::BITS as usize - 1)
}

/// Channels of the queries of a window of so many tokens.
pub(super) fn span_width(channels: usize, span: usize) -> usize {
    channels / span.max(1)
}

impl Backbone {
    fn with_swin_sizes(self, dim: usize, deep: [usize; 4], split: [usize; 4], side: usize) -> Self {
        match self {
            Self::Swin { in_channels, patch, mlp_ratio, qkv_bias, patch_norm, ln_eps, .. } => Self::Swin {
                in_channels,
                patch,
                embed_dim: dim,
                depths: deep,
                heads: split,
                window: side,
                mlp_ratio,
                qkv_bias,
                patch_norm,
                drop_path: 0.0,
                ln_eps,
            },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_sound_and_known_by_name() {
        for name in ["tiny", "small", "resnet101", "swin_b"] {
            assert_eq!(DmmiConfig::preset(name).unwrap().check(), Ok(()), "{name}");
        }
        assert_eq!(DmmiConfig::preset("huge"), None);
        assert_eq!(DmmiConfig::swin_b().backbone.sides(480), [120, 60, 30, 15]);
        assert_eq!(DmmiConfig::swin_b().backbone.channels(), [128, 256, 512, 1024]);
        assert_eq!(DmmiConfig::resnet101().backbone.channels(), [256, 512, 1024, 2048]);
        assert_eq!([1, 3, 5].map(|side| region_width(128, side)), [128, 64, 32]);
        assert_eq!([1, 2, 3].map(|span| span_width(128, span)), [128, 64, 42]);
    }

    #[test]
    fn what_contradicts_itself_is_named() {
        let tiny = DmmiConfig::tiny;
        let cases = [
            (DmmiConfig { image_size: 32, ..tiny() }, "image_size"),
            (DmmiConfig { text_len: 40, ..tiny() }, "text.positions"),
            (DmmiConfig { regions: vec![2], ..tiny() }, "regions"),
            (DmmiConfig { spans: vec![0], ..tiny() }, "spans"),
            (DmmiConfig { decoder_heads: 5, ..tiny() }, "decoder_heads"),
            (DmmiConfig { dropout: 1.0, ..tiny() }, "dropout"),
            (DmmiConfig { backbone: Backbone::Resnet { depths: [1, 0, 1, 1], width: 8 }, ..tiny() }, "backbone.depths"),
        ];
        for (config, field) in cases {
            assert_eq!(config.check().unwrap_err().field, field);
        }
    }
}
