//! Blocks of the models: attention, encoders, backbones, losses, matcher and checkpoint import.
//!
//! | module | what |
//! |---|---|
//! | [`checkpoint`] | weights from safetensors and `.pth` through key tables: nothing missing, nothing unused, or a report that says what |
//! | [`bert`], [`resnet`], [`swin`] | phrase encoder and image backbones, with the key tables of their published weights |
//! | [`attention`], [`transformer`], [`mlp`], [`position`] | what encoders and decoders are made of |
//! | [`layers`], [`norms`], [`frozen_batch_norm`] | linear layers, norms and convolutions on the kernels, with weights rearranged for inference |
//! | [`losses`], [`matcher`], [`ema`] | what training needs |
//! | [`windows`], [`resize`] | maps cut into windows and joined again, and maps of another size |
//! | [`macs`] | how many multiply-accumulates the encoders take |
//! | [`prepared`] | what a module keeps beside its parameters for inference |
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use groundling_nn::layers::PrepareInference;
//! use groundling_nn::resnet::ResNetConfig;
//!
//! let device = Device::flex();
//! let mut backbone = ResNetConfig::tiny().init(&device);
//! backbone.prepare_inference(); // the last step before many forwards: weights are held as the kernels read them
//! let maps = backbone.forward(Tensor::random([1, 3, 75, 101], Distribution::Default, &device));
//! assert_eq!(maps.c5.dims()[2..], [3, 4]); // stride 32, rounded up
//! ```
//!
//! Dimension key: `B` batch, `C` channels, `H` height, `W` width, `L` phrase tokens or keys, `N` queries, `D` model width, `G` heads,
//! `E` = D / G, `F` feed-forward width.

pub mod attention;
pub mod bert;
pub mod checkpoint;
pub mod frozen_batch_norm;
pub mod fuzzing;
pub mod layers;
pub mod macs;
pub mod mlp;
pub mod norms;
pub mod prepared;
pub mod resize;
pub mod resnet;
pub mod swin;
pub mod windows;

pub mod ema;
pub mod losses;
pub mod matcher;
pub mod position;
pub mod transformer;
