//! Residual blocks, and the stages they make.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_kernels::Activation;
use groundling_nn::layers::{Convolution, PrepareInference, StochasticDepth, TokenNorm};
use groundling_nn::mlp::{FeedForward, FeedForwardConfig};
use groundling_nn::swin::TokenMap;

use super::{
    EPSILON, GlobalConfig, LocalAttention, OutputNorm, PatchEmbedding, ScalableAttention, ScalableVitConfig,
    WindowConfig, WindowedAttention, dense, depthwise,
};

/// Attention of a block.
// There are a few of them, and burn's modules cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Attention {
    /// Within windows.
    Windowed(WindowedAttention),
    /// Over the whole grid.
    Global(ScalableAttention),
}

/// Sizes of a [`ScalableBlock`].
#[derive(Debug, Clone, Copy)]
pub enum BlockConfig {
    /// Within windows.
    Windowed(WindowConfig),
    /// Over the whole grid.
    Global(GlobalConfig),
}

impl BlockConfig {
    /// The module with random weights; `hidden` is the width of its feed-forward part, `drop_path` the share of samples that training drops.
    ///
    /// # Panics
    /// If the heads do not divide the widths.
    pub fn init(&self, hidden: usize, drop_path: f64, device: &Device) -> ScalableBlock {
        let (dim, attn) = match self {
            Self::Windowed(config) => {
                let attention = || Attention::Windowed(config.init(device));
                (config.dim, (config.kind != LocalAttention::None).then(attention))
            }
            Self::Global(config) => (config.dim, Some(Attention::Global(config.init(device)))),
        };
        let mut mlp = FeedForwardConfig { width: dim, hidden, activation: Activation::Gelu, dropout: 0.0 }.init(device);
        (mlp.fc1, mlp.fc2) = (dense(dim, hidden, device), dense(hidden, dim, device));
        ScalableBlock {
            norm1: attn.is_some().then(|| TokenNorm::new(dim, EPSILON, device)),
            attn,
            norm2: TokenNorm::new(dim, EPSILON, device),
            mlp,
            drop_path: StochasticDepth::new(drop_path),
        }
    }
}

/// Attention and a feed-forward part, both pre-norm.
#[derive(Module, Debug)]
pub struct ScalableBlock {
    /// Before the attention.
    pub norm1: Option<TokenNorm>,
    /// `None` if windowed blocks do nothing but their feed-forward part.
    pub attn: Option<Attention>,
    /// Before the feed-forward part.
    pub norm2: TokenNorm,
    /// The feed-forward part.
    pub mlp: FeedForward,
    drop_path: StochasticDepth,
}

impl ScalableBlock {
    /// The map after the block, of the same size.
    pub fn forward(&self, map: TokenMap) -> TokenMap {
        let TokenMap { tokens, height, width } = map;
        let attended = self.attn.as_ref().zip(self.norm1.as_ref()).map(|(attention, norm)| {
            let normed = TokenMap { tokens: norm.forward(tokens.clone()), height, width };
            let attended = match attention {
                Attention::Windowed(windowed) => windowed.forward(&normed),
                Attention::Global(global) => global.forward(&normed),
            };
            self.drop_path.forward(attended)
        });
        let (x, normed) = match attended {
            Some(attended) => self.norm2.forward_after_sum(attended, tokens),
            None => (tokens.clone(), self.norm2.forward(tokens)),
        };
        let hidden = self.drop_path.forward(self.mlp.forward(normed));
        TokenMap { tokens: x + hidden, height, width }
    }
}

impl PrepareInference for ScalableBlock {
    fn prepare_inference(&mut self) {
        match &mut self.attn {
            Some(Attention::Windowed(windowed)) => windowed.prepare_inference(),
            Some(Attention::Global(global)) => global.prepare_inference(),
            None => {}
        }
        self.mlp.prepare_inference();
    }
}

