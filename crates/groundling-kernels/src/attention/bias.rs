//! What is added to the logits.

use burn::backend::Dispatch;
use burn::tensor::{Bool, DType, Tensor};

use super::AttentionTerms;
use crate::maybe::dispatch;

/// What is added to the logits before the softmax: the sum of the terms given here.
///
/// In `pair` and `mask` the batch may be made of windows: element `b` of the batch uses entry `b % W`, so windows of one image are
/// neighbours in the batch, and `W = 1` is one entry for all.
#[derive(Debug, Default, Clone)]
pub struct AttentionBias {
    /// `[W, G or 1, N, L]`, `W` divides `B`. Differentiable. Swin's relative position bias is `[1, G, N, L]`.
    pub pair: Option<Tensor<4>>,
    /// `[W, N, L]`, `W` divides `B`. A constant, `-inf` hides; no gradient. Swin's shift mask, causal and other query-key masks.
    pub mask: Option<Tensor<3>>,
    /// `[B, L]`: one number for each key, for instance `-inf` for padding or the logarithm of how many tokens were merged into it.
    /// Differentiable.
    pub key: Option<Tensor<2>>,
}

impl AttentionBias {
    /// Nothing is added.
    pub fn none() -> Self {
        Self::default()
    }

    /// Hides keys: `padding` `[B, L]`, `true` = ignore.
    pub fn padding(padding: Tensor<2, Bool>) -> Self {
        Self::default().with_padding(padding)
    }

    /// Hides keys besides what there is already: `padding` `[B, L]`, `true` = ignore.
    pub fn with_padding(mut self, padding: Tensor<2, Bool>) -> Self {
        let key = self.key.take().unwrap_or_else(|| Tensor::zeros(padding.dims(), &padding.device()));
        self.key = Some(key.mask_fill(padding, f32::NEG_INFINITY));
        self
    }

    /// Adds `key` `[B, L]` to the key bias.
    pub fn with_key(mut self, key: Tensor<2>) -> Self {
        self.key = Some(match self.key.take() {
            Some(old) => old + key,
            None => key,
        });
        self
    }

    /// Adds `pair` `[W, G or 1, N, L]` to the pair bias; where there is one already, the shapes must fit by broadcasting.
    pub fn with_pair(mut self, pair: Tensor<4>) -> Self {
        self.pair = Some(match self.pair.take() {
            Some(old) => old + pair,
            None => pair,
        });
        self
    }

    /// Adds `mask` `[W, N, L]` to the mask; where there is one already, the shapes must fit by broadcasting.
    pub fn with_mask(mut self, mask: Tensor<3>) -> Self {
        self.mask = Some(match self.mask.take() {
            Some(old) => old + mask,
            None => mask,
        });
        self
    }

    /// Hides pairs of query and key: `hidden` `[W, N, L]`, `true` = the query does not see the key.
    pub fn with_hidden(self, hidden: Tensor<3, Bool>) -> Self {
        let mask = Tensor::zeros(hidden.dims(), &hidden.device()).mask_fill(hidden, f32::NEG_INFINITY);
        self.with_mask(mask)
    }

    /// # Panics
    /// If a term does not fit logits of this shape.
    pub(super) fn check(&self, [b, g, n, l]: [usize; 4]) {
        let divides = |entries: usize| entries == b || (entries > 0 && b % entries == 0);
        if let Some(pair) = &self.pair {
            let [entries, heads, rows, columns] = pair.dims();
            assert_eq!([rows, columns], [n, l], "the pair bias has one number for each query and key");
            assert!(heads == 1 || heads == g, "the pair bias has {heads} heads, attention {g}");
            assert!(divides(entries), "the pair bias has {entries} entries for a batch of {b}");
        }
        if let Some(mask) = &self.mask {
            let [entries, rows, columns] = mask.dims();
            assert_eq!([rows, columns], [n, l], "the mask has one number for each query and key");
            assert!(divides(entries), "the mask has {entries} entries for a batch of {b}");
        }
        if let Some(key) = &self.key {
            assert_eq!(key.dims(), [b, l], "the key bias has one number for each key");
        }
    }

    /// The terms as the backends take them, of the type of the queries.
    pub(super) fn into_terms(self, dtype: DType) -> AttentionTerms<Dispatch> {
        AttentionTerms {
            pair: dispatch(self.pair.map(|pair| as_type(pair, dtype))),
            mask: dispatch(self.mask.map(|mask| as_type(mask, dtype))),
            key: dispatch(self.key.map(|key| as_type(key, dtype))),
        }
    }
}

fn as_type<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    if tensor.dtype() == dtype { tensor } else { tensor.cast(dtype) }
}
