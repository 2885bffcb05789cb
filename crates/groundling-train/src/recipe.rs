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

use std::path::PathBuf;

use groundling_data::examples::Targets;
use groundling_data::scenes::{KindWeights, SceneConfig, Shares};
use groundling_data::source::SCENES_SEED;
use groundling_nn::checkpoint::Precision;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

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
    /// Weights to start from: a weights folder of ours, or a checkpoint of one of the system's foreign layouts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// The layout of that checkpoint; found by its keys if not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
}

/// `[[data]]`: one source of pictures and phrases.
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
    pub kinds: Option<Kinds>,
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

/// Relative frequencies of the kinds of phrases about scenes; what is not named has none.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)] // as in `KindWeights`
pub struct Kinds {
    pub attributes: f64,
    pub ordinal: f64,
    pub comparative: f64,
    pub superlative: f64,
    pub relation: f64,
    pub between: f64,
    pub proximity: f64,
    pub region: f64,
    pub negation: f64,
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
    /// Which phrases, of `one` and `many` targets.
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
    /// On half a cosine.
    Cosine,
}

/// `[optimizer]`: AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).
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
    /// Gradients are scaled down to this norm; 0 for never.
    pub clip_norm: f64,
    /// Keep an exponential moving average of the weights: it is what is evaluated and published.
    pub ema: EmaSection,
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
    pub kinds: Option<Kinds>,
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
            clip_norm: 1.0,
            ema: EmaSection::default(),
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

/// What is wrong with a recipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// Not TOML, an unknown key, a value of another type.
    #[error("{place}: {message}")]
    Parse {
        /// File and line, or the override.
        place: String,
        /// What is wrong, and the keys that are known.
        message: String,
    },
    /// An override that is not `dotted.key=value`.
    #[error("override {found:?}: expected dotted.key=value")]
    Override {
        /// The text given.
        found: String,
    },
    /// A value that cannot be.
    #[error("{key} is {found}, expected {expected}")]
    Value {
        /// Its dotted key.
        key: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: String,
    },
}

/// The system that a recipe trains, read without checking the rest.
///
/// # Errors
/// If the text is not TOML, or does not say.
pub fn system_of(text: &str, file: &str) -> Result<String, RecipeError> {
    let table: Table = toml::from_str(text).map_err(|error| parse_error(file, text, &error))?;
    let system = table.get("model").and_then(|model| model.get("system")).and_then(Value::as_str);
    system.map(str::to_owned).ok_or_else(|| RecipeError::Parse {
        place: file.to_owned(),
        message: "model.system is missing, expected the name of a system".to_owned(),
    })
}

impl<C: Serialize + DeserializeOwned + Default + Clone> Recipe<C> {
    /// Reads a recipe; `file` names it in messages. `overrides` are `dotted.key=value`, values as in TOML; a bare word is a text, and
    /// numbers choose in lists (`data.0.weight=2`).
    ///
    /// # Errors
    /// [`RecipeError`] with file and line, or the override, and what was expected.
    pub fn parse(text: &str, file: &str, overrides: &[String]) -> Result<Self, RecipeError> {
        let mut recipe: Self = toml::from_str(text).map_err(|error| parse_error(file, text, &error))?;
        let mut tree = Value::Table(toml::from_str(text).map_err(|error| parse_error(file, text, &error))?);
        for change in overrides {
            set(&mut tree, change)?;
            // One at a time, so that the message names the one that is wrong.
            let failed = |error: toml::de::Error| RecipeError::Parse {
                place: format!("override {change:?}"),
                message: error.message().to_owned(),
            };
            recipe = tree.clone().try_into().map_err(failed)?;
        }
        recipe.check()?;
        Ok(recipe)
    }

    /// The configuration of the model: that of the preset with the recipe's changes. From here on the recipe states all of it.
    ///
    /// # Errors
    /// If the recipe changes a key that the configuration does not have, or to a value it cannot take.
    pub fn resolve<F: Serialize + DeserializeOwned>(&mut self, preset: &F) -> Result<F, RecipeError> {
        let Value::Table(mut config) = tree(preset)? else { return self.typed_config(Table::new()) };
        for (key, value) in &self.model.config {
            if !config.contains_key(key) {
                let known: Vec<String> = config.keys().map(|key| format!("`{key}`")).collect();
                return Err(RecipeError::Value {
                    key: format!("model.config.{key}"),
                    found: value.to_string(),
                    expected: format!("one of {}", known.join(", ")),
                });
            }
            config.insert(key.clone(), value.clone());
        }
        let typed = self.typed_config(config)?;
        if let Value::Table(config) = tree(&typed)? {
            self.model.config = config;
        }
        Ok(typed)
    }

    fn typed_config<F: DeserializeOwned>(&self, config: Table) -> Result<F, RecipeError> {
        Value::Table(config).try_into().map_err(|error: toml::de::Error| RecipeError::Parse {
            place: "model.config".to_owned(),
            message: error.message().to_owned(),
        })
    }

