//! Scalable self-attention (SSA): queries from every token, keys and values from a map reduced in both directions and scaled in width.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_kernels::{AttentionBias, attention, gelu};
use groundling_nn::layers::{Convolution, ConvolutionConfig, Dense, PrepareInference, TokenNorm};
use groundling_nn::swin::TokenMap;

use super::{GlobalAttention, ValueWidth, dense};

/// Epsilon of the norm of the reduced map.
const REDUCED_EPSILON: f64 = 1e-5;

/// Sizes of a [`ScalableAttention`].
#[derive(Debug, Clone, Copy)]
pub struct GlobalConfig {
    /// Channels, `C`.
    pub dim: usize,
    /// Attention heads.
    pub heads: usize,
    /// Reduction of a side, `r`.
    pub reduction: usize,
    /// Scale of the width of queries and keys, `r_c`.
    pub channel_factor: f64,
    /// Width of the values.
    pub value: ValueWidth,
    /// Whether the projections to queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// What it does.
    pub kind: GlobalAttention,
}

/// Global attention over a reduced map.
#[derive(Module, Debug)]
pub struct ScalableAttention {
    /// `C` to `c`.
    pub q: Dense,
    /// Makes the map that keys and values are read from; `None` where nothing is reduced.
    pub reduced: Option<Reduced>,
    /// `c` to keys and values side by side.
    pub kv: Option<Dense>,
    /// `c` to keys, where values have another width.
    pub k: Option<Dense>,
    /// `c` to values of width `C`.
    pub v: Option<Dense>,
    /// To `C`.
    pub proj: Dense,
    heads: usize,
    scale: f64,
}

/// The reduced map.
// There are a few of them, and burn's modules cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Reduced {
    /// SSA.
    Separable(Separable),
    /// PVT's and Twins'.
    Full(Full),
}

/// A depthwise convolution or a mean over cells of `r x r`, a change of width, norm and GELU.
#[derive(Module, Debug)]
pub struct Separable {
    /// `C` to `C`, kernel and step `r`; the mean if `None`.
    pub depthwise: Option<Convolution>,
    /// `C` to `c`.
    pub pointwise: Convolution,
    /// Over `c`.
    pub norm: TokenNorm,
    cell: usize,
}

/// A full convolution and a norm.
#[derive(Module, Debug)]
pub struct Full {
    /// `C` to `C`, kernel and step `r`.
    pub sr: Convolution,
    /// Over `C`.
    pub norm: TokenNorm,
}

impl GlobalConfig {
    /// The module with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the widths.
    pub fn init(&self, device: &Device) -> ScalableAttention {
        let Self { dim, heads, reduction, channel_factor, value, qkv_bias, kind } = *self;
        let (reduction, factor) = match kind {
            GlobalAttention::Vanilla => (1, 1.0),
            GlobalAttention::Sra => (reduction, 1.0),
            GlobalAttention::Ssa | GlobalAttention::SsaPool => (reduction, channel_factor),
        };
        let width = if reduction > 1 { (dim as f64 * factor).floor() as usize } else { dim };
        assert!(heads > 0 && dim.is_multiple_of(heads) && width.is_multiple_of(heads), "{heads} heads, {dim}, {width}");
        let layer = |inputs, outputs| {
            let mut layer = dense(inputs, outputs, device);
            layer.bias = layer.bias.filter(|_| qkv_bias);
            layer
        };
        let cells = |groups| {
            let config = ConvolutionConfig {
                stride: reduction,
                padding: 0,
                groups,
                bias: true,
                ..ConvolutionConfig::same(dim, dim, reduction)
            };
            config.init(device)
        };
        let reduced = (reduction > 1).then(|| match kind {
            GlobalAttention::Sra => {
                Reduced::Full(Full { sr: cells(1), norm: TokenNorm::new(dim, REDUCED_EPSILON, device) })
            }
            _ => Reduced::Separable(Separable {
                depthwise: (kind != GlobalAttention::SsaPool).then(|| cells(dim)),
                pointwise: ConvolutionConfig { bias: true, ..ConvolutionConfig::same(dim, width, 1) }.init(device),
                norm: TokenNorm::new(width, REDUCED_EPSILON, device),
                cell: reduction,
            }),
        });
        let apart = reduction > 1 && kind == GlobalAttention::Ssa && value == ValueWidth::Input;
        let values = if apart { dim } else { width };
        ScalableAttention {
            q: layer(dim, width),
            reduced,
            kv: (!apart).then(|| layer(width, 2 * width)),
            k: apart.then(|| layer(width, width)),
            v: apart.then(|| layer(width, dim)),
            proj: dense(values, dim, device),
            heads,
            // PARITY: the factor scales the logits also where it scales no width (r = 1).
            scale: ((dim / heads) as f64 * factor).powf(-0.5),
        }
    }
}

