//! Scaled dot-product attention with additive biases, and its maps averaged over heads.

mod autodiff;
#[cfg(feature = "flex")]
mod backward;
mod bias;
mod composed;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod product;
#[cfg(feature = "flex")]
mod tiles;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, ExtensionType, backend_extension};
use burn::tensor::Tensor;

pub use bias::AttentionBias;

use crate::maybe::MaybeTensor;

/// The three tensors of an [`AttentionBias`] on one backend.
#[derive(ExtensionType, Debug)]
pub struct AttentionTerms<B: Backend> {
    /// `[W, G or 1, N, L]`.
    #[extension_type]
    pub pair: MaybeTensor<B>,
    /// `[W', N, L]`.
    #[extension_type]
    pub mask: MaybeTensor<B>,
    /// `[B, L]`.
    #[extension_type]
    pub key: MaybeTensor<B>,
}

// Derived, it would ask for `B: Clone`.
impl<B: Backend> Clone for AttentionTerms<B> {
    fn clone(&self) -> Self {
        Self { pair: self.pair.clone(), mask: self.mask.clone(), key: self.key.clone() }
    }
}

/// Gradients of everything that goes into [`attention`].
#[derive(ExtensionType, Debug)]
pub struct AttentionGrads<B: Backend> {
    /// `[B, G, N, E]`.
    pub q: FloatTensor<B>,
    /// `[B, G, L, E]`.
    pub k: FloatTensor<B>,
    /// `[B, G, L, F]`; absent for the weights alone, which know no values.
    #[extension_type]
    pub v: MaybeTensor<B>,
    /// As the pair bias, if asked for.
    #[extension_type]
    pub pair: MaybeTensor<B>,
    /// `[B, L]`, if asked for.
    #[extension_type]
    pub key: MaybeTensor<B>,
}

/// Which gradients of the bias a backward pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BiasGrads {
    /// Of the pair bias.
    pub pair: bool,
    /// Of the key bias.
    pub key: bool,
}

/// Attention as an extension of burn's backends; see [`attention`].
///
/// Shapes as there. Sizes are checked by the functions on tensors, not here.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait AttentionOps: Backend {
    /// The output, and `[B, G, N]` logarithms of the sum of the exponentials of each query's logits (any finite number where a query
    /// sees no key), which the backward pass needs.
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] terms: AttentionTerms<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::attention::<Self>(q, k, v, terms, scale)
    }

    /// Gradients from that of the output; `out` and `log_sum` are the results of the forward pass.
    #[allow(clippy::too_many_arguments)]
    fn fused_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        #[extension_type] terms: AttentionTerms<Self>,
        scale: f64,
        out: FloatTensor<Self>,
        log_sum: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        wanted: BiasGrads,
    ) -> AttentionGrads<Self> {
        composed::attention_backward::<Self>([q, k, v], terms, scale, [out, log_sum, grad], wanted)
    }

    /// Attention weights `[B, N, L]`, averaged over heads.
    fn fused_attention_weights(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        #[extension_type] terms: AttentionTerms<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        composed::weights::<Self>(q, k, terms, scale)
    }

    /// Gradients from that of the averaged weights.
    fn fused_attention_weights_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        #[extension_type] terms: AttentionTerms<Self>,
        scale: f64,
        grad: FloatTensor<Self>,
        wanted: BiasGrads,
    ) -> AttentionGrads<Self> {
        composed::weights_backward::<Self>([q, k], terms, scale, grad, wanted)
    }
}

#[cfg(feature = "cube")]
impl AttentionOps for burn::backend::Cube {}

