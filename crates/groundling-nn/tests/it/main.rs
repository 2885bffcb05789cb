//! Blocks against the golden fixtures; checkpoints of every kind, sound and hostile.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod hostile;
mod parity;
mod support;