impl ScalableAttention {
    /// Attention of normalised tokens, of the same shape. Rows and columns behind the last whole cell of `r x r` ask, but are not asked.
    pub fn forward(&self, map: &TokenMap) -> Tensor<3> {
        let q = self.split(self.q.forward(map.tokens.clone()));
        let source = match &self.reduced {
            Some(reduced) => reduced.forward(map),
            None => map.tokens.clone(),
        };
        let (k, v) = match (&self.kv, &self.k, &self.v) {
            (Some(kv), _, _) => {
                let both = kv.forward(source);
                let [_, _, width] = both.dims();
                (both.clone().narrow(2, 0, width / 2), both.narrow(2, width / 2, width / 2))
            }
            (None, Some(k), Some(v)) => (k.forward(source.clone()), v.forward(source)),
            _ => unreachable!("keys and values come from one layer or from two"),
        };
        let context = attention(q, self.split(k), self.split(v), self.scale, AttentionBias::none());
        let [b, heads, n, width] = context.dims();
        self.proj.forward(context.swap_dims(1, 2).reshape([b, n, heads * width]))
    }

    /// `[B, N, D]` as `[B, heads, N, D / heads]`.
    fn split(&self, x: Tensor<3>) -> Tensor<4> {
        let [b, n, d] = x.dims();
        x.reshape([b, n, self.heads, d / self.heads]).swap_dims(1, 2)
    }
}

impl Reduced {
    /// Tokens `[B, n, c]` of the reduced map, normalised.
    pub fn forward(&self, map: &TokenMap) -> Tensor<3> {
        let image = map.clone().into_image();
        match self {
            Reduced::Separable(separable) => {
                let tokens = TokenMap::from_image(separable.reduce(image)).tokens;
                gelu(separable.norm.forward(tokens))
            }
            Reduced::Full(full) => full.norm.forward(TokenMap::from_image(full.sr.forward(image)).tokens),
        }
    }

    /// Side of a cell.
    pub(super) fn cell(&self) -> usize {
        match self {
            Reduced::Separable(separable) => separable.cell,
            Reduced::Full(full) => full.sr.weight.dims()[2],
        }
    }
}

impl Separable {
    /// The reduced map before its norm, `[B, c, H / r, W / r]` rounded down.
    pub fn reduce(&self, image: Tensor<4>) -> Tensor<4> {
        let cells = match &self.depthwise {
            Some(depthwise) => depthwise.forward(image),
            None => self.means(image),
        };
        self.pointwise.forward(cells)
    }

    /// The mean of every whole cell.
    fn means(&self, image: Tensor<4>) -> Tensor<4> {
        let ([b, c, height, width], side) = (image.dims(), self.cell);
        let (rows, columns) = (height / side, width / side);
        let cells = image.slice([0..b, 0..c, 0..rows * side, 0..columns * side]);
        let cells = cells.reshape([b, c, rows, side, columns, side]);
        cells.mean_dim(5).mean_dim(3).reshape([b, c, rows, columns])
    }
}

impl PrepareInference for ScalableAttention {
    fn prepare_inference(&mut self) {
        self.q.prepare_inference();
        match &mut self.reduced {
            Some(Reduced::Separable(separable)) => {
                separable.depthwise.prepare_inference();
                separable.pointwise.prepare_inference();
            }
            Some(Reduced::Full(full)) => full.sr.prepare_inference(),
            None => {}
        }
        self.kv.prepare_inference();
        self.k.prepare_inference();
        self.v.prepare_inference();
        self.proj.prepare_inference();
    }
}
