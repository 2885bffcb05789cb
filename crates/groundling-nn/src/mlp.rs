//! Stacks of linear layers.

use burn::module::Module;
use burn::nn::Dropout;
use burn::tensor::{Device, Tensor};
use groundling_kernels::Activation;

use crate::layers::{Dense, PrepareInference};

/// Linear layers with a ReLU between them and none at the end, as the heads of DETR have (Carion et al. 2020, arXiv:2005.12872).
#[derive(Module, Debug)]
pub struct Mlp {
    /// From input to output.
    pub layers: Vec<Dense>,
}

impl Mlp {
    /// Layers between the given widths, at least two: `[256, 256, 256, 4]` are three layers.
    pub fn new(widths: &[usize], device: &Device) -> Self {
        Self { layers: widths.windows(2).map(|pair| Dense::new(pair[0], pair[1], device)).collect() }
    }

    /// # Shapes
    /// - `x` `[.., first width]`
    /// - returns `[.., last width]`
    ///
    /// # Panics
    /// If the last axis of `x` is not the first width.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let last = self.layers.len().saturating_sub(1);
        self.layers.iter().enumerate().fold(x, |x, (index, layer)| {
            layer.forward_then(x, if index < last { Activation::Relu } else { Activation::Identity })
        })
    }
}

impl PrepareInference for Mlp {
    fn prepare_inference(&mut self) {
        self.layers.prepare_inference();
    }
}

/// The feed-forward part of a transformer block: `fc2(activation(fc1(x)))`.
#[derive(Module, Debug)]
pub struct FeedForward {
    /// `D` to `F`.
    pub fc1: Dense,
    /// `F` to `D`.
    pub fc2: Dense,
    #[module(skip)]
    activation: Activation,
    dropout: Dropout,
}

/// Sizes of a [`FeedForward`].
#[derive(Debug, Clone, Copy)]
pub struct FeedForwardConfig {
    /// Width outside, `D`.
    pub width: usize,
    /// Width between the layers, `F`.
    pub hidden: usize,
    /// Between the layers.
    pub activation: Activation,
    /// Share of the values between the layers that training sets to 0.
    pub dropout: f64,
}

impl FeedForwardConfig {
    /// The module with random weights.
    pub fn init(&self, device: &Device) -> FeedForward {
        FeedForward {
            fc1: Dense::new(self.width, self.hidden, device),
            fc2: Dense::new(self.hidden, self.width, device),
            activation: self.activation,
            dropout: burn::nn::DropoutConfig::new(self.dropout).init(),
        }
    }
}

impl FeedForward {
    /// # Shapes
    /// - `x` `[.., D]`, returned with the same shape
    ///
    /// # Panics
    /// If the last axis of `x` is not `D`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let hidden = self.fc1.forward_then(x, self.activation);
        self.fc2.forward(self.dropout.forward(hidden))
    }
}

impl PrepareInference for FeedForward {
    fn prepare_inference(&mut self) {
        self.fc1.prepare_inference();
        self.fc2.prepare_inference();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_activation_at_the_end() {
        let device = Device::flex();
        device.seed(1);
        let mlp = Mlp::new(&[3, 8, 2], &device);
        let x = Tensor::<2>::random([64, 3], burn::tensor::Distribution::Normal(0.0, 5.0), &device);
        let [first, second] = &mlp.layers[..] else { panic!("two layers") };
        let expected = second.forward(burn::tensor::activation::relu(first.forward(x.clone())));
        let found = mlp.forward(x);
        assert!(found.clone().min().into_scalar::<f32>() < 0.0);
        assert!((found - expected).abs().max().into_scalar::<f32>() < 1e-5);
    }
}
