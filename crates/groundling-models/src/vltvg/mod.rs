//! VLTVG: verifies every place of a picture against the phrase, then asks phrase and picture in turn.
//!
//! Source: Yang, Xu, Yuan, Liu, Li, Hu, "Improving Visual Grounding with Visual-Linguistic Verification and Iterative Reasoning", CVPR 2022
//! (arXiv:2205.00272). Weights of the authors load through [`Trainable::layouts`].
//!
//! Visual and phrase tokens are made as TransVG makes them, phrase tokens being the mean of BERT's last layers. Every visual token is scored by
//! how well it fits the phrase and gathers context; a query then reads phrase and picture six times, giving a box each time.
//!
//! | file | what |
//! |---|---|
//! | `config` | sizes |
//! | `verify` | scores and context of visual tokens |
//! | `decoder` | the stages |
//! | `weights` | key tables |
//! | [`crate::bases`] | the parts it shares with TransVG |
//!
//! DEVIATION: canvases of other sizes than 640 pixels are possible; their relative places reach as far as their maps.
//! PARITY: cells outside the picture are attended to, as the released weights expect.

mod config;
mod decoder;
mod verify;
mod weights;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, activation};
use groundling_core::ContentRect;
use groundling_nn::bert::Bert;
use groundling_nn::layers::{Dense, PrepareInference};
use groundling_nn::mlp::Mlp;
use serde::{Deserialize, Serialize};

pub use config::VltvgConfig;
pub use decoder::{Decoder, DecoderConfig};
pub use weights::{DECODER_KEYS, OFFICIAL_KEYS};

use crate::attbalance::{Attended, Attentive};
use crate::bases::{
    Blind, BoxWeights, Cells, DetrVisual, DetrVisualConfig, Look, ScoresOf, Seen, TraceOf, answer, box_losses, encode,
    input_spec, phrase_ids,
};
use crate::contract::{
    Batch, ConfigError, GroundOptions, Grounded, InputSpec, Layout, Losses, OptionError, ParameterGroup, SampleTruth,
    System, Trainable,
};

/// Weights of the losses, the same on every stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criterion {
    /// Of the L1 distance of the boxes, the sum over their four numbers.
    pub lambda_l1: f64,
    /// Of one minus their GIoU.
    pub lambda_giou: f64,
    /// Whether the boxes of all stages are trained, or those of the last only.
    pub every_stage: bool,
    /// Divide as the released code does: a prediction and a truth without area make every gradient of the batch NaN.
    pub unguarded_giou: bool,
}

impl Default for Criterion {
    fn default() -> Self {
        Self { lambda_l1: 5.0, lambda_giou: 2.0, every_stage: true, unguarded_giou: false }
    }
}

impl Criterion {
    fn weights(&self) -> BoxWeights {
        BoxWeights { l1: self.lambda_l1, giou: self.lambda_giou, unguarded: self.unguarded_giou }
    }
}

/// The model. Fields are named as in its files.
#[derive(Module, Debug)]
pub struct Vltvg {
    /// Pictures.
    pub visual: DetrVisual,
    /// Phrases.
    pub text: Bert,
    /// Phrase tokens to the width of the decoder.
    pub text_proj: Dense,
    /// Both together.
    pub decoder: Decoder,
    /// From the query of a stage to a box.
    pub bbox: Mlp,
    #[module(skip)]
    config: VltvgConfig,
}

/// Phrase tokens of a batch.
#[derive(Debug, Clone)]
pub struct Words {
    /// `[B, L, D]`.
    pub tokens: Tensor<3>,
    /// `[B, L]`, `true` = ignore; `None` if all are real.
    pub padding: Option<Tensor<2, Bool>>,
}

/// A phrase as VLTVG keeps it.
#[derive(Debug, Clone)]
pub struct Phrase {
    words: Words,
}

/// A picture as VLTVG keeps it.
#[derive(Debug, Clone)]
pub struct View {
    seen: Seen,
    cells: Cells,
}

