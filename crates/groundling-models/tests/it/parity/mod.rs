//! Golden fixtures, one module for each folder.

mod scanformer;
