//! Layer normalisation, alone or together with the sum before it.

mod autodiff;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::maybe::MaybeTensor;

/// Layer normalisation as an extension of burn's backends; see [`layer_norm`], [`add_layer_norm`] and [`add_then_layer_norm`].
///
/// Backends without a kernel inherit the bodies given here. `x` and `residual` are `[..., W]`, `gamma` and `beta` `[W]`.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait NormOps: Backend {
    /// `x`, or `x + residual`, normalised over the last dimension.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        #[extension_type] residual: MaybeTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        composed::layer_norm::<Self>(composed::sum::<Self>(x, residual), gamma, beta, epsilon)
    }

    /// The sum and the sum normalised.
    fn fused_add_then_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let sum = Self::float_add(x, residual);
        let normalised = Self::fused_layer_norm(sum.clone(), MaybeTensor::Absent, gamma, beta, epsilon);
        (sum, normalised)
    }

    /// [`fused_layer_norm`](NormOps::fused_layer_norm) and what its gradient needs: what was normalised `[..., W]`, its mean and one over
    /// its standard deviation `[..., 1]`.
    fn fused_layer_norm_keeping(
        x: FloatTensor<Self>,
        #[extension_type] residual: MaybeTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let sum = composed::sum::<Self>(x, residual);
        composed::layer_norm_keeping::<Self>(sum, gamma, beta, epsilon)
    }

    /// The gradients of what was normalised, of `gamma` and of `beta`, from that of the output.
    fn fused_layer_norm_backward(
        sum: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::layer_norm_backward::<Self>(sum, mean, scale, gamma, grad)
    }
}

#[cfg(feature = "cube")]
impl NormOps for burn::backend::Cube {}

/// Layer normalisation over the last dimension, `(x - mean) / sqrt(variance + epsilon) * gamma + beta` with the biased variance
/// (Ba, Kiros and Hinton 2016, arXiv:1607.06450, Eq. 4).
///
/// # Shapes
/// - `x` `[..., W]`; `gamma`, `beta` `[W]`
/// - returns `[..., W]`
///
/// # Panics
/// If a width differs, which is a bug in the calling model.
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> Tensor<D> {
    check(&x, &gamma, &beta);
    Tensor::from_dispatch(<Dispatch as NormOps>::fused_layer_norm(
        x.into_dispatch(),
        MaybeTensor::Absent,
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon,
    ))
}

/// `layer_norm(x + residual)` in one pass: the end of a sublayer that normalises last (post-norm).
///
/// # Shapes
/// - `x`, `residual` `[..., W]`, of one shape; `gamma`, `beta` `[W]`
/// - returns `[..., W]`
///
/// # Panics
/// If a shape differs, which is a bug in the calling model.
pub fn add_layer_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    check(&x, &gamma, &beta);
    assert_eq!(x.dims(), residual.dims(), "both terms have one shape");
    Tensor::from_dispatch(<Dispatch as NormOps>::fused_layer_norm(
        x.into_dispatch(),
        MaybeTensor::Given(residual.into_dispatch()),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon,
    ))
}

/// `x + residual` and its [`layer_norm`]: the end of a sublayer and the start of the next where sublayers normalise first (pre-norm).
///
/// One pass in inference, two operations where gradients are tracked.
///
/// # Shapes
/// - `x`, `residual` `[..., W]`, of one shape; `gamma`, `beta` `[W]`
/// - returns the sum and the normalised sum, both `[..., W]`
///
/// # Panics
/// If a shape differs, which is a bug in the calling model.
pub fn add_then_layer_norm<const D: usize>(
    x: Tensor<D>,
    residual: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    epsilon: f64,
) -> (Tensor<D>, Tensor<D>) {
    check(&x, &gamma, &beta);
    assert_eq!(x.dims(), residual.dims(), "both terms have one shape");
    let (sum, normalised) = <Dispatch as NormOps>::fused_add_then_layer_norm(
        x.into_dispatch(),
        residual.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon,
    );
    (Tensor::from_dispatch(sum), Tensor::from_dispatch(normalised))
}

#[track_caller]
fn check<const D: usize>(x: &Tensor<D>, gamma: &Tensor<1>, beta: &Tensor<1>) {
    let width = x.dims()[D - 1];
    assert_eq!(gamma.dims(), [width], "gamma has one value for each column");
    assert_eq!(beta.dims(), [width], "beta has one value for each column");
}

/// What the kernels compute, of ordinary operations.
mod composed {
    use burn::backend::TensorMetadata;
    use burn::tensor::Shape;

    use super::*;

    pub(super) fn sum<B: Backend>(x: FloatTensor<B>, residual: MaybeTensor<B>) -> FloatTensor<B> {
        match residual.into_option() {
            Some(residual) => B::float_add(x, residual),
            None => x,
        }
    }

    /// The values of `[W]` with as many dimensions as `like` has.
    fn wide<B: Backend>(values: FloatTensor<B>, like: &FloatTensor<B>) -> FloatTensor<B> {
        let mut dims = vec![1; like.shape().num_dims()];
        *dims.last_mut().expect("what is normalised has a dimension") = values.shape().num_elements();
        B::float_reshape(values, Shape::from(dims))
    }

    pub(super) fn layer_norm<B: Backend>(
        x: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        epsilon: f64,
    ) -> FloatTensor<B> {
        B::layer_norm(x, gamma, Some(beta), epsilon)
    }

    pub(super) fn layer_norm_keeping<B: Backend>(
        x: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        epsilon: f64,
    ) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
        let last = x.shape().num_dims() - 1;
        let mean = B::float_mean_dim(x.clone(), last);
        let centred = B::float_sub(x.clone(), mean.clone());
        let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), last);
        let scale = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, epsilon.into())));
        let scaled = B::float_mul(B::float_mul(centred, scale.clone()), wide::<B>(gamma, &x));
        (B::float_add(scaled, wide::<B>(beta, &x)), x, mean, scale)
    }

    pub(super) fn layer_norm_backward<B: Backend>(
        sum: FloatTensor<B>,
        mean: FloatTensor<B>,
        scale: FloatTensor<B>,
        gamma: FloatTensor<B>,
        grad: FloatTensor<B>,
    ) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
        let last = sum.shape().num_dims() - 1;
        let rows: Vec<usize> = (0..last).collect();
        let to_gamma = |tensor: FloatTensor<B>| B::float_reshape(B::float_sum_dims(tensor, &rows), gamma.shape());
        let normal = B::float_mul(B::float_sub(sum, mean), scale.clone());
        let grad_gamma = to_gamma(B::float_mul(grad.clone(), normal.clone()));
        let grad_beta = to_gamma(grad.clone());

        let grad = B::float_mul(grad.clone(), wide::<B>(gamma.clone(), &grad));
        let along = B::float_mean_dim(B::float_mul(grad.clone(), normal.clone()), last);
        let mean = B::float_mean_dim(grad.clone(), last);
        let grad = B::float_sub(B::float_sub(grad, mean), B::float_mul(normal, along));
        (B::float_mul(grad, scale), grad_gamma, grad_beta)
    }
}
