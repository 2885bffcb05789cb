//! DMMI: which pixels a phrase refers to, be it nothing, one thing or many.
//!
//! Source: Hu, Wang, Shao, Xie, Li, Han, Luo, "Beyond One-to-One: Rethinking the Referring Image Segmentation", ICCV 2023
//! (arXiv:2308.13853). Where the paper and the released program disagree this follows the program, because only that gives the outputs of
//! the published checkpoints, which load through [`Trainable::layouts`].
//!
//! The image encoder is stopped after each stage: map and phrase ask one another over windows of several sizes, and both go on changed.
//! A decoder goes back from coarse to fine, with a transformer layer between that lets pixels look at the phrase, to two numbers a pixel.
//! In training a second decoder finds an erased noun of the phrase in the map, and a contrast brings maps and phrases together.
//!
//! | file | what |
//! |---|---|
//! | `config` | sizes |
//! | `mba`, `decoder`, `network` | fusion, decoders, and the network that they are part of |
//! | `absence` | whether anything fits, asked of the words |
//! | `norms` | layers that start as the reference's |
//! | `criterion` | what training minimises |
//! | `infer`, `flops` | inference and its count of operations |
//! | `observe` | looking inside |
//! | `weights` | key tables of the published checkpoints |
//!
//! The published model has no output for "nothing": it is an empty mask. Its score is the probability of background at the pixel that is
//! likeliest to be a target, so that one half is where the mask becomes empty. DEVIATION: a configuration may have layers that say it.
//!
//! PARITY: tokens that are padding keep their embeddings and are seen by the decoders; phrases are always filled up to the same length.
//! PARITY: an erased word becomes the piece `[PAD]`, not `[MASK]`, and stays unmasked.
//! DEVIATION: batch norms of ResNet keep their statistics in training, the reference updates them.
//! DEVIATION: fresh layers of Swin and of attention are drawn as PyTorch's linear layers are, and convolutions with them; the reference
//! draws Swin's from a truncated normal.
//! DEVIATION: maps need not be square (the reference's windows take the root of the number of pixels for the side); inputs are.

mod absence;
mod config;
mod criterion;
mod decoder;
mod flops;
mod infer;
mod mba;
mod network;
mod norms;
mod observe;
mod weights;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor};
use groundling_core::ContentRect;
use groundling_nn::bert::{Bert, BertInput};
use groundling_nn::checkpoint::Rule;
use groundling_nn::layers::PrepareInference;

pub use config::{Backbone, DmmiConfig, TextConfig};
pub use criterion::{Criterion, Targets};
pub use decoder::{Decoded, Decoder, Learned, Recovery, attend};
pub use infer::{Phrase, View};
pub use mba::{Fused, Language, Mba, MbaConfig};
pub use network::{Encoded, Network, Output};
pub use observe::{Observer, Seen};
pub use weights::{DECODER_KEYS, ENCODER_KEYS, LAYER_KEYS, MBA_KEYS, NETWORK_KEYS, OFFICIAL_KEYS, RECOVERY_KEYS};

use criterion::Auxiliary;

use crate::contract::{
    Batch, ConfigError, Fit, GroundOptions, Grounded, InputSpec, Layout, Losses, OptionError, ParameterGroup, Resample,
    SampleTruth, System, Trainable,
};

/// Means and deviations of the images on which the encoders were trained.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The model. Fields are named as in its files.
#[derive(Module, Debug)]
pub struct Dmmi {
    text: Bert,
    network: Network,
    /// Heads of auxiliary losses, in training only.
    aux: Option<Auxiliary>,
    #[module(skip)]
    config: DmmiConfig,
}

