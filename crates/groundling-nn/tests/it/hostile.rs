//! Files made to hurt: each gives a typed error that says what is wrong, none a panic.

use std::path::{Path, PathBuf};

use groundling_nn::checkpoint::{Checkpoint, CheckpointError, Format, Limits, Weights};
use groundling_testkit::torch::{CompressionMethod, archive, dictionary, pickle, tensor};
use groundling_testkit::{goldens, hostile, scratch};

/// A safetensors file with this header.
fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// An archive of nothing but a pickle.
fn stored(pickle: &[u8]) -> Vec<u8> {
    archive(pickle, CompressionMethod::Stored, &[])
}

/// The pickle of `{"w": tensor}`.
fn tensor_pickle(numbers: u32, shape: [u32; 2], strides: [u32; 2]) -> Vec<u8> {
    pickle(&dictionary(&[("w", tensor(numbers, shape, strides))]))
}

/// What an error is, in one word.
fn kind(error: &CheckpointError) -> &'static str {
    match error {
        CheckpointError::Io { .. } => "io",
        CheckpointError::NotAFile { .. } => "not a file",
        CheckpointError::UnknownFormat { .. } => "unknown format",
        CheckpointError::Malformed { .. } => "malformed",
        CheckpointError::OverLimit { .. } => "over limit",
        CheckpointError::CallsCode { .. } => "calls code",
        CheckpointError::Ambiguous { .. } => "ambiguous",
        CheckpointError::NoContainer { .. } => "no container",
        CheckpointError::NoTensors { .. } => "no tensors",
        CheckpointError::Tensor { .. } => "tensor",
        other => panic!("{other}"),
    }
}

/// Opens a file and reads every value in it.
fn read_all(path: &Path, limits: &Limits) -> Result<usize, CheckpointError> {
    let checkpoint = Checkpoint::open_weights(path, &Weights::Everything, limits)?;
    let mut numbers = 0;
    for (name, tensor) in checkpoint.tensors() {
        let values = tensor.read_f32().map_err(|error| CheckpointError::Tensor {
            path: path.into(),
            tensor: name.clone(),
            found: error.to_string(),
        })?;
        numbers += values.len();
    }
    Ok(numbers)
}

fn header(entries: &[(&str, &str, &str, [u64; 2])]) -> String {
    let entry = |(name, dtype, shape, [start, end]): &(&str, &str, &str, [u64; 2])| {
        format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{start},{end}]}}")
    };
    format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(","))
}

