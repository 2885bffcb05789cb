//! Blocks against their definitions and against the golden fixtures; checkpoints of every kind, sound and hostile.
#![allow(clippy::unwrap_used)]

mod backbones;
mod checkpoint;
mod containers;
mod ema;
mod hostile;
mod losses;
mod matcher;
mod numbers;
mod parity;
mod position;
mod prepared;
mod support;
mod transformer;