impl Dmmi {
    /// The module with random weights.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn new(config: &DmmiConfig, device: &Device) -> Result<Self, ConfigError> {
        config.check()?;
        let (text, network) = (config.text.bert().init(device), Network::new(config, device)?);
        Ok(Self { text, network, aux: None, config: config.clone() })
    }

    /// Everything but the phrase encoder.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// With another network of the same sizes: weights that were loaded without a phrase encoder.
    pub fn with_network(self, network: Network) -> Self {
        Self { network, ..self }
    }

    /// Embeddings of phrases.
    ///
    /// # Shapes
    /// - `ids` `[B, L]`; `valid` `[B, L]`, 1 for a real token, 0 for padding
    /// - returns `[B, L, D]`
    ///
    /// # Panics
    /// If shapes disagree.
    pub fn embed(&self, ids: Tensor<2, Int>, valid: Tensor<2>) -> Tensor<3> {
        let padding: Tensor<2, Bool> = valid.equal_elem(0.0);
        self.text.forward(BertInput { ids, types: None, padding }).last()
    }
}

impl Trainable for Dmmi {
    const NAME: &'static str = "dmmi";
    const MAY_LACK: &'static [Rule] = &[weights::ABSENCE];
    type Config = DmmiConfig;
    type Criterion = Criterion;

    fn init(config: &DmmiConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::new(config, device)
    }

    fn config(&self) -> &DmmiConfig {
        &self.config
    }

    fn layouts(config: &DmmiConfig) -> Vec<Layout> {
        weights::layouts(&config.backbone)
    }

    /// Encoders of image and phrase start from published weights where there are any.
    fn parameter_group(name: &str) -> ParameterGroup {
        let encoder = ["text.", "network.backbone."].iter().any(|part| name.starts_with(part));
        if encoder { ParameterGroup::Backbone } else { ParameterGroup::New }
    }

    fn for_training(mut self, criterion: &Criterion) -> Result<Self, ConfigError> {
        criterion.check()?;
        self.network.fix_norms(criterion.fixed_norms);
        self.aux = Auxiliary::new(criterion, self.config.text.width, &self.network.device());
        let Some(trained) = criterion.trained_text_layers else { return Ok(self) };
        let is_fixed = |name: &str| {
            let Some(layer) = name.strip_prefix("encoder.layer.") else { return true };
            layer.split('.').next().and_then(|layer| layer.parse::<usize>().ok()).is_none_or(|layer| layer >= trained)
        };
        self.text = criterion::fixed(self.text, is_fixed);
        Ok(self)
    }

    fn for_release(mut self, _: &Criterion) -> Self {
        self.aux = None;
        self
    }
}

impl System for Dmmi {
    const SEGMENTS: bool = true;
    type Phrase = Phrase;
    type View = View;

    fn input(config: &DmmiConfig) -> InputSpec {
        InputSpec {
            side: u32::try_from(config.image_size).unwrap_or(u32::MAX),
            fit: Fit::Square,
            resample: Resample::Bilinear,
            mean: MEAN,
            std: STD,
            max_ids: config.text_len,
            vocabulary: config.text.vocab,
        }
    }

    fn losses(&self, batch: &Batch, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        self.losses_of_batch(batch, truths, criterion)
    }

    fn read_phrase(&self, ids: &[u32]) -> Phrase {
        self.phrase(ids)
    }

    /// The picture fills the canvas: where it lies is not read.
    fn read_canvas(&self, canvas: Tensor<4>, _: ContentRect) -> View {
        self.view(canvas)
    }

    fn ground(&self, phrase: &Phrase, view: &View, options: &GroundOptions) -> Result<Grounded, OptionError> {
        let mut grounded = self.ground_pairs(&[(phrase, view)], options)?;
        Ok(grounded.pop().expect("one pair has one answer"))
    }

    fn ground_batch(&self, pairs: &[(&Phrase, &View)], options: &GroundOptions) -> Result<Vec<Grounded>, OptionError> {
        self.ground_pairs(pairs, options)
    }
}

impl PrepareInference for Dmmi {
    fn prepare_inference(&mut self) {
        self.text.prepare_inference();
        self.network.prepare_inference();
    }
}
