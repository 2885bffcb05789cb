//! Integration tests of groundling-data.
#![allow(clippy::unwrap_used)]

mod scenes;
