//! Records of what is true.

use std::io::{BufRead, Write};
use std::path::Path;

use groundling_core::{GroundTruth, ImageSize, Phrase, Rle, TargetCount, TrueTarget};
use serde::{Deserialize, Serialize};

use super::error::{RecordError, RecordProblem};
use super::lines::{self, Child, LineRecord, ReadLimits, Shape};
use super::wire::{MASK_SHAPE, MaskWire, checked_box, checked_frame, checked_phrase, checked_size};

/// Name and version of the truth schema.
pub const TRUTH_SCHEMA: &str = "groundling.truth/1";

/// What one phrase in one image really refers to.
///
/// In JSON: `schema` ([`TRUTH_SCHEMA`]), `id`, `image`, `phrase`, `width`, `height`, `frame`, `source` as in a prediction
/// record, `targets`: list of `{box, mask?, category_id?}`, and optionally `merged_mask`, the union of all targets where
/// the data set states it for the phrase as a whole.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthRecord {
    /// Joins the record to its prediction.
    pub id: String,
    /// Key of the image.
    pub image: String,
    /// The expression, verbatim.
    pub phrase: Phrase,
    /// Size of the original image.
    pub image_size: ImageSize,
    /// Targets and masks.
    pub truth: GroundTruth,
    /// Zero, one or many targets, by the word of the data set. This and not the number of boxes decides whether a
    /// sample counts as "no target": Ref-ZOM has targets that are only a merged mask.
    pub source: TargetCount,
}

impl TruthRecord {
    /// Whether nothing in the image fits the phrase.
    pub fn is_absent(&self) -> bool {
        self.source == TargetCount::Zero
    }

    /// The truth about the image resized to another size without keeping its aspect: masks by Pillow's nearest neighbour, as the released
    /// programs of segmentation resize them, boxes in proportion.
    pub fn resized_nearest(&self, size: ImageSize) -> Self {
        let resized = |mask: &Rle| Rle::from_mask(&mask.to_mask().resized_nearest(size));
        let ratio = |to: u32, from: u32| f64::from(to) / f64::from(from);
        let [x, y] = [ratio(size.width(), self.image_size.width()), ratio(size.height(), self.image_size.height())];
        let target = |target: &TrueTarget| TrueTarget {
            bbox: target.bbox.scaled_into(x, y),
            mask: target.mask.as_ref().map(resized),
            category_id: target.category_id,
        };
        let truth = GroundTruth {
            targets: self.truth.targets.iter().map(target).collect(),
            merged_mask: self.truth.merged_mask.as_ref().map(resized),
        };
        Self { image_size: size, truth, ..self.clone() }
    }
}

/// Reads truths, one JSON object a line. `file` is the name used in messages.
///
/// # Errors
/// [`RecordError`] at the first line that is not a valid record, with file, line, expected and found.
pub fn read_truths(
    reader: impl BufRead,
    file: impl AsRef<Path>,
    limits: &ReadLimits,
) -> Result<Vec<TruthRecord>, RecordError> {
    lines::read_all(reader, file.as_ref(), limits)
}

/// Reads a file of truths, see [`read_truths`].
///
/// # Errors
/// As [`read_truths`], and if the file cannot be opened.
pub fn read_truths_file(path: impl AsRef<Path>, limits: &ReadLimits) -> Result<Vec<TruthRecord>, RecordError> {
    lines::read_file(path.as_ref(), limits)
}

/// Writes truths, one JSON object a line. `file` is the name used in messages.
///
/// # Errors
/// If writing fails, or a record is one that [`read_truths`] would refuse.
pub fn write_truths<'a>(
    writer: impl Write,
    file: impl AsRef<Path>,
    records: impl IntoIterator<Item = &'a TruthRecord>,
) -> Result<(), RecordError> {
    lines::write_all(writer, file.as_ref(), records)
}

