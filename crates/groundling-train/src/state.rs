//! The state of a run: one file that holds everything needed to go on as if nothing had happened.
//!
//! The file is a safetensors file. It is written under another name, flushed to the disk and renamed, so that whatever ends the process,
//! there is one whole state: the new one or the one before.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use groundling_nn::checkpoint::{CheckpointError, Rule, may_lack, parameters};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::optimizer::Moments;

/// Name of the file in a run's folder.
pub const STATE_FILE: &str = "state.safetensors";
const SCHEMA: &str = "groundling.training/1";
/// No header of a state is longer; a longer one is damage.
const MAX_HEADER: u64 = 64 << 20;

/// Numbers by name: of a module, its average, its moments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// What is known beside the numbers.
    pub progress: Progress,
    tensors: BTreeMap<String, Stored>,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The resolved recipe, as TOML.
    pub recipe: String,
    /// Steps taken.
    pub step: u64,
    /// Updates of the average.
    pub ema_updates: u64,
    /// The best accuracy so far, and the step it was found at.
    pub best: Option<(f64, u64)>,
    /// Seconds of wall clock so far, over all parts of the run.
    pub wall_secs: f64,
    /// Seconds of processor time so far.
    pub cpu_secs: f64,
    /// Samples trained on.
    pub samples: u64,
    /// Steps that were left out because something was not finite.
    #[serde(default)]
    pub left_out: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Stored {
    kind: Kind,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    Int,
    Bool,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Float => "F32",
            Kind::Int => "I64",
            Kind::Bool => "BOOL",
        }
    }
}

/// Why a state cannot be written or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no state, or damaged.
    #[error("{path}: {message}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The state lacks a parameter of the model, or has it in another shape.
    #[error("the state has {name} as {found}, the model expects {expected}")]
    Parameter {
        /// The parameter.
        name: String,
        /// Its shape in the state, or `nothing`.
        found: String,
        /// Its shape in the model.
        expected: String,
    },
    /// What a state may lack was said wrongly.
    #[error(transparent)]
    Rules(#[from] CheckpointError),
    /// The state belongs to another recipe.
    #[error("{path}: the state belongs to another recipe; different: {}", differences.join(", "))]
    OtherRecipe {
        /// The file.
        path: PathBuf,
        /// Keys that differ: `key: state's value -> recipe's value`.
        differences: Vec<String>,
    },
}

impl State {
    /// A state without numbers.
    pub fn new(progress: Progress) -> Self {
        Self { progress, tensors: BTreeMap::new() }
    }

    /// Adds the parameters of a module, each under `section/name`.
    pub fn put_module<M: Module>(&mut self, section: &str, module: &M) {
        let names = parameters(module).into_iter().map(|info| format!("{section}/{}", info.name)).collect();
        let mut collect = Collect { names: Vec::into_iter(names), tensors: &mut self.tensors };
        module.visit(&mut collect);
    }

    /// A module like this one with the numbers of a section.
    ///
    /// # Errors
    /// If a parameter is missing or has another shape.
    pub fn get_module<M: Module>(&self, section: &str, module: M) -> Result<M, StateError> {
        self.get_module_but(section, module, &[])
    }

    /// As [`get_module`](Self::get_module), but parameters that a rule lets the state lack keep their numbers.
    ///
    /// # Errors
    /// If another parameter is missing, or one has another shape.
    pub fn get_module_but<M: Module>(&self, section: &str, module: M, may: &[Rule]) -> Result<M, StateError> {
        let names: Vec<String> = parameters(&module).into_iter().map(|info| info.name).collect();
        let place = |name: &String| format!("{section}/{name}");
        let keeps = names
            .iter()
            .map(|name| Ok(!self.tensors.contains_key(&place(name)) && may_lack(may, name)?))
            .collect::<Result<Vec<bool>, CheckpointError>>()?;
        let places: Vec<(String, bool)> = names.iter().map(place).zip(keeps).collect();
        let mut fill = Fill { places: places.into_iter(), tensors: &self.tensors, failed: None };
        let module = module.map(&mut fill);
        fill.failed.map_or(Ok(module), Err)
    }

    /// Adds the moments of a parameter.
    pub fn put_moments(&mut self, name: &str, moments: &Moments) {
        for (part, values) in [("first", &moments.first), ("second", &moments.second)] {
            let stored = Stored { kind: Kind::Float, shape: vec![values.len()], bytes: bytes_of(values) };
            self.tensors.insert(format!("{part}/{name}"), stored);
        }
    }

