//! A folder of weights: what a model is, where it comes from, and its numbers.
//!
//! | file | what |
//! |---|---|
//! | `config.json` | the [`Manifest`]: system, configuration, vocabulary, licence, training, calibration, hash of the weights |
//! | `model.safetensors` | the numbers, `f16` or `f32`; its metadata repeat system and configuration, so that it cannot be mixed up |
//! | `recipe.toml` | how it was trained, where it was |
//! | `README.md` | the same for people |
//!
//! `config.json` names the file of the weights and is written last: whoever reads the folder while it is written finds the old model or
//! the new one.

mod error;
mod manifest;
mod write;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use groundling_core::ModelIdentity;
use groundling_models::contract::{System, Trainable};
use groundling_nn::checkpoint::{Checkpoint, CheckpointError, Limits, load_into};

pub use error::BundleError;
pub use manifest::{
    CalibrationRecord, MANIFEST_SCHEMA, Manifest, TrainingData, TrainingRecord, VocabularyRecord, WeightsRecord,
};
pub use write::Description;

use crate::{builtin, hash};

/// Name of the file that makes a folder a model.
pub const MANIFEST_FILE: &str = "config.json";
/// The environment's variable that names the folder of the default model.
pub const WEIGHTS_VARIABLE: &str = "GROUNDLING_WEIGHTS";
/// Where the default model lies in a checkout.
pub const DEFAULT_FOLDER: &str = "weights/scanformer-small";

/// The vocabulary that every system of this version reads phrases with.
pub(crate) const VOCABULARY_NAME: &str = "bert-base-uncased";
const VOCABULARY_PIECES: usize = 30_522;

/// How much a folder of weights may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleLimits {
    /// Bytes of `config.json`.
    pub max_manifest_bytes: u64,
    /// Of the weights.
    pub weights: Limits,
}

impl Default for BundleLimits {
    /// 1 MiB of configuration; weights as [`Limits::default`] says.
    fn default() -> Self {
        Self { max_manifest_bytes: 1 << 20, weights: Limits::default() }
    }
}

/// A model that lies ready: its manifest is read and checked, its weights are not read yet.
#[derive(Debug, Clone)]
pub struct Bundle {
    place: Place,
    manifest: Manifest,
    limits: BundleLimits,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Program(builtin::Files),
}

impl Bundle {
    /// Opens a folder of weights, or the file of weights inside one.
    ///
    /// # Errors
    /// If there is no such folder, or what lies in it is no model of a form that this version knows.
    pub fn open(path: impl AsRef<Path>, limits: &BundleLimits) -> Result<Self, BundleError> {
        let path = path.as_ref();
        let folder = match path.metadata() {
            Ok(meta) if meta.is_dir() => path,
            Ok(_) => path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
            Err(source) => return Err(BundleError::NoFolder { path: path.into(), source }),
        };
        let manifest = Manifest::read(&folder.join(MANIFEST_FILE), limits)?;
        Ok(Self { place: Place::Folder(folder.into()), manifest, limits: limits.clone() })
    }

    /// The model that is part of the program, where it was built with one.
    pub fn builtin() -> Option<Self> {
        let files = builtin::files()?;
        // The test `the_builtin_model_opens` proves that this is no error.
        let manifest = Manifest::parse(files.manifest, Path::new("<built in>/config.json")).ok()?;
        Some(Self { place: Place::Program(files), manifest, limits: BundleLimits::default() })
    }

    /// The model to use: the folder asked for, else the one that `GROUNDLING_WEIGHTS` names, else the one that is part of the program,
    /// else `weights/scanformer-small` here or beside the program.
    ///
    /// # Errors
    /// As [`Bundle::open`], and if nobody names a folder and there is none at the usual places.
    pub fn find(asked: Option<&Path>, limits: &BundleLimits) -> Result<Self, BundleError> {
        let named = asked.map(Path::to_owned).or_else(|| std::env::var_os(WEIGHTS_VARIABLE).map(PathBuf::from));
        if let Some(folder) = named.filter(|folder| !folder.as_os_str().is_empty()) {
            return Self::open(folder, limits);
        }
        if let Some(builtin) = Self::builtin() {
            return Ok(builtin);
        }
        let looked = usual_places();
        match looked.iter().find(|folder| folder.join(MANIFEST_FILE).is_file()) {
            Some(folder) => Self::open(folder, limits),
            None => Err(BundleError::NoDefault { looked }),
        }
    }

    /// Name and hash that stand in every answer of its model.
    pub fn identity(&self) -> ModelIdentity {
        ModelIdentity { name: self.manifest.name.clone(), hash: self.manifest.weights.sha256.clone() }
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its folder; `None` for the one that is part of the program.
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            Place::Program(_) => None,
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        self.folder().map_or_else(|| "part of the program".to_owned(), |folder| folder.display().to_string())
    }

    /// The configuration, for a system whose name the manifest states.
    ///
    /// # Errors
    /// If the manifest is of another system, or its configuration is none of this one.
    pub fn config<M: Trainable>(&self) -> Result<M::Config, BundleError> {
        if self.manifest.system != M::NAME {
            let found = self.manifest.system.clone();
            return Err(BundleError::OtherSystem { path: self.manifest_path(), expected: M::NAME, found });
        }
        serde_json::from_value(self.manifest.config.clone()).map_err(|source| BundleError::BadConfig {
            path: self.manifest_path(),
            system: M::NAME,
            source,
        })
    }

