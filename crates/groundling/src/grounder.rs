//! A model that is ready, and pictures it has read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use groundling_core::{ImageSize, ModelIdentity, Phrase, PhraseLimits, Placement, PredictedTarget, Prediction};
use groundling_data::image::decode::{ExifOrientation, ImageLimits};
use groundling_data::image::preprocess::Preprocessor;
use groundling_data::text::wordpiece::{Encoded, Truncation, WordPiece};
use groundling_models::contract::{GroundOptions, Grounded, InputSpec, System, Trace};
use rayon::prelude::*;

use crate::bundle::CalibrationRecord;
use crate::cache::Recent;
use crate::engine::{Engine, Erased, Reading};
use crate::explain::{Explain, not_finite, pixels};
use crate::input::{Picture, preprocessor};
use crate::instances::instances;
use crate::verdict::{Verdict, faint_cut};
use crate::{Bundle, BundleLimits, DeviceChoice, GroundError, systems};

/// A model that is ready to be asked.
///
/// It may be shared between threads, and cloning it copies nothing. Phrases it has read are kept (a bounded number of them), so that one
/// phrase over many pictures is read once.
#[derive(Clone)]
pub struct Grounder {
    shared: Arc<Shared>,
    calibration: Option<Arc<CalibrationRecord>>,
}

struct Shared {
    engine: Box<dyn Engine>,
    identity: ModelIdentity,
    input: InputSpec,
    preprocessor: Preprocessor,
    words: WordPiece,
    phrases: Mutex<Recent<String, Reading>>,
    settings: Settings,
    segments: bool,
}

/// What a grounder takes, where it runs and what it keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where the model runs.
    pub device: DeviceChoice,
    /// What a picture may cost.
    pub image: ImageLimits,
    /// How long a phrase may be.
    pub phrase: PhraseLimits,
    /// Whether pictures are turned as the camera's orientation mark says. Ignored by default, as data sets expect it; answers are in
    /// pixels of the picture as it was turned.
    pub exif: ExifOrientation,
    /// What the weights may cost.
    pub weights: BundleLimits,
    /// Phrases kept; the one that was not used longest leaves first.
    pub kept_phrases: usize,
}

impl Default for Settings {
    /// Device `auto`, the limits of every part, orientation ignored, 256 phrases.
    fn default() -> Self {
        Self {
            device: DeviceChoice::Auto,
            image: ImageLimits::default(),
            phrase: PhraseLimits::default(),
            exif: ExifOrientation::Ignore,
            weights: BundleLimits::default(),
            kept_phrases: 256,
        }
    }
}

/// How to answer. The default reads what the model chooses and answers with its last level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Patches with a selection value from here up are read: `-inf` reads everything, `+inf` nothing beyond the coarsest level.
    pub threshold: f32,
    /// Answer with this level (from 0) and read none after it.
    pub level: Option<usize>,
    /// Most floating-point operations for this pair, in units of 10^9, a multiply-add being two; less is read to stay below.
    pub budget_gflops: Option<f64>,
    /// Also return attention, in [`Explain`] or [`Answer::trace`].
    pub attention: bool,
    /// Compute what was left out once instead of once a place. `false` is slower and answers the same: for measurements.
    pub merge: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { threshold: 0.0, level: None, budget_gflops: None, attention: false, merge: true }
    }
}

impl Options {
    fn of_model(&self) -> Result<GroundOptions, GroundError> {
        if self.threshold.is_nan() {
            return Err(GroundError::Number {
                option: "threshold",
                found: f64::NAN,
                expected: "a number or an infinity",
            });
        }
        let budget_flops = match self.budget_gflops {
            Some(found) if !(found > 0.0 && found.is_finite()) => {
                return Err(GroundError::Number { option: "budget_gflops", found, expected: "a positive number" });
            }
            // More than 2^64 operations is no limit; the cast stops there.
            budget => budget.map(|gflops| (gflops * 1e9) as u64),
        };
        let Self { threshold, level, attention, merge, .. } = *self;
        Ok(GroundOptions { threshold, level, budget_flops, merge, attention })
    }
}

