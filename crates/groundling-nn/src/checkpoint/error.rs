//! What can go wrong between a file of weights and a module.

use std::io;
use std::path::PathBuf;

use super::Report;

/// Why a checkpoint could not be read, did not fit, or could not be written.
///
/// Every variant says where, what was expected and what was found; [`hint`](Self::hint) adds what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{path}: {doing}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The path is a folder, a device or the like.
    #[error("{path}: expected a file, found {found}")]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The content is no checkpoint that this reader knows.
    #[error("{path}: expected a safetensors or PyTorch file, found {found}")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What its first bytes look like.
        found: String,
    },
    /// The file contradicts itself or ends too early.
    #[error("{path}: {place}: expected {expected}, found {found}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        place: String,
        /// What should stand there.
        expected: String,
        /// What does.
        found: String,
    },
    /// The file asks for more than the [`Limits`](super::Limits) allow.
    #[error("{path}: {what} is {found}, the limit is {limit} (`Limits::{field}`)")]
    OverLimit {
        /// The file.
        path: PathBuf,
        /// What is too large, with the tensor's name where there is one.
        what: String,
        /// Its size.
        found: u64,
        /// The limit.
        limit: u64,
        /// The field to raise for a file that is trusted.
        field: &'static str,
    },
    /// A pickle that would run code if Python read it. It was not run.
    #[error("{path}: the pickle calls {global}, which has no place in a checkpoint; nothing was run")]
    CallsCode {
        /// The file.
        path: PathBuf,
        /// The function, as `module.name`.
        global: String,
    },
    /// Several sets of weights and no reason to prefer one.
    #[error("{path}: holds several sets of weights: {}", quoted(candidates))]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// Names to choose from.
        candidates: Vec<String>,
    },
    /// The set of weights asked for is not there.
    #[error("{path}: has no weights under {wanted:?}; it has {}", quoted(known))]
    NoContainer {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        wanted: String,
        /// Names that are there.
        known: Vec<String>,
    },
    /// The file is sound and has no tensor.
    #[error("{path}: has no tensors")]
    NoTensors {
        /// The file.
        path: PathBuf,
    },
    /// A tensor's data could not be read, or is of a type that no parameter takes.
    #[error("{path}: tensor {tensor:?}: {found}")]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        found: String,
    },
    /// Checkpoint and module do not fit together. Nothing was applied.
    #[error("{0}")]
    Mismatch(Box<Report>),
    /// A key table is wrong: a bug in the table.
    #[error("key rule {rule:?}: {problem}")]
    BadRule {
        /// The pattern or replacement.
        rule: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl CheckpointError {
    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::UnknownFormat { found, .. } if found.contains("git-lfs") => {
                "this is a pointer, not the weights: run `git lfs pull` in the repository it came from"
            }
            Self::UnknownFormat { found, .. } if found.contains("web page") => {
                "the download saved a page (a sign-in or a quota notice) instead of the file: download it again"
            }
            Self::UnknownFormat { found, .. } if found.contains("TAR") => {
                "load and save it again with a PyTorch of this decade, or convert it to safetensors"
            }
            Self::UnknownFormat { found, .. } if found.contains("compressed") => "unpack it first",
            Self::Malformed { found, .. } if found.contains("end of") || found.contains("ends") => {
                "the file is cut short: download it again and compare its size"
            }
            Self::OverLimit { .. } => "raise the limit if you trust the file",
            Self::CallsCode { .. } => "do not open this file with PyTorch either; ask where it comes from",
            Self::Ambiguous { .. } | Self::NoContainer { .. } => "choose one by its name",
            Self::NotAFile { .. } => "name the file inside",
            Self::Mismatch(report) => return report.hint(),
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Names in backquotes, at most twelve.
pub(crate) fn quoted(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(12).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "nothing".to_owned(),
        n if n > 12 => format!("{} and {} more", shown.join(", "), n - 12),
        _ => shown.join(", "),
    }
}

/// At most 300 characters of a text that came from a file or from a reader of one.
pub(crate) fn short(text: impl Into<String>) -> String {
    let mut text: String = text.into();
    if let Some((end, _)) = text.char_indices().nth(300) {
        text.truncate(end);
        text.push_str(" ...");
    }
    text
}
