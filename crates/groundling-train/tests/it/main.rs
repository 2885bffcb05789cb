//! Integration tests of groundling-train.
#![allow(clippy::unwrap_used)]

mod attention;
mod batches;
mod classes;
mod objects;
mod optimizer;
mod recipe;
mod run;
mod state;
mod support;
mod toy;
