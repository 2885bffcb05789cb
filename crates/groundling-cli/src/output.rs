//! What commands print, and hints after errors.

use std::io::Write;

use anyhow::Context;
use groundling::convert::ConvertError;
use groundling::input::image_hint;
use groundling::{BundleError, ClassifyError, DetectError, DeviceError, GroundError};
use groundling_core::PhraseError;
use groundling_data::DatasetError;
use groundling_data::image::decode::ImageError;
use groundling_eval::records::JoinError;
use groundling_nn::checkpoint::CheckpointError;
use serde::Serialize;
use serde_json::{Value, json};

use crate::Outcome;
use crate::commands::NothingError;
use crate::flags::Format;

/// Writes a line to stdout.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
    Ok(())
}

/// Prints a result in the form asked for.
pub(crate) fn result<T: Serialize>(format: Format, value: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    match format {
        Format::Text => say(&text()),
        Format::Jsonl | Format::Hf | Format::Coco => {
            anyhow::bail!(
                "this command prints text or json; the other formats are those of `ground`, `detect` and `classify`"
            )
        }
        Format::Json => say(&serde_json::to_string_pretty(value).context("the result as JSON")?),
    }
}

/// Whether an error only says that nobody reads our output any more.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

/// An input that gave no answer.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) place: String,
    pub(crate) error: anyhow::Error,
}

impl Failed {
    pub(crate) fn to_json(&self) -> Value {
        json!({"input": self.place, "error": format!("{:#}", self.error), "hint": hint(&self.error)})
    }
}

/// Says which of `total` inputs gave no answer; an error if any did not.
pub(crate) fn failures(failed: &[Failed], total: usize) -> anyhow::Result<Outcome> {
    for Failed { place, error } in failed {
        // Errors about pictures begin with their path.
        let text = format!("{error:#}");
        let place = if text.starts_with(place) { String::new() } else { format!("{place}: ") };
        eprintln!("error: {place}{text}");
        if let Some(hint) = hint(error) {
            eprintln!("hint: {hint}");
        }
    }
    match failed.len() {
        0 => Ok(Outcome::Done),
        count => anyhow::bail!("{count} of {total} inputs gave no answer; the others are done"),
    }
}

/// What to try after an error, where there is something to try.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    let full = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        let full = io.is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull);
        full.then(|| "free some room, or write to another disk".to_owned())
    };
    error.chain().find_map(typed_hint).or_else(|| error.chain().find_map(full))
}

fn typed_hint(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<GroundError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<DetectError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<ClassifyError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<BundleError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<ConvertError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<CheckpointError>() {
        return error.hint();
    }
    if let Some(error) = cause.downcast_ref::<NothingError>() {
        return Some(error.hint().to_owned());
    }
    if let Some(error) = cause.downcast_ref::<DeviceError>() {
        return Some(error.hint());
    }
    let text = if let Some(error) = cause.downcast_ref::<DatasetError>() {
        dataset_hint(error)
    } else if let Some(error) = cause.downcast_ref::<ImageError>() {
        image_hint(error)
    } else if let Some(error) = cause.downcast_ref::<JoinError>() {
        join_hint(error)
    } else if let Some(PhraseError::Empty) = cause.downcast_ref() {
        Some("put the phrase in quotes: groundling ground photo.jpg \"the left cup\"")
    } else {
        None
    };
    text.map(str::to_owned)
}

fn dataset_hint(error: &DatasetError) -> Option<&'static str> {
    Some(match error {
        DatasetError::Pickle { .. } => {
            "use the file as its authors published it; this program never runs code of a pickle"
        }
        DatasetError::MissingImage { .. } => "`groundling data check` lists every missing image",
        DatasetError::BadBox { format: "x0, y0, x1, y1", .. } => {
            "if your numbers are x, y, width, height, add width to x and height to y"
        }
        DatasetError::BadBox { .. } => "COCO boxes are x, y, width, height; corners belong in our JSON lines",
        DatasetError::Source { .. } => "`groundling help` lists the forms of a data source",
        DatasetError::IsFolder { .. } => "name a file inside the folder",
        DatasetError::Image(error) => return image_hint(error),
        _ => return None,
    })
}

fn join_hint(error: &JoinError) -> Option<&'static str> {
    Some(match error {
        JoinError::Missing { .. } => "predict every sample, or score with --missing-as-wrong",
        JoinError::Surplus { .. } => "were the predictions made for another split?",
        _ => return None,
    })
}
