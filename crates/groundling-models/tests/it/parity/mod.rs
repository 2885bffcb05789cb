//! Golden fixtures, one module for each folder.

mod dmmi;
mod scalablevit;
mod scanformer;
