//! What makes maps of a picture: the backbone that Focus-DETR, TransVG, VLTVG and DMMI have in common.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use groundling_models::backbone::BackboneConfig;
//! use groundling_models::scalablevit::ScalableVitConfig;
//!
//! let config = BackboneConfig::ScalableVit(ScalableVitConfig::tiny().dense());
//! config.check()?;
//! let backbone = config.init(&Device::flex())?;
//! let picture = Tensor::random([1, 3, 75, 101], Distribution::Default, &Device::flex());
//! let [.., last] = backbone.forward(picture)?;
//! assert_eq!(last.dims(), [1, 64, 3, 4]); // stride 32, rounded up
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_nn::checkpoint::{Rule, ignore};
use groundling_nn::layers::PrepareInference;
use groundling_nn::resnet::{BACKBONE_KEYS, BlockKind, ResNet, ResNetConfig};
use groundling_nn::swin::{self, Swin, SwinConfig};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::bases::check_numbers;
use crate::contract::{ConfigError, Layout};
use crate::scalablevit::{CLASSIFIER_TO_DENSE_KEYS, ScalableVit, ScalableVitConfig, TooSmall};

/// What training starts from: the backbone of a Focus-DETR of this program; `rules` say where it goes and what it does not have.
pub(crate) fn focus_detr_layout(rules: &[Rule]) -> Layout {
    const MAPS: &str = "what the detector does with its maps";
    let behind = [
        ignore(r"^(neck|encoder|decoder|selector|proposals)\.", MAPS),
        ignore(r"^(level_embedding|query_content|label_embedding)$", MAPS),
        ignore(r"^(class_heads|box_heads)\.", "heads for object detection"),
    ];
    let about = "a Focus-DETR of this program, for the backbone: what training starts from";
    Layout::new("focus-detr", about, "neck.levels.", &[&behind, rules].concat())
}

/// What makes maps of a picture, and its sizes.
///
/// In files it is a table with one key, `res_net`, `swin` or `scalable_vit`. The table of a ResNet alone is read as well: TransVG and VLTVG
/// wrote it before they could have another backbone.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BackboneConfig {
    /// C2 to C5 of a ResNet with frozen norms, unless they are trained.
    ResNet(ResNetConfig),
    /// The four stages of a Swin, each through its norm.
    Swin(SwinConfig),
    /// The four stages of a ScalableViT without head.
    ScalableVit(ScalableVitConfig),
}

/// What makes maps of a picture.
// There is one, and burn's modules cannot be boxed.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum Backbone {
    /// Of any size.
    ResNet(ResNet),
    /// Of any size.
    Swin(Swin),
    /// Of pictures that no stage reduces to nothing.
    ScalableVit(ScalableVit),
}

impl BackboneConfig {
    /// The module with random weights.
    ///
    /// # Errors
    /// If a ScalableViT contradicts itself.
    ///
    /// # Panics
    /// If a ResNet or a Swin does; [`BackboneConfig::check`] tells.
    pub fn init(&self, device: &Device) -> Result<Backbone, ConfigError> {
        Ok(match self {
            Self::ResNet(config) => Backbone::ResNet(config.init(device)),
            Self::Swin(config) => Backbone::Swin(config.init(device)),
            Self::ScalableVit(config) => Backbone::ScalableVit(config.init(device)?),
        })
    }

    /// Channels of the four maps.
    pub fn channels(&self) -> [usize; 4] {
        match self {
            Self::ResNet(config) => config.channels(),
            Self::Swin(config) => config.channels(),
            Self::ScalableVit(config) => config.channels(),
        }
    }

    /// Pixels a side of a cell of each map.
    pub fn strides(&self) -> [usize; 4] {
        match self {
            Self::ResNet(config) => [4, 8, 16, if config.dilate_last { 16 } else { 32 }],
            Self::Swin(config) => [1, 2, 4, 8].map(|factor| config.patch.saturating_mul(factor)),
            Self::ScalableVit(config) => {
                let mut whole: usize = 1;
                config.strides.map(|stride| {
                    whole = whole.saturating_mul(stride);
                    whole
                })
            }
        }
    }