/// An answer with what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What was found, in pixels of the original image.
    pub prediction: Prediction,
    /// Counted operations of this pair, the phrase included.
    pub flops: u64,
    /// The same count had everything been read.
    pub dense_flops: u64,
    /// What was read.
    pub explain: Explain,
    /// If asked for, what the token that answers attended to, from systems that look at everything; [`Answer::attention`] has it as maps.
    pub trace: Option<Trace>,
}

/// A picture and what is asked about it.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The picture.
    pub picture: Picture<'a>,
    /// The phrases.
    pub phrases: &'a [Phrase],
}

impl Grounder {
    /// Opens a folder of weights.
    ///
    /// # Errors
    /// If it is missing, damaged, or of a system that this version does not know.
    pub fn open(weights: impl AsRef<Path>) -> Result<Self, GroundError> {
        let settings = Settings::default();
        Self::open_with(&Bundle::open(weights, &settings.weights)?, settings)
    }

    /// Opens the default model, as [`Bundle::find`] finds it.
    ///
    /// # Errors
    /// As [`Grounder::open`], and if there is none.
    pub fn open_default() -> Result<Self, GroundError> {
        let settings = Settings::default();
        Self::open_with(&Bundle::find(None, &settings.weights)?, settings)
    }

    /// Opens a model with settings of one's own.
    ///
    /// # Errors
    /// As [`Grounder::open`], and if the device is not there.
    pub fn open_with(bundle: &Bundle, settings: Settings) -> Result<Self, GroundError> {
        systems::open(bundle, settings)
    }

    /// A grounder of a model in memory. It is prepared for inference on the device where it is.
    ///
    /// `settings.device` plays no part.
    ///
    /// # Panics
    /// If the model has no parameter, and so no device, or its table of words has fewer rows than the vocabulary has pieces.
    pub fn from_model<M>(mut model: M, identity: ModelIdentity, settings: Settings) -> Self
    where
        M: System + Sync + 'static,
        M::Phrase: Sync + 'static,
        M::View: Sync + 'static,
    {
        let input = M::input(model.config());
        let device = model.devices().into_iter().next().expect("a model has parameters");
        model.prepare_inference();
        let words = WordPiece::bert_base_uncased();
        assert!(input.vocabulary >= words.len(), "{} rows for {} word pieces", input.vocabulary, words.len());
        Self {
            shared: Arc::new(Shared {
                engine: Box::new(Erased { model, device }),
                identity,
                input,
                preprocessor: preprocessor(&input),
                words,
                phrases: Mutex::new(Recent::new(settings.kept_phrases)),
                settings,
                segments: M::SEGMENTS,
            }),
            calibration: None,
        }
    }

    /// The same model saying "not here" by this calibration, or by its raw score where there is none.
    pub fn with_calibration(self, calibration: Option<CalibrationRecord>) -> Self {
        Self { calibration: calibration.map(Arc::new), ..self }
    }

    /// By what "not here" is said; `None` where that was not calibrated.
    pub fn calibration(&self) -> Option<&CalibrationRecord> {
        self.calibration.as_deref()
    }

    /// Whether answers have masks.
    pub fn segments(&self) -> bool {
        self.shared.segments
    }

    /// Name and hash that stand in every answer.
    pub fn identity(&self) -> &ModelIdentity {
        &self.shared.identity
    }

    /// How the model wants its pictures and phrases.
    pub fn input(&self) -> &InputSpec {
        &self.shared.input
    }

    /// Checks a phrase by the settings.
    ///
    /// # Errors
    /// If it is empty or too long.
    pub fn phrase(&self, text: &str) -> Result<Phrase, GroundError> {
        Ok(Phrase::parse_within(text, self.shared.settings.phrase)?)
    }

    /// The word pieces that the model reads of a phrase; a phrase that is longer than the model's table is cut.
    pub fn pieces(&self, phrase: &Phrase) -> Encoded {
        self.shared.words.encode(phrase.as_str()).fitted(self.shared.input.max_ids, Truncation::KeepSeparator)
    }

