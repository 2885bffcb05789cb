//! Attention of ordinary operations: what the kernels compute, for backends without one and for float types other than `f32`.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{DType, Shape};

use super::{AttentionGrads, AttentionTerms, BiasGrads};
use crate::maybe::MaybeTensor;

pub(super) fn attention<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    terms: AttentionTerms<B>,
    scale: f64,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let ([b, g, n, _], [_, _, l, width]) = (dims4::<B>(&q), dims4::<B>(&v));
    if b * g * n * l == 0 {
        return (zeros_like::<B>(&q, [b, g, n, width]), zeros_like::<B>(&q, [b, g, n]));
    }
    let logits = logits::<B>(q, k, terms, scale);
    let (weights, log_sum) = softmax::<B>(logits);
    (B::float_matmul(weights, v), log_sum)
}

pub(super) fn attention_backward<B: Backend>(
    [q, k, v]: [FloatTensor<B>; 3],
    terms: AttentionTerms<B>,
    scale: f64,
    [out, log_sum, grad]: [FloatTensor<B>; 3],
    wanted: BiasGrads,
) -> AttentionGrads<B> {
    let ([b, g, n, _], l) = (dims4::<B>(&q), v.shape()[2]);
    if b * g * n * l == 0 {
        let v = zeros_like::<B>(&v, v.shape());
        return AttentionGrads { v: MaybeTensor::Given(v), ..no_grads::<B>(&q, &k, &terms, wanted) };
    }
    let logits = logits::<B>(q.clone(), k.clone(), terms.clone(), scale);
    let log_sum = B::float_reshape(log_sum, Shape::from([b, g, n, 1]));
    let weights = B::float_exp(B::float_sub(logits, log_sum));
    let grad_v = B::float_matmul(B::float_swap_dims(weights.clone(), 2, 3), grad.clone());
    let grad_weights = B::float_matmul(grad.clone(), B::float_swap_dims(v, 2, 3));
    let along = B::float_sum_dim(B::float_mul(grad, out), 3);
    let grad_logits = B::float_mul(weights, B::float_sub(grad_weights, along));
    AttentionGrads { v: MaybeTensor::Given(grad_v), ..from_logits::<B>(grad_logits, q, k, &terms, scale, wanted) }
}

pub(super) fn weights<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    terms: AttentionTerms<B>,
    scale: f64,
) -> FloatTensor<B> {
    let ([b, g, n, _], l) = (dims4::<B>(&q), k.shape()[2]);
    if b * g * n * l == 0 {
        return zeros_like::<B>(&q, [b, n, l]);
    }
    let (weights, _) = softmax::<B>(logits::<B>(q, k, terms, scale));
    B::float_reshape(B::float_mean_dim(weights, 1), Shape::from([b, n, l]))
}

pub(super) fn weights_backward<B: Backend>(
    [q, k]: [FloatTensor<B>; 2],
    terms: AttentionTerms<B>,
    scale: f64,
    grad: FloatTensor<B>,
    wanted: BiasGrads,
) -> AttentionGrads<B> {
    let ([b, g, n, _], l) = (dims4::<B>(&q), k.shape()[2]);
    if b * g * n * l == 0 {
        return no_grads::<B>(&q, &k, &terms, wanted);
    }
    let (weights, _) = softmax::<B>(logits::<B>(q.clone(), k.clone(), terms.clone(), scale));
    let grad = B::float_reshape(B::float_mul_scalar(grad, (1.0 / g as f64).into()), Shape::from([b, 1, n, l]));
    let along = B::float_sum_dim(B::float_mul(weights.clone(), grad.clone()), 3);
    let grad_logits = B::float_mul(weights, B::float_sub(grad, along));
    from_logits::<B>(grad_logits, q, k, &terms, scale, wanted)
}

