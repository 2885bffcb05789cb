//! From the name of a system to its type: the one place of this crate that lists systems.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use groundling_core::ModelIdentity;
use groundling_models::contract::{System, Trainable};
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_models::focus_detr::{FocusDetr, FocusDetrConfig};
use groundling_models::qrnet::{QrNet, QrNetConfig};
use groundling_models::scalablevit::{self, ScalableVit, ScalableVitConfig};
use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_nn::checkpoint::{Checkpoint, Precision, Report, initialise};
use serde_json::Value;

use crate::convert::{Conversion, ConvertError};
pub use crate::deduce::deduced;
use crate::{
    Bundle, BundleError, Classifier, ClassifyError, Description, DetectError, Detector, DeviceChoice, GroundError,
    Grounder, Settings,
};

/// The systems of this version that ground phrases, by name.
pub const NAMES: &[&str] = &[ScanFormer::NAME, Dmmi::NAME, TransVg::NAME, Vltvg::NAME, QrNet::NAME];

/// The detectors of this version, by name.
pub const DETECTORS: &[&str] = &[FocusDetr::NAME];

/// The classifiers of this version, by name.
pub const CLASSIFIERS: &[&str] = &[ScalableVit::NAME];

/// Names of everything that can be trained and converted.
pub fn all_names() -> Vec<&'static str> {
    NAMES.iter().chain(DETECTORS).chain(CLASSIFIERS).copied().collect()
}

/// Opens a bundle of whatever system.
pub(crate) fn open(bundle: &Bundle, settings: Settings) -> Result<Grounder, GroundError> {
    match bundle.manifest().system.as_str() {
        ScanFormer::NAME => open_as::<ScanFormer>(bundle, settings),
        Dmmi::NAME => open_as::<Dmmi>(bundle, settings),
        TransVg::NAME => open_as::<TransVg>(bundle, settings),
        Vltvg::NAME => open_as::<Vltvg>(bundle, settings),
        QrNet::NAME => open_as::<QrNet>(bundle, settings),
        found if DETECTORS.contains(&found) => {
            Err(BundleError::Detector { path: bundle.place().into(), found: found.to_owned() }.into())
        }
        found if CLASSIFIERS.contains(&found) => {
            Err(BundleError::Classifier { path: bundle.place().into(), found: found.to_owned() }.into())
        }
        found => {
            let (path, found, known) = (bundle.place().into(), found.to_owned(), NAMES.to_vec());
            Err(BundleError::UnknownSystem { path, found, known }.into())
        }
    }
}

fn open_as<M>(bundle: &Bundle, settings: Settings) -> Result<Grounder, GroundError>
where
    M: System + Sync + 'static,
    M::Phrase: Sync + 'static,
    M::View: Sync + 'static,
{
    let device = settings.device.open()?;
    bundle.check_words::<M>()?;
    let grounder = Grounder::from_model(bundle.load::<M>(&device)?, bundle.identity(), settings);
    Ok(grounder.with_calibration(bundle.manifest().calibration.clone()))
}

/// The configuration of a preset, as JSON; `None` if there is no such system or preset.
pub fn preset(system: &str, name: &str) -> Option<Value> {
    match system {
        ScanFormer::NAME => serde_json::to_value(ScanFormerConfig::preset(name)?).ok(),
        Dmmi::NAME => serde_json::to_value(DmmiConfig::preset(name)?).ok(),
        TransVg::NAME => serde_json::to_value(TransVgConfig::preset(name)?).ok(),
        Vltvg::NAME => serde_json::to_value(VltvgConfig::preset(name)?).ok(),
        QrNet::NAME => serde_json::to_value(QrNetConfig::preset(name)?).ok(),
        FocusDetr::NAME => serde_json::to_value(FocusDetrConfig::preset(name)?).ok(),
        ScalableVit::NAME => serde_json::to_value(ScalableVitConfig::preset(name)?).ok(),
        _ => None,
    }
}

/// The configuration that a foreign checkpoint belongs to, as JSON, read from its names and shapes; `None` for systems whose checkpoints do
/// not say it.
///
/// # Errors
/// If the checkpoint is none of the system.
pub fn detect(system: &str, checkpoint: &Checkpoint) -> Result<Option<Value>, ConvertError> {
    if system != ScalableVit::NAME {
        return Ok(None);
    }
    let shapes = checkpoint.tensors().iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    match scalablevit::detect(&shapes, PUBLISHED_HEAD_WIDTH) {
        Ok((_, config)) => Ok(serde_json::to_value(config).ok()),
        Err(source) => Err(ConvertError::Undetected { path: checkpoint.path().into(), source }),
    }
}

/// Channels of an attention head in all published models; shapes do not show it.
const PUBLISHED_HEAD_WIDTH: usize = 32;

/// A model with random weights, for measurements. The same seed gives the same weights.
///
/// # Errors
/// If there is no such system, the configuration is none of it, or the device is not there.
pub fn random(system: &str, config: Value, seed: u64, settings: Settings) -> Result<Grounder, GroundError> {
    fn of<M>(config: Value, seed: u64, settings: Settings) -> Result<Grounder, GroundError>
    where
        M: System + Sync + 'static,
        M::Phrase: Sync + 'static,
        M::View: Sync + 'static,
    {
        let (model, identity) = random_model::<M>(config, seed, &settings.device.open()?)?;
        Ok(Grounder::from_model(model, identity, settings))
    }
    match system {
        ScanFormer::NAME => of::<ScanFormer>(config, seed, settings),
        Dmmi::NAME => of::<Dmmi>(config, seed, settings),
        TransVg::NAME => of::<TransVg>(config, seed, settings),
        Vltvg::NAME => of::<Vltvg>(config, seed, settings),
        QrNet::NAME => of::<QrNet>(config, seed, settings),
        found => {
            let (path, found, known) = (PathBuf::from(RANDOM_PLACE), found.to_owned(), NAMES.to_vec());
            Err(BundleError::UnknownSystem { path, found, known }.into())
        }
    }
}

