//! The header of a safetensors file: eight bytes of length, JSON, then the numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::SeekFrom;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::error::short;
use super::tensor::Input;
use super::{CheckpointError, ElementType, Limits, StoredTensor};

/// What a file has: tensors by name, and its `__metadata__`.
pub(crate) struct Contents {
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Reads and checks the header. Offsets must cover the rest of the file without a hole or an overlap, as the format demands.
pub(crate) fn read(
    path: &Path,
    mut file: impl Input + 'static,
    file_bytes: u64,
    limits: &Limits,
) -> Result<Contents, CheckpointError> {
    let malformed = |place: &str, expected: String, found: String| CheckpointError::Malformed {
        path: path.into(),
        place: place.into(),
        expected,
        found: short(found),
    };
    let io = |source| CheckpointError::Io { path: path.into(), doing: "reading the header", source };
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > limits.max_header_bytes {
        return Err(CheckpointError::OverLimit {
            path: path.into(),
            what: "the header's length in bytes".into(),
            found: length,
            limit: limits.max_header_bytes,
            field: "max_header_bytes",
        });
    }
    let Some(data_bytes) = file_bytes.checked_sub(8 + length) else {
        return Err(malformed("header", format!("{length} bytes"), format!("the end of the file at {file_bytes}")));
    };
    let mut text = vec![0; length as usize];
    file.read_exact(&mut text).map_err(io)?;
    let header: Header = serde_json::from_slice(&text)
        .map_err(|error| malformed("header", "a JSON object of tensors".into(), error.to_string()))?;
    if header.tensors.len() > limits.max_tensors {
        return Err(CheckpointError::OverLimit {
            path: path.into(),
            what: "the number of tensors".into(),
            found: header.tensors.len() as u64,
            limit: limits.max_tensors as u64,
            field: "max_tensors",
        });
    }
    check_cover(&header.tensors, data_bytes).map_err(|(name, expected, found)| malformed(&name, expected, found))?;
    let file: Arc<Mutex<dyn Input>> = Arc::new(Mutex::new(file));
    let mut tensors = BTreeMap::new();
    for (name, entry) in header.tensors {
        let [start, end] = entry.data_offsets;
        let element = entry.element();
        let stored =
            StoredTensor::in_file(element, entry.shape, file.clone(), 8 + length + start, (end - start) as usize);
        if element != ElementType::Packed && stored.byte_len() != Some(end - start) {
            let expected = format!("{:?} numbers of type {element}", stored.shape());
            return Err(malformed(&format!("tensor {name:?}"), expected, format!("{} bytes", end - start)));
        }
        tensors.insert(name, stored);
    }
    Ok(Contents { tensors, metadata: header.metadata })
}

/// The ranges, in order, must follow one another from 0 to the end.
fn check_cover(tensors: &[(String, Entry)], data_bytes: u64) -> Result<(), (String, String, String)> {
    let mut order: Vec<&(String, Entry)> = tensors.iter().collect();
    order.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut at = 0;
    for (name, entry) in order {
        let [start, end] = entry.data_offsets;
        if start != at || end < start || end > data_bytes {
            let expected = format!("data that begins at byte {at} and ends by {data_bytes}");
            let cut = if start == at && end > data_bytes { ", beyond the end of the file" } else { "" };
            return Err((format!("tensor {name:?}"), expected, format!("bytes {start} to {end}{cut}")));
        }
        at = end;
    }
    if at == data_bytes {
        return Ok(());
    }
    Err(("data".into(), format!("{at} bytes after the header"), format!("{data_bytes}")))
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl Entry {
    fn element(&self) -> ElementType {
        match self.dtype.as_str() {
            "F64" => ElementType::F64,
            "F32" => ElementType::F32,
            "F16" => ElementType::F16,
            "BF16" => ElementType::Bf16,
            "I64" => ElementType::I64,
            "I32" => ElementType::I32,
            "I16" => ElementType::I16,
            "I8" => ElementType::I8,
            "U64" => ElementType::U64,
            "U32" => ElementType::U32,
            "U16" => ElementType::U16,
            "U8" => ElementType::U8,
            "BOOL" => ElementType::Bool,
            _ => ElementType::Packed,
        }
    }
}

struct Header {
    tensors: Vec<(String, Entry)>,
    metadata: BTreeMap<String, String>,
}

/// Derived, it would take the last of two tensors of one name without a word.
impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header { tensors: Vec::new(), metadata: BTreeMap::new() };
                let mut seen = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        header.metadata = map.next_value()?;
                        continue;
                    }
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format!("two tensors called {name:?}")));
                    }
                    let entry = map.next_value()?;
                    header.tensors.push((name, entry));
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
