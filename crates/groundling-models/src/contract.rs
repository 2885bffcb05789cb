//! What every system takes and gives.
//!
//! A [`Trainable`] model can be made from a configuration, stored and trained. A [`System`] is one that grounds phrases, and
//! has two faces. For *training* it turns a [`Batch`] and its [`SampleTruth`]s into [`Losses`]. For *inference* it reads a
//! phrase once ([`System::read_phrase`]) and a picture once ([`System::read_canvas`]), and then answers any pair of them
//! ([`System::ground`]): a phrase is reused over pictures and a picture over phrases, at the cost of neither.
//!
//! Nothing here reads files, decodes images or knows data sets. Boxes are centre and sides in fractions of the canvas; the caller holds
//! the [`Placement`](groundling_core::Placement) that leads back to pixels of the original image.

use std::fmt::Debug;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use groundling_core::{BinaryMask, BoxCxcywh, ContentRect, Unit};
use groundling_nn::checkpoint::Rule;
use groundling_nn::layers::PrepareInference;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A model that is made from a configuration, stored and trained, whatever it is for.
///
/// Random numbers (noise, dropout) come from the generator of the device, which the trainer seeds before every step.
pub trait Trainable: Module + PrepareInference {
    /// Name of the system as files and commands write it: `scanformer`.
    const NAME: &'static str;
    /// Whether it reads phrases, and so depends on a vocabulary.
    const READS_PHRASES: bool = true;
    /// Everything that decides shapes; written beside weights.
    type Config: Clone + Debug + PartialEq + Serialize + DeserializeOwned;
    /// Weights of the losses; the section `[criterion]` of a recipe, unknown keys refused.
    type Criterion: Clone + Debug + PartialEq + Default + Serialize + DeserializeOwned;

    /// The module with random weights.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    fn init(config: &Self::Config, device: &Device) -> Result<Self, ConfigError>;

    /// What it was made from.
    fn config(&self) -> &Self::Config;

    /// Parameters that our own files may lack when a training starts from them: they start from random numbers.
    const MAY_LACK: &'static [Rule] = &[];

    /// Key tables of foreign checkpoints by the name of their layout. Our own files need none.
    fn layouts(config: &Self::Config) -> Vec<Layout>;

    /// Which learning rate a parameter follows, by its name in our files.
    fn parameter_group(name: &str) -> ParameterGroup;

    /// Whether a parameter decays, by its name in our files and its rank. By default gains, shifts and biases do not.
    fn decays(name: &str, rank: usize) -> bool {
        let _ = name;
        rank >= 2
    }

    /// The module with what only training by this criterion needs, such as heads of auxiliary losses. Call it before the first step
    /// and before loading a state of training. The default checks nothing and adds nothing.
    ///
    /// # Errors
    /// If the criterion does not go with the configuration.
    fn for_training(self, criterion: &Self::Criterion) -> Result<Self, ConfigError> {
        let _ = criterion;
        Ok(self)
    }

    /// The module as it is published and used after training by this criterion: without what only training needs. The default takes
    /// nothing away.
    fn for_release(self, criterion: &Self::Criterion) -> Self {
        let _ = criterion;
        self
    }
}

/// A model for referring expressions.
pub trait System: Trainable {
    /// Whether it answers with masks, and is trained with them ([`SampleTruth::mask`], [`Grounded::mask`]).
    const SEGMENTS: bool = false;
    /// A phrase as the system keeps it.
    type Phrase: Clone + Send;
    /// A picture as the system keeps it.
    type View: Clone + Send;

    /// How it wants pictures and phrases.
    fn input(config: &Self::Config) -> InputSpec;

    /// Losses of a batch, for training: the module must be on an autodiff device to get gradients.
    ///
    /// # Panics
    /// If sizes of batch and truths disagree.
    fn losses(&self, batch: &Batch, truths: &[SampleTruth], criterion: &Self::Criterion) -> Losses;

    /// Reads a phrase: the ids of its word pieces, special ones included, at most [`InputSpec::max_ids`].
    fn read_phrase(&self, ids: &[u32]) -> Self::Phrase;

    /// Reads a picture.
    ///
    /// # Shapes
    /// - `canvas` `[1, 3, H, W]`, normalised, 0 outside `content`
    fn read_canvas(&self, canvas: Tensor<4>, content: ContentRect) -> Self::View;

