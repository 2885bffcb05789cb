//! The layers everything else is made of: linear, norm, convolution with a frozen norm, stochastic depth.
//!
//! Each is one call of a kernel, with what follows it in the same pass.

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Initializer, Linear};
use burn::tensor::{Device, Tensor};
use groundling_kernels::{
    Activation, ConvEpilogue, ConvOptions, PackedConv, PackedLinear, add_layer_norm, add_then_layer_norm, conv2d,
    layer_norm, linear,
};

use crate::frozen_batch_norm::FrozenBatchNorm;
use crate::prepared::Prepared;

/// A linear layer: `activation(x W + b)`.
///
/// `weight` is `[inputs, outputs]` as in burn's `Linear`; the importer transposes it when it reads a file. Unlike burn's layer it
/// can hold the weight a second time in the order in which the kernel reads it, see [`PrepareInference`].
#[derive(Module, Debug)]
pub struct Dense {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub bias: Option<Param<Tensor<1>>>,
    packed: Prepared<PackedLinear>,
}

impl Dense {
    /// A layer with a bias; weights uniform in `+-1 / sqrt(inputs)` as PyTorch's.
    pub fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        Self::with_initializer(inputs, outputs, Initializer::Uniform { min: -bound, max: bound }, device)
    }

    /// A layer without a bias.
    pub fn without_bias(inputs: usize, outputs: usize, device: &Device) -> Self {
        Self { bias: None, ..Self::new(inputs, outputs, device) }
    }

    /// A layer whose weight and bias are drawn by `initializer`.
    pub fn with_initializer(inputs: usize, outputs: usize, initializer: Initializer, device: &Device) -> Self {
        let weight = initializer.init_with([inputs, outputs], Some(inputs), Some(outputs), device);
        let bias = initializer.init_with([outputs], Some(inputs), Some(outputs), device);
        Self { weight, bias: Some(bias), packed: Prepared::none() }
    }

    /// # Shapes
    /// - `x` `[.., inputs]`
    /// - returns `[.., outputs]`
    ///
    /// # Panics
    /// If the last axis of `x` is not `inputs`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        self.forward_then(x, Activation::Identity)
    }

    /// As [`Dense::forward`], with an activation in the same pass.
    ///
    /// # Panics
    /// If the last axis of `x` is not `inputs`.
    pub fn forward_then<const D: usize>(&self, x: Tensor<D>, activation: Activation) -> Tensor<D> {
        match self.packed.get() {
            Some(packed) if !x.device().is_autodiff() => packed.forward(x, activation),
            _ => linear(x, self.weight.val(), self.bias.as_ref().map(|bias| bias.val()), activation),
        }
    }
}

/// Rearranges weights for a model whose weights no longer change.
///
/// Call it last: a step of training, loading, averaging or a move to another device drops what was made, and the module reads its
/// parameters again. Names and parameters stay what they are; the rearranged weights are a second copy.
pub trait PrepareInference {
    /// Makes, or makes again, what the kernels read.
    fn prepare_inference(&mut self);
}

impl PrepareInference for Dense {
    fn prepare_inference(&mut self) {
        self.packed.set(PackedLinear::new(self.weight.val(), self.bias.as_ref().map(|bias| bias.val())));
    }
}

impl<T: PrepareInference> PrepareInference for Vec<T> {
    fn prepare_inference(&mut self) {
        self.iter_mut().for_each(T::prepare_inference);
    }
}

impl<T: PrepareInference> PrepareInference for Option<T> {
    fn prepare_inference(&mut self) {
        self.iter_mut().for_each(T::prepare_inference);
    }
}

/// burn's linear layer through the kernel, with an activation in the same pass.
///
/// # Shapes
/// - `x` `[.., inputs]`
/// - returns `[.., outputs]`
///
/// # Panics
/// If the last axis of `x` is not `inputs`.
pub fn apply_linear<const D: usize>(layer: &Linear, x: Tensor<D>, activation: Activation) -> Tensor<D> {
    linear(x, layer.weight.val(), layer.bias.as_ref().map(|bias| bias.val()), activation)
}

/// Layer normalisation over the last axis (Ba et al. 2016, arXiv:1607.06450).
///
/// burn's layer hides its epsilon, and 1e-12 of BERT is not 1e-5.
#[derive(Module, Debug)]
pub struct TokenNorm {
    /// Gain, `[D]`.
    pub weight: Param<Tensor<1>>,
    /// Shift, `[D]`.
    pub bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl TokenNorm {
    /// Gain 1, shift 0.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        let weight = Initializer::Ones.init([width], device);
        Self { weight, bias: Initializer::Zeros.init([width], device), epsilon }
    }

