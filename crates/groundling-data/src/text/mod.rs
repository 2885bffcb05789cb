//! Phrases as word pieces, and the noun phrases in them.

pub mod erase;
pub mod nouns;
pub mod wordpiece;
