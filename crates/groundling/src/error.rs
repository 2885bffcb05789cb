//! What can go wrong between a picture, a phrase and an answer.

use groundling_core::{FrameError, ImageSize, PhraseError};
use groundling_data::image::decode::ImageError;
use groundling_models::contract::OptionError;
use groundling_nn::checkpoint::CheckpointError;

use crate::input::image_hint;
use crate::{BundleError, DeviceError};

/// Why there is no answer. [`hint`](Self::hint) says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroundError {
    /// The weights are missing, damaged or of another model.
    #[error(transparent)]
    Weights(#[from] BundleError),
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The picture cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The phrase cannot be used.
    #[error(transparent)]
    Phrase(#[from] PhraseError),
    /// The picture cannot be placed in the model's input.
    #[error(transparent)]
    Placement(#[from] FrameError),
    /// The options ask for what the model does not have.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// An option is no number that means something.
    #[error("{option} is {found}, expected {expected}")]
    Number {
        /// The option.
        option: &'static str,
        /// What it is.
        found: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// The model answered with NaN or infinity.
    #[error("the model's {what} for {phrase:?} is not finite")]
    NotFinite {
        /// Which part of the answer.
        what: &'static str,
        /// The phrase.
        phrase: String,
    },
    /// Pictures do not fill this model's canvas.
    #[error("the picture fills {filled} of the canvas of {canvas} (width x height), expected all of it")]
    PartOfCanvas {
        /// Size of the canvas.
        canvas: ImageSize,
        /// What the picture fills.
        filled: ImageSize,
    },
    /// The model has no token whose attention could be shown, or none was asked for.
    #[error("{model} gives no attention of a token that answers")]
    NoAttention {
        /// Name of the model.
        model: String,
    },
    /// A session of another grounder was given.
    #[error("picture {position} was opened by another grounder")]
    ForeignSession {
        /// Its position in the call.
        position: usize,
    },
}

impl GroundError {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Weights(error) => return error.hint(),
            Self::Device(error) => return Some(error.hint()),
            Self::Phrase(PhraseError::Empty) => "say what to look for: \"the left cup\"",
            Self::Phrase(_) => "a few words are enough: models read at most some dozens",
            Self::Image(error) => image_hint(error)?,
            Self::Options(OptionError::Budget { .. }) => "raise the budget, or ask for an earlier level",
            Self::NoAttention { .. } => "TransVG, VLTVG, QRNet and ScanFormer have one; DMMI answers with every pixel",
            Self::NotFinite { .. } => DAMAGED,
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// What a person can do about an answer that is not finite.
pub(crate) const DAMAGED: &str = "the weights may be damaged: `groundling doctor` compares them with their hash";

/// Why a classifier or a detector is not ready. [`hint`](Self::hint) says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The weights are missing, damaged or of another model.
    #[error(transparent)]
    Weights(#[from] BundleError),
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The weights name another number of classes than the model has.
    #[error("the weights name {found} classes, expected {expected}, one for each output of the model")]
    Classes {
        /// Names there are.
        found: usize,
        /// Classes of the model.
        expected: usize,
    },
}

impl OpenError {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Weights(error) => error.hint(),
            Self::Device(error) => Some(error.hint()),
            Self::Classes { .. } => Some("write the weights folder again with the names of all classes".to_owned()),
        }
    }
}

impl From<CheckpointError> for GroundError {
    fn from(error: CheckpointError) -> Self {
        Self::Weights(error.into())
    }
}

/// What opening a model can say, said through [`OpenError`].
macro_rules! through_open_error {
    ($($error:ty),*) => {$(
        impl From<BundleError> for $error {
            fn from(error: BundleError) -> Self {
                Self::Open(error.into())
            }
        }

        impl From<DeviceError> for $error {
            fn from(error: DeviceError) -> Self {
                Self::Open(error.into())
            }
        }
    )*};
}
through_open_error!(crate::ClassifyError, crate::DetectError);
