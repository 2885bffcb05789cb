//! Blocks against their definitions and against the golden fixtures.
#![allow(clippy::unwrap_used)]

mod ema;
mod losses;
mod matcher;
mod parity;
mod position;
mod support;
