//! Losses that pull embeddings of one thing together.

use burn::tensor::{Tensor, activation};

/// Contrast of two embeddings of each sample against those of the other samples, in both directions (InfoNCE, van den Oord et al. 2018,
/// arXiv:1807.03748; the two directions as DMMI, arXiv:2308.13853):
/// `mean_i(anchor_i (CE(Z_i., i) + CE(Z_.i, i)))` with `Z = normalise(a) normalise(b)^T / temperature`.
///
/// The mean is over all samples; one whose anchor is zero stays as a negative of the others. A batch of one gives zero.
///
/// # Shapes
/// - `a`, `b` `[B, D]`; `anchors` `[B]`, one where the sample counts, else zero
/// - returns `[1]`
pub fn paired_contrast(a: Tensor<2>, b: Tensor<2>, anchors: Tensor<1>, temperature: f64) -> Tensor<1> {
    let [batch, _] = a.dims();
    let unit = |x: Tensor<2>| x.clone() / norm(x, 1, 1e-12);
    let scores = unit(a).matmul(unit(b).transpose()).div_scalar(temperature);
    let diagonal = Tensor::<2>::eye(batch, &scores.device());
    let right = |log_probabilities: Tensor<2>| (log_probabilities * diagonal.clone()).sum_dim(1);
    // The columns are taken as rows of the transpose.
    let losses =
        right(activation::log_softmax(scores.clone(), 1)) + right(activation::log_softmax(scores.transpose(), 1));
    (losses.neg() * anchors.unsqueeze_dim(1)).mean()
}

/// One minus the mean cosine of two token sequences, `1 - mean_i(flag_i sum_l(cos(a_il, b_il) m_il) / sum_l m_il)`.
///
/// The reconstruction loss of DMMI (arXiv:2308.13853), where `a` is what was to be reconstructed: no gradient reaches it. A sample whose
/// flag is zero adds a constant, as in the released code.
///
/// # Shapes
/// - `a`, `b` `[B, L, D]`; `valid` `[B, L]`, one for a real token, else zero, at least one in each row; `flags` `[B]`
/// - returns `[1]`
pub fn masked_cosine(a: Tensor<3>, b: Tensor<3>, valid: Tensor<2>, flags: Tensor<1>) -> Tensor<1> {
    let a = a.detach();
    let product = (a.clone() * b.clone()).sum_dim(2);
    let cosine: Tensor<2> = (product / (norm(a, 2, 1e-6) * norm(b, 2, 1e-6))).squeeze_dim(2);
    let scores = (cosine * valid.clone()).sum_dim(1) / valid.sum_dim(1);
    (scores * flags.unsqueeze_dim(1)).mean().neg().add_scalar(1.0)
}

/// Euclidean norm along a dimension, at least `least`; the gradient is zero where that holds.
fn norm<const D: usize>(x: Tensor<D>, dim: usize, least: f64) -> Tensor<D> {
    // The root of zero has an infinite slope, so the square is bounded before it is taken; 1e-24 is still a normal f32.
    x.clone().mul(x).sum_dim(dim).clamp_min(least * least).sqrt()
}
