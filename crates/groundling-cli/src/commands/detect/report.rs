//! Objects in the forms that people and programs ask for.

use std::path::Path;

use groundling::{Detected, Detector, FoundObject};
use groundling_core::ModelIdentity;
use groundling_eval::coco::json::ResultJson;
use groundling_eval::records::{HfBox, HfDetection};
use serde_json::{Value, json};

use crate::flags::Format;
use crate::output::{self, Failed};

/// Name and version of the form of `--json`.
const DETECTIONS_SCHEMA: &str = "groundling.detections/1";

/// Prints objects as they come, or all of them at the end where the form asks for it.
pub(super) struct Writer {
    format: Format,
    model: ModelIdentity,
    categories: Vec<i64>,
    pictures: Vec<Value>,
}

impl Writer {
    pub(super) fn new(format: Format, detector: &Detector) -> Self {
        let categories = category_ids(detector.classes());
        Self { format, model: detector.identity().clone(), categories, pictures: Vec::new() }
    }

    pub(super) fn add(&mut self, image: &str, found: &Detected) -> anyhow::Result<()> {
        let value = match self.format {
            Format::Text => return output::say(&text(image, found)),
            Format::Jsonl => return output::say(&picture(image, found).to_string()),
            Format::Json => picture(image, found),
            Format::Hf => serde_json::to_value(found.objects.iter().map(hf).collect::<Vec<_>>())?,
            Format::Coco => {
                let image_id = image_id(image, self.pictures.len() + 1);
                serde_json::to_value(coco_results(found, image_id, &self.categories))?
            }
        };
        self.pictures.push(value);
        Ok(())
    }

    pub(super) fn finish(mut self, failed: &[Failed]) -> anyhow::Result<()> {
        let value = match self.format {
            Format::Text | Format::Jsonl => return Ok(()),
            // One picture, one list; several, a list of lists, as their pipeline does.
            Format::Hf if self.pictures.len() == 1 && failed.is_empty() => self.pictures.remove(0),
            Format::Hf => Value::Array(self.pictures),
            Format::Coco => {
                self.pictures.into_iter().flat_map(|found| found.as_array().cloned().unwrap_or_default()).collect()
            }
            Format::Json => json!({
                "schema": DETECTIONS_SCHEMA,
                "model": {"name": self.model.name, "hash": self.model.hash},
                "pictures": self.pictures,
                "failed": failed.iter().map(Failed::to_json).collect::<Vec<_>>(),
            }),
        };
        output::say(&serde_json::to_string_pretty(&value)?)
    }
}

/// The number at the end of a file's name, as COCO names its pictures; `otherwise` where there is none.
pub(crate) fn image_id(name: &str, otherwise: usize) -> i64 {
    let stem = Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digits = stem.len() - stem.bytes().rev().take_while(u8::is_ascii_digit).count();
    stem[digits..].parse().unwrap_or(otherwise as i64)
}

/// COCO's ids for COCO's classes; numbers from 1 for others.
pub(crate) fn category_ids(classes: &[String]) -> Vec<i64> {
    let of_coco = groundling_models::focus_detr::coco_category_ids(classes);
    of_coco.unwrap_or_else(|| (1..=classes.len() as i64).collect())
}

/// Objects as entries of a COCO results file.
pub(crate) fn coco_results(found: &Detected, image_id: i64, categories: &[i64]) -> Vec<ResultJson> {
    let result = |object: &FoundObject| {
        let bbox = object.bbox.to_xywh();
        ResultJson {
            image_id,
            category_id: categories[object.class],
            bbox: Some([bbox.x, bbox.y, bbox.width, bbox.height]),
            score: object.score,
            segmentation: None,
        }
    };
    found.objects.iter().map(result).collect()
}

fn hf(object: &FoundObject) -> HfDetection {
    let [xmin, ymin, xmax, ymax] = object.bbox.to_array().map(|side| side as i64);
    HfDetection { label: object.label.clone(), score: object.score, bbox: HfBox { xmin, ymin, xmax, ymax } }
}

/// An object in our own form.
pub(crate) fn object_json(object: &FoundObject) -> Value {
    json!({"class": object.class, "label": object.label, "score": object.score, "box": object.bbox.to_array()})
}

fn picture(image: &str, found: &Detected) -> Value {
    json!({
        "image": image,
        "image_size": [found.image_size.height(), found.image_size.width()],
        "objects": found.objects.iter().map(object_json).collect::<Vec<_>>(),
        "gflops": found.flops as f64 / 1e9,
        "dense_gflops": found.dense_flops as f64 / 1e9,
        "keep_ratio": found.keep_ratio,
        "kept_share": found.kept.share(),
    })
}

fn text(image: &str, found: &Detected) -> String {
    let count = found.objects.len();
    let mut lines = vec![format!("{image}  {count} {}", if count == 1 { "object" } else { "objects" })];
    for object in &found.objects {
        let [x0, y0, x1, y1] = object.bbox.to_array();
        lines.push(format!("  {:16} {:.2}   {x0:.1} {y0:.1} {x1:.1} {y1:.1}", object.label, object.score));
    }
    lines.push(format!(
        "  read  {:.3} of {:.3} GFLOPs; {:.0} % of {} tokens a layer",
        found.flops as f64 / 1e9,
        found.dense_flops as f64 / 1e9,
        100.0 * found.kept.share(),
        found.kept.tokens(),
    ));
    lines.join("\n")
}
