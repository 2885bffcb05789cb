//! Recipes: everything that decides a training run, as TOML.
//!
//! Sections and keys are the structs below; unknown keys are refused with the line and what is known. A recipe may leave out what has a
//! default; the resolved recipe, written beside the weights, leaves out nothing.
//!
//! ```
//! use groundling_train::recipe::Recipe;
//!
//! #[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
//! #[serde(default, deny_unknown_fields)]
//! struct Criterion { lambda: f64 }
//!
//! let text = "
//!     [model]
//!     system = \"toy\"
//!     preset = \"tiny\"
//!     [[data]]
//!     source = \"scenes:train:1000\"
//!     [schedule]
//!     steps = 100
//! ";
//! let recipe = Recipe::<Criterion>::parse(text, "toy.toml", &["schedule.batch=8".to_owned()])?;
//! assert_eq!((recipe.schedule.batch, recipe.criterion.lambda), (8, 0.0));
//! let error = Recipe::<Criterion>::parse(text, "toy.toml", &["schedule.speed=8".to_owned()]).unwrap_err();
//! assert!(error.to_string().contains("unknown field `speed`, expected one of `steps`, `epochs`"));
//! # Ok::<(), groundling_train::recipe::RecipeError>(())
//! ```

mod one_or_many;
mod read;

use std::path::PathBuf;

use groundling_data::examples::Targets;
use groundling_data::image::classify::{RandAugment, RandomErasing, RandomResizedCrop};
use groundling_data::scenes::{KindWeights, SceneConfig, Shares};
use groundling_data::source::SCENES_SEED;
use groundling_models::attbalance::AttBalance;
use groundling_nn::checkpoint::Precision;
use serde::{Deserialize, Serialize};
use toml::Table;

pub use read::{RecipeError, system_of};

/// Everything that decides a run. `C` is the system's criterion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe<C> {
    /// What is trained.
    pub model: ModelSection,
    /// What it is trained on; several sources are mixed by their weights.
    pub data: Vec<DataSection>,
    /// What it is evaluated on while it trains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<ValidationSection>,
    /// How long, how fast.
    pub schedule: ScheduleSection,
    /// AdamW.
    #[serde(default)]
    pub optimizer: OptimizerSection,
    /// How pictures are changed.
    #[serde(default)]
    pub augmentation: AugmentationSection,
    /// Weights of the losses; the keys are the system's.
    #[serde(default = "C::default", bound(deserialize = "C: Deserialize<'de> + Default"))]
    pub criterion: C,
    /// Losses on attention, for systems whose answering token attends to the picture; off if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attbalance: Option<AttBalance>,
    /// A curriculum: what is different in parts of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage: Vec<Stage>,
    /// What is written, and how often.
    #[serde(default)]
    pub output: OutputSection,
}

/// `[model]`: what is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The system: `scanformer`.
    pub system: String,
    /// Its sizes by name.
    pub preset: String,
    /// Sizes that differ from the preset.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub config: Table,
    /// Weights to start from: a weights folder of ours, a checkpoint of one of the system's foreign layouts, or the `state.safetensors` of
    /// another run. Only the last also has what training alone needs, such as auxiliary heads; the optimiser starts anew. Several in a list
    /// are read one after the other, such as a detector's for pictures and BERT's for phrases.
    #[serde(default, with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<PathBuf>,
    /// The layouts of those checkpoints, as many as there are of them; found by their keys if not said.
    #[serde(default, with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    pub layout: Vec<String>,
}

/// `[[data]]`: one source of pictures, with phrases, objects or classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Its name, as every command understands it: `scenes:train:200000`, `refer:data/refcoco:unc:train`.
    pub source: String,
    /// Its share of the samples, relative to the others'.
    #[serde(default = "one")]
    pub weight: f64,
    /// Which phrases: of `zero`, `one`, `many` targets. Phrases about several are trained on the box around them all.
    #[serde(default = "only_one")]
    pub targets: Vec<TargetName>,
    /// Scenes: seed of the world.
    #[serde(default = "scenes_seed")]
    pub seed: u64,
    /// Scenes: height and width in pixels, 256 by 256 if not said. The size of the canvas saves a resize.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<[u32; 2]>,
    /// Scenes: fewest and most objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<[usize; 2]>,
    /// Scenes: fewest and most phrases of a picture. `schedule.phrases_per_picture` is a good number for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phrases: Option<[usize; 2]>,
    /// Scenes: how often phrases are of each kind; a stage may say otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<KindWeights>,
    /// Scenes: whether every second phrase of a picture is the one before it with a word exchanged, about something else or nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paired: bool,
    /// Scenes: share of the pictures whose objects have any colours, and whose phrases name none, so that shapes are learned whatever their
    /// colour.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub any_colour: f64,
    /// Scenes: whether phrases are left out of whose answer the pairs of colour and shape that training never shows would tell something; such
    /// classes are then no alternatives in losses of classes either.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncoupled: bool,
    /// Scenes: how often phrases have one, several and no targets, of those that `targets` wants; 0.65, 0.15 and 0.2 if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Shares>,
}

