//! `groundling detect`: all objects of known classes in pictures.

mod pictures;
pub(super) mod report;

use std::path::PathBuf;

use groundling::{DetectOptions, Detected, Detector};
use groundling_data::image::decode::ExifOrientation;
use rayon::prelude::*;

use super::ground::questions::expand;
use crate::flags::{Detect, Format};
use crate::output::Failed;
use crate::{Outcome, output, progress};
use pictures::Drawing;

/// Pictures answered before their answers are printed.
const CHUNK: usize = 32;

pub(crate) fn run(flags: &Detect, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    let mut images: Vec<PathBuf> = Vec::new();
    for input in &flags.inputs {
        expand(input, &mut images)?;
    }
    let drawing = Drawing::new(flags, images.len())?;
    let exif = if flags.exif { ExifOrientation::Apply } else { ExifOrientation::Ignore };
    let detector = flags.model.open_detector(exif)?;
    let Detect { threshold, limit, keep_ratio, budget_gflops, .. } = *flags;
    let options = DetectOptions { keep_ratio, budget_gflops, threshold, limit };
    let bar = progress::bar(quiet || images.len() < 2, images.len() as u64, "pictures");
    let mut report = report::Writer::new(format, &detector);
    let mut failed = Vec::new();
    for chunk in images.chunks(CHUNK) {
        let found: Vec<anyhow::Result<Detected>> = chunk
            .par_iter()
            .map(|image| {
                let found = detect(&detector, image, &options, &drawing);
                bar.inc(1);
                found
            })
            .collect();
        for (image, found) in chunk.iter().zip(found) {
            match found {
                Ok(found) => report.add(&image.display().to_string(), &found)?,
                // Nothing else can be said then: the error is the answer.
                Err(error) if images.len() == 1 => return Err(error),
                Err(error) => failed.push(Failed { place: image.display().to_string(), error }),
            }
        }
    }
    bar.finish_and_clear();
    report.finish(&failed)?;
    output::failures(&failed, images.len())
}

fn detect(
    detector: &Detector,
    image: &PathBuf,
    options: &DetectOptions,
    drawing: &Drawing,
) -> anyhow::Result<Detected> {
    let found = detector.detect(image, options)?;
    drawing.draw(image, &found)?;
    Ok(found)
}
