//! The transformer block and its cache of keys and values.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::{Device, Tensor};
use groundling_kernels::{Activation, AttentionBias, MapKind, attention, attention_map, linear};
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};
use groundling_nn::mlp::FeedForward;

use super::{ScanFormerConfig, init};

/// A pre-norm transformer block that sees, besides its own tokens, what was cached before them.
#[derive(Module, Debug)]
pub(super) struct Layer {
    norm1: TokenNorm,
    attn: JointAttention,
    norm2: TokenNorm,
    mlp: FeedForward,
    dropout: Dropout,
}

#[derive(Module, Debug)]
struct JointAttention {
    /// Rows of a file: all of the queries, then the keys, then the values; within each head after head.
    qkv: Dense,
    proj: Dense,
    heads: usize,
}

/// Keys and values of all tokens so far, in one layer: both `[B, M, G, E]`.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    pub(super) keys: Tensor<4>,
    pub(super) values: Tensor<4>,
}

impl Cache {
    /// Of the first so many tokens.
    pub(super) fn first(&self, count: usize) -> Self {
        Self { keys: self.keys.clone().narrow(1, 0, count), values: self.values.clone().narrow(1, 0, count) }
    }

    /// This, then the other's tokens.
    fn then(self, next: Cache) -> Self {
        Self {
            keys: Tensor::cat(vec![self.keys, next.keys], 1),
            values: Tensor::cat(vec![self.values, next.values], 1),
        }
    }
}

/// The weights of a layer's projections one by one, for training: gradients of cut tensors are as large as the tensor, and weights are
/// smaller than tokens.
pub(super) struct Projections {
    weights: [(Tensor<2>, Tensor<1>); 3],
}

/// How many of a block's tokens a layer still has to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All.
    All,
    /// The first only: of the last layer nothing but the answering token is read.
    First,
}

/// What a layer leaves.
pub(super) struct Passed {
    /// `[B, N, D]`, or `[B, 1, D]` of the first token.
    pub(super) tokens: Tensor<3>,
    /// With this block's tokens.
    pub(super) cache: Cache,
    /// The queries, for maps of attention: `[B, N or 1, G, E]`.
    pub(super) queries: Tensor<4>,
}

impl Layer {
    pub(super) fn new(config: &ScanFormerConfig, device: &Device) -> Self {
        let ScanFormerConfig { dim, heads, mlp_hidden, ln_eps, dropout, .. } = *config;
        let activation = Activation::Gelu;
        let mut mlp =
            groundling_nn::mlp::FeedForwardConfig { width: dim, hidden: mlp_hidden, activation, dropout }.init(device);
        mlp.fc1 = init::dense(dim, mlp_hidden, device);
        mlp.fc2 = init::dense(mlp_hidden, dim, device);
        Self {
            norm1: TokenNorm::new(dim, ln_eps, device),
            attn: JointAttention { qkv: init::dense(dim, 3 * dim, device), proj: init::dense(dim, dim, device), heads },
            norm2: TokenNorm::new(dim, ln_eps, device),
            mlp,
            dropout: DropoutConfig::new(dropout).init(),
        }
    }

    /// Weights for [`Layer::forward`] where gradients are tracked; `None` where they are not.
    pub(super) fn projections(&self) -> Option<Projections> {
        let weight = self.attn.qkv.weight.val();
        let bias = self.attn.qkv.bias.as_ref()?.val();
        let d = weight.dims()[0];
        let part = |index: usize| (weight.clone().narrow(1, index * d, d), bias.clone().narrow(0, index * d, d));
        weight.device().is_autodiff().then(|| Projections { weights: [0, 1, 2].map(part) })
    }

    /// # Shapes
    /// - `x` `[B, N, D]`; `bias` `[B, M + N]`, a number for each key: those cached, then those of `x`
    pub(super) fn forward(
        &self,
        x: Tensor<3>,
        cache: Option<&Cache>,
        bias: Tensor<2>,
        wanted: Wanted,
        projections: Option<&Projections>,
    ) -> Passed {
        let [b, n, d] = x.dims();
        let (q, own) = self.attn.project(self.norm1.forward(x.clone()), wanted, projections);
        let cache = match cache {
            Some(cache) => cache.clone().then(own),
            None => own,
        };
        let rows = q.dims()[1];
        let x = if rows == n { x } else { x.narrow(1, 0, rows) };
        let context = self.attn.context(q.clone(), &cache, bias);
        Passed { tokens: self.after_attention(context.reshape([b, rows, d]), x), cache, queries: q }
    }

