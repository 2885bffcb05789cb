//! The systems of Groundling, and what they have in common.
//!
//! | module | what |
//! |---|---|
//! | [`contract`] | what every system takes and gives |
//! | [`catalog`] | every model that can be named |
//! | [`focus_detr`] | finds objects of known classes, spending attention on foreground |
//! | [`scalablevit`] | names what a picture shows, and is a backbone of others |
//! | [`backbone`] | what makes maps of a picture in several of them |
//! | [`scanformer`] | reads a picture from coarse to fine |
//! | [`dmmi`] | masks for nothing, one or many |
//! | [`transvg`] | one encoder over phrase and picture, and a token that answers |
//! | [`vltvg`] | verifies picture against phrase, then asks in six stages |
//! | [`qrnet`] | a picture encoder that the phrase steers |
//! | [`attbalance`] | losses on where the answering token of the last three looks |
//! | [`bases`] | what the last three share |
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use groundling_core::ContentRect;
//! use groundling_models::contract::{GroundOptions, System};
//! use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
//!
//! let device = Device::flex();
//! let model = ScanFormer::new(&ScanFormerConfig::tiny(), &device)?; // random weights
//! let phrase = model.read_phrase(&[101, 1996, 2187, 2452, 102]); // serves any number of pictures
//! let canvas = Tensor::zeros([1, 3, 64, 64], &device);
//! let view = model.read_canvas(canvas, ContentRect { top: 0, left: 0, height: 48, width: 64 });
//! let options = GroundOptions { budget_flops: Some(15_000_000), ..GroundOptions::default() };
//! let grounded = model.ground(&phrase, &view, &options)?;
//! assert!(grounded.flops <= 15_000_000 && grounded.levels.len() == 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Dimension key: `B` batch, `H` height, `W` width, `L` phrase tokens, `D` model width, `G` heads, `E` = D / G, `F` feed-forward width,
//! `N` patches of a level or predictions.

pub mod attbalance;
pub mod backbone;
pub mod bases;
pub mod catalog;
pub mod contract;
pub mod dense;
pub mod dmmi;
pub mod focus_detr;
mod places;
pub mod qrnet;
pub mod scalablevit;
pub mod scanformer;
pub mod transvg;
pub mod vltvg;
