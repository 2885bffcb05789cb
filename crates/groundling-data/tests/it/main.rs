//! Integration tests of groundling-data.
#![allow(clippy::unwrap_used)]

mod scenes;
mod scenes_phrases;
mod write;
