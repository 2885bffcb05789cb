//! Feature pyramid network.

use burn::module::Module;
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor, TensorData};
use groundling_nn::layers::{Convolution, ConvolutionConfig, PrepareInference};

/// Sizes of a [`FeaturePyramid`].
#[derive(Debug, Clone, PartialEq)]
pub struct FeaturePyramidConfig {
    /// Channels of the maps that come in, finest first.
    pub inputs: Vec<usize>,
    /// Channels of all maps that go out.
    pub width: usize,
    /// Levels beyond the coarsest map.
    pub extra: ExtraLevels,
}

/// Levels beyond the coarsest map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtraLevels {
    /// None.
    None,
    /// Convolutions of stride 2, the first of the backbone's coarsest map.
    OnInput(usize),
}

/// Maps of one width: each is a 1 x 1 convolution of its own plus the coarser one enlarged, then a 3 x 3 convolution.
#[derive(Module, Debug)]
pub struct FeaturePyramid {
    /// 1 x 1, one for each map, finest first.
    pub lateral: Vec<Convolution>,
    /// 3 x 3, one for each map.
    pub output: Vec<Convolution>,
    /// 3 x 3 of stride 2, for further levels.
    pub extra: Vec<Convolution>,
}

impl FeaturePyramidConfig {
    /// The module with random weights (Glorot and Bengio 2010), biases 0.
    pub fn init(&self, device: &Device) -> FeaturePyramid {
        let Self { width, .. } = *self;
        let coarsest = self.inputs.last().copied().unwrap_or(width);
        let extra = match self.extra {
            ExtraLevels::None => 0,
            ExtraLevels::OnInput(levels) => levels,
        };
        let step = |index: usize| glorot(if index == 0 { coarsest } else { width }, width, 3, 2, device);
        FeaturePyramid {
            lateral: self.inputs.iter().map(|&inputs| glorot(inputs, width, 1, 1, device)).collect(),
            output: self.inputs.iter().map(|_| glorot(width, width, 3, 1, device)).collect(),
            extra: (0..extra).map(step).collect(),
        }
    }
}

pub(super) fn glorot(inputs: usize, outputs: usize, kernel: usize, stride: usize, device: &Device) -> Convolution {
    let config =
        ConvolutionConfig { bias: true, ..ConvolutionConfig::same(inputs, outputs, kernel).with_stride(stride) };
    let mut layer = config.init(device);
    let shape = layer.weight.dims();
    let fan = |channels: usize| Some(channels * kernel * kernel);
    layer.weight = Initializer::XavierUniform { gain: 1.0 }.init_with(shape, fan(inputs), fan(outputs), device);
    layer
}

impl FeaturePyramid {
    /// Maps of one width, finest first, those of the extra levels at the end.
    ///
    /// # Shapes
    /// - `maps` `[B, C_i, H_i, W_i]`, finest first
    /// - returns `[B, width, H_i, W_i]`, then halves rounded up
    ///
    /// # Panics
    /// If the number of maps or their channels are others.
    pub fn forward(&self, maps: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
        assert_eq!(maps.len(), self.lateral.len(), "a map for each level");
        let coarsest = maps.last().cloned();
        let mut merged: Vec<Tensor<4>> =
            maps.into_iter().zip(&self.lateral).map(|(map, layer)| layer.forward(map)).collect();
        for index in (1..merged.len()).rev() {
            let [_, _, height, width] = merged[index - 1].dims();
            let coarse = nearest(merged[index].clone(), [height, width]);
            merged[index - 1] = merged[index - 1].clone() + coarse;
        }
        let mut levels: Vec<Tensor<4>> =
            merged.into_iter().zip(&self.output).map(|(map, layer)| layer.forward(map)).collect();
        let mut next = coarsest;
        for layer in &self.extra {
            let Some(source) = next else { break };
            let level = layer.forward(source);
            levels.push(level.clone());
            next = Some(level);
        }
        levels
    }
}

impl PrepareInference for FeaturePyramid {
    fn prepare_inference(&mut self) {
        self.lateral.prepare_inference();
        self.output.prepare_inference();
        self.extra.prepare_inference();
    }
}

/// Enlarges by repeating the nearest value: row `i` of `h` is row `floor(i H / h)` of `H`.
fn nearest(map: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = map.dims();
    [(2, height, size[0]), (3, width, size[1])].into_iter().filter(|(_, from, to)| from != to).fold(
        map,
        |map, (axis, from, to)| {
            let sources: Vec<i64> = (0..to).map(|index| (index * from / to) as i64).collect();
            let sources = Tensor::<1, Int>::from_data(TensorData::new(sources, [to]), &map.device());
            map.select(axis, sources)
        },
    )
}
