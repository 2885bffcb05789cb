//! Norms of maps by their own statistics.

use burn::module::{Module, Param, RunningState};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};
use groundling_kernels::{batch_norm_relu, layer_norm};

use crate::frozen_batch_norm::{Affine, FrozenBatchNorm};
use crate::layers::{AfterConv, Convolution};

/// Added to variances.
const EPSILON: f64 = 1e-5;
/// Share of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// Every channel of every sample to mean 0 and variance 1 over its pixels: no gain, no shift, no running statistics.
///
/// # Shapes
/// - `x` `[B, C, N]`, returned with the same shape
pub fn instance_norm(x: Tensor<3>) -> Tensor<3> {
    let [_, _, pixels] = x.dims();
    let device = x.device();
    // By the kernel for rows.
    layer_norm(x, Tensor::ones([pixels], &device), Tensor::zeros([pixels], &device), EPSILON)
}

/// Batch norm (Ioffe and Szegedy 2015, arXiv:1502.03167) of maps. Training normalises by the statistics of the batch and follows them;
/// inference, and training with [`BatchNorm2d::fix`], uses what was followed.
///
/// The batch is normalised by its biased variance, the running one is unbiased.
#[derive(Module, Debug)]
pub struct BatchNorm2d {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
    running_mean: RunningState<Tensor<1>>,
    running_var: RunningState<Tensor<1>>,
    fixed: bool,
}

impl BatchNorm2d {
    /// The identity, but for epsilon.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self {
            weight: Initializer::Ones.init([channels], device),
            bias: Initializer::Zeros.init([channels], device),
            running_mean: RunningState::new(Tensor::zeros([channels], device)),
            running_var: RunningState::new(Tensor::ones([channels], device)),
            fixed: false,
        }
    }

    /// Whether training, too, uses the running statistics and leaves them.
    pub fn fix(&mut self, fixed: bool) {
        self.fixed = fixed;
    }

    /// `relu(norm(conv(x)))`.
    ///
    /// # Shapes
    /// - `x` `[B, C, H, W]`
    /// - returns `[B, O, H, W]`
    pub fn after(&self, conv: &Convolution, x: Tensor<4>) -> Tensor<4> {
        if !x.device().is_autodiff() || self.fixed {
            let after = AfterConv { residual: None, relu: true };
            return conv.forward_norm(x, &self.frozen(), after);
        }
        self.relu_by_batch(conv.forward(x))
    }

    /// With the running statistics: for the pass of the convolution.
    fn frozen(&self) -> FrozenBatchNorm {
        let device = self.weight.val().device();
        let fixed = |value: Tensor<1>| Param::from_tensor(value).set_require_grad(false);
        let mut norm = FrozenBatchNorm::new(self.weight.dims()[0], EPSILON, Affine::Trained, &device);
        (norm.weight, norm.bias) = if device.is_autodiff() {
            (self.weight.clone(), self.bias.clone())
        } else {
            (fixed(self.weight.val()), fixed(self.bias.val()))
        };
        norm.running_mean = fixed(self.running_mean.value_sync());
        norm.running_var = fixed(self.running_var.value_sync());
        norm
    }

    /// The positive part of what the statistics of the batch, which are followed, make of a map.
    fn relu_by_batch(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let normed = batch_norm_relu(x.reshape([b, c, h * w]), self.weight.val(), self.bias.val(), EPSILON);
        let count = b * h * w;
        let unbiased = normed.variance.mul_scalar(count as f64 / count.saturating_sub(1).max(1) as f64);
        for (state, seen) in [(&self.running_mean, normed.mean), (&self.running_var, unbiased)] {
            let before = state.value_sync().mul_scalar(1.0 - MOMENTUM);
            state.update(before + seen.mul_scalar(MOMENTUM));
        }
        normed.values.reshape([b, c, h, w])
    }
}
