//! Blocks of the models: attention, encoders, backbones, losses, matcher and checkpoint import.

pub mod checkpoint;

pub mod ema;
pub mod losses;
pub mod matcher;
pub mod position;
