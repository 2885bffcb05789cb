//! placeholder until merge
/// A part of the generated world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// For choosing.
    Val,
    /// For the last word.
    Test,
}
