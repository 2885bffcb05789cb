//! Blocks against the golden fixtures; checkpoints of every kind, sound and hostile.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod containers;
mod hostile;
mod parity;
mod pickles;
mod support;