/// `q k^T scale` and every term, `[B, G, N, L]`.
fn logits<B: Backend>(q: FloatTensor<B>, k: FloatTensor<B>, terms: AttentionTerms<B>, scale: f64) -> FloatTensor<B> {
    let logits = B::float_matmul(q, B::float_swap_dims(k, 2, 3));
    let mut logits = B::float_mul_scalar(logits, scale.into());
    let [b, g, n, l] = dims4::<B>(&logits);
    let mut add = |term: FloatTensor<B>, [entries, heads, rows]: [usize; 3]| {
        let windows = B::float_reshape(logits.clone(), Shape::from([b / entries, entries, g, n, l]));
        let sum = B::float_add(windows, B::float_reshape(term, Shape::from([1, entries, heads, rows, l])));
        logits = B::float_reshape(sum, Shape::from([b, g, n, l]));
    };
    if let Some(pair) = terms.pair.into_option() {
        let [entries, heads, ..] = dims4::<B>(&pair);
        add(pair, [entries, heads, n]);
    }
    if let Some(mask) = terms.mask.into_option() {
        let entries = mask.shape()[0];
        add(mask, [entries, 1, n]);
    }
    if let Some(key) = terms.key.into_option() {
        add(key, [b, 1, 1]);
    }
    logits
}

/// Softmax over the last dimension, zeros where all is `-inf`; and the logarithm of the sum, `[B, G, N]`.
fn softmax<B: Backend>(logits: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let [b, g, n, _] = dims4::<B>(&logits);
    // Any finite number does where every logit is -inf: what matters is that -inf minus it is not NaN.
    let lowest: f64 = if logits.dtype() == DType::F16 { -6e4 } else { -1e30 };
    let largest = B::float_clamp_min(B::float_max_dim(logits.clone(), 3), lowest.into());
    let weights = B::float_exp(B::float_sub(logits, largest.clone()));
    // The largest logit contributes 1, so a smaller sum is one of nothing.
    let sum = B::float_clamp_min(B::float_sum_dim(weights.clone(), 3), 0.5f64.into());
    let log_sum = B::float_add(B::float_log(sum.clone()), largest);
    (B::float_div(weights, sum), B::float_reshape(log_sum, Shape::from([b, g, n])))
}

/// All gradients but that of the values.
fn from_logits<B: Backend>(
    grad: FloatTensor<B>,
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    terms: &AttentionTerms<B>,
    scale: f64,
    wanted: BiasGrads,
) -> AttentionGrads<B> {
    let [b, g, n, l] = dims4::<B>(&grad);
    let pair = terms.pair.as_option().filter(|_| wanted.pair).map(|pair| {
        let [entries, heads, ..] = dims4::<B>(pair);
        let windows = B::float_reshape(grad.clone(), Shape::from([b / entries, entries, g, n, l]));
        let mut sum = B::float_sum_dim(windows, 0);
        if heads < g {
            sum = B::float_sum_dim(sum, 2);
        }
        B::float_reshape(sum, pair.shape())
    });
    let key = terms.key.as_option().filter(|_| wanted.key).map(|key| {
        let sum = B::float_sum_dim(B::float_reshape(grad.clone(), Shape::from([b, g * n, l])), 1);
        B::float_reshape(sum, key.shape())
    });
    let scaled = B::float_mul_scalar(grad, scale.into());
    AttentionGrads {
        q: B::float_matmul(scaled.clone(), k),
        k: B::float_matmul(B::float_swap_dims(scaled, 2, 3), q),
        v: MaybeTensor::Absent,
        pair: pair.into(),
        key: key.into(),
    }
}

fn no_grads<B: Backend>(
    q: &FloatTensor<B>,
    k: &FloatTensor<B>,
    terms: &AttentionTerms<B>,
    wanted: BiasGrads,
) -> AttentionGrads<B> {
    let zeros = |tensor: &FloatTensor<B>| zeros_like::<B>(tensor, tensor.shape());
    AttentionGrads {
        q: zeros(q),
        k: zeros(k),
        v: MaybeTensor::Absent,
        pair: terms.pair.as_option().filter(|_| wanted.pair).map(zeros).into(),
        key: terms.key.as_option().filter(|_| wanted.key).map(zeros).into(),
    }
}

fn dims4<B: Backend>(tensor: &FloatTensor<B>) -> [usize; 4] {
    tensor.shape().dims()
}

fn zeros_like<B: Backend>(tensor: &FloatTensor<B>, shape: impl Into<Shape>) -> FloatTensor<B> {
    B::float_zeros(shape.into(), &tensor.device(), tensor.dtype().into())
}
