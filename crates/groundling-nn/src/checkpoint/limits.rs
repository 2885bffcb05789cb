//! How much a file may ask for.

/// Upper bounds for an untrusted checkpoint; a file above one is refused before memory is taken.
///
/// The defaults let every published model of this field through and stop a small file from filling the memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one tensor. Default 2 GiB.
    pub max_tensor_bytes: u64,
    /// Bytes of all tensors of the chosen set of weights. Default 16 GiB.
    pub max_total_bytes: u64,
    /// Number of tensors in the file. Default 100 000.
    pub max_tensors: usize,
    /// Bytes of the header of a safetensors file, or of the pickles of a PyTorch file after decompression. Default 8 MiB: 500
    /// tensors take about 60 KiB. A pickle may take up to about 100 times this in memory while it is read.
    pub max_header_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_tensor_bytes: 2 << 30, max_total_bytes: 16 << 30, max_tensors: 100_000, max_header_bytes: 8 << 20 }
    }
}
