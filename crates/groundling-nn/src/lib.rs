//! Blocks of the models: attention, encoders, backbones, losses, matcher and checkpoint import.
//!
//! Dimension key: `B` batch, `C` channels, `H` height, `W` width, `L` phrase tokens or keys, `N` queries, `D` model width, `G` heads,
//! `E` = D / G, `F` feed-forward width.

pub mod attention;
pub mod bert;
pub mod checkpoint;
pub mod frozen_batch_norm;
pub mod fuzzing;
pub mod layers;
pub mod mlp;
pub mod resnet;
pub mod swin;

pub mod ema;
pub mod losses;
pub mod matcher;
pub mod position;
pub mod transformer;
