//! Kernels against the composed operations, forward and gradient.
#![allow(clippy::unwrap_used)]

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod deform;
mod linear;
mod logistic;
mod norm;
mod parity;
mod pool;
mod softmax;
mod support;
