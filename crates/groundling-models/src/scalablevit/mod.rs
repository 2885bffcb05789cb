//! ScalableViT: a backbone of four stages in which attention within windows that talk to each other (IWSA) alternates with global
//! attention over a reduced map (SSA).
//!
//! Yang et al. 2022, "ScalableViT: Rethinking the Context-oriented Generalization of Vision Transformer" (ECCV, arXiv:2203.10790).
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use groundling_models::scalablevit::ScalableVitConfig;
//!
//! let device = Device::flex();
//! let backbone = ScalableVitConfig::tiny().dense().init(&device)?;
//! let maps = backbone.forward(Tensor::random([1, 3, 75, 101], Distribution::Default, &device))?;
//! assert_eq!(maps[3].dims(), [1, 64, 3, 4]); // stride 32, rounded up
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what |
//! |---|---|
//! | `config` | sizes, presets and switches |
//! | `window` | IWSA with its local interactive module, and its ablations |
//! | `global` | SSA in both forms, and what it is compared with |
//! | `block`, `head` | residual blocks with their stage, the classifier's head |
//! | `cost` | parameters and multiply-accumulates, counted on the module itself |
//! | `criterion`, `trainable` | the loss, and the classifier as the trainer sees it |
//! | `keys` | names of published weights, and what a checkpoint says about its configuration |
//!
//! Dimension key: `B` batch, `H` and `W` rows and columns of a stage's grid, `N` = H W, `C` channels of the stage, `c` scaled channels of SSA,
//! `n` its reduced tokens.

mod block;
mod config;
mod cost;
mod criterion;
mod global;
mod head;
mod keys;
mod trainable;
mod window;

pub use block::{Attention, BlockConfig, PositionalEncoding, ScalableBlock, Stage};
pub use config::{
    GlobalAttention, HeadConfig, HeadKind, LocalAttention, Order, OutputNorm, ScalableVitConfig, ValueWidth,
};
pub use cost::{MacCount, ParameterCount};
pub use criterion::Criterion;
pub use global::{Full, GlobalConfig, Reduced, ScalableAttention, Separable};
pub use head::{Head, MlpHead};
pub use keys::{CLASSIFIER_KEYS, CLASSIFIER_TO_DENSE_KEYS, DENSE_KEYS, DetectError, KeyLine, detect, key_line};
pub use window::{WindowConfig, WindowedAttention};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_nn::layers::{Convolution, ConvolutionConfig, Dense, PrepareInference, TokenNorm};
use groundling_nn::swin::TokenMap;

use crate::contract::ConfigError;

/// Epsilon of the norms of blocks, of outputs and of the head.
const EPSILON: f64 = 1e-6;
/// Hidden width of the classifier's head.
const HEAD_WIDTH: usize = 4096;

/// An image that is too small for a stage's reduction.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "an image of {height}x{width} pixels (height x width): expected sides of at least {least}, since stage {stage} reduces its keys \
     by {reduction} a side; enlarge or pad the image"
)]
pub struct TooSmall {
    /// Rows of the image.
    pub height: usize,
    /// Columns of the image.
    pub width: usize,
    /// The least side that works.
    pub least: usize,
    /// The first stage, from 1, whose grid is too small.
    pub stage: usize,
    /// Its reduction per side.
    pub reduction: usize,
}

/// The network.
#[derive(Module, Debug)]
pub struct ScalableVit {
    /// The four stages.
    pub stages: Vec<Stage>,
    /// Of the last stage's tokens before the head; `None` without a head.
    pub norm: Option<TokenNorm>,
    /// The classifier.
    pub head: Option<Head>,
    #[module(skip)]
    config: ScalableVitConfig,
}

impl ScalableVitConfig {
    /// The module with random weights (section 3.8 of the authors' code: linear layers normal with 0.02, convolutions after He et al. 2015
    /// over the outputs).
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn init(&self, device: &Device) -> Result<ScalableVit, ConfigError> {
        self.check()?;
        let head = self.head.map(|head| Head::new(head, self.dims[3], device));
        Ok(ScalableVit {
            stages: (0..4).map(|stage| Stage::new(self, stage, device)).collect(),
            norm: head.is_some().then(|| TokenNorm::new(self.dims[3], EPSILON, device)),
            head,
            config: self.clone(),
        })
    }
}