    /// Answers one phrase about one picture.
    ///
    /// # Errors
    /// If the options ask for what the system or its weights do not have.
    fn ground(
        &self,
        phrase: &Self::Phrase,
        view: &Self::View,
        options: &GroundOptions,
    ) -> Result<Grounded, OptionError>;

    /// Reads a phrase and answers it about one picture: the same answer, to the bit, as from [`System::read_phrase`] and [`System::ground`],
    /// which the default calls. Systems that read weights once for both are faster.
    ///
    /// # Errors
    /// As [`System::ground`].
    fn ground_new(
        &self,
        ids: &[u32],
        view: &Self::View,
        options: &GroundOptions,
    ) -> Result<(Self::Phrase, Grounded), OptionError> {
        let phrase = self.read_phrase(ids);
        let grounded = self.ground(&phrase, view, options)?;
        Ok((phrase, grounded))
    }

    /// Answers many pairs. The default asks for one after the other.
    ///
    /// # Errors
    /// As [`System::ground`].
    fn ground_batch(
        &self,
        pairs: &[(&Self::Phrase, &Self::View)],
        options: &GroundOptions,
    ) -> Result<Vec<Grounded>, OptionError> {
        pairs.iter().map(|(phrase, view)| self.ground(phrase, view, options)).collect()
    }
}

/// A configuration that contradicts itself.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{field} is {found}, expected {expected}")]
pub struct ConfigError {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub found: String,
    /// What it must be.
    pub expected: String,
}

/// How a system wants its pictures and phrases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputSpec {
    /// Height and width of the canvas, pixels.
    pub side: u32,
    /// How a picture is fitted into it.
    pub fit: Fit,
    /// Resampling kernel, as Pillow names it.
    pub resample: Resample,
    /// Per channel, on the 0..1 scale.
    pub mean: [f32; 3],
    /// Per channel, on the 0..1 scale.
    pub std: [f32; 3],
    /// Most word pieces, special ones included.
    pub max_ids: usize,
    /// Rows of the word table.
    pub vocabulary: usize,
}

/// How a picture is fitted into the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Long side to the canvas, in the top left corner, sides rounded half up (ScanFormer).
    LetterboxCorner,
    /// Long side to the canvas, centred, sides rounded half to even (TransVG, VLTVG, QRNet).
    LetterboxCentre,
    /// Both sides to the canvas; the aspect ratio is lost (DMMI).
    Square,
}

/// Resampling kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resample {
    /// Pillow's BILINEAR.
    Bilinear,
    /// Pillow's BICUBIC.
    Bicubic,
}

/// The key table of a foreign checkpoint.
#[derive(Debug, Clone)]
pub struct Layout {
    /// `official`, `hf`.
    pub name: &'static str,
    /// Whose files look so.
    pub about: &'static str,
    /// A prefix that only keys of this layout have; detection goes through the layouts in order.
    pub marker: &'static str,
    /// From their names to ours.
    pub rules: Vec<Rule>,
}

impl Layout {
    /// A layout with the rules of a table.
    pub fn new(name: &'static str, about: &'static str, marker: &'static str, rules: &[Rule]) -> Self {
        Self { name, about, marker, rules: rules.to_vec() }
    }
}

/// Which learning rate a parameter follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParameterGroup {
    /// The base rate: whatever published weights provide.
    Base,
    /// Its own factor: parts that start from random numbers.
    New,
    /// Its own factor: image and language encoders.
    Backbone,
}

/// B pairs of a picture and a phrase.
#[derive(Debug, Clone)]
pub struct Batch {
    /// `[B, 3, H, W]`, normalised, 0 outside the contents.
    pub canvases: Tensor<4>,
    /// Where each picture lies in its canvas.
    pub contents: Vec<ContentRect>,
    /// `[B, L]` ids of word pieces, filled up with 0.
    pub ids: Tensor<2, Int>,
    /// How many of the ids of each phrase are real, 2 or more.
    pub lengths: Vec<usize>,
    /// `[B, L]`: the ids with a noun phrase of each replaced by 0, for systems that learn to recover it; `None` where nothing is erased.
    pub erased: Option<Tensor<2, Int>>,
    /// For each pair the first pair of the batch that has the same canvas, itself or one before: a system that begins without the phrase
    /// need not read a picture again for its next phrase.
    pub same_canvas: Vec<usize>,
}

