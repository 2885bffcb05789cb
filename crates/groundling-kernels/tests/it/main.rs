//! Kernels against the composed operations, forward and gradient.
#![allow(clippy::unwrap_used)]

mod activation;
mod conv;
mod linear;
mod norm;
mod softmax;
mod support;
