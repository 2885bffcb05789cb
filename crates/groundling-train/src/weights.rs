//! Weights to start from, and weights that are published.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use groundling_models::contract::{ConfigError, System};
use groundling_nn::checkpoint::{Checkpoint, CheckpointError, Limits, Precision, Report, load_into, save};
use serde_json::json;

/// Why weights cannot be loaded or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file is damaged, or does not fit the model.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// There is no such layout.
    #[error("layout {found:?}: this system knows {known:?}")]
    Layout {
        /// The name given.
        found: String,
        /// Names there are.
        known: Vec<&'static str>,
    },
    /// The configuration contradicts itself.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Loads weights of ours (a weights folder, or the file in it) or of a foreign layout, by name or by the names of its tensors.
///
/// # Errors
/// If the file cannot be read or does not fit: what is missing, unused, or of another shape.
pub fn load<S: System>(model: S, path: &Path, layout: Option<&str>) -> Result<(S, Report), WeightsError> {
    let file = if path.is_dir() { path.join("model.safetensors") } else { path.to_owned() };
    let checkpoint = Checkpoint::open(&file, &Limits::default())?;
    let layouts = S::layouts(model.config());
    let named = |name: &str| layouts.iter().find(|layout| layout.name == name);
    let chosen = match layout {
        Some("groundling") => None,
        Some(name) => Some(named(name).ok_or_else(|| WeightsError::Layout {
            found: name.to_owned(),
            known: layouts.iter().map(|layout| layout.name).chain(["groundling"]).collect(),
        })?),
        None => layouts.iter().find(|layout| checkpoint.tensors().keys().any(|key| key.starts_with(layout.marker))),
    };
    let rules = chosen.map(|layout| layout.rules.as_slice()).unwrap_or_default();
    Ok(load_into(model, &checkpoint, rules)?)
}

/// What is said about published weights.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Name of the model.
    pub name: String,
    /// Name of its preset.
    pub preset: String,
    /// The resolved recipe.
    pub recipe: String,
    /// Steps taken.
    pub steps: u64,
    /// Figures at that step, as JSON.
    pub figures: serde_json::Value,
    /// Names of sources with their seeds.
    pub data: Vec<(String, u64)>,
}

/// Writes a weights folder: the weights as they are used, without what only training needs, their configuration and the recipe.
///
/// # Errors
/// If the folder cannot be written, or the disk is full.
pub fn write_folder<S: System>(
    folder: &Path,
    model: S,
    about: &About,
    precision: Precision,
) -> Result<(), WeightsError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| WeightsError::Io { path, source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let model = model.for_release();
    let metadata = BTreeMap::from([("system".to_owned(), S::NAME.to_owned())]);
    save(&model, folder.join("model.safetensors"), precision, &metadata)?;
    let data: Vec<_> = about.data.iter().map(|(source, seed)| json!({"source": source, "seed": seed})).collect();
    let config = json!({
        "schema": "groundling.model/1",
        "name": about.name,
        "system": S::NAME,
        "preset": about.preset,
        "config": serde_json::to_value(model.config()).unwrap_or_default(),
        "training": {"recipe": "recipe.toml", "data": data, "steps": about.steps, "figures": about.figures},
    });
    for (name, text) in [("config.json", format!("{config:#}\n")), ("recipe.toml", about.recipe.clone())] {
        let path = folder.join(name);
        crate::state::replace_file(&path, |file| std::io::Write::write_all(file, text.as_bytes()))
            .map_err(io(&path))?;
    }
    Ok(())
}