    /// # Shapes
    /// - `x` `[.., D]`, returned with the same shape
    ///
    /// # Panics
    /// If the last axis of `x` is not `D`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        layer_norm(x, self.weight.val(), self.bias.val(), self.epsilon)
    }

    /// The norm of `x + residual`, both `[.., D]`: what follows a block of a post-norm transformer.
    ///
    /// # Panics
    /// If the shapes differ or the last axis is not `D`.
    pub fn forward_sum<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> Tensor<D> {
        add_layer_norm(x, residual, self.weight.val(), self.bias.val(), self.epsilon)
    }

    /// `x + residual` and its norm, both `[.., D]`: what lies between two blocks of a pre-norm transformer.
    ///
    /// # Panics
    /// If the shapes differ or the last axis is not `D`.
    pub fn forward_after_sum<const D: usize>(&self, x: Tensor<D>, residual: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        add_then_layer_norm(x, residual, self.weight.val(), self.bias.val(), self.epsilon)
    }
}

/// A convolution `[B, C, H, W]` to `[B, O, H', W']`.
///
/// Unlike burn's layer it can hold the weight a second time in the order in which the kernel reads it, see [`PrepareInference`].
#[derive(Module, Debug)]
pub struct Convolution {
    /// `[O, C / groups, kernel height, kernel width]`.
    pub weight: Param<Tensor<4>>,
    /// `[O]`.
    pub bias: Option<Param<Tensor<1>>>,
    packed: Prepared<PackedConv>,
    #[module(skip)]
    options: ConvOptions,
}

/// Sizes of a [`Convolution`] with a square kernel.
#[derive(Debug, Clone, Copy)]
pub struct ConvolutionConfig {
    /// Channels `C`.
    pub inputs: usize,
    /// Channels `O`.
    pub outputs: usize,
    /// Side of the kernel.
    pub kernel: usize,
    /// Step between positions.
    pub stride: usize,
    /// Rows and columns of zeros on every side.
    pub padding: usize,
    /// Step within the kernel.
    pub dilation: usize,
    /// Groups that do not see one another.
    pub groups: usize,
    /// Whether there is a bias.
    pub bias: bool,
}

impl ConvolutionConfig {
    /// A convolution without bias that keeps the size but for the stride: padding is half the kernel's reach.
    pub fn same(inputs: usize, outputs: usize, kernel: usize) -> Self {
        let padding = kernel.saturating_sub(1) / 2;
        Self { inputs, outputs, kernel, stride: 1, padding, dilation: 1, groups: 1, bias: false }
    }

    /// Another stride.
    pub fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// Another dilation, and the padding that goes with it.
    pub fn with_dilation(self, dilation: usize) -> Self {
        Self { dilation, padding: dilation * self.kernel.saturating_sub(1) / 2, ..self }
    }

    /// The module with random weights (He et al. 2015, over the outputs).
    ///
    /// # Panics
    /// If the groups do not divide the channels.
    pub fn init(&self, device: &Device) -> Convolution {
        let Self { inputs, outputs, kernel, groups, .. } = *self;
        let divided = groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups);
        assert!(divided, "{groups} groups do not divide {inputs} and {outputs} channels");
        let initializer = Initializer::KaimingNormal { gain: 2f64.sqrt(), fan_out_only: true };
        // Multiplied before it is divided: of a depthwise kernel the groups are more than the places.
        let fan = |channels: usize| Some(channels * kernel * kernel / groups);
        Convolution {
            weight: initializer.init_with(
                [outputs, inputs / groups, kernel, kernel],
                fan(inputs),
                fan(outputs),
                device,
            ),
            bias: self.bias.then(|| Initializer::Zeros.init([outputs], device)),
            packed: Prepared::none(),
            options: ConvOptions {
                stride: [self.stride; 2],
                padding: [self.padding; 2],
                dilation: [self.dilation; 2],
                groups,
            },
        }
    }
}

