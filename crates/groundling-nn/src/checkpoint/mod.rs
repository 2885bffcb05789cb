//! Weights from files: safetensors and everything `torch.save` has written since 0.1.10.
//!
//! Three steps, and nothing is touched before the third:
//!
//! 1. [`Checkpoint::open`] tells the format by content, checks the file within [`Limits`], and finds the weights inside it
//!    (`model`, `state_dict`, ...).
//! 2. [`plan`] matches names by a key table of [`Rule`]s and checks every shape. Its [`Report`] says what goes where, what is
//!    missing, and which unused name looks like it: a dry run.
//! 3. [`load_into`] does it, if nothing is missing and nothing unused.
//!
//! ```
//! use burn::nn::LinearConfig;
//! use burn::tensor::Device;
//! use groundling_nn::checkpoint::{Checkpoint, Rule, StoredTensor, ignore, load_into, rename};
//!
//! const KEYS: &[Rule] = &[
//!     rename(r"^fc\.", ""),
//!     ignore(r"\.num_batches_tracked$", "a counter that inference never reads"),
//! ];
//! let checkpoint = Checkpoint::from_tensors([
//!     ("fc.weight".to_owned(), StoredTensor::from_values([3, 2], vec![1.0; 6])),
//!     ("fc.bias".to_owned(), StoredTensor::from_values([3], vec![0.5; 3])),
//!     ("bn.num_batches_tracked".to_owned(), StoredTensor::from_values([], vec![7.0])),
//! ]);
//! let (layer, report) = load_into(LinearConfig::new(2, 3).init(&Device::flex()), &checkpoint, KEYS)?;
//! assert_eq!((report.loaded, report.ignored.len()), (2, 1));
//! # let _ = layer;
//! # Ok::<(), groundling_nn::checkpoint::CheckpointError>(())
//! ```
//!
//! No file makes this module panic, run code, or take memory beyond the limits; what it cannot use becomes a
//! [`CheckpointError`] with the place, what was expected and what was found.

mod error;
mod file;
mod limits;
mod module;
mod names;
mod pickle;
mod pieces;
mod plan;
mod report;
mod rules;
mod safetensors;
mod save;
mod tensor;

pub use error::CheckpointError;
pub use file::{Checkpoint, Format, Weights};
pub use limits::Limits;
pub use module::{ParameterInfo, gradients, initialise, parameters};
pub use pieces::Piece;
pub use plan::{Plan, destinations, load_into, plan};
pub use report::{Report, WrongShape};
pub use rules::{Adaptation, Apply, RESHAPE, Rule, absent, adapt, distribute, ignore, may_lack, rename, split, within};
pub use save::{Precision, save};
pub use tensor::{ElementType, StoredTensor};

/// Runs a reader that others wrote, turning a panic into its message.
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).map_err(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        format!("a reader that failed: {}", text.unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_of_a_reader_becomes_its_message() {
        let found = super::guarded(|| -> u8 { panic!("index out of bounds") }).unwrap_err();
        assert_eq!(found, "a reader that failed: index out of bounds");
        assert_eq!(super::guarded(|| 7), Ok(7));
    }
}
