//! QRNet: a picture encoder that the phrase steers, and the fusion encoder of TransVG.
//!
//! Source: Ye, Tian, Yan, Yang, Wang, Zhang, He, Lin, "Shifting More Attention to Visual Backbone: Query-modulated Refinement Networks for
//! End-to-End Visual Grounding", CVPR 2022 (arXiv:2203.15442). Weights of the authors load through [`Trainable::layouts`].
//!
//! After every stage of a Swin the phrase says which channels and places pass. A neck gathers the four maps into two, whose cells are the
//! visual tokens. Since the phrase decides what is seen, a picture cannot be read before it: a view is the canvas.
//!
//! | file | what |
//! |---|---|
//! | `config` | sizes |
//! | `gate` | gates whose weights the phrase makes |
//! | `visual` | backbone and neck |
//! | `weights` | key tables |
//! | [`crate::bases`] | the parts it shares with TransVG |
//!
//! PARITY: gates and unshifted windows see the padding of the canvas, as the released weights expect.

mod config;
mod gate;
mod visual;
mod weights;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use groundling_core::ContentRect;
use groundling_nn::bert::Bert;
use groundling_nn::layers::{Dense, PrepareInference};

pub use config::QrNetConfig;
pub use gate::{Gated, QueryGate};
pub use visual::QueryVisual;
pub use weights::{DETECTOR_KEYS, GATE_KEYS, OFFICIAL_KEYS};

use crate::attbalance::{Attended, Attentive};
pub use crate::bases::Criterion;
use crate::bases::{
    Blind, Cells, Fusion, FusionConfig, Look, Masked, ScoresOf, TraceOf, answer, box_losses, encode, input_spec,
    normal, phrase_ids,
};
use crate::contract::{
    Batch, ConfigError, GroundOptions, Grounded, InputSpec, Layout, Losses, OptionError, ParameterGroup, SampleTruth,
    System, Trainable,
};

/// Rows of the table of scales; the last two are read.
const SCALES: usize = 5;

/// The model. Fields are named as in its files.
#[derive(Module, Debug)]
pub struct QrNet {
    /// Pictures.
    pub visual: QueryVisual,
    /// Phrases.
    pub text: Bert,
    /// Added to the tokens of a map, `[5, D]`.
    pub scale_embed: Param<Tensor<2>>,
    /// Visual tokens to the width of the fusion.
    pub visu_proj: Dense,
    /// Phrase tokens to the width of the fusion.
    pub text_proj: Dense,
    /// Both together.
    pub fusion: Fusion,
    #[module(skip)]
    config: QrNetConfig,
}

/// A phrase as QRNet keeps it.
#[derive(Debug, Clone)]
pub struct Phrase {
    words: Words,
}

/// Phrases for the fusion and for the gates.
#[derive(Debug, Clone)]
struct Words {
    tokens: Masked,
    /// What the gates read: BERT's first token, `[B, P]`.
    whole: Tensor<2>,
}

/// A picture as QRNet keeps it.
#[derive(Debug, Clone)]
pub struct View {
    /// `[1, 3, H, W]`.
    canvas: Tensor<4>,
    content: ContentRect,
}

impl QrNet {
    /// The module with random weights.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn new(config: &QrNetConfig, device: &Device) -> Result<Self, ConfigError> {
        config.check()?;
        let QrNetConfig { dim, heads, mlp_hidden, max_text, dropout, .. } = *config;
        let (layers, visual) = (config.fusion_layers, config.visual_tokens());
        let fusion = FusionConfig { dim, heads, mlp_hidden, layers, max_text, visual, dropout };
        Ok(Self {
            visual: QueryVisual::new(config, device),
            text: config.bert.init(device),
            scale_embed: normal([SCALES, dim], device),
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
        let words = self.phrases(batch.ids.clone(), &batch.lengths, look);
        self.boxes(batch.canvases.clone(), &batch.contents, &words, look)
    }

    /// The losses of boxes `[B, 4]`.
    ///
    /// # Panics
    /// If there is not one truth for each pair.
    pub fn losses_of(boxes: Tensor<2>, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        box_losses(boxes.unsqueeze_dim(0), truths, criterion.weights())
    }

    fn phrases<O: Look>(&self, ids: Tensor<2, Int>, lengths: &[usize], look: &mut O) -> Words {
        let words = encode(&self.text, ids, lengths, look);
        let last = words.hidden.into_iter().next_back().expect("the embeddings are always there");
        look.see("text_last", 0, || last.clone());
        let [b, _, p] = last.dims();
        let whole = last.clone().narrow(1, 0, 1).reshape([b, p]);
        Words { tokens: Masked { tokens: self.text_proj.forward(last), padding: words.padding }, whole }
    }

    fn boxes<O: Look>(&self, canvases: Tensor<4>, contents: &[ContentRect], words: &Words, look: &mut O) -> Tensor<2> {
        let device = canvases.device();
        let maps = self.visual.forward(canvases, &words.whole, look);
        let scales = self.scale_embed.val();
        let (mut tokens, mut padding) = (Vec::new(), Vec::new());
        for (index, map) in maps.into_iter().enumerate() {
            let [b, d, h, w] = map.dims();
            let scale = scales.clone().narrow(0, SCALES - 2 + index, 1).reshape([1, 1, d]);
            tokens.push(map.reshape([b, d, h * w]).swap_dims(1, 2) + scale);
            let side = self.config.grids()[index][0];
            assert_eq!([h, w], [side; 2], "the map of a square canvas");
            padding.push(Cells::hidden_if(self.config.hide_padding, contents, self.config.image_size, side));
        }
        let tokens = self.visu_proj.forward(Tensor::cat(tokens, 1));
        look.see("visu_proj", 0, || tokens.clone());
        let hides = padding.iter().any(Cells::any);
        let flat = |cells: &Cells| cells.map(&device).reshape([cells.batch(), cells.side * cells.side]);
        let padding = hides.then(|| Tensor::cat(padding.iter().map(flat).collect(), 1));
        self.fusion.forward(&words.tokens, &Masked { tokens, padding }, look)
    }
}

impl Trainable for QrNet {
    const NAME: &'static str = "qrnet";
    type Config = QrNetConfig;
    type Criterion = Criterion;

