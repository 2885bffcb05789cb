//! Runs of the program as a user types them.
#![allow(clippy::unwrap_used)]

mod detect;
mod formats;
mod model;
mod program;
mod train;
