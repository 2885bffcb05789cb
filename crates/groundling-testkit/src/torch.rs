//! Writes files as `torch.save` does.

use std::io::Write;
use std::path::PathBuf;

pub use zip::CompressionMethod;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::{fill, fixtures};

/// A tensor of a checkpoint. With fewer numbers than its shape needs, it is a damaged one.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its numbers, row by row.
    pub numbers: Numbers,
}

/// The numbers of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Weights.
    Float(Vec<f32>),
    /// Indices.
    Long(Vec<i64>),
}

impl Entry {
    /// Weights filled by the rule of the fixtures, with seed 0.
    pub fn filled(name: impl Into<String>, shape: &[usize]) -> Self {
        let name = name.into();
        let numbers = Numbers::Float(fill::parameter(&name, shape, 0).to_f32());
        Self { name, shape: shape.to_vec(), numbers }
    }

    /// The same under another name.
    pub fn named(&self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self.clone() }
    }
}

/// The list of tensors that the authors' program would save for our `tiny` preset of `transvg`, `vltvg` or `qrnet`: name, shape and kind of
/// number, a line each. A test of the models compares it with the names of the published sizes.
pub fn authors_list(system: &str) -> PathBuf {
    fixtures().join(format!("authors/{system}-tiny.tsv"))
}

/// The tensors of [`authors_list`], weights filled by the rule of the fixtures.
///
/// # Panics
/// If there is no list of this system, or a line is none.
pub fn authors_entries(system: &str) -> Vec<Entry> {
    let path = authors_list(system);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, shape, dtype] = fields[..] else { panic!("{line:?} is no name, shape and type") };
        let shape: Vec<usize> = shape.split('x').map(|size| size.parse().expect("a size")).collect();
        match dtype {
            "int64" => {
                let numbers = Numbers::Long((0..shape.iter().product::<usize>() as i64).collect());
                Entry { name: name.to_owned(), shape, numbers }
            }
            _ => Entry::filled(name, &shape),
        }
    };
    text.lines().map(entry).collect()
}

/// A checkpoint as training programs save it: the weights as `model`, beside them the optimiser's state, the epoch and the arguments.
pub fn training_checkpoint(entries: &[Entry]) -> Vec<u8> {
    let mut storages = Vec::with_capacity(entries.len());
    let mut state = Vec::with_capacity(entries.len());
    for (index, Entry { name, shape, numbers }) in entries.iter().enumerate() {
        let (class, bytes): (_, Vec<u8>) = match numbers {
            Numbers::Float(values) => ("FloatStorage", values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            Numbers::Long(values) => ("LongStorage", values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        };
        let count: usize = shape.iter().product();
        let strides: Vec<u32> =
            (0..shape.len()).map(|axis| shape[axis + 1..].iter().product::<usize>() as u32).collect();
        let sizes: Vec<u32> = shape.iter().map(|&size| size as u32).collect();
        let key = index.to_string();
        state.push((name.as_str(), view(class, &key, count as u32, &sizes, &strides)));
        storages.push((key, bytes));
    }
    let moments = dictionary(&[("state", dictionary(&[])), ("param_groups", b"]".to_vec())]);
    let arguments = [b"cargparse\nNamespace\n)\x81".to_vec(), dictionary(&[("lr", int(1))]), b"b".to_vec()].concat();
    let root =
        dictionary(&[("model", dictionary(&state)), ("optimizer", moments), ("epoch", int(7)), ("args", arguments)]);
    let storages: Vec<(&str, &[u8])> = storages.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())).collect();
    archive(&pickle(&root), CompressionMethod::Stored, &storages)
}

/// An archive of `torch.save` with this pickle and these storages.
pub fn archive(pickle: &[u8], compression: CompressionMethod, storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(compression);
    writer.start_file("archive/data.pkl", options).expect("memory takes it");
    writer.write_all(pickle).expect("memory takes it");
    for (name, bytes) in storages {
        writer.start_file(format!("archive/data/{name}"), options).expect("memory takes it");
        writer.write_all(bytes).expect("memory takes it");
    }
    writer.finish().expect("memory takes it").into_inner()
}

/// A pickle of one value.
pub fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A dictionary with texts as keys.
pub fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().map(|(key, value)| [&text(key)[..], value, b"s"].concat());
    [b"}".to_vec(), entries.collect::<Vec<_>>().concat()].concat()
}

/// A text.
pub fn text(value: &str) -> Vec<u8> {
    [b"X".as_slice(), &(value.len() as u32).to_le_bytes(), value.as_bytes()].concat()
}

/// A whole number.
pub fn int(value: u32) -> Vec<u8> {
    [b"J".as_slice(), &value.to_le_bytes()].concat()
}

/// A view of this shape with these strides of a storage of a class of PyTorch's, which has so many numbers.
pub fn view(class: &str, storage: &str, numbers: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let tuple = |values: &[u32]| {
        let values: Vec<u8> = values.iter().flat_map(|&value| int(value)).collect();
        [b"(".as_slice(), &values, b"t"].concat()
    };
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text(storage),
        text("cpu"),
        int(numbers),
        b"tQ".to_vec(),
        int(0),
        tuple(shape),
        tuple(strides),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

/// A matrix of storage `0`.
pub fn tensor(numbers: u32, shape: [u32; 2], strides: [u32; 2]) -> Vec<u8> {
    view("FloatStorage", "0", numbers, &shape, &strides)
}