    /// The moments of a parameter, if it has any.
    pub fn moments(&self, name: &str) -> Option<Moments> {
        let part = |part: &str| -> Option<Vec<f32>> {
            let stored = self.tensors.get(&format!("{part}/{name}"))?;
            Some(stored.bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        };
        Some(Moments { first: part("first")?, second: part("second")? })
    }

    /// Adds numbers, to the bit.
    pub fn put_numbers(&mut self, name: &str, numbers: &[f64]) {
        let bytes = numbers.iter().flat_map(|number| number.to_bits().to_le_bytes()).collect();
        self.tensors.insert(name.to_owned(), Stored { kind: Kind::Int, shape: vec![numbers.len()], bytes });
    }

    /// Numbers that were added, if there are any of this name.
    pub fn numbers(&self, name: &str) -> Option<Vec<f64>> {
        let stored = self.tensors.get(name)?;
        let number = |bytes: &[u8]| Some(f64::from_bits(u64::from_le_bytes(bytes.try_into().ok()?)));
        stored.bytes.chunks(8).map(number).collect()
    }

    /// Writes the state; the file that was there is replaced at once or not at all.
    ///
    /// # Errors
    /// If the folder cannot be written or the disk is full.
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        let io = |source| StateError::Io { path: path.to_owned(), source };
        replace_file(path, |file| self.write_to(file)).map_err(io)
    }

    fn write_to(&self, file: &mut impl Write) -> io::Result<()> {
        let mut header = Map::new();
        let progress = serde_json::to_string(&self.progress).map_err(io::Error::other)?;
        header.insert("__metadata__".into(), json!({"schema": SCHEMA, "progress": progress}));
        let mut at = 0;
        for (name, stored) in &self.tensors {
            let end = at + stored.bytes.len();
            let entry = json!({"dtype": stored.kind.name(), "shape": stored.shape, "data_offsets": [at, end]});
            header.insert(name.clone(), entry);
            at = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        self.tensors.values().try_for_each(|stored| file.write_all(&stored.bytes))
    }

    /// Whether a path names the state of a run.
    pub fn is_at(path: &Path) -> bool {
        path.file_name().is_some_and(|name| name == STATE_FILE)
    }

    /// Reads a state.
    ///
    /// # Errors
    /// If the file is missing, damaged or no state.
    pub fn read(path: &Path) -> Result<Self, StateError> {
        let bytes = std::fs::read(path).map_err(|source| StateError::Io { path: path.to_owned(), source })?;
        Self::from_bytes(&bytes).map_err(|message| StateError::Damaged { path: path.to_owned(), message })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or("shorter than 8 bytes")?;
        let length = u64::from_le_bytes(*length);
        if length > MAX_HEADER || length > rest.len() as u64 {
            return Err(format!("a header of {length} bytes in a file of {}", bytes.len()));
        }
        let (header, data) = rest.split_at(length as usize);
        let mut header: Map<String, Value> =
            serde_json::from_slice(header).map_err(|error| format!("the header: {error}"))?;
        let metadata = header.remove("__metadata__").unwrap_or_default();
        match metadata["schema"].as_str() {
            Some(SCHEMA) => {}
            found => return Err(format!("schema {found:?}, expected {SCHEMA:?}")),
        }
        let progress = metadata["progress"].as_str().unwrap_or_default();
        let progress = serde_json::from_str(progress).map_err(|error| format!("progress: {error}"))?;
        let mut tensors = BTreeMap::new();
        for (name, entry) in header {
            let stored = stored(&entry, data).map_err(|message| format!("{name}: {message}"))?;
            tensors.insert(name, stored);
        }
        Ok(Self { progress, tensors })
    }
}

/// Little-endian bytes, as safetensors has them.
fn bytes_of(values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * 4];
    bytes.chunks_exact_mut(4).zip(values).for_each(|(bytes, value)| bytes.copy_from_slice(&value.to_le_bytes()));
    bytes
}

/// One entry of the header with its part of the data.
fn stored(entry: &Value, data: &[u8]) -> Result<Stored, String> {
    #[derive(Deserialize)]
    struct Entry {
        dtype: String,
        shape: Vec<usize>,
        data_offsets: (usize, usize),
    }
    let Entry { dtype, shape, data_offsets: (start, end) } =
        serde_json::from_value(entry.clone()).map_err(|error| error.to_string())?;
    let (kind, size) = match dtype.as_str() {
        "F32" => (Kind::Float, 4),
        "I64" => (Kind::Int, 8),
        "BOOL" => (Kind::Bool, 1),
        _ => return Err(format!("numbers of type {dtype:?}")),
    };
    let expected = shape.iter().try_fold(size, |product: usize, &side| product.checked_mul(side));
    let bytes = data.get(start..end).ok_or_else(|| format!("bytes {start} to {end} of {}", data.len()))?;
    if expected != Some(bytes.len()) {
        return Err(format!("{} bytes for shape {shape:?}", bytes.len()));
    }
    Ok(Stored { kind, shape, bytes: bytes.to_vec() })
}

