//! Whether anything fits the phrase, asked beside the masks. No part of the published model.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor};
use groundling_kernels::AttentionBias;
use groundling_nn::layers::{Dense, PrepareInference};
use groundling_nn::transformer::{DecoderLayer, Tokens};

use super::config::DmmiConfig;
use super::decoder::{Decoded, flat};
use super::norms::dense;

/// Words ask the decoder's maps what is there; what they find is added to what the masks show.
#[derive(Module, Debug)]
pub(super) struct Absence {
    layers: Vec<DecoderLayer>,
    out: Dense,
}

impl Absence {
    /// With random weights; `None` where the configuration has no such layers.
    pub(super) fn new(config: &DmmiConfig, device: &Device) -> Option<Self> {
        let d = config.text.width;
        (config.absence_layers > 0).then(|| Self {
            layers: (0..config.absence_layers).map(|_| config.transformer().decoder_layer(device)).collect(),
            out: dense(2 * d, 1, device),
        })
    }

    /// Log-odds, `[B, 1]`: `ln(sum of e^odds)` over the pixels of the finest map, about the odds of the likeliest ones, and a linear function
    /// of the mean and of the maximum over the words.
    ///
    /// # Shapes
    /// - `language` `[B, L, D]` as the last stage left it; `valid` `[B, L]`, 1 for a real token, 0 for padding
    ///
    /// # Panics
    /// If shapes disagree.
    pub(super) fn forward(&self, decoded: &Decoded, language: Tensor<3>, valid: Tensor<2>) -> Tensor<2> {
        let [b, l, d] = language.dims();
        let memory = Tensor::cat(vec![flat(decoded.maps[0].clone()), flat(decoded.attended.clone())], 1);
        let padding: Tensor<2, Bool> = valid.clone().equal_elem(0.0);
        let bias = AttentionBias::padding(padding);
        let words = self.layers.iter().fold(language, |words, layer| {
            layer.forward(Tokens::new(words).masked(bias.clone()), Tokens::new(memory.clone()))
        });
        let real = valid.clone().reshape([b, l, 1]);
        let mean = (words.clone() * real.clone()).sum_dim(1) / real.clone().sum_dim(1);
        // Padding is far below anything that a norm lets through.
        let most = (words + (real - 1.0) * 1e4).max_dim(1);
        let found = Tensor::cat(vec![mean, most], 2).reshape([b, 2 * d]);
        self.out.forward(found) + sum_of_odds(decoded.low_logits.clone())
    }
}

/// `ln(sum of e^odds)` over the pixels, `[B, 1]`.
///
/// # Shapes
/// - `logits` `[B, 2, H, W]`
pub(super) fn sum_of_odds(logits: Tensor<4>) -> Tensor<2> {
    let [b, _, h, w] = logits.dims();
    let odds: Tensor<2> = (logits.clone().narrow(1, 1, 1) - logits.narrow(1, 0, 1)).reshape([b, h * w]);
    let most = odds.clone().detach().max_dim(1);
    (odds - most.clone()).exp().sum_dim(1).log() + most
}

impl PrepareInference for Absence {
    fn prepare_inference(&mut self) {
        self.layers.prepare_inference();
        self.out.prepare_inference();
    }
}
