//! Layers in which queries attend to one another and to a memory.

use super::*;

/// Self-attention of the queries, attention to the memory, then a feed-forward part.
#[derive(Module, Debug)]
pub struct DecoderLayer {
    /// Of all queries to all queries.
    pub self_attn: MultiHeadAttention,
    /// Of the queries to the memory.
    pub multihead_attn: MultiHeadAttention,
    /// `D` to `F`.
    pub linear1: Dense,
    /// `F` to `D`.
    pub linear2: Dense,
    /// Of the self-attention.
    pub norm1: TokenNorm,
    /// Of the attention to the memory.
    pub norm2: TokenNorm,
    /// Of the feed-forward part.
    pub norm3: TokenNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    order: NormOrder,
}

/// What a decoder layer makes.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// `[B, N, D]`.
    pub queries: Tensor<3>,
    /// Of the queries to one another, `[B, G, N, N]`.
    pub self_weights: Tensor<4>,
    /// Of the queries to the memory, `[B, G, N, L]`.
    pub memory_weights: Tensor<4>,
}

impl DecoderLayer {
    pub(super) fn new(config: &TransformerConfig, device: &Device) -> Self {
        Self {
            self_attn: config.attention(device),
            multihead_attn: config.attention(device),
            linear1: Dense::new(config.width, config.feed_forward, device),
            linear2: Dense::new(config.feed_forward, config.width, device),
            norm1: config.norm(device),
            norm2: config.norm(device),
            norm3: config.norm(device),
            dropout: DropoutConfig::new(config.dropout).init(),
            activation: config.activation,
            order: config.order,
        }
    }

    /// # Shapes
    /// - `queries` of `N` tokens, `memory` of `L`, see [`Tokens`]
    /// - returns `[B, N, D]`
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, queries: Tokens, memory: Tokens) -> Tensor<3> {
        let attend = |attention: &MultiHeadAttention, [query, key, value]: [Tensor<3>; 3], bias| {
            (attention.forward(query, key, value, bias), ())
        };
        self.through(queries, memory, attend).0
    }

    /// As [`forward`](Self::forward), with the attention weights.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward_with_maps(&self, queries: Tokens, memory: Tokens) -> Decoded {
        let attend = |attention: &MultiHeadAttention, [query, key, value]: [Tensor<3>; 3], bias| {
            let attended = attention.forward_with_map(query, key, value, bias);
            (attended.context, attended.weights)
        };
        let (queries, [self_weights, memory_weights]) = self.through(queries, memory, attend);
        Decoded { queries, self_weights, memory_weights }
    }

    fn through<T>(
        &self,
        queries: Tokens,
        memory: Tokens,
        attend: impl Fn(&MultiHeadAttention, [Tensor<3>; 3], AttentionBias) -> (Tensor<3>, T),
    ) -> (Tensor<3>, [T; 2]) {
        let Tokens { values, position, bias } = queries;
        let stream = Stream::enter(values, &self.norm1, self.order);
        let query = placed(&stream.input, &position);
        let (context, own) = attend(&self.self_attn, [query.clone(), query, stream.input.clone()], bias);
        let stream = stream.pass(self.dropout.forward(context), &self.norm1, &self.norm2, self.order);

        let query = placed(&stream.input, &position);
        let key = placed(&memory.values, &memory.position);
        let (context, other) = attend(&self.multihead_attn, [query, key, memory.values], memory.bias);
        let stream = stream.pass(self.dropout.forward(context), &self.norm2, &self.norm3, self.order);

        let linears = [&self.linear1, &self.linear2];
        let made = feed_forward(stream.input.clone(), linears, self.activation, &self.dropout);
        (stream.leave(made, &self.norm3, self.order), [own, other])
    }
}

impl PrepareInference for DecoderLayer {
    fn prepare_inference(&mut self) {
        self.self_attn.prepare_inference();
        self.multihead_attn.prepare_inference();
        self.linear1.prepare_inference();
        self.linear2.prepare_inference();
    }
}

/// Decoder layers one after the other.
#[derive(Module, Debug)]
pub struct Decoder {
    /// From the first to the last.
    pub layers: Vec<DecoderLayer>,
    /// Over what is read out; what goes on to the next layer does not pass it.
    pub norm: Option<TokenNorm>,
}

impl Decoder {
    /// # Shapes
    /// - `queries` of `N` tokens, `memory` of `L`, see [`Tokens`]; positions are added in every layer
    /// - returns `[B, N, D]`
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, queries: Tokens, memory: Tokens) -> Tensor<3> {
        let Tokens { values, position, bias } = queries;
        let values = self.layers.iter().fold(values, |values, layer| {
            layer.forward(Tokens { values, position: position.clone(), bias: bias.clone() }, memory.clone())
        });
        self.read_out(values)
    }

    /// What every layer makes, each through the norm: the last is the result of [`forward`](Self::forward), the others are what
    /// auxiliary losses look at.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward_all(&self, queries: Tokens, memory: Tokens) -> Vec<Tensor<3>> {
        self.each(queries, |layer, queries| layer.forward(queries, memory.clone()), |x| x)
            .into_iter()
            .map(|values| self.read_out(values))
            .collect()
    }

    /// As [`forward_all`](Self::forward_all), with the attention weights.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward_with_maps(&self, queries: Tokens, memory: Tokens) -> Vec<Decoded> {
        let forward = |layer: &DecoderLayer, queries| layer.forward_with_maps(queries, memory.clone());
        self.each(queries, forward, |made| made.queries)
            .into_iter()
            .map(|made| Decoded { queries: self.read_out(made.queries), ..made })
            .collect()
    }

    fn each<T: Clone>(
        &self,
        queries: Tokens,
        forward: impl Fn(&DecoderLayer, Tokens) -> T,
        values_of: impl Fn(T) -> Tensor<3>,
    ) -> Vec<T> {
        let Tokens { mut values, position, bias } = queries;
        let mut made = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let one = forward(layer, Tokens { values, position: position.clone(), bias: bias.clone() });
            values = values_of(one.clone());
            made.push(one);
        }
        made
    }

    fn read_out(&self, values: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            Some(norm) => norm.forward(values),
            None => values,
        }
    }
}

impl PrepareInference for Decoder {
    fn prepare_inference(&mut self) {
        self.layers.prepare_inference();
    }
}
