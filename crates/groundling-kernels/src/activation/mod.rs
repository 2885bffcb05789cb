//! Exact GELU and hyperbolic tangent.

mod autodiff;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// GELU and tanh as extensions of burn's backends; see [`gelu`] and [`tanh`].
///
/// Backends without a kernel inherit the bodies given here.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait ActivationOps: Backend {
    /// `x Phi(x)`, any shape.
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::gelu::<Self>(x)
    }

    /// The gradient of `x` from that of the output, all of one shape.
    fn fused_gelu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::gelu_backward::<Self>(x, grad)
    }

    /// `tanh(x)`, any shape.
    fn fused_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_tanh(x)
    }

    /// The gradient of `x` from the output and its gradient, all of one shape.
    fn fused_tanh_backward(output: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::tanh_backward::<Self>(output, grad)
    }
}

#[cfg(feature = "cube")]
impl ActivationOps for burn::backend::Cube {}

/// Exact GELU, `x Phi(x)` (Hendrycks and Gimpel 2016, arXiv:1606.08415), of any shape.
///
/// Within 8e-7 + 3e-7 abs(x) of the definition.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as ActivationOps>::fused_gelu(x.into_dispatch()))
}

/// Hyperbolic tangent of any shape, within 5e-7 of its value. Its gradient is made of the output, without another look at `x`.
pub fn tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as ActivationOps>::fused_tanh(x.into_dispatch()))
}

/// What the kernels compute, of ordinary operations.
mod composed {
    use super::*;

    pub(super) fn gelu<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
        B::gelu(x)
    }

    pub(super) fn gelu_backward<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
        B::gelu_backward(x, grad)
    }

    pub(super) fn tanh_backward<B: Backend>(output: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
        let square = B::float_mul(output.clone(), output);
        B::float_sub(grad.clone(), B::float_mul(grad, square))
    }
}
