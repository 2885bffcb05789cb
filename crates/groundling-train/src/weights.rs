//! Weights to start from, and weights that are published.

use std::path::{Path, PathBuf};

use groundling::bundle::{TrainingData, TrainingRecord};
use groundling::{Bundle, BundleError, BundleLimits, Description};
use groundling_models::contract::Trainable;
use groundling_nn::checkpoint::{Checkpoint, CheckpointError, Limits, Precision, Report, load_into};

use crate::names::listed;

/// Why weights cannot be loaded or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file is damaged, or does not fit the model.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The weights folder is damaged or cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The weights tell other classes apart than the data have, or in another order.
    #[error("{path}: these weights tell apart {}; the data have {}", listed(found), listed(expected))]
    Classes {
        /// The weights folder.
        path: PathBuf,
        /// Classes of the weights.
        found: Vec<String>,
        /// Classes of the data.
        expected: Vec<String>,
    },
    /// There is no such layout.
    #[error("layout {found:?}: this system knows {known:?}")]
    Layout {
        /// The name given.
        found: String,
        /// Names there are.
        known: Vec<&'static str>,
    },
}

/// Loads a weights folder of ours, or a checkpoint in one of the system's foreign layouts: by its name, or by the names of the tensors.
/// `classes` are those that the model will tell apart; a folder of ours must tell apart the same.
///
/// # Errors
/// If the file cannot be read or does not fit: what is missing, unused, or of another shape.
pub fn load<S: Trainable>(
    model: S,
    path: &Path,
    layout: Option<&str>,
    classes: &[String],
) -> Result<(S, Report), WeightsError> {
    if path.is_dir() {
        let bundle = Bundle::open(path, &BundleLimits::default())?;
        let found = &bundle.manifest().classes;
        if !found.is_empty() && found != classes {
            let (found, expected) = (found.clone(), classes.to_vec());
            return Err(WeightsError::Classes { path: path.to_owned(), found, expected });
        }
        return Ok(load_into(model, &bundle.checkpoint()?, S::MAY_LACK)?);
    }
    let checkpoint = Checkpoint::open(path, &Limits::default())?;
    let layouts = S::layouts(model.config());
    let chosen = match layout {
        Some(name) => Some(layouts.iter().find(|layout| layout.name == name).ok_or_else(|| WeightsError::Layout {
            found: name.to_owned(),
            known: layouts.iter().map(|layout| layout.name).collect(),
        })?),
        None => layouts.iter().find(|layout| checkpoint.tensors().keys().any(|key| key.starts_with(layout.marker))),
    };
    let rules = chosen.map(|layout| layout.rules.as_slice()).unwrap_or(S::MAY_LACK);
    Ok(load_into(model, &checkpoint, rules)?)
}

/// What is said about published weights.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Name of the model.
    pub name: String,
    /// Name of its preset.
    pub preset: String,
    /// Names of its classes, in order; empty for models without classes.
    pub classes: Vec<String>,
    /// Under which licence the weights may be used.
    pub licence: String,
    /// The resolved recipe.
    pub recipe: String,
    /// Its seed.
    pub seed: u64,
    /// Steps taken.
    pub steps: u64,
    /// Figures at that step.
    pub figures: serde_json::Map<String, serde_json::Value>,
    /// Its sources.
    pub data: Vec<TrainingData>,
}

/// Writes a weights folder: a model as [`Trainable::for_release`] gives it, its configuration and the recipe.
///
/// # Errors
/// If the folder cannot be written, or the disk is full. A model that was there is then still there.
pub fn write_folder<S: Trainable>(
    folder: &Path,
    model: &S,
    about: &About,
    precision: Precision,
) -> Result<(), WeightsError> {
    let description = Description {
        name: about.name.clone(),
        preset: about.preset.clone(),
        classes: about.classes.clone(),
        licence: about.licence.clone(),
        training: Some(TrainingRecord {
            recipe: Some("recipe.toml".to_owned()),
            data: about.data.clone(),
            seed: about.seed,
            steps: about.steps,
            figures: about.figures.clone(),
        }),
        recipe: Some(about.recipe.clone()),
        card: None,
    };
    Bundle::write(folder, model, &description, precision)?;
    Ok(())
}
