//! From the maps of the backbone to levels and tokens.

use burn::module::Module;
use burn::nn::{GroupNorm, GroupNormConfig, Initializer};
use burn::tensor::{Device, Tensor};
use groundling_nn::layers::{Convolution, ConvolutionConfig, PrepareInference};

use super::config::FocusDetrConfig;

/// Brings all levels to one width, and makes the coarsest.
#[derive(Module, Debug)]
pub struct Neck {
    /// Of stride 8, 16, 32, 64; the last reads the backbone's last map.
    pub levels: Vec<Projection>,
}

/// A convolution and a norm of groups of channels.
#[derive(Module, Debug)]
pub struct Projection {
    /// 1 x 1, or 3 x 3 with stride 2.
    pub conv: Convolution,
    /// Over groups of channels and the whole map, padding too.
    pub norm: GroupNorm,
}

impl Neck {
    pub(super) fn new(config: &FocusDetrConfig, device: &Device) -> Self {
        let [_, c3, c4, c5] = config.backbone.channels();
        let projection = |inputs: usize, kernel: usize, stride: usize| {
            let conv = ConvolutionConfig { bias: true, ..ConvolutionConfig::same(inputs, config.width, kernel) };
            let mut conv = conv.with_stride(stride).init(device);
            let area = kernel * kernel;
            conv.weight = Initializer::XavierUniform { gain: 1.0 }.init_with(
                [config.width, inputs, kernel, kernel],
                Some(inputs * area),
                Some(config.width * area),
                device,
            );
            Projection { conv, norm: GroupNormConfig::new(config.neck_groups, config.width).init(device) }
        };
        Self { levels: vec![projection(c3, 1, 1), projection(c4, 1, 1), projection(c5, 1, 1), projection(c5, 3, 2)] }
    }

    /// Maps `[B, C, H, W]` of stride 8, 16, 32 and 64, from the backbone's of stride 8, 16 and 32.
    ///
    /// # Panics
    /// If channels disagree.
    pub fn forward(&self, maps: [Tensor<4>; 3]) -> Vec<Tensor<4>> {
        let [c3, c4, c5] = maps;
        let inputs = [c3, c4, c5.clone(), c5];
        let through = |(level, map): (&Projection, Tensor<4>)| level.norm.forward(level.conv.forward(map));
        self.levels.iter().zip(inputs).map(through).collect()
    }
}

impl PrepareInference for Neck {
    fn prepare_inference(&mut self) {
        self.levels.iter_mut().for_each(|level| level.conv.prepare_inference());
    }
}

/// Tokens of all levels one after the other, `[B, N, C]`, and rows and columns of each level.
pub fn tokens(maps: Vec<Tensor<4>>) -> (Tensor<3>, Vec<[usize; 2]>) {
    let mut sizes = Vec::with_capacity(maps.len());
    let level = |map: Tensor<4>| {
        let [b, c, height, width] = map.dims();
        sizes.push([height, width]);
        map.reshape([b, c, height * width]).swap_dims(1, 2)
    };
    let levels = maps.into_iter().map(level).collect();
    (Tensor::cat(levels, 1), sizes)
}
