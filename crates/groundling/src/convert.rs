//! Checkpoints of other programs as models of ours.

use burn::tensor::Device;
use groundling_models::contract::{ConfigError, Trainable};
use groundling_models::scalablevit::DetectError;
use groundling_nn::checkpoint::{Checkpoint, CheckpointError, Report, plan};

use crate::{BundleError, DeviceError};

/// Why a checkpoint was not converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The configuration contradicts itself.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// There is no layout of that name.
    #[error("there is no layout {found:?} of {system}; it has {}", known.join(", "))]
    UnknownLayout {
        /// The system.
        system: &'static str,
        /// What was asked for.
        found: String,
        /// The layouts there are.
        known: Vec<&'static str>,
    },
    /// The names of the checkpoint are those of no layout.
    #[error("{path}: its names are of no layout of {system} (it has {}); the first is {first:?}", known.join(", "))]
    NoLayout {
        /// The checkpoint.
        path: std::path::PathBuf,
        /// The system.
        system: &'static str,
        /// The layouts there are.
        known: Vec<&'static str>,
        /// A name of the checkpoint.
        first: String,
    },
    /// There is no such system.
    #[error("there is no system {found:?}; this version has {}", known.join(", "))]
    UnknownSystem {
        /// What was asked for.
        found: String,
        /// The systems there are.
        known: Vec<&'static str>,
    },
    /// The configuration is none of the system.
    #[error("this is no configuration of {system}: {source}")]
    NoConfig {
        /// The system.
        system: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The shapes of the checkpoint say no configuration.
    #[error("{path}: {source}")]
    Undetected {
        /// The checkpoint.
        path: std::path::PathBuf,
        /// What is missing.
        source: DetectError,
    },
    /// The CPU is not part of this build.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The checkpoint cannot be read or does not fit.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The folder of weights cannot be written.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

impl ConvertError {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Checkpoint(error) => error.hint(),
            Self::UnknownLayout { .. } => Some("leave the layout out: it is told by the names".to_owned()),
            Self::NoLayout { .. } => {
                Some("this may be a checkpoint of another system; name a layout to see what does not fit".to_owned())
            }
            Self::UnknownSystem { .. } => Some("`groundling models` lists the systems".to_owned()),
            Self::Device(error) => Some(error.hint()),
            Self::Bundle(error) => error.hint(),
            Self::Undetected { .. } => Some("name the sizes with --preset or --config".to_owned()),
            Self::Config(_) | Self::NoConfig { .. } => None,
        }
    }
}

/// A checkpoint that was matched with a model; nothing is loaded yet.
#[derive(Debug)]
pub struct Conversion<'a, M> {
    model: M,
    checkpoint: &'a Checkpoint,
    plan: groundling_nn::checkpoint::Plan,
    /// Name of the layout.
    pub layout: &'static str,
    /// Whose files look so.
    pub about: &'static str,
}

impl<'a, M: Trainable> Conversion<'a, M> {
    /// Matches the names of a checkpoint with those of a model by the key table of a layout; without its name, by the one whose marker the
    /// checkpoint has.
    ///
    /// # Errors
    /// If the configuration contradicts itself or there is no such layout. What does not fit is in [`Conversion::report`].
    pub fn plan(
        config: &M::Config,
        checkpoint: &'a Checkpoint,
        layout: Option<&str>,
        device: &Device,
    ) -> Result<Self, ConvertError> {
        let layouts = M::layouts(config);
        let known: Vec<&'static str> = layouts.iter().map(|layout| layout.name).collect();
        let has = |marker: &str| checkpoint.tensors().keys().any(|name| name.starts_with(marker));
        let chosen = layouts.into_iter().find(|known| match layout {
            Some(name) => known.name == name,
            None => has(known.marker),
        });
        let system = M::NAME;
        let Some(chosen) = chosen else {
            return Err(match layout {
                Some(found) => ConvertError::UnknownLayout { system, found: found.to_owned(), known },
                None => ConvertError::NoLayout {
                    path: checkpoint.path().into(),
                    system,
                    known,
                    first: checkpoint.tensors().keys().next().cloned().unwrap_or_default(),
                },
            });
        };
        let model = M::init(config, device)?;
        let plan = plan(&model, checkpoint, &chosen.rules)?;
        Ok(Self { model, checkpoint, plan, layout: chosen.name, about: chosen.about })
    }

    /// What goes where, what is missing, what is left over.
    pub fn report(&self) -> &Report {
        self.plan.report()
    }

    /// The model with the values of the checkpoint; parameters it lacks keep their random start where the layout allows it.
    ///
    /// # Errors
    /// If something is missing, unused or of another shape, or the file cannot be read.
    pub fn load(self) -> Result<(M, Report), ConvertError> {
        Ok(self.plan.load(self.model, self.checkpoint)?)
    }
}
