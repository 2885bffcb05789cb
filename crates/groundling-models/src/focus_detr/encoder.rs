//! The encoder: dual attention on lists that shrink, one list for all layers, or all tokens.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use groundling_kernels::Activation;
use groundling_nn::attention::{AttentionBias, MultiHeadAttention};
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};
use groundling_nn::mlp::{FeedForward, FeedForwardConfig};

use super::config::{EncoderConfig, FocusDetrConfig};
use super::deformable::{DeformableAttention, DeformableConfig, LevelTokens};
use super::selector::Selection;
use super::{EPSILON, dense, ranking, self_attention};

/// Layers one after the other.
#[derive(Module, Debug)]
pub struct Encoder {
    /// From the first to the last.
    pub layers: Vec<EncoderLayer>,
}

/// Attention among fine tokens if there is any, deformable attention, a feed-forward part; all post-norm.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    /// Among the finest tokens of the list.
    pub fine: Option<FineAttention>,
    /// To the maps.
    pub deformable: DeformableAttention,
    /// Of the deformable attention.
    pub norm1: TokenNorm,
    /// The feed-forward part.
    pub ffn: FeedForward,
    /// Of the feed-forward part.
    pub norm2: TokenNorm,
}

/// Self-attention of a few tokens.
#[derive(Module, Debug)]
pub struct FineAttention {
    /// Of all of them to all of them.
    pub attn: MultiHeadAttention,
    /// Of the sum.
    pub norm: TokenNorm,
}

/// Tokens that a layer works on.
#[derive(Debug, Clone)]
pub struct Queries {
    /// `[B, Q, C]`.
    pub tokens: Tensor<3>,
    /// `[B, Q, C]`.
    pub positions: Tensor<3>,
    /// `[B, Q, levels, 2]`.
    pub references: Tensor<4>,
}

/// What the encoder reads.
#[derive(Debug, Clone)]
pub struct EncoderInput<'a> {
    /// All tokens, their positions and places, `N` of them.
    pub all: Queries,
    /// `[B, N]`, `true` = ignore.
    pub padding: Option<Tensor<2, Bool>>,
    /// Rows and columns of the levels.
    pub sizes: &'a [[usize; 2]],
}

/// What the encoder makes.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[B, N, C]`.
    pub memory: Tensor<3>,
    /// Fine tokens of each layer and image, as places among all tokens.
    pub fine: Vec<Vec<Vec<usize>>>,
}

impl Encoder {
    pub(super) fn new(config: &FocusDetrConfig, device: &Device) -> Self {
        Self { layers: (0..config.encoder_layers).map(|_| EncoderLayer::new(config, device)).collect() }
    }

    /// Focus-DETR's: each layer works on its list, and reads the maps as they were before the first (Sec. 3.3).
    ///
    /// PARITY: all layers read the first maps; tokens are ranked by the product of two logits, so two negative ones rank high.
    ///
    /// # Panics
    /// If shapes disagree or a layer has no list.
    pub fn forward_focus(
        &self,
        input: &EncoderInput<'_>,
        selection: &Selection,
        fine_tokens: usize,
        class_head: &Dense,
    ) -> Encoded {
        let values =
            LevelTokens { tokens: input.all.tokens.clone(), sizes: input.sizes, padding: input.padding.clone() };
        let order = &selection.order;
        let foreground = ranking::gather(selection.masked.clone().detach(), order);
        let mut rows = Rows::new(input, selection);
        let mut fine = Vec::with_capacity(self.layers.len());
        for (layer, &kept) in self.layers.iter().zip(&selection.kept) {
            let queries = rows.first(kept);
            let logits = class_head.forward(queries.tokens.clone().detach());
            let scores = fine_scores(logits, foreground.clone().narrow(1, 0, kept));
            let places = ranking::largest_of_rows(scores.detach(), fine_tokens);
            rows.replace(layer.forward(queries, Some(&places), &values));
            let among_all = |(places, order): (&Vec<usize>, &Vec<usize>)| places.iter().map(|&at| order[at]).collect();
            fine.push(places.iter().zip(order).map(among_all).collect());
        }
        let memory = ranking::replaced(input.all.tokens.clone(), order, &selection.budgets, rows.all());
        Encoded { memory, fine }
    }

    /// On all tokens; each layer reads what the one before made.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward_dense(&self, input: &EncoderInput<'_>) -> Encoded {
        let memory = self.layers.iter().fold(input.all.tokens.clone(), |tokens, layer| {
            let values = LevelTokens { tokens: tokens.clone(), sizes: input.sizes, padding: input.padding.clone() };
            layer.forward(Queries { tokens, ..input.all.clone() }, None, &values)
        });
        Encoded { memory, fine: Vec::new() }
    }

    /// Sparse DETR's: all layers work on one list, and read the maps with what the layers before have written back.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward_sparse(&self, input: &EncoderInput<'_>, selection: &Selection) -> Encoded {
        let list = selection.list(0);
        let positions = ranking::gather(input.all.positions.clone(), &list);
        let references = ranking::gather(input.all.references.clone(), &list);
        let mut memory = input.all.tokens.clone();
        let mut tokens = ranking::gather(memory.clone(), &list);
        for layer in &self.layers {
            let values = LevelTokens { tokens: memory.clone(), sizes: input.sizes, padding: input.padding.clone() };
            let queries = Queries { tokens, positions: positions.clone(), references: references.clone() };
            tokens = layer.forward(queries, None, &values);
            memory = ranking::replaced(memory, &list, &selection.budgets, tokens.clone());
        }
        Encoded { memory, fine: Vec::new() }
    }
}

