//! Files to samples to arrays, and a generated world to learn and test with.

pub mod scenes;
pub mod write;
