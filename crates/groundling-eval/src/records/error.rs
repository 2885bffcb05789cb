//! What can be wrong with a record file.

use std::path::PathBuf;

use groundling_core::{PhraseError, RleError, SizeError};

/// A record file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file cannot be opened, read or written.
    #[error("{file}: {source}")]
    Io {
        /// Name of the file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A record is not what its schema says.
    #[error("{place}: {problem}")]
    Record {
        /// File and line.
        place: Place,
        /// What is wrong there.
        problem: RecordProblem,
    },
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Name of the file, as the caller gave it.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What is wrong with one record. `field` is a path such as `targets[2].mask.counts`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordProblem {
    /// The line is longer than the reader takes.
    #[error("the line is longer than {limit} bytes")]
    LineTooLong {
        /// Bytes allowed.
        limit: usize,
    },
    /// More records than the reader takes.
    #[error("more than {limit} records in the file")]
    TooManyRecords {
        /// Records allowed.
        limit: usize,
    },
    /// More targets than the reader takes.
    #[error("{found} targets, expected at most {limit}")]
    TooManyTargets {
        /// Targets found.
        found: usize,
        /// Targets allowed.
        limit: usize,
    },
    /// The line is not JSON.
    #[error("bad JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// A number that is not finite, or too large for one.
    #[error("{field} is {found}, expected a finite number")]
    NotFinite {
        /// Where.
        field: String,
        /// What stands there.
        found: String,
    },
    /// Another kind of file, or a version of it that we do not know.
    #[error("schema is {found}, expected {expected:?}")]
    Schema {
        /// The schema we read.
        expected: &'static str,
        /// The schema stated, or what stands in its place.
        found: String,
    },
    /// A field is missing.
    #[error("field {field} is missing")]
    MissingField {
        /// Which.
        field: String,
    },
    /// A field that the schema does not have.
    #[error("unknown field {field}, expected one of {known:?}")]
    UnknownField {
        /// Which.
        field: String,
        /// The fields there are.
        known: Vec<&'static str>,
    },
    /// A field has the wrong type.
    #[error("unexpected value: {0}")]
    WrongType(#[source] serde_json::Error),
    /// Coordinates in a system that we do not know.
    #[error("frame is {found:?}, expected {expected:?}", expected = super::FRAME)]
    Frame {
        /// The frame stated.
        found: String,
    },
    /// The phrase is not one.
    #[error("phrase: {0}")]
    Phrase(#[source] PhraseError),
    /// Width and height are not a size.
    #[error("{0}")]
    Size(#[source] SizeError),
    /// A confidence outside 0 to 1.
    #[error("{field} is {found}, expected 0 to 1")]
    Score {
        /// Where.
        field: String,
        /// The number.
        found: f64,
    },
    /// A box with its edges exchanged.
    #[error("{field} is [{}, {}, {}, {}], expected x0 <= x1 and y0 <= y1", found[0], found[1], found[2], found[3])]
    InvertedBox {
        /// Where.
        field: String,
        /// Left, top, right, bottom.
        found: [f64; 4],
    },
    /// A mask of another size than the image.
    #[error(
        "{field}.size is [{found_height}, {found_width}], expected [{height}, {width}] (height, width of the image)"
    )]
    MaskSize {
        /// Where.
        field: String,
        /// Height of the mask.
        found_height: u32,
        /// Width of the mask.
        found_width: u32,
        /// Height of the image.
        height: u32,
        /// Width of the image.
        width: u32,
    },
    /// A run-length code that is not one.
    #[error("{field}.counts: {source}")]
    Mask {
        /// Where.
        field: String,
        /// What is wrong with it.
        source: RleError,
    },
    /// The blank string in place of an id.
    #[error("id is empty, expected a text that no other record has")]
    EmptyId,
    /// Two records of one id.
    #[error("id {id:?} stands on line {first_line} already, expected every id once")]
    DuplicateId {
        /// The id.
        id: String,
        /// Line of the first record, from 1.
        first_line: u64,
    },
    /// `source` and the targets contradict each other.
    #[error("source is {source_word:?} with {targets} targets and {merged} merged_mask, expected {expected}")]
    Source {
        /// `zero`, `one` or `many`.
        source_word: &'static str,
        /// Targets listed.
        targets: usize,
        /// `a` or `no`.
        merged: &'static str,
        /// What would fit.
        expected: &'static str,
    },
}
