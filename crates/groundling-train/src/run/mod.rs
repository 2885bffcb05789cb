//! A training run: from a recipe to weights, resumable at any moment.

mod engine;

use std::io;
use std::path::PathBuf;

use burn::tensor::Device;
use groundling_models::contract::ConfigError;
use serde::Serialize;

use crate::batches::BatchError;
use crate::evaluate::EvaluationError;
use crate::log::{EvaluationLine, StepLine};
use crate::recipe::RecipeError;
use crate::state::StateError;
use crate::task::{ConfigOf, LossError, RecipeOf, Task};
use crate::weights::WeightsError;
use engine::Run;

/// A file of a run's folder that is locked while a process writes the folder. It may be deleted when none does.
pub const LOCK_FILE: &str = "run.lock";

/// What to run.
#[derive(Debug, Clone)]
pub struct Job<T: Task> {
    /// The recipe, resolved by [`Recipe::resolve`](crate::recipe::Recipe::resolve).
    pub recipe: RecipeOf<T>,
    /// The configuration that it resolved to.
    pub config: ConfigOf<T>,
    /// Where to compute; without gradients, they are added here.
    pub device: Device,
    /// The run's folder.
    pub out: PathBuf,
    /// Whether to go on with what is there.
    pub resume: Resume,
}

/// Whether to go on with the state in the run's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resume {
    /// If there is one; it must be of the same recipe.
    #[default]
    Auto,
    /// There must be one.
    Required,
    /// Never: start again and overwrite it.
    Never,
}

/// What is told while a run goes on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a, F> {
    /// Before the first step.
    Start(&'a Plan),
    /// A step was taken; `line` stands in the log if there is one.
    Step {
        /// Steps taken.
        step: u64,
        /// What the log says of the steps since the last line.
        line: Option<&'a StepLine>,
    },
    /// The model was evaluated.
    Evaluated(&'a EvaluationLine<F>),
    /// The state was written.
    Saved {
        /// Steps taken.
        step: u64,
    },
}

/// What to do after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    /// Go on.
    Continue,
    /// Save the state and end the run early.
    Stop,
}

/// Watches a run.
pub trait Observer<F> {
    /// Something happened.
    fn notice(&mut self, event: Event<'_, F>) -> Control;
}

/// Watches nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl<F> Observer<F> for Silent {
    fn notice(&mut self, _: Event<'_, F>) -> Control {
        Control::Continue
    }
}

/// What a run is going to be.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Numbers in the model's parameters, those that only training needs counted.
    pub parameters: usize,
    /// Steps of the whole run.
    pub steps: u64,
    /// Steps taken before.
    pub done: u64,
    /// Samples of a step.
    pub samples_per_step: usize,
    /// Samples that were left out because something is wrong with them.
    pub skipped: usize,
    /// Memory that it will take.
    pub memory: Memory,
}

/// An estimate of memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Weights and gradients.
    pub weights: u64,
    /// Moments of the optimiser, and the average.
    pub states: u64,
    /// What one sample takes between its forward and backward pass, from a trial with few; `None` where it cannot be measured.
    pub activations_of_sample: Option<u64>,
    /// All of it at the recipe's batch, with what the process held before.
    pub total: Option<u64>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary<F> {
    /// The plan.
    pub plan: Plan,
    /// Steps taken.
    pub step: u64,
    /// Whether all steps were taken.
    pub finished: bool,
    /// The best of the figure that weights are compared by, on the validation source, and its step.
    pub best: Option<(f64, u64)>,
    /// The last evaluation.
    pub last: Option<EvaluationLine<F>>,
    /// Seconds of wall clock, over all parts of the run.
    pub wall_secs: f64,
    /// Seconds of processor time, over all parts of the run.
    pub cpu_secs: f64,
    /// Folders of weights that were written.
    pub weights: Vec<PathBuf>,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The recipe cannot be.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recipe is for another system.
    #[error("the recipe trains {found:?}, expected {expected:?}")]
    System {
        /// Its system.
        found: String,
        /// The system at hand.
        expected: &'static str,
    },
    /// The configuration of the model contradicts itself.
    #[error("model.config: {0}")]
    Config(#[from] ConfigError),
    /// The weights to start from do not load, or weights cannot be written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A batch cannot be made.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The validation source cannot be opened.
    #[error("validation: {0}")]
    Validation(#[source] BatchError),
    /// A batch that the model cannot take.
    #[error("step {step}: {error}")]
    Loss {
        /// The step, from 0.
        step: u64,
        /// What is wrong.
        #[source]
        error: LossError,
    },
    /// The evaluation failed.
    #[error("evaluation: {0}")]
    Evaluation(#[from] EvaluationError),
    /// The state cannot be read, written or used.
    #[error(transparent)]
    State(#[from] StateError),
    /// A state was required, and there is none.
    #[error("{path}: there is no state to resume from")]
    NoState {
        /// Where it would be.
        path: PathBuf,
    },
    /// Another process trains in this folder.
    #[error("{path}: another run is writing this folder; wait for it, stop it, or choose another folder with --out")]
    InUse {
        /// The run's folder.
        path: PathBuf,
    },
    /// A file of the run's folder cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The loss or a gradient is not a finite number. The weights before this step are in the state file.
    #[error("step {step}: {what} is not finite; {}", said(samples, *alone))]
    NotFinite {
        /// The step, from 0.
        step: u64,
        /// `the loss` or `the gradient`.
        what: &'static str,
        /// Ids of samples that do it alone, or of the whole batch if none does.
        samples: Vec<String>,
        /// Whether they do it alone.
        alone: bool,
    },
}

fn said(samples: &[String], alone: bool) -> String {
    const SHOWN: usize = 8;
    let more = samples.len().saturating_sub(SHOWN);
    let names = samples.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let names = if more > 0 { format!("{names} and {more} more") } else { names };
    if alone {
        format!("these samples do it alone: {names}")
    } else {
        format!("no sample does it alone; the batch: {names}")
    }
}

/// Trains.
///
/// # Errors
/// [`TrainError`]. The last whole state stays in the run's folder.
pub fn train<T: Task>(job: Job<T>, observer: &mut dyn Observer<T::Figures>) -> Result<Summary<T::Figures>, TrainError> {
    let mut run = Run::open(job)?;
    run.start(observer)?;
    run.all_steps(observer)
}

/// What a run would be: everything is opened and checked, one step's memory is tried, nothing is written.
///
/// # Errors
/// As [`train`].
pub fn plan<T: Task>(job: Job<T>) -> Result<Plan, TrainError> {
    let mut run = Run::open(job)?;
    run.plan()
}
