//! MATLAB files of version 5, as far as lists of classes need them: numbers, texts, cells and structures, compressed or not.
//!
//! Source: "MAT-File Format", The MathWorks, 2023, chapter 1.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::ZlibDecoder;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum MatValue {
    /// Numbers in column order.
    Numbers(Vec<f64>),
    /// A text, its rows one after another.
    Text(String),
    /// Cells in column order.
    Cells(Vec<MatValue>),
    /// An array of structures in column order.
    Structs(Vec<BTreeMap<String, MatValue>>),
    /// Something else: sparse, a function, an object.
    Other,
}

/// Why a file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MatError {
    /// No MATLAB file of version 5.
    #[error("no MATLAB file of version 5: {0}")]
    Header(&'static str),
    /// It ends too early, or says more than it holds.
    #[error("damaged at byte {at}: {what}")]
    Damaged {
        /// Place in the part that is read, from 0.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// It is larger, or nested deeper, than any list of classes.
    #[error("{what} is over the limit of {limit}")]
    TooLarge {
        /// What is large.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

const MAX_BYTES: u64 = 256 << 20;
const MAX_DEPTH: usize = 16;
/// Elements of one array.
const MAX_ELEMENTS: usize = 16 << 20;

const COMPRESSED: u32 = 15;
const MATRIX: u32 = 14;

/// The variables of a file by name.
///
/// # Errors
/// [`MatError`] if it is another kind of file, damaged or too large.
pub fn read_mat(bytes: &[u8]) -> Result<BTreeMap<String, MatValue>, MatError> {
    let header = bytes.get(..128).ok_or(MatError::Header("shorter than its header of 128 bytes"))?;
    if &header[126..128] == b"MI" {
        return Err(MatError::Header("numbers with the high byte first"));
    }
    if &header[126..128] != b"IM" || !header.starts_with(b"MATLAB 5.0") {
        return Err(MatError::Header("it does not begin with MATLAB 5.0"));
    }
    let mut cursor = Cursor { bytes: &bytes[128..], at: 0 };
    let mut variables = BTreeMap::new();
    let mut left = MAX_BYTES;
    while cursor.at < cursor.bytes.len() {
        let (kind, data) = cursor.element()?;
        match kind {
            COMPRESSED => {
                let mut inflated = Vec::new();
                let damaged = |_| MatError::Damaged { at: cursor.at, what: "the compressed part" };
                ZlibDecoder::new(data).take(left + 1).read_to_end(&mut inflated).map_err(damaged)?;
                let too_large = MatError::TooLarge { what: "bytes after decompression", limit: MAX_BYTES as usize };
                left = left.checked_sub(inflated.len() as u64).ok_or(too_large)?;
                let (kind, data) = Cursor { bytes: &inflated, at: 0 }.element()?;
                if kind == MATRIX {
                    variables.extend(named(data)?);
                }
            }
            MATRIX => variables.extend(named(data)?),
            _ => {}
        }
    }
    Ok(variables)
}

fn named(data: &[u8]) -> Result<Option<(String, MatValue)>, MatError> {
    let (name, value) = matrix(data, MAX_DEPTH)?;
    Ok((!name.is_empty()).then_some((name, value)))
}

/// Name and value of a matrix; an empty element is an empty list of numbers.
fn matrix(data: &[u8], depth: usize) -> Result<(String, MatValue), MatError> {
    if data.is_empty() {
        return Ok((String::new(), MatValue::Numbers(Vec::new())));
    }
    let depth = depth.checked_sub(1).ok_or(MatError::TooLarge { what: "nesting", limit: MAX_DEPTH })?;
    let mut cursor = Cursor { bytes: data, at: 0 };
    let flags = cursor.numbers()?;
    let class = flags.first().map_or(0, |flags| *flags as u32 & 0xff);
    let dims = cursor.numbers()?;
    let count = dims.iter().try_fold(1usize, |count, &dim| {
        let dim = if dim >= 0.0 { dim as usize } else { return None };
        count.checked_mul(dim).filter(|&count| count <= MAX_ELEMENTS)
    });
    let count = count.ok_or(MatError::TooLarge { what: "elements of an array", limit: MAX_ELEMENTS })?;
    let name = cursor.text()?;
    let value = match class {
        1 => {
            let cells = (0..count).map(|_| Ok(matrix(cursor.matrix()?, depth)?.1));
            MatValue::Cells(cells.collect::<Result<_, MatError>>()?)
        }
        2 => {
            let length = cursor.numbers()?.first().map_or(0, |&length| length.max(0.0) as usize);
            let (_, names) = cursor.element()?;
            if length == 0 {
                return Err(MatError::Damaged { at: cursor.at, what: "names of fields without length" });
            }
            let names: Vec<String> = names.chunks_exact(length).map(until_zero).collect();
            let mut rows = Vec::new();
            for _ in 0..count {
                let mut row = BTreeMap::new();
                for name in &names {
                    row.insert(name.clone(), matrix(cursor.matrix()?, depth)?.1);
                }
                rows.push(row);
            }
            MatValue::Structs(rows)
        }
        4 => MatValue::Text(cursor.text()?),
        6..=15 => {
            let values = cursor.numbers()?;
            if values.len() < count {
                return Err(MatError::Damaged { at: cursor.at, what: "fewer numbers than the array's size" });
            }
            MatValue::Numbers(values)
        }
        _ => MatValue::Other,
    };
    Ok((name, value))
}

fn until_zero(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Kind and data of the next element.
    fn element(&mut self) -> Result<(u32, &'a [u8]), MatError> {
        let damaged = |at, what| MatError::Damaged { at, what };
        let word = |at: usize| -> Result<u32, MatError> {
            let word = at.checked_add(4).and_then(|end| self.bytes.get(at..end));
            let word = word.and_then(|word| word.try_into().ok());
            Ok(u32::from_le_bytes(word.ok_or_else(|| damaged(at, "the tag of an element is cut"))?))
        };
        let first = word(self.at)?;
        // Short elements hold their size in the upper half of the first word, and up to four bytes in place of the second.
        let (kind, start, length, end) = match first >> 16 {
            0 => {
                let (start, length) = (self.at + 8, word(self.at + 4)? as usize);
                let padded = if first == COMPRESSED { length } else { length.next_multiple_of(8) };
                (first, start, length, start.saturating_add(padded))
            }
            length if length <= 4 => (first & 0xffff, self.at + 4, length as usize, self.at + 8),
            _ => return Err(damaged(self.at, "a short element of more than four bytes")),
        };
        let data = start.checked_add(length).and_then(|stop| self.bytes.get(start..stop));
        let data = data.ok_or_else(|| damaged(self.at, "an element is longer than the file"))?;
        self.at = end.min(self.bytes.len());
        Ok((kind, data))
    }

    fn matrix(&mut self) -> Result<&'a [u8], MatError> {
        match self.element()? {
            (MATRIX, data) => Ok(data),
            _ => Err(MatError::Damaged { at: self.at, what: "something stands where an array should" }),
        }
    }

    fn numbers(&mut self) -> Result<Vec<f64>, MatError> {
        let (kind, data) = self.element()?;
        fn each<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
            data.chunks_exact(N).map(|bytes| read(bytes.try_into().expect("chunks of this length"))).collect()
        }
        Ok(match kind {
            1 => each(data, |b: [u8; 1]| f64::from(i8::from_le_bytes(b))),
            2 => each(data, |b: [u8; 1]| f64::from(b[0])),
            3 => each(data, |b| f64::from(i16::from_le_bytes(b))),
            4 => each(data, |b| f64::from(u16::from_le_bytes(b))),
            5 => each(data, |b| f64::from(i32::from_le_bytes(b))),
            6 => each(data, |b| f64::from(u32::from_le_bytes(b))),
            7 => each(data, |b| f64::from(f32::from_le_bytes(b))),
            9 => each(data, f64::from_le_bytes),
            12 => each(data, |b| i64::from_le_bytes(b) as f64),
            13 => each(data, |b| u64::from_le_bytes(b) as f64),
            _ => return Err(MatError::Damaged { at: self.at, what: "an unknown kind of numbers" }),
        })
    }

    fn text(&mut self) -> Result<String, MatError> {
        let (kind, data) = self.element()?;
        Ok(match kind {
            4 | 17 => {
                let units: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
                String::from_utf16_lossy(&units)
            }
            _ => String::from_utf8_lossy(data).into_owned(),
        })
    }
}
