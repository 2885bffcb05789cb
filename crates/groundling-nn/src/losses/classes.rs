//! Losses of class scores and masks.

use burn::tensor::{Tensor, activation};
use groundling_kernels::logistic_loss;

/// `-(t ln p + (1 - t) ln(1 - p))` of each element, `p = sigmoid(logits)`, finite for logits of any size. No gradient goes to the targets.
///
/// # Shapes
/// - `logits`, `targets` and the result `[...]`; targets in `[0, 1]`
pub fn binary_cross_entropy<const D: usize>(logits: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
    logistic_loss(logits, targets)
}

/// Settings of [`sigmoid_focal`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FocalLoss {
    /// Weight of elements with target one; those with target zero get `1 - alpha`. `None`: both weigh 1.
    pub alpha: Option<f64>,
    /// How strongly elements that are right already are turned down: zero, or at least one.
    pub gamma: f64,
}

impl FocalLoss {
    /// `alpha` 0.25, `gamma` 2, the published setting.
    pub const PUBLISHED: Self = Self { alpha: Some(0.25), gamma: 2.0 };
}

/// `-alpha_t (1 - p_t)^gamma ln p_t` of each element, `p_t` the probability given to the target
/// (Lin et al. 2017, arXiv:1708.02002, Eq. 5).
///
/// # Shapes
/// - `logits`, `targets` and the result `[...]`; targets in `[0, 1]`
///
/// # Panics
/// If `gamma` lies between 0 and 1, where the gradient of an element that is right is infinite, or below 0.
pub fn sigmoid_focal<const D: usize>(logits: Tensor<D>, targets: Tensor<D>, settings: FocalLoss) -> Tensor<D> {
    let FocalLoss { alpha, gamma } = settings;
    assert!(gamma == 0.0 || gamma >= 1.0, "gamma is {gamma}, expected 0 or at least 1");
    let mut loss = binary_cross_entropy(logits.clone(), targets.clone());
    if gamma != 0.0 {
        // 1 - p_t = sigmoid(x) (1 - t) + sigmoid(-x) t: no difference of nearly equal numbers.
        let off = targets.clone().neg().add_scalar(1.0);
        let wrong = activation::sigmoid(logits.clone()) * off + activation::sigmoid(logits.neg()) * targets.clone();
        loss = loss * if gamma == 2.0 { wrong.clone() * wrong } else { wrong.powf_scalar(gamma) };
    }
    match alpha {
        Some(alpha) => loss * targets.mul_scalar(2.0 * alpha - 1.0).add_scalar(1.0 - alpha),
        None => loss,
    }
}

/// Cross-entropy of two classes with class weights, `sum(w_t * -ln softmax(logits)_t) / sum(w_t)` over all cells of the batch.
///
/// # Shapes
/// - `logits` `[B, 2, H, W]`; `targets` `[B, H, W]`, one where the second class is right, else zero
/// - returns `[1]`
pub fn two_class_cross_entropy(logits: Tensor<4>, targets: Tensor<3>, class_weights: [f64; 2]) -> Tensor<1> {
    let class = |index: usize| -> Tensor<3> { logits.clone().narrow(1, index, 1).squeeze_dim(1) };
    // The softmax of two logits is the sigmoid of their difference.
    let loss = binary_cross_entropy(class(1) - class(0), targets.clone());
    let weights = targets.mul_scalar(class_weights[1] - class_weights[0]).add_scalar(class_weights[0]);
    (loss * weights.clone()).sum() / weights.sum()
}

/// `1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1)` of each mask, `p = sigmoid(logits)`
/// (Milletari et al. 2016, arXiv:1606.04797, with plain sums and one added to both, as DETR's segmentation does).
///
/// # Shapes
/// - `logits`, `targets` `[N, P]`, a mask in each row; targets in `[0, 1]`
/// - returns `[N]`
pub fn dice(logits: Tensor<2>, targets: Tensor<2>) -> Tensor<1> {
    let p = activation::sigmoid(logits);
    let total = |x: Tensor<2>| -> Tensor<1> { x.sum_dim(1).squeeze_dim(1) };
    let both = total(p.clone() * targets.clone()).mul_scalar(2.0).add_scalar(1.0);
    let each = (total(p) + total(targets)).add_scalar(1.0);
    (both / each).neg().add_scalar(1.0)
}
