//! Writes a module as a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use burn::module::Module;
use burn::tensor::TensorData;
use serde_json::{Map, Value, json};

use super::CheckpointError;
use super::module::{Kind, Target, Values};
use super::tensor::f32_to_half;

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As they are: reading them back is exact.
    #[default]
    F32,
    /// Half the size; rounded to nearest. Running statistics stay `f32`: a small variance would become zero.
    F16,
}

/// Writes the parameters of a module as a safetensors file that PyTorch reads too: names, and the layout of linear layers, are
/// PyTorch's. [`load_into`](super::load_into) with an empty key table reads it back, bit for bit with [`Precision::F32`].
///
/// The file appears under its name when it is complete; one that was there stays whole until then.
///
/// # Errors
/// If the folder cannot be written, or the disk is full. No partial file is left under the name.
pub fn save<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    precision: Precision,
    metadata: &BTreeMap<String, String>,
) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let mut values = Values::default();
    module.visit(&mut values);
    let entries: Vec<Entry> =
        values.found.into_iter().map(|(target, data)| Entry::new(target, data, precision)).collect();
    let io = |doing| move |source| CheckpointError::Io { path: path.into(), doing, source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write(&temporary, &entries, metadata).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(io("writing"))
}

struct Entry {
    target: Target,
    dtype: &'static str,
    bytes: Vec<u8>,
}

impl Entry {
    fn new(target: Target, data: TensorData, precision: Precision) -> Self {
        let statistics = target.name.ends_with("running_mean") || target.name.ends_with("running_var");
        let (dtype, bytes) = match target.kind {
            Kind::Int => ("I64", data.iter::<i64>().flat_map(i64::to_le_bytes).collect()),
            Kind::Bool => ("BOOL", data.iter::<bool>().map(u8::from).collect()),
            Kind::Float => {
                let values = target.in_file_layout(data.iter::<f32>().collect());
                match precision {
                    Precision::F16 if !statistics => {
                        ("F16", values.into_iter().flat_map(|value| f32_to_half(value).to_le_bytes()).collect())
                    }
                    _ => ("F32", values.into_iter().flat_map(f32::to_le_bytes).collect()),
                }
            }
        };
        Self { target, dtype, bytes }
    }
}

fn write(path: &Path, entries: &[Entry], metadata: &BTreeMap<String, String>) -> io::Result<()> {
    let mut header = Map::new();
    // Transformers refuses files without this entry.
    let mut metadata = metadata.clone();
    metadata.entry("format".into()).or_insert_with(|| "pt".into());
    header.insert("__metadata__".into(), json!(metadata));
    let mut at = 0;
    for entry in entries {
        let end = at + entry.bytes.len();
        let value = json!({"dtype": entry.dtype, "shape": entry.target.shape, "data_offsets": [at, end]});
        header.insert(entry.target.name.clone(), value);
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    entries.iter().try_for_each(|entry| file.write_all(&entry.bytes))?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