/// Tokens in the order of a selection. Each layer's list is the beginning of the one before, so what it leaves out is finished, and nothing
/// needs to be written back among all tokens between layers.
struct Rows {
    all: Queries,
    /// `[B, rows, 1]`, `true` = beyond the image's budget: computed with the others of the batch, but never kept.
    surplus: Option<Tensor<3, Bool>>,
    /// What layers left out, the first layer's first.
    finished: Vec<Tensor<3>>,
}

impl Rows {
    fn new(input: &EncoderInput<'_>, selection: &Selection) -> Self {
        let (order, budgets) = (&selection.order, &selection.budgets);
        let all = Queries {
            tokens: ranking::gather(input.all.tokens.clone(), order),
            positions: ranking::gather(input.all.positions.clone(), order),
            references: ranking::gather(input.all.references.clone(), order),
        };
        let [images, rows, _] = all.tokens.dims();
        let surplus = budgets.iter().any(|&budget| budget < rows).then(|| {
            let beyond: Vec<bool> =
                budgets.iter().flat_map(|&budget| (0..rows).map(move |row| row >= budget)).collect();
            Tensor::from_data(TensorData::new(beyond, [images, rows, 1]), &all.tokens.device())
        });
        Self { all, surplus, finished: Vec::new() }
    }

    /// Keeps the first rows.
    fn first(&mut self, kept: usize) -> Queries {
        let Queries { tokens, positions, references } = &mut self.all;
        let rows = tokens.dims()[1];
        if kept < rows {
            self.finished.push(tokens.clone().narrow(1, kept, rows - kept));
            *tokens = tokens.clone().narrow(1, 0, kept);
            *positions = positions.clone().narrow(1, 0, kept);
            *references = references.clone().narrow(1, 0, kept);
        }
        self.all.clone()
    }

    fn replace(&mut self, tokens: Tensor<3>) {
        let [_, kept, channels] = tokens.dims();
        self.all.tokens = match &self.surplus {
            None => tokens,
            Some(surplus) => {
                let surplus = surplus.clone().narrow(1, 0, kept).repeat_dim(2, channels);
                tokens.mask_where(surplus, self.all.tokens.clone())
            }
        };
    }

    /// `[B, rows, C]`.
    fn all(self) -> Tensor<3> {
        let left = self.finished.into_iter().rev();
        Tensor::cat(std::iter::once(self.all.tokens).chain(left).collect(), 1)
    }
}

/// How fine a token is: its largest class logit times its foreground logit.
///
/// # Shapes
/// - `class_logits` `[B, Q, K]`, `foreground` `[B, Q]`
/// - returns `[B, Q]`
pub fn fine_scores(class_logits: Tensor<3>, foreground: Tensor<2>) -> Tensor<2> {
    class_logits.max_dim(2).squeeze_dim::<2>(2) * foreground
}

impl EncoderLayer {
    /// A layer with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn new(config: &FocusDetrConfig, device: &Device) -> Self {
        let norm = || TokenNorm::new(config.width, EPSILON, device);
        let focuses = matches!(config.encoder, EncoderConfig::Focus(_));
        Self {
            fine: focuses.then(|| FineAttention { attn: self_attention(config, device), norm: norm() }),
            deformable: deformable(config, device),
            norm1: norm(),
            ffn: feed_forward(config, device),
            norm2: norm(),
        }
    }

    /// The queries' tokens after the layer, `[B, Q, C]`. `fine` are places in the list, as many in each image; they matter only to a layer
    /// with fine attention.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, queries: Queries, fine: Option<&[Vec<usize>]>, values: &LevelTokens<'_>) -> Tensor<3> {
        let Queries { mut tokens, positions, references } = queries;
        if let (Some(attention), Some(places)) = (&self.fine, fine) {
            let some = ranking::gather(tokens.clone(), places);
            let placed = some.clone() + ranking::gather(positions.clone(), places);
            let context = attention.attn.forward(placed.clone(), placed, some.clone(), AttentionBias::none());
            let counts: Vec<usize> = places.iter().map(Vec::len).collect();
            tokens = ranking::replaced(tokens, places, &counts, attention.norm.forward_sum(context, some));
        }
        let read = self.deformable.forward(tokens.clone() + positions, references, values);
        let tokens = self.norm1.forward_sum(read, tokens);
        self.norm2.forward_sum(self.ffn.forward(tokens.clone()), tokens)
    }
}

impl PrepareInference for EncoderLayer {
    fn prepare_inference(&mut self) {
        self.fine.iter_mut().for_each(|fine| fine.attn.prepare_inference());
        self.deformable.prepare_inference();
        self.ffn.prepare_inference();
    }
}

pub(super) fn deformable(config: &FocusDetrConfig, device: &Device) -> DeformableAttention {
    let FocusDetrConfig { width, heads, points, .. } = *config;
    DeformableConfig { width, heads, levels: super::LEVELS, points }.init(device)
}

pub(super) fn feed_forward(config: &FocusDetrConfig, device: &Device) -> FeedForward {
    let (width, hidden) = (config.width, config.feed_forward);
    let mut ffn = FeedForwardConfig { width, hidden, activation: Activation::Relu, dropout: 0.0 }.init(device);
    (ffn.fc1, ffn.fc2) = (dense(width, hidden, device), dense(hidden, width, device));
    ffn
}