impl Vltvg {
    /// The module with random weights.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn new(config: &VltvgConfig, device: &Device) -> Result<Self, ConfigError> {
        config.check()?;
        let VltvgConfig { dim, heads, mlp_hidden, dropout, .. } = *config;
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
        let decoder = DecoderConfig { dim, heads, mlp_hidden, stages: config.decoder_stages, dropout };
        Ok(Self {
            visual: DetrVisual::new(&visual, device)?,
            text: config.bert.init(device),
            text_proj: Dense::new(config.bert.width, dim, device),
            decoder: Decoder::new(&decoder, device),
            bbox: Mlp::new(&[dim, dim, dim, 4], device),
            config: config.clone(),
        })
    }

    /// Boxes `[stages, B, 4]` of a batch.
    ///
    /// # Panics
    /// If sizes disagree, or a phrase is longer than the phrase encoder can read.
    pub fn forward<O: Look>(&self, batch: &Batch, look: &mut O) -> Tensor<3> {
        let words = self.phrases(batch.ids.clone(), &batch.lengths, look);
        let cells = self.cells(&batch.contents);
        let seen = self.visual.forward(batch.canvases.clone(), &cells, look);
        self.boxes(&seen, &cells, &words, look)
    }

    /// The losses of boxes `[stages, B, 4]`.
    ///
    /// # Panics
    /// If there is not one truth for each pair.
    pub fn losses_of(boxes: Tensor<3>, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        let stages = boxes.dims()[0];
        let boxes = if criterion.every_stage { boxes } else { boxes.narrow(0, stages - 1, 1) };
        box_losses(boxes, truths, criterion.weights())
    }

    fn phrases<O: Look>(&self, ids: Tensor<2, Int>, lengths: &[usize], look: &mut O) -> Words {
        let encoded = encode(&self.text, ids, lengths, look);
        let count = self.config.bert_output_layers;
        let last = encoded.hidden.into_iter().rev().take(count);
        let sum = last.reduce(|sum, layer| sum + layer).expect("at least one layer is read");
        let tokens = self.text_proj.forward(sum.div_scalar(count as f64));
        look.see("bert_proj", 0, || tokens.clone());
        Words { tokens, padding: encoded.padding }
    }

    fn cells(&self, contents: &[ContentRect]) -> Cells {
        let (canvas, grid) = (self.config.image_size, self.config.grid());
        Cells::hidden_if(self.config.hide_padding, contents, canvas, grid)
    }

    fn boxes<O: Look>(&self, seen: &Seen, cells: &Cells, words: &Words, look: &mut O) -> Tensor<3> {
        let read = self.decoder.forward(seen, cells, words, look);
        look.see("hs", 0, || read.clone());
        activation::sigmoid(self.bbox.forward(read))
    }
}

impl Trainable for Vltvg {
    const NAME: &'static str = "vltvg";
    type Config = VltvgConfig;
    type Criterion = Criterion;

    fn init(config: &VltvgConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::new(config, device)
    }

    fn config(&self) -> &VltvgConfig {
        &self.config
    }

    fn layouts(config: &VltvgConfig) -> Vec<Layout> {
        weights::layouts(&config.backbone)
    }

    /// What DETR and BERT do not provide is new.
    fn parameter_group(name: &str) -> ParameterGroup {
        let read = ["visual.", "text."].iter().any(|part| name.starts_with(part));
        if read { ParameterGroup::Backbone } else { ParameterGroup::New }
    }

    fn for_training(self, criterion: &Criterion) -> Result<Self, ConfigError> {
        criterion.weights().check()?;
        Ok(self)
    }
}

impl System for Vltvg {
    type Phrase = Phrase;
    type View = View;

    fn input(config: &VltvgConfig) -> InputSpec {
        input_spec(config.image_size, config.max_text, config.bert.vocabulary)
    }

    fn losses(&self, batch: &Batch, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        Self::losses_of(self.forward(batch, &mut Blind), truths, criterion)
    }

    fn read_phrase(&self, ids: &[u32]) -> Phrase {
        let tokens = phrase_ids(ids, &self.text_proj.weight.val().device());
        Phrase { words: self.phrases(tokens, &[ids.len()], &mut Blind) }
    }

    fn read_canvas(&self, canvas: Tensor<4>, content: ContentRect) -> View {
        let cells = self.cells(&[content]);
        View { seen: self.visual.forward(canvas, &cells, &mut Blind), cells }
    }

    fn ground(&self, phrase: &Phrase, view: &View, options: &GroundOptions) -> Result<Grounded, OptionError> {
        let flops = self.config.dense_flops(phrase.words.tokens.dims()[1]);
        options.check_one_level(flops)?;
        let mut scores = ScoresOf::all_if(options.attention);
        let boxes = self.boxes(&view.seen, &view.cells, &phrase.words, &mut scores);
        let of = TraceOf { skip: 0, grids: &[[self.config.grid(); 2]] };
        let trace = options.attention.then(|| of.trace(scores.found));
        Ok(answer(boxes, flops, trace))
    }
}

impl Attentive for Vltvg {
    fn attentive_layers(config: &VltvgConfig) -> usize {
        config.decoder_stages
    }

    /// All stages.
    fn supervised_layers(config: &VltvgConfig) -> Vec<usize> {
        (0..config.decoder_stages).collect()
    }

    fn epochs_supervised(_: &VltvgConfig) -> usize {
        90
    }

    fn box_weights(criterion: &Criterion) -> [f64; 2] {
        [criterion.lambda_l1, criterion.lambda_giou]
    }

    fn attend(&self, batch: &Batch, layers: &[usize]) -> Attended {
        let mut scores = ScoresOf::layers(layers);
        let boxes = self.forward(batch, &mut scores);
        Attended::new(boxes, scores.found, 0, &[[self.config.grid(); 2]])
    }
}

impl PrepareInference for Vltvg {
    fn prepare_inference(&mut self) {
        self.visual.prepare_inference();
        self.text.prepare_inference();
        self.text_proj.prepare_inference();
        self.decoder.prepare_inference();
        self.bbox.prepare_inference();
    }
}
