//! Reads a file of JSON objects line by line, within limits, and says what is wrong with a line.

use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{Place, RecordError, RecordProblem};

/// How much a reader takes before it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of one line.
    pub max_line_bytes: usize,
    /// Records of one file.
    pub max_records: usize,
    /// Targets of one record.
    pub max_targets: usize,
}

impl Default for ReadLimits {
    /// 16 MiB a line, ten million records, 10 000 targets: beyond anything a data set of today needs.
    fn default() -> Self {
        Self { max_line_bytes: 16 << 20, max_records: 10_000_000, max_targets: 10_000 }
    }
}

/// A record that can stand on a line.
pub(super) trait LineRecord: Sized {
    /// The JSON form.
    type Wire: DeserializeOwned + Serialize;
    /// The schema's name and version.
    const SCHEMA: &'static str;
    /// The fields, for messages.
    const SHAPE: Shape;

    fn wire(&self) -> Self::Wire;
    fn schema(wire: &Self::Wire) -> &str;
    fn check(wire: Self::Wire, limits: &ReadLimits) -> Result<Self, RecordProblem>;
    fn id(&self) -> &str;
}

/// A record as one line of JSON, if it is one that a reader would take.
pub(super) fn to_json<T: LineRecord>(record: &T) -> Result<String, RecordProblem> {
    let wire = record.wire();
    let json = serde_json::to_string(&wire).map_err(RecordProblem::Json)?;
    T::check(wire, &ReadLimits { max_targets: usize::MAX, ..ReadLimits::default() })?;
    Ok(json)
}

/// Writes records, one a line.
pub(super) fn write_all<'a, T: LineRecord + 'a>(
    mut writer: impl Write,
    file: &Path,
    records: impl IntoIterator<Item = &'a T>,
) -> Result<(), RecordError> {
    for (line, record) in (1..).zip(records) {
        let at = |problem| RecordError::Record { place: Place { file: file.to_owned(), line }, problem };
        writeln!(writer, "{}", to_json(record).map_err(at)?).map_err(|source| io(file, source))?;
    }
    writer.flush().map_err(|source| io(file, source))
}

/// Reads every record of `reader`. Lines of white space are skipped.
pub(super) fn read_all<T: LineRecord>(
    mut reader: impl BufRead,
    file: &Path,
    limits: &ReadLimits,
) -> Result<Vec<T>, RecordError> {
    let mut records: Vec<T> = Vec::new();
    let mut lines_of_ids: HashMap<String, u64> = HashMap::new();
    let mut buffer = Vec::new();
    for line in 1.. {
        let at = |problem| RecordError::Record { place: Place { file: file.to_owned(), line }, problem };
        buffer.clear();
        let most = limits.max_line_bytes as u64 + 1;
        let read = reader.by_ref().take(most).read_until(b'\n', &mut buffer);
        if read.map_err(|source| io(file, source))? == 0 {
            break;
        }
        if buffer.last() == Some(&b'\n') {
            buffer.pop();
        }
        if buffer.len() > limits.max_line_bytes {
            return Err(at(RecordProblem::LineTooLong { limit: limits.max_line_bytes }));
        }
        if buffer.trim_ascii().is_empty() {
            continue;
        }
        if records.len() == limits.max_records {
            return Err(at(RecordProblem::TooManyRecords { limit: limits.max_records }));
        }
        let record = parse::<T>(&buffer, limits).map_err(at)?;
        if record.id().trim().is_empty() {
            return Err(at(RecordProblem::EmptyId));
        }
        if let Some(first_line) = lines_of_ids.insert(record.id().to_owned(), line) {
            return Err(at(RecordProblem::DuplicateId { id: record.id().to_owned(), first_line }));
        }
        records.push(record);
    }
    Ok(records)
}

/// Opens a file and reads it.
pub(super) fn read_file<T: LineRecord>(path: &Path, limits: &ReadLimits) -> Result<Vec<T>, RecordError> {
    let file = std::fs::File::open(path).map_err(|source| io(path, source))?;
    read_all(std::io::BufReader::with_capacity(1 << 16, file), path, limits)
}

