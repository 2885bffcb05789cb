//! Our code against outside implementations that would make the crates themselves slow to build.
#![allow(clippy::unwrap_used)]

mod tokenizer_oracle;
