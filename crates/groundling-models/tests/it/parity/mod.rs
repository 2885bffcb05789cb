//! Golden fixtures, one module for each folder.

mod scalablevit;
mod scanformer;
