//! From image files to network inputs.
//!
//! [`decode`] is the door for untrusted bytes; [`resize`] is Pillow to the bit; [`preprocess`] makes the arrays a model
//! reads and the [`Placement`](groundling_core::Placement) that leads back; [`augment`] changes a picture, its boxes,
//! masks and phrase together.

pub mod augment;
pub mod classify;
pub mod decode;
pub mod preprocess;
pub mod resize;
