//! The parts that both kinds of record share in JSON, and their checks.

use groundling_core::{BoxXyxy, ImageSize, Phrase, Pixels, Rle};
use serde::{Deserialize, Serialize};

use super::error::RecordProblem;
use super::lines::Shape;

/// A COCO run-length code: `[height, width]` and the compressed string.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MaskWire {
    size: [u32; 2],
    counts: String,
}

/// Fields of [`MaskWire`].
pub(super) const MASK_SHAPE: Shape = Shape { required: &["size", "counts"], optional: &[], children: &[] };

impl MaskWire {
    pub(super) fn of(mask: &Rle) -> Self {
        Self { size: [mask.size().height(), mask.size().width()], counts: mask.to_compressed() }
    }

    pub(super) fn check(self, image: ImageSize, field: impl Fn() -> String) -> Result<Rle, RecordProblem> {
        let [found_height, found_width] = self.size;
        if (found_height, found_width) != (image.height(), image.width()) {
            let (height, width) = (image.height(), image.width());
            return Err(RecordProblem::MaskSize { field: field(), found_height, found_width, height, width });
        }
        Rle::from_compressed(image, &self.counts).map_err(|source| RecordProblem::Mask { field: field(), source })
    }
}

pub(super) fn checked_frame(frame: &str) -> Result<(), RecordProblem> {
    if frame == super::FRAME { Ok(()) } else { Err(RecordProblem::Frame { found: frame.to_owned() }) }
}

pub(super) fn checked_phrase(phrase: &str) -> Result<Phrase, RecordProblem> {
    Phrase::parse(phrase).map_err(RecordProblem::Phrase)
}

pub(super) fn checked_size(height: u32, width: u32) -> Result<ImageSize, RecordProblem> {
    ImageSize::new(height, width).map_err(RecordProblem::Size)
}

/// Finite, and not inverted. A box without area is allowed: clipping makes such boxes.
pub(super) fn checked_box(found: [f64; 4], field: impl Fn() -> String) -> Result<BoxXyxy<Pixels>, RecordProblem> {
    if let Some(value) = found.iter().find(|value| !value.is_finite()) {
        return Err(RecordProblem::NotFinite { field: field(), found: value.to_string() });
    }
    let [x0, y0, x1, y1] = found;
    if x0 > x1 || y0 > y1 {
        return Err(RecordProblem::InvertedBox { field: field(), found });
    }
    Ok(BoxXyxy::from_array(found))
}

pub(super) fn checked_score(found: f64, field: impl Fn() -> String) -> Result<f64, RecordProblem> {
    if !found.is_finite() {
        return Err(RecordProblem::NotFinite { field: field(), found: found.to_string() });
    }
    if !(0.0..=1.0).contains(&found) {
        return Err(RecordProblem::Score { field: field(), found });
    }
    Ok(found)
}
