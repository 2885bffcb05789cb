//! Transformer encoder and decoder layers, and stacks of them, with positions added as DETR does.
//!
//! Source: Vaswani et al. 2017 (arXiv:1706.03762), Sec. 3.1; positions added to queries and keys but not to values, in every layer:
//! Carion et al. 2020 (arXiv:2005.12872), Sec. A.3. Fields are named as in PyTorch's layers, so that key tables stay short: besides the
//! names only the packed `in_proj` of the attention is to be split, see [`KEYS`].

mod decoder;
mod encoder;

pub use decoder::{Decoded, Decoder, DecoderLayer};
pub use encoder::{Encoded, Encoder, EncoderLayer};

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Tensor};
use groundling_kernels::Activation;

use crate::attention::{AttentionBias, MultiHeadAttention, MultiHeadAttentionConfig};
use crate::checkpoint::{Rule, split};
use crate::layers::{Dense, PrepareInference, TokenNorm};

/// From PyTorch's names to those of this module: queries, keys and values are one tensor there.
pub const KEYS: &[Rule] = &[split(r"^(.+)\.in_proj_(weight|bias)$", &["$1.q_proj.$2", "$1.k_proj.$2", "$1.v_proj.$2"])];

/// Where a sublayer normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormOrder {
    /// `norm(x + sublayer(x))`, the original order.
    Post,
    /// `x + sublayer(norm(x))`; a stack then usually ends with a norm of its own.
    Pre,
}

/// Sizes of encoder and decoder layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransformerConfig {
    /// Width `D`.
    pub width: usize,
    /// Heads `G`, a divisor of the width.
    pub heads: usize,
    /// Width between the two layers of the feed-forward part, `F`.
    pub feed_forward: usize,
    /// Between the two layers of the feed-forward part.
    pub activation: Activation,
    /// Where sublayers normalise.
    pub order: NormOrder,
    /// Share that training sets to zero of the attention weights, of the values between the feed-forward layers, and of what a
    /// sublayer adds.
    pub dropout: f64,
    /// Of the norms.
    pub epsilon: f64,
}

impl TransformerConfig {
    /// DETR's: width 256, 8 heads, 2048 between, ReLU, post-norm, dropout 0.1 (arXiv:2005.12872, Sec. A.4).
    pub const DETR: Self = Self {
        width: 256,
        heads: 8,
        feed_forward: 2048,
        activation: Activation::Relu,
        order: NormOrder::Post,
        dropout: 0.1,
        epsilon: 1e-5,
    };

    /// An encoder layer with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn encoder_layer(&self, device: &Device) -> EncoderLayer {
        EncoderLayer::new(self, device)
    }

    /// `layers` encoder layers, and a norm behind them if they normalise first.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn encoder(&self, layers: usize, device: &Device) -> Encoder {
        let norm = (self.order == NormOrder::Pre).then(|| self.norm(device));
        Encoder { layers: (0..layers).map(|_| self.encoder_layer(device)).collect(), norm }
    }

    /// A decoder layer with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn decoder_layer(&self, device: &Device) -> DecoderLayer {
        DecoderLayer::new(self, device)
    }

    /// `layers` decoder layers and the norm behind them, which DETR has in both orders.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn decoder(&self, layers: usize, device: &Device) -> Decoder {
        Decoder { layers: (0..layers).map(|_| self.decoder_layer(device)).collect(), norm: Some(self.norm(device)) }
    }

    fn attention(&self, device: &Device) -> MultiHeadAttention {
        MultiHeadAttentionConfig { width: self.width, heads: self.heads, dropout: self.dropout }.init(device)
    }

    fn norm(&self, device: &Device) -> TokenNorm {
        TokenNorm::new(self.width, self.epsilon, device)
    }
}

/// A sequence to attend from or to.
#[derive(Debug, Clone)]
pub struct Tokens {
    /// `[B, L, D]`.
    pub values: Tensor<3>,
    /// Added where the tokens are queries or keys, not where they are values; `[B, L, D]` or `[1, L, D]`.
    pub position: Option<Tensor<3>>,
    /// About these tokens as keys: `[B, L]` padding, or what is added to the scores.
    pub bias: AttentionBias,
}

impl Tokens {
    /// Tokens without positions, all of them real.
    pub fn new(values: Tensor<3>) -> Self {
        Self { values, position: None, bias: AttentionBias::none() }
    }

    /// With positions.
    pub fn at(self, position: Tensor<3>) -> Self {
        Self { position: Some(position), ..self }
    }

    /// With padding or another bias.
    pub fn masked(self, bias: AttentionBias) -> Self {
        Self { bias, ..self }
    }
}

/// `x + position`.
fn placed(x: &Tensor<3>, position: &Option<Tensor<3>>) -> Tensor<3> {
    match position {
        Some(position) => x.clone() + position.clone(),
        None => x.clone(),
    }
}

/// The sum of a residual and what a sublayer made, on its way to the next: normalised at once (post-norm) or beside the plain sum
/// (pre-norm), in one pass either way.
#[derive(Debug, Clone)]
struct Stream {
    /// What the next sublayer adds to.
    residual: Tensor<3>,
    /// What it reads.
    input: Tensor<3>,
}

impl Stream {
    /// Enters the first sublayer, whose norm is `norm` in the pre-norm order.
    fn enter(x: Tensor<3>, norm: &TokenNorm, order: NormOrder) -> Self {
        match order {
            NormOrder::Post => Self { residual: x.clone(), input: x },
            NormOrder::Pre => Self { input: norm.forward(x.clone()), residual: x },
        }
    }

    /// Takes in what a sublayer made; `own` is the norm of that sublayer, `next` of the one that follows.
    fn pass(self, made: Tensor<3>, own: &TokenNorm, next: &TokenNorm, order: NormOrder) -> Self {
        match order {
            NormOrder::Post => {
                let x = own.forward_sum(made, self.residual);
                Self { residual: x.clone(), input: x }
            }
            NormOrder::Pre => {
                let (residual, input) = next.forward_after_sum(made, self.residual);
                Self { residual, input }
            }
        }
    }

    /// Takes in what the last sublayer made.
    fn leave(self, made: Tensor<3>, own: &TokenNorm, order: NormOrder) -> Tensor<3> {
        match order {
            NormOrder::Post => own.forward_sum(made, self.residual),
            NormOrder::Pre => self.residual + made,
        }
    }
}

/// `linear2(activation(linear1(x)))` with dropout between and behind.
fn feed_forward(x: Tensor<3>, [first, second]: [&Dense; 2], activation: Activation, dropout: &Dropout) -> Tensor<3> {
    let hidden = dropout.forward(first.forward_then(x, activation)); // [B, L, F]
    dropout.forward(second.forward(hidden))
}
