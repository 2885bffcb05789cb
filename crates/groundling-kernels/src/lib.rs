//! Fused kernels for the CPU with handwritten gradients, as extensions of burn's backends.
//!
//! Every operation here is a plain function on [`Tensor`](burn::tensor::Tensor)s. On burn's CPU backend (`Flex`) it runs on raw slices with AVX-512, AVX2 or
//! portable code, chosen when the program runs; on every other backend it runs as a composition of ordinary tensor operations, which
//! is also what the tests compare the kernels with. Gradients are written by hand.
//!
//! | function | what | gradient for |
//! |---|---|---|
//! | [`gelu`] | exact GELU | input |
//! | [`tanh`] | hyperbolic tangent | input |
//! | [`linear`], [`PackedLinear`] | product, bias and activation | input, weight, bias |
//! | [`conv2d`], [`PackedConv`] | convolution, scale and shift, residual, ReLU | input, weight, shift, residual |
//! | [`max_pool2d`] | largest value of a window | input |
//! | [`layer_norm`] | layer normalisation | input, gain, shift |
//! | [`add_layer_norm`] | layer normalisation of a sum | both terms, gain, shift |
//! | [`add_then_layer_norm`] | a sum and its layer normalisation | both terms, gain, shift |
//! | [`batch_norm_relu`] | batch normalisation by the statistics of the batch, and ReLU | input, gain, shift |
//! | [`softmax`] | softmax over the last dimension, zeros where everything is masked | input |
//! | [`softmax_columns`] | softmax over the last dimension but one | input |
//! | [`attention`] | softmax attention with additive biases | queries, keys, values, pair and key bias |
//! | [`attention_map`], [`attention_with_map`] | logits or weights of attention, averaged over heads | queries, keys, pair and key bias |
//! | [`logistic_loss`] | binary cross-entropy of logits | logits |
//! | [`ms_deform_attn`] | multi-scale deformable attention | value, locations, weights |
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use groundling_kernels::{Activation, linear};
//!
//! let device = Device::flex().autodiff();
//! let x = Tensor::<3>::random([2, 20, 64], Distribution::Default, &device);
//! let weight = Tensor::<2>::random([64, 128], Distribution::Default, &device).require_grad();
//! let hidden = linear(x, weight.clone(), None, Activation::Gelu); // [2, 20, 128], one pass over memory
//! let grads = hidden.sum().backward();
//! assert_eq!(weight.grad(&grads).map(|grad| grad.dims()), Some([64, 128]));
//! ```
//!
//! Programs that run models should install [`Recycler`] as their allocator: it halves the time of what memory bounds. `bench/peers/run` prints
//! every kernel beside PyTorch's. `GROUNDLING_ISA` (see [`Isa`]) asks for lesser instructions.
//!
//! Kernels take `f32`. Other float types (`f16`, `bf16`, `f64`) take the composed path, on the CPU too.
//!
//! Dimension key: `B` batch, `G` heads, `N` queries, `L` keys, `E` width of a head, `C` channels, `H` height, `W` width.

// Vector instructions and raw slices are what this crate is for; no other crate of the workspace has unsafe code.
#![allow(unsafe_code)]
// Without a backend the dispatch that the macro writes has no arms, and its arguments no use.
#![cfg_attr(not(any(feature = "flex", feature = "cube")), allow(unused_variables))]

mod activation;
mod attention;
mod batch_norm;
mod conv;
mod deform;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "flex")]
mod gemm;
mod isa;
mod linear;
mod logistic;
mod maybe;
mod norm;
mod pool;
mod recycler;
#[cfg(feature = "flex")]
mod shared;
#[cfg(feature = "flex")]
mod simd;
mod softmax;
mod unary;

pub use activation::{ActivationOps, gelu, tanh};
pub use attention::{
    AttentionBias, AttentionGrads, AttentionOps, AttentionTerms, BiasGrads, MapKind, attention, attention_map,
    attention_with_map,
};
pub use batch_norm::{BatchNormOps, BatchNormed, batch_norm_relu};
pub use conv::{ConvEpilogue, ConvOps, ConvOptions, PackedConv, conv2d};
pub use deform::{DeformOps, ms_deform_attn};
pub use isa::Isa;
pub use linear::{Activation, LinearOps, PackedLinear, linear};
pub use logistic::{LogisticOps, logistic_loss};
pub use maybe::MaybeTensor;
pub use norm::{NormOps, add_layer_norm, add_then_layer_norm, layer_norm};
pub use pool::{PoolOps, PoolOptions, max_pool2d};
pub use recycler::Recycler;
pub use softmax::{SoftmaxOps, softmax, softmax_columns};