    /// The recipe as TOML, every default written out.
    ///
    /// # Errors
    /// If the criterion holds what TOML cannot say.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string_pretty(self)
            .map_err(|error| RecipeError::Parse { place: "the recipe as TOML".to_owned(), message: error.to_string() })
    }

    /// The criterion at a point of the run, 0 to 1: that of the stage, moved toward what follows if the stage says so.
    ///
    /// # Errors
    /// If a stage names a key that the criterion does not have.
    pub fn criterion_at(&self, share: f64) -> Result<C, RecipeError> {
        let Some(index) = self.stage_at(share) else { return Ok(self.criterion.clone()) };
        let stage = &self.stage[index];
        let mut values = self.stage_criterion(Some(index))?;
        if stage.anneal {
            // As the criterion has them: a whole number that stands for a fraction is one.
            values = tree(&self.typed_criterion(values, index)?)?;
            let start = if index == 0 { 0.0 } else { self.stage[index - 1].until };
            let next = self.stage_criterion(Some(index + 1).filter(|&next| next < self.stage.len()))?;
            let next = tree(&self.typed_criterion(next, index)?)?;
            let part = (share - start) / (stage.until - start).max(f64::EPSILON);
            blend(&mut values, &next, part.clamp(0.0, 1.0));
        }
        self.typed_criterion(values, index)
    }

    /// The stage of a point of the run, 0 to 1; `None` after the last.
    pub fn stage_at(&self, share: f64) -> Option<usize> {
        self.stage.iter().position(|stage| share < stage.until)
    }

    /// The criterion of a stage, or of the recipe itself, as a tree.
    fn stage_criterion(&self, stage: Option<usize>) -> Result<Value, RecipeError> {
        let whole = tree(&self.criterion)?;
        let Value::Table(mut table) = whole else { return Ok(whole) };
        if let Some(index) = stage {
            table.extend(self.stage[index].criterion.clone());
        }
        Ok(Value::Table(table))
    }

    fn typed_criterion(&self, values: Value, stage: usize) -> Result<C, RecipeError> {
        values.try_into().map_err(|error: toml::de::Error| RecipeError::Parse {
            place: format!("stage.{stage}.criterion"),
            message: error.message().to_owned(),
        })
    }

    fn check(&self) -> Result<(), RecipeError> {
        fn bad<T>(key: impl Into<String>, found: impl std::fmt::Display, expected: &str) -> Result<T, RecipeError> {
            Err(RecipeError::Value { key: key.into(), found: found.to_string(), expected: expected.to_owned() })
        }
        let at_least_one = |key: &str, found: usize| if found == 0 { bad(key, found, "1 or more") } else { Ok(()) };
        let share = |key: &str, found: f64| {
            if (0.0..=1.0).contains(&found) { Ok(()) } else { bad(key, found, "a number from 0 to 1") }
        };
        let positive = |key: &str, found: f64| {
            if found.is_finite() && found > 0.0 { Ok(()) } else { bad(key, found, "a number above 0") }
        };
        let not_negative = |key: &str, found: f64| {
            if found.is_finite() && found >= 0.0 { Ok(()) } else { bad(key, found, "a number of 0 or more") }
        };
        if self.data.is_empty() {
            return bad("data", "empty", "one or more [[data]]");
        }
        for (index, data) in self.data.iter().enumerate() {
            positive(&format!("data.{index}.weight"), data.weight)?;
            if data.targets.is_empty() {
                return bad(format!("data.{index}.targets"), "empty", "some of \"zero\", \"one\", \"many\"");
            }
        }
        let s = &self.schedule;
        match (s.steps, s.epochs) {
            (Some(0), None) => return bad("schedule.steps", 0, "1 or more"),
            (Some(_), None) => {}
            (None, Some(epochs)) => positive("schedule.epochs", epochs)?,
            (None, None) => return bad("schedule.steps", "missing", "steps or epochs"),
            (Some(_), Some(_)) => return bad("schedule.epochs", "given beside steps", "only one of them"),
        }
        at_least_one("schedule.batch", s.batch)?;
        at_least_one("schedule.accumulation", s.accumulation)?;
        at_least_one("schedule.phrases_per_picture", s.phrases_per_picture)?;
        at_least_one("output.workers", self.output.workers)?;
        share("schedule.warmup", s.warmup)?;
        share("schedule.floor", s.floor)?;
        let o = &self.optimizer;
        not_negative("optimizer.lr", o.lr)?;
        positive("optimizer.eps", o.eps)?;
        not_negative("optimizer.weight_decay", o.weight_decay)?;
        not_negative("optimizer.clip_norm", o.clip_norm)?;
        for (key, found) in [("base", o.factors.base), ("new", o.factors.new), ("backbone", o.factors.backbone)] {
            not_negative(&format!("optimizer.factors.{key}"), found)?;
        }
        for (key, found) in [("betas.0", o.betas[0]), ("betas.1", o.betas[1]), ("ema.decay", o.ema.decay)] {
            if !(0.0..1.0).contains(&found) {
                return bad(format!("optimizer.{key}"), found, "a number from 0 to below 1");
            }
        }
        let a = &self.augmentation;
        share("augmentation.mirror", a.mirror)?;
        share("augmentation.jitter", a.jitter)?;
        share("augmentation.jitter_strength", a.jitter_strength)?;
        let mut last = 0.0;
        for (index, stage) in self.stage.iter().enumerate() {
            if !(stage.until > last && stage.until <= 1.0) {
                return bad(format!("stage.{index}.until"), stage.until, "above the stage before, at most 1");
            }
            last = stage.until;
            self.typed_criterion(self.stage_criterion(Some(index))?, index)?;
        }
        Ok(())
    }
}

