//! The fusion encoder of TransVG and QRNet: one learned token reads phrase and picture, and answers.

use burn::module::{Module, Param};
use burn::tensor::{Bool, Device, Tensor, activation, assert_shape};
use groundling_nn::attention::AttentionBias;
use groundling_nn::layers::PrepareInference;
use groundling_nn::mlp::Mlp;
use groundling_nn::transformer::{Encoder, Tokens};

use super::visual::transformer;
use super::{Attention, Look, normal, xavier};

/// Sizes of a [`Fusion`].
#[derive(Debug, Clone, Copy)]
pub struct FusionConfig {
    /// Width `D` of a token.
    pub dim: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of the feed-forward part.
    pub mlp_hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Most tokens `L` of a phrase: the place of the first visual token depends on it.
    pub max_text: usize,
    /// Visual tokens `S`.
    pub visual: usize,
    /// Share of values that training sets to 0.
    pub dropout: f64,
}

/// Tokens, and which of them are padding.
#[derive(Debug, Clone)]
pub struct Masked {
    /// `[B, T, D]`.
    pub tokens: Tensor<3>,
    /// `[B, T]`, `true` = ignore; `None` if all are real.
    pub padding: Option<Tensor<2, Bool>>,
}

impl Masked {
    /// `[B, T]` in any case.
    fn padding(&self) -> Tensor<2, Bool> {
        let [b, t, _] = self.tokens.dims();
        let none = || Tensor::<2>::zeros([b, t], &self.tokens.device()).greater_elem(0.5);
        self.padding.clone().unwrap_or_else(none)
    }
}

/// A box for each pair of a phrase and a picture. Tokens: the answering one, the phrase, the picture.
#[derive(Module, Debug)]
pub struct Fusion {
    /// The token that answers, `[1, D]`.
    pub reg_token: Param<Tensor<2>>,
    /// Of every place, `[1 + L + S, D]`; added to queries and keys in every layer.
    pub position: Param<Tensor<2>>,
    /// Over all tokens.
    pub encoder: Encoder,
    /// From the answering token to a box.
    pub bbox: Mlp,
    max_text: usize,
}

impl Fusion {
    /// The module with random weights.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn new(config: &FusionConfig, device: &Device) -> Self {
        let FusionConfig { dim, heads, mlp_hidden, layers, max_text, visual, dropout } = *config;
        Self {
            reg_token: normal([1, dim], device),
            position: normal([1 + max_text + visual, dim], device),
            encoder: xavier(transformer(dim, heads, mlp_hidden, dropout).encoder(layers, device)),
            bbox: Mlp::new(&[dim, dim, dim, 4], device),
            max_text,
        }
    }

    /// Reads at most `L` tokens of a phrase. Padding behind a phrase may be left out: it changes nothing.
    ///
    /// # Shapes
    /// - returns `[B, 4]`: centre x, centre y, width, height, each in `[0, 1]` of the canvas
    ///
    /// # Panics
    /// If the phrase is longer, or there are more or fewer visual tokens than places.
    pub fn forward<O: Look>(&self, text: &Masked, visual: &Masked, look: &mut O) -> Tensor<2> {
        let ([b, l, d], [_, s, _]) = (text.tokens.dims(), visual.tokens.dims());
        assert_shape!(visual.tokens, [b, s, d]);
        let places = self.position.val();
        assert!(l <= self.max_text, "a phrase of {l} tokens, at most {} have a place", self.max_text);
        assert_eq!(places.dims()[0], 1 + self.max_text + s, "a place for each token");
        let places = if l == self.max_text {
            places
        } else {
            Tensor::cat(vec![places.clone().narrow(0, 0, 1 + l), places.narrow(0, 1 + self.max_text, s)], 0)
        };
        let places = places.unsqueeze_dim::<3>(0);
        let reg = Masked { tokens: self.reg_token.val().reshape([1, 1, d]).expand([b, 1, d]), padding: None };
        let mut x = Tensor::cat(vec![reg.tokens.clone(), text.tokens.clone(), visual.tokens.clone()], 1);
        let hides = text.padding.is_some() || visual.padding.is_some();
        let padding = hides.then(|| Tensor::cat(vec![reg.padding(), text.padding(), visual.padding()], 1));
        let bias = padding.clone().map_or(AttentionBias::none(), AttentionBias::padding);
        for (index, layer) in self.encoder.layers.iter().enumerate() {
            look.attention(index, || {
                let keys = x.clone() + places.clone();
                let scores = layer.self_attn.scores(keys.clone().narrow(1, 0, 1), keys).squeeze_dim::<3>(2);
                Attention { scores, padding: padding.clone() }
            });
            x = layer.forward(Tokens::new(x).at(places.clone()).masked(bias.clone()));
            look.see("vl_encoder.{}", index, || x.clone());
        }
        let answer = x.narrow(1, 0, 1).reshape([b, d]);
        activation::sigmoid(self.bbox.forward(answer))
    }
}

impl PrepareInference for Fusion {
    fn prepare_inference(&mut self) {
        self.encoder.prepare_inference();
        self.bbox.prepare_inference();
    }
}
