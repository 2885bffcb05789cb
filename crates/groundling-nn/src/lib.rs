//! Blocks of the models: attention, encoders, backbones, losses, matcher and checkpoint import.

pub mod checkpoint;