    /// Reads a phrase if it was not read lately. [`Session::ground`] does this by itself; this is for those who want it done before.
    pub fn read_phrase(&self, phrase: &Phrase) {
        self.reading(phrase);
    }

    /// Drops the phrases that are kept: for measurements.
    pub fn forget_phrases(&self) {
        let fresh = Recent::new(self.shared.settings.kept_phrases);
        *self.shared.phrases.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    /// Phrases that are kept at the moment.
    pub fn kept_phrases(&self) -> usize {
        self.shared.phrases.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Reads a picture: a path, the bytes of a file, or pixels.
    ///
    /// # Errors
    /// If it is no picture or beyond the limits.
    pub fn open_image<'a>(&self, picture: impl Into<Picture<'a>>) -> Result<Session, GroundError> {
        let shared = &self.shared;
        let pixels = picture.into().pixels(shared.settings.image, shared.settings.exif)?;
        let prepared = shared.preprocessor.prepare(&pixels)?;
        let placement = prepared.placement;
        Ok(Session { grounder: self.clone(), view: shared.engine.read_canvas(prepared), placement })
    }

    /// Answers pairs of a picture and a phrase in one run of the model.
    ///
    /// # Errors
    /// If the options ask for what the model does not have, or an answer is not finite.
    pub fn ground_batch(&self, pairs: &[(&Session, &Phrase)], options: &Options) -> Result<Vec<Answer>, GroundError> {
        let foreign = |(session, _): &(&Session, &Phrase)| !Arc::ptr_eq(&session.grounder.shared, &self.shared);
        if let Some(position) = pairs.iter().position(foreign) {
            return Err(GroundError::ForeignSession { position });
        }
        let options = options.of_model()?;
        let phrases: Vec<Reading> = pairs.iter().map(|(_, phrase)| self.reading(phrase)).collect();
        let readings: Vec<(&Reading, &Reading)> =
            phrases.iter().zip(pairs).map(|(phrase, (session, _))| (phrase, &session.view)).collect();
        let answers = self.shared.engine.ground(&readings, &options)?;
        answers.into_iter().zip(pairs).map(|(answer, (session, phrase))| session.answer(phrase, answer)).collect()
    }

    /// Answers phrases about many pictures, pictures in parallel, each by itself: one that cannot be read spoils no other. Answers are in
    /// the order of the questions, and of the phrases within.
    pub fn ground_all(&self, questions: &[Question<'_>], options: &Options) -> Vec<Result<Vec<Answer>, GroundError>> {
        let answer = |question: &Question<'_>| {
            let session = self.open_image(question.picture)?;
            question.phrases.iter().map(|phrase| session.ground_phrase(phrase, options)).collect()
        };
        questions.par_iter().map(answer).collect()
    }

    fn reading(&self, phrase: &Phrase) -> Reading {
        if let Some(reading) = self.kept_reading(phrase) {
            return reading;
        }
        // Not under the lock: a thread that computes may take up other work meanwhile, and would wait for itself.
        let reading = self.shared.engine.read_phrase(&self.pieces(phrase).ids);
        self.keep(phrase, reading.clone());
        reading
    }

    fn kept_reading(&self, phrase: &Phrase) -> Option<Reading> {
        self.shared.phrases.lock().unwrap_or_else(PoisonError::into_inner).get(&phrase.as_str().to_owned())
    }

    fn keep(&self, phrase: &Phrase, reading: Reading) {
        self.shared.phrases.lock().unwrap_or_else(PoisonError::into_inner).put(phrase.as_str().to_owned(), reading);
    }
}

impl std::fmt::Debug for Grounder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grounder").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

/// A picture that was read, ready to be asked about. It keeps its grounder alive.
#[derive(Clone)]
pub struct Session {
    grounder: Grounder,
    view: Reading,
    placement: Placement,
}

impl Session {
    /// What a phrase refers to.
    ///
    /// # Errors
    /// If the phrase is empty or too long, or the answer is not finite.
    pub fn ground(&self, phrase: &str) -> Result<Prediction, GroundError> {
        Ok(self.ground_with(phrase, &Options::default())?.prediction)
    }

