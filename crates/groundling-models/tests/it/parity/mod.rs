//! Golden fixtures, one module for each folder.

mod dmmi;
mod focus_detr;
mod scalablevit;
mod scanformer;