impl Convolution {
    /// # Shapes
    /// - `x` `[B, C, H, W]`
    /// - returns `[B, O, H', W']`
    ///
    /// # Panics
    /// If the channels disagree or the kernel does not fit.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shift = self.bias.as_ref().map(|bias| bias.val());
        self.run(x, ConvEpilogue { shift, ..ConvEpilogue::default() })
    }

    /// The convolution, a frozen norm and what follows, in one pass.
    ///
    /// # Shapes
    /// - `x` `[B, C, H, W]`
    /// - returns `[B, O, H', W']`
    ///
    /// # Panics
    /// If the convolution has a bias, channels disagree or the kernel does not fit.
    pub fn forward_norm(&self, x: Tensor<4>, norm: &FrozenBatchNorm, after: AfterConv) -> Tensor<4> {
        assert!(self.bias.is_none(), "a norm takes the place of the bias");
        let (scale, shift) = norm.scale_shift();
        let AfterConv { residual, relu } = after;
        // The kernel passes no gradient to the scale; multiplied into the weight it has one.
        if norm.weight.is_require_grad() {
            let [outputs] = scale.dims();
            let weight = self.weight.val() * scale.reshape([outputs, 1, 1, 1]);
            let epilogue = ConvEpilogue { scale: None, shift: Some(shift), residual, relu };
            return conv2d(x, weight, epilogue, self.options);
        }
        self.run(x, ConvEpilogue { scale: Some(scale), shift: Some(shift), residual, relu })
    }

    fn run(&self, x: Tensor<4>, epilogue: ConvEpilogue) -> Tensor<4> {
        match self.packed.get() {
            Some(packed) if !x.device().is_autodiff() => packed.forward(x, epilogue),
            _ => conv2d(x, self.weight.val(), epilogue, self.options),
        }
    }
}

impl PrepareInference for Convolution {
    fn prepare_inference(&mut self) {
        self.packed.set(PackedConv::new(self.weight.val(), self.options));
    }
}

/// What follows a convolution and its frozen norm.
#[derive(Debug, Clone, Default)]
pub struct AfterConv {
    /// Added before the ReLU, of the output's shape.
    pub residual: Option<Tensor<4>>,
    /// Whether a ReLU ends it.
    pub relu: bool,
}

/// Stochastic depth (Huang et al. 2016, arXiv:1603.09382): in training drops the whole of some samples and scales the rest by
/// `1 / (1 - rate)`; without gradients, or frozen, or with rate 0, it is the identity.
#[derive(Module, Debug)]
pub struct StochasticDepth {
    dropout: Dropout,
}

impl StochasticDepth {
    /// Drops this share of the samples.
    ///
    /// # Panics
    /// If the rate is not in `[0, 1)`.
    pub fn new(rate: f64) -> Self {
        Self { dropout: DropoutConfig::new(rate).init() }
    }

    /// # Shapes
    /// - `x` `[B, N, D]`, returned with the same shape
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        if self.dropout.prob == 0.0 || !x.device().is_autodiff() {
            return x;
        }
        let kept = self.dropout.forward(Tensor::ones([x.dims()[0], 1, 1], &x.device()));
        x * kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Distribution;

    #[test]
    fn a_prepared_layer_gives_the_same() {
        let device = Device::flex();
        let mut layer = Dense::new(7, 5, &device);
        let x = Tensor::<3>::random([2, 3, 7], Distribution::Default, &device);
        let before = layer.forward_then(x.clone(), Activation::Gelu);
        layer.prepare_inference();
        let apart = (layer.forward_then(x, Activation::Gelu) - before).abs().max().into_scalar::<f32>();
        assert!(apart < 1e-6, "{apart}");
        let mut layer =
            ConvolutionConfig { bias: true, ..ConvolutionConfig::same(4, 6, 3).with_stride(2) }.init(&device);
        let x = Tensor::<4>::random([2, 4, 9, 7], Distribution::Default, &device);
        let before = layer.forward(x.clone());
        assert_eq!(before.dims(), [2, 6, 5, 4]);
        layer.prepare_inference();
        let apart = (layer.forward(x) - before).abs().max().into_scalar::<f32>();
        assert!(apart < 1e-5, "{apart}");
    }

    #[test]
    fn depthwise_convolutions_start_like_others() {
        let device = Device::flex();
        device.seed(3);
        let layer = ConvolutionConfig { groups: 512, ..ConvolutionConfig::same(512, 512, 3) }.init(&device);
        let values = layer.weight.val().into_data().try_to_vec::<f32>().unwrap();
        let mean_square = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64;
        // He et al.: 2 over the outputs that a value reaches, 9.
        assert!((mean_square * 9.0 / 2.0 - 1.0).abs() < 0.1, "{mean_square}");
    }

    #[test]
    fn paths_drop_whole_samples_and_keep_the_mean() {
        let device = Device::flex();
        let ones = Tensor::<3>::ones([400, 2, 3], &device.clone().autodiff());
        device.seed(7);
        let sums =
            StochasticDepth::new(0.25).forward(ones).sum_dim(2).sum_dim(1).into_data().try_to_vec::<f32>().unwrap();
        assert!(sums.iter().all(|&sum| sum == 0.0 || (sum - 8.0).abs() < 1e-5));
        let kept = sums.iter().filter(|&&sum| sum > 0.0).count();
        assert!((260..=340).contains(&kept), "{kept}");
        let still = Tensor::<3>::ones([4, 2, 3], &device);
        assert_eq!(StochasticDepth::new(0.9).forward(still).sum().into_scalar::<f32>(), 24.0);
    }
}
