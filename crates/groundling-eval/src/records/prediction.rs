//! Records of what a model said.

use std::io::{BufRead, Write};
use std::path::Path;

use groundling_core::{ModelIdentity, PredictedTarget, Prediction};
use serde::{Deserialize, Serialize};

use super::error::{RecordError, RecordProblem};
use super::lines::{self, Child, LineRecord, ReadLimits, Shape};
use super::wire::{MASK_SHAPE, MaskWire, checked_box, checked_frame, checked_phrase, checked_score, checked_size};

/// Name and version of the prediction schema.
pub const PREDICTION_SCHEMA: &str = "groundling.prediction/1";

/// A model's answer to one phrase in one image, with the id by which it meets its truth.
///
/// | JSON field | meaning |
/// |---|---|
/// | `schema` | [`PREDICTION_SCHEMA`] |
/// | `id` | unique in the file; equals the id of the truth |
/// | `image` | key of the image: file name or number, as the data set has it |
/// | `phrase` | verbatim |
/// | `width`, `height` | of the original image, in pixels |
/// | `frame` | [`super::FRAME`] |
/// | `targets` | list of `{score, box: [x0, y0, x1, y1], mask?: {size: [height, width], counts}, label?}` |
/// | `no_target` | whether the model says that nothing fits |
/// | `no_target_score` | its confidence in that, or null |
/// | `model` | `{name, hash}` |
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionRecord {
    /// Joins the record to its truth.
    pub id: String,
    /// Key of the image.
    pub image: String,
    /// The answer.
    pub prediction: Prediction,
}

/// Reads predictions, one JSON object a line. `file` is the name used in messages.
///
/// # Errors
/// [`RecordError`] at the first line that is not a valid record, with file, line, expected and found.
pub fn read_predictions(
    reader: impl BufRead,
    file: impl AsRef<Path>,
    limits: &ReadLimits,
) -> Result<Vec<PredictionRecord>, RecordError> {
    lines::read_all(reader, file.as_ref(), limits)
}

/// Reads a file of predictions, see [`read_predictions`].
///
/// # Errors
/// As [`read_predictions`], and if the file cannot be opened.
pub fn read_predictions_file(
    path: impl AsRef<Path>,
    limits: &ReadLimits,
) -> Result<Vec<PredictionRecord>, RecordError> {
    lines::read_file(path.as_ref(), limits)
}

/// Writes predictions, one JSON object a line. `file` is the name used in messages.
///
/// # Errors
/// If writing fails, or a record is one that [`read_predictions`] would refuse for its numbers.
pub fn write_predictions<'a>(
    writer: impl Write,
    file: impl AsRef<Path>,
    records: impl IntoIterator<Item = &'a PredictionRecord>,
) -> Result<(), RecordError> {
    lines::write_all(writer, file.as_ref(), records)
}

impl PredictionRecord {
    /// The record as one line of JSON, without the end of line.
    ///
    /// # Errors
    /// If a number is not finite, a score not in 0 to 1, a box inverted or a mask not of the image's size.
    pub fn to_json(&self) -> Result<String, RecordProblem> {
        lines::to_json(self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PredictionWire {
    schema: String,
    id: String,
    image: String,
    phrase: String,
    width: u32,
    height: u32,
    frame: String,
    targets: Vec<TargetWire>,
    no_target: bool,
    #[serde(deserialize_with = "Option::deserialize")] // null is a statement, leaving it out is an oversight
    no_target_score: Option<f64>,
    model: ModelWire,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetWire {
    score: f64,
    #[serde(rename = "box")]
    bbox: [f64; 4],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mask: Option<MaskWire>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelWire {
    name: String,
    hash: String,
}

impl PredictionWire {
    fn of(record: &PredictionRecord) -> Self {
        let prediction = &record.prediction;
        let target = |target: &PredictedTarget| TargetWire {
            score: target.score,
            bbox: target.bbox.to_array(),
            mask: target.mask.as_ref().map(MaskWire::of),
            label: target.label.clone(),
        };
        Self {
            schema: PREDICTION_SCHEMA.to_owned(),
            id: record.id.clone(),
            image: record.image.clone(),
            phrase: prediction.phrase.as_str().to_owned(),
            width: prediction.image_size.width(),
            height: prediction.image_size.height(),
            frame: super::FRAME.to_owned(),
            targets: prediction.targets.iter().map(target).collect(),
            no_target: prediction.no_target,
            no_target_score: prediction.no_target_score,
            model: ModelWire { name: prediction.model.name.clone(), hash: prediction.model.hash.clone() },
        }
    }
}

impl LineRecord for PredictionRecord {
    type Wire = PredictionWire;
    const SCHEMA: &'static str = PREDICTION_SCHEMA;
    const SHAPE: Shape = Shape {
        required: &[
            "schema",
            "id",
            "image",
            "phrase",
            "width",
            "height",
            "frame",
            "targets",
            "no_target",
            "no_target_score",
            "model",
        ],
        optional: &[],
        children: &[
            ("targets", Child::List(&TARGET_SHAPE)),
            ("model", Child::Object(&Shape { required: &["name", "hash"], optional: &[], children: &[] })),
        ],
    };

    fn wire(&self) -> PredictionWire {
        PredictionWire::of(self)
    }

    fn schema(wire: &PredictionWire) -> &str {
        &wire.schema
    }

    fn check(wire: PredictionWire, limits: &ReadLimits) -> Result<Self, RecordProblem> {
        checked_frame(&wire.frame)?;
        if wire.targets.len() > limits.max_targets {
            return Err(RecordProblem::TooManyTargets { found: wire.targets.len(), limit: limits.max_targets });
        }
        let image_size = checked_size(wire.height, wire.width)?;
        let targets = wire.targets.into_iter().enumerate().map(|(index, target)| {
            let mask = target.mask.map(|mask| mask.check(image_size, || format!("targets[{index}].mask")));
            Ok(PredictedTarget {
                score: checked_score(target.score, || format!("targets[{index}].score"))?,
                bbox: checked_box(target.bbox, || format!("targets[{index}].box"))?,
                mask: mask.transpose()?,
                label: target.label,
            })
        });
        let prediction = Prediction {
            phrase: checked_phrase(&wire.phrase)?,
            image_size,
            targets: targets.collect::<Result<_, RecordProblem>>()?,
            no_target: wire.no_target,
            no_target_score: wire
                .no_target_score
                .map(|score| checked_score(score, || "no_target_score".to_owned()))
                .transpose()?,
            model: ModelIdentity { name: wire.model.name, hash: wire.model.hash },
        };
        Ok(Self { id: wire.id, image: wire.image, prediction })
    }

    fn id(&self) -> &str {
        &self.id
    }
}

const TARGET_SHAPE: Shape = Shape {
    required: &["score", "box"],
    optional: &["mask", "label"],
    children: &[("mask", Child::Object(&MASK_SHAPE))],
};
