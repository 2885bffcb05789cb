//! Semantic FPN (Kirillov et al. 2019, arXiv:1901.02446): a class for every pixel.

use burn::module::Module;
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor, activation};
use groundling_nn::layers::{Convolution, ConvolutionConfig, PrepareInference};
use groundling_nn::norms::BatchNorm2d;
use groundling_nn::resize::{Meet, bilinear};
use serde::{Deserialize, Serialize};

use super::fpn::glorot;
use super::{ExtraLevels, FeaturePyramid, FeaturePyramidConfig};

/// The label of a pixel that no loss reads.
pub const IGNORED: i64 = 255;

/// Sizes of a [`SemanticFpn`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SemanticFpnConfig {
    /// Channels of the four maps that come in, strides 4, 8, 16 and 32.
    pub inputs: [usize; 4],
    /// Channels of the pyramid.
    pub width: usize,
    /// Channels of the towers and of what the classes are read from.
    pub tower: usize,
    /// Classes, `K`, at most 255.
    pub classes: usize,
}

impl SemanticFpnConfig {
    /// As published: width 256, towers of 128.
    pub fn new(inputs: [usize; 4], classes: usize) -> Self {
        Self { inputs, width: 256, tower: 128, classes }
    }

    /// The module with random weights.
    pub fn init(&self, device: &Device) -> SemanticFpn {
        let Self { width, tower, .. } = *self;
        let pyramid = FeaturePyramidConfig { inputs: self.inputs.to_vec(), width, extra: ExtraLevels::None };
        // A convolution for each doubling, and one where there is none.
        let steps = |level: usize| {
            (0..level.max(1)).map(|step| Step::new(if step == 0 { width } else { tower }, tower, device))
        };
        SemanticFpn {
            pyramid: pyramid.init(device),
            towers: (0..self.inputs.len()).map(|level| steps(level).collect()).collect(),
            classes: glorot(tower, self.classes, 1, 1, device),
        }
    }
}

/// Maps to the logits of classes at a quarter of the picture's size.
#[derive(Module, Debug)]
pub struct SemanticFpn {
    /// Maps of one width.
    pub pyramid: FeaturePyramid,
    /// One for each level, finest first; each step of the coarser ones doubles the size.
    pub towers: Vec<Vec<Step>>,
    /// 1 x 1.
    pub classes: Convolution,
}

/// A 3 x 3 convolution, batch norm and ReLU.
#[derive(Module, Debug)]
pub struct Step {
    /// Without bias.
    pub conv: Convolution,
    /// Of its output.
    pub norm: BatchNorm2d,
}

impl Step {
    /// Weights as He et al. 2015 draw them.
    fn new(inputs: usize, outputs: usize, device: &Device) -> Self {
        let mut conv = ConvolutionConfig::same(inputs, outputs, 3).init(device);
        let fan = Some(inputs * 9);
        let normal = Initializer::KaimingNormal { gain: 2f64.sqrt(), fan_out_only: false };
        conv.weight = normal.init_with([outputs, inputs, 3, 3], fan, fan, device);
        Self { conv, norm: BatchNorm2d::new(outputs, device) }
    }
}

impl SemanticFpn {
    /// Logits of the classes.
    ///
    /// # Shapes
    /// - `maps` `[B, C_i, H_i, W_i]`, finest first
    /// - returns `[B, K, H_0, W_0]`; [`groundling_nn::resize::bilinear`] over edges brings it to the picture's size
    ///
    /// # Panics
    /// If the number of maps or their channels are others.
    pub fn forward(&self, maps: Vec<Tensor<4>>) -> Tensor<4> {
        let levels = self.pyramid.forward(maps);
        let Some(finest) = levels.first().map(|level| [level.dims()[2], level.dims()[3]]) else {
            unreachable!("a pyramid has the levels of its configuration")
        };
        let read = levels.into_iter().zip(&self.towers).enumerate().map(|(level, (mut x, tower))| {
            for Step { conv, norm } in tower {
                x = norm.after(conv, x);
                if level > 0 {
                    let [_, _, height, width] = x.dims();
                    x = bilinear(x, [2 * height, 2 * width], Meet::Edges);
                }
            }
            // Odd maps were rounded up when they were halved.
            bilinear(x, finest, Meet::Edges)
        });
        let sum = read.reduce(|sum, level| sum + level).expect("there is a finest level");
        self.classes.forward(sum)
    }

    /// The most likely class of every pixel of a picture of so many rows and columns.
    ///
    /// # Shapes
    /// - `maps` as [`SemanticFpn::forward`]
    /// - returns `[B, height, width]`
    ///
    /// # Panics
    /// As [`SemanticFpn::forward`].
    pub fn segment(&self, maps: Vec<Tensor<4>>, size: [usize; 2]) -> Tensor<3, Int> {
        bilinear(self.forward(maps), size, Meet::Edges).argmax(1).squeeze_dim(1)
    }

    /// The mean cross-entropy of the pixels, of logits brought to the size of the labels; 0 where all are [`IGNORED`].
    ///
    /// # Shapes
    /// - `logits` `[B, K, h, w]`
    /// - `labels` `[B, H, W]`, classes from 0, or [`IGNORED`]
    /// - returns `[1]`
    pub fn loss(logits: Tensor<4>, labels: Tensor<3, Int>) -> Tensor<1> {
        let [_, height, width] = labels.dims();
        let log = activation::log_softmax(bilinear(logits, [height, width], Meet::Edges), 1);
        let read = labels.clone().not_equal_elem(IGNORED);
        let classes = labels.mask_fill(read.clone().bool_not(), 0).unsqueeze_dim::<4>(1);
        let read = read.float();
        let right: Tensor<3> = log.gather(1, classes).squeeze_dim(1);
        (right * read.clone()).sum().neg() / read.sum().clamp_min(1.0)
    }
}

impl PrepareInference for SemanticFpn {
    fn prepare_inference(&mut self) {
        self.pyramid.prepare_inference();
        self.towers.iter_mut().flatten().for_each(|step| step.conv.prepare_inference());
        self.classes.prepare_inference();
    }
}
