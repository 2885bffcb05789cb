//! Runs of the program as a user types them.
#![allow(clippy::unwrap_used)]

mod analyze;
mod formats;
mod masks;
mod model;
mod program;
mod train;
