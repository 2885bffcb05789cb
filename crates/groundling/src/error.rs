//! What can go wrong between a picture, a phrase and an answer.

use groundling_core::{FrameError, ImageSize, PhraseError};
use groundling_data::image::decode::ImageError;
use groundling_models::contract::OptionError;
use groundling_nn::checkpoint::CheckpointError;

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
            Self::Image(ImageError::UnknownFormat { .. }) => "convert the picture to JPEG, PNG, WebP or BMP",
            Self::Image(ImageError::TooLarge { .. } | ImageError::Memory { .. } | ImageError::FileTooLarge { .. }) => {
                "shrink the picture; models read it at 640 pixels or fewer"
            }
            Self::Image(ImageError::IsFolder { .. }) => "name a file inside the folder",
            Self::Options(OptionError::Budget { .. }) => "raise the budget, or ask for an earlier level",
            Self::NoAttention { .. } => "TransVG, VLTVG, QRNet and ScanFormer have one; DMMI answers with every pixel",
            Self::NotFinite { .. } => "the weights may be damaged: `groundling doctor` compares them with their hash",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl From<CheckpointError> for GroundError {
    fn from(error: CheckpointError) -> Self {
        Self::Weights(error.into())
    }
}