    /// The model with its weights, as it was saved: not prepared for inference.
    ///
    /// # Errors
    /// If the configuration contradicts itself, or the weights are damaged or of another model.
    pub fn load<M: Trainable>(&self, device: &Device) -> Result<M, BundleError> {
        let config = self.config::<M>()?;
        let checkpoint = self.checkpoint()?;
        self.check_belongs::<M>(&config, &checkpoint)?;
        let model = M::init(&config, device)
            .map_err(|source| BundleError::Contradiction { path: self.manifest_path(), source })?;
        let (model, report) = load_into(model, &checkpoint, &[])?;
        if !report.not_finite.is_empty() {
            return Err(BundleError::NotFinite { path: checkpoint.path().into(), parameters: report.not_finite });
        }
        tracing::debug!("{}: {} parameters, {} numbers", self.place(), report.loaded, report.loaded_numbers);
        Ok(model)
    }

    /// Reads all of it and compares hashes: of the weights with what the manifest says, of the vocabulary with the one that is used.
    ///
    /// # Errors
    /// If something cannot be read or is not what the manifest says.
    pub fn verify(&self) -> Result<(), BundleError> {
        let (path, found) = match &self.place {
            Place::Program(files) => ("<built in>".into(), hash::of_bytes(files.weights)),
            Place::Folder(_) => {
                let path = self.weights_path()?;
                let found = hash::of_file(&path).map_err(|source| BundleError::Io { path: path.clone(), source })?;
                (path, found)
            }
        };
        let expected = self.manifest.weights.sha256.clone();
        if found != expected {
            return Err(BundleError::Hash { path, expected, found });
        }
        self.check_vocabulary()
    }

    /// Whether the model has a row for every word piece, and means the words by them that we do. Cheap: names and sizes only.
    pub(crate) fn check_words<M: System>(&self) -> Result<(), BundleError> {
        let found = M::input(&self.config::<M>()?).vocabulary;
        if found < VOCABULARY_PIECES {
            return Err(BundleError::SmallTable { path: self.manifest_path(), expected: VOCABULARY_PIECES, found });
        }
        let name = self.manifest.vocabulary.as_ref().map_or("", |vocabulary| &vocabulary.name);
        if name != VOCABULARY_NAME {
            let (path, found) = (self.manifest_path(), name.to_owned());
            return Err(BundleError::Vocabulary { path, expected: VOCABULARY_NAME.to_owned(), found });
        }
        Ok(())
    }

    fn check_vocabulary(&self) -> Result<(), BundleError> {
        let Some(vocabulary) = &self.manifest.vocabulary else { return Ok(()) };
        let found = hash::of_vocabulary(&groundling_data::text::wordpiece::WordPiece::bert_base_uncased());
        let expected = &vocabulary.sha256;
        if found == *expected {
            return Ok(());
        }
        Err(BundleError::Vocabulary { path: self.manifest_path(), found: expected.clone(), expected: found })
    }

    /// The file of the weights, open.
    ///
    /// # Errors
    /// If it is missing or is no file of weights.
    pub fn checkpoint(&self) -> Result<Checkpoint, BundleError> {
        match &self.place {
            Place::Program(files) => {
                Ok(Checkpoint::from_safetensors("<built in>", files.weights, &self.limits.weights)?)
            }
            Place::Folder(_) => match Checkpoint::open(self.weights_path()?, &self.limits.weights) {
                Err(CheckpointError::Io { path, source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    Err(BundleError::NoWeights { path })
                }
                opened => Ok(opened?),
            },
        }
    }

    /// Shapes can agree by chance; what the file says about itself cannot. A file that says nothing is taken as it is.
    fn check_belongs<M: Trainable>(&self, config: &M::Config, checkpoint: &Checkpoint) -> Result<(), BundleError> {
        let other = |what, expected: String, found: String| {
            Err(BundleError::OtherModel { path: checkpoint.path().into(), what, expected, found })
        };
        let said = checkpoint.metadata();
        if let Some(found) = said.get(write::SYSTEM_KEY).filter(|found| *found != M::NAME) {
            return other("system".to_owned(), M::NAME.to_owned(), found.clone());
        }
        let Some(text) = said.get(write::CONFIG_KEY) else { return Ok(()) };
        // Compared as configurations, not as texts: a field that a later version added with its default is no difference.
        match serde_json::from_str::<M::Config>(text) {
            Ok(found) if found == *config => Ok(()),
            _ => {
                let [here, there] = [serde_json::to_value(config).ok(), serde_json::from_str(text).ok()]
                    .map(|value| value.unwrap_or(serde_json::Value::Null));
                let keys = here.as_object().into_iter().flat_map(|fields| fields.keys());
                let differs = keys.map(String::as_str).find(|key| here[key] != there[key]);
                let key = differs.unwrap_or_default();
                other(format!("config.{key}"), here[key].to_string(), there[key].to_string())
            }
        }
    }

    fn weights_path(&self) -> Result<PathBuf, BundleError> {
        let name = &self.manifest.weights.file;
        let inside = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']);
        match &self.place {
            Place::Folder(folder) if inside => Ok(folder.join(name)),
            _ => Err(BundleError::BadName { path: self.manifest_path(), found: name.clone() }),
        }
    }

    fn manifest_path(&self) -> PathBuf {
        self.folder().unwrap_or(Path::new("<built in>")).join(MANIFEST_FILE)
    }
}

/// The default folder below the current folder and below every folder above the program.
fn usual_places() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok();
    let above = program.iter().flat_map(|program| program.ancestors().skip(1).take(5));
    let mut places: Vec<PathBuf> = vec![DEFAULT_FOLDER.into()];
    places.extend(above.map(|folder| folder.join(DEFAULT_FOLDER)));
    places
}
