//! Layers that start as the reference's.

use burn::nn::Initializer;
use burn::tensor::Device;
use groundling_nn::layers::{Convolution, ConvolutionConfig, Dense};

/// A convolution that keeps the size, uniform in `+-1 / sqrt(fan in)` as PyTorch's, bias too.
pub(super) fn convolution(inputs: usize, outputs: usize, kernel: usize, bias: bool, device: &Device) -> Convolution {
    let mut layer = ConvolutionConfig { bias, ..ConvolutionConfig::same(inputs, outputs, kernel) }.init(device);
    let bound = 1.0 / ((inputs * kernel * kernel).max(1) as f64).sqrt();
    let uniform = Initializer::Uniform { min: -bound, max: bound };
    layer.weight = uniform.init([outputs, inputs, kernel, kernel], device);
    layer.bias = bias.then(|| uniform.init([outputs], device));
    layer
}

/// A linear layer over tokens.
pub(super) fn dense(inputs: usize, outputs: usize, device: &Device) -> Dense {
    Dense::new(inputs, outputs, device)
}
