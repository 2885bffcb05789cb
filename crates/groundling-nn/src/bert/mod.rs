//! BERT (Devlin et al. 2019, arXiv:1810.04805): a phrase in, a vector for each of its tokens out.
//!
//! Post-norm, exact GELU. [`KEYS`] loads what Hugging Face and Google published.
//!
//! DEVIATION: keys under padding get a score of minus infinity, the original adds -10000; both are exactly 0 after the softmax.

mod keys;

pub use keys::{KEYS, KEYS_WITHOUT_POOLER};

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer};
use burn::tensor::{Bool, Device, Int, Tensor, assert_shape};
use groundling_kernels::Activation;

use crate::attention::{AttentionBias, MultiHeadAttention, MultiHeadAttentionConfig};
use crate::checkpoint::Rule;
use crate::layers::{Dense, PrepareInference, TokenNorm};

/// Sizes of a BERT.
#[derive(Config, Debug, PartialEq)]
pub struct BertConfig {
    /// Word pieces.
    pub vocabulary: usize,
    /// Width `D`.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Attention heads `G`.
    pub heads: usize,
    /// Width `F` of the feed-forward part.
    pub feed_forward: usize,
    /// Most tokens a phrase may have.
    pub positions: usize,
    /// Kinds of tokens.
    pub token_types: usize,
    /// Added to variances.
    pub epsilon: f64,
    /// Share of values that training sets to 0, attention weights too.
    pub dropout: f64,
    /// Whether there is a pooler, `tanh(dense(first token))`.
    pub pooler: bool,
}

impl BertConfig {
    /// `bert-base-uncased`: 109,482,240 parameters with the pooler, 108,891,648 without.
    pub fn base_uncased() -> Self {
        Self {
            vocabulary: 30522,
            width: 768,
            layers: 12,
            heads: 12,
            feed_forward: 3072,
            positions: 512,
            token_types: 2,
            epsilon: 1e-12,
            dropout: 0.1,
            pooler: false,
        }
    }

    /// Two narrow layers with the full vocabulary, for tests.
    pub fn tiny() -> Self {
        Self { width: 32, layers: 2, heads: 2, feed_forward: 64, positions: 64, dropout: 0.0, ..Self::base_uncased() }
    }

    /// The table that loads published weights into this configuration.
    pub fn keys(&self) -> &'static [Rule] {
        if self.pooler { KEYS } else { KEYS_WITHOUT_POOLER }
    }

    /// The module with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn init(&self, device: &Device) -> Bert {
        let embedding = |count| {
            let initializer = Initializer::Normal { mean: 0.0, std: 0.02 };
            EmbeddingConfig::new(count, self.width).with_initializer(initializer).init(device)
        };
        Bert {
            embeddings: BertEmbeddings {
                word_embeddings: embedding(self.vocabulary),
                position_embeddings: embedding(self.positions),
                token_type_embeddings: embedding(self.token_types),
                layer_norm: TokenNorm::new(self.width, self.epsilon, device),
                dropout: DropoutConfig::new(self.dropout).init(),
            },
            encoder: BertEncoder { layer: (0..self.layers).map(|_| self.layer(device)).collect() },
            pooler: self.pooler.then(|| BertPooler { dense: Dense::new(self.width, self.width, device) }),
        }
    }

    fn layer(&self, device: &Device) -> BertLayer {
        let Self { width, heads, dropout, .. } = *self;
        BertLayer {
            attention: MultiHeadAttentionConfig { width, heads, dropout }.init(device),
            attention_norm: TokenNorm::new(width, self.epsilon, device),
            intermediate: Dense::new(width, self.feed_forward, device),
            output: Dense::new(self.feed_forward, width, device),
            output_norm: TokenNorm::new(width, self.epsilon, device),
            dropout: DropoutConfig::new(dropout).init(),
        }
    }
}

/// A phrase encoder.
#[derive(Module, Debug)]
pub struct Bert {
    embeddings: BertEmbeddings,
    encoder: BertEncoder,
    pooler: Option<BertPooler>,
}

/// Word pieces of a batch of phrases.
#[derive(Debug, Clone)]
pub struct BertInput {
    /// `[B, L]`, below the vocabulary's size.
    pub ids: Tensor<2, Int>,
    /// `[B, L]`, below the number of types; 0 everywhere if `None`.
    pub types: Option<Tensor<2, Int>>,
    /// `[B, L]`, `true` = ignore. Every row needs one `false`.
    pub padding: Tensor<2, Bool>,
}

