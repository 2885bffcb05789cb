//! Residual blocks.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Initializer, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

use super::{BlockKind, ResNetConfig};
use crate::frozen_batch_norm::FrozenBatchNorm;
use crate::layers::{AfterConv, conv_bn};

/// A square convolution without bias whose padding is half its reach.
#[derive(Debug, Clone, Copy)]
pub(super) struct Convolution {
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
}

impl Convolution {
    pub(super) fn init(self, inputs: usize, outputs: usize, device: &Device) -> Conv2d {
        let padding = self.dilation * (self.kernel - 1) / 2;
        Conv2dConfig::new([inputs, outputs], [self.kernel; 2])
            .with_stride([self.stride; 2])
            .with_dilation([self.dilation; 2])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .with_initializer(Initializer::KaimingNormal { gain: 2f64.sqrt(), fan_out_only: true })
            .with_bias(false)
            .init(device)
    }
}

/// A basic block (two convolutions) or a bottleneck (three).
#[derive(Module, Debug)]
pub(super) struct Block {
    conv1: Conv2d,
    bn1: FrozenBatchNorm,
    conv2: Conv2d,
    bn2: FrozenBatchNorm,
    conv3: Option<Conv2d>,
    bn3: Option<FrozenBatchNorm>,
    /// Where the shape changes.
    downsample: Option<(Conv2d, FrozenBatchNorm)>,
}

impl Block {
    /// A block from `inputs` over `width` to `outputs` channels; `middle` is its 3 x 3 convolution.
    pub(super) fn new(
        config: &ResNetConfig,
        [inputs, width, outputs]: [usize; 3],
        middle: Convolution,
        device: &Device,
    ) -> Self {
        let point = |stride: usize, inputs: usize, outputs: usize| {
            Convolution { kernel: 1, stride, dilation: 1 }.init(inputs, outputs, device)
        };
        let norm = |channels| config.norm(channels, device);
        let changes = middle.stride != 1 || inputs != outputs;
        let downsample = changes.then(|| (point(middle.stride, inputs, outputs), norm(outputs)));
        match config.block {
            BlockKind::Basic => Self {
                conv1: middle.init(inputs, width, device),
                bn1: norm(width),
                conv2: Convolution { stride: 1, ..middle }.init(width, outputs, device),
                bn2: norm(outputs),
                conv3: None,
                bn3: None,
                downsample,
            },
            BlockKind::Bottleneck => Self {
                conv1: point(1, inputs, width),
                bn1: norm(width),
                conv2: middle.init(width, width, device),
                bn2: norm(width),
                conv3: Some(point(1, width, outputs)),
                bn3: Some(norm(outputs)),
                downsample,
            },
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some((conv, norm)) => conv_bn(x.clone(), conv, norm, AfterConv::default()),
            None => x.clone(),
        };
        let between = || AfterConv { residual: None, relu: true };
        let last = AfterConv { residual: Some(shortcut), relu: true };
        let x = conv_bn(x, &self.conv1, &self.bn1, between());
        match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let x = conv_bn(x, &self.conv2, &self.bn2, between());
                conv_bn(x, conv3, bn3, last)
            }
            _ => conv_bn(x, &self.conv2, &self.bn2, last),
        }
    }
}
