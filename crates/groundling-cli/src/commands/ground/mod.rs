//! `groundling ground`: boxes for phrases in pictures.

mod pictures;
mod questions;
mod report;

use anyhow::bail;
use groundling::{Answer, GroundError, Grounder, Options};
use groundling_data::image::decode::ExifOrientation;
use groundling_viz::Theme;
use rayon::prelude::*;

use crate::flags::{Format, Ground};
use crate::{Outcome, output, progress};
use pictures::Drawing;
use questions::{Asked, Failed};

/// Pictures answered before their answers are printed: enough to keep all cores busy, few enough to stay small.
const CHUNK: usize = 32;

pub(crate) fn run(flags: &Ground, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    // What was typed is checked before a model is opened.
    let (asked, mut failed) = questions::read(flags)?;
    let pairs = asked.iter().map(|asked| asked.phrases.len()).sum();
    let drawing = Drawing::new(flags, pairs)?;
    let exif = if flags.exif { ExifOrientation::Apply } else { ExifOrientation::Ignore };
    let grounder = flags.model.open(exif)?;
    let options = flags.how.options(drawing.wants_attention());
    let bar = progress::bar(quiet || asked.len() < 2, asked.len() as u64, "pictures");
    let total = asked.len() + failed.len();
    let mut report = report::Writer::new(format, &grounder);
    for chunk in asked.chunks(CHUNK) {
        let answered: Vec<_> = chunk
            .par_iter()
            .map(|asked| {
                let answers = answer(&grounder, asked, &options, &drawing);
                bar.inc(1);
                answers
            })
            .collect();
        for (asked, answers) in chunk.iter().zip(answered) {
            match answers {
                Ok(answers) => {
                    for (phrase, answer) in asked.phrases.iter().zip(answers) {
                        report.add(asked, phrase, answer)?;
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
    for Failed { place, error } in &failed {
        // Errors about pictures begin with their path.
        let text = format!("{error:#}");
        let place = if text.starts_with(place) { String::new() } else { format!("{place}: ") };
        eprintln!("error: {place}{text}");
        if let Some(hint) = output::hint(error) {
            eprintln!("hint: {hint}");
        }
    }
    match failed.len() {
        0 => Ok(Outcome::Done),
        count => bail!("{count} of {total} inputs gave no answer; the others are done"),
    }
}

/// Answers the phrases of one picture and draws them if asked to.
fn answer(grounder: &Grounder, asked: &Asked, options: &Options, drawing: &Drawing) -> anyhow::Result<Vec<Answer>> {
    let session = grounder.open_image(&asked.image)?;
    let answers: Result<Vec<Answer>, GroundError> =
        asked.phrases.iter().map(|phrase| session.ground_phrase(&phrase.phrase, options)).collect();
    let answers = answers?;
    drawing.draw(asked, &answers, Theme::Light)?;
    Ok(answers)
}
