//! What the fuzz target of `fuzz/` does with its bytes; the ordinary tests replay the checked-in corpus through the same function.

use crate::checkpoint::{Checkpoint, CheckpointError, Limits, Weights};

/// The door for weights: as a file, by every choice of weights, with limits small enough for many runs a second.
///
/// # Panics
/// If the temporary folder cannot be written, or a reader panics, even where the library turns that into an error.
pub fn checkpoint(bytes: &[u8]) {
    let thread = std::thread::current().id();
    let path = std::env::temp_dir().join(format!("groundling-fuzz-checkpoint-{}-{thread:?}", std::process::id()));
    std::fs::write(&path, bytes).expect("the temporary folder is writable");
    let limits =
        Limits { max_tensor_bytes: 1 << 20, max_total_bytes: 4 << 20, max_tensors: 1000, max_header_bytes: 1 << 16 };
    for weights in [Weights::Auto, Weights::Ema, Weights::Everything, Weights::Named("model".into())] {
        match Checkpoint::open_weights(&path, &weights, &limits) {
            Ok(checkpoint) => read(&checkpoint, &limits),
            Err(error) => said(&error),
        }
    }
    let _ = std::fs::remove_file(&path);
}

/// Every tensor: its numbers, or why not.
fn read(checkpoint: &Checkpoint, limits: &Limits) {
    assert!(!checkpoint.tensors().is_empty() && checkpoint.tensors().len() <= limits.max_tensors);
    for tensor in checkpoint.tensors().values() {
        if let Ok(values) = tensor.read_f32() {
            assert_eq!(values.len(), tensor.shape().iter().product::<usize>());
            assert!(tensor.byte_len().is_some_and(|bytes| bytes <= limits.max_tensor_bytes));
        }
    }
}

/// An error says what it is about in a text of bounded length.
fn said(error: &CheckpointError) {
    let text = error.to_string();
    assert!(!text.contains("a reader that failed"), "{text}");
    let _ = error.hint();
}
