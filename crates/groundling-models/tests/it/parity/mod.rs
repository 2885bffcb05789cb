//! Golden fixtures, one module for each folder.

mod focus_detr;
mod scalablevit;
mod scanformer;
