//! What makes the map of the picture.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_nn::layers::PrepareInference;
use groundling_nn::resnet::{ResNet, ResNetConfig};
use groundling_nn::swin::{Swin, SwinConfig};
use serde::{Deserialize, Serialize};

use super::Look;
use super::sizes::{check_resnet, check_swin};
use crate::contract::ConfigError;

/// What makes the map of the picture, in TransVG and VLTVG.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BackboneConfig {
    /// The last map of a ResNet: published models.
    ResNet(ResNetConfig),
    /// The map of stride 16 of a Swin, through its norm: what follows is not computed, but is in the files.
    Swin(SwinConfig),
}

/// The stage of a Swin that is read.
const SWIN_STAGE: usize = 2;

impl BackboneConfig {
    /// Channels of the map.
    pub fn channels(&self) -> usize {
        match self {
            Self::ResNet(config) => config.channels()[3],
            Self::Swin(config) => config.channels()[SWIN_STAGE],
        }
    }

    /// Pixels a side of a cell of the map.
    pub fn stride(&self) -> usize {
        match self {
            Self::ResNet(config) => 32 >> usize::from(config.dilate_last),
            Self::Swin(config) => config.patch << SWIN_STAGE,
        }
    }

    /// Multiply-adds for a square picture of this side.
    pub(crate) fn macs(&self, side: usize) -> u64 {
        match self {
            Self::ResNet(config) => config.macs([side; 2]),
            Self::Swin(config) => config.macs_to(SWIN_STAGE, [side; 2]),
        }
    }

    /// # Errors
    /// If a backbone of these sizes cannot be, or pictures of this side are no whole number of cells.
    pub(crate) fn check(&self, image_size: usize) -> Result<(), ConfigError> {
        match self {
            Self::ResNet(config) => check_resnet(config)?,
            Self::Swin(config) => check_swin(config)?,
        }
        let stride = self.stride();
        if !image_size.is_multiple_of(stride) {
            let expected = format!("a multiple of {stride}, the stride of the backbone");
            return Err(ConfigError { field: "image_size", found: image_size.to_string(), expected });
        }
        Ok(())
    }

    /// The module with random weights.
    pub(crate) fn init(&self, device: &Device) -> Backbone {
        match self {
            Self::ResNet(config) => Backbone::ResNet(config.init(device)),
            Self::Swin(config) => Backbone::Swin(config.init(device)),
        }
    }
}

/// A picture in, one map out.
// There is one, and burn's modules cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Backbone {
    /// With norms of fixed statistics.
    ResNet(ResNet),
    /// Of any size.
    Swin(Swin),
}

impl Backbone {
    /// # Shapes
    /// - `image` `[B, 3, H, W]`, normalised; returns `[B, C, H / stride, W / stride]`
    pub(crate) fn forward<O: Look>(&self, image: Tensor<4>, look: &mut O) -> Tensor<4> {
        match self {
            Self::ResNet(net) => {
                let maps = net.forward(image);
                for (index, map) in [&maps.c2, &maps.c3, &maps.c4, &maps.c5].into_iter().enumerate() {
                    look.see("resnet.layer{}", index + 1, || map.clone());
                }
                maps.c5
            }
            Self::Swin(net) => net.map(SWIN_STAGE, image),
        }
    }
}

impl PrepareInference for Backbone {
    fn prepare_inference(&mut self) {
        match self {
            Self::ResNet(net) => net.prepare_inference(),
            Self::Swin(net) => net.prepare_inference(),
        }
    }
}