/// How many things phrases refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetName {
    /// Nothing.
    Zero,
    /// One thing.
    One,
    /// Several.
    Many,
}

/// `[validation]`: what the model is evaluated on while it trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationSection {
    /// The source.
    pub source: String,
    /// Steps between evaluations; the last step is always evaluated.
    #[serde(default = "evaluation_steps")]
    pub every: u64,
    /// Most pictures; the first of the source are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Which phrases, of `zero`, `one` and `many` targets. Those about nothing have no box, and count for systems that segment alone.
    #[serde(default = "only_one")]
    pub targets: Vec<TargetName>,
    /// Scenes: seed of the world.
    #[serde(default = "scenes_seed")]
    pub seed: u64,
}

/// `[schedule]`: how long, how fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleSection {
    /// Steps of the optimiser. Either this or `epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Passes over the data. A generated picture counts `phrases_per_picture` samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<f64>,
    /// Samples of one pass through the model.
    pub batch: usize,
    /// Passes whose gradients are averaged before a step.
    pub accumulation: usize,
    /// Consecutive samples that share a picture, which is then made or decoded once.
    pub phrases_per_picture: usize,
    /// Share of the steps in which the rate rises linearly from 0.
    pub warmup: f64,
    /// How the rate falls after that.
    pub shape: Shape,
    /// What it falls to, as a share of the highest rate.
    pub floor: f64,
    /// With the shape `cosine_by_epoch`: where the warm-up starts, as a share of the highest rate.
    #[serde(skip_serializing_if = "is_zero")]
    pub start: f64,
    /// With the shape `step`: shares of the run at which the rate falls, ascending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub milestones: Vec<f64>,
    /// Seed of first weights, order, augmentation, noise and dropout.
    pub seed: u64,
}

/// How the learning rate falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Not at all.
    Constant,
    /// On a straight line.
    Linear,
    /// As the line to the power of 0.9, which ends a little steeper: the schedule of segmentation since DeepLab.
    Poly,
    /// On half a cosine.
    Cosine,
    /// To a tenth at each of `milestones`.
    Step,
    /// On half a cosine, constant within an epoch and one epoch late: timm's scheduler stepped after each epoch with that epoch's number, as
    /// the recipes of Twins and ScalableViT have it. Epochs 0 and 1 run at `start`, and the warm-up does not shift the cosine.
    #[serde(rename = "cosine_by_epoch")]
    CosineByEpoch,
}

/// `[optimizer]`: AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), and Muon for chosen matrices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerSection {
    /// Highest learning rate of parameters in the base group.
    pub lr: f64,
    /// Decay of the two moments.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decay of weights of rank 2 and more; gains, shifts and biases do not decay.
    pub weight_decay: f64,
    /// Factors of the rate by the group that the system puts a parameter in.
    pub factors: Factors,
    /// Share of the steps before which parameters of the backbone group stand still.
    pub backbone_from: f64,
    /// Beginnings of names of parameters that are never trained, such as `visual.backbone.`; no gradients are computed for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
    /// Gradients are scaled down to this norm; 0 for never.
    pub clip_norm: f64,
    /// Keep an exponential moving average of the weights: it is what is evaluated and published.
    pub ema: EmaSection,
    /// Move some matrices by Muon in place of AdamW.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muon: Option<MuonSection>,
}

/// `[optimizer.muon]`: for matrices of hidden layers, trained from scratch. Embeddings and the last layers of heads are better left out
/// (Jordan et al. 2024).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MuonSection {
    /// Beginnings of the names of its parameters; only those of rank 2 follow it.
    pub names: Vec<String>,
    /// Its highest learning rate, on the scale of AdamW's; that of AdamW if not said. The schedule and the groups' factors hold for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Share of the sum of gradients that a step keeps.
    #[serde(default = "muon_momentum")]
    pub momentum: f64,
}

fn muon_momentum() -> f64 {
    0.95
}

