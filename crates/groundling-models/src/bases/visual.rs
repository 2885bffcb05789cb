//! The visual branch of TransVG and VLTVG: a backbone and DETR's encoder.

use burn::module::Module;
use burn::nn::Initializer;
use burn::tensor::{Bool, Device, Tensor};
use groundling_kernels::Activation;
use groundling_nn::attention::AttentionBias;
use groundling_nn::layers::{Convolution, ConvolutionConfig, PrepareInference};
use groundling_nn::position::SinePosition2d;
use groundling_nn::transformer::{Encoder, NormOrder, Tokens, TransformerConfig};

use super::{Cells, Look, xavier};
use crate::backbone::{Backbone, BackboneConfig};
use crate::contract::ConfigError;

/// Sizes of a [`DetrVisual`].
#[derive(Debug, Clone, Copy)]
pub struct DetrVisualConfig<'a> {
    /// The backbone.
    pub backbone: &'a BackboneConfig,
    /// Which of its maps is read, 0 to 3.
    pub stage: usize,
    /// Whether tokens hold their places themselves, rather than queries and keys alone.
    pub placed: bool,
    /// Width `D` of a token, a multiple of 4.
    pub dim: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub mlp_hidden: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Share of values that training sets to 0.
    pub dropout: f64,
}

/// Layers in which every token attends to every other, as DETR has them, of these sizes.
pub(crate) fn transformer(dim: usize, heads: usize, mlp_hidden: usize, dropout: f64) -> TransformerConfig {
    TransformerConfig {
        width: dim,
        heads,
        feed_forward: mlp_hidden,
        activation: Activation::Relu,
        order: NormOrder::Post,
        dropout,
        epsilon: 1e-5,
    }
}

/// A picture in, tokens out.
#[derive(Module, Debug)]
pub struct DetrVisual {
    /// Picture to map.
    pub backbone: Backbone,
    /// Channels of the map to the width of a token.
    pub input_proj: Convolution,
    /// Over the tokens.
    pub encoder: Encoder,
    stage: usize,
    placed: bool,
}

/// The visual tokens of a batch.
#[derive(Debug, Clone)]
pub struct Seen {
    /// `[B, S, D]`, row by row.
    pub tokens: Tensor<3>,
    /// `[B, S]`, `true` = ignore; `None` if nothing is hidden.
    pub padding: Option<Tensor<2, Bool>>,
    /// Of the cells, `[1 or B, S, D]`.
    pub position: Tensor<3>,
}

impl DetrVisual {
    /// The module with random weights.
    ///
    /// # Errors
    /// As [`BackboneConfig::init`].
    ///
    /// # Panics
    /// If the heads do not divide the width or there is no such stage, and as [`BackboneConfig::init`].
    pub fn new(config: &DetrVisualConfig<'_>, device: &Device) -> Result<Self, ConfigError> {
        let DetrVisualConfig { backbone, stage, placed, dim, heads, mlp_hidden, layers, dropout } = *config;
        let inputs = backbone.channels()[stage];
        let point = ConvolutionConfig { bias: true, ..ConvolutionConfig::same(inputs, dim, 1) };
        // As PyTorch draws it, uniform up to the root of one over its inputs: larger values would hide the places from a model that starts here.
        let uniform = Initializer::KaimingUniform { gain: 3f64.sqrt().recip(), fan_out_only: false };
        let mut input_proj = point.init(device);
        input_proj.weight = uniform.init_with([dim, inputs, 1, 1], Some(inputs), Some(dim), device);
        Ok(Self {
            backbone: backbone.init(device)?,
            input_proj,
            encoder: xavier(transformer(dim, heads, mlp_hidden, dropout).encoder(layers, device)),
            stage,
            placed,
        })
    }

    /// # Shapes
    /// - `canvases` `[B, 3, H, W]`
    pub(crate) fn forward<O: Look>(&self, canvases: Tensor<4>, cells: &Cells, look: &mut O) -> Seen {
        let device = canvases.device();
        let maps = self.backbone.forward_to(self.stage, canvases);
        let maps = maps.expect("the side of canvases was checked with the configuration");
        let stages = if matches!(self.backbone, Backbone::ResNet(_)) { "resnet.layer{}" } else { "backbone.stage{}" };
        for (index, map) in maps.iter().enumerate() {
            look.see(stages, index + 1, || map.clone());
        }
        let last = maps.into_iter().next_back().expect("at least one stage is read");
        let map = self.input_proj.forward(last);
        look.see("input_proj", 0, || map.clone());
        let [b, d, h, w] = map.dims();
        assert_eq!([h, w], [cells.side; 2], "the map of a square canvas");
        let sine = SinePosition2d { features: d / 2, ..SinePosition2d::DETR };
        // Where nothing is hidden, one encoding serves all pictures.
        let shown = if cells.any() { cells.clone() } else { Cells::all(1, cells.side) };
        let position = sine.forward(shown.map(&device));
        look.see("pos_sine", 0, || position.clone().expand([b, d, h, w]));
        let [p, ..] = position.dims();
        let position = position.reshape([p, d, h * w]).swap_dims(1, 2);
        let padding = cells.flat(&device);
        let bias = padding.clone().map_or(AttentionBias::none(), AttentionBias::padding);
        let mut tokens = map.reshape([b, d, h * w]).swap_dims(1, 2);
        if self.placed {
            tokens = tokens + position.clone();
        }
        for (index, layer) in self.encoder.layers.iter().enumerate() {
            tokens = layer.forward(Tokens::new(tokens).at(position.clone()).masked(bias.clone()));
            look.see("detr_encoder.{}", index, || tokens.clone());
        }
        Seen { tokens, padding, position }
    }
}

impl PrepareInference for DetrVisual {
    fn prepare_inference(&mut self) {
        self.backbone.prepare_inference();
        self.input_proj.prepare_inference();
        self.encoder.prepare_inference();
    }
}
