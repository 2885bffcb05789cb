//! PyTorch files: looked over before the reader may build anything from them.
//!
//! The pickle reader of burn never runs code and bounds nesting and copies, but it builds one object for every opcode, and a
//! compressed pickle of 100 MB may be a file of 100 KB. So the opcodes are walked first, building nothing: the length is
//! bounded, an unknown opcode is named with its place, and a call of a function that runs commands is refused.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use burn_store::pytorch_reader::{PickleValue, PytorchError, PytorchReader};
use zip::ZipArchive;

use super::error::short;
use super::{CheckpointError, Limits, StoredTensor};

/// What a file has.
pub(crate) struct Contents {
    /// Every tensor, named by its path through the dictionaries.
    pub(crate) tensors: BTreeMap<String, StoredTensor>,
    /// The dictionaries, without what is in the tensors.
    pub(crate) root: HashMap<String, PickleValue>,
}

/// The container around the pickles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Zip,
    /// Pickles one after another; `torch.save` before 1.6 writes five and then the numbers.
    Stream,
}

/// Checks the pickles of a file, then reads it.
pub(crate) fn read(path: &Path, container: Container, limits: &Limits) -> Result<Contents, CheckpointError> {
    let checked = super::guarded(|| check(path, container, limits));
    checked.map_err(|found| damaged(path, found))??;
    let read = super::guarded(|| -> Result<_, PytorchError> {
        Ok((PytorchReader::new(path)?.into_tensors(), PytorchReader::read_pickle_data(path, None)?))
    });
    let (tensors, root) =
        read.map_err(|found| damaged(path, found))?.map_err(|error| damaged(path, error.to_string()))?;
    if tensors.len() > limits.max_tensors {
        return Err(CheckpointError::OverLimit {
            path: path.into(),
            what: "the number of tensors".into(),
            found: tensors.len() as u64,
            limit: limits.max_tensors as u64,
            field: "max_tensors",
        });
    }
    let PickleValue::Dict(root) = root else {
        return Err(damaged(path, "no dictionary at the root".into()));
    };
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, StoredTensor::in_pickle(tensor))).collect();
    Ok(Contents { tensors, root })
}

fn damaged(path: &Path, found: String) -> CheckpointError {
    CheckpointError::Malformed {
        path: path.into(),
        place: "pickle".into(),
        expected: "a dictionary of tensors as `torch.save(model.state_dict(), path)` writes it".into(),
        found: short(found),
    }
}

fn check(path: &Path, container: Container, limits: &Limits) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io { path: path.into(), doing: "reading", source };
    let file = BufReader::new(File::open(path).map_err(io)?);
    match container {
        Container::Stream => {
            let mut budget = limits.max_header_bytes;
            let mut reader = Counted { inner: file, read: 0 };
            // The first pickle says whether four more follow.
            let first = scan(&mut reader, &mut budget).map_err(|stop| stop.into_error(path, limits))?;
            for _ in 0..if first.legacy_magic { 4 } else { 0 } {
                scan(&mut reader, &mut budget).map_err(|stop| stop.into_error(path, limits))?;
            }
        }
        Container::Zip => {
            let zip = |error: zip::result::ZipError| CheckpointError::Malformed {
                path: path.into(),
                place: "archive".into(),
                expected: "a ZIP directory and entries".into(),
                found: short(error.to_string()),
            };
            let mut archive = ZipArchive::new(file).map_err(zip)?;
            for index in 0..archive.len() {
                let entry = archive.by_index(index).map_err(zip)?;
                if !entry.name().map_err(zip)?.ends_with("data.pkl") {
                    continue;
                }
                let mut budget = limits.max_header_bytes;
                let mut reader = Counted { inner: BufReader::new(entry), read: 0 };
                scan(&mut reader, &mut budget).map_err(|stop| stop.into_error(path, limits))?;
            }
        }
    }
    Ok(())
}

/// What the walk over a pickle says about it.
#[derive(Debug, Default, PartialEq)]
struct Scanned {
    legacy_magic: bool,
}

/// Why a walk ended early.
#[derive(Debug)]
enum Stop {
    Ends { at: u64, source: io::Error },
    TooLong { at: u64 },
    Unknown { opcode: u8, at: u64 },
    Calls(String),
}

