//! One Swin block.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_kernels::Activation;

use super::TokenMap;
use super::window::{WindowAttention, shift_mask};
use crate::layers::{PrepareInference, StochasticDepth, TokenNorm};
use crate::mlp::{FeedForward, FeedForwardConfig};
use crate::windows::{join, pad_to_windows, split};

/// Sizes of a [`SwinBlock`].
#[derive(Debug, Clone, Copy)]
pub struct SwinBlockConfig {
    /// Width of the tokens.
    pub dim: usize,
    /// Attention heads, a divisor of the width.
    pub heads: usize,
    /// Side of a window in tokens.
    pub window: usize,
    /// By how many tokens the map is rolled before it is cut into windows; 0 for an even block.
    pub shift: usize,
    /// Width of the feed-forward part over `dim`.
    pub mlp_ratio: f64,
    /// Whether the projection to queries, keys and values has a bias.
    pub qkv_bias: bool,
    /// Share of the samples that training drops.
    pub drop_path: f64,
    /// Added to variances.
    pub epsilon: f64,
}

impl SwinBlockConfig {
    /// The module with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn init(&self, device: &Device) -> SwinBlock {
        let norm = || TokenNorm::new(self.dim, self.epsilon, device);
        let hidden = (self.dim as f64 * self.mlp_ratio) as usize;
        let mlp = FeedForwardConfig { width: self.dim, hidden, activation: Activation::Gelu, dropout: 0.0 };
        SwinBlock {
            norm1: norm(),
            attn: WindowAttention::new(self.dim, self.heads, self.window, self.qkv_bias, device),
            norm2: norm(),
            mlp: mlp.init(device),
            drop_path: StochasticDepth::new(self.drop_path),
            window: self.window,
            shift: self.shift,
        }
    }
}

/// Attention within windows, then a feed-forward part, both pre-norm.
#[derive(Module, Debug)]
pub struct SwinBlock {
    norm1: TokenNorm,
    attn: WindowAttention,
    norm2: TokenNorm,
    mlp: FeedForward,
    drop_path: StochasticDepth,
    window: usize,
    shift: usize,
}

impl SwinBlock {
    /// What [`SwinBlock::forward`] wants for a map of this size: `[windows, w w, w w]`; `None` if the block does not shift.
    pub fn shift_mask(&self, map: &TokenMap) -> Option<Tensor<3>> {
        (self.shift > 0).then(|| shift_mask([map.height, map.width], self.window, self.shift, &map.tokens.device()))
    }

    /// The map after the block, of the same size. `mask` is that of [`SwinBlock::shift_mask`]; a block that does not shift leaves it.
    pub fn forward(&self, map: TokenMap, mask: Option<&Tensor<3>>) -> TokenMap {
        let TokenMap { tokens, height, width } = map;
        let attended = self.attend(self.norm1.forward(tokens.clone()), [height, width], mask);
        let x = tokens + self.drop_path.forward(attended);
        let hidden = self.mlp.forward(self.norm2.forward(x.clone()));
        TokenMap { tokens: x + self.drop_path.forward(hidden), height, width }
    }

    /// Attention within the windows of the padded, rolled map.
    fn attend(&self, tokens: Tensor<3>, [height, width]: [usize; 2], mask: Option<&Tensor<3>>) -> Tensor<3> {
        let [b, n, c] = tokens.dims();
        let side = self.window;
        // Zeros after the norm: tokens like any other.
        let x = pad_to_windows(tokens.reshape([b, height, width, c]), side);
        let [_, rows, columns, _] = x.dims();
        let mask = if self.shift > 0 { mask } else { None };
        let x = self.attn.forward(split(roll(x, self.shift), side), mask);
        let x = join(x, [rows, columns], side);
        let x = if self.shift > 0 { roll_by(x, rows - self.shift, columns - self.shift) } else { x };
        x.slice([0..b, 0..height, 0..width]).reshape([b, n, c])
    }
}

/// Row and column `shift` come first, those before them last.
fn roll(x: Tensor<4>, shift: usize) -> Tensor<4> {
    if shift == 0 { x } else { roll_by(x, shift, shift) }
}

/// Row `down` and column `right` of `[B, H, W, C]` come first.
fn roll_by(x: Tensor<4>, down: usize, right: usize) -> Tensor<4> {
    let [_, h, w, _] = x.dims();
    let x = Tensor::cat(vec![x.clone().narrow(1, down, h - down), x.narrow(1, 0, down)], 1);
    Tensor::cat(vec![x.clone().narrow(2, right, w - right), x.narrow(2, 0, right)], 2)
}

impl PrepareInference for SwinBlock {
    fn prepare_inference(&mut self) {
        self.attn.prepare_inference();
        self.mlp.prepare_inference();
    }
}
