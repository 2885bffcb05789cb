//! The log of a run: JSON lines, one object a line, told apart by `type`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Name of the file in a run's folder.
pub const LOG_FILE: &str = "log.jsonl";

/// `"type": "step"`: what happened since the line before. Sums and means are over the steps since then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepLine {
    /// Steps taken.
    pub step: u64,
    /// Learning rate of the base group in the last of them.
    pub lr: f64,
    /// Mean of what was minimised.
    pub loss: f64,
    /// Means of its parts, unweighted.
    pub terms: BTreeMap<String, f64>,
    /// Mean norm of the gradients, before clipping.
    pub grad_norm: f64,
    /// Samples a second of wall clock, evaluation and saving left aside.
    pub samples_per_sec: f64,
    /// Share of that time spent waiting for batches.
    pub waiting: f64,
    /// Samples so far.
    pub samples: u64,
    /// Steps left out so far because something was not finite, where a recipe allows that.
    #[serde(default)]
    pub left_out: u64,
    /// Seconds of wall clock so far, over all parts of the run.
    pub wall_secs: f64,
    /// Seconds of processor time so far, all threads, over all parts of the run.
    pub cpu_secs: f64,
    /// Seconds of wall clock that are left, at the speed so far.
    pub remaining_secs: f64,
}

/// `"type": "evaluation"`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluationLine<F> {
    /// Steps taken.
    pub step: u64,
    /// Whether this is the best so far.
    pub best: bool,
    /// Seconds of wall clock so far.
    pub wall_secs: f64,
    /// Seconds of processor time so far.
    pub cpu_secs: f64,
    /// The figures.
    #[serde(flatten)]
    pub figures: F,
}

/// Appends to the log of a run.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log of a folder and drops what was written after `step`: those steps will be taken again.
    pub(crate) fn open(folder: &Path, step: u64) -> io::Result<Self> {
        let path = folder.join(LOG_FILE);
        let known = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let keeps = |line: &&str| {
            // A line that was cut by a sudden end is no JSON, and is dropped too.
            let value: Option<Value> = serde_json::from_str(line).ok();
            value.is_some_and(|value| step > 0 && value["step"].as_u64().is_some_and(|at| at <= step))
        };
        let kept: String = known.lines().filter(keeps).map(|line| format!("{line}\n")).collect();
        crate::state::replace_file(&path, |file| file.write_all(kept.as_bytes()))?;
        let file = OpenOptions::new().append(true).open(&path)?;
        Ok(Self { path, file })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write<T: Serialize>(&mut self, kind: &str, line: &T) -> io::Result<()> {
        let mut object = serde_json::Map::from_iter([("type".to_owned(), Value::from(kind))]);
        if let Value::Object(fields) = serde_json::to_value(line).map_err(io::Error::other)? {
            object.extend(fields);
        }
        // One write a line: a reader never sees half of one.
        self.file.write_all(format!("{}\n", Value::Object(object)).as_bytes())
    }
}

/// The lines of a log of one type; what is no JSON is left out.
///
/// # Errors
/// If the file cannot be read.
pub fn read_lines(path: &Path, kind: &str) -> io::Result<Vec<Value>> {
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter(|line| line["type"] == kind).collect())
}