    /// Cells a side of the map of stage 0 to 3 of a square picture that is whole cells; 0 if there is no such stage or a stride is 0.
    pub fn grid(&self, stage: usize, side: usize) -> usize {
        self.strides().get(stage).and_then(|&stride| side.checked_div(stride)).unwrap_or(0)
    }

    /// Multiply-accumulates for a picture of so many rows and columns.
    pub fn macs(&self, picture: [usize; 2]) -> u64 {
        match self {
            Self::ResNet(config) => config.macs(picture),
            Self::Swin(config) => config.macs(picture),
            Self::ScalableVit(config) => config.macs(picture),
        }
    }

    /// As [`BackboneConfig::macs`], of what [`Backbone::forward_to`] computes.
    pub fn macs_to(&self, last: usize, picture: [usize; 2]) -> u64 {
        match self {
            Self::Swin(config) => config.macs_to(last, picture),
            Self::ResNet(_) | Self::ScalableVit(_) => self.macs(picture),
        }
    }

    /// # Errors
    /// If a picture of so many rows and columns is too small for a stage of a ScalableViT.
    pub fn fits(&self, [height, width]: [usize; 2]) -> Result<(), TooSmall> {
        match self {
            Self::ResNet(_) | Self::Swin(_) => Ok(()),
            Self::ScalableVit(config) => config.fits(height, width),
        }
    }

    /// # Errors
    /// Naming the backbone and its field that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let (kind, checked) = match self {
            Self::ResNet(config) => ("backbone.res_net", check_resnet(config)),
            Self::Swin(config) => ("backbone.swin", check_swin(config)),
            Self::ScalableVit(config) => ("backbone.scalable_vit", config.check_dense()),
        };
        let within = |error: ConfigError| ConfigError {
            field: kind,
            found: format!("{} = {}", error.field, error.found),
            expected: error.expected,
        };
        checked.map_err(within)
    }

    /// Names under which classifiers with this backbone are published: torchvision's ResNets, Swin's and ScalableViT's authors.
    pub fn classifier_keys(&self) -> &'static [Rule] {
        match self {
            Self::ResNet(_) => BACKBONE_KEYS,
            Self::Swin(_) => swin::CLASSIFIER_KEYS,
            Self::ScalableVit(_) => CLASSIFIER_TO_DENSE_KEYS,
        }
    }

    /// How a name of such a classifier may begin.
    pub(crate) fn classifier_marker(&self) -> &'static str {
        match self {
            Self::ResNet(_) => "fc.",
            Self::Swin(_) => "patch_embed.",
            Self::ScalableVit(_) => "patch_embeds.",
        }
    }
}

impl Backbone {
    /// Maps of the four stages, finest first, of [`BackboneConfig::channels`]; sizes are those of the picture over the strides, rounded up.
    ///
    /// # Shapes
    /// - `picture` `[B, 3, H, W]`, normalised
    ///
    /// # Errors
    /// If a ScalableViT cannot take a picture as small as this.
    ///
    /// # Panics
    /// If the picture has not three channels.
    pub fn forward(&self, picture: Tensor<4>) -> Result<[Tensor<4>; 4], TooSmall> {
        match self {
            Self::ResNet(net) => {
                let maps = net.forward(picture);
                Ok([maps.c2, maps.c3, maps.c4, maps.c5])
            }
            Self::Swin(net) => Ok(net.forward(picture)),
            Self::ScalableVit(net) => net.forward(picture),
        }
    }

    /// As [`Backbone::forward`], of the stages up to this one, 0 to 3. What a Swin does behind it is not computed.
    ///
    /// # Errors
    /// As [`Backbone::forward`].
    ///
    /// # Panics
    /// As [`Backbone::forward`], and if there is no such stage of a Swin.
    pub fn forward_to(&self, last: usize, picture: Tensor<4>) -> Result<Vec<Tensor<4>>, TooSmall> {
        match self {
            Self::Swin(net) => Ok(net.forward_to(last, picture)),
            Self::ResNet(_) | Self::ScalableVit(_) => {
                let mut maps = self.forward(picture)?.to_vec();
                maps.truncate(last + 1);
                Ok(maps)
            }
        }
    }

