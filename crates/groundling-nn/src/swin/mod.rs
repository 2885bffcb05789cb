//! Swin transformer (Liu et al. 2021, arXiv:2103.14030) as detectors and segmenters use it: an image of any size in, a normalised map
//! of each of four stages out.
//!
//! What differs from the classifier: maps are padded to whole windows after the norm, and odd blocks shift even where the map is
//! one window.

mod bias;
mod block;
mod keys;
mod window;

pub use bias::{BIAS_TABLE_RESIZE, resize_bias_table};
pub use block::{SwinBlock, SwinBlockConfig};
pub use keys::{CLASSIFIER_KEYS, KEYS, TIMM_KEYS};
pub use window::{WindowAttention, relative_position_index, shift_regions_differ};

use burn::config::Config;
use burn::module::Module;
use burn::tensor::{Device, Tensor};

use crate::layers::{Convolution, ConvolutionConfig, Dense, PrepareInference, TokenNorm};
use crate::windows::pad_end;

/// Sizes of a Swin.
#[derive(Config, Debug, PartialEq)]
pub struct SwinConfig {
    /// Channels of the image.
    #[config(default = 3)]
    pub in_channels: usize,
    /// Side of a patch in pixels.
    #[config(default = 4)]
    pub patch: usize,
    /// Channels of the first stage; each stage doubles them.
    pub embed_dim: usize,
    /// Blocks in each stage.
    pub depths: [usize; 4],
    /// Attention heads in each stage.
    pub heads: [usize; 4],
    /// Side of a window in patches.
    pub window: usize,
    /// Width of the feed-forward part over that of the stage.
    #[config(default = 4.0)]
    pub mlp_ratio: f64,
    /// Whether the projection to queries, keys and values has a bias.
    #[config(default = true)]
    pub qkv_bias: bool,
    /// Whether patches are normalised.
    #[config(default = true)]
    pub patch_norm: bool,
    /// Share of the samples that training drops in the last block; rises from 0 in the first.
    #[config(default = 0.0)]
    pub drop_path: f64,
    /// Added to variances.
    #[config(default = 1e-5)]
    pub epsilon: f64,
}

impl SwinConfig {
    /// Swin-T, window 7 (Sec. 3.3): 27,520,602 parameters with the norms of the four maps.
    pub fn tiny_224() -> Self {
        Self::new(96, [2, 2, 6, 2], [3, 6, 12, 24], 7)
    }

    /// Swin-S, window 7.
    pub fn small_224() -> Self {
        Self::new(96, [2, 2, 18, 2], [3, 6, 12, 24], 7)
    }

    /// Swin-B with a window of 7 (trained at 224 pixels) or 12 (at 384).
    pub fn base(window: usize) -> Self {
        Self::new(128, [2, 2, 18, 2], [4, 8, 16, 32], window)
    }

    /// Two narrow blocks a stage, for tests.
    pub fn tiny() -> Self {
        Self::new(8, [2, 2, 2, 2], [1, 2, 2, 4], 3)
    }

    /// Channels of the four maps.
    pub fn channels(&self) -> [usize; 4] {
        [1, 2, 4, 8].map(|factor| factor * self.embed_dim)
    }

    /// The module with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the channels of their stage, or a size is 0.
    pub fn init(&self, device: &Device) -> Swin {
        let norm = |stage: usize| TokenNorm::new(self.channels()[stage], self.epsilon, device);
        let patches = ConvolutionConfig {
            stride: self.patch,
            padding: 0,
            bias: true,
            ..ConvolutionConfig::same(self.in_channels, self.embed_dim, self.patch)
        };
        Swin {
            patch_embed: PatchEmbed { proj: patches.init(device), norm: self.patch_norm.then(|| norm(0)) },
            layers: (0..4).map(|stage| self.stage(stage, device)).collect(),
            norm0: norm(0),
            norm1: norm(1),
            norm2: norm(2),
            norm3: norm(3),
        }
    }

    fn stage(&self, index: usize, device: &Device) -> SwinStage {
        let dim = self.channels()[index];
        let before: usize = self.depths[..index].iter().sum();
        let steps = self.depths.iter().sum::<usize>().saturating_sub(1).max(1) as f64;
        let block = |position: usize| {
            let config = SwinBlockConfig {
                dim,
                heads: self.heads[index],
                window: self.window,
                shift: if position.is_multiple_of(2) { 0 } else { self.window / 2 },
                mlp_ratio: self.mlp_ratio,
                qkv_bias: self.qkv_bias,
                drop_path: self.drop_path * (before + position) as f64 / steps,
                epsilon: self.epsilon,
            };
            config.init(device)
        };
        SwinStage {
            blocks: (0..self.depths[index]).map(block).collect(),
            downsample: (index < 3).then(|| PatchMerging::new(dim, self.epsilon, device)),
        }
    }
}

/// Tokens of a map, row by row.
#[derive(Debug, Clone)]
pub struct TokenMap {
    /// `[B, H W, C]`.
    pub tokens: Tensor<3>,
    /// Rows `H`.
    pub height: usize,
    /// Columns `W`.
    pub width: usize,
}

impl TokenMap {
    /// As `[B, C, H, W]`.
    pub fn into_image(self) -> Tensor<4> {
        let [b, _, c] = self.tokens.dims();
        self.tokens.swap_dims(1, 2).reshape([b, c, self.height, self.width])
    }

