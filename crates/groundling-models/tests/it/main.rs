//! The systems against the reference, and what must hold for every one of them.
#![allow(clippy::unwrap_used)]

mod contract;
mod dmmi;
mod parity;
mod scanformer;
mod support;
