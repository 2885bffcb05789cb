//! A detector that is ready: all objects of known classes in a picture.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use groundling_core::{BoxXyxy, FrameError, ImageSize, ModelIdentity, Pixels};
use groundling_data::image::decode::ImageError;
use groundling_data::image::preprocess::Preprocessor;
use groundling_models::focus_detr::{
    EncoderConfig, FocusDetr, ForwardError, ForwardOptions, ImageSides, Output, detections,
};
use groundling_models::scalablevit::TooSmall;
use rayon::prelude::*;

use crate::error::DAMAGED;
use crate::grounder::Settings;
use crate::input::{Picture, image_hint};
use crate::named::{self, Named};
use crate::{Bundle, BundleLimits, OpenError};

/// A detector that is ready to be asked.
///
/// It may be shared between threads, and cloning it copies nothing.
#[derive(Clone)]
pub struct Detector {
    shared: Arc<Shared>,
}

struct Shared {
    named: Named<FocusDetr>,
    preprocessor: Preprocessor,
}

/// How to look for objects. The default takes the shares of tokens that the model was trained with, and answers with everything it finds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetectOptions {
    /// Another average share of the tokens for the layers of the encoder, above 0.
    pub keep_ratio: Option<f32>,
    /// Most floating-point operations of a picture, in units of 10^9, a multiply-add being two; fewer tokens are kept to stay below.
    pub budget_gflops: Option<f64>,
    /// Objects with a lower score are left out.
    pub threshold: f32,
    /// Most objects of a picture, best first.
    pub limit: usize,
}

impl Default for DetectOptions {
    /// As published: the best 300, whatever their scores.
    fn default() -> Self {
        Self { keep_ratio: None, budget_gflops: None, threshold: 0.0, limit: 300 }
    }
}

/// An object that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundObject {
    /// Its class, from 0.
    pub class: usize,
    /// The name of its class.
    pub label: String,
    /// Confidence, 0 to 1.
    pub score: f64,
    /// Where it is, in pixels of the original image.
    pub bbox: BoxXyxy<Pixels>,
}

/// The objects of a picture, and what it took to find them.
#[derive(Debug, Clone, PartialEq)]
pub struct Detected {
    /// Size of the original image.
    pub image_size: ImageSize,
    /// Best first.
    pub objects: Vec<FoundObject>,
    /// The average share of the tokens that was asked of the encoder; `None` for one that takes all.
    pub keep_ratio: Option<f32>,
    /// Counted operations.
    pub flops: u64,
    /// Those of the encoder's layers alone, which are what keeping fewer tokens saves.
    pub encoder_flops: u64,
    /// The count of all parts, had the encoder worked on all tokens.
    pub dense_flops: u64,
    /// On what the encoder worked.
    pub kept: KeptTokens,
    /// Who answered.
    pub model: ModelIdentity,
}

/// The cells of feature maps that the encoder worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptTokens {
    /// Rows and columns of each level's map, the finest first.
    pub grids: Vec<[usize; 2]>,
    /// `[layer][level]`: cells, row by row, ascending.
    pub layers: Vec<Vec<Vec<usize>>>,
}

impl KeptTokens {
    /// Cells of all levels.
    pub fn tokens(&self) -> usize {
        self.grids.iter().map(|[rows, columns]| rows * columns).sum()
    }

    /// Mean over the layers of the share of the cells that were worked on.
    pub fn share(&self) -> f64 {
        let kept: usize = self.layers.iter().flatten().map(Vec::len).sum();
        kept as f64 / (self.tokens() * self.layers.len()).max(1) as f64
    }
}

/// Why nothing was looked for. [`hint`](Self::hint) says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// The model cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The picture cannot be used.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The picture cannot be placed in the model's input.
    #[error(transparent)]
    Placement(#[from] FrameError),
    /// The network cannot take the picture or an option.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// The backbone cannot take a picture so small.
    #[error(transparent)]
    TooSmall(#[from] TooSmall),
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
    /// Even with the fewest tokens the count is higher.
    #[error("a budget of {found:.3} GFLOPs: this picture needs at least {least:.3}")]
    Budget {
        /// The budget, in units of 10^9 operations.
        found: f64,
        /// What the cheapest run takes.
        least: f64,
    },
    /// The encoder works on all tokens.
    #[error("{option} is given, and the encoder of this model works on all tokens")]
    Dense {
        /// The option.
        option: &'static str,
    },
    /// The model answered with NaN or infinity.
    #[error("the model's {what} is not finite")]
    NotFinite {
        /// Which part of the answer.
        what: &'static str,
    },
}

impl DetectError {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Open(error) => return error.hint(),
            Self::Image(error) => image_hint(error)?,
            Self::Budget { .. } => "raise the budget; a smaller picture needs less",
            Self::NotFinite { .. } => DAMAGED,
            _ => return None,
        };
        Some(text.to_owned())
    }
}

impl Detector {
    /// Opens a folder of weights.
    ///
    /// # Errors
    /// If it is missing, damaged, or no detector's.
    pub fn open(weights: impl AsRef<Path>) -> Result<Self, DetectError> {
        Self::open_with(&Bundle::open(weights, &BundleLimits::default())?, Settings::default())
    }

    /// Opens a model with settings of one's own; those about phrases play no part.
    ///
    /// # Errors
    /// As [`Detector::open`], and if the device is not there.
    pub fn open_with(bundle: &Bundle, settings: Settings) -> Result<Self, DetectError> {
        named::open(bundle, settings, Self::from_model)
    }