impl MuonSection {
    /// Whether it moves the parameter of this name and rank.
    pub fn moves(&self, name: &str, rank: usize) -> bool {
        rank == 2 && self.names.iter().any(|start| name.starts_with(start.as_str()))
    }
}

/// `[optimizer.factors]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Factors {
    /// Of what published weights provide.
    pub base: f64,
    /// Of parts that start from random numbers.
    pub new: f64,
    /// Of image and language encoders.
    pub backbone: f64,
}

/// `[optimizer.ema]`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmaSection {
    /// Share of the average that a step keeps; 0 for no average.
    pub decay: f64,
    /// Whether early steps keep less, as `(1 + t) / (10 + t)`.
    pub warm_up: bool,
}

/// `[augmentation]`: how training pictures are changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AugmentationSection {
    /// Sizes and crops.
    pub kind: Augmentation,
    /// Where pictures lie in the canvas.
    pub placement: PlacementName,
    /// Probability of mirroring, with left and right exchanged in the phrase.
    pub mirror: f64,
    /// Probability of changing brightness, contrast and saturation. Keep it 0 where phrases name exact colours.
    pub jitter: f64,
    /// Strength of that change.
    pub jitter_strength: f64,
    /// Probability that a picture loses its colours, where its phrase says nothing about them (in English): what is left to tell things by is
    /// their form, in colours that training never showed them in, too.
    #[serde(skip_serializing_if = "is_zero")]
    pub grey: f64,
    /// Detectors: probability of a random crop.
    #[serde(skip_serializing_if = "is_zero")]
    pub crop: f64,
    /// Classifiers: everything but mirroring and jitter; only with the kind `classifier`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classifier: Option<ClassifierSection>,
}

/// `[augmentation.classifier]`: how pictures for classifiers are changed. The defaults are the published recipe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifierSection {
    /// Least and greatest share of a picture's area that a crop takes.
    pub area: [f64; 2],
    /// Least and greatest width over height of a crop.
    pub aspect: [f64; 2],
    /// RandAugment: changes that are drawn for a picture, each made half of the time; 0 for none. They change colours.
    pub changes: usize,
    /// RandAugment: magnitude, 0 to 10.
    pub magnitude: f64,
    /// RandAugment: standard deviation of the magnitude.
    pub deviation: f64,
    /// Probability of erasing a rectangle.
    pub erasing: f64,
    /// Probability of mixing a batch with itself in reverse, by mixup or by cutmix, each half of the time.
    pub mixing: f64,
}

impl Default for ClassifierSection {
    /// As published: 8 to 100 % of the area, two changes of magnitude 9, a quarter erased, every batch mixed.
    fn default() -> Self {
        let RandAugment { changes, magnitude, deviation } = RandAugment::PUBLISHED;
        let RandomResizedCrop { area, aspect, .. } = RandomResizedCrop::for_side(1);
        let (area, aspect) = ([area.0, area.1], [aspect.0, aspect.1]);
        Self { area, aspect, changes, magnitude, deviation, erasing: RandomErasing::PUBLISHED.probability, mixing: 1.0 }
    }
}

/// Sizes and crops of training pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Augmentation {
    /// As at inference.
    None,
    /// Random long sides of 70 to 100 % of the canvas, and random crops for phrases that name no place: the recipe of TransVG and
    /// VLTVG.
    Grounder,
    /// Random sizes, and crops as often as `crop` says: the recipe of DINO and Focus-DETR, scaled to the sizes of the model's input.
    Detector,
    /// Random crops as squares, and what `[augmentation.classifier]` says: the recipe of ImageNet's transformers.
    Classifier,
}

/// Where training pictures lie in the canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlacementName {
    /// Where inference puts them.
    Fixed,
    /// Anywhere they fit.
    Random,
}

/// `[[stage]]`: what is different until a point of the run. Stages follow each other; after the last one the recipe holds unchanged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Share of the steps at which this stage ends.
    pub until: f64,
    /// Kinds of phrases about scenes, in place of what the sources say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<KindWeights>,
    /// Keys of `[criterion]` with other values.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub criterion: Table,
    /// Whether the numbers in `criterion` move to those of what follows, on straight lines, over this stage.
    #[serde(default)]
    pub anneal: bool,
}

/// `[output]`: what is written, and how often. Nothing here changes the weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutputSection {
    /// Name of the model in its weights folder; system and preset if not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Under which licence its weights may be used.
    pub licence: String,
    /// Steps between states that a run can be resumed from.
    pub save_every: u64,
    /// Steps between lines of the log.
    pub log_every: u64,
    /// `f32` or `f16`, of published weights.
    pub precision: PrecisionName,
    /// Threads that prepare batches.
    pub workers: usize,
}

