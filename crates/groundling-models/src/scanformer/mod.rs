//! ScanFormer: reads a picture from coarse to fine, and at each step only the patches that the phrase makes worth reading.
//!
//! Source: Su, Miao, Dou, Li, "ScanFormer: Referring Expression Comprehension by Iteratively Scanning", CVPR 2024, pp. 13449-13458
//! (arXiv:2406.18048). The transformer is that of ViLT (Kim et al. 2021, arXiv:2102.03334), whose weights load through
//! [`Trainable::layouts`].
//!
//! One transformer reads the phrase, then the levels of an image pyramid, coarsest first, keeping keys and values in a cache. Halfway
//! through the layers every patch says which of its four parts the next level should read. What is not read is one constant token for
//! each patch, and any number of equal tokens is one with the logarithm of their number added to its logits: the saving is exact. At
//! the end of every level a token of its own gives a box.
//!
//! | file | what |
//! |---|---|
//! | `config` | sizes |
//! | `tokens`, `layer`, `heads` | from pieces to tokens, the block and its cache, what reads tokens |
//! | `training`, `criterion` | the forward pass of training and its losses |
//! | `scan`, `flops` | inference and its count of operations |
//! | `weights` | key tables of ViLT's checkpoints |
//!
//! DEVIATION: the experiment section and official code were not available; the form of the position-scale embedding, of the selection
//! head and of the box head, loss weights and the recipe are choices of this project.

mod choice;
mod config;
mod criterion;
mod flops;
mod geometry;
mod heads;
mod init;
mod layer;
mod scan;
mod tokens;
mod training;
mod weights;

use burn::module::{Module, Param};
use burn::nn::{Dropout, DropoutConfig, Embedding};
use burn::tensor::{Device, Tensor};
use groundling_core::ContentRect;
use groundling_nn::layers::{PrepareInference, TokenNorm};
use groundling_nn::prepared::Prepared;

pub use config::ScanFormerConfig;
pub use criterion::Criterion;
pub use flops::{LevelFlops, LevelLoad};
pub use scan::{Observer, Phrase, Seen, View};
pub use training::{Choice, Manner, Mixing, Trained, TrainedLevel};
pub use weights::{HF_KEYS, OFFICIAL_KEYS};

use crate::contract::{
    Batch, ConfigError, Fit, GroundOptions, Grounded, InputSpec, Layout, Losses, OptionError, ParameterGroup, Resample,
    SampleTruth, System, Trainable,
};
use heads::{Auxiliary, BoxHead, SelectionHead};
use layer::Layer;
use tokens::{PatchTokens, PlaceEmbedding, TextTokens};

/// The model. Fields are named as in its files.
#[derive(Module, Debug)]
pub struct ScanFormer {
    text: TextTokens,
    /// Row 0 is added to word pieces, row 1 to patches.
    modality: Embedding,
    patch: PatchTokens,
    pse: PlaceEmbedding,
    reg_token: Param<Tensor<1>>,
    const_token: Param<Tensor<1>>,
    layers: Vec<Layer>,
    norm: TokenNorm,
    select: SelectionHead,
    r#box: BoxHead,
    /// Heads of auxiliary losses, in training only.
    aux: Option<Auxiliary>,
    dropout: Dropout,
    /// What places and the type of patches add, `[sum of N, D]`.
    places: Prepared<Tensor<2>>,
    #[module(skip)]
    config: ScanFormerConfig,
}

