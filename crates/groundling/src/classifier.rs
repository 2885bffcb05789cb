//! A classifier that is ready: what a whole picture shows.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use groundling_core::{ImageSize, ModelIdentity, SizeError};
use groundling_data::image::classify::{normalised, scored};
use groundling_data::image::decode::ImageError;
use groundling_models::scalablevit::{ScalableVit, TooSmall};
use rayon::prelude::*;

use crate::error::DAMAGED;
use crate::grounder::Settings;
use crate::input::{Picture, image_hint};
use crate::named::{self, Named};
use crate::{Bundle, BundleLimits, OpenError};

/// A classifier that is ready to be asked.
///
/// It may be shared between threads, and cloning it copies nothing.
#[derive(Clone)]
pub struct Classifier {
    shared: Arc<Shared>,
}

struct Shared {
    named: Named<ScalableVit>,
    flops: u64,
}

/// A class that a picture may show.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedClass {
    /// Its number, from 0.
    pub class: usize,
    /// Its name.
    pub label: String,
    /// Probability; those of all classes add up to 1.
    pub score: f64,
}

/// What a picture shows, and what it took to say so.
#[derive(Debug, Clone, PartialEq)]
pub struct Classified {
    /// Size of the original image.
    pub image_size: ImageSize,
    /// The most probable classes, best first; of equal ones, that with the lower number.
    pub classes: Vec<RankedClass>,
    /// Counted operations.
    pub flops: u64,
    /// Who answered.
    pub model: ModelIdentity,
}

/// Why nothing was said. [`hint`](Self::hint) says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassifyError {
    /// The model cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The picture cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The picture has no pixels.
    #[error(transparent)]
    Empty(#[from] SizeError),
    /// The model's pictures are too small for it.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
    /// The model gives maps and no classes.
    #[error("the model has no head: it is a backbone, and names nothing")]
    NoHead,
    /// The model answered with NaN or infinity.
    #[error("the model's scores are not finite")]
    NotFinite,
}

impl ClassifyError {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Open(error) => return error.hint(),
            Self::Image(error) => image_hint(error)?,
            Self::NotFinite => DAMAGED,
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl Classifier {
    /// Opens a folder of weights.
    ///
    /// # Errors
    /// If it is missing, damaged, or no classifier's.
    pub fn open(weights: impl AsRef<Path>) -> Result<Self, ClassifyError> {
        Self::open_with(&Bundle::open(weights, &BundleLimits::default())?, Settings::default())
    }

    /// Opens a model with settings of one's own; those about phrases play no part.
    ///
    /// # Errors
    /// As [`Classifier::open`], and if the device is not there.
    pub fn open_with(bundle: &Bundle, settings: Settings) -> Result<Self, ClassifyError> {
        named::open(bundle, settings, Self::from_model)
    }

    /// A classifier of a model in memory. It is prepared for inference on the device where it is; `settings.device` plays no part.
    ///
    /// # Errors
    /// If there is not one name for each class.
    ///
    /// # Panics
    /// If the model has no parameter, and so no device.
    pub fn from_model(
        model: ScalableVit,
        classes: Vec<String>,
        identity: ModelIdentity,
        settings: Settings,
    ) -> Result<Self, ClassifyError> {
        let expected = model.config().head.ok_or(ClassifyError::NoHead)?.classes;
        let named = Named::new(model, expected, classes, identity, settings)?;
        let side = named.model.config().side;
        let flops = 2 * named.model.macs(side, side)?.total();
        Ok(Self { shared: Arc::new(Shared { named, flops }) })
    }

    /// Name and hash that stand in every answer.
    pub fn identity(&self) -> &ModelIdentity {
        &self.shared.named.identity
    }

    /// Names of the classes that it knows.
    pub fn classes(&self) -> &[String] {
        &self.shared.named.classes
    }

    /// Counted operations of a picture, a multiply-add being two: the same for all, as all become squares of one size.
    pub fn flops(&self) -> u64 {
        self.shared.flops
    }

    /// Says what a picture shows: a path, the bytes of a file, or pixels. The short side becomes 256 / 224 of the model's side, and the middle
    /// is looked at.
    ///
    /// # Errors
    /// If it is no picture or beyond the limits, or the answer is not finite.
    pub fn classify<'a>(&self, picture: impl Into<Picture<'a>>, top_k: usize) -> Result<Classified, ClassifyError> {
        let shared = &*self.shared;
        let pixels = picture.into().pixels(shared.named.settings.image, shared.named.settings.exif)?;
        let image_size = ImageSize::new(pixels.height(), pixels.width())?;
        let scores = self.scores(&pixels)?;
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
        let ranked =
            |class: usize| RankedClass { class, label: shared.named.classes[class].clone(), score: scores[class] };
        let classes = order.into_iter().take(top_k).map(ranked).collect();
        Ok(Classified { image_size, classes, flops: shared.flops, model: shared.named.identity.clone() })
    }

    /// The probability of every class, in their order.
    ///
    /// # Errors
    /// If the picture has no pixels, or the answer is not finite.
    pub fn scores(&self, pixels: &image::RgbImage) -> Result<Vec<f64>, ClassifyError> {
        let shared = &*self.shared;
        ImageSize::new(pixels.height(), pixels.width())?;
        let side = shared.named.model.config().side;
        let input = TensorData::new(normalised(&scored(pixels, side as u32)), [1, 3, side, side]);
        let logits = shared.named.model.classify(Tensor::from_data(input, &shared.named.device))?;
        let logits: Vec<f64> = logits.into_data().iter::<f64>().collect();
        if logits.iter().any(|logit| !logit.is_finite()) {
            return Err(ClassifyError::NotFinite);
        }
        let most = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = logits.iter().map(|logit| (logit - most).exp()).collect();
        let sum: f64 = powers.iter().sum();
        Ok(powers.into_iter().map(|power| power / sum).collect())
    }

    /// Says what many pictures show, in parallel, each by itself: one that cannot be read spoils no other.
    pub fn classify_all(&self, pictures: &[Picture<'_>], top_k: usize) -> Vec<Result<Classified, ClassifyError>> {
        pictures.par_iter().map(|picture| self.classify(*picture, top_k)).collect()
    }
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Classifier").field(&self.shared.named).finish()
    }
}