impl DataSection {
    /// Which phrases are wanted.
    pub fn wanted(&self) -> Targets {
        wanted(&self.targets)
    }

    /// What generated scenes are like: only wanted phrases are made, and of these kinds.
    pub fn scenes(&self, kinds: Option<Kinds>) -> SceneConfig {
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
        let (wanted, usual) = (self.wanted(), config.shares);
        let share = |wanted: bool, usual: f64| if wanted { usual } else { 0.0 };
        config.shares = Shares {
            one: share(wanted.one, usual.one),
            many: share(wanted.many, usual.many),
            zero: share(wanted.zero, usual.zero),
        };
        if let Some(kinds) = kinds.or(self.kinds) {
            config.kind_weights = kinds.into();
        }
        config
    }
}

impl ValidationSection {
    /// Which phrases are wanted; those without a target have no box to score.
    pub fn wanted(&self) -> Targets {
        Targets { zero: false, ..wanted(&self.targets) }
    }
}

fn wanted(names: &[TargetName]) -> Targets {
    let has = |name| names.contains(&name);
    Targets { zero: has(TargetName::Zero), one: has(TargetName::One), many: has(TargetName::Many) }
}

impl From<Kinds> for KindWeights {
    fn from(kinds: Kinds) -> Self {
        let Kinds { attributes, ordinal, comparative, superlative, relation, between, proximity, region, negation } =
            kinds;
        Self { attributes, ordinal, comparative, superlative, relation, between, proximity, region, negation }
    }
}

/// A value as TOML sees it.
fn tree<T: Serialize>(value: &T) -> Result<Value, RecipeError> {
    Value::try_from(value)
        .map_err(|error| RecipeError::Parse { place: "as TOML".to_owned(), message: error.to_string() })
}

fn parse_error(file: &str, text: &str, error: &toml::de::Error) -> RecipeError {
    let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
    // A span that starts a line belongs to that line and not to the one before.
    let starts_line = error.span().is_some_and(|span| text[..span.start.min(text.len())].ends_with('\n'));
    let place = match line {
        Some(line) => format!("{file}:{}", line + usize::from(starts_line)),
        None => file.to_owned(),
    };
    RecipeError::Parse { place, message: error.message().to_owned() }
}

/// Sets `dotted.key=value` in a tree. Whether the key may be there is found when the tree becomes a recipe.
fn set(tree: &mut Value, change: &str) -> Result<(), RecipeError> {
    let wrong = || RecipeError::Override { found: change.to_owned() };
    let (key, text) = change.split_once('=').ok_or_else(wrong)?;
    let (key, text) = (key.trim(), text.trim());
    // `2`, `true`, `[1, 2]` and `"text"` are TOML; anything else is a text without its quotes.
    let value = toml::from_str::<Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let mut place = tree;
    let parts: Vec<&str> = key.split('.').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(wrong());
    }
    for part in &parts {
        place = match place {
            Value::Table(table) => table.entry((*part).to_owned()).or_insert_with(|| Value::Table(Table::new())),
            Value::Array(list) => {
                let count = list.len();
                let entry = part.parse::<usize>().ok().and_then(|index| list.get_mut(index));
                entry.ok_or_else(|| RecipeError::Value {
                    key: key.to_owned(),
                    found: (*part).to_owned(),
                    expected: format!("an index below {count}"),
                })?
            }
            _ => return Err(wrong()),
        };
    }
    *place = value;
    Ok(())
}

/// Moves every number that differs toward the other tree.
fn blend(from: &mut Value, to: &Value, part: f64) {
    match (from, to) {
        (Value::Table(from), Value::Table(to)) => {
            for (key, value) in from.iter_mut() {
                if let Some(other) = to.get(key) {
                    blend(value, other, part);
                }
            }
        }
        (Value::Array(from), Value::Array(to)) => from.iter_mut().zip(to).for_each(|(a, b)| blend(a, b, part)),
        (Value::Float(from), Value::Float(to)) => *from += (to - *from) * part,
        _ => {}
    }
}
