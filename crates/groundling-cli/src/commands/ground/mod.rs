//! `groundling ground`: boxes for phrases in pictures.

pub(super) mod pictures;
pub(super) mod questions;
mod report;

use anyhow::bail;
use groundling::{Answer, DetectOptions, Detector, FoundObject, GroundError, Grounder, Options};
use groundling_data::image::decode::ExifOrientation;
use groundling_viz::Theme;
use rayon::prelude::*;

use crate::flags::{Format, Ground};
use crate::output::Failed;
use crate::{Outcome, output, progress};
use pictures::Drawing;
use questions::Asked;

/// Pictures answered before their answers are printed: enough to keep all cores busy, few enough to stay small.
const CHUNK: usize = 32;

pub(crate) fn run(flags: &Ground, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    // What was typed is checked before a model is opened.
    let (asked, mut failed) = questions::read(flags)?;
    let pairs = asked.iter().map(|asked| asked.phrases.len()).sum();
    let drawing = Drawing::new(flags, pairs)?;
    let exif = if flags.exif { ExifOrientation::Apply } else { ExifOrientation::Ignore };
    if flags.candidates.is_some() && !matches!(format, Format::Text | Format::Json) {
        bail!("--candidates stand beside answers as text and as json; the other formats have no place for them");
    }
    let grounder = flags.model.open(exif)?;
    let detector = flags.candidates.as_deref().map(|weights| flags.model.detector_of(weights, exif)).transpose()?;
    let options = flags.how.options(drawing.wants_attention());
    let bar = progress::bar(quiet || asked.len() < 2, asked.len() as u64, "pictures");
    let total = asked.len() + failed.len();
    let mut report = report::Writer::new(format, &grounder);
    for chunk in asked.chunks(CHUNK) {
        let answered: Vec<_> = chunk
            .par_iter()
            .map(|asked| {
                let answers = answer(&grounder, detector.as_ref(), asked, &options, &drawing);
                bar.inc(1);
                answers
            })
            .collect();
        for (asked, answers) in chunk.iter().zip(answered) {
            match answers {
                Ok(Answered { answers, candidates }) => {
                    for (phrase, answer) in asked.phrases.iter().zip(answers) {
                        report.add(asked, phrase, answer, candidates.as_deref())?;
                    }
                }
                // Nothing else can be said then: the error is the answer.
                Err(error) if total == 1 => return Err(error),
                Err(error) => failed.push(Failed { place: asked.image.display().to_string(), error }),
            }
        }
    }
    bar.finish_and_clear();
    report.finish(&failed)?;
    output::failures(&failed, total)
}

/// What is known about one picture.
struct Answered {
    answers: Vec<Answer>,
    /// Objects of known classes in it, where a detector was asked.
    candidates: Option<Vec<FoundObject>>,
}

/// Objects with a lower score are no alternatives.
const LEAST_SCORE: f32 = 0.3;

/// Answers the phrases of one picture and draws them if asked to.
fn answer(
    grounder: &Grounder,
    detector: Option<&Detector>,
    asked: &Asked,
    options: &Options,
    drawing: &Drawing,
) -> anyhow::Result<Answered> {
    let session = grounder.open_image(&asked.image)?;
    let answers: Result<Vec<Answer>, GroundError> =
        asked.phrases.iter().map(|phrase| session.ground_phrase(&phrase.phrase, options)).collect();
    let answers = answers?;
    let detect = DetectOptions { threshold: LEAST_SCORE, ..DetectOptions::default() };
    let detected = detector.map(|detector| detector.detect(&asked.image, &detect)).transpose()?;
    drawing.draw(asked, &answers, Theme::Light)?;
    Ok(Answered { answers, candidates: detected.map(|detected| detected.objects) })
}
