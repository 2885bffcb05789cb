//! TransVG: one transformer over phrase and picture, and a token that answers.
//!
//! Source: Deng, Yang, Chen, Zhou, Li, "TransVG: End-to-End Visual Grounding with Transformers", ICCV 2021 (arXiv:2104.08541). Weights of the
//! authors load through [`Trainable::layouts`].
//!
//! A ResNet (or another backbone) and DETR's encoder make visual tokens, BERT makes phrase tokens. Both, with one learned token before them, pass six layers in
//! which everything attends to everything; the learned token then gives the box.
//!
//! | file | what |
//! |---|---|
//! | `config` | sizes |
//! | `weights` | key tables |
//! | [`crate::bases`] | the parts |
//!
//! DEVIATION: phrases are not filled up to their longest length, since what is hidden changes nothing.

mod config;
mod weights;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use groundling_core::ContentRect;
use groundling_nn::bert::Bert;
use groundling_nn::layers::{Dense, PrepareInference};

pub use config::TransVgConfig;
pub use weights::OFFICIAL_KEYS;

use crate::attbalance::{Attended, Attentive};
pub use crate::bases::Criterion;
use crate::bases::{
    Blind, Cells, DetrVisual, DetrVisualConfig, Fusion, FusionConfig, Look, Masked, ScoresOf, TraceOf, answer,
    box_losses, encode, input_spec, phrase_ids,
};
use crate::contract::{
    Batch, ConfigError, GroundOptions, Grounded, InputSpec, Layout, Losses, OptionError, ParameterGroup, SampleTruth,
    System, Trainable,
};

/// The model. Fields are named as in its files.
#[derive(Module, Debug)]
pub struct TransVg {
    /// Pictures.
    pub visual: DetrVisual,
    /// Phrases.
    pub text: Bert,
    /// Visual tokens to the width of the fusion.
    pub visu_proj: Dense,
    /// Phrase tokens to the width of the fusion.
    pub text_proj: Dense,
    /// Both together.
    pub fusion: Fusion,
    #[module(skip)]
    config: TransVgConfig,
}

/// A phrase as TransVG keeps it.
#[derive(Debug, Clone)]
pub struct Phrase {
    /// `[1, L, D]`.
    tokens: Tensor<3>,
}

/// A picture as TransVG keeps it.
#[derive(Debug, Clone)]
pub struct View {
    tokens: Masked,
}

impl TransVg {
    /// The module with random weights.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn new(config: &TransVgConfig, device: &Device) -> Result<Self, ConfigError> {
        config.check()?;
        let TransVgConfig { dim, heads, mlp_hidden, max_text, dropout, .. } = *config;
        let visual = DetrVisualConfig {
            backbone: &config.backbone,
            stage: config.stage,
            placed: config.placed,
            dim,
            heads,
            mlp_hidden,
            layers: config.encoder_layers,
            dropout,
        };
        let layers = config.fusion_layers;
        let fusion = FusionConfig { dim, heads, mlp_hidden, layers, max_text, visual: config.grid().pow(2), dropout };
        Ok(Self {
            visual: DetrVisual::new(&visual, device)?,
            text: config.bert.init(device),
            visu_proj: Dense::new(dim, dim, device),
            text_proj: Dense::new(config.bert.width, dim, device),
            fusion: Fusion::new(&fusion, device),
            config: config.clone(),
        })
    }

    /// Boxes `[B, 4]` of a batch.
    ///
    /// # Panics
    /// If sizes disagree, or a phrase is longer than the configuration says.
    pub fn forward<O: Look>(&self, batch: &Batch, look: &mut O) -> Tensor<2> {
        let text = self.phrases(batch.ids.clone(), &batch.lengths, look);
        let visual = self.pictures(batch.canvases.clone(), &batch.contents, look);
        self.fusion.forward(&text, &visual, look)
    }

    /// The losses of boxes `[B, 4]`.
    ///
    /// # Panics
    /// If there is not one truth for each pair.
    pub fn losses_of(boxes: Tensor<2>, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        box_losses(boxes.unsqueeze_dim(0), truths, criterion.weights())
    }

    fn phrases<O: Look>(&self, ids: Tensor<2, Int>, lengths: &[usize], look: &mut O) -> Masked {
        let words = encode(&self.text, ids, lengths, look);
        let last = words.hidden.into_iter().next_back().expect("the embeddings are always there");
        let tokens = self.text_proj.forward(last);
        look.see("text_proj", 0, || tokens.clone());
        Masked { tokens, padding: words.padding }
    }

    fn pictures<O: Look>(&self, canvases: Tensor<4>, contents: &[ContentRect], look: &mut O) -> Masked {
        let (canvas, grid) = (self.config.image_size, self.config.grid());
        let cells = Cells::hidden_if(self.config.hide_padding, contents, canvas, grid);
        let seen = self.visual.forward(canvases, &cells, look);
        let tokens = self.visu_proj.forward(seen.tokens);
        look.see("visu_proj", 0, || tokens.clone());
        Masked { tokens, padding: seen.padding }
    }
}

