//! Opens a file of weights, whatever it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use burn_store::pytorch_reader::PickleValue;

use super::error::short;
use super::names::nearest;
use super::{CheckpointError, Limits, StoredTensor, pickle, safetensors};

/// What kind of file it is, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// `torch.save` since 1.6.
    TorchZip,
    /// `torch.save` before 1.6, or a plain pickle.
    TorchPickle,
    /// Not a file: made in memory.
    Memory,
}

/// Which set of weights to take from a file that has several, or has them under a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Weights {
    /// The usual names are looked for (`model`, `state_dict`, `model_state_dict`, ...), one inside another if need be. Averaged
    /// weights are taken only if there are no others; with two sets of equal standing it is an error that names them.
    #[default]
    Auto,
    /// The averaged weights (`model_ema`, `ema`, `ema_state_dict`, ...).
    Ema,
    /// The set under this name; dots lead deeper.
    Named(String),
    /// Every tensor of the file, under its full name.
    Everything,
}

/// A file of weights, open: names, types and shapes are known, values stay in the file.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    container: Option<String>,
    stripped: Vec<&'static str>,
    beside: Vec<String>,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, StoredTensor>,
}

impl Checkpoint {
    /// Opens a file and chooses its weights by [`Weights::Auto`].
    ///
    /// # Errors
    /// If it is no checkpoint, is damaged, asks for more than `limits` allow, or has several sets of weights.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, CheckpointError> {
        Self::open_weights(path, &Weights::Auto, limits)
    }

    /// Opens a file and takes the weights asked for.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and if the weights asked for are not there.
    pub fn open_weights(path: impl AsRef<Path>, weights: &Weights, limits: &Limits) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let (format, file, bytes) = detect(path)?;
        let mut checkpoint = Self {
            path: path.into(),
            format,
            container: None,
            stripped: Vec::new(),
            beside: Vec::new(),
            metadata: BTreeMap::new(),
            tensors: BTreeMap::new(),
        };
        let mut root = HashMap::new();
        if format == Format::Safetensors {
            let contents = safetensors::read(path, file, bytes, limits)?;
            (checkpoint.tensors, checkpoint.metadata) = (contents.tensors, contents.metadata);
        } else {
            let container = if format == Format::TorchZip { pickle::Container::Zip } else { pickle::Container::Stream };
            let contents = pickle::read(path, container, limits)?;
            checkpoint.metadata = contents.root.iter().filter_map(|(k, v)| Some((k.clone(), text(v)?))).collect();
            (checkpoint.tensors, root) = (contents.tensors, contents.root);
        }
        if checkpoint.tensors.is_empty() {
            return Err(CheckpointError::NoTensors { path: path.into() });
        }
        checkpoint.choose(weights, root)?;
        checkpoint.check_sizes(limits)?;
        Ok(checkpoint)
    }

    /// A safetensors file that is part of the program; `name` stands for its path in messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_safetensors(name: &str, bytes: &'static [u8], limits: &Limits) -> Result<Self, CheckpointError> {
        let path = Path::new(name);
        let contents = safetensors::read(path, Cursor::new(bytes), bytes.len() as u64, limits)?;
        let mut checkpoint = Self::from_tensors(contents.tensors);
        (checkpoint.path, checkpoint.metadata) = (path.into(), contents.metadata);
        if checkpoint.tensors.is_empty() {
            return Err(CheckpointError::NoTensors { path: path.into() });
        }
        checkpoint.check_sizes(limits)?;
        Ok(checkpoint)
    }

    /// A checkpoint that is no file.
    pub fn from_tensors(tensors: impl IntoIterator<Item = (String, StoredTensor)>) -> Self {
        Self {
            path: "<memory>".into(),
            format: Format::Memory,
            container: None,
            stripped: Vec::new(),
            beside: Vec::new(),
            metadata: BTreeMap::new(),
            tensors: tensors.into_iter().collect(),
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of file it is.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Name under which the weights stand in the file, dots between levels; `None` where they stand at the top.
    pub fn container(&self) -> Option<&str> {
        self.container.as_deref()
    }

    /// Beginnings that every name had, added by a wrapper of PyTorch, and that were taken off: `module.`, `_orig_mod.`.
    pub fn stripped(&self) -> &[&'static str] {
        &self.stripped
    }

    /// What else the file holds at the level of the weights: other sets, an optimizer's state.
    pub fn beside(&self) -> &[String] {
        &self.beside
    }

    /// `__metadata__` of a safetensors file; numbers and short texts at the top of a PyTorch file.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, StoredTensor> {
        &self.tensors
    }

    fn choose(&mut self, weights: &Weights, mut root: HashMap<String, PickleValue>) -> Result<(), CheckpointError> {
        match weights {
            Weights::Everything => return Ok(()),
            Weights::Named(name) => self.enter(name)?,
            Weights::Auto | Weights::Ema => {
                let mut ema = *weights == Weights::Ema;
                // A level deeper each time: `{"state_dict": {"model": {..}}}` exists.
                for _ in 0..4 {
                    let Some(name) = self.pick(&root, &mut ema)? else { break };
                    self.enter(&name)?;
                    root = match root.remove(&name) {
                        Some(PickleValue::Dict(inner)) => inner,
                        _ => HashMap::new(),
                    };
                }
                if ema {
                    return Err(CheckpointError::NoContainer {
                        path: self.path.clone(),
                        wanted: "averaged weights".into(),
                        known: self.tops(),
                    });
                }
            }
        }
        self.strip_wrappers();
        Ok(())
    }

    /// The dictionary to go into at this level, if the weights are not here already.
    fn pick(&self, level: &HashMap<String, PickleValue>, ema: &mut bool) -> Result<Option<String>, CheckpointError> {
        let dictionary = |name: &String| matches!(level.get(name), Some(PickleValue::Dict(_)));
        let tops = self.tops();
        let holders: Vec<&String> = tops.iter().filter(|name| dictionary(name) && !is_bystander(name)).collect();
        let (averaged, plain): (Vec<&String>, Vec<&String>) = holders.into_iter().partition(|name| is_ema(name));
        let ambiguous = |names: &[&String]| CheckpointError::Ambiguous {
            path: self.path.clone(),
            candidates: names
                .iter()
                .map(|name| match &self.container {
                    Some(container) => format!("{container}.{name}"),
                    None => (*name).clone(),
                })
                .collect(),
        };
        if *ema && !averaged.is_empty() {
            *ema = false;
            return if let [one] = averaged[..] { Ok(Some(one.clone())) } else { Err(ambiguous(&averaged)) };
        }
        // Without a usual name, dictionaries are the parts of a model that was saved whole.
        if !plain.iter().chain(&averaged).any(|name| is_usual(name) || is_ema(name)) {
            return Ok(None);
        }
        // Tensors beside the dictionaries: figures such as the best accuracy, or the model itself.
        let loose = tops.iter().filter(|name| !dictionary(name));
        if loose.into_iter().any(|name| !self.is_figure(name)) {
            return Ok(None);
        }
        match (&plain[..], &averaged[..]) {
            ([one], _) if is_usual(one) => Ok(Some((*one).clone())),
            ([], [one]) => Ok(Some((*one).clone())),
            ([], many) => Err(ambiguous(many)),
            (many, _) => Err(ambiguous(many)),
        }
    }

    /// Whether everything under a top name is single numbers.
    fn is_figure(&self, top: &str) -> bool {
        let under = self.tensors.iter().filter(|(name, _)| name.split('.').next() == Some(top));
        under.into_iter().all(|(_, tensor)| tensor.shape().iter().product::<usize>() <= 1)
    }

    /// First parts of the names.
    fn tops(&self) -> Vec<String> {
        let tops: BTreeSet<&str> = self.tensors.keys().filter_map(|name| name.split('.').next()).collect();
        tops.into_iter().map(str::to_owned).collect()
    }

    /// Keeps the tensors under a name, without the name.
    fn enter(&mut self, name: &str) -> Result<(), CheckpointError> {
        let prefix = format!("{name}.");
        if !self.tensors.keys().any(|key| key.starts_with(&prefix)) {
            let mut known = self.tops();
            if let Some(near) = nearest(name, known.iter().map(String::as_str)).map(str::to_owned) {
                known.retain(|other| *other != near);
                known.insert(0, near);
            }
            return Err(CheckpointError::NoContainer { path: self.path.clone(), wanted: name.to_owned(), known });
        }
        let (inside, outside): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.tensors).into_iter().partition(|(key, _)| key.starts_with(&prefix));
        let tops: BTreeSet<String> =
            outside.keys().filter_map(|key| key.split('.').next()).map(str::to_owned).collect();
        self.beside.extend(tops);
        self.tensors = inside.into_iter().map(|(key, tensor)| (key[prefix.len()..].to_owned(), tensor)).collect();
        self.container = Some(match self.container.take() {
            Some(outer) => format!("{outer}.{name}"),
            None => name.to_owned(),
        });
        Ok(())
    }

    fn strip_wrappers(&mut self) {
        while let Some(prefix) =
            ["module.", "_orig_mod."].into_iter().find(|prefix| self.tensors.keys().all(|key| key.starts_with(prefix)))
        {
            self.stripped.push(prefix);
            let tensors = std::mem::take(&mut self.tensors);
            self.tensors = tensors.into_iter().map(|(key, tensor)| (key[prefix.len()..].to_owned(), tensor)).collect();
        }
    }

    fn check_sizes(&self, limits: &Limits) -> Result<(), CheckpointError> {
        let over = |what: String, found, limit, field| CheckpointError::OverLimit {
            path: self.path.clone(),
            what,
            found,
            limit,
            field,
        };
        let mut total = 0u64;
        for (name, tensor) in &self.tensors {
            let bytes = match tensor.element_type() {
                super::ElementType::Packed => 0,
                _ => tensor.byte_len().unwrap_or(u64::MAX),
            };
            if bytes > limits.max_tensor_bytes {
                let what = format!("the size of tensor {:?} in bytes", short(name.as_str()));
                return Err(over(what, bytes, limits.max_tensor_bytes, "max_tensor_bytes"));
            }
            total = total.saturating_add(bytes);
        }
        if total > limits.max_total_bytes {
            return Err(over(
                "the size of all tensors in bytes".into(),
                total,
                limits.max_total_bytes,
                "max_total_bytes",
            ));
        }
        Ok(())
    }
}

