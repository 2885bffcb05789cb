//! Runs of the program as a user types them.
#![allow(clippy::unwrap_used)]

mod classify;
mod formats;
mod model;
mod program;
mod train;