impl Trainable for TransVg {
    const NAME: &'static str = "transvg";
    type Config = TransVgConfig;
    type Criterion = Criterion;

    fn init(config: &TransVgConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::new(config, device)
    }

    fn config(&self) -> &TransVgConfig {
        &self.config
    }

    fn layouts(config: &TransVgConfig) -> Vec<Layout> {
        weights::layouts(&config.backbone)
    }

    /// What DETR and BERT do not provide is new.
    fn parameter_group(name: &str) -> ParameterGroup {
        let read = ["visual.", "text."].iter().any(|part| name.starts_with(part));
        if read { ParameterGroup::Backbone } else { ParameterGroup::New }
    }

    fn for_training(self, criterion: &Criterion) -> Result<Self, ConfigError> {
        criterion.check()?;
        Ok(self)
    }
}

impl System for TransVg {
    type Phrase = Phrase;
    type View = View;

    fn input(config: &TransVgConfig) -> InputSpec {
        input_spec(config.image_size, config.max_text, config.bert.vocabulary)
    }

    fn losses(&self, batch: &Batch, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        Self::losses_of(self.forward(batch, &mut Blind), truths, criterion)
    }

    fn read_phrase(&self, ids: &[u32]) -> Phrase {
        let tokens = phrase_ids(ids, &self.fusion.position.val().device());
        Phrase { tokens: self.phrases(tokens, &[ids.len()], &mut Blind).tokens }
    }

    fn read_canvas(&self, canvas: Tensor<4>, content: ContentRect) -> View {
        View { tokens: self.pictures(canvas, &[content], &mut Blind) }
    }

    fn ground(&self, phrase: &Phrase, view: &View, options: &GroundOptions) -> Result<Grounded, OptionError> {
        let pieces = phrase.tokens.dims()[1];
        let flops = self.config.dense_flops(pieces);
        options.check_one_level(flops)?;
        let text = Masked { tokens: phrase.tokens.clone(), padding: None };
        let mut scores = ScoresOf::all_if(options.attention);
        let boxes = self.fusion.forward(&text, &view.tokens, &mut scores);
        let of = TraceOf { skip: 1 + pieces, grids: &[[self.config.grid(); 2]] };
        let trace = options.attention.then(|| of.trace(scores.found));
        Ok(answer(boxes.unsqueeze_dim(0), flops, trace))
    }
}

impl Attentive for TransVg {
    fn attentive_layers(config: &TransVgConfig) -> usize {
        config.fusion_layers
    }

    fn box_weights(criterion: &Criterion) -> [f64; 2] {
        [criterion.lambda_l1, criterion.lambda_giou]
    }

    fn attend(&self, batch: &Batch, layers: &[usize]) -> Attended {
        let mut scores = ScoresOf::layers(layers);
        let boxes = self.forward(batch, &mut scores).unsqueeze_dim(0);
        let pieces = batch.ids.dims()[1];
        Attended::new(boxes, scores.found, 1 + pieces, &[[self.config.grid(); 2]])
    }
}

impl PrepareInference for TransVg {
    fn prepare_inference(&mut self) {
        self.visual.prepare_inference();
        self.text.prepare_inference();
        self.visu_proj.prepare_inference();
        self.text_proj.prepare_inference();
        self.fusion.prepare_inference();
    }
}
