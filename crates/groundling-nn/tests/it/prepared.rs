//! Weights rearranged for inference give the same, and are forgotten when the weights change.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor};
use groundling_nn::layers::{ConvolutionConfig, Dense, PrepareInference};

use crate::numbers::{assert_near, uniform};

/// Doubles every parameter, as a step of an optimizer changes them.
struct Twice;

impl ModuleMapper for Twice {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.mul_scalar(2.0))
    }
}

#[test]
fn a_linear_layer_follows_its_weights() {
    let device = Device::flex();
    let mut layer = Dense::new(70, 40, &device);
    let x = uniform::<2>("x", [9, 70], -1.0, 1.0, &device);
    let before = layer.forward(x.clone());
    layer.prepare_inference();
    assert_near("prepared", layer.forward(x.clone()), before.clone(), 1e-5);
    let layer = layer.map(&mut Twice);
    assert_near("after a change", layer.forward(x), before.mul_scalar(2.0), 1e-5);
}

#[test]
fn a_convolution_follows_its_weights() {
    let device = Device::flex();
    let mut layer = ConvolutionConfig::same(5, 6, 3).init(&device);
    let x = uniform::<4>("x", [2, 5, 7, 9], -1.0, 1.0, &device);
    let before = layer.forward(x.clone());
    layer.prepare_inference();
    assert_near("prepared", layer.forward(x.clone()), before.clone(), 1e-5);
    let layer = layer.map(&mut Twice);
    assert_near("after a change", layer.forward(x), before.mul_scalar(2.0), 1e-5);
}
