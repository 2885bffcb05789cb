//! The same of ordinary operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;
use burn::tensor::ops::ConvOptions as BurnOptions;

use super::ConvOptions;
use crate::maybe::MaybeTensor;

pub(super) fn conv2d<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    scale: MaybeTensor<B>,
    shift: MaybeTensor<B>,
    residual: MaybeTensor<B>,
    relu: bool,
    options: ConvOptions,
) -> FloatTensor<B> {
    let channels = weight.shape()[0];
    let per_channel = |tensor| B::float_reshape(tensor, Shape::from([1, channels, 1, 1]));
    let mut out = B::conv2d(x, weight, None, of_burn(options));
    if let Some(scale) = scale.into_option() {
        out = B::float_mul(out, per_channel(scale));
    }
    if let Some(shift) = shift.into_option() {
        out = B::float_add(out, per_channel(shift));
    }
    if let Some(residual) = residual.into_option() {
        out = B::float_add(out, residual);
    }
    if relu { B::relu(out) } else { out }
}

pub(super) fn grad_input<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
    options: ConvOptions,
) -> FloatTensor<B> {
    B::conv2d_x_backward(x, weight, grad, of_burn(options))
}

pub(super) fn grad_weight<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
    options: ConvOptions,
) -> FloatTensor<B> {
    B::conv2d_weight_backward(x, weight, grad, of_burn(options))
}

fn of_burn(options: ConvOptions) -> BurnOptions<2> {
    BurnOptions::new(options.stride, options.padding, options.dilation, options.groups)
}
