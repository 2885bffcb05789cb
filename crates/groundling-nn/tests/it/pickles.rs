//! Writes files as `torch.save` does.

use std::io::Write;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An archive of `torch.save` with this pickle and these storages.
pub(crate) fn archive(pickle: &[u8], compression: CompressionMethod, storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(compression);
    writer.start_file("archive/data.pkl", options).unwrap();
    writer.write_all(pickle).unwrap();
    for (name, bytes) in storages {
        writer.start_file(format!("archive/data/{name}"), options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A pickle of one value.
pub(crate) fn pickle(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02", value, b"."].concat()
}

/// A dictionary with texts as keys.
pub(crate) fn dictionary(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let entries = entries.iter().map(|(key, value)| [&text(key)[..], value, b"s"].concat());
    [b"}".to_vec(), entries.collect::<Vec<_>>().concat()].concat()
}

/// A text.
pub(crate) fn text(value: &str) -> Vec<u8> {
    [b"X".as_slice(), &(value.len() as u32).to_le_bytes(), value.as_bytes()].concat()
}

/// A whole number.
pub(crate) fn int(value: u32) -> Vec<u8> {
    [b"J".as_slice(), &value.to_le_bytes()].concat()
}

/// A matrix: a view of this shape with these strides of storage `0`, which has so many numbers.
pub(crate) fn tensor(numbers: u32, shape: [u32; 2], strides: [u32; 2]) -> Vec<u8> {
    let pair = |[a, b]: [u32; 2]| [int(a), int(b), b"\x86".to_vec()].concat();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        int(numbers),
        b"tQ".to_vec(),
        int(0),
        pair(shape),
        pair(strides),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}
