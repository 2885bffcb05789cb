//! Integration tests of groundling-data.
#![allow(clippy::unwrap_used)]

mod classify;
mod examples;
mod hostile;
mod labelled;
mod layouts;
mod parity;
mod round_trip;
mod scenes;
mod scenes_phrases;
mod write;
