//! `config.json`: what a model is and where it comes from.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use groundling_core::Scaling;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BundleError, BundleLimits};

/// Name and version of the form of `config.json`.
pub const MANIFEST_SCHEMA: &str = "groundling.model/1";

/// What a folder of weights says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// What people call it: `scanformer-small`.
    pub name: String,
    /// Name of the system: `scanformer`.
    pub system: String,
    /// The preset it started from; empty for a configuration of one's own.
    pub preset: String,
    /// The configuration of the system, whole.
    pub config: Value,
    /// How words become numbers; `None` for models that read no phrases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<VocabularyRecord>,
    /// Names of the classes that it tells apart, in the order of its outputs; empty for models without classes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// Under which licence the weights may be used.
    pub licence: String,
    /// How it was trained, if it was.
    pub training: Option<TrainingRecord>,
    /// When it says that nothing fits, if that was calibrated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationRecord>,
    /// The numbers.
    pub weights: WeightsRecord,
}

/// How words become numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocabularyRecord {
    /// `bert-base-uncased`.
    pub name: String,
    /// SHA-256 of its file: a token a line, in the order of the ids.
    pub sha256: String,
}

/// How a model was trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingRecord {
    /// The file of the recipe beside this one.
    pub recipe: Option<String>,
    /// What it saw.
    pub data: Vec<TrainingData>,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps of the optimizer.
    pub steps: u64,
    /// What was measured at the end, with the name of the data: free in form.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub figures: Map<String, Value>,
}

/// One source of what a model saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingData {
    /// As commands name it: `scenes:train:200000`.
    pub source: String,
    /// Seed of the world, for generated data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// SHA-256 over a part of it ([`hash::of_examples`](crate::hash::of_examples)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// When a model says that nothing fits: how its raw score becomes a probability, from which probability on it says so, and what that was
/// fitted on. Raw scores of other weights mean something else: whoever replaces the weights leaves it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationRecord {
    /// By which log-odds of the raw score are divided, above 0.
    pub temperature: f64,
    /// Log-odds of the raw score that mean even chances.
    pub shift: f64,
    /// "Not here" is said from this calibrated score on. Above 1 it is never said.
    pub threshold: f64,
    /// The false-alarm rate asked for: the largest share of phrases about something that may be answered with "not here".
    pub false_alarm_rate: f64,
    /// What it was fitted on, as commands name it: `scenes:val:500`.
    pub source: String,
    /// Seed of the world, for generated data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Phrases about something that it was fitted on.
    pub present: usize,
    /// Phrases that nothing fits.
    pub absent: usize,
}

impl CalibrationRecord {
    /// How raw scores become probabilities.
    pub fn scaling(&self) -> Scaling {
        Scaling { temperature: self.temperature, shift: self.shift }
    }

    /// The field whose number means nothing, with the number and what it must be.
    fn fault(&self) -> Option<(&'static str, f64, &'static str)> {
        let Self { temperature, shift, threshold, .. } = *self;
        if !(temperature.is_finite() && temperature > 0.0) {
            return Some(("temperature", temperature, "a number above 0"));
        }
        if !shift.is_finite() {
            return Some(("shift", shift, "a number"));
        }
        (!(threshold.is_finite() && threshold >= 0.0)).then_some(("threshold", threshold, "a number from 0"))
    }
}

/// The numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightsRecord {
    /// Name of the file, in the same folder.
    pub file: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// `f16` or `f32`.
    pub precision: String,
    /// How many numbers there are.
    pub parameters: u64,
}

impl Manifest {
    /// Reads and checks a manifest.
    pub(super) fn read(path: &Path, limits: &BundleLimits) -> Result<Self, BundleError> {
        let io = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => BundleError::NoManifest { path: path.into() },
            _ => BundleError::Io { path: path.into(), source },
        };
        let limit = limits.max_manifest_bytes;
        let file = File::open(path).map_err(io)?;
        let mut text = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut text).map_err(io)?;
        if text.len() as u64 > limit {
            let found = path.metadata().map_or(text.len() as u64, |meta| meta.len());
            return Err(BundleError::TooLarge { path: path.into(), found, limit });
        }
        Self::parse(&text, path)
    }

    /// Checks the form first, so that a later version is named as such and not by the first field that is new.
    pub(super) fn parse(text: &[u8], path: &Path) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Form {
            schema: Option<String>,
        }
        let json = |source| BundleError::Json { path: path.into(), source };
        let form: Form = serde_json::from_slice(text).map_err(json)?;
        if form.schema.as_deref() != Some(MANIFEST_SCHEMA) {
            let found = form.schema.unwrap_or_else(|| "not there".to_owned());
            return Err(BundleError::Schema { path: path.into(), expected: MANIFEST_SCHEMA, found });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(json)?;
        manifest.check(path)?;
        Ok(manifest)
    }

    /// Whether numbers that are used mean something.
    pub(super) fn check(&self, path: &Path) -> Result<(), BundleError> {
        match self.calibration.as_ref().and_then(CalibrationRecord::fault) {
            Some((field, found, expected)) => {
                Err(BundleError::Calibration { path: path.into(), field, found, expected })
            }
            None => Ok(()),
        }
    }
}
