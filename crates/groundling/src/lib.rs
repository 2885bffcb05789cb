//! Finds what words refer to in a picture.
//!
//! # Map
//!
//! | item | what |
//! |---|---|
//! | [`Grounder`] | a model that is ready: opens pictures, keeps phrases |
//! | [`Session`] | a picture that was read: answers phrases |
//! | [`Options`], [`Answer`], [`Explain`] | how to answer, what it took, what was looked at |
//! | [`Bundle`] | a folder of weights: opened, verified, written |
//! | [`DeviceChoice`] | where a model runs: the one place that chooses |
//! | [`input`] | pictures in all their forms, and how models want them |
//! | [`hash`] | names by content |

mod builtin;
pub mod bundle;
mod cache;
pub mod device;
mod engine;
mod error;
mod explain;
mod grounder;
pub mod hash;
pub mod input;
pub mod systems;

pub use bundle::{Bundle, BundleError, BundleLimits, Description};
pub use device::{DeviceChoice, DeviceError};
pub use error::GroundError;
pub use explain::{Explain, Level};
pub use grounder::{Answer, Grounder, Options, Question, Session, Settings};
pub use input::Picture;
