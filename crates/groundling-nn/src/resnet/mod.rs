//! ResNet (He et al. 2016, arXiv:1512.03385) with frozen batch norms, as torchvision builds it: the stride of a bottleneck is in
//! its 3 x 3 convolution.

mod block;

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor, assert_shape};
use groundling_kernels::{PoolOptions, max_pool2d};

use self::block::Block;
use crate::checkpoint::{Rule, ignore, within};
use crate::frozen_batch_norm::{Affine, FrozenBatchNorm};
use crate::layers::{AfterConv, Convolution, ConvolutionConfig, Dense, PrepareInference};

/// Names of torchvision's ResNets, for one with a classifier.
pub const KEYS: &[Rule] = &[ignore(r"\.num_batches_tracked$", "a counter that inference never reads")];

/// For a backbone without classifier, whether the file has one or not.
pub const BACKBONE_KEYS: &[Rule] = &[within("", KEYS), ignore(r"^fc\.", "the classifier: this model uses the maps")];

/// What a residual block is made of.
#[derive(Config, Debug, PartialEq, Eq, Copy)]
pub enum BlockKind {
    /// Two 3 x 3 convolutions.
    Basic,
    /// 1 x 1, 3 x 3, 1 x 1 to four times the width.
    Bottleneck,
}

impl BlockKind {
    /// Output channels over the width of the 3 x 3 convolution.
    pub fn expansion(self) -> usize {
        match self {
            Self::Basic => 1,
            Self::Bottleneck => 4,
        }
    }
}

/// Sizes of a ResNet.
#[derive(Config, Debug, PartialEq)]
pub struct ResNetConfig {
    /// What its blocks are.
    pub block: BlockKind,
    /// Blocks in each of the four stages.
    pub layers: [usize; 4],
    /// Channels of the stem and width of the first stage; 64 in every published model.
    #[config(default = 64)]
    pub width: usize,
    /// Whether the last stage keeps its resolution and dilates instead ("DC5"). Bottlenecks only.
    #[config(default = false)]
    pub dilate_last: bool,
    /// Classes of the classifier, if there is one.
    pub classes: Option<usize>,
    /// Added to variances.
    #[config(default = 1e-5)]
    pub epsilon: f64,
    /// Whether gains and shifts of the norms are trained.
    #[config(default = false)]
    pub train_norms: bool,
    /// How much of its beginning is never trained: 0 nothing, 1 the stem, 2 the stem and the first stage, and so on.
    #[config(default = 0)]
    pub frozen: usize,
}

impl ResNetConfig {
    /// ResNet-18: 11,176,512 parameters, 11,689,512 with 1000 classes.
    pub fn r18() -> Self {
        Self::new(BlockKind::Basic, [2, 2, 2, 2])
    }

    /// ResNet-50: 23,508,032 parameters, 25,557,032 with 1000 classes.
    pub fn r50() -> Self {
        Self::new(BlockKind::Bottleneck, [3, 4, 6, 3])
    }

    /// ResNet-101: 42,500,160 parameters, 44,549,160 with 1000 classes.
    pub fn r101() -> Self {
        Self::new(BlockKind::Bottleneck, [3, 4, 23, 3])
    }

    /// Eight channels and one block a stage, for tests.
    pub fn tiny() -> Self {
        Self::new(BlockKind::Bottleneck, [1, 1, 1, 1]).with_width(8)
    }