/// Names under which weights are saved.
fn is_usual(name: &str) -> bool {
    const USUAL: [&str; 10] =
        ["model", "state_dict", "module", "net", "network", "params", "weights", "state", "student", "generator"];
    USUAL.contains(&name) || name.ends_with("_model") || name.ends_with("state_dict")
}

/// Names under which averaged weights are saved.
fn is_ema(name: &str) -> bool {
    name.split(['_', '-']).any(|word| matches!(word, "ema" | "averaged" | "teacher" | "swa"))
}

/// Names of what is saved beside weights.
fn is_bystander(name: &str) -> bool {
    const PARTS: [&str; 11] =
        ["optim", "sched", "scaler", "rng", "args", "config", "epoch", "meta", "hyper", "loss", "callbacks"];
    name == "amp" || PARTS.iter().any(|part| name.contains(part)) && !name.starts_with("model")
}

/// A number or a short text, as text.
fn text(value: &PickleValue) -> Option<String> {
    match value {
        PickleValue::Bool(value) => Some(value.to_string()),
        PickleValue::Int(value) => Some(value.to_string()),
        PickleValue::Float(value) => Some(value.to_string()),
        PickleValue::String(value) if value.len() <= 200 => Some(value.clone()),
        _ => None,
    }
}

/// What a file is by its first bytes, and its length.
fn detect(path: &Path) -> Result<(Format, File, u64), CheckpointError> {
    let io = |doing| move |source| CheckpointError::Io { path: path.into(), doing, source };
    let metadata = std::fs::metadata(path).map_err(io("opening"))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "a device or a pipe" };
        return Err(CheckpointError::NotAFile { path: path.into(), found });
    }
    let mut file = File::open(path).map_err(io("opening"))?;
    let mut head = Vec::new();
    file.by_ref().take(512).read_to_end(&mut head).map_err(io("reading"))?;
    let bytes = metadata.len();
    let format = format_of(&head).map_err(|found| CheckpointError::UnknownFormat { path: path.into(), found })?;
    Ok((format, file, bytes))
}

