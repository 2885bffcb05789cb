//! Batch norm with fixed statistics.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

/// Whether gain and shift of a frozen norm are trained; its statistics never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affine {
    /// Fixed, as in detectors that start from a classifier.
    Fixed,
    /// Trained.
    Trained,
}

/// Batch norm that uses its running statistics always: one gain and one shift for each channel.
///
/// Names and values are those of a batch norm of PyTorch.
#[derive(Module, Debug)]
pub struct FrozenBatchNorm {
    /// Gain, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub bias: Param<Tensor<1>>,
    /// Mean of each channel, `[C]`.
    pub running_mean: Param<Tensor<1>>,
    /// Variance of each channel, `[C]`.
    pub running_var: Param<Tensor<1>>,
    epsilon: f64,
}

impl FrozenBatchNorm {
    /// The identity, but for epsilon.
    pub fn new(channels: usize, epsilon: f64, affine: Affine, device: &Device) -> Self {
        let fixed = |initializer: Initializer| initializer.init([channels], device).set_require_grad(false);
        let affine = |initializer: Initializer| match affine {
            Affine::Fixed => fixed(initializer),
            Affine::Trained => initializer.init([channels], device),
        };
        Self {
            weight: affine(Initializer::Ones),
            bias: affine(Initializer::Zeros),
            running_mean: fixed(Initializer::Zeros),
            running_var: fixed(Initializer::Ones),
            epsilon,
        }
    }

    /// The norm as `x * scale + shift`, both `[C]`, for the pass of the convolution before it.
    pub fn scale_shift(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / (self.running_var.val() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale, shift)
    }

    /// # Shapes
    /// - `x` `[B, C, H, W]`, returned with the same shape
    ///
    /// # Panics
    /// If `x` has other channels.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let channels = x.dims()[1];
        let (scale, shift) = self.scale_shift();
        x * scale.reshape([1, channels, 1, 1]) + shift.reshape([1, channels, 1, 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_never_trained() {
        let device = Device::flex().autodiff();
        for (affine, trained) in [(Affine::Fixed, false), (Affine::Trained, true)] {
            let norm = FrozenBatchNorm::new(2, 1e-5, affine, &device);
            assert_eq!((norm.weight.is_require_grad(), norm.bias.is_require_grad()), (trained, trained));
            assert!(!norm.running_mean.is_require_grad() && !norm.running_var.is_require_grad());
        }
    }

    #[test]
    fn it_is_the_formula() {
        let device = Device::flex();
        let mut norm = FrozenBatchNorm::new(1, 0.0, Affine::Fixed, &device);
        norm.running_mean = Param::from_data([3.0], &device);
        norm.running_var = Param::from_data([4.0], &device);
        norm.weight = Param::from_data([5.0], &device);
        norm.bias = Param::from_data([-1.0], &device);
        let x = Tensor::<4>::from_data([[[[7.0, 3.0]]]], &device);
        assert_eq!(norm.forward(x).into_data().try_to_vec::<f32>().unwrap(), [9.0, -1.0]);
    }
}
