//! The systems against the reference, and what must hold for every one of them.
#![allow(clippy::unwrap_used)]

mod attbalance;
mod backbones;
mod contract;
mod dense;
mod dmmi;
mod focus_detr;
mod parity;
mod scalablevit;
mod scanformer;
mod support;