impl Batch {
    /// For pairs that each have a canvas of their own.
    pub fn own_canvases(count: usize) -> Vec<usize> {
        (0..count).collect()
    }

    /// B.
    pub fn len(&self) -> usize {
        self.contents.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.contents.is_empty()
    }
}

/// What is known about one pair, for training.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SampleTruth {
    /// The box around all targets; `None` if nothing fits the phrase.
    pub bbox: Option<BoxCxcywh<Unit>>,
    /// Every annotated object of the picture.
    pub objects: Vec<TruthObject>,
    /// The union of the targets' masks on the canvas, for systems that segment.
    pub mask: Option<BinaryMask>,
}

/// An annotated object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruthObject {
    /// Where it is.
    pub bbox: BoxCxcywh<Unit>,
    /// Its class from 0, contiguous over the training set, where it has one.
    pub class: Option<usize>,
    /// Classes from 0 to 63, a bit each, that are no alternatives to its own: the training set shows nothing of them that is otherwise like it.
    pub unshown_classes: u64,
    /// Whether the phrase refers to it.
    pub is_target: bool,
    /// Whether the noun that says what the phrase is about fits it, and whether another noun of the phrase does; `None` where nobody knows.
    pub named: Option<[bool; 2]>,
}

/// Losses of a batch.
#[derive(Debug, Clone)]
pub struct Losses {
    /// What is differentiated, `[1]`.
    pub total: Tensor<1>,
    /// Its parts for the log, each `[1]`, unweighted, mean over the batch.
    pub terms: Vec<(String, Tensor<1>)>,
}

/// What to do with a pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroundOptions {
    /// Selection values from here up are kept; `-inf` keeps everything (the dense model), `+inf` nothing above the first level.
    pub threshold: f32,
    /// Answer with this level (from 0) and do not run those after it.
    pub level: Option<usize>,
    /// Most floating-point operations (a multiply-add is two) of this pair; the threshold is raised level by level to stay below.
    pub budget_flops: Option<u64>,
    /// Run merged constants as one token. `false` is for tests and measurements; the answer is the same.
    pub merge: bool,
    /// Also return attention, as [`LevelTrace::attention`] or [`Grounded::trace`].
    pub attention: bool,
}

impl Default for GroundOptions {
    fn default() -> Self {
        Self { threshold: 0.0, level: None, budget_flops: None, merge: true, attention: false }
    }
}

impl GroundOptions {
    /// For systems with one level, which always read everything.
    ///
    /// # Errors
    /// If another level is asked for, or less than the operations that an answer takes.
    pub fn check_one_level(&self, flops: u64) -> Result<(), OptionError> {
        if let Some(found) = self.level.filter(|&level| level > 0) {
            return Err(OptionError::Level { found, last: 0 });
        }
        if let Some(found) = self.budget_flops.filter(|&budget| budget < flops) {
            return Err(OptionError::Budget { found, least: flops });
        }
        Ok(())
    }
}

/// Options that cannot be met.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// There is no such level.
    #[error("level {found}: this model has levels 0 to {last}")]
    Level {
        /// The level asked for.
        found: usize,
        /// The last there is.
        last: usize,
    },
    /// Even with nothing kept above the first level the count is higher.
    #[error("a budget of {found} operations: this pair needs at least {least}")]
    Budget {
        /// The budget.
        found: u64,
        /// What the cheapest run takes.
        least: u64,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grounded {
    /// What was found, best first.
    pub targets: Vec<GroundedTarget>,
    /// Probability that nothing fits; `None` from systems that cannot tell.
    pub no_target: Option<f32>,
    /// Which pixels of the canvas belong to the targets, of all of them together; `None` from systems that do not segment.
    pub mask: Option<MaskLogits>,
    /// Counted operations of this pair, the phrase included (it may have been computed earlier).
    pub flops: u64,
    /// The same count had everything been read, up to the level that answered.
    pub dense_flops: u64,
    /// What was looked at, level by level; empty for systems that look at everything.
    pub levels: Vec<LevelTrace>,
    /// If asked for: what the answering token attended to, for systems that look at everything.
    pub trace: Option<Trace>,
}

/// What the token that answers attended to, layer by layer, in systems that look at everything. Tokens are the cells of one or more maps
/// of the canvas, map after map, row by row.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    /// Rows and columns of the maps.
    pub grids: Vec<[usize; 2]>,
    /// Whether a token could be attended to, `[S]`; the others are padding.
    pub valid: Vec<bool>,
    /// From the first layer to the last.
    pub layers: Vec<TraceLayer>,
}

