//! Batch normalisation by the statistics of the batch, as training does it, and the positive part of it.

mod autodiff;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Batch normalisation as an extension of burn's backends; see [`batch_norm_relu`].
///
/// Backends without a kernel inherit the bodies given here. `x` is `[B, C, P]`, `moments` `[2, C]`, `gamma` and `beta` `[C]`.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait BatchNormOps: Backend {
    /// Mean and biased variance of every channel, `[2, C]`. No gradient comes through them.
    fn channel_moments(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::moments::<Self>(x)
    }

    /// The positive part of `x` normalised by its own `moments`.
    fn fused_batch_norm_relu(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        composed::batch_norm_relu::<Self>(x, moments, gamma, beta, epsilon)
    }

    /// The gradients of `x`, `gamma` and `beta` from that of the output, `moments` being those of `x`.
    fn fused_batch_norm_relu_backward(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::batch_norm_relu_backward::<Self>(x, [moments, gamma, beta], grad, epsilon)
    }
}

#[cfg(feature = "cube")]
impl BatchNormOps for burn::backend::Cube {}

/// What [`batch_norm_relu`] makes.
#[derive(Debug, Clone)]
pub struct BatchNormed {
    /// `[B, C, P]`.
    pub values: Tensor<3>,
    /// Mean of every channel, `[C]`, without a gradient.
    pub mean: Tensor<1>,
    /// Biased variance of every channel, `[C]`, without a gradient.
    pub variance: Tensor<1>,
}

/// The positive part of every channel brought to mean `beta` and deviation `gamma` over batch and pixels, by its mean and biased variance
/// (Ioffe and Szegedy 2015, arXiv:1502.03167, Alg. 1).
///
/// # Shapes
/// - `x` `[B, C, P]`; `gamma`, `beta` `[C]`
///
/// # Panics
/// If a number of channels differs, which is a bug in the calling model.
pub fn batch_norm_relu(x: Tensor<3>, gamma: Tensor<1>, beta: Tensor<1>, epsilon: f64) -> BatchNormed {
    let [_, channels, _] = x.dims();
    assert_eq!((gamma.dims(), beta.dims()), ([channels], [channels]), "gamma and beta have one value for each channel");
    let x = x.into_dispatch();
    let moments = <Dispatch as BatchNormOps>::channel_moments(x.clone());
    let values = <Dispatch as BatchNormOps>::fused_batch_norm_relu(
        x,
        moments.clone(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        epsilon,
    );
    let moments: Tensor<2> = Tensor::from_dispatch(moments);
    let row = |index: usize| moments.clone().narrow(0, index, 1).squeeze_dim::<1>(0);
    BatchNormed { values: Tensor::from_dispatch(values), mean: row(0), variance: row(1) }
}

/// What the kernels compute, of ordinary operations.
mod composed {
    use burn::backend::{TensorMetadata, get_device_settings};
    use burn::tensor::{Shape, Slice};

    use super::*;

    /// Sums over batch and pixels, `[1, C, 1]`.
    fn over_all<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
        B::float_sum_dim(B::float_sum_dim(x, 2), 0)
    }

    fn count<B: Backend>(x: &FloatTensor<B>) -> f64 {
        let shape = x.shape();
        (shape[0] * shape[2]) as f64
    }

    /// `[C]` as `[1, C, 1]`.
    fn wide<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
        let channels = values.shape().num_elements();
        B::float_reshape(values, Shape::from(vec![1, channels, 1]))
    }

    fn flat<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
        let channels = values.shape().num_elements();
        B::float_reshape(values, Shape::from(vec![channels]))
    }

    pub(super) fn moments<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
        let count = count::<B>(&x);
        let mean = B::float_div_scalar(over_all::<B>(x.clone()), count.into());
        let apart = B::float_sub(x, mean.clone());
        let variance = B::float_div_scalar(over_all::<B>(B::float_mul(apart.clone(), apart)), count.into());
        let row = |values: FloatTensor<B>| {
            let channels = values.shape().num_elements();
            B::float_reshape(values, Shape::from(vec![1, channels]))
        };
        B::float_cat(vec![row(mean), row(variance)], 0)
    }

    /// `x` less its mean over its deviation, and one over the deviation.
    fn normal<B: Backend>(x: FloatTensor<B>, moments: FloatTensor<B>, epsilon: f64) -> [FloatTensor<B>; 2] {
        let row = |index: usize| {
            let rows = Slice::from(index..index + 1);
            wide::<B>(flat::<B>(B::float_slice(moments.clone(), &[rows, Slice::full()])))
        };
        let scale = B::float_recip(B::float_sqrt(B::float_add_scalar(row(1), epsilon.into())));
        [B::float_mul(B::float_sub(x, row(0)), scale.clone()), scale]
    }

    pub(super) fn batch_norm_relu<B: Backend>(
        x: FloatTensor<B>,
        moments: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
        epsilon: f64,
    ) -> FloatTensor<B> {
        let [normal, _] = normal::<B>(x, moments, epsilon);
        let values = B::float_add(B::float_mul(normal, wide::<B>(gamma)), wide::<B>(beta));
        B::relu(values)
    }

    pub(super) fn batch_norm_relu_backward<B: Backend>(
        x: FloatTensor<B>,
        [moments, gamma, beta]: [FloatTensor<B>; 3],
        grad: FloatTensor<B>,
        epsilon: f64,
    ) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
        let count = count::<B>(&x);
        let [normal, scale] = normal::<B>(x, moments, epsilon);
        let values = B::float_add(B::float_mul(normal.clone(), wide::<B>(gamma.clone())), wide::<B>(beta));
        let bools = get_device_settings::<B>(&values.device()).bool_dtype;
        let grad = B::float_mask_fill(grad, B::float_lower_equal_elem(values, 0.0.into(), bools), 0.0.into());
        let (along, sum) = (over_all::<B>(B::float_mul(grad.clone(), normal.clone())), over_all::<B>(grad.clone()));
        let mean = |total: &FloatTensor<B>| B::float_div_scalar(total.clone(), count.into());
        let centred = B::float_sub(B::float_sub(grad, mean(&sum)), B::float_mul(normal, mean(&along)));
        let to_x = B::float_mul(centred, B::float_mul(scale, wide::<B>(gamma)));
        (to_x, flat::<B>(along), flat::<B>(sum))
    }
}
