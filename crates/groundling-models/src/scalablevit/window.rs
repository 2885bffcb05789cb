//! Interactive window-based self-attention (IWSA).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_kernels::{AttentionBias, attention};
use groundling_nn::layers::{Convolution, Dense, PrepareInference};
use groundling_nn::swin::TokenMap;
use groundling_nn::windows::{join, pad_to_windows, split};

use super::{LocalAttention, dense, depthwise};

/// Sizes of a [`WindowedAttention`].
#[derive(Debug, Clone, Copy)]
pub struct WindowConfig {
    /// Channels, `C`.
    pub dim: usize,
    /// Attention heads, a divisor of the channels.
    pub heads: usize,
    /// Side of a window in tokens, `M`.
    pub window: usize,
    /// Whether the projection to queries, keys and values has a bias.
    pub qkv_bias: bool,
    /// What it does.
    pub kind: LocalAttention,
}

/// Attention within windows, and a convolution of the value map through which windows exchange information.
#[derive(Module, Debug)]
pub struct WindowedAttention {
    /// `C` to `3C`: queries, keys, values.
    pub qkv: Dense,
    /// Local interactive module: a depthwise convolution of the values.
    pub lim_func: Option<Convolution>,
    /// `C` to `C`.
    pub proj: Dense,
    heads: usize,
    window: usize,
    #[module(skip)]
    kind: LocalAttention,
}

impl WindowConfig {
    /// The module with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the channels, or a window has no tokens.
    pub fn init(&self, device: &Device) -> WindowedAttention {
        let Self { dim, heads, window, qkv_bias, kind } = *self;
        assert!(heads > 0 && dim.is_multiple_of(heads), "{heads} heads do not divide {dim} channels");
        assert!(window > 0, "a window has tokens");
        let mut qkv = dense(dim, 3 * dim, device);
        qkv.bias = qkv.bias.filter(|_| qkv_bias);
        let convolves = matches!(kind, LocalAttention::Iwsa | LocalAttention::WsaLem | LocalAttention::LimOnly);
        WindowedAttention {
            qkv,
            lim_func: convolves.then(|| depthwise(dim, device)),
            proj: dense(dim, dim, device),
            heads,
            window,
            kind,
        }
    }
}

impl WindowedAttention {
    /// Attention of normalised tokens, of the same shape.
    ///
    /// PARITY: where the grid is not whole windows, zeros are added below and to the right *before* the projection: a token of padding has the
    /// projection's bias for query, key and value, and nothing hides it.
    pub fn forward(&self, map: &TokenMap) -> Tensor<3> {
        let (height, width, side) = (map.height, map.width, self.window);
        let [b, n, c] = map.tokens.dims();
        let padded = self.padded([height, width]);
        let x = pad_to_windows(map.tokens.clone().reshape([b, height, width, c]), side);
        let qkv = self.qkv.forward(x); // [B, Hp, Wp, 3C]
        let attends = self.kind != LocalAttention::LimOnly;
        let attended = attends.then(|| join(self.attend(split(qkv.clone(), side)), padded, side));
        let values = || qkv.clone().narrow(3, 2 * c, c);
        let interaction = self.lim_func.as_ref().map(|lim| match self.kind {
            LocalAttention::WsaLem => self.inside_windows(lim, values()),
            _ => last(lim.forward(first(values()))),
        });
        let sum = match (attended, interaction) {
            (Some(a), Some(b)) => a + b,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => unreachable!("a kind without attention convolves"),
        };
        let cropped = if padded == [height, width] { sum } else { sum.slice([0..b, 0..height, 0..width]) };
        self.proj.forward(cropped.reshape([b, n, c]))
    }

    /// Attention among the tokens of each window, `[B windows, M M, 3C]` to `[.., C]`.
    fn attend(&self, qkv: Tensor<3>) -> Tensor<3> {
        let [b, n, channels] = qkv.dims();
        let (c, heads) = (channels / 3, self.heads);
        let width = c / heads;
        let qkv = qkv.reshape([b, n, 3 * heads, width]);
        let part = |index: usize| qkv.clone().narrow(2, index * heads, heads).swap_dims(1, 2);
        let scale = (width as f64).powf(-0.5);
        let context = attention(part(0), part(1), part(2), scale, AttentionBias::none());
        context.swap_dims(1, 2).reshape([b, n, c])
    }

    /// The convolution with zeros around every window.
    fn inside_windows(&self, lim: &Convolution, values: Tensor<4>) -> Tensor<4> {
        let [_, height, width, c] = values.dims();
        let side = self.window;
        let windows = split(values, side);
        let [count, tokens, _] = windows.dims();
        let windows = last(lim.forward(first(windows.reshape([count, side, side, c]))));
        join(windows.reshape([count, tokens, c]), [height, width], side)
    }

    /// Rows and columns of the padded grid.
    pub fn padded(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        [height, width].map(|side| side.next_multiple_of(self.window))
    }

    /// Tokens of a window.
    pub(super) fn window_tokens(&self) -> usize {
        if self.kind == LocalAttention::LimOnly { 0 } else { self.window * self.window }
    }
}

impl PrepareInference for WindowedAttention {
    fn prepare_inference(&mut self) {
        self.qkv.prepare_inference();
        self.lim_func.prepare_inference();
        self.proj.prepare_inference();
    }
}

/// Channels first.
pub(super) fn first(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}

/// Channels last.
pub(super) fn last(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}
