//! Random weights to start from.

use burn::module::{Param, ParamId};
use burn::nn::{Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use groundling_nn::layers::Dense;

/// Deviation of fresh tables and tokens, and of layers of [`WIDTH`] inputs.
const DEVIATION: f64 = 0.02;
/// Inputs of a layer at which its deviation is [`DEVIATION`].
const WIDTH: f64 = 768.0;
/// Amplitude of the waves of fresh positions.
const POSITION_SCALE: f64 = 0.25;

/// Normal with deviation 0.02, drawn again beyond two deviations (and cut there if three draws were beyond).
pub(super) fn truncated_normal<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    drawn(shape, DEVIATION, device)
}

fn drawn<const D: usize>(shape: [usize; D], deviation: f64, device: &Device) -> Param<Tensor<D>> {
    let draw = move |device: &Device, require_grad: bool| {
        let normal = || Tensor::<D>::random(shape, Distribution::Normal(0.0, deviation), device);
        let limit = 2.0 * deviation;
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

/// A table of positions `[side, side, width]` to start from: sines and cosines of the row in the first half of a vector, of the column
/// in the second.
pub(super) fn positions(side: usize, width: usize, device: &Device) -> Param<Tensor<3>> {
    let half = width / 2;
    let wave = move |place: usize, channel: usize| {
        let place = (place as f64 + 0.5) / side as f64;
        let waves = (half / 2).max(1);
        // From half a period over the table to one over two of its entries.
        let frequency = std::f64::consts::PI * (side as f64).powf((channel % waves) as f64 / waves as f64);
        if channel < waves { (place * frequency).sin() } else { (place * frequency).cos() }
    };
    let table = move |device: &Device, require_grad: bool| {
        let values = (0..side * side * width).map(|index| {
            let (row, column, channel) = (index / width / side, index / width % side, index % width);
            let value = if channel < half { wave(row, channel) } else { wave(column, channel - half) };
            (POSITION_SCALE * value) as f32
        });
        let values = Tensor::from_data(TensorData::new(values.collect::<Vec<f32>>(), [side, side, width]), device);
        if require_grad { values.require_grad() } else { values }
    };
    Param::uninitialized(ParamId::new(), table, device.clone(), true, [side, side, width].into())
}

/// A linear layer with a truncated normal weight and no bias yet.
pub(super) fn dense(inputs: usize, outputs: usize, device: &Device) -> Dense {
    let mut layer = Dense::without_bias(inputs, outputs, device);
    layer.weight = drawn([inputs, outputs], DEVIATION * (WIDTH / inputs as f64).sqrt(), device);
    layer.bias = Some(zeros([outputs], device));
    layer
}

/// A table with truncated normal rows.
pub(super) fn table(rows: usize, width: usize, device: &Device) -> Embedding {
    let mut table = EmbeddingConfig::new(rows, width).with_initializer(Initializer::Zeros).init(device);
    table.weight = truncated_normal([rows, width], device);
    table
}