    /// From `[B, C, H, W]`.
    pub fn from_image(image: Tensor<4>) -> Self {
        let [b, c, height, width] = image.dims();
        Self { tokens: image.reshape([b, c, height * width]).swap_dims(1, 2), height, width }
    }
}

/// An image backbone.
#[derive(Module, Debug)]
pub struct Swin {
    /// Image to tokens.
    pub patch_embed: PatchEmbed,
    /// The four stages.
    pub layers: Vec<SwinStage>,
    norm0: TokenNorm,
    norm1: TokenNorm,
    norm2: TokenNorm,
    norm3: TokenNorm,
}

impl Swin {
    /// The normalised maps of the four stages, `[B, C 2^i, H / (4 * 2^i), W / (4 * 2^i)]`, sizes rounded up.
    ///
    /// # Shapes
    /// - `image` `[B, 3, H, W]`, normalised; any size
    ///
    /// # Panics
    /// If the image has other channels than the configuration.
    pub fn forward(&self, image: Tensor<4>) -> [Tensor<4>; 4] {
        self.forward_to(3, image).try_into().expect("four stages give four maps")
    }

    /// As [`Swin::forward`], of the stages up to this one, 0 to 3; those behind it are not computed.
    ///
    /// # Panics
    /// If there is no such stage, or the image has other channels than the configuration.
    pub fn forward_to(&self, last: usize, image: Tensor<4>) -> Vec<Tensor<4>> {
        let mut map = self.patch_embed.forward(image);
        let stage = |index: usize| {
            let stage = &self.layers[index];
            let after = stage.forward_blocks(map.clone());
            if let Some(downsample) = stage.downsample.as_ref().filter(|_| index < last) {
                map = downsample.forward(after.clone());
            }
            self.normed(index, after).into_image()
        };
        (0..=last).map(stage).collect()
    }

    /// The map of stage 0..=3 after its own norm.
    ///
    /// # Panics
    /// If there is no such stage.
    pub fn normed(&self, stage: usize, map: TokenMap) -> TokenMap {
        let norms = [&self.norm0, &self.norm1, &self.norm2, &self.norm3];
        TokenMap { tokens: norms[stage].forward(map.tokens), ..map }
    }
}

/// Patches of an image as tokens.
#[derive(Module, Debug)]
pub struct PatchEmbed {
    proj: Convolution,
    norm: Option<TokenNorm>,
}

impl PatchEmbed {
    /// # Shapes
    /// - `image` `[B, C, H, W]`; zeros are added right and below up to whole patches
    ///
    /// # Panics
    /// If the image has other channels than the configuration.
    pub fn forward(&self, image: Tensor<4>) -> TokenMap {
        let [_, _, h, w] = image.dims();
        let [_, _, patch, _] = self.proj.weight.dims();
        let image = pad_end(image, 2, h.next_multiple_of(patch) - h);
        let image = pad_end(image, 3, w.next_multiple_of(patch) - w);
        let map = TokenMap::from_image(self.proj.forward(image));
        match &self.norm {
            Some(norm) => TokenMap { tokens: norm.forward(map.tokens), ..map },
            None => map,
        }
    }
}

/// Blocks of one resolution, and the step to the next.
#[derive(Module, Debug)]
pub struct SwinStage {
    /// Every second one shifted.
    pub blocks: Vec<SwinBlock>,
    /// To half the resolution; `None` in the last stage.
    pub downsample: Option<PatchMerging>,
}

impl SwinStage {
    /// The map after all blocks, of the same size.
    pub fn forward_blocks(&self, map: TokenMap) -> TokenMap {
        // The mask belongs to the size of the map: blocks share it.
        let mask = self.blocks.iter().find_map(|block| block.shift_mask(&map));
        self.blocks.iter().fold(map, |map, block| block.forward(map, mask.as_ref()))
    }
}

/// Four neighbours become one token of twice the width.
#[derive(Module, Debug)]
pub struct PatchMerging {
    norm: TokenNorm,
    reduction: Dense,
}

impl PatchMerging {
    /// For tokens of this width.
    pub fn new(dim: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            norm: TokenNorm::new(4 * dim, epsilon, device),
            reduction: Dense::without_bias(4 * dim, 2 * dim, device),
        }
    }

    /// Half the rows and columns, rounded up; an odd map gets a row or column of zeros.
    pub fn forward(&self, map: TokenMap) -> TokenMap {
        let TokenMap { tokens, height, width } = map;
        let [b, _, c] = tokens.dims();
        let x = tokens.reshape([b, height, width, c]);
        let x = pad_end(pad_end(x, 1, height % 2), 2, width % 2);
        let (height, width) = (height.div_ceil(2), width.div_ceil(2));
        // Row in the pair, column in the pair; the row varies fastest among the four.
        let x = x.reshape([b, height, 2, width, 2 * c]).swap_dims(2, 3).reshape([b, height * width, 2, 2, c]);
        let x = x.swap_dims(2, 3).reshape([b, height * width, 4 * c]);
        TokenMap { tokens: self.reduction.forward(self.norm.forward(x)), height, width }
    }
}

impl PrepareInference for Swin {
    fn prepare_inference(&mut self) {
        self.patch_embed.proj.prepare_inference();
        for stage in &mut self.layers {
            stage.blocks.prepare_inference();
            stage.downsample.iter_mut().for_each(|merging| merging.reduction.prepare_inference());
        }
    }
}
