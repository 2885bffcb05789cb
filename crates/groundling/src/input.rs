//! What a model wants, and what people bring.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use groundling_core::{Anchor, Rounding};
use groundling_data::image::decode::{ExifOrientation, ImageError, ImageLimits, decode_bytes, decode_file};
use groundling_data::image::preprocess::{self, BoxScale, Preprocessor};
use groundling_data::image::resize::Filter;
use groundling_models::contract::{Fit, InputSpec, Resample};
use image::RgbImage;

/// A picture in one of the forms in which people have it.
#[derive(Debug, Clone, Copy)]
pub enum Picture<'a> {
    /// A file: JPEG, PNG, WebP or BMP.
    File(&'a Path),
    /// The content of such a file.
    Bytes(&'a [u8]),
    /// Pixels.
    Pixels(&'a RgbImage),
}

impl<'a> From<&'a Path> for Picture<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for Picture<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a str> for Picture<'a> {
    /// The path of a file.
    fn from(path: &'a str) -> Self {
        Self::File(Path::new(path))
    }
}

impl<'a> From<&'a [u8]> for Picture<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Picture<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a RgbImage> for Picture<'a> {
    fn from(image: &'a RgbImage) -> Self {
        Self::Pixels(image)
    }
}

impl<'a> Picture<'a> {
    /// Its pixels, decoded within limits if they are not there already.
    pub(crate) fn pixels(self, limits: ImageLimits, exif: ExifOrientation) -> Result<Cow<'a, RgbImage>, ImageError> {
        match self {
            Self::File(path) => decode_file(path, limits, exif).map(Cow::Owned),
            Self::Bytes(bytes) => decode_bytes(bytes, limits, exif).map(Cow::Owned),
            Self::Pixels(pixels) => Ok(Cow::Borrowed(pixels)),
        }
    }
}

/// How pictures become the input that a model asks for.
pub fn preprocessor(input: &InputSpec) -> Preprocessor {
    let side = input.side;
    let letterbox =
        |anchor, rounding| preprocess::Fit::Letterbox { side, anchor, rounding, box_scale: BoxScale::Sides };
    Preprocessor {
        fit: match input.fit {
            Fit::LetterboxCorner => letterbox(Anchor::TopLeft, Rounding::HalfUp),
            Fit::LetterboxCentre => letterbox(Anchor::Centre, Rounding::HalfEven),
            Fit::Square => preprocess::Fit::Square { side },
        },
        filter: match input.resample {
            Resample::Bilinear => Filter::Bilinear,
            Resample::Bicubic => Filter::Bicubic,
        },
        mean: input.mean,
        std: input.std,
    }
}

/// What a person can do about a picture that cannot be used, where that is known.
pub fn image_hint(error: &ImageError) -> Option<&'static str> {
    match error {
        ImageError::UnknownFormat { .. } => Some("convert the picture to JPEG, PNG, WebP or BMP"),
        ImageError::TooLarge { .. } | ImageError::Memory { .. } | ImageError::FileTooLarge { .. } => {
            Some("shrink the picture; models read it at 1333 pixels or fewer")
        }
        ImageError::IsFolder { .. } => Some("name a file inside the folder"),
        _ => None,
    }
}
