//! Softmax over the last dimension, and over the one before it.

mod autodiff;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Softmax as an extension of burn's backends; see [`softmax`].
///
/// Backends without a kernel inherit the bodies given here.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait SoftmaxOps: Backend {
    /// Over the last dimension, any shape; a row of nothing but `-inf` becomes zeros.
    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::softmax::<Self>(x)
    }

    /// The gradient of `x` from the output and its gradient, all of one shape.
    fn fused_softmax_backward(output: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::softmax_backward::<Self>(output, grad)
    }

    /// Over the last dimension but one, `[..., R, W]`, finite values.
    fn fused_softmax_columns(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::columns::<Self>(x, composed::softmax::<Self>)
    }

    /// The gradient of `x` from the output and its gradient, all of one shape.
    fn fused_softmax_columns_backward(output: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        let grad = composed::turned::<Self>(grad);
        composed::columns::<Self>(output, |output| composed::softmax_backward::<Self>(output, grad))
    }
}

#[cfg(feature = "cube")]
impl SoftmaxOps for burn::backend::Cube {}

/// `exp(x) / sum(exp(x))` over the last dimension, for values of any size.
///
/// A row of nothing but `-inf`, as where every key is padding, becomes zeros rather than NaN.
///
/// # Shapes
/// - `x` and the result `[..., W]`
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as SoftmaxOps>::fused_softmax(x.into_dispatch()))
}

/// `exp(x) / sum(exp(x))` over the last dimension but one, for finite values of any size: as [`softmax`] of the columns, without turning
/// them.
///
/// # Shapes
/// - `x` and the result `[..., R, W]`
///
/// # Panics
/// If `D` is 1.
pub fn softmax_columns<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    assert!(D > 1, "a row has no columns");
    Tensor::from_dispatch(<Dispatch as SoftmaxOps>::fused_softmax_columns(x.into_dispatch()))
}

/// What the kernels compute, of ordinary operations.
mod composed {
    use burn::backend::{TensorMetadata, get_device_settings};

    use super::*;

    pub(super) fn softmax<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
        let shape = x.shape();
        if shape.num_elements() == 0 {
            return x;
        }
        let last = shape.num_dims() - 1;
        let bools = get_device_settings::<B>(&x.device()).bool_dtype;
        let largest = B::float_max_dim(B::float_detach(x.clone()), last);
        let none = B::float_equal_elem(largest.clone(), f64::NEG_INFINITY.into(), bools);
        let largest = B::float_mask_fill(largest, none.clone(), 0.0.into());
        let exponentials = B::float_exp(B::float_sub(x, largest));
        let sum = B::float_sum_dim(exponentials.clone(), last);
        B::float_div(exponentials, B::float_mask_fill(sum, none, 1.0.into()))
    }

    pub(super) fn softmax_backward<B: Backend>(output: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
        let last = output.shape().num_dims() - 1;
        let along = B::float_sum_dim(B::float_mul(output.clone(), grad.clone()), last);
        B::float_mul(output, B::float_sub(grad, along))
    }

    /// The last two dimensions exchanged.
    pub(super) fn turned<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
        let last = x.shape().num_dims() - 1;
        B::float_swap_dims(x, last - 1, last)
    }

    /// A function of rows, of the columns.
    pub(super) fn columns<B: Backend>(
        x: FloatTensor<B>,
        of_rows: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
    ) -> FloatTensor<B> {
        turned::<B>(of_rows(turned::<B>(x)))
    }
}
