//! `groundling ground`: until the first model lands, what a model would be given.

use anyhow::Context;
use groundling_core::Phrase;
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_file};
use groundling_data::image::preprocess::Preprocessor;
use groundling_data::text::wordpiece::{Truncation, WordPiece};
use serde::Serialize;

use crate::flags::{Format, Ground};
use crate::{Outcome, output};

/// Side of the canvas and number of ids that ScanFormer's full-size preset reads.
const CANVAS_SIDE: u32 = 640;
const MAX_IDS: usize = 40;

const NOTE: &str = "this version has no model yet: picture and phrase were read and prepared, nothing was looked for";

#[derive(Serialize)]
struct ParsedInput {
    schema: &'static str,
    image: String,
    width: u32,
    height: u32,
    phrase: String,
    words: usize,
    pieces: Vec<String>,
    ids: Vec<u32>,
    /// Rows and columns of the network input that hold picture, `[top, left, height, width]`.
    content: [u32; 4],
    canvas: [u32; 2],
    grounded: bool,
    note: &'static str,
}

pub(crate) fn run(flags: &Ground, format: Format) -> anyhow::Result<Outcome> {
    let phrase = Phrase::parse(&flags.phrase)?;
    let exif = if flags.exif { ExifOrientation::Apply } else { ExifOrientation::Ignore };
    let image = decode_file(&flags.image, ImageLimits::default(), exif)?;
    let prepared = Preprocessor::scanformer(CANVAS_SIDE).prepare(&image).context("preparing the picture")?;
    let vocabulary = WordPiece::bert_base_uncased();
    let encoded = vocabulary.encode(phrase.as_str()).fitted(MAX_IDS, Truncation::KeepSeparator);
    let content = prepared.placement.content();
    let canvas = prepared.placement.canvas();
    let parsed = ParsedInput {
        schema: "groundling.parsed-input/1",
        image: flags.image.display().to_string(),
        width: image.width(),
        height: image.height(),
        phrase: phrase.as_str().to_owned(),
        words: phrase.word_count(),
        pieces: encoded.ids.iter().filter_map(|&id| vocabulary.token(id)).map(str::to_owned).collect(),
        ids: encoded.ids,
        content: [content.top, content.left, content.height, content.width],
        canvas: [canvas.height(), canvas.width()],
        grounded: false,
        note: NOTE,
    };
    output::result(format, &parsed, || {
        format!(
            "image   {}, {}x{}\nphrase  {:?}, {} words\npieces  {}\ninput   {}x{} of a {}x{} canvas\nnote    {NOTE}",
            parsed.image,
            parsed.width,
            parsed.height,
            parsed.phrase,
            parsed.words,
            parsed.pieces.join(" "),
            content.width,
            content.height,
            canvas.width(),
            canvas.height(),
        )
    })?;
    Ok(Outcome::Done)
}