/// Numbers of a weights file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionName {
    /// 4 bytes, exact.
    F32,
    /// 2 bytes.
    F16,
}

/// Left out, so that states of runs that are older than the key still belong to their recipes.
#[allow(clippy::trivially_copy_pass_by_ref)] // the form that serde calls
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn one() -> f64 {
    1.0
}

fn only_one() -> Vec<TargetName> {
    vec![TargetName::One]
}

fn scenes_seed() -> u64 {
    SCENES_SEED
}

fn evaluation_steps() -> u64 {
    1000
}

impl Default for ScheduleSection {
    /// Neither steps nor epochs; batches of 32 with one phrase a picture; 10 % warm-up, then linear to 0.
    fn default() -> Self {
        Self {
            steps: None,
            epochs: None,
            batch: 32,
            accumulation: 1,
            phrases_per_picture: 1,
            warmup: 0.1,
            shape: Shape::Linear,
            floor: 0.0,
            start: 0.0,
            milestones: Vec::new(),
            seed: 1,
        }
    }
}

impl Default for OptimizerSection {
    /// ViLT's settings: 1e-4, betas 0.9 and 0.98, eps 1e-8, decay 0.01, new parts 10 times as fast, norm 1; no average.
    fn default() -> Self {
        Self {
            lr: 1e-4,
            betas: [0.9, 0.98],
            eps: 1e-8,
            weight_decay: 0.01,
            factors: Factors::default(),
            backbone_from: 0.0,
            frozen: Vec::new(),
            clip_norm: 1.0,
            ema: EmaSection::default(),
            muon: None,
        }
    }
}

impl Default for Factors {
    fn default() -> Self {
        Self { base: 1.0, new: 10.0, backbone: 1.0 }
    }
}

impl Default for EmaSection {
    fn default() -> Self {
        Self { decay: 0.0, warm_up: true }
    }
}

impl Default for AugmentationSection {
    /// As at inference, nothing random.
    fn default() -> Self {
        Self {
            kind: Augmentation::None,
            placement: PlacementName::Fixed,
            mirror: 0.0,
            jitter: 0.0,
            jitter_strength: 0.4,
            grey: 0.0,
            crop: 0.0,
            classifier: None,
        }
    }
}

impl Default for OutputSection {
    fn default() -> Self {
        Self {
            name: None,
            licence: "MIT OR Apache-2.0".to_owned(),
            save_every: 500,
            log_every: 20,
            precision: PrecisionName::F16,
            workers: 1,
        }
    }
}

impl From<PrecisionName> for Precision {
    fn from(name: PrecisionName) -> Self {
        match name {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::F16 => Precision::F16,
        }
    }
}

impl DataSection {
    /// Which phrases are wanted.
    pub fn wanted(&self) -> Targets {
        wanted(&self.targets)
    }

    /// What generated scenes are like: only wanted phrases are made, and of these kinds.
    pub fn scenes(&self, kinds: Option<KindWeights>) -> SceneConfig {
        let mut config = match self.size {
            // Zero is refused with the other sizes out of bounds, by the world itself.
            Some([height, width]) => match groundling_core::ImageSize::new(height, width) {
                Ok(size) => SceneConfig::with_size(size),
                Err(_) => SceneConfig { min_objects: 0, ..SceneConfig::default() },
            },
            None => SceneConfig::default(),
        };
        if let Some([least, most]) = self.objects {
            (config.min_objects, config.max_objects) = (least, most);
        }
        if let Some([least, most]) = self.phrases {
            (config.min_expressions, config.max_expressions) = (least, most);
        }
        let wanted = self.wanted();
        let usual = self.shares.unwrap_or(config.shares);
        config.paired = self.paired;
        config.any_colour = self.any_colour;
        config.uncoupled = self.uncoupled;
        let share = |wanted: bool, usual: f64| if wanted { usual } else { 0.0 };
        config.shares = Shares {
            one: share(wanted.one, usual.one),
            many: share(wanted.many, usual.many),
            zero: share(wanted.zero, usual.zero),
        };
        if let Some(kinds) = kinds.or(self.kinds) {
            config.kind_weights = kinds;
        }
        config
    }
}

impl ValidationSection {
    /// Which phrases are wanted.
    pub fn wanted(&self) -> Targets {
        wanted(&self.targets)
    }
}

fn wanted(names: &[TargetName]) -> Targets {
    let has = |name| names.contains(&name);
    Targets { zero: has(TargetName::Zero), one: has(TargetName::One), many: has(TargetName::Many) }
}
