//! Random weights to start from.

use burn::module::{Param, ParamId};
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Device, Distribution, Tensor};
use groundling_nn::layers::Dense;

/// Deviation of fresh weights.
const DEVIATION: f64 = 0.02;

/// Normal with deviation 0.02, drawn again beyond two deviations (and cut there if three draws were beyond).
pub(super) fn truncated_normal<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    let draw = move |device: &Device, require_grad: bool| {
        let normal = || Tensor::<D>::random(shape, Distribution::Normal(0.0, DEVIATION), device);
        let limit = 2.0 * DEVIATION;
        let again = |values: Tensor<D>| {
            let beyond = values.clone().abs().greater_elem(limit);
            values.mask_where(beyond, normal())
        };
        let values = again(again(normal())).clamp(-limit, limit);
        if require_grad { values.require_grad() } else { values }
    };
    Param::uninitialized(ParamId::new(), draw, device.clone(), true, shape.into())
}

/// Every element the same.
pub(super) fn zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Initializer::Zeros.init(shape, device)
}

/// A linear layer with a truncated normal weight and no bias yet.
pub(super) fn dense(inputs: usize, outputs: usize, device: &Device) -> Dense {
    let mut layer = Dense::without_bias(inputs, outputs, device);
    layer.weight = truncated_normal([inputs, outputs], device);
    layer.bias = Some(zeros([outputs], device));
    layer
}

/// A table with truncated normal rows.
pub(super) fn table(rows: usize, width: usize, device: &Device) -> Embedding {
    let mut table = EmbeddingConfig::new(rows, width).with_initializer(Initializer::Zeros).init(device);
    table.weight = truncated_normal([rows, width], device);
    table
}
