//! Fused kernels for the CPU with handwritten gradients, as extensions of burn's backends.
//!
//! Every operation here is a plain function on [`Tensor`](burn::tensor::Tensor)s. On burn's CPU backend (`Flex`) it runs on raw slices with AVX-512, AVX2 or
//! portable code, chosen when the program runs; on every other backend it runs as a composition of ordinary tensor operations, which
//! is also what the tests compare the kernels with. Gradients are written by hand.
//!
//! | function | what | gradient for |
//! |---|---|---|
//! | [`gelu`] | exact GELU | input |
//! | [`linear`], [`PackedLinear`] | product, bias and activation | input, weight, bias |
//! | [`conv2d`] | convolution, scale and shift, residual, ReLU | input, weight, shift, residual |
//! | [`attention`] | softmax attention with additive biases | queries, keys, values, pair and key bias |
//! | [`attention_map`], [`attention_with_map`] | logits or weights of attention, averaged over heads | queries, keys, pair and key bias |
//! | [`ms_deform_attn`] | multi-scale deformable attention | value, locations, weights |
//!
//! Kernels take `f32`. Other float types (`f16`, `bf16`, `f64`) take the composed path, on the CPU too.
//!
//! Dimension key: `B` batch, `G` heads, `N` queries, `L` keys, `E` width of a head, `C` channels, `H` height, `W` width.

// Vector instructions and raw slices are what this crate is for; no other crate of the workspace has unsafe code.
#![allow(unsafe_code)]

mod activation;
mod attention;
mod conv;
mod deform;
#[cfg(feature = "flex")]
mod flex;
mod isa;
mod linear;
mod maybe;
#[cfg(feature = "flex")]
mod shared;
#[cfg(feature = "flex")]
mod simd;

pub use activation::{ActivationOps, gelu};
pub use attention::{
    AttentionBias, AttentionGrads, AttentionOps, AttentionTerms, BiasGrads, MapKind, attention, attention_map,
    attention_with_map,
};
pub use conv::{ConvEpilogue, ConvOps, ConvOptions, conv2d};
pub use deform::{DeformOps, ms_deform_attn};
pub use isa::Isa;
pub use linear::{Activation, LinearOps, PackedLinear, linear};
pub use maybe::MaybeTensor;