    fn init(config: &QrNetConfig, device: &Device) -> Result<Self, ConfigError> {
        Self::new(config, device)
    }

    fn config(&self) -> &QrNetConfig {
        &self.config
    }

    fn layouts(_: &QrNetConfig) -> Vec<Layout> {
        weights::layouts()
    }

    /// Gates and what a detector and BERT do not provide are new.
    fn parameter_group(name: &str) -> ParameterGroup {
        let read = ["visual.swin.", "visual.lateral.", "text."].iter().any(|part| name.starts_with(part));
        if read { ParameterGroup::Backbone } else { ParameterGroup::New }
    }

    fn for_training(self, criterion: &Criterion) -> Result<Self, ConfigError> {
        criterion.check()?;
        Ok(self)
    }
}

impl System for QrNet {
    type Phrase = Phrase;
    type View = View;

    fn input(config: &QrNetConfig) -> InputSpec {
        input_spec(config.image_size, config.max_text, config.bert.vocabulary)
    }

    fn losses(&self, batch: &Batch, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        Self::losses_of(self.forward(batch, &mut Blind), truths, criterion)
    }

    fn read_phrase(&self, ids: &[u32]) -> Phrase {
        let tokens = phrase_ids(ids, &self.scale_embed.val().device());
        Phrase { words: self.phrases(tokens, &[ids.len()], &mut Blind) }
    }

    fn read_canvas(&self, canvas: Tensor<4>, content: ContentRect) -> View {
        View { canvas, content }
    }

    fn ground(&self, phrase: &Phrase, view: &View, options: &GroundOptions) -> Result<Grounded, OptionError> {
        let Phrase { words } = phrase;
        let pieces = words.tokens.tokens.dims()[1];
        let flops = self.config.dense_flops(pieces);
        options.check_one_level(flops)?;
        let (canvas, contents) = (view.canvas.clone(), [view.content]);
        let mut scores = ScoresOf::all_if(options.attention);
        let boxes = self.boxes(canvas, &contents, words, &mut scores);
        let of = TraceOf { skip: 1 + pieces, grids: &self.config.grids() };
        let trace = options.attention.then(|| of.trace(scores.found));
        Ok(answer(boxes.unsqueeze_dim(0), flops, trace))
    }
}

impl Attentive for QrNet {
    fn attentive_layers(config: &QrNetConfig) -> usize {
        config.fusion_layers
    }

    fn box_weights(criterion: &Criterion) -> [f64; 2] {
        [criterion.lambda_l1, criterion.lambda_giou]
    }

    fn attend(&self, batch: &Batch, layers: &[usize]) -> Attended {
        let mut scores = ScoresOf::layers(layers);
        let boxes = self.forward(batch, &mut scores).unsqueeze_dim(0);
        Attended::new(boxes, scores.found, 1 + batch.ids.dims()[1], &self.config.grids())
    }
}

impl PrepareInference for QrNet {
    fn prepare_inference(&mut self) {
        self.visual.prepare_inference();
        self.text.prepare_inference();
        self.visu_proj.prepare_inference();
        self.text_proj.prepare_inference();
        self.fusion.prepare_inference();
    }
}
