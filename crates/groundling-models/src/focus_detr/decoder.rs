//! The decoder: queries attend to one another and to the maps, and refine their boxes layer by layer.

use burn::module::Module;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Bool, Device, Tensor};
use groundling_nn::attention::{AttentionBias, MultiHeadAttention};
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};
use groundling_nn::mlp::{FeedForward, Mlp};
use groundling_nn::position::SineBox;

use super::config::{DecoderKind, FocusDetrConfig};
use super::deformable::{DeformableAttention, LevelTokens, Samples};
use super::geometry::inverse_sigmoid;
use super::{EPSILON, dense, encoder, self_attention};

/// Layers one after the other.
#[derive(Module, Debug)]
pub struct Decoder {
    /// From the first to the last.
    pub layers: Vec<DecoderLayer>,
    /// Where queries are.
    pub position: QueryPosition,
    /// Of what the heads read; the next layer reads what is before it.
    pub norm: Option<TokenNorm>,
    width: usize,
    #[module(skip)]
    kind: DecoderKind,
}

/// From the encoding of a box to the position of its query.
// There is one, and burn's modules cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum QueryPosition {
    /// Of the boxes that enter each layer.
    Refined(Mlp),
    /// Of the first boxes.
    Fixed(FixedPosition),
}

/// A linear layer and a norm.
#[derive(Module, Debug)]
pub struct FixedPosition {
    /// `2 C` to `C`.
    pub linear: Dense,
    /// Over channels.
    pub norm: TokenNorm,
}

/// Self-attention, deformable attention, a feed-forward part; all post-norm.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Of all queries to all queries.
    pub self_attn: MultiHeadAttention,
    /// Of the self-attention.
    pub norm1: TokenNorm,
    /// To the maps.
    pub deformable: DeformableAttention,
    /// Of the deformable attention.
    pub norm2: TokenNorm,
    /// The feed-forward part.
    pub ffn: FeedForward,
    /// Of the feed-forward part.
    pub norm3: TokenNorm,
}

/// What the decoder starts from.
#[derive(Debug, Clone)]
pub struct DecoderInput<'a> {
    /// `[B, Q, C]`.
    pub content: Tensor<3>,
    /// `[B, Q, 4]`: centre x, centre y, width, height of the image as 1.
    pub boxes: Tensor<3>,
    /// `[Q, Q]`, `true` = the query of the row does not see that of the column.
    pub hidden: Option<Tensor<2, Bool>>,
    /// What is read.
    pub memory: LevelTokens<'a>,
    /// `[B, levels, 2]`: width, then height.
    pub valid_ratios: Tensor<3>,
}

/// What a layer makes.
#[derive(Debug, Clone)]
pub struct DecoderState {
    /// `[B, Q, C]`: what the heads read.
    pub hidden: Tensor<3>,
    /// `[B, Q, 4]`: boxes refined by this layer, on the tape.
    pub boxes: Tensor<3>,
    /// Where the layer read.
    pub samples: Samples,
}

impl Decoder {
    pub(super) fn new(config: &FocusDetrConfig, device: &Device) -> Self {
        let (width, kind) = (config.width, config.decoder);
        let position = match kind {
            DecoderKind::Dino => {
                let mut mlp = Mlp::new(&[2 * width, width, width], device);
                mlp.layers = vec![dense(2 * width, width, device), dense(width, width, device)];
                QueryPosition::Refined(mlp)
            }
            DecoderKind::TwoStage => QueryPosition::Fixed(FixedPosition {
                linear: dense(2 * width, width, device),
                norm: TokenNorm::new(width, EPSILON, device),
            }),
        };
        Self {
            layers: (0..config.decoder_layers).map(|_| DecoderLayer::new(config, device)).collect(),
            position,
            norm: (kind == DecoderKind::Dino).then(|| TokenNorm::new(width, EPSILON, device)),
            width,
            kind,
        }
    }