    /// A phrase and the first block after it in one pass, so that the weights are read once: to the bit what [`Layer::forward`] makes of one after the other.
    ///
    /// # Shapes
    /// - `x` `[B, T + N, D]`, the phrase first; `bias` `[B, T + N]`. With [`Wanted::First`] the tokens and queries that are left are the block's first.
    pub(super) fn forward_with_phrase(&self, x: Tensor<3>, phrase: usize, bias: Tensor<2>, wanted: Wanted) -> Passed {
        let [b, n, d] = x.dims();
        let (q, cache) = self.attn.project(self.norm1.forward(x.clone()), Wanted::All, None);
        let (x, context, queries) = match wanted {
            Wanted::All => {
                let own = self.attn.context(
                    q.clone().narrow(1, 0, phrase),
                    &cache.first(phrase),
                    bias.clone().narrow(1, 0, phrase),
                );
                let queries = q.narrow(1, phrase, n - phrase);
                let block = self.attn.context(queries.clone(), &cache, bias);
                (x, Tensor::cat(vec![own, block], 1), queries)
            }
            Wanted::First => {
                let queries = q.narrow(1, phrase, 1);
                (x.narrow(1, phrase, 1), self.attn.context(queries.clone(), &cache, bias), queries)
            }
        };
        let rows = x.dims()[1];
        Passed { tokens: self.after_attention(context.reshape([b, rows, d]), x), cache, queries }
    }

    /// `context` `[B, N, D]`: what was attended, heads side by side.
    fn after_attention(&self, context: Tensor<3>, x: Tensor<3>) -> Tensor<3> {
        let attended = self.attn.proj.forward(context);
        let (x, h) = self.norm2.forward_after_sum(self.dropout.forward(attended), x);
        x + self.dropout.forward(self.mlp.forward(h))
    }

    /// Keys and values alone: all that is read of the last layer of a block without an answering token.
    pub(super) fn cache_only(&self, x: Tensor<3>, projections: Option<&Projections>) -> Cache {
        self.attn.project(self.norm1.forward(x), Wanted::First, projections).1
    }

    /// Attention of queries over all keys, averaged over heads: `[B, N, M]`.
    pub(super) fn attention_map(&self, queries: Tensor<4>, cache: &Cache, bias: Tensor<2>) -> Tensor<3> {
        let [_, _, g, e] = queries.dims();
        let keys = cache.keys.clone().swap_dims(1, 2);
        let bias = AttentionBias::none().with_key(bias);
        attention_map(queries.swap_dims(1, 2), keys, self.attn.scale(g * e), bias, MapKind::Weights)
    }
}

impl JointAttention {
    /// What queries `[B, N, G, E]` attend to, in the same shape.
    fn context(&self, queries: Tensor<4>, cache: &Cache, bias: Tensor<2>) -> Tensor<4> {
        let [_, _, g, e] = queries.dims();
        let (keys, values) = (cache.keys.clone().swap_dims(1, 2), cache.values.clone().swap_dims(1, 2));
        let bias = AttentionBias::none().with_key(bias);
        attention(queries.swap_dims(1, 2), keys, values, self.scale(g * e), bias).swap_dims(1, 2)
    }

    fn scale(&self, width: usize) -> f64 {
        ((width / self.heads) as f64).powf(-0.5)
    }

    /// Queries, keys and values `[B, N, G, E]`; queries of the wanted tokens only.
    fn project(&self, h: Tensor<3>, wanted: Wanted, projections: Option<&Projections>) -> (Tensor<4>, Cache) {
        let [b, n, d] = h.dims();
        let (g, e) = (self.heads, d / self.heads);
        let rows = match wanted {
            Wanted::All => n,
            Wanted::First => 1,
        };
        let [q, keys, values] = match projections {
            Some(Projections { weights }) => {
                let product = |h: Tensor<3>, (weight, bias): &(Tensor<2>, Tensor<1>)| {
                    let rows = h.dims()[1];
                    linear(h, weight.clone(), Some(bias.clone()), Activation::Identity).reshape([b, rows, g, e])
                };
                let first = if rows == n { h.clone() } else { h.clone().narrow(1, 0, rows) };
                [product(first, &weights[0]), product(h.clone(), &weights[1]), product(h, &weights[2])]
            }
            None => {
                let all = self.qkv.forward(h).reshape([b, n, 3 * g, e]);
                let part = |index: usize| all.clone().narrow(2, index * g, g);
                [part(0).narrow(1, 0, rows), part(1), part(2)]
            }
        };
        (q, Cache { keys, values })
    }
}

impl PrepareInference for Layer {
    fn prepare_inference(&mut self) {
        self.attn.qkv.prepare_inference();
        self.attn.proj.prepare_inference();
        self.mlp.prepare_inference();
    }
}
