//! Answers in the forms that people and programs ask for.

use groundling::bundle::CalibrationRecord;
use groundling::{Answer, FoundObject, Grounder, Level};
use groundling_core::ModelIdentity;
use groundling_eval::coco::json::ResultJson;
use groundling_eval::records::{HfDetection, PredictionRecord, coco_results, hf_detections};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::detect::report::{image_id, object_json};
use super::questions::{Asked, AskedPhrase};
use crate::flags::Format;
use crate::output::{self, Failed};

/// Name and version of the form of `--json`.
const ANSWERS_SCHEMA: &str = "groundling.answers/1";

/// Prints answers as they come, or all of them at the end where the form asks for it.
pub(super) struct Writer {
    format: Format,
    model: ModelIdentity,
    calibration: Option<CalibrationRecord>,
    /// Answers by their position, since those of one picture come together.
    answers: Vec<(usize, Value)>,
    pictures: usize,
    last: Option<String>,
}

#[derive(Serialize)]
struct Answers {
    schema: &'static str,
    model: Value,
    answers: Vec<Value>,
    /// Inputs that gave no answer.
    failed: Vec<Value>,
}

impl Writer {
    pub(super) fn new(format: Format, grounder: &Grounder) -> Self {
        let (model, calibration) = (grounder.identity().clone(), grounder.calibration().cloned());
        Self { format, model, calibration, answers: Vec::new(), pictures: 0, last: None }
    }

    /// `candidates` are the objects of known classes in the picture, where a detector was asked.
    pub(super) fn add(
        &mut self,
        asked: &Asked,
        phrase: &AskedPhrase,
        answer: Answer,
        candidates: Option<&[FoundObject]>,
    ) -> anyhow::Result<()> {
        if self.last.as_ref() != Some(&asked.name) {
            self.pictures += 1;
            self.last = Some(asked.name.clone());
        }
        let Answer { prediction, flops, dense_flops, explain, .. } = answer;
        let record = PredictionRecord { id: phrase.id.clone(), image: asked.name.clone(), prediction };
        let value = match self.format {
            Format::Text => {
                let answer = text(&record, self.calibration.is_some(), flops, dense_flops, &explain.levels);
                let lines = candidates.unwrap_or_default().iter().map(|object| candidate_text(object, &record));
                return output::say(&std::iter::once(answer).chain(lines).collect::<Vec<_>>().join("\n"));
            }
            Format::Jsonl => return output::say(&record.to_json()?),
            Format::Hf => {
                let found: Vec<HfDetection> = hf_detections(&record.prediction);
                serde_json::to_value(found)?
            }
            Format::Coco => {
                let found: Vec<ResultJson> = coco_results(&record, image_id(&asked.name, self.pictures), 1);
                serde_json::to_value(found)?
            }
            Format::Json => {
                let prediction: Value = serde_json::from_str(&record.to_json()?)?;
                let gflops = flops as f64 / 1e9;
                let levels: Vec<Value> = explain.levels.iter().map(level).collect();
                let mut value = json!({
                    "prediction": prediction,
                    "gflops": gflops,
                    "dense_gflops": dense_flops as f64 / 1e9,
                    "levels": levels,
                });
                if let Some(candidates) = candidates {
                    let candidates = candidates.iter().map(|object| candidate_json(object, &record));
                    value["candidates"] = Value::Array(candidates.collect());
                }
                value
            }
        };
        self.answers.push((phrase.position, value));
        Ok(())
    }

    pub(super) fn finish(mut self, failed: &[Failed]) -> anyhow::Result<()> {
        self.answers.sort_by_key(|(position, _)| *position);
        let mut answers: Vec<Value> = self.answers.into_iter().map(|(_, answer)| answer).collect();
        let value = match self.format {
            Format::Text | Format::Jsonl => return Ok(()),
            // One question, one list; several, a list of lists, as their pipeline does.
            Format::Hf if answers.len() == 1 && failed.is_empty() => answers.remove(0),
            Format::Hf => Value::Array(answers),
            Format::Coco => {
                answers.into_iter().flat_map(|found| found.as_array().cloned().unwrap_or_default()).collect()
            }
            Format::Json => {
                let model = json!({"name": self.model.name, "hash": self.model.hash, "calibration": self.calibration});
                serde_json::to_value(Answers {
                    schema: ANSWERS_SCHEMA,
                    model,
                    answers,
                    failed: failed.iter().map(Failed::to_json).collect(),
                })?
            }
        };
        output::say(&serde_json::to_string_pretty(&value)?)
    }
}

/// How much an object overlaps with the best target, which tells the answer's own class from its alternatives.
fn overlap(object: &FoundObject, record: &PredictionRecord) -> Option<f64> {
    record.prediction.best().map(|target| target.bbox.iou(object.bbox))
}

fn candidate_json(object: &FoundObject, record: &PredictionRecord) -> Value {
    let mut value = object_json(object);
    value["iou"] = json!(overlap(object, record));
    value
}

fn candidate_text(object: &FoundObject, record: &PredictionRecord) -> String {
    let [x0, y0, x1, y1] = object.bbox.to_array();
    let overlap = overlap(object, record).map_or(String::new(), |iou| format!("   IoU {iou:.2}"));
    format!("  class {} {:.2}   {x0:.1} {y0:.1} {x1:.1} {y1:.1}{overlap}", object.label, object.score)
}

fn level(level: &Level) -> Value {
    json!({
        "box": level.bbox.to_array(),
        "grid": level.grid,
        "kept": level.kept.len(),
        "valid": level.valid.len(),
        "threshold": level.threshold,
        "gflops": level.flops as f64 / 1e9,
    })
}

fn text(record: &PredictionRecord, calibrated: bool, flops: u64, dense_flops: u64, levels: &[Level]) -> String {
    let prediction = &record.prediction;
    let mut lines = vec![format!("{}  {:?}", record.image, prediction.phrase.as_str())];
    if prediction.no_target {
        let score = prediction.no_target_score.map_or(String::new(), |score| format!("   score {score:.2}"));
        lines.push(format!("  not here{score}{}", if calibrated { "" } else { ", not calibrated" }));
    }
    for target in &prediction.targets {
        let [x0, y0, x1, y1] = target.bbox.to_array();
        let pixels = target.mask.as_ref().map_or(String::new(), |mask| format!("   mask of {} pixels", mask.area()));
        lines.push(format!("  box   {x0:.1} {y0:.1} {x1:.1} {y1:.1}   score {:.2}{pixels}", target.score));
    }
    let gflops = |flops: u64| flops as f64 / 1e9;
    let mut read = format!("  read  {:.3} of {:.3} GFLOPs", gflops(flops), gflops(dense_flops));
    if !levels.is_empty() {
        let levels: Vec<String> =
            levels.iter().map(|level| format!("{} of {}", level.kept.len(), level.valid.len())).collect();
        read.push_str(&format!("; patches {} from coarse to fine", levels.join(", ")));
    }
    lines.push(read);
    lines.join("\n")
}