    /// What a phrase refers to, by options of one's own, with what it took.
    ///
    /// # Errors
    /// As [`Session::ground`], and if the options ask for what the model does not have.
    pub fn ground_with(&self, phrase: &str, options: &Options) -> Result<Answer, GroundError> {
        self.ground_phrase(&self.grounder.phrase(phrase)?, options)
    }

    /// As [`Session::ground_with`], for a phrase that was checked before.
    ///
    /// # Errors
    /// As [`Session::ground_with`].
    pub fn ground_phrase(&self, phrase: &Phrase, options: &Options) -> Result<Answer, GroundError> {
        self.answer(phrase, self.grounded(phrase, options)?)
    }

    fn grounded(&self, phrase: &Phrase, options: &Options) -> Result<Grounded, GroundError> {
        let (grounder, options) = (&self.grounder, options.of_model()?);
        if let Some(reading) = grounder.kept_reading(phrase) {
            let answers = grounder.shared.engine.ground(&[(&reading, &self.view)], &options)?;
            return Ok(answers.into_iter().next().unwrap_or_default());
        }
        let (reading, answer) =
            grounder.shared.engine.ground_new(&grounder.pieces(phrase).ids, &self.view, &options)?;
        grounder.keep(phrase, reading);
        Ok(answer)
    }

    /// The answer in pixels of the canvas, for models whose pictures fill it: what evaluations compare that resize the truth to the canvas
    /// instead of the answer to the picture.
    ///
    /// # Errors
    /// As [`Session::ground_with`], and if pictures do not fill the canvas.
    pub fn ground_on_canvas(&self, phrase: &Phrase, options: &Options) -> Result<Answer, GroundError> {
        let canvas = self.placement.canvas();
        if self.placement.resized() != canvas {
            return Err(GroundError::PartOfCanvas { canvas, filled: self.placement.resized() });
        }
        let answer = self.grounded(phrase, options)?;
        self.placed(phrase, answer, &Placement::square_resize(canvas, canvas.height())?)
    }

    /// Size of the original image.
    pub fn image_size(&self) -> ImageSize {
        self.placement.image()
    }

    /// Where the image lies in the network's input.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    fn answer(&self, phrase: &Phrase, answer: Grounded) -> Result<Answer, GroundError> {
        self.placed(phrase, answer, &self.placement)
    }

    /// An answer about the image that the placement says.
    fn placed(&self, phrase: &Phrase, answer: Grounded, placement: &Placement) -> Result<Answer, GroundError> {
        if let Some(what) = not_finite(&answer) {
            return Err(GroundError::NotFinite { what, phrase: phrase.as_str().to_owned() });
        }
        let target = |target: &groundling_models::contract::GroundedTarget| PredictedTarget {
            score: f64::from(target.score).clamp(0.0, 1.0),
            bbox: pixels(placement, target.bbox.to_xyxy()),
            mask: None,
            label: None,
        };
        let verdict = Verdict::of(answer.no_target, self.grounder.calibration());
        // Masks say more than the box around all of them.
        let targets = match &answer.mask {
            Some(_) if verdict.no_target => Vec::new(),
            Some(mask) => {
                let likely = instances(mask, placement, 0.0);
                if likely.is_empty() { instances(mask, placement, faint_cut(mask.highest())) } else { likely }
            }
            None => answer.targets.iter().map(target).collect(),
        };
        let prediction = Prediction {
            phrase: phrase.clone(),
            image_size: placement.image(),
            targets,
            no_target: verdict.no_target,
            no_target_score: verdict.score,
            model: self.grounder.shared.identity.clone(),
        };
        let explain = Explain::new(placement, answer.levels);
        let Grounded { flops, dense_flops, trace, .. } = answer;
        Ok(Answer { prediction, flops, dense_flops, explain, trace })
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("placement", &self.placement).finish_non_exhaustive()
    }
}