impl ScalableVit {
    /// What it was made from.
    pub fn config(&self) -> &ScalableVitConfig {
        &self.config
    }

    /// Maps of the four stages, `[B, C_s, H_s, W_s]` with `H_s = ceil(H / 2^(s+2))`, s from 0; normalised if the configuration says so.
    ///
    /// # Shapes
    /// - `image` `[B, 3, H, W]`, normalised
    ///
    /// # Errors
    /// [`TooSmall`] if a stage's grid has fewer rows or columns than its keys are reduced by.
    ///
    /// # Panics
    /// If the image has other channels than the configuration.
    pub fn forward(&self, image: Tensor<4>) -> Result<[Tensor<4>; 4], TooSmall> {
        let [_, _, height, width] = image.dims();
        self.config.fits(height, width)?;
        let mut image = image;
        Ok([0, 1, 2, 3].map(|index| {
            let (emitted, passed) = self.stages[index].forward(image.clone());
            image = passed;
            emitted
        }))
    }

    /// What enters the head: the mean of the last stage's normalised tokens, `[B, C_4]`.
    ///
    /// # Errors
    /// As [`ScalableVit::forward`].
    ///
    /// # Panics
    /// If the image has other channels than the configuration, or there is no head.
    pub fn pooled(&self, image: Tensor<4>) -> Result<Tensor<2>, TooSmall> {
        let norm = self.norm.as_ref().expect("a classifier has a norm before its head");
        let [_, _, _, last] = self.forward(image)?;
        let tokens = norm.forward(TokenMap::from_image(last).tokens);
        Ok(tokens.mean_dim(1).squeeze_dim(1))
    }

    /// Logits `[B, classes]`.
    ///
    /// # Errors
    /// As [`ScalableVit::forward`].
    ///
    /// # Panics
    /// If the image has other channels than the configuration, or there is no head.
    pub fn classify(&self, image: Tensor<4>) -> Result<Tensor<2>, TooSmall> {
        let head = self.head.as_ref().expect("a classifier has a head");
        Ok(head.forward(self.pooled(image)?))
    }
}

impl PrepareInference for ScalableVit {
    fn prepare_inference(&mut self) {
        self.stages.prepare_inference();
        self.head.prepare_inference();
    }
}

/// Half the resolution or a quarter of it: a convolution and a norm of its tokens.
#[derive(Module, Debug)]
pub struct PatchEmbedding {
    /// Kernel `2 stride - 1`, so that neighbours overlap.
    pub proj: Convolution,
    /// Over channels.
    pub norm: TokenNorm,
}

impl PatchEmbedding {
    /// For steps of `stride` pixels or tokens.
    pub fn new(inputs: usize, outputs: usize, stride: usize, epsilon: f64, device: &Device) -> Self {
        let kernel = 2 * stride - 1;
        let proj =
            ConvolutionConfig { bias: true, ..ConvolutionConfig::same(inputs, outputs, kernel).with_stride(stride) };
        Self { proj: proj.init(device), norm: TokenNorm::new(outputs, epsilon, device) }
    }

    /// `[B, C, H, W]` to tokens of a grid of `ceil(H / stride)` rows and `ceil(W / stride)` columns.
    ///
    /// # Panics
    /// If the channels disagree.
    pub fn forward(&self, image: Tensor<4>) -> TokenMap {
        let map = TokenMap::from_image(self.proj.forward(image));
        TokenMap { tokens: self.norm.forward(map.tokens), ..map }
    }
}

impl PrepareInference for PatchEmbedding {
    fn prepare_inference(&mut self) {
        self.proj.prepare_inference();
    }
}

/// A linear layer as the authors start it: normal with 0.02, bias 0.
fn dense(inputs: usize, outputs: usize, device: &Device) -> Dense {
    use burn::nn::Initializer;
    let initializer = Initializer::Normal { mean: 0.0, std: 0.02 };
    let mut layer = Dense::with_initializer(inputs, outputs, initializer, device);
    layer.bias = Some(Initializer::Zeros.init([outputs], device));
    layer
}

/// A depthwise convolution that keeps the size.
fn depthwise(channels: usize, device: &Device) -> Convolution {
    ConvolutionConfig { groups: channels, bias: true, ..ConvolutionConfig::same(channels, channels, 3) }.init(device)
}
