//! Integration tests of groundling-data.
#![allow(clippy::unwrap_used)]

mod hostile;
mod parity;
mod tokenizer_oracle;