/// Blocks of one resolution.
#[derive(Module, Debug)]
pub struct Stage {
    /// From the map of the stage before.
    pub patch_embed: PatchEmbedding,
    /// Its blocks.
    pub blocks: Vec<ScalableBlock>,
    /// Positional encoding generator: added after the first block.
    pub peg: Option<PositionalEncoding>,
    /// Of the map that is given out.
    pub norm: Option<TokenNorm>,
    trunk: bool,
}

impl Stage {
    /// The stage of this index, from 0.
    pub(super) fn new(config: &ScalableVitConfig, index: usize, device: &Device) -> Self {
        let (dim, heads, qkv_bias) = (config.dims[index], config.heads[index], config.qkv_bias);
        let inputs = if index == 0 { config.in_channels } else { config.dims[index - 1] };
        let before: usize = config.depths[..index].iter().sum();
        let rates = config.drop_path_rates();
        let hidden = (dim as f64 * config.mlp_ratios[index]) as usize;
        let block = |position: usize| {
            let block = if config.order.is_windowed(position) {
                BlockConfig::Windowed(WindowConfig { dim, heads, window: config.window, qkv_bias, kind: config.local })
            } else {
                BlockConfig::Global(GlobalConfig {
                    dim,
                    heads,
                    reduction: config.reductions[index],
                    channel_factor: config.channel_factors[index],
                    value: config.value,
                    qkv_bias,
                    kind: config.global,
                })
            };
            block.init(hidden, rates[before + position], device)
        };
        Self {
            patch_embed: PatchEmbedding::new(inputs, dim, config.strides[index], config.patch_epsilon, device),
            blocks: (0..config.depths[index]).map(block).collect(),
            peg: config.peg.then(|| PositionalEncoding::new(dim, device)),
            norm: (config.output_norm != OutputNorm::None).then(|| TokenNorm::new(dim, EPSILON, device)),
            trunk: config.output_norm == OutputNorm::Trunk,
        }
    }

    /// The map that is given out, and the one that the next stage reads, both `[B, C, H, W]`.
    pub fn forward(&self, image: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let map = self.forward_blocks(self.patch_embed.forward(image));
        let normed = self.normed(map.clone()).into_image();
        let passed = if self.trunk { normed.clone() } else { map.into_image() };
        (normed, passed)
    }

    /// The map after all blocks, before its norm; of the size that [`Stage::patch_embed`] gave it.
    pub fn forward_blocks(&self, map: TokenMap) -> TokenMap {
        self.blocks.iter().enumerate().fold(map, |map, (index, block)| {
            let map = block.forward(map);
            match &self.peg {
                Some(peg) if index == 0 => peg.forward(map),
                _ => map,
            }
        })
    }

    /// A map as it is given out: through the stage's norm, if there is one.
    pub fn normed(&self, map: TokenMap) -> TokenMap {
        match &self.norm {
            Some(norm) => TokenMap { tokens: norm.forward(map.tokens), ..map },
            None => map,
        }
    }

    /// A map as the next stage reads it: through the norm if that lies in the trunk.
    pub fn passed(&self, map: TokenMap) -> TokenMap {
        if self.trunk { self.normed(map) } else { map }
    }
}

/// Positional encoding generator: a depthwise convolution of a map, added to it (Chu et al. 2021, arXiv:2102.10882).
#[derive(Module, Debug)]
pub struct PositionalEncoding {
    /// Of 3 x 3 tokens.
    pub conv: Convolution,
}

impl PositionalEncoding {
    /// For so many channels.
    pub fn new(channels: usize, device: &Device) -> Self {
        Self { conv: depthwise(channels, device) }
    }

    /// The map with its positions, of the same size.
    pub fn forward(&self, map: TokenMap) -> TokenMap {
        let image = map.into_image();
        TokenMap::from_image(self.conv.forward(image.clone()) + image)
    }
}

impl PrepareInference for PositionalEncoding {
    fn prepare_inference(&mut self) {
        self.conv.prepare_inference();
    }
}

impl PrepareInference for Stage {
    fn prepare_inference(&mut self) {
        self.patch_embed.prepare_inference();
        self.blocks.prepare_inference();
        self.peg.prepare_inference();
    }
}