fn format_of(head: &[u8]) -> Result<Format, String> {
    let starts = |text: &str| head.starts_with(text.as_bytes());
    if head.is_empty() {
        return Err("an empty file".into());
    }
    if starts("PK\x03\x04") || starts("PK\x05\x06") {
        return Ok(Format::TorchZip);
    }
    // A length and the JSON it belongs to. The length's first byte may be that of a pickle.
    if head.get(8) == Some(&b'{') && head[6..8] == [0; 2] {
        return Ok(Format::Safetensors);
    }
    if starts("version https://git-lfs") {
        return Err("a git-lfs pointer".into());
    }
    let opening = String::from_utf8_lossy(&head[..head.len().min(64)]).trim_start().to_lowercase();
    if opening.starts_with("<!doctype") || opening.starts_with("<html") || opening.starts_with("<?xml") {
        return Err("a web page".into());
    }
    if head.get(257..262) == Some(b"ustar") {
        return Err("a TAR archive, as PyTorch wrote before 2017".into());
    }
    if head.starts_with(&[0x1f, 0x8b])
        || starts("BZh")
        || starts("\u{fd}7zXZ")
        || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
    {
        return Err("a compressed file".into());
    }
    // PROTO of protocol 2 and later, or how protocols 0 and 1 begin a dictionary or a magic number.
    match head[0] {
        0x80 | b'(' | b'}' | b'c' | b'L' | b'I' | 0x8a => Ok(Format::TorchPickle),
        _ => Err(format!("one that begins with {:02x?}", &head[..head.len().min(8)])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_content() {
        assert_eq!(format_of(b"PK\x03\x04rest"), Ok(Format::TorchZip));
        assert_eq!(format_of(b"\x80\x00\0\0\0\0\0\0{\"a\":"), Ok(Format::Safetensors));
        assert_eq!(format_of(b"\x80\x02}q\x00."), Ok(Format::TorchPickle));
        for (head, word) in [
            (&b""[..], "empty"),
            (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
            (b"\n <!DOCTYPE html>", "web page"),
            (b"\x1f\x8b\x08", "compressed"),
            (b"GGUF\x03", "begins with"),
        ] {
            assert!(format_of(head).unwrap_err().contains(word));
        }
    }

    #[test]
    fn names_of_containers() {
        assert!(is_usual("model") && is_usual("bert_model") && is_usual("ema_state_dict") && !is_usual("backbone"));
        assert!(is_ema("model_ema") && is_ema("state_dict_ema") && is_ema("ema") && !is_ema("schema"));
        assert!(is_bystander("optimizer") && is_bystander("lr_scheduler") && !is_bystander("model_optim"));
    }
}