#[test]
fn every_hostile_file_is_an_error_that_says_why() {
    let four = [0u8; 4];
    let huge = u64::MAX.to_string();
    let nested = String::from_utf8(hostile::nested_json(100_000)).unwrap();
    let files: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("empty", vec![], "unknown format", "an empty file"),
        ("text", b"hello there, weights".to_vec(), "unknown format", "begins with"),
        ("page", b"<!DOCTYPE html><html>".to_vec(), "unknown format", "a web page"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid".to_vec(), "unknown format", "git-lfs"),
        ("gzip", vec![0x1f, 0x8b, 8, 0], "unknown format", "compressed"),
        // safetensors
        ("cut header", safetensors(&header(&[]), &[])[..9].to_vec(), "malformed", "the end of the file"),
        ("header bomb", [&(1u64 << 40).to_le_bytes(), &b"{\"a\""[..]].concat(), "over limit", "max_header_bytes"),
        ("no json", safetensors("{not json at all}", &[]), "malformed", "header"),
        ("nested json", safetensors(&format!("{{\"a\":{nested}}}"), &[]), "malformed", "header"),
        ("no tensors", safetensors("{}", &[]), "no tensors", "no tensors"),
        (
            "cut data",
            safetensors(&header(&[("a", "F32", "[4]", [0, 16])]), &four),
            "malformed",
            "bytes 0 to 16, beyond the end",
        ),
        ("rest", safetensors(&header(&[("a", "F32", "[1]", [0, 4])]), &[0; 9]), "malformed", "4 bytes after"),
        ("hole", safetensors(&header(&[("a", "F32", "[1]", [4, 8])]), &[0; 8]), "malformed", "begins at byte 0"),
        (
            "overlap",
            safetensors(&header(&[("a", "F32", "[1]", [0, 4]), ("b", "F32", "[1]", [0, 4])]), &four),
            "malformed",
            "begins at byte 4",
        ),
        (
            "backwards",
            safetensors(&header(&[("a", "F32", "[1]", [0, 4]), ("b", "F32", "[1]", [4, 2])]), &four),
            "malformed",
            "bytes 4 to 2",
        ),
        (
            "twice",
            safetensors(&header(&[("a", "F32", "[1]", [0, 4]), ("a", "F32", "[1]", [4, 8])]), &[0; 8]),
            "malformed",
            "two tensors called \"a\"",
        ),
        ("wrong shape", safetensors(&header(&[("a", "F32", "[2]", [0, 4])]), &four), "malformed", "[2] numbers"),
        (
            "absurd shape",
            safetensors(&header(&[("a", "F32", &format!("[{huge},{huge}]"), [0, 4])]), &four),
            "malformed",
            "numbers of type f32",
        ),
        ("negative shape", safetensors(&header(&[("a", "F32", "[-1]", [0, 4])]), &four), "malformed", "header"),
        (
            "packed type",
            safetensors(&header(&[("a", "F8_E4M3", "[4]", [0, 4])]), &four),
            "tensor",
            "not one that can be read",
        ),
        // pickles
        ("malicious", hostile::malicious_pickle(), "calls code", "os.system"),
        ("malicious in zip", stored(&hostile::malicious_pickle()), "calls code", "os.system"),
        ("boasting", hostile::boasting_pickle(), "over limit", "max_header_bytes"),
        ("boasting in zip", stored(&hostile::boasting_pickle()), "over limit", "max_header_bytes"),
        ("nested", hostile::nested_pickle(100_000), "malformed", "pickle"),
        ("nested in zip", stored(&hostile::nested_pickle(100_000)), "malformed", "pickle"),
        ("unknown opcode", b"\x80\x02}\xf0.".to_vec(), "malformed", "byte 0xf0"),
        ("registry opcode", b"\x80\x02\x82\x01.".to_vec(), "malformed", "byte 0x82"),
        ("unfinished", b"\x80\x02}q\x00".to_vec(), "malformed", "the end of the file"),
        ("empty stack", b"\x80\x02.".to_vec(), "malformed", "pickle"),
        ("a number", b"\x80\x02K\x01.".to_vec(), "malformed", "dictionary"),
        ("empty dictionary", b"\x80\x02}.".to_vec(), "no tensors", "no tensors"),
        ("bomb", archive(&vec![b']'; 64 << 20], CompressionMethod::Deflated, &[]), "over limit", "max_header_bytes"),
        // archives
        ("archive of nothing", b"PK\x05\x06".to_vec(), "malformed", "archive"),
        ("archive without pickle", archive(b"", CompressionMethod::Stored, &[]), "malformed", "pickle"),
        ("no storage", stored(&tensor_pickle(4, [2, 2], [2, 1])), "tensor", "not found"),
        (
            "short storage",
            archive(&tensor_pickle(4, [2, 2], [2, 1]), CompressionMethod::Stored, &[("0", &[0; 8])]),
            "tensor",
            "",
        ),
        (
            "view beyond storage",
            archive(&tensor_pickle(4, [2, 3], [3, 1]), CompressionMethod::Stored, &[("0", &[0; 16])]),
            "malformed",
            "pickle",
        ),
        // One number seen 50000 x 50000 times.
        (
            "expanded view",
            archive(&tensor_pickle(1, [50_000, 50_000], [0, 0]), CompressionMethod::Stored, &[("0", &[0; 4])]),
            "over limit",
            "max_tensor_bytes",
        ),
    ];
    let folder = scratch("hostile-checkpoints");
    let mut wrong = Vec::new();
    let count = files.len();
    for (name, bytes, expected, word) in files {
        let path = folder.join(name.replace(' ', "-"));
        std::fs::write(&path, bytes).unwrap();
        match read_all(&path, &Limits::default()) {
            Ok(numbers) => wrong.push(format!("{name}: read {numbers} numbers")),
            Err(error) => {
                let text = error.to_string();
                if kind(&error) != expected || !text.contains(word) || text.len() > 1000 {
                    wrong.push(format!("{name}: {}: {text}", kind(&error)));
                }
                assert!(!text.contains("a reader that failed"), "{name}: {text}");
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn folders_and_missing_files() {
    let folder = scratch("no-checkpoints");
    let error = Checkpoint::open(&folder, &Limits::default()).unwrap_err();
    assert_eq!((kind(&error), error.hint().is_some()), ("not a file", true));
    assert_eq!(kind(&Checkpoint::open(folder.join("none.pth"), &Limits::default()).unwrap_err()), "io");
}

#[test]
fn limits_are_those_given() {
    let path = goldens::visible_root().join("bert/tiny.safetensors");
    let open = |limits: Limits| Checkpoint::open(&path, &limits);
    assert!(open(Limits::default()).is_ok());
    for (limits, field) in [
        (Limits { max_tensors: 3, ..Limits::default() }, "max_tensors"),
        (Limits { max_tensor_bytes: 1000, ..Limits::default() }, "max_tensor_bytes"),
        (Limits { max_total_bytes: 20_000, ..Limits::default() }, "max_total_bytes"),
        (Limits { max_header_bytes: 10, ..Limits::default() }, "max_header_bytes"),
    ] {
        let error = open(limits).unwrap_err();
        assert!(matches!(&error, CheckpointError::OverLimit { field: found, .. } if *found == field), "{error}");
    }
    let zip = goldens::visible_root().join("dmmi/checkpoint/layout_zip.pth");
    let few = Limits { max_tensors: 3, ..Limits::default() };
    assert_eq!(kind(&Checkpoint::open(zip, &few).unwrap_err()), "over limit");
}

#[test]
fn a_sound_file_made_here_is_read() {
    let folder = scratch("sound-checkpoint");
    let numbers: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].into_iter().flat_map(f32::to_le_bytes).collect();
    for (compression, strides, expected) in [
        (CompressionMethod::Stored, [2, 1], [1.0, 2.0, 3.0, 4.0]),
        (CompressionMethod::Deflated, [1, 2], [1.0, 3.0, 2.0, 4.0]),
    ] {
        let path = folder.join("sound.bin");
        std::fs::write(&path, archive(&tensor_pickle(4, [2, 2], strides), compression, &[("0", &numbers)])).unwrap();
        let checkpoint = Checkpoint::open(&path, &Limits::default()).unwrap();
        assert_eq!(checkpoint.format(), Format::TorchZip);
        assert_eq!(checkpoint.tensors()["w"].read_f32().unwrap(), expected);
    }
}

#[test]
fn the_corpus_of_the_fuzzer_panics_nowhere() {
    let folder = groundling_testkit::fixtures().join("corpus/checkpoint");
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        groundling_nn::fuzzing::checkpoint(&std::fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 15, "only {replayed} files in {}", folder.display());
}

/// The files that are cut and changed.
fn sound_files() -> Vec<PathBuf> {
    let root = goldens::visible_root();
    let safetensors = scratch("mutated-safetensors").join("sound.safetensors");
    let entries =
        header(&[("a.weight", "F32", "[2,2]", [0, 16]), ("b", "I64", "[]", [16, 24]), ("c", "F16", "[3]", [24, 30])]);
    std::fs::write(&safetensors, self::safetensors(&entries, &[7; 30])).unwrap();
    vec![root.join("dmmi/checkpoint/layout_zip.pth"), root.join("dmmi/checkpoint/layout_legacy.pth"), safetensors]
}

#[test]
fn no_cut_and_no_changed_byte_makes_a_panic() {
    let folder = scratch("mutated-checkpoints");
    let path = folder.join("file");
    let limits = Limits { max_total_bytes: 1 << 20, max_tensor_bytes: 1 << 20, ..Limits::default() };
    for sound in sound_files() {
        let bytes = std::fs::read(&sound).unwrap();
        let numbers = read_all(&sound, &limits).unwrap();
        assert!(numbers > 0);
        let refused = std::cell::Cell::new(0);
        let check = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            if let Err(error) = read_all(&path, &limits) {
                let text = error.to_string();
                assert!(!text.contains("a reader that failed"), "{}: {what}: {text}", sound.display());
                refused.set(refused.get() + 1);
            }
        };
        for length in (0..bytes.len()).step_by(bytes.len() / 150 + 1) {
            check(&bytes[..length], &format!("cut at {length}"));
        }
        let cuts = refused.get();
        // Each change of a byte, spread over the file.
        let places = (0..bytes.len()).step_by(bytes.len() / 400 + 1);
        for (place, change) in places.zip([0xff, 0x01, 0x80, 0x2e, 0x5d].into_iter().cycle()) {
            let mut changed = bytes.clone();
            changed[place] ^= change;
            check(&changed, &format!("byte {place} ^ {change:#x}"));
        }
        let refused = refused.get();
        assert!(cuts > 50 && refused > cuts + 20, "{}: {cuts}, {refused}", sound.display());
    }
}