pub(super) fn io(file: &Path, source: std::io::Error) -> RecordError {
    RecordError::Io { file: PathBuf::from(file), source }
}

fn parse<T: LineRecord>(line: &[u8], limits: &ReadLimits) -> Result<T, RecordProblem> {
    match serde_json::from_slice::<T::Wire>(line) {
        Ok(wire) if T::schema(&wire) == T::SCHEMA => T::check(wire, limits),
        Ok(wire) => Err(RecordProblem::Schema { expected: T::SCHEMA, found: format!("{:?}", T::schema(&wire)) }),
        Err(error) => Err(explain(line, error, T::SCHEMA, &T::SHAPE)),
    }
}

/// The fields of an object, and the objects below it.
pub(super) struct Shape {
    pub(super) required: &'static [&'static str],
    pub(super) optional: &'static [&'static str],
    pub(super) children: &'static [(&'static str, Child)],
}

/// What stands below a field.
pub(super) enum Child {
    Object(&'static Shape),
    List(&'static Shape),
}

/// Turns serde's account into ours: a wrong line is slow, a right one never comes here.
fn explain(line: &[u8], error: serde_json::Error, schema: &'static str, shape: &Shape) -> RecordProblem {
    if let Some(problem) = not_finite(line, &error) {
        return problem;
    }
    if !error.is_data() {
        return RecordProblem::Json(error);
    }
    // Data that does not fit the struct may hide a syntax error behind it, or nest too deep.
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return not_finite(line, &error).unwrap_or(RecordProblem::Json(error)),
    };
    // Another version may have other fields, so the schema is the first thing to tell.
    match value.get("schema") {
        Some(Value::String(found)) if found == schema => {}
        Some(found) => return RecordProblem::Schema { expected: schema, found: found.to_string() },
        None if value.is_object() => return RecordProblem::MissingField { field: "schema".into() },
        None => return RecordProblem::WrongType(error),
    }
    field_problem(&value, shape, "").unwrap_or(RecordProblem::WrongType(error))
}

/// `NaN` and `Infinity` are what Python writes; 1e999 is no `f64`.
fn not_finite(line: &[u8], error: &serde_json::Error) -> Option<RecordProblem> {
    if error.line() != 1 {
        return None;
    }
    let column = error.column();
    let before = &line[..column.min(line.len())];
    if error.to_string().starts_with("number out of range") {
        let start = before.iter().rposition(|b| !matches!(b, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'));
        let found = String::from_utf8_lossy(&before[start.map_or(0, |s| s + 1)..]).chars().take(40).collect();
        return Some(RecordProblem::NotFinite { field: format!("the number at column {column}"), found });
    }
    // The column is that of the first letter no number starts with, or of the one after.
    let around = &line[column.saturating_sub(3).min(line.len())..(column + 9).min(line.len())];
    let word = ["-Infinity", "NaN", "Infinity"]
        .into_iter()
        .find(|word| around.windows(word.len()).take(4).any(|window| window == word.as_bytes()))?;
    error
        .is_syntax()
        .then(|| RecordProblem::NotFinite { field: format!("the value at column {column}"), found: word.to_owned() })
}

fn field_problem(value: &Value, shape: &Shape, path: &str) -> Option<RecordProblem> {
    let Value::Object(fields) = value else { return None };
    let named = |field: &str| if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
    let known = || shape.required.iter().chain(shape.optional).copied();
    if let Some(field) = shape.required.iter().find(|field| !fields.contains_key(**field)) {
        return Some(RecordProblem::MissingField { field: named(field) });
    }
    if let Some(field) = fields.keys().find(|field| !known().any(|k| k == field.as_str())) {
        return Some(RecordProblem::UnknownField { field: named(field), known: known().collect() });
    }
    shape.children.iter().find_map(|(field, child)| match child {
        Child::Object(shape) => field_problem(fields.get(*field)?, shape, &named(field)),
        Child::List(shape) => fields
            .get(*field)?
            .as_array()?
            .iter()
            .enumerate()
            .find_map(|(index, item)| field_problem(item, shape, &format!("{}[{index}]", named(field)))),
    })
}
