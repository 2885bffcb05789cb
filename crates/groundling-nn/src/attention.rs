//! Attention with several heads.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, assert_shape};
pub use groundling_kernels::AttentionBias;
use groundling_kernels::attention;

use crate::layers::{Dense, PrepareInference};

/// Context, and the weights it was made with.
#[derive(Debug, Clone)]
pub struct Attended {
    /// `[B, N, D]`.
    pub context: Tensor<3>,
    /// `[B, G, N, L]`; without dropout each row sums to 1.
    pub weights: Tensor<4>,
}

/// Scaled dot-product attention over `G` heads.
///
/// Source: Vaswani et al. 2017 (arXiv:1706.03762), Eq. 1 and Sec. 3.2.2.
#[derive(Module, Debug)]
pub struct MultiHeadAttention {
    /// Of the queries.
    pub q_proj: Dense,
    /// Of the keys.
    pub k_proj: Dense,
    /// Of the values.
    pub v_proj: Dense,
    /// Of the context.
    pub out_proj: Dense,
    dropout: Dropout,
    heads: usize,
}

/// Sizes of a [`MultiHeadAttention`].
#[derive(Debug, Clone, Copy)]
pub struct MultiHeadAttentionConfig {
    /// Width `D`.
    pub width: usize,
    /// Heads `G`, a divisor of the width.
    pub heads: usize,
    /// Share of the attention weights that training sets to 0.
    pub dropout: f64,
}

impl MultiHeadAttentionConfig {
    /// The module with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn init(&self, device: &Device) -> MultiHeadAttention {
        assert!(
            self.heads > 0 && self.width.is_multiple_of(self.heads),
            "{} heads do not divide a width of {}",
            self.heads,
            self.width
        );
        let dense = || Dense::new(self.width, self.width, device);
        MultiHeadAttention {
            q_proj: dense(),
            k_proj: dense(),
            v_proj: dense(),
            out_proj: dense(),
            dropout: DropoutConfig::new(self.dropout).init(),
            heads: self.heads,
        }
    }
}

impl MultiHeadAttention {
    /// # Shapes
    /// - `query` `[B, N, D]`; `key`, `value` `[B, L, D]`
    /// - returns `[B, N, D]`
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn forward(&self, query: Tensor<3>, key: Tensor<3>, value: Tensor<3>, bias: AttentionBias) -> Tensor<3> {
        if self.drops(&query) {
            return self.forward_with_map(query, key, value, bias).context;
        }
        let [q, k, v] = self.project(query, key, value);
        let scale = self.scale(&q);
        self.merge_heads(attention(q, k, v, scale, bias))
    }

    /// As [`MultiHeadAttention::forward`], with the attention weights of every head. They are held in memory as a whole.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn forward_with_map(
        &self,
        query: Tensor<3>,
        key: Tensor<3>,
        value: Tensor<3>,
        bias: AttentionBias,
    ) -> Attended {
        let [q, k, v] = self.project(query, key, value);
        let scale = self.scale(&q);
        let weights = self.dropout.forward(attention_weights(q, k, scale, bias)); // [B, G, N, L]
        Attended { context: self.merge_heads(weights.clone().matmul(v)), weights }
    }

    /// `q k^T / sqrt(E)` of every head, before any bias; differentiable. What [`MultiHeadAttention::forward`] would compute again, so ask for
    /// the queries whose scores are wanted.
    ///
    /// # Shapes
    /// - `query` `[B, N, D]`; `key` `[B, L, D]`
    /// - returns `[B, G, N, L]`
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn scores(&self, query: Tensor<3>, key: Tensor<3>) -> Tensor<4> {
        let q = self.split_heads(self.q_proj.forward(query));
        let k = self.split_heads(self.k_proj.forward(key));
        let scale = self.scale(&q);
        q.mul_scalar(scale).matmul(k.swap_dims(2, 3))
    }

    /// Heads `G`.
    pub fn heads(&self) -> usize {
        self.heads
    }

    /// Whether attention weights are about to be dropped.
    fn drops(&self, x: &Tensor<3>) -> bool {
        self.dropout.prob > 0.0 && self.dropout.training.is_enabled() && x.device().is_autodiff()
    }

    /// Queries `[B, G, N, E]`, keys and values `[B, G, L, E]`.
    fn project(&self, query: Tensor<3>, key: Tensor<3>, value: Tensor<3>) -> [Tensor<4>; 3] {
        let [b, _, d] = query.dims();
        let [_, l, _] = key.dims();
        assert_shape!(key, [b, l, d]);
        assert_shape!(value, [b, l, d]);
        [
            self.split_heads(self.q_proj.forward(query)),
            self.split_heads(self.k_proj.forward(key)),
            self.split_heads(self.v_proj.forward(value)),
        ]
    }

    fn scale(&self, q: &Tensor<4>) -> f64 {
        (q.dims()[3] as f64).powf(-0.5)
    }

    /// `[B, G, N, E]` to `[B, N, D]`, projected.
    fn merge_heads(&self, context: Tensor<4>) -> Tensor<3> {
        let [b, g, n, e] = context.dims();
        self.out_proj.forward(context.swap_dims(1, 2).reshape([b, n, g * e]))
    }

    /// `[B, L, D]` to `[B, G, L, E]`.
    fn split_heads(&self, x: Tensor<3>) -> Tensor<4> {
        let [b, l, d] = x.dims();
        x.reshape([b, l, self.heads, d / self.heads]).swap_dims(1, 2)
    }
}

