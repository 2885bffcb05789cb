//! Layers in which tokens attend to one another.

use super::*;

/// Self-attention, then a feed-forward part.
#[derive(Module, Debug)]
pub struct EncoderLayer {
    /// Of all tokens to all tokens.
    pub self_attn: MultiHeadAttention,
    /// `D` to `F`.
    pub linear1: Dense,
    /// `F` to `D`.
    pub linear2: Dense,
    /// Of the attention.
    pub norm1: TokenNorm,
    /// Of the feed-forward part.
    pub norm2: TokenNorm,
    dropout: Dropout,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    order: NormOrder,
}

/// What an encoder layer makes.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[B, L, D]`.
    pub tokens: Tensor<3>,
    /// Of the attention, `[B, G, L, L]`.
    pub weights: Tensor<4>,
}

impl EncoderLayer {
    pub(super) fn new(config: &TransformerConfig, device: &Device) -> Self {
        Self {
            self_attn: config.attention(device),
            linear1: Dense::new(config.width, config.feed_forward, device),
            linear2: Dense::new(config.feed_forward, config.width, device),
            norm1: config.norm(device),
            norm2: config.norm(device),
            dropout: DropoutConfig::new(config.dropout).init(),
            activation: config.activation,
            order: config.order,
        }
    }

    /// # Shapes
    /// - `x` see [`Tokens`]
    /// - returns `[B, L, D]`
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, x: Tokens) -> Tensor<3> {
        self.through(x, |query, key, value, bias| (self.self_attn.forward(query, key, value, bias), ())).0
    }

    /// As [`forward`](Self::forward), with the attention weights.
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward_with_map(&self, x: Tokens) -> Encoded {
        let (tokens, weights) = self.through(x, |query, key, value, bias| {
            let attended = self.self_attn.forward_with_map(query, key, value, bias);
            (attended.context, attended.weights)
        });
        Encoded { tokens, weights }
    }

    fn through<T>(
        &self,
        x: Tokens,
        attend: impl FnOnce(Tensor<3>, Tensor<3>, Tensor<3>, AttentionBias) -> (Tensor<3>, T),
    ) -> (Tensor<3>, T) {
        let Tokens { values, position, bias } = x;
        let stream = Stream::enter(values, &self.norm1, self.order);
        let query = placed(&stream.input, &position);
        let (context, weights) = attend(query.clone(), query, stream.input.clone(), bias);
        let stream = stream.pass(self.dropout.forward(context), &self.norm1, &self.norm2, self.order);

        let linears = [&self.linear1, &self.linear2];
        let made = feed_forward(stream.input.clone(), linears, self.activation, &self.dropout);
        (stream.leave(made, &self.norm2, self.order), weights)
    }
}

impl PrepareInference for EncoderLayer {
    fn prepare_inference(&mut self) {
        self.self_attn.prepare_inference();
        self.linear1.prepare_inference();
        self.linear2.prepare_inference();
    }
}

/// Encoder layers one after the other.
#[derive(Module, Debug)]
pub struct Encoder {
    /// From the first to the last.
    pub layers: Vec<EncoderLayer>,
    /// Behind the last.
    pub norm: Option<TokenNorm>,
}

impl Encoder {
    /// # Shapes
    /// - `x` see [`Tokens`]; its positions are added in every layer
    /// - returns `[B, L, D]`
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward(&self, x: Tokens) -> Tensor<3> {
        let Tokens { values, position, bias } = x;
        let values = self.layers.iter().fold(values, |values, layer| {
            layer.forward(Tokens { values, position: position.clone(), bias: bias.clone() })
        });
        self.finish(values)
    }

    /// What every layer makes, before the final norm, with its attention weights; and the result of [`forward`](Self::forward).
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn forward_with_maps(&self, x: Tokens) -> (Vec<Encoded>, Tensor<3>) {
        let Tokens { mut values, position, bias } = x;
        let mut made = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let encoded = layer.forward_with_map(Tokens { values, position: position.clone(), bias: bias.clone() });
            values = encoded.tokens.clone();
            made.push(encoded);
        }
        (made, self.finish(values))
    }

    fn finish(&self, values: Tensor<3>) -> Tensor<3> {
        match &self.norm {
            Some(norm) => norm.forward(values),
            None => values,
        }
    }
}

impl PrepareInference for Encoder {
    fn prepare_inference(&mut self) {
        self.layers.prepare_inference();
    }
}
