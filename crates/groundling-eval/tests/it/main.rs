//! Integration tests of groundling-eval.
#![allow(clippy::unwrap_used)]

mod coco;
mod hostile;
mod made;
mod parity;
mod properties;
mod records;
mod report;
