//! Integration tests of groundling-core.
#![allow(clippy::unwrap_used)]

mod parity;
mod properties;
