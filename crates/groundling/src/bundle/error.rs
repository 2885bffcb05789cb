//! What can be wrong with a folder of weights.

use std::io;
use std::path::PathBuf;

use groundling_models::contract::ConfigError;
use groundling_nn::checkpoint::CheckpointError;

/// Why a folder of weights is not usable, or could not be written.
///
/// Every variant says where, what was expected and what was found; [`hint`](Self::hint) adds what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The path leads nowhere.
    #[error("{path}: expected a folder of weights: {source}")]
    NoFolder {
        /// The path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Nobody named a folder and the usual places have none.
    #[error("no weights were named and there are none at {}", looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoDefault {
        /// Where a model was looked for.
        looked: Vec<PathBuf>,
    },
    /// The folder has no `config.json`.
    #[error("{path}: a folder of weights needs this file")]
    NoManifest {
        /// The file that is missing.
        path: PathBuf,
    },
    /// The file of weights that `config.json` names is not there.
    #[error("{path}: the file of weights is missing")]
    NoWeights {
        /// The file that is missing.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// `config.json` is larger than any of them.
    #[error("{path}: {found} bytes, expected at most {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A number of the calibration means nothing.
    #[error("{path}: calibration.{field} is {found}, expected {expected}")]
    Calibration {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its number.
        found: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// What is part of the program cannot be changed.
    #[error("the model that is part of the program cannot be changed")]
    NoPlace,
    /// `config.json` is no manifest.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// What and where, by line and column.
        source: serde_json::Error,
    },
    /// `config.json` is of another form or a later version.
    #[error("{path}: `schema` is {found:?}, expected {expected:?}")]
    Schema {
        /// The file.
        path: PathBuf,
        /// What this version reads.
        expected: &'static str,
        /// What the file says.
        found: String,
    },
    /// This version has no system of that name.
    #[error("{path}: `system` is {found:?}, expected one of {known:?}")]
    UnknownSystem {
        /// The file.
        path: PathBuf,
        /// What the file says.
        found: String,
        /// The systems there are.
        known: Vec<&'static str>,
    },
    /// The model is a detector: it finds objects of known classes and reads no phrases.
    #[error("{path}: these are weights of {found}, a detector, which reads no phrases")]
    Detector {
        /// The folder.
        path: PathBuf,
        /// Its system.
        found: String,
    },
    /// The model is of another system than the caller's.
    #[error("{path}: `system` is {found:?}, expected {expected:?}")]
    OtherSystem {
        /// The file.
        path: PathBuf,
        /// The caller's.
        expected: &'static str,
        /// What the file says.
        found: String,
    },
    /// `config` is no configuration of the system.
    #[error("{path}: `config` is none of {system}: {source}")]
    BadConfig {
        /// The file.
        path: PathBuf,
        /// The system.
        system: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The configuration contradicts itself.
    #[error("{path}: `config`: {source}")]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The field.
        source: ConfigError,
    },
    /// `weights.file` leads out of the folder.
    #[error("{path}: `weights.file` is {found:?}, expected the name of a file in the same folder")]
    BadName {
        /// The manifest.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// The words were numbered by another vocabulary.
    #[error("{path}: `vocabulary` is {found}, expected {expected}, the one this program has")]
    Vocabulary {
        /// The manifest.
        path: PathBuf,
        /// Name or hash of the vocabulary in use.
        expected: String,
        /// What the manifest says.
        found: String,
    },
    /// The model's table of words has too few rows for the vocabulary.
    #[error("{path}: the table of words has {found} rows, the vocabulary needs {expected}")]
    SmallTable {
        /// The manifest.
        path: PathBuf,
        /// Word pieces of the vocabulary.
        expected: usize,
        /// Rows of the table.
        found: usize,
    },
    /// The weights say that they belong to another model.
    #[error("{path}: these are weights of another model: `{what}` is {found}, expected {expected} as in config.json")]
    OtherModel {
        /// The file of weights.
        path: PathBuf,
        /// What differs.
        what: String,
        /// By the manifest.
        expected: String,
        /// By the file.
        found: String,
    },
    /// The weights hold NaN or infinity.
    #[error("{path}: numbers that are not finite in {}", parameters.join(", "))]
    NotFinite {
        /// The file of weights.
        path: PathBuf,
        /// The parameters.
        parameters: Vec<String>,
    },
    /// The weights are not those that the manifest was written for.
    #[error("{path}: the content has the hash {found}, expected {expected} as in config.json")]
    Hash {
        /// The file of weights.
        path: PathBuf,
        /// By the manifest.
        expected: String,
        /// By the content.
        found: String,
    },
    /// The weights cannot be read or do not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

impl BundleError {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoFolder { .. } => "name the folder that holds config.json and model.safetensors",
            Self::NoDefault { .. } => {
                "name a folder with --weights or in GROUNDLING_WEIGHTS; `groundling train` and `groundling convert` make one"
            }
            Self::NoManifest { path } if path.with_file_name("pytorch_model.bin").is_file() => {
                "this is a folder of another program: `groundling convert` makes one of ours from its checkpoint"
            }
            Self::NoManifest { .. } => {
                "for a checkpoint of another program, `groundling convert` writes a folder of weights"
            }
            Self::Calibration { .. } => "`groundling calibrate` writes it anew",
            Self::NoPlace => "name a folder of weights with --weights",
            Self::NoWeights { .. } => "copy the whole folder, not only config.json",
            Self::Schema { .. } => "a newer version of this program wrote it: update",
            Self::UnknownSystem { .. } => "`groundling models` lists what this version knows",
            Self::Detector { .. } => "`groundling detect` finds objects with these weights",
            Self::OtherSystem { .. } => {
                "phrases are for `groundling ground`, objects of known classes for `groundling detect`"
            }
            Self::OtherModel { .. } => "config.json and the weights come from two folders: copy both from one",
            Self::Hash { .. } => "the file was changed or cut short: copy or download it again",
            Self::NotFinite { .. } => "the training that wrote it had failed; take an earlier checkpoint",
            Self::Checkpoint(error) => return error.hint(),
            _ => return None,
        };
        Some(text.to_owned())
    }
}