/// A layer of a [`Trace`].
#[derive(Debug, Clone, PartialEq)]
pub struct TraceLayer {
    /// Mean over the heads of the scaled products with each visual token, `[S]`, before padding is hidden.
    pub logits: Vec<f32>,
    /// Mean over the heads of the weight of each visual token, `[S]`. Where phrase tokens are attended to as well, they have the rest.
    pub weights: Vec<f32>,
}

impl Trace {
    /// The softmax of a layer's mean logits over the tokens that are no padding, `[S]`: the map that AttBalance supervises. `None` if there
    /// is no such layer or token.
    pub fn map(&self, layer: usize) -> Option<Vec<f32>> {
        let logits = &self.layers.get(layer)?.logits;
        let seen = || logits.iter().zip(&self.valid).map(|(&logit, &valid)| valid.then_some(logit));
        let most = seen().flatten().reduce(f32::max)?;
        let powers: Vec<f32> = seen().map(|logit| logit.map_or(0.0, |logit| (logit - most).exp())).collect();
        let sum: f32 = powers.iter().sum();
        Some(powers.into_iter().map(|power| power / sum).collect())
    }
}

/// How likely each pixel of the canvas belongs to a target.
#[derive(Debug, Clone, PartialEq)]
pub struct MaskLogits {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Log-odds row by row: above 0 a pixel is likelier target than background. A tie is background.
    pub logits: Vec<f32>,
}

impl MaskLogits {
    /// Log-odds of the pixel that is likeliest to be a target.
    pub fn highest(&self) -> f32 {
        self.logits.iter().copied().fold(f32::NEG_INFINITY, f32::max)
    }

    /// First row and column, and those behind the last, of the pixels that are likelier target than background; `None` if there are none.
    pub fn bounds(&self) -> Option<[usize; 4]> {
        let inside = self.logits.iter().enumerate().filter(|(_, logit)| **logit > 0.0);
        inside.map(|(index, _)| [index / self.width, index % self.width]).fold(None, |bounds, [row, column]| {
            Some(match bounds {
                None => [row, column, row + 1, column + 1],
                Some([top, left, bottom, right]) => {
                    [top.min(row), left.min(column), bottom.max(row + 1), right.max(column + 1)]
                }
            })
        })
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundedTarget {
    /// Where it is.
    pub bbox: BoxCxcywh<Unit>,
    /// Confidence, 0 to 1.
    pub score: f32,
}

/// What a system did on one level of its pyramid. Patches are numbered in raster order, `row * grid + column`, and lists over them ascend.
///
/// `B` is the box of the level and says its frame: systems answer in fractions of the canvas, the library in pixels of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelTrace<B = BoxCxcywh<Unit>> {
    /// Patches a side of the canvas.
    pub grid: usize,
    /// Pixels a side of this level's picture of the canvas.
    pub side: usize,
    /// The box of this level.
    pub bbox: B,
    /// Patches that touch the picture, as indices of the grid.
    pub valid: Vec<usize>,
    /// Patches that could be chosen; on the first level all that are valid.
    pub candidates: Vec<usize>,
    /// Selection value of each candidate; empty on the first level.
    pub values: Vec<f32>,
    /// Patches that were read.
    pub kept: Vec<usize>,
    /// Valid patches that were replaced by the constant token.
    pub constants: usize,
    /// The threshold used, `None` on the first level.
    pub threshold: Option<f32>,
    /// Counted operations of this level.
    pub flops: u64,
    /// If asked for: attention of the level's answering token over the kept patches, layer by layer, averaged over heads; `[layers][kept]`.
    pub attention: Option<Vec<Vec<f32>>>,
}

impl<B> LevelTrace<B> {
    /// The same with its box in another frame.
    pub fn map_box<C>(self, to: impl FnOnce(B) -> C) -> LevelTrace<C> {
        let Self { grid, side, bbox, valid, candidates, values, kept, constants, threshold, flops, attention } = self;
        let bbox = to(bbox);
        LevelTrace { grid, side, bbox, valid, candidates, values, kept, constants, threshold, flops, attention }
    }

    /// Share of the patches that touch the picture which was read.
    pub fn kept_share(&self) -> f64 {
        self.kept.len() as f64 / self.valid.len().max(1) as f64
    }
}
