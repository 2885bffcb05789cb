//! Six stages in which one query asks the phrase, then the picture.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use groundling_kernels::Activation;
use groundling_nn::attention::{AttentionBias, MultiHeadAttention, MultiHeadAttentionConfig};
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};

use super::Words;
use super::verify::Verification;
use crate::bases::{Attention, Cells, Look, Seen, normal, xavier};

/// Verification of the picture, and the stages.
#[derive(Module, Debug)]
pub struct Decoder {
    verify: Verification,
    layers: Vec<Stage>,
    norm: TokenNorm,
    vis_query_embed: Param<Tensor<2>>,
    text_query_embed: Param<Tensor<2>>,
}

/// Sizes of a [`Decoder`].
#[derive(Debug, Clone, Copy)]
pub struct DecoderConfig {
    /// Width `D` of a token.
    pub dim: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward parts.
    pub mlp_hidden: usize,
    /// Stages.
    pub stages: usize,
    /// Share of attention weights that training sets to 0.
    pub dropout: f64,
}

impl Decoder {
    /// The module with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn new(config: &DecoderConfig, device: &Device) -> Self {
        let DecoderConfig { dim, heads, dropout, .. } = *config;
        xavier(Self {
            verify: Verification::new(dim, heads, dropout, device),
            layers: (0..config.stages).map(|_| Stage::new(config, device)).collect(),
            norm: TokenNorm::new(dim, 1e-5, device),
            vis_query_embed: normal([1, dim], device),
            text_query_embed: normal([1, dim], device),
        })
    }

    /// What the query reads out after each stage, `[stages, B, D]`.
    ///
    /// # Panics
    /// If sizes disagree.
    pub fn forward<O: Look>(&self, seen: &Seen, cells: &Cells, words: &Words, look: &mut O) -> Tensor<3> {
        let [b, _, d] = seen.tokens.dims();
        let fused = self.verify.forward(seen.tokens.clone(), cells, words, look);
        let keys = fused + seen.position.clone();
        let bias = seen.padding.clone().map_or(AttentionBias::none(), AttentionBias::padding);
        let query = |embed: &Param<Tensor<2>>| embed.val().reshape([1, 1, d]);
        let (visual, textual) = (query(&self.vis_query_embed), query(&self.text_query_embed));
        let mut state = Tensor::zeros([b, 1, d], &keys.device());
        let mut stages = Vec::with_capacity(self.layers.len());
        for (index, stage) in self.layers.iter().enumerate() {
            let asks = state.clone() + visual.clone();
            look.see("word_attn.probs.{}", index, || {
                let tokens = words.tokens.clone();
                stage
                    .word_attn
                    .forward_with_map(asks.clone(), tokens.clone(), tokens, words.bias())
                    .weights
                    .squeeze_dim::<3>(2)
            });
            let text = stage.word_attn.forward(asks, words.tokens.clone(), words.tokens.clone(), words.bias());
            let asks = stage.norm[0].forward(text) + textual.clone();
            look.attention(index, || {
                let scores = stage.img_attn.scores(asks.clone(), keys.clone()).squeeze_dim(2);
                Attention { scores, padding: seen.padding.clone() }
            });
            // Keys are what was verified, values what was seen.
            let read = stage.img_attn.forward(asks, keys.clone(), seen.tokens.clone(), bias.clone());
            state = stage.norm[1].forward_sum(read, state);
            let hidden = stage.linear1.forward_then(state.clone(), Activation::Relu);
            state = stage.norm[2].forward_sum(stage.linear2.forward(hidden), state);
            look.see("stage.{}", index, || state.clone());
            stages.push(self.norm.forward(state.clone()).reshape([b, d]));
        }
        Tensor::stack(stages, 0)
    }
}

/// One question to the phrase and one to the picture.
#[derive(Module, Debug)]
struct Stage {
    word_attn: MultiHeadAttention,
    img_attn: MultiHeadAttention,
    linear1: Dense,
    linear2: Dense,
    /// Of what was read of the phrase, of the picture, and of the feed-forward part.
    norm: Vec<TokenNorm>,
}

impl Stage {
    fn new(config: &DecoderConfig, device: &Device) -> Self {
        let DecoderConfig { dim, heads, mlp_hidden, dropout, .. } = *config;
        let attention = || MultiHeadAttentionConfig { width: dim, heads, dropout }.init(device);
        Self {
            word_attn: attention(),
            img_attn: attention(),
            linear1: Dense::new(dim, mlp_hidden, device),
            linear2: Dense::new(mlp_hidden, dim, device),
            norm: (0..3).map(|_| TokenNorm::new(dim, 1e-5, device)).collect(),
        }
    }
}

impl PrepareInference for Decoder {
    fn prepare_inference(&mut self) {
        self.verify.prepare_inference();
        for stage in &mut self.layers {
            stage.word_attn.prepare_inference();
            stage.img_attn.prepare_inference();
            stage.linear1.prepare_inference();
            stage.linear2.prepare_inference();
        }
    }
}