/// As [`random`], a Focus-DETR.
///
/// # Errors
/// If the configuration is none of it, or the device is not there.
pub fn random_detector(config: Value, seed: u64, settings: Settings) -> Result<Detector, DetectError> {
    let (model, identity) = random_model::<FocusDetr>(config, seed, &settings.device.open()?)?;
    let classes = numbered(model.config().classes);
    Detector::from_model(model, classes, identity, settings)
}

/// As [`random`], a ScalableViT.
///
/// # Errors
/// If the configuration is none of a classifier, or the device is not there.
pub fn random_classifier(config: Value, seed: u64, settings: Settings) -> Result<Classifier, ClassifyError> {
    let (model, identity) = random_model::<ScalableVit>(config, seed, &settings.device.open()?)?;
    let classes = numbered(model.config().head.map_or(0, |head| head.classes));
    Classifier::from_model(model, classes, identity, settings)
}

/// What stands for the path of weights that are in no file.
const RANDOM_PLACE: &str = "<random weights>";

fn random_model<M: Trainable>(config: Value, seed: u64, device: &Device) -> Result<(M, ModelIdentity), BundleError> {
    let path = || PathBuf::from(RANDOM_PLACE);
    let config = serde_json::from_value(config).map_err(|source| BundleError::BadConfig {
        path: path(),
        system: M::NAME,
        source,
    })?;
    device.seed(seed);
    let model = M::init(&config, device).map_err(|source| BundleError::Contradiction { path: path(), source })?;
    initialise(&model);
    let identity = ModelIdentity { name: format!("{} with random weights", M::NAME), hash: format!("seed {seed}") };
    Ok((model, identity))
}

fn numbered(classes: usize) -> Vec<String> {
    (0..classes).map(|class| format!("class {class}")).collect()
}

/// A checkpoint of another program, and what shall become of it.
#[derive(Debug, Clone, Copy)]
pub struct Import<'a> {
    /// Name of the system.
    pub system: &'a str,
    /// Configuration of the model, as JSON.
    pub config: &'a Value,
    /// The checkpoint.
    pub checkpoint: &'a Checkpoint,
    /// Name of its layout; told by its names if there is none.
    pub layout: Option<&'a str>,
    /// Seed of the parameters that the checkpoint lacks.
    pub seed: u64,
}

/// What became of a checkpoint.
#[derive(Debug)]
pub struct Imported {
    /// Name of its layout.
    pub layout: &'static str,
    /// Whose files look so.
    pub about: &'static str,
    /// What went where.
    pub report: Report,
    /// The folder written; `None` for a look beforehand.
    pub bundle: Option<Bundle>,
}

impl Import<'_> {
    /// Matches names and shapes and writes nothing. A checkpoint that does not fit is no error: its report says so.
    ///
    /// # Errors
    /// If there is no such system or layout, or the configuration is none of the system.
    pub fn plan(&self) -> Result<Imported, ConvertError> {
        match self.system {
            ScanFormer::NAME => self.run::<ScanFormer>(None),
            Dmmi::NAME => self.run::<Dmmi>(None),
            TransVg::NAME => self.run::<TransVg>(None),
            Vltvg::NAME => self.run::<Vltvg>(None),
            QrNet::NAME => self.run::<QrNet>(None),
            FocusDetr::NAME => self.run::<FocusDetr>(None),
            ScalableVit::NAME => self.run::<ScalableVit>(None),
            _ => Err(self.unknown()),
        }
    }

    /// Converts the checkpoint and writes it as a folder of weights.
    ///
    /// # Errors
    /// As [`Import::plan`], and if the checkpoint does not fit, cannot be read, or the folder cannot be written.
    pub fn write(
        &self,
        folder: &Path,
        description: &Description,
        precision: Precision,
    ) -> Result<Imported, ConvertError> {
        match self.system {
            ScanFormer::NAME => self.run::<ScanFormer>(Some((folder, description, precision))),
            Dmmi::NAME => self.run::<Dmmi>(Some((folder, description, precision))),
            TransVg::NAME => self.run::<TransVg>(Some((folder, description, precision))),
            Vltvg::NAME => self.run::<Vltvg>(Some((folder, description, precision))),
            QrNet::NAME => self.run::<QrNet>(Some((folder, description, precision))),
            FocusDetr::NAME => self.run::<FocusDetr>(Some((folder, description, precision))),
            ScalableVit::NAME => self.run::<ScalableVit>(Some((folder, description, precision))),
            _ => Err(self.unknown()),
        }
    }

    fn run<M: Trainable>(&self, to: Option<(&Path, &Description, Precision)>) -> Result<Imported, ConvertError> {
        let config = serde_json::from_value(self.config.clone())
            .map_err(|source| ConvertError::NoConfig { system: M::NAME, source })?;
        let device = DeviceChoice::Cpu.open()?;
        device.seed(self.seed);
        let conversion = Conversion::<M>::plan(&config, self.checkpoint, self.layout, &device)?;
        let (layout, about) = (conversion.layout, conversion.about);
        let Some((folder, description, precision)) = to else {
            return Ok(Imported { layout, about, report: conversion.report().clone(), bundle: None });
        };
        let (model, report) = conversion.load()?;
        let bundle = Bundle::write(folder, &model, description, precision)?;
        Ok(Imported { layout, about, report, bundle: Some(bundle) })
    }

    fn unknown(&self) -> ConvertError {
        ConvertError::UnknownSystem { found: self.system.to_owned(), known: all_names() }
    }
}
