//! Writes a folder of weights.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use groundling_data::text::wordpiece::WordPiece;
use groundling_models::contract::Trainable;
use groundling_nn::checkpoint::{Precision, parameters, save};

use super::manifest::{CalibrationRecord, MANIFEST_SCHEMA, Manifest, TrainingRecord, VocabularyRecord, WeightsRecord};
use super::{Bundle, BundleError, BundleLimits, MANIFEST_FILE, VOCABULARY_NAME};
use crate::hash;

/// Entry of the weights' metadata that names the system.
pub(super) const SYSTEM_KEY: &str = "groundling.system";
/// Entry of the weights' metadata with the configuration as JSON.
pub(super) const CONFIG_KEY: &str = "groundling.config";

/// What only the writer of a folder of weights knows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Description {
    /// What people call it.
    pub name: String,
    /// The preset it started from; empty for a configuration of one's own.
    pub preset: String,
    /// Names of the classes that it tells apart, in the order of its outputs; empty for models without classes.
    pub classes: Vec<String>,
    /// Under which licence the weights may be used.
    pub licence: String,
    /// How it was trained, if it was.
    pub training: Option<TrainingRecord>,
    /// Text of `recipe.toml`.
    pub recipe: Option<String>,
    /// Text of `README.md`.
    pub card: Option<String>,
}

impl Bundle {
    /// Writes a model as a folder of weights, over one that is there already if need be, and opens it.
    ///
    /// A reader finds the old model or the new one, whenever it looks and wherever a writer is stopped: the weights get a name that the
    /// old `config.json` does not use, the new `config.json` then takes the place of the old one, and the old weights go last.
    ///
    /// # Errors
    /// If the disk is full or the place is not writable; a model that was there is then still there.
    pub fn write<M: Trainable>(
        folder: impl AsRef<Path>,
        model: &M,
        description: &Description,
        precision: Precision,
    ) -> Result<Self, BundleError> {
        let folder = folder.as_ref();
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| BundleError::Io { path, source }
        };
        fs::create_dir_all(folder).map_err(io(folder))?;
        let limits = BundleLimits::default();
        let before = Manifest::read(&folder.join(MANIFEST_FILE), &limits).ok().map(|manifest| manifest.weights.file);
        let names = ["model.safetensors", "model-next.safetensors"];
        let [usual, other] = names;
        let file = if before.as_deref() == Some(usual) { other } else { usual };

        let json = |source| BundleError::Json { path: folder.join(MANIFEST_FILE), source };
        let config = serde_json::to_value(model.config()).map_err(json)?;
        let metadata =
            BTreeMap::from([(SYSTEM_KEY.to_owned(), M::NAME.to_owned()), (CONFIG_KEY.to_owned(), config.to_string())]);
        let path = folder.join(file);
        save(model, &path, precision, &metadata)?;
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            name: description.name.clone(),
            system: M::NAME.to_owned(),
            preset: description.preset.clone(),
            config,
            vocabulary: M::READS_PHRASES.then(|| VocabularyRecord {
                name: VOCABULARY_NAME.to_owned(),
                sha256: hash::of_vocabulary(&WordPiece::bert_base_uncased()),
            }),
            classes: description.classes.clone(),
            licence: description.licence.clone(),
            training: description.training.clone(),
            calibration: None,
            weights: WeightsRecord {
                file: file.to_owned(),
                sha256: hash::of_file(&path).map_err(io(&path))?,
                precision: match precision {
                    Precision::F16 => "f16".to_owned(),
                    Precision::F32 => "f32".to_owned(),
                },
                parameters: parameters(model).iter().map(|p| p.shape.iter().product::<usize>() as u64).sum(),
            },
        };
        for (name, text) in [("recipe.toml", &description.recipe), ("README.md", &description.card)] {
            if let Some(text) = text {
                write_whole(&folder.join(name), text.as_bytes()).map_err(io(&folder.join(name)))?;
            }
        }
        manifest.write(folder)?;
        if let Some(old) = before.filter(|old| old != file && names.contains(&old.as_str())) {
            // What remains would only take room: the new model is in place.
            let _ = fs::remove_file(folder.join(old));
        }
        Self::open(folder, &limits)
    }

    /// Writes a calibration beside the weights, or takes the one that is there away, and opens the folder anew. A reader finds the old
    /// `config.json` or the new one.
    ///
    /// # Errors
    /// If a number means nothing, the model is part of the program, or the folder is not writable; what was there is then still there.
    pub fn calibrate(&self, calibration: Option<CalibrationRecord>) -> Result<Self, BundleError> {
        let folder = self.folder().ok_or(BundleError::NoPlace)?;
        let manifest = Manifest { calibration, ..self.manifest.clone() };
        manifest.check(&folder.join(MANIFEST_FILE))?;
        manifest.write(folder)?;
        Self::open(folder, &self.limits)
    }
}

impl Manifest {
    /// Replaces the file of a folder.
    fn write(&self, folder: &Path) -> Result<(), BundleError> {
        let path = folder.join(MANIFEST_FILE);
        let json = |source| BundleError::Json { path: path.clone(), source };
        let mut text = serde_json::to_string_pretty(self).map_err(json)?;
        text.push('\n');
        write_whole(&path, text.as_bytes()).map_err(|source| BundleError::Io { path: path.clone(), source })
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    let written = write();
    if written.is_err() {
        // The first failure is what matters.
        let _ = fs::remove_file(&temporary);
    }
    written
}
