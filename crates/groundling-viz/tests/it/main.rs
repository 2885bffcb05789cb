//! Integration tests of groundling-viz.
#![allow(clippy::unwrap_used)]

mod charts;
mod files;
mod hostile;
mod pictures;
