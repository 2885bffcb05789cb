//! The library from outside: sessions, limits, folders of weights.
#![allow(clippy::unwrap_used)]

mod bundles;
mod classifier;
mod detector;
mod dmmi;
mod fake;
mod grounding;
mod scanformer;