    /// What every layer makes; `box_heads` is one for each layer.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, input: DecoderInput<'_>, box_heads: &[Mlp]) -> Vec<DecoderState> {
        let DecoderInput { content, boxes, hidden, memory, valid_ratios } = input;
        let bias = match hidden {
            Some(hidden) => AttentionBias::none().with_hidden(hidden.unsqueeze_dim(0)),
            None => AttentionBias::none(),
        };
        let [b, levels, _] = valid_ratios.dims();
        // Box coordinates are of the image, samples of the padded map.
        let scale = Tensor::cat(vec![valid_ratios.clone(), valid_ratios], 2).reshape([b, 1, levels, 4]);
        let fixed = match &self.position {
            QueryPosition::Fixed(position) => {
                let encoded = self.encoding().forward(boxes.clone());
                Some(position.norm.forward(position.linear.forward(encoded)))
            }
            QueryPosition::Refined(_) => None,
        };
        let epsilon = self.kind.logit_epsilon();
        let mut states = Vec::with_capacity(self.layers.len());
        let (mut x, mut boxes) = (content, boxes);
        for (layer, head) in self.layers.iter().zip(box_heads) {
            let references = boxes.clone().unsqueeze_dim::<4>(2) * scale.clone(); // [B, Q, levels, 4]
            let position = match (&self.position, &fixed) {
                (QueryPosition::Refined(mlp), _) => {
                    let first = references.clone().narrow(2, 0, 1).squeeze_dim(2);
                    mlp.forward(self.encoding().forward(first))
                }
                (QueryPosition::Fixed(_), Some(fixed)) => fixed.clone(),
                (QueryPosition::Fixed(_), None) => unreachable!("a fixed position was made before the loop"),
            };
            let (next, samples) = layer.forward(x, position, references, &bias, &memory);
            let refined = sigmoid(head.forward(next.clone()) + inverse_sigmoid(boxes, epsilon));
            let hidden = match &self.norm {
                Some(norm) => norm.forward(next.clone()),
                None => next.clone(),
            };
            x = next;
            boxes = refined.clone().detach();
            states.push(DecoderState { hidden, boxes: refined, samples });
        }
        states
    }

    fn encoding(&self) -> SineBox {
        SineBox { features: self.width / 2, y_first: self.kind == DecoderKind::Dino, ..SineBox::DAB }
    }
}

impl DecoderLayer {
    /// A layer with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn new(config: &FocusDetrConfig, device: &Device) -> Self {
        let norm = || TokenNorm::new(config.width, EPSILON, device);
        Self {
            self_attn: self_attention(config, device),
            norm1: norm(),
            deformable: encoder::deformable(config, device),
            norm2: norm(),
            ffn: encoder::feed_forward(config, device),
            norm3: norm(),
        }
    }

    fn forward(
        &self,
        x: Tensor<3>,
        position: Tensor<3>,
        references: Tensor<4>,
        bias: &AttentionBias,
        memory: &LevelTokens<'_>,
    ) -> (Tensor<3>, Samples) {
        let placed = x.clone() + position.clone();
        let context = self.self_attn.forward(placed.clone(), placed, x.clone(), bias.clone());
        let x = self.norm1.forward_sum(context, x);
        let samples = self.deformable.samples(x.clone() + position, references, memory.sizes);
        let x = self.norm2.forward_sum(self.deformable.read(samples.clone(), memory), x);
        (self.norm3.forward_sum(self.ffn.forward(x.clone()), x), samples)
    }
}

impl PrepareInference for Decoder {
    fn prepare_inference(&mut self) {
        for layer in &mut self.layers {
            layer.self_attn.prepare_inference();
            layer.deformable.prepare_inference();
            layer.ffn.prepare_inference();
        }
        match &mut self.position {
            QueryPosition::Refined(mlp) => mlp.prepare_inference(),
            QueryPosition::Fixed(fixed) => fixed.linear.prepare_inference(),
        }
    }
}