    /// The table that loads torchvision's weights into this configuration.
    pub fn keys(&self) -> &'static [Rule] {
        if self.classes.is_some() { KEYS } else { BACKBONE_KEYS }
    }

    /// Channels of C2..C5.
    pub fn channels(&self) -> [usize; 4] {
        [1, 2, 4, 8].map(|factor| factor * self.width * self.block.expansion())
    }

    /// The module with random weights.
    ///
    /// # Panics
    /// If basic blocks are to be dilated: no such model exists.
    pub fn init(&self, device: &Device) -> ResNet {
        assert!(!self.dilate_last || self.block == BlockKind::Bottleneck, "only bottlenecks are dilated");
        let stem = ConvolutionConfig::same(3, self.width, 7).with_stride(2).init(device);
        let norm = self.norm(self.width, device);
        let frozen = self.frozen > 0;
        ResNet {
            conv1: if frozen { stem.no_grad() } else { stem },
            bn1: if frozen { norm.no_grad() } else { norm },
            layer1: self.stage(0, device),
            layer2: self.stage(1, device),
            layer3: self.stage(2, device),
            layer4: self.stage(3, device),
            fc: self.classes.map(|classes| Dense::new(self.channels()[3], classes, device)),
        }
    }

    fn norm(&self, channels: usize, device: &Device) -> FrozenBatchNorm {
        let affine = if self.train_norms { Affine::Trained } else { Affine::Fixed };
        FrozenBatchNorm::new(channels, self.epsilon, affine, device)
    }

    fn stage(&self, index: usize, device: &Device) -> Vec<Block> {
        let dilated = index == 3 && self.dilate_last;
        let stride = if index == 0 || dilated { 1 } else { 2 };
        let width = self.width << index;
        let outputs = self.channels()[index];
        let inputs = if index == 0 { self.width } else { self.channels()[index - 1] };
        let block = |position: usize| {
            // The first block keeps the dilation of the stage before it.
            let (inputs, stride, dilation) =
                if position == 0 { (inputs, stride, 1) } else { (outputs, 1, if dilated { 2 } else { 1 }) };
            let middle = ConvolutionConfig::same(width, width, 3).with_stride(stride).with_dilation(dilation);
            Block::new(self, [inputs, width, outputs], middle, device)
        };
        let blocks: Vec<Block> = (0..self.layers[index]).map(block).collect();
        if self.frozen > index + 1 { blocks.no_grad() } else { blocks }
    }
}

/// An image backbone, with a classifier if so configured.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Convolution,
    bn1: FrozenBatchNorm,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
    fc: Option<Dense>,
}

/// Maps of the four stages, after their last ReLU; sizes are those of the image over the stride, rounded up.
#[derive(Debug, Clone)]
pub struct ResNetMaps {
    /// `[B, C, H / 4, W / 4]`.
    pub c2: Tensor<4>,
    /// `[B, 2 C, H / 8, W / 8]`.
    pub c3: Tensor<4>,
    /// `[B, 4 C, H / 16, W / 16]`.
    pub c4: Tensor<4>,
    /// `[B, 8 C, H / 32, W / 32]`, or of C4's size if the last stage is dilated.
    pub c5: Tensor<4>,
}

impl ResNet {
    /// # Shapes
    /// - `image` `[B, 3, H, W]`, normalised
    ///
    /// # Panics
    /// If the image has not three channels.
    pub fn forward(&self, image: Tensor<4>) -> ResNetMaps {
        let [b, _, h, w] = image.dims();
        assert_shape!(image, [b, 3, h, w]);
        let run = |x: Tensor<4>, stage: &[Block]| stage.iter().fold(x, |x, block| block.forward(x));
        let c2 = run(self.stem(image), &self.layer1);
        let c3 = run(c2.clone(), &self.layer2);
        let c4 = run(c3.clone(), &self.layer3);
        let c5 = run(c4.clone(), &self.layer4);
        ResNetMaps { c2, c3, c4, c5 }
    }

    /// One stage alone, for systems that change maps between them: 0 is the stem and the first stage and takes the image, 1 to 3 take
    /// the map of the stage before.
    ///
    /// # Panics
    /// If there is no such stage or the channels disagree.
    pub fn stage(&self, stage: usize, x: Tensor<4>) -> Tensor<4> {
        let stages = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let x = if stage == 0 { self.stem(x) } else { x };
        stages[stage].iter().fold(x, |x, block| block.forward(x))
    }

    /// With the first convolution fixed, as in detectors that start from a classifier; the norms' own setting stays.
    pub fn with_frozen_stem(mut self) -> Self {
        self.conv1.weight = self.conv1.weight.set_require_grad(false);
        self
    }

    /// Scores of the classes `[B, classes]` from C5, if there is a classifier.
    pub fn classify(&self, maps: &ResNetMaps) -> Option<Tensor<2>> {
        let [b, c, h, w] = maps.c5.dims();
        let mean = maps.c5.clone().reshape([b, c, h * w]).mean_dim(2).reshape([b, c]);
        Some(self.fc.as_ref()?.forward(mean))
    }

    /// A quarter of the resolution: convolution and maximum, stride 2 each.
    fn stem(&self, image: Tensor<4>) -> Tensor<4> {
        let x = self.conv1.forward_norm(image, &self.bn1, AfterConv { residual: None, relu: true });
        let options = PoolOptions { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
        max_pool2d(x, options)
    }
}

impl PrepareInference for ResNet {
    fn prepare_inference(&mut self) {
        self.conv1.prepare_inference();
        for stage in [&mut self.layer1, &mut self.layer2, &mut self.layer3, &mut self.layer4] {
            stage.prepare_inference();
        }
        self.fc.prepare_inference();
    }
}
