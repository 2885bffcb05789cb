//! Blocks against their definitions and the golden fixtures; checkpoints of every kind, sound and hostile.
#![allow(clippy::unwrap_used)]

mod checkpoint;
mod ema;
mod hostile;
mod losses;
mod matcher;
mod numbers;
mod parity;
mod position;
mod support;
mod transformer;
