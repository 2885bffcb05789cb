//! Gates whose weights the phrase makes.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation, assert_shape};
use groundling_nn::layers::{Dense, PrepareInference};

use crate::bases::zeros;

/// A linear layer whose weight and bias are a matrix of low rank made of a phrase.
#[derive(Module, Debug)]
struct MadeLinear {
    /// From the phrase to a factor `[inputs + 1, rank]`, whose last row makes the bias.
    decoder: Dense,
    /// The other factor, `[rank, outputs]`, the same for all phrases.
    basis: Param<Tensor<2>>,
    inputs: usize,
}

impl MadeLinear {
    fn new(inputs: usize, outputs: usize, phrase: usize, rank: usize, device: &Device) -> Self {
        let decoder = Dense::new(phrase, (inputs + 1) * rank, device);
        Self { decoder, basis: zeros([rank, outputs], device), inputs }
    }

    /// `[B, N, inputs]` to `[B, N, outputs]`, by phrases `[B, P]`.
    fn forward(&self, x: Tensor<3>, phrase: Tensor<2>) -> Tensor<3> {
        let basis = self.basis.val();
        let ([b, _], [rank, _]) = (phrase.dims(), basis.dims());
        let factor = self.decoder.forward(phrase).reshape([b, self.inputs + 1, rank]);
        let made = factor.matmul(basis.unsqueeze_dim::<3>(0).repeat_dim(0, b)); // [B, inputs + 1, outputs]
        x.matmul(made.clone().narrow(1, 0, self.inputs)) + made.narrow(1, self.inputs, 1)
    }
}

/// Scales channels, then tokens, of a map by what a phrase asks for.
#[derive(Module, Debug)]
pub struct QueryGate {
    squeeze: MadeLinear,
    expand: MadeLinear,
    spatial: MadeLinear,
}

/// A map that passed a [`QueryGate`].
#[derive(Debug, Clone)]
pub struct Gated {
    /// How much of each channel passed, `[B, C]`.
    pub channels: Tensor<2>,
    /// After the gate of the channels, `[B, N, C]`.
    pub scaled: Tensor<3>,
    /// After both, `[B, N, C]`.
    pub tokens: Tensor<3>,
}

impl QueryGate {
    /// For maps of `channels`, phrases of `phrase` numbers, with a channel gate `reduction` times narrower in its middle. It starts half open.
    pub fn new(channels: usize, phrase: usize, rank: usize, reduction: usize, device: &Device) -> Self {
        let made = |inputs, outputs| MadeLinear::new(inputs, outputs, phrase, rank, device);
        let middle = channels / reduction;
        Self { squeeze: made(channels, middle), expand: made(middle, channels), spatial: made(channels, 1) }
    }

    /// # Shapes
    /// - `x` `[B, N, C]`; `phrase` `[B, P]`
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn forward(&self, x: Tensor<3>, phrase: &Tensor<2>) -> Gated {
        let ([b, n, c], [_, p]) = (x.dims(), phrase.dims());
        assert_shape!(phrase, [b, p]);
        assert_shape!(x, [b, n, c]);
        // The same two layers read mean and maximum of the tokens.
        let pooled = Tensor::cat(vec![x.clone().mean_dim(1), x.clone().max_dim(1)], 1); // [B, 2, C]
        let hidden = activation::relu(self.squeeze.forward(pooled, phrase.clone()));
        let gate = activation::sigmoid(self.expand.forward(hidden, phrase.clone()).sum_dim(1)); // [B, 1, C]
        let scaled = x * gate.clone();
        let tokens = scaled.clone() * activation::sigmoid(self.spatial.forward(scaled.clone(), phrase.clone()));
        Gated { channels: gate.reshape([b, c]), scaled, tokens }
    }
}

impl PrepareInference for QueryGate {
    fn prepare_inference(&mut self) {
        for layer in [&mut self.squeeze, &mut self.expand, &mut self.spatial] {
            layer.decoder.prepare_inference();
        }
    }
}