impl ScanFormer {
    /// The module with random weights.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn new(config: &ScanFormerConfig, device: &Device) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            text: TextTokens::new(config, device),
            modality: init::table(2, config.dim, device),
            patch: PatchTokens::new(config, device),
            pse: PlaceEmbedding::new(config, device),
            reg_token: init::truncated_normal([config.dim], device),
            const_token: init::truncated_normal([config.dim], device),
            layers: (0..config.layers).map(|_| Layer::new(config, device)).collect(),
            norm: TokenNorm::new(config.dim, config.ln_eps, device),
            select: SelectionHead::new(config, device),
            r#box: BoxHead::new(config, device),
            aux: None,
            dropout: DropoutConfig::new(config.dropout).init(),
            places: Prepared::none(),
            config: config.clone(),
        })
    }

    /// The losses of what a training pass computed.
    ///
    /// # Panics
    /// If there is not one truth for each pair, or the criterion asks for heads that [`Trainable::for_training`] would have added.
    pub fn losses_of(&self, trained: &Trained, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        criterion::losses(self, trained, truths, criterion)
    }

    /// What the places of all patches and their type add, `[sum of N, D]`.
    fn places(&self) -> Tensor<2> {
        match self.places.get() {
            Some(places) if !self.reg_token.val().device().is_autodiff() => places.clone(),
            _ => self.pse.all(&self.config) + self.modality.weight.val().narrow(0, 1, 1),
        }
    }
}

impl Trainable for ScanFormer {
    const NAME: &'static str = "scanformer";
    type Config = ScanFormerConfig;
    type Criterion = Criterion;

    fn init(config: &ScanFormerConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::new(config, device)
    }

    fn config(&self) -> &ScanFormerConfig {
        &self.config
    }

    fn layouts(_: &ScanFormerConfig) -> Vec<Layout> {
        weights::layouts()
    }

    /// Whatever ViLT does not provide is new.
    fn parameter_group(name: &str) -> ParameterGroup {
        let new = ["select.", "box.", "pse.fc", "aux."].iter().any(|part| name.starts_with(part));
        if new { ParameterGroup::New } else { ParameterGroup::Base }
    }

    fn for_training(mut self, criterion: &Criterion) -> Result<Self, ConfigError> {
        criterion.check()?;
        self.aux = Auxiliary::new(&self.config, criterion, &self.reg_token.val().device());
        Ok(self)
    }

    /// A model that was trained to read everything does so at the usual threshold.
    fn for_release(mut self, criterion: &Criterion) -> Self {
        self.aux = None;
        if criterion.dense {
            self.select.keep_everything();
        }
        self
    }
}

impl System for ScanFormer {
    type Phrase = Phrase;
    type View = View;

    fn input(config: &ScanFormerConfig) -> InputSpec {
        InputSpec {
            side: u32::try_from(config.image_size).unwrap_or(u32::MAX),
            fit: Fit::LetterboxCorner,
            resample: Resample::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
            max_ids: config.max_text,
            vocabulary: config.vocab,
        }
    }

    fn losses(&self, batch: &Batch, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        self.losses_of(&self.forward_training(batch, &[], criterion.manner()), truths, criterion)
    }

    fn read_phrase(&self, ids: &[u32]) -> Phrase {
        self.read_phrase_observed(ids, None)
    }

    fn read_canvas(&self, canvas: Tensor<4>, content: ContentRect) -> View {
        self.view(canvas, content)
    }

    fn ground(&self, phrase: &Phrase, view: &View, options: &GroundOptions) -> Result<Grounded, OptionError> {
        let mut grounded = self.ground_observed(&[(phrase, view)], options, None)?;
        Ok(grounded.pop().expect("one pair has one answer"))
    }

    fn ground_new(&self, ids: &[u32], view: &View, options: &GroundOptions) -> Result<(Phrase, Grounded), OptionError> {
        self.ground_fresh(ids, view, options)
    }

    fn ground_batch(&self, pairs: &[(&Phrase, &View)], options: &GroundOptions) -> Result<Vec<Grounded>, OptionError> {
        self.ground_observed(pairs, options, None)
    }
}

impl PrepareInference for ScanFormer {
    fn prepare_inference(&mut self) {
        self.patch.prepare_inference();
        self.places.set((self.pse.all(&self.config) + self.modality.weight.val().narrow(0, 1, 1)).without_autodiff());
        self.layers.prepare_inference();
        self.select.prepare_inference();
        self.r#box.prepare_inference();
    }
}
