//! Residual blocks.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{BlockKind, ResNetConfig};
use crate::frozen_batch_norm::FrozenBatchNorm;
use crate::layers::{AfterConv, Convolution, ConvolutionConfig, PrepareInference};

/// A basic block (two convolutions) or a bottleneck (three).
#[derive(Module, Debug)]
pub(super) struct Block {
    conv1: Convolution,
    bn1: FrozenBatchNorm,
    conv2: Convolution,
    bn2: FrozenBatchNorm,
    conv3: Option<Convolution>,
    bn3: Option<FrozenBatchNorm>,
    /// Where the shape changes.
    downsample: Option<(Convolution, FrozenBatchNorm)>,
}

impl Block {
    /// A block from `inputs` over `width` to `outputs` channels; `middle` is its 3 x 3 convolution, of `width` channels.
    pub(super) fn new(
        config: &ResNetConfig,
        [inputs, width, outputs]: [usize; 3],
        middle: ConvolutionConfig,
        device: &Device,
    ) -> Self {
        let point = |stride: usize, inputs: usize, outputs: usize| {
            ConvolutionConfig::same(inputs, outputs, 1).with_stride(stride).init(device)
        };
        let norm = |channels| config.norm(channels, device);
        let changes = middle.stride != 1 || inputs != outputs;
        let downsample = changes.then(|| (point(middle.stride, inputs, outputs), norm(outputs)));
        match config.block {
            BlockKind::Basic => Self {
                conv1: ConvolutionConfig { inputs, ..middle }.init(device),
                bn1: norm(width),
                conv2: ConvolutionConfig { outputs, stride: 1, ..middle }.init(device),
                bn2: norm(outputs),
                conv3: None,
                bn3: None,
                downsample,
            },
            BlockKind::Bottleneck => Self {
                conv1: point(1, inputs, width),
                bn1: norm(width),
                conv2: middle.init(device),
                bn2: norm(width),
                conv3: Some(point(1, width, outputs)),
                bn3: Some(norm(outputs)),
                downsample,
            },
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some((conv, norm)) => conv.forward_norm(x.clone(), norm, AfterConv::default()),
            None => x.clone(),
        };
        let between = || AfterConv { residual: None, relu: true };
        let last = AfterConv { residual: Some(shortcut), relu: true };
        let x = self.conv1.forward_norm(x, &self.bn1, between());
        match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let x = self.conv2.forward_norm(x, &self.bn2, between());
                conv3.forward_norm(x, bn3, last)
            }
            _ => self.conv2.forward_norm(x, &self.bn2, last),
        }
    }
}

impl PrepareInference for Block {
    fn prepare_inference(&mut self) {
        self.conv1.prepare_inference();
        self.conv2.prepare_inference();
        self.conv3.prepare_inference();
        self.downsample.iter_mut().for_each(|(conv, _)| conv.prepare_inference());
    }
}
