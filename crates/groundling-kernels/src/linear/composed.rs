//! The same of ordinary operations, for backends without a kernel and for float types other than `f32`.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;

use super::Activation;
use crate::maybe::MaybeTensor;

pub(super) fn linear<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: MaybeTensor<B>,
    activation: Activation,
) -> FloatTensor<B> {
    let columns = weight.shape()[1];
    let mut shape = x.shape();
    let last = shape.num_dims() - 1;
    shape[last] = columns;
    let mut out = B::float_matmul(rows::<B>(x), weight);
    if let Some(bias) = bias.into_option() {
        out = B::float_add(out, B::float_reshape(bias, Shape::from([1, columns])));
    }
    let out = match activation {
        Activation::Identity => out,
        Activation::Relu => B::relu(out),
        Activation::Gelu => B::gelu(out),
    };
    B::float_reshape(out, shape)
}

pub(super) fn grad_input<B: Backend>(grad: FloatTensor<B>, weight: FloatTensor<B>) -> FloatTensor<B> {
    let mut shape = grad.shape();
    let last = shape.num_dims() - 1;
    shape[last] = weight.shape()[0];
    let out = B::float_matmul(rows::<B>(grad), B::float_swap_dims(weight, 0, 1));
    B::float_reshape(out, shape)
}

pub(super) fn grad_weight<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    B::float_matmul(B::float_swap_dims(rows::<B>(x), 0, 1), rows::<B>(grad))
}

pub(super) fn grad_bias<B: Backend>(grad: FloatTensor<B>) -> FloatTensor<B> {
    let grad = rows::<B>(grad);
    let columns = grad.shape()[1];
    B::float_reshape(B::float_sum_dim(grad, 0), Shape::from([columns]))
}

/// All dimensions but the last as one.
fn rows<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let last = shape.num_dims() - 1;
    let rows = (0..last).map(|dim| shape[dim]).product();
    let columns = shape[last];
    if last == 1 { x } else { B::float_reshape(x, Shape::from([rows, columns])) }
}