impl TruthRecord {
    /// The record as one line of JSON, without the end of line.
    ///
    /// # Errors
    /// If a number is not finite, a box inverted, a mask not of the image's size, or `source` contradicts the targets.
    pub fn to_json(&self) -> Result<String, RecordProblem> {
        lines::to_json(self)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TruthWire {
    schema: String,
    id: String,
    image: String,
    phrase: String,
    width: u32,
    height: u32,
    frame: String,
    source: SourceWire,
    targets: Vec<TargetWire>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    merged_mask: Option<MaskWire>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum SourceWire {
    Zero,
    One,
    Many,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetWire {
    #[serde(rename = "box")]
    bbox: [f64; 4],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mask: Option<MaskWire>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    category_id: Option<i64>,
}

impl TruthWire {
    fn of(record: &TruthRecord) -> Self {
        let target = |target: &TrueTarget| TargetWire {
            bbox: target.bbox.to_array(),
            mask: target.mask.as_ref().map(MaskWire::of),
            category_id: target.category_id,
        };
        Self {
            schema: TRUTH_SCHEMA.to_owned(),
            id: record.id.clone(),
            image: record.image.clone(),
            phrase: record.phrase.as_str().to_owned(),
            width: record.image_size.width(),
            height: record.image_size.height(),
            frame: super::FRAME.to_owned(),
            source: match record.source {
                TargetCount::Zero => SourceWire::Zero,
                TargetCount::One => SourceWire::One,
                TargetCount::Many => SourceWire::Many,
            },
            targets: record.truth.targets.iter().map(target).collect(),
            merged_mask: record.truth.merged_mask.as_ref().map(MaskWire::of),
        }
    }
}

impl LineRecord for TruthRecord {
    type Wire = TruthWire;
    const SCHEMA: &'static str = TRUTH_SCHEMA;
    const SHAPE: Shape = Shape {
        required: &["schema", "id", "image", "phrase", "width", "height", "frame", "source", "targets"],
        optional: &["merged_mask"],
        children: &[
            (
                "targets",
                Child::List(&Shape {
                    required: &["box"],
                    optional: &["mask", "category_id"],
                    children: &[("mask", Child::Object(&MASK_SHAPE))],
                }),
            ),
            ("merged_mask", Child::Object(&MASK_SHAPE)),
        ],
    };

    fn wire(&self) -> TruthWire {
        TruthWire::of(self)
    }

    fn schema(wire: &TruthWire) -> &str {
        &wire.schema
    }

    fn check(wire: TruthWire, limits: &ReadLimits) -> Result<Self, RecordProblem> {
        checked_frame(&wire.frame)?;
        if wire.targets.len() > limits.max_targets {
            return Err(RecordProblem::TooManyTargets { found: wire.targets.len(), limit: limits.max_targets });
        }
        let source = match wire.source {
            SourceWire::Zero => TargetCount::Zero,
            SourceWire::One => TargetCount::One,
            SourceWire::Many => TargetCount::Many,
        };
        let image_size = checked_size(wire.height, wire.width)?;
        let targets = wire.targets.into_iter().enumerate().map(|(index, target)| {
            let mask = target.mask.map(|mask| mask.check(image_size, || format!("targets[{index}].mask")));
            Ok(TrueTarget {
                bbox: checked_box(target.bbox, || format!("targets[{index}].box"))?,
                mask: mask.transpose()?,
                category_id: target.category_id,
            })
        });
        let targets = targets.collect::<Result<Vec<_>, RecordProblem>>()?;
        let merged_mask =
            wire.merged_mask.map(|mask| mask.check(image_size, || "merged_mask".to_owned())).transpose()?;
        let truth = GroundTruth { targets, merged_mask };
        checked_source(source, &truth)?;
        Ok(Self { id: wire.id, image: wire.image, phrase: checked_phrase(&wire.phrase)?, image_size, truth, source })
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// Zero has nothing, or an empty merged mask; one and many have something. How many boxes make "many" is the data
/// set's business: a group may be annotated by one box.
fn checked_source(source: TargetCount, truth: &GroundTruth) -> Result<(), RecordProblem> {
    let merged_empty = truth.merged_mask.as_ref().is_none_or(groundling_core::Rle::is_empty);
    let expected = match source {
        TargetCount::Zero if truth.targets.is_empty() && merged_empty => return Ok(()),
        TargetCount::Zero => "no target and no foreground",
        _ if !truth.targets.is_empty() || truth.merged_mask.is_some() => return Ok(()),
        _ => "at least one target or a merged_mask",
    };
    let merged = if truth.merged_mask.is_some() { "a" } else { "no" };
    Err(RecordProblem::Source { source_word: source.name(), targets: truth.targets.len(), merged, expected })
}
