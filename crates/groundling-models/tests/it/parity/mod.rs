//! Golden fixtures, one module for each folder.

mod attbalance;
mod authors;
mod bases;
mod dmmi;
mod focus_detr;
mod qrnet;
mod scalablevit;
mod scanformer;
mod transvg;
mod vltvg;
