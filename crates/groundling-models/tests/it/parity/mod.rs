//! Golden fixtures, one module for each folder.

mod attbalance;
mod bases;
mod qrnet;
mod scanformer;
mod transvg;
mod vltvg;

pub(crate) use bases::trainable;
