//! One tensor of a checkpoint, its values still in the file.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use burn_store::pytorch_reader;

/// Type of the stored numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // the names say it
pub enum ElementType {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    /// Eight bits or fewer a number with a meaning of its own: listed, never read.
    Packed,
}

impl ElementType {
    /// Bytes of one number; `None` for [`ElementType::Packed`].
    pub fn size(self) -> Option<usize> {
        Some(match self {
            Self::F64 | Self::I64 | Self::U64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Packed => return None,
        })
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U64 => "u64",
            Self::U32 => "u32",
            Self::U16 => "u16",
            Self::U8 => "u8",
            Self::Bool => "bool",
            Self::Packed => "packed",
        })
    }
}

/// A tensor of a checkpoint. Values are read when asked for, and again each time.
#[derive(Clone)]
pub struct StoredTensor {
    element: ElementType,
    shape: Vec<usize>,
    source: Source,
}

/// Where the numbers of a safetensors file are read from: a file, or bytes that are part of a program.
pub(crate) trait Input: Read + Seek + Send {}

impl<T: Read + Seek + Send> Input for T {}

#[derive(Clone)]
enum Source {
    File { file: Arc<Mutex<dyn Input>>, offset: u64, bytes: usize },
    Torch(pytorch_reader::Tensor),
    Made(Arc<dyn Fn() -> Vec<f32> + Send + Sync>),
}

impl StoredTensor {
    /// A tensor whose values a function makes when they are wanted.
    ///
    /// The function must give as many numbers as `shape` says; otherwise reading is an error.
    pub fn from_fn(shape: impl Into<Vec<usize>>, make: impl Fn() -> Vec<f32> + Send + Sync + 'static) -> Self {
        Self { element: ElementType::F32, shape: shape.into(), source: Source::Made(Arc::new(make)) }
    }

    /// A tensor in memory.
    pub fn from_values(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self::from_fn(shape, move || values.clone())
    }

    pub(crate) fn in_file(
        element: ElementType,
        shape: Vec<usize>,
        file: Arc<Mutex<dyn Input>>,
        offset: u64,
        bytes: usize,
    ) -> Self {
        Self { element, shape, source: Source::File { file, offset, bytes } }
    }

    pub(crate) fn in_pickle(tensor: pytorch_reader::Tensor) -> Self {
        use pytorch_reader::DType;
        let element = match tensor.dtype() {
            DType::F64 => ElementType::F64,
            DType::F32 => ElementType::F32,
            DType::F16 => ElementType::F16,
            DType::BF16 => ElementType::Bf16,
            DType::I64 => ElementType::I64,
            DType::I32 => ElementType::I32,
            DType::I16 => ElementType::I16,
            DType::I8 => ElementType::I8,
            DType::U64 => ElementType::U64,
            DType::U32 => ElementType::U32,
            DType::U16 => ElementType::U16,
            DType::U8 => ElementType::U8,
            DType::Bool => ElementType::Bool,
        };
        Self { element, shape: tensor.shape().to_vec(), source: Source::Torch(tensor) }
    }

    /// Type of the stored numbers.
    pub fn element_type(&self) -> ElementType {
        self.element
    }

    /// Sizes of the axes as the file has them; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes of all numbers; `None` if that is more than a number can say or the type has no whole bytes.
    pub fn byte_len(&self) -> Option<u64> {
        let size = self.element.size()? as u64;
        self.shape.iter().try_fold(size, |bytes, &n| bytes.checked_mul(n as u64))
    }

    /// The numbers as they are stored: row-major, little-endian.
    fn read_bytes(&self) -> io::Result<Vec<u8>> {
        match &self.source {
            Source::File { file, offset, bytes } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(*offset))?;
                let mut data = vec![0; *bytes];
                file.read_exact(&mut data)?;
                Ok(data)
            }
            // It hands numbers over in the machine's own byte order.
            Source::Torch(tensor) => {
                let mut data = super::guarded(|| tensor.read()).map_err(io::Error::other)??;
                if cfg!(target_endian = "big") {
                    let size = self.element.size().unwrap_or(1);
                    data.chunks_exact_mut(size).for_each(<[u8]>::reverse);
                }
                Ok(data)
            }
            Source::Made(make) => Ok(make().into_iter().flat_map(f32::to_le_bytes).collect()),
        }
    }

    /// The numbers as `f32`, row-major. `f64` is rounded; whole numbers above 2^24 too.
    pub fn read_f32(&self) -> io::Result<Vec<f32>> {
        let values = match (&self.source, self.element) {
            (Source::Made(make), _) => make(),
            (_, ElementType::Packed) => return Err(io::Error::other("its element type is not one that can be read")),
            (_, element) => to_f32(element, &self.read_bytes()?),
        };
        let expected = self.shape.iter().product::<usize>();
        if values.len() != expected {
            return Err(io::Error::other(format!("expected {expected} numbers, found {}", values.len())));
        }
        Ok(values)
    }
}