    /// A detector of a model in memory. It is prepared for inference on the device where it is; `settings.device` plays no part.
    ///
    /// # Errors
    /// If there is not one name for each class.
    ///
    /// # Panics
    /// If the model has no parameter, and so no device.
    pub fn from_model(
        model: FocusDetr,
        classes: Vec<String>,
        identity: ModelIdentity,
        settings: Settings,
    ) -> Result<Self, DetectError> {
        let expected = model.config().classes;
        let named = Named::new(model, expected, classes, identity, settings)?;
        let ImageSides { short, longest } = named.model.config().input;
        let preprocessor = Preprocessor::focus_detr(short, longest);
        Ok(Self { shared: Arc::new(Shared { named, preprocessor }) })
    }

    /// Name and hash that stand in every answer.
    pub fn identity(&self) -> &ModelIdentity {
        &self.shared.named.identity
    }

    /// Names of the classes that it knows.
    pub fn classes(&self) -> &[String] {
        &self.shared.named.classes
    }

    /// Finds the objects of a picture: a path, the bytes of a file, or pixels.
    ///
    /// # Errors
    /// If it is no picture or beyond the limits, an option is none or cannot be met, or the answer is not finite.
    pub fn detect<'a>(
        &self,
        picture: impl Into<Picture<'a>>,
        options: &DetectOptions,
    ) -> Result<Detected, DetectError> {
        let shared = &*self.shared;
        let pixels = picture.into().pixels(shared.named.settings.image, shared.named.settings.exif)?;
        let prepared = shared.preprocessor.prepare(&pixels)?;
        let (original, network) = (prepared.placement.image(), prepared.placement.canvas());
        let sides = [network.height() as usize, network.width() as usize];
        let keep_ratio = self.keep_ratio(options, sides)?;
        let shape = [1, 3, sides[0], sides[1]];
        let image = Tensor::<4>::from_data(TensorData::new(prepared.pixels, shape), &shared.named.device);
        let output = shared.named.model.forward(image, None, &ForwardOptions { keep_ratio })?;
        let objects = self.objects(&output, network, original, options)?;
        let macs = shared.named.model.macs(sides, keep_ratio)?;
        Ok(Detected {
            image_size: original,
            objects,
            keep_ratio: keep_ratio.or_else(|| self.usual_ratio()),
            flops: 2 * macs.total(),
            encoder_flops: 2 * macs.encoder(),
            dense_flops: 2 * shared.named.model.dense_macs(sides)?.total(),
            kept: KeptTokens {
                grids: output.encoding.geometry.sizes().to_vec(),
                layers: output.encoding.kept_cells(0, shared.named.model.config().encoder_layers),
            },
            model: shared.named.identity.clone(),
        })
    }

    /// Finds the objects of many pictures, pictures in parallel, each by itself: one that cannot be read spoils no other.
    pub fn detect_all(&self, pictures: &[Picture<'_>], options: &DetectOptions) -> Vec<Result<Detected, DetectError>> {
        pictures.par_iter().map(|picture| self.detect(*picture, options)).collect()
    }

    fn objects(
        &self,
        output: &Output,
        network: ImageSize,
        original: ImageSize,
        options: &DetectOptions,
    ) -> Result<Vec<FoundObject>, DetectError> {
        let last = output.last();
        for (what, sum) in [("scores", last.logits.clone().sum()), ("boxes", last.boxes.clone().sum())] {
            if !sum.into_scalar::<f32>().is_finite() {
                return Err(DetectError::NotFinite { what });
            }
        }
        let found = detections(last, 0, network, original, options.limit);
        let found = found.into_iter().filter(|one| one.score >= options.threshold);
        Ok(found
            .map(|one| FoundObject {
                class: one.class,
                label: self.shared.named.classes[one.class].clone(),
                score: f64::from(one.score),
                bbox: one.bbox,
            })
            .collect())
    }

    /// The ratio to run with; `None` leaves it to the configuration.
    fn keep_ratio(&self, options: &DetectOptions, sides: [usize; 2]) -> Result<Option<f32>, DetectError> {
        let dense = self.shared.named.model.config().encoder == EncoderConfig::Dense;
        if let Some(found) = options.keep_ratio {
            if !(found > 0.0 && found.is_finite()) {
                let (option, found) = ("keep_ratio", f64::from(found));
                return Err(DetectError::Number { option, found, expected: "a positive number" });
            }
            if dense {
                return Err(DetectError::Dense { option: "keep_ratio" });
            }
        }
        if options.threshold.is_nan() {
            return Err(DetectError::Number { option: "threshold", found: f64::NAN, expected: "a number" });
        }
        let Some(gflops) = options.budget_gflops else { return Ok(options.keep_ratio) };
        if !(gflops > 0.0 && gflops.is_finite()) {
            let expected = "a positive number";
            return Err(DetectError::Number { option: "budget_gflops", found: gflops, expected });
        }
        // Less than the smallest share is not to be had: a token in each layer.
        const FEWEST: f32 = 1e-4;
        let model = &self.shared.named.model;
        let fits = model.macs(sides, options.keep_ratio)?.total() as f64 * 2e-9 <= gflops;
        if fits {
            return Ok(options.keep_ratio);
        }
        match model.keep_ratio_within((gflops * 0.5e9) as u64, sides)? {
            Some(ratio) => Ok(Some(ratio)),
            None if dense => Err(DetectError::Dense { option: "budget_gflops" }),
            None => {
                let least = model.macs(sides, Some(FEWEST))?.total() as f64 * 2e-9;
                Err(DetectError::Budget { found: gflops, least })
            }
        }
    }

    /// The average share that the configuration keeps.
    fn usual_ratio(&self) -> Option<f32> {
        match &self.shared.named.model.config().encoder {
            EncoderConfig::Focus(focus) => Some(focus.keep * focus.mean_cascade()),
            EncoderConfig::Sparse { keep } => Some(*keep),
            EncoderConfig::Dense => None,
        }
    }
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Detector").field(&self.shared.named).finish()
    }
}
