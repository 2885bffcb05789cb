//! The library from outside: sessions, limits, folders of weights.
#![allow(clippy::unwrap_used)]

mod attention;
mod bundles;
mod classifier;
mod convert;
mod detector;
mod dmmi;
mod fake;
mod grounding;
mod scanformer;
