//! `groundling classify`: what whole pictures show.

use std::path::PathBuf;

use anyhow::bail;
use groundling::{Classified, ClassifyError, RankedClass};
use groundling_core::ModelIdentity;
use groundling_data::image::decode::ExifOrientation;
use rayon::prelude::*;
use serde_json::{Value, json};

use super::ground::questions::expand;
use crate::flags::{Classify, Format};
use crate::output::Failed;
use crate::{Outcome, output, progress};

/// Name and version of the form of `--json`.
const CLASSES_SCHEMA: &str = "groundling.classes/1";
/// Pictures answered before their answers are printed.
const CHUNK: usize = 32;

pub(crate) fn run(flags: &Classify, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    if flags.top == 0 {
        bail!("--top is 0, expected at least 1");
    }
    if format == Format::Coco {
        bail!("COCO's results are of boxes; `classify` prints text, json, jsonl or hf");
    }
    let mut images: Vec<PathBuf> = Vec::new();
    for input in &flags.inputs {
        expand(input, &mut images)?;
    }
    let exif = if flags.exif { ExifOrientation::Apply } else { ExifOrientation::Ignore };
    let classifier = flags.model.open_classifier(exif)?;
    let bar = progress::bar(quiet || images.len() < 2, images.len() as u64, "pictures");
    let mut pictures = Vec::new();
    let mut failed = Vec::new();
    for chunk in images.chunks(CHUNK) {
        let found: Vec<Result<Classified, ClassifyError>> = chunk
            .par_iter()
            .map(|image| {
                let found = classifier.classify(image, flags.top);
                bar.inc(1);
                found
            })
            .collect();
        for (image, found) in chunk.iter().zip(found) {
            let image = image.display().to_string();
            match found {
                Ok(found) => match format {
                    Format::Text => output::say(&text(&image, &found))?,
                    Format::Jsonl => output::say(&picture(&image, &found).to_string())?,
                    Format::Hf => pictures.push(Value::Array(found.classes.iter().map(hf).collect())),
                    Format::Json | Format::Coco => pictures.push(picture(&image, &found)),
                },
                // Nothing else can be said then: the error is the answer.
                Err(error) if images.len() == 1 => return Err(error.into()),
                Err(error) => failed.push(Failed { place: image, error: error.into() }),
            }
        }
    }
    bar.finish_and_clear();
    finish(format, classifier.identity(), pictures, &failed)?;
    output::failures(&failed, images.len())
}

/// Prints what is said at once.
fn finish(format: Format, model: &ModelIdentity, mut pictures: Vec<Value>, failed: &[Failed]) -> anyhow::Result<()> {
    let value = match format {
        Format::Text | Format::Jsonl => return Ok(()),
        // One picture, one list; several, a list of lists, as their pipeline does.
        Format::Hf if pictures.len() == 1 && failed.is_empty() => pictures.remove(0),
        Format::Hf => Value::Array(pictures),
        Format::Json | Format::Coco => json!({
            "schema": CLASSES_SCHEMA,
            "model": {"name": model.name, "hash": model.hash},
            "pictures": pictures,
            "failed": failed.iter().map(Failed::to_json).collect::<Vec<_>>(),
        }),
    };
    output::say(&serde_json::to_string_pretty(&value)?)
}

fn picture(image: &str, found: &Classified) -> Value {
    let class = |ranked: &RankedClass| json!({"class": ranked.class, "label": ranked.label, "score": ranked.score});
    json!({
        "image": image,
        "image_size": [found.image_size.height(), found.image_size.width()],
        "classes": found.classes.iter().map(class).collect::<Vec<_>>(),
        "gflops": found.flops as f64 / 1e9,
    })
}

/// As the image classification of Hugging Face has it.
fn hf(ranked: &RankedClass) -> Value {
    json!({"label": ranked.label, "score": ranked.score})
}

fn text(image: &str, found: &Classified) -> String {
    let class = |ranked: &RankedClass| format!("\n  {:5.1} %  {}", 100.0 * ranked.score, ranked.label);
    format!("{image}{}", found.classes.iter().map(class).collect::<String>())
}
