//! Predictions in the words of other tools.

use groundling_core::Prediction;
use serde::{Deserialize, Serialize};

use super::PredictionRecord;
use crate::coco::json::{MaskJson, ResultJson};

/// One detection of the Hugging Face task schema "zero-shot-object-detection".
///
/// Source: huggingface/huggingface.js, `packages/tasks/src/tasks/zero-shot-object-detection/spec/output.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HfDetection {
    /// The label of the target, or the phrase where the model names none.
    pub label: String,
    /// Confidence, 0 to 1.
    pub score: f64,
    /// The box.
    #[serde(rename = "box")]
    pub bbox: HfBox,
}

/// A box of the Hugging Face task schema: whole pixels, truncated towards zero as their pipeline does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HfBox {
    /// Left edge.
    pub xmin: i64,
    /// Top edge.
    pub ymin: i64,
    /// Right edge.
    pub xmax: i64,
    /// Bottom edge.
    pub ymax: i64,
}

/// The targets in the Hugging Face schema. Masks and the no-target answer have no place in it and are lost.
pub fn hf_detections(prediction: &Prediction) -> Vec<HfDetection> {
    let targets = prediction.targets.iter();
    targets
        .map(|target| {
            let [xmin, ymin, xmax, ymax] = target.bbox.to_array().map(|edge| edge as i64);
            HfDetection {
                label: target.label.clone().unwrap_or_else(|| prediction.phrase.as_str().to_owned()),
                score: target.score,
                bbox: HfBox { xmin, ymin, xmax, ymax },
            }
        })
        .collect()
}

/// The targets as entries of a COCO results file: boxes as left, top, width, height; masks as compressed run lengths.
/// The ids are those of the annotation file the results go with.
pub fn coco_results(record: &PredictionRecord, image_id: i64, category_id: i64) -> Vec<ResultJson> {
    let targets = record.prediction.targets.iter();
    targets
        .map(|target| ResultJson {
            image_id,
            category_id,
            bbox: Some(target.bbox.to_xywh().to_array()),
            score: target.score,
            segmentation: target.mask.as_ref().map(MaskJson::of),
        })
        .collect()
}
