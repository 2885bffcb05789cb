//! The logistic loss of single elements.

mod autodiff;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Binary cross-entropy as an extension of burn's backends; see [`logistic_loss`].
///
/// Backends without a kernel inherit the bodies given here.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait LogisticOps: Backend {
    /// `t ln(1 + e^-x) + (1 - t) ln(1 + e^x)`, both of one shape.
    fn fused_logistic_loss(x: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::loss::<Self>(x, targets)
    }

    /// The gradient of `x` from that of the loss, all of one shape.
    fn fused_logistic_loss_backward(
        x: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::loss_backward::<Self>(x, targets, grad)
    }
}

#[cfg(feature = "cube")]
impl LogisticOps for burn::backend::Cube {}

/// `-(t ln p + (1 - t) ln(1 - p))` of each element, `p = sigmoid(logits)`: to some units in the last place of the loss, finite for finite
/// logits. No gradient goes to the targets.
///
/// # Shapes
/// - `logits`, `targets` and the result of one shape; targets in `[0, 1]`
///
/// # Panics
/// If a shape differs, which is a bug in the calling model.
pub fn logistic_loss<const D: usize>(logits: Tensor<D>, targets: Tensor<D>) -> Tensor<D> {
    assert_eq!(logits.dims(), targets.dims(), "a target for each logit");
    Tensor::from_dispatch(<Dispatch as LogisticOps>::fused_logistic_loss(
        logits.into_dispatch(),
        targets.into_dispatch(),
    ))
}

/// What the kernels compute, of ordinary operations.
mod composed {
    use super::*;

    fn off<B: Backend>(targets: FloatTensor<B>) -> FloatTensor<B> {
        B::float_add_scalar(B::float_neg(targets), 1.0.into())
    }

    pub(super) fn loss<B: Backend>(x: FloatTensor<B>, targets: FloatTensor<B>) -> FloatTensor<B> {
        // Both logarithms, rather than one and the logit: `x - ln p` would lose a small loss to rounding.
        let on_log = B::log_sigmoid(x.clone());
        let off_log = B::log_sigmoid(B::float_neg(x));
        let on = B::float_mul(targets.clone(), on_log);
        B::float_neg(B::float_add(on, B::float_mul(off::<B>(targets), off_log)))
    }

    pub(super) fn loss_backward<B: Backend>(
        x: FloatTensor<B>,
        targets: FloatTensor<B>,
        grad: FloatTensor<B>,
    ) -> FloatTensor<B> {
        let on = B::float_mul(targets.clone(), B::sigmoid(B::float_neg(x.clone())));
        let off = B::float_mul(off::<B>(targets), B::sigmoid(x));
        B::float_mul(B::float_sub(off, on), grad)
    }
}