    /// With the first convolution of a ResNet fixed, as in detectors that start from a classifier. The others have no such custom.
    pub fn with_frozen_stem(self) -> Self {
        match self {
            Self::ResNet(net) => Self::ResNet(net.with_frozen_stem()),
            other => other,
        }
    }
}

impl PrepareInference for Backbone {
    fn prepare_inference(&mut self) {
        match self {
            Self::ResNet(net) => net.prepare_inference(),
            Self::Swin(net) => net.prepare_inference(),
            Self::ScalableVit(net) => net.prepare_inference(),
        }
    }
}

impl<'de> Deserialize<'de> for BackboneConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Named {
            ResNet(ResNetConfig),
            Swin(SwinConfig),
            ScalableVit(ScalableVitConfig),
        }
        let value = Value::deserialize(deserializer)?;
        let has = |key: &str| value.get(key).is_some();
        // Every ResNet has a kind of block, and no kind of backbone is called so.
        let alone = has("block") && !["res_net", "swin", "scalable_vit"].into_iter().any(has);
        let named =
            if alone { serde_json::from_value(value).map(Named::ResNet) } else { serde_json::from_value(value) };
        Ok(match named.map_err(D::Error::custom)? {
            Named::ResNet(config) => Self::ResNet(config),
            Named::Swin(config) => Self::Swin(config),
            Named::ScalableVit(config) => Self::ScalableVit(config),
        })
    }
}

fn check_resnet(config: &ResNetConfig) -> Result<(), ConfigError> {
    check_numbers(&[("width", config.width, 1)])?;
    let bad = |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
    if config.layers.iter().any(|layers| !(1..=1000).contains(layers)) {
        return bad("layers", format!("{:?}", config.layers), "1 to 1000 each");
    }
    if config.classes.is_some() {
        return bad("classes", format!("{:?}", config.classes), "none: the maps are used");
    }
    if !(config.epsilon > 0.0 && config.epsilon < 1.0) {
        return bad("epsilon", config.epsilon.to_string(), "between 0 and 1");
    }
    if config.dilate_last && config.block != BlockKind::Bottleneck {
        return bad("dilate_last", "true".to_owned(), "false: only bottlenecks are dilated");
    }
    Ok(())
}

fn check_swin(config: &SwinConfig) -> Result<(), ConfigError> {
    check_numbers(&[("patch", config.patch, 1), ("embed_dim", config.embed_dim, 1), ("window", config.window, 2)])?;
    let bad = |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
    if config.in_channels != 3 {
        return bad("in_channels", config.in_channels.to_string(), "3, those of a picture");
    }
    if config.depths.iter().any(|depth| !(1..=1000).contains(depth)) {
        return bad("depths", format!("{:?}", config.depths), "1 to 1000 each");
    }
    let channels = config.channels();
    if config.heads.iter().zip(channels).any(|(&heads, channels)| heads == 0 || !channels.is_multiple_of(heads)) {
        return bad("heads", format!("{:?}", config.heads), &format!("divisors of the channels {channels:?}"));
    }
    if !(config.mlp_ratio > 0.0 && config.mlp_ratio <= 64.0 && config.mlp_ratio * config.embed_dim as f64 >= 1.0) {
        return bad("mlp_ratio", config.mlp_ratio.to_string(), "above 0, at most 64, and a hidden width of at least 1");
    }
    if !(0.0..1.0).contains(&config.drop_path) {
        return bad("drop_path", config.drop_path.to_string(), "from 0 to below 1");
    }
    if !(config.epsilon > 0.0 && config.epsilon < 1.0) {
        return bad("epsilon", config.epsilon.to_string(), "between 0 and 1");
    }
    Ok(())
}
