//! From what a system wants to how it is prepared.

use groundling_core::{Anchor, Rounding};
use groundling_data::image::preprocess::{BoxScale, Fit, Preprocessor};
use groundling_data::image::resize::Filter;
use groundling_data::text::wordpiece::{Truncation, WordPiece};
use groundling_models::contract::{self, InputSpec, Resample};

/// How pictures are prepared for a system.
pub fn preprocessor(input: &InputSpec) -> Preprocessor {
    let letterbox =
        |anchor, rounding| Fit::Letterbox { side: input.side, anchor, rounding, box_scale: BoxScale::Sides };
    Preprocessor {
        fit: match input.fit {
            contract::Fit::LetterboxCorner => letterbox(Anchor::TopLeft, Rounding::HalfUp),
            contract::Fit::LetterboxCentre => letterbox(Anchor::Centre, Rounding::HalfEven),
            contract::Fit::Square => Fit::Square { side: input.side },
        },
        filter: match input.resample {
            Resample::Bilinear => Filter::Bilinear,
            Resample::Bicubic => Filter::Bicubic,
        },
        mean: input.mean,
        std: input.std,
    }
}

/// Word pieces of a phrase, cut to what a system reads.
pub fn ids(words: &WordPiece, phrase: &str, input: &InputSpec) -> Vec<u32> {
    words.encode(phrase).fitted(input.max_ids, Truncation::KeepSeparator).ids
}