impl Stop {
    fn into_error(self, path: &Path, limits: &Limits) -> CheckpointError {
        let malformed = |at: u64, expected: &str, found: String| CheckpointError::Malformed {
            path: path.into(),
            place: format!("pickle, byte {at}"),
            expected: expected.into(),
            found,
        };
        match self {
            Self::Ends { at, source } if source.kind() == io::ErrorKind::UnexpectedEof => {
                malformed(at, "more of the pickle", "the end of the file".into())
            }
            Self::Ends { at, source } => malformed(at, "readable data", short(source.to_string())),
            Self::TooLong { at } => CheckpointError::OverLimit {
                path: path.into(),
                what: "the length of the pickle in bytes".into(),
                found: at,
                limit: limits.max_header_bytes,
                field: "max_header_bytes",
            },
            Self::Unknown { opcode, at } => malformed(at, "a pickle opcode", format!("byte {opcode:#04x}")),
            Self::Calls(global) => CheckpointError::CallsCode { path: path.into(), global },
        }
    }
}

/// Counts what is read, so that errors can say where.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: BufRead> Counted<R> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|source| Stop::Ends { at: self.read, source })?;
        self.read += N as u64;
        Ok(bytes)
    }

    /// The bytes of a string; only the first 256 are kept.
    fn text(&mut self, length: u64, left: u64) -> Result<Vec<u8>, Stop> {
        if length > left {
            return Err(Stop::TooLong { at: self.read.saturating_add(length) });
        }
        let mut kept = Vec::new();
        let ends = |at, source| Stop::Ends { at, source };
        self.inner.by_ref().take(length.min(256)).read_to_end(&mut kept).map_err(|e| ends(self.read, e))?;
        let rest = length - kept.len() as u64;
        let skipped = io::copy(&mut self.inner.by_ref().take(rest), &mut io::sink()).map_err(|e| ends(self.read, e))?;
        if length.min(256) != kept.len() as u64 || skipped != rest {
            return Err(ends(self.read, io::ErrorKind::UnexpectedEof.into()));
        }
        self.read += length;
        Ok(kept)
    }

    fn line(&mut self, left: u64) -> Result<Vec<u8>, Stop> {
        let mut line = Vec::new();
        let at = self.read;
        let ends = |source| Stop::Ends { at, source };
        let count = self.inner.by_ref().take(left.saturating_add(1)).read_until(b'\n', &mut line).map_err(ends)? as u64;
        if count > left {
            return Err(Stop::TooLong { at: at + count });
        }
        if line.pop() != Some(b'\n') {
            return Err(ends(io::ErrorKind::UnexpectedEof.into()));
        }
        self.read += count;
        Ok(line)
    }
}

/// Modules of Python from which no checkpoint takes anything, and functions of its built-in module likewise.
const RUNS_CODE: [&str; 24] = [
    "os.",
    "posix.",
    "nt.",
    "subprocess.",
    "sys.",
    "shutil.",
    "socket.",
    "runpy.",
    "pty.",
    "importlib.",
    "ctypes.",
    "webbrowser.",
    "commands.",
    "multiprocessing.",
    "asyncio.",
    "http.",
    "urllib.",
    "pip.",
    "code.",
    "bdb.",
    "pdb.",
    "timeit.",
    "cProfile.",
    "pickle.",
];
const RUNS_CODE_BUILT_IN: [&str; 11] =
    ["eval", "exec", "execfile", "compile", "open", "getattr", "setattr", "__import__", "breakpoint", "input", "apply"];

fn runs_code(module: &[u8], name: &[u8]) -> Option<String> {
    let global = format!("{}.{}", String::from_utf8_lossy(module), String::from_utf8_lossy(name));
    let built_in = ["builtins.", "__builtin__."].iter().find_map(|module| global.strip_prefix(module));
    let refused = match built_in {
        Some(name) => RUNS_CODE_BUILT_IN.contains(&name.split('.').next().unwrap_or(name)),
        None => RUNS_CODE.iter().any(|module| global.starts_with(module)),
    };
    refused.then(|| short(global))
}

