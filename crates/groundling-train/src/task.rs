//! What a model is trained for: the part of training that differs between phrases, objects and whatever comes next.
//!
//! The loop ([`run`](crate::run)), the order of samples, the threads that prepare them ([`batches`](crate::batches)), the optimiser, the
//! average, states and logs are the same for every [`Task`].

use std::fmt::Debug;

use burn::tensor::Device;
use groundling_models::contract::{Losses, Trainable};
use groundling_models::focus_detr::StepError;
use serde::Serialize;
use serde_json::Value;

use crate::batches::{BatchError, Turn};
use crate::evaluate::EvaluationError;
use crate::order::Pictures;
use crate::recipe::{Recipe, ValidationSection};
use crate::state::{State, StateError};

/// The configuration of a task's model.
pub type ConfigOf<T> = <<T as Task>::Model as Trainable>::Config;
/// The weights of a task's losses.
pub type CriterionOf<T> = <<T as Task>::Model as Trainable>::Criterion;
/// A recipe for a task's model.
pub type RecipeOf<T> = Recipe<CriterionOf<T>>;

/// What a model is trained for, with its sources open.
pub trait Task: Debug + Send + Sync + Sized + 'static {
    /// The model.
    type Model: Trainable;
    /// A sample on the host, changed at random, as the model will read it.
    type Sample: Debug + Clone + PartialEq + Send;
    /// A source to evaluate on.
    type Validation;
    /// What an evaluation finds.
    type Figures: Figures;
    /// What training keeps beside the model; `()` for nothing.
    type Companion: Companion<Self::Model>;
    /// What a source must have to be trained on, for the message that it has none.
    const WANTED: &'static str;
    /// Whether it reads the section `[attbalance]` of a recipe.
    const SUPERVISES_ATTENTION: bool = false;

    /// Writes into a recipe what it leaves to the model, so that the recipe of a run says everything.
    fn resolve(recipe: &mut RecipeOf<Self>, config: &ConfigOf<Self>) {
        let _ = (recipe, config);
    }

    /// Opens the sources of a recipe.
    ///
    /// # Errors
    /// If a source cannot be opened, or recipe, configuration and sources do not go together.
    fn open(recipe: &RecipeOf<Self>, config: &ConfigOf<Self>) -> Result<Self, BatchError>;

    /// What there is in a source, by its place in the recipe.
    fn pictures(&self, source: usize) -> Pictures;

    /// Samples that were left out because something is wrong with them, over all sources.
    fn skipped(&self) -> usize;

    /// What names the content of a source, by its place in the recipe; `None` where the task has no such name.
    ///
    /// # Errors
    /// If a picture cannot be read.
    fn data_hash(&self, source: usize) -> Result<Option<String>, BatchError> {
        let _ = source;
        Ok(None)
    }

    /// Names of the classes that the model tells apart, in the order of its outputs; empty for models without classes.
    fn classes(&self) -> &[String] {
        &[]
    }

    /// The samples of a batch: a pure function of the task and the turns.
    ///
    /// # Errors
    /// If a picture cannot be read or used.
    fn samples(&self, turns: &[Turn]) -> Result<Vec<Self::Sample>, BatchError>;

    /// What names a sample in messages.
    fn id(sample: &Self::Sample) -> &str;

    /// What is kept beside a model before its first step.
    fn companion(&self, model: &Self::Model) -> Self::Companion;

    /// Losses of samples; `device` is that of the model.
    ///
    /// # Errors
    /// If the model cannot take them, or has diverged so far that there is no loss.
    fn losses(
        &self,
        model: &Self::Model,
        samples: &[Self::Sample],
        criterion: &CriterionOf<Self>,
        companion: &mut Self::Companion,
        device: &Device,
    ) -> Result<Losses, LossError>;

    /// Whether a step whose loss or gradient is not finite is left out and counted, rather than an error.
    fn skips_non_finite(&self) -> bool {
        false
    }

    /// Opens the source to evaluate on.
    ///
    /// # Errors
    /// If it cannot be opened, or does not go with the model.
    fn validation(&self, section: &ValidationSection) -> Result<Self::Validation, BatchError>;

    /// Evaluates a prepared model on the first `limit` pictures.
    ///
    /// # Errors
    /// If a picture cannot be read.
    fn evaluate(
        &self,
        model: &Self::Model,
        validation: &Self::Validation,
        limit: Option<usize>,
        device: &Device,
    ) -> Result<Self::Figures, EvaluationError>;

    /// Whether a term of the losses is worth a curve of its own.
    fn is_main_term(name: &str) -> bool;
}

/// What training keeps beside a model, its optimiser and its average: a teacher, figures of the steps before. It is part of the state of a
/// run.
pub trait Companion<M>: Debug + Clone {
    /// Weights of the model that it holds.
    fn copies(&self) -> u64 {
        0
    }

    /// Follows the model after a step of the optimiser.
    fn update(&mut self, model: &M) {
        let _ = model;
    }

    /// Adds itself to a state.
    fn save(&self, state: &mut State) {
        let _ = state;
    }

    /// Goes on with what was saved. What follows is equal, bit for bit, to what would have followed without saving.
    ///
    /// # Errors
    /// If the state lacks a part, or has it in another shape.
    fn resume(self, state: &State) -> Result<Self, StateError> {
        let _ = state;
        Ok(self)
    }
}

impl<M> Companion<M> for () {}

/// What an evaluation finds; its fields stand in the log.
pub trait Figures: Debug + Clone + PartialEq + Serialize {
    /// The figure by which weights are compared, with its name; the larger the better. 0 where there is none.
    fn best(&self) -> (&'static str, f64);

    /// For people: headings and values.
    fn columns(&self) -> Vec<(&'static str, String)>;

    /// Curves over a run: names, and where in a line of the log the number stands, as JSON pointers. `line` is one such line.
    fn curves(line: &Value) -> Vec<(String, String)>;
}

/// Why a batch has no loss.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// Predictions are not finite, so that nothing can be matched with them.
    #[error("the predictions are not finite")]
    Diverged,
    /// A batch that the detector cannot take.
    #[error(transparent)]
    Detector(StepError),
}

impl From<StepError> for LossError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Diverged(_) => Self::Diverged,
            other => Self::Detector(other),
        }
    }
}

/// A percentage for people.
pub(crate) fn percent(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.1}"))
}