/// `softmax(q k^T scale + bias) v`, the softmax over keys (Vaswani et al. 2017, arXiv:1706.03762, Eq. 1).
///
/// The matrix of logits is never held as a whole. A query that no key is visible to (all `-inf`) gives zeros, and passes no gradient.
///
/// # Shapes
/// - `q` `[B, G, N, E]`, `k` `[B, G, L, E]`, `v` `[B, G, L, F]`; views such as a `[B, N, G E]` tensor reshaped and with swapped
///   dimensions are read where they lie
/// - returns `[B, G, N, F]`, in memory `[B, N, G, F]`, so that swapping back and merging heads copies nothing
///
/// # Panics
/// If the shapes disagree.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64, bias: AttentionBias) -> Tensor<4> {
    check(&q, &k, Some(&v), &bias);
    let terms = bias.into_terms(q.dtype());
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(<Dispatch as AttentionOps>::fused_attention(q, k, v, terms, scale).0)
}

/// What an attention map holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// `q k^T scale` plus the pair bias: what a layer computes before it hides padding, so always finite. Neither mask nor key bias is in it.
    Logits,
    /// Attention weights: softmax over keys with every bias. Rows sum to 1, or to 0 where a query sees no key.
    Weights,
}

/// The map of attention from queries to keys, averaged over heads; differentiable in `q`, `k` and the differentiable biases.
///
/// For a map of some queries only, pass those rows of `q` (and of the biases).
///
/// # Shapes
/// - `q` `[B, G, N, E]`, `k` `[B, G, L, E]`
/// - returns `[B, N, L]`
///
/// # Panics
/// If the shapes disagree.
pub fn attention_map(q: Tensor<4>, k: Tensor<4>, scale: f64, bias: AttentionBias, kind: MapKind) -> Tensor<3> {
    check(&q, &k, None, &bias);
    match kind {
        MapKind::Logits => mean_logits(q, k, scale, bias.pair),
        MapKind::Weights => {
            let terms = bias.into_terms(q.dtype());
            let (q, k) = (q.into_dispatch(), k.into_dispatch());
            Tensor::from_dispatch(<Dispatch as AttentionOps>::fused_attention_weights(q, k, terms, scale))
        }
    }
}

/// [`attention`] and the [`attention_map`] of the same queries.
///
/// # Panics
/// If the shapes disagree.
pub fn attention_with_map(
    q: Tensor<4>,
    k: Tensor<4>,
    v: Tensor<4>,
    scale: f64,
    bias: AttentionBias,
    kind: MapKind,
) -> (Tensor<4>, Tensor<3>) {
    let map = attention_map(q.clone(), k.clone(), scale, bias.clone(), kind);
    (attention(q, k, v, scale, bias), map)
}

/// The mean over heads of products is one product over all channels, divided by the number of heads.
fn mean_logits(q: Tensor<4>, k: Tensor<4>, scale: f64, pair: Option<Tensor<4>>) -> Tensor<3> {
    let ([b, g, n, e], [_, _, l, _]) = (q.dims(), k.dims());
    if b * g * n * l * e == 0 {
        return Tensor::zeros([b, n, l], (&q.device(), q.dtype()));
    }
    let rows = |x: Tensor<4>, count: usize| x.swap_dims(1, 2).reshape([b, count, g * e]);
    let logits = rows(q, n).matmul(rows(k, l).swap_dims(1, 2)) * (scale / g as f64);
    let Some(pair) = pair else { return logits };
    let entries = pair.dims()[0];
    let pair = pair.cast(logits.dtype()).mean_dim(1).reshape([1, entries, n, l]);
    (logits.reshape([b / entries, entries, n, l]) + pair).reshape([b, n, l])
}

fn check(q: &Tensor<4>, k: &Tensor<4>, v: Option<&Tensor<4>>, bias: &AttentionBias) {
    let ([b, g, n, e], [kb, kg, l, ke]) = (q.dims(), k.dims());
    assert_eq!([b, g, e], [kb, kg, ke], "queries and keys have the same batch, heads and width");
    if let Some(v) = v {
        assert_eq!(v.dims()[..3], [b, g, l], "there is one value for each key");
    }
    bias.check([b, g, n, l]);
}
