//! Runs of the program as a user types them.
#![allow(clippy::unwrap_used)]

mod analyze;
mod classify;
mod detect;
mod formats;
mod masks;
mod model;
mod program;
mod train;