struct Collect<'a> {
    names: std::vec::IntoIter<String>,
    tensors: &'a mut BTreeMap<String, Stored>,
}

impl Collect<'_> {
    fn put(&mut self, kind: Kind, shape: &[usize], bytes: Vec<u8>) {
        if let Some(name) = self.names.next() {
            self.tensors.insert(name, Stored { kind, shape: shape.to_vec(), bytes });
        }
    }
}

impl ModuleVisitor for Collect<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let values = value.clone().into_data_as::<f32>().try_into_vec::<f32>().expect("converted to f32");
        self.put(Kind::Float, &value.dims(), bytes_of(&values));
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let value = param.val();
        let data = value.clone().into_data();
        self.put(Kind::Int, &value.dims(), data.iter::<i64>().flat_map(i64::to_le_bytes).collect());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let value = param.val();
        let data = value.clone().into_data();
        self.put(Kind::Bool, &value.dims(), data.iter::<bool>().map(u8::from).collect());
    }
}

struct Fill<'a> {
    /// Of each parameter, and whether it keeps its numbers.
    places: std::vec::IntoIter<(String, bool)>,
    tensors: &'a BTreeMap<String, Stored>,
    failed: Option<StateError>,
}

impl Fill<'_> {
    /// The next parameter's bytes; `None` where it keeps its numbers, and once something failed.
    fn next(&mut self, kind: Kind, shape: &[usize]) -> Option<&[u8]> {
        let (name, keeps) = self.places.next()?;
        if keeps {
            return None;
        }
        let stored = self.tensors.get(&name);
        match stored {
            Some(stored) if stored.kind == kind && stored.shape == shape => Some(&stored.bytes),
            other => {
                let found = other.map_or("nothing".to_owned(), |s| format!("{} {:?}", s.kind.name(), s.shape));
                let expected = format!("{} {shape:?}", kind.name());
                self.failed.get_or_insert(StateError::Parameter { name, found, expected });
                None
            }
        }
    }
}

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (shape, device) = (param.lazy_shape(), param.lazy_device());
        let Some(bytes) = self.next(Kind::Float, &shape) else { return param };
        let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let (shape, device) = (param.lazy_shape(), param.lazy_device());
        let Some(bytes) = self.next(Kind::Int, &shape) else { return param };
        let value = |b: &[u8]| i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        let values: Vec<i64> = bytes.chunks_exact(8).map(value).collect();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        let (shape, device) = (param.lazy_shape(), param.lazy_device());
        let Some(bytes) = self.next(Kind::Bool, &shape) else { return param };
        let values: Vec<bool> = bytes.iter().map(|&byte| byte != 0).collect();
        let id = param.id;
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }
}

/// Writes a file under another name, flushes it to the disk and renames it; the folder's entry is flushed too.
pub(crate) fn replace_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // One name for all runs in this folder: a killed run leaves at most one such file, and the next one overwrites it.
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let written = (|| {
        let mut file = BufWriter::new(File::create(&temporary)?);
        write(&mut file)?;
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written?;
    // Not every system can flush a folder; the rename itself is done.
    if let Some(Ok(folder)) = path.parent().map(File::open) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Keys in which two recipes differ, `[output]` left aside: it changes no weights.
pub(crate) fn recipe_differences(saved: &str, current: &str) -> Vec<String> {
    let leaves = |text: &str| -> BTreeMap<String, String> {
        let mut leaves = BTreeMap::new();
        if let Ok(table) = toml::from_str::<toml::Table>(text) {
            flatten("", &toml::Value::Table(table), &mut leaves);
        }
        leaves.retain(|key, _| !key.starts_with("output."));
        leaves
    };
    let (saved, current) = (leaves(saved), leaves(current));
    let keys: std::collections::BTreeSet<&String> = saved.keys().chain(current.keys()).collect();
    let value = |leaves: &BTreeMap<String, String>, key: &str| leaves.get(key).cloned().unwrap_or("nothing".into());
    keys.into_iter()
        .filter(|key| saved.get(*key) != current.get(*key))
        .map(|key| format!("{key}: {} -> {}", value(&saved, key), value(&current, key)))
        .collect()
}

fn flatten(prefix: &str, value: &toml::Value, leaves: &mut BTreeMap<String, String>) {
    let child = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    match value {
        toml::Value::Table(table) => table.iter().for_each(|(key, value)| flatten(&child(key), value, leaves)),
        toml::Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| flatten(&child(&index.to_string()), value, leaves));
        }
        leaf => {
            leaves.insert(prefix.to_owned(), leaf.to_string());
        }
    }
}