/// `softmax(scale q k^T + bias)`: `q` `[B, G, N, E]`, `k` `[B, G, L, E]`, returned `[B, G, N, L]`.
fn attention_weights(q: Tensor<4>, k: Tensor<4>, scale: f64, bias: AttentionBias) -> Tensor<4> {
    let [b, g, n, _] = q.dims();
    let l = k.dims()[2];
    let mut scores = q.mul_scalar(scale).matmul(k.swap_dims(2, 3));
    let windowed = |scores: Tensor<4>, term: Tensor<4>| {
        let [windows, heads, _, _] = term.dims();
        let scores = scores.reshape([b / windows, windows, g, n, l]);
        (scores + term.reshape([1, windows, heads, n, l])).reshape([b, g, n, l])
    };
    if let Some(pair) = bias.pair {
        scores = windowed(scores, pair);
    }
    if let Some(mask) = bias.mask {
        scores = windowed(scores, mask.unsqueeze_dim(1));
    }
    if let Some(key) = bias.key {
        assert_shape!(key, [b, l]);
        scores = scores + key.reshape([b, 1, 1, l]);
    }
    softmax(scores, 3)
}

impl PrepareInference for MultiHeadAttention {
    fn prepare_inference(&mut self) {
        for layer in [&mut self.q_proj, &mut self.k_proj, &mut self.v_proj, &mut self.out_proj] {
            layer.prepare_inference();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Bool, Distribution};

    fn attention() -> (MultiHeadAttention, Device) {
        let device = Device::flex();
        device.seed(3);
        (MultiHeadAttentionConfig { width: 8, heads: 2, dropout: 0.5 }.init(&device), device)
    }

    #[test]
    fn nothing_under_padding_matters_and_rows_sum_to_one() {
        let (attention, device) = attention();
        let query = Tensor::<3>::random([1, 3, 8], Distribution::Default, &device);
        let key = Tensor::<3>::random([1, 4, 8], Distribution::Default, &device);
        let noise = Tensor::<3>::random([1, 1, 8], Distribution::Default, &device);
        let other = key.clone().slice_assign([0..1, 3..4, 0..8], noise);
        let padding = || AttentionBias::padding(Tensor::<2, Bool>::from_data([[false, false, false, true]], &device));
        let one = attention.forward_with_map(query.clone(), key.clone(), key, padding());
        let two = attention.forward(query, other.clone(), other, padding());
        assert!((one.context - two).abs().max().into_scalar::<f32>() < 1e-6);
        let sums = one.weights.sum_dim(3).into_data().try_to_vec::<f32>().unwrap();
        assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6));
    }

    #[test]
    fn both_paths_agree() {
        let (attention, device) = attention();
        let query = Tensor::<3>::random([6, 3, 8], Distribution::Default, &device);
        let key = Tensor::<3>::random([6, 4, 8], Distribution::Default, &device);
        let bias = AttentionBias {
            pair: Some(Tensor::random([1, 2, 3, 4], Distribution::Default, &device)),
            mask: Some(Tensor::random([3, 3, 4], Distribution::Default, &device)),
            key: Some(Tensor::random([6, 4], Distribution::Default, &device)),
        };
        let one = attention.forward(query.clone(), key.clone(), key.clone(), bias.clone());
        let two = attention.forward_with_map(query, key.clone(), key, bias).context;
        assert!((one - two).abs().max().into_scalar::<f32>() < 1e-6);
    }

    #[test]
    fn a_huge_negative_bias_is_padding() {
        let (attention, device) = attention();
        let x = Tensor::<3>::random([1, 2, 8], Distribution::Default, &device);
        let padding = AttentionBias::padding(Tensor::<2, Bool>::from_data([[false, true]], &device));
        let key = Some(Tensor::<2>::from_data([[0.0, -10000.0]], &device));
        let additive = AttentionBias { key, ..AttentionBias::none() };
        let one = attention.forward(x.clone(), x.clone(), x.clone(), padding);
        let two = attention.forward(x.clone(), x.clone(), x, additive);
        assert!((one - two).abs().max().into_scalar::<f32>() < 1e-6);
    }
}
