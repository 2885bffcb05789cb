//! The systems against the reference, and what must hold for every one of them.
#![allow(clippy::unwrap_used)]

mod attbalance;
mod contract;
mod parity;
mod scanformer;
mod support;