/// What a BERT says.
#[derive(Debug, Clone)]
pub struct BertOutput {
    /// After the embeddings and after every layer, `[B, L, D]` each. Vectors under padding are ordinary numbers, not zeros.
    pub hidden: Vec<Tensor<3>>,
    /// `[B, D]`, if there is a pooler.
    pub pooled: Option<Tensor<2>>,
}

impl BertOutput {
    /// The last layer's vectors, `[B, L, D]`.
    pub fn last(&self) -> Tensor<3> {
        self.hidden.last().expect("the embeddings are always there").clone()
    }
}

impl Bert {
    /// Encodes phrases.
    ///
    /// # Panics
    /// If shapes disagree, or a phrase is longer than the positions: the tokenizer cuts it.
    pub fn forward(&self, input: BertInput) -> BertOutput {
        let [b, l] = input.ids.dims();
        assert_shape!(input.padding, [b, l]);
        let mut hidden = vec![self.embeddings.forward(input.ids, input.types)];
        for layer in &self.encoder.layer {
            let x = hidden[hidden.len() - 1].clone();
            hidden.push(layer.forward(x, AttentionBias::padding(input.padding.clone())));
        }
        let pooled = self.pooler.as_ref().map(|pooler| pooler.forward(hidden[hidden.len() - 1].clone()));
        BertOutput { hidden, pooled }
    }
}

impl PrepareInference for Bert {
    fn prepare_inference(&mut self) {
        self.encoder.layer.prepare_inference();
        self.pooler.iter_mut().for_each(|pooler| pooler.dense.prepare_inference());
    }
}

/// Word, position and type vectors, summed and normalised.
#[derive(Module, Debug)]
struct BertEmbeddings {
    word_embeddings: Embedding,
    position_embeddings: Embedding,
    token_type_embeddings: Embedding,
    layer_norm: TokenNorm,
    dropout: Dropout,
}

impl BertEmbeddings {
    fn forward(&self, ids: Tensor<2, Int>, types: Option<Tensor<2, Int>>) -> Tensor<3> {
        let [_, l] = ids.dims();
        let [positions, d] = self.position_embeddings.weight.dims();
        assert!(l <= positions, "a phrase of {l} tokens for {positions} positions");
        let words = self.word_embeddings.forward(ids); // [B, L, D]
        let positions = self.position_embeddings.weight.val().narrow(0, 0, l).unsqueeze::<3>();
        let types = match types {
            Some(types) => self.token_type_embeddings.forward(types),
            None => self.token_type_embeddings.weight.val().narrow(0, 0, 1).reshape([1, 1, d]),
        };
        self.dropout.forward(self.layer_norm.forward(words + positions + types))
    }
}

#[derive(Module, Debug)]
struct BertEncoder {
    layer: Vec<BertLayer>,
}

/// A post-norm transformer block.
#[derive(Module, Debug)]
struct BertLayer {
    attention: MultiHeadAttention,
    attention_norm: TokenNorm,
    intermediate: Dense,
    output: Dense,
    output_norm: TokenNorm,
    dropout: Dropout,
}

impl BertLayer {
    fn forward(&self, x: Tensor<3>, bias: AttentionBias) -> Tensor<3> {
        let attended = self.dropout.forward(self.attention.forward(x.clone(), x.clone(), x.clone(), bias));
        let x = self.attention_norm.forward_sum(attended, x);
        let hidden = self.intermediate.forward_then(x.clone(), Activation::Gelu); // [B, L, F]
        let hidden = self.dropout.forward(self.output.forward(hidden));
        self.output_norm.forward_sum(hidden, x)
    }
}

impl PrepareInference for BertLayer {
    fn prepare_inference(&mut self) {
        self.attention.prepare_inference();
        self.intermediate.prepare_inference();
        self.output.prepare_inference();
    }
}

#[derive(Module, Debug)]
struct BertPooler {
    dense: Dense,
}

impl BertPooler {
    fn forward(&self, last: Tensor<3>) -> Tensor<2> {
        let [b, _, d] = last.dims();
        self.dense.forward(last.slice([0..b, 0..1]).reshape([b, d])).tanh()
    }
}