impl fmt::Debug for StoredTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredTensor({} {:?})", self.element, self.shape)
    }
}

fn to_f32(element: ElementType, data: &[u8]) -> Vec<f32> {
    fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        let (chunks, _) = data.as_chunks::<N>();
        chunks.iter().map(|&chunk| number(chunk)).collect()
    }
    match element {
        ElementType::F32 => each(data, f32::from_le_bytes),
        ElementType::F64 => each(data, |b| f64::from_le_bytes(b) as f32),
        ElementType::F16 => each(data, |b| half_to_f32(u16::from_le_bytes(b))),
        ElementType::Bf16 => each(data, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        ElementType::I64 => each(data, |b| i64::from_le_bytes(b) as f32),
        ElementType::I32 => each(data, |b| i32::from_le_bytes(b) as f32),
        ElementType::I16 => each(data, |b| f32::from(i16::from_le_bytes(b))),
        ElementType::I8 => each(data, |b| f32::from(i8::from_le_bytes(b))),
        ElementType::U64 => each(data, |b| u64::from_le_bytes(b) as f32),
        ElementType::U32 => each(data, |b| u32::from_le_bytes(b) as f32),
        ElementType::U16 => each(data, |b| f32::from(u16::from_le_bytes(b))),
        ElementType::U8 | ElementType::Bool | ElementType::Packed => data.iter().map(|&b| f32::from(b)).collect(),
    }
}

/// IEEE 754 binary16 to `f32`, exact.
pub(crate) fn half_to_f32(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 31;
    let fraction = u32::from(bits) & 0x3ff;
    match exponent {
        // Zero, or a multiple of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 * f32::from_bits(0x3380_0000)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | fraction << 13),
    }
}

/// `f32` to IEEE 754 binary16, to nearest, ties to even; what is too large becomes infinite.
pub(crate) fn f32_to_half(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude >= 0x7f80_0000 {
        let payload = if magnitude > 0x7f80_0000 { 0x200 } else { 0 };
        return sign | 0x7c00 | payload;
    }
    // Below 2^-14 numbers are multiples of 2^-24; adding 1.5 * 2^23 * 2^-24 rounds to one of them.
    if magnitude < 0x3880_0000 {
        let steps = (f32::from_bits(magnitude) * 16_777_216.0).round_ties_even();
        return sign | steps as u16;
    }
    let odd = (magnitude >> 13) & 1;
    let rounded = (magnitude + 0xfff + odd) >> 13;
    let half = rounded - (112 << 10);
    if half >= 0x7c00 { sign | 0x7c00 } else { sign | half as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_both_ways() {
        for bits in 0..=u16::MAX {
            let value = half_to_f32(bits);
            if value.is_nan() {
                assert!(half_to_f32(f32_to_half(value)).is_nan());
            } else {
                assert_eq!(f32_to_half(value), bits, "{value}");
            }
        }
        for (value, half) in [(65504.0, 0x7bff), (65520.0, 0x7c00), (65519.9, 0x7bff), (1.0, 0x3c00), (6e-8, 0x0001)] {
            assert_eq!(f32_to_half(value), half, "{value}");
        }
        // Half a step: to the even neighbour.
        assert_eq!(f32_to_half(1.0 + 1.0 / 2048.0), 0x3c00);
        assert_eq!(f32_to_half(1.0 + 3.0 / 2048.0), 0x3c02);
    }

    #[test]
    fn every_type_becomes_f32() {
        assert_eq!(to_f32(ElementType::F64, &1.5f64.to_le_bytes()), [1.5]);
        assert_eq!(to_f32(ElementType::I64, &(-3i64).to_le_bytes()), [-3.0]);
        assert_eq!(to_f32(ElementType::Bf16, &0xbfc0u16.to_le_bytes()), [-1.5]);
        assert_eq!(to_f32(ElementType::F16, &0xbe00u16.to_le_bytes()), [-1.5]);
        assert_eq!(to_f32(ElementType::Bool, &[0, 1]), [0.0, 1.0]);
    }

    #[test]
    fn a_wrong_number_of_values_is_an_error() {
        assert!(StoredTensor::from_values([2, 2], vec![1.0; 3]).read_f32().is_err());
        assert_eq!(StoredTensor::from_values([2], vec![1.0; 2]).read_f32().unwrap(), [1.0; 2]);
    }
}