/// The magic number that opens a file of `torch.save` before 1.6.
const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// Walks one pickle to its `STOP`, taking its length from `budget`.
fn scan<R: BufRead>(reader: &mut Counted<R>, budget: &mut u64) -> Result<Scanned, Stop> {
    let mut scanned = Scanned::default();
    let start = reader.read;
    // Where protocol 4 takes the names of a global from.
    let mut strings = [Vec::new(), Vec::new()];
    let remember = |text: Vec<u8>, strings: &mut [Vec<u8>; 2]| {
        strings.swap(0, 1);
        strings[1] = text;
    };
    loop {
        let left = budget.saturating_sub(reader.read - start);
        if left == 0 {
            return Err(Stop::TooLong { at: reader.read });
        }
        let at = reader.read;
        let [opcode] = reader.bytes()?;
        match opcode {
            b'.' => break,
            // No argument.
            b'('
            | b'0'
            | b'1'
            | b'2'
            | b'N'
            | b'R'
            | b'Q'
            | b'b'
            | b'a'
            | b'e'
            | b'l'
            | b'd'
            | b'}'
            | b']'
            | b')'
            | b't'
            | b's'
            | b'u'
            | b'o'
            | 0x81
            | 0x85..=0x89
            | 0x8f..=0x92
            | 0x94 => {}
            0x93 => {
                if let Some(global) = runs_code(&strings[0], &strings[1]) {
                    return Err(Stop::Calls(global));
                }
            }
            0x80 | b'K' | b'h' | b'q' => drop(reader.bytes::<1>()?),
            b'M' => drop(reader.bytes::<2>()?),
            b'J' | b'j' | b'r' => drop(reader.bytes::<4>()?),
            b'G' | 0x95 => drop(reader.bytes::<8>()?),
            b'F' | b'I' | b'g' | b'p' | b'P' => drop(reader.line(left)?),
            // The magic number as protocols 0 and 1 write it.
            b'L' => scanned.legacy_magic |= reader.line(left)?.starts_with(b"119547037146038801333356"),
            b'S' | b'V' => {
                let line = reader.line(left)?;
                remember(line, &mut strings);
            }
            b'c' | b'i' => {
                let (module, name) = (reader.line(left)?, reader.line(left)?);
                if let Some(global) = runs_code(&module, &name) {
                    return Err(Stop::Calls(global));
                }
            }
            b'U' | b'C' | 0x8c => {
                let [length] = reader.bytes()?;
                let text = reader.text(length.into(), left)?;
                remember(text, &mut strings);
            }
            0x8a => {
                let [length] = reader.bytes()?;
                scanned.legacy_magic |= reader.text(length.into(), left)? == LEGACY_MAGIC;
            }
            b'T' | b'X' | b'B' | 0x8b => {
                let length = u32::from_le_bytes(reader.bytes()?);
                let text = reader.text(length.into(), left)?;
                remember(text, &mut strings);
            }
            0x8d | 0x8e | 0x96 => {
                let length = u64::from_le_bytes(reader.bytes()?);
                let text = reader.text(length, left)?;
                remember(text, &mut strings);
            }
            _ => return Err(Stop::Unknown { opcode, at }),
        }
    }
    *budget = budget.saturating_sub(reader.read - start);
    Ok(scanned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundling_testkit::hostile;

    fn scanned(pickle: &[u8]) -> Result<Scanned, Stop> {
        scan(&mut Counted { inner: pickle, read: 0 }, &mut 1000)
    }

    #[test]
    fn good_pickles_pass() {
        // {"a": 1} in protocols 0, 2 and 4.
        for pickle in [
            &b"(dp0\nVa\np1\nI1\ns."[..],
            b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s.",
            b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.",
        ] {
            assert_eq!(scanned(pickle).unwrap(), Scanned::default());
        }
    }

    #[test]
    fn bad_pickles_stop_with_a_place() {
        assert!(matches!(scanned(&hostile::malicious_pickle()), Err(Stop::Calls(g)) if g == "os.system"));
        let by_stack = b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93.";
        assert!(matches!(scanned(by_stack), Err(Stop::Calls(g)) if g == "builtins.eval"));
        assert!(scanned(b"\x80\x04\x8c\x08builtins\x94\x8c\x05slice\x94\x93.").is_ok());
        assert!(matches!(scanned(&hostile::boasting_pickle()), Err(Stop::TooLong { .. })));
        assert!(matches!(scanned(b"\x80\x02}"), Err(Stop::Ends { at: 3, .. })));
        assert!(matches!(scanned(b"\x80\x02\xff."), Err(Stop::Unknown { opcode: 0xff, at: 2 })));
        assert!(matches!(scanned(b"\x80\x02\x82\x01."), Err(Stop::Unknown { opcode: 0x82, at: 2 })));
        assert!(matches!(scanned(&[b']'; 5000]), Err(Stop::TooLong { at: 1000 })));
        assert!(matches!(scanned(&[b'I'; 5000]), Err(Stop::TooLong { .. })));
        assert!(matches!(scanned(b"X\x05\0\0\0ab"), Err(Stop::Ends { .. })));
    }
}
