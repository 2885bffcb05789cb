//! Focus-DETR: a detector whose encoder works on the tokens that are likely foreground, fewer in each layer.
//!
//! Zheng et al. 2023, "Less is More: Focus Attention for Efficient DETR" (ICCV, arXiv:2307.12612), on the decoder of DINO (Zhang et al. 2022,
//! arXiv:2203.03605). What it is compared with is here too, by one field of the configuration: the dense encoder of Deformable DETR
//! (arXiv:2010.04159) and DINO, and the encoder of Sparse DETR (arXiv:2111.14330).
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use groundling_core::ImageSize;
//! use groundling_models::focus_detr::{FocusDetrConfig, ForwardOptions, detections};
//!
//! let device = Device::flex();
//! let model = FocusDetrConfig::tiny().init(&device)?; // random weights
//! let image = Tensor::random([1, 3, 96, 128], Distribution::Default, &device); // normalised
//! let output = model.forward(image, None, &ForwardOptions::default())?;
//! let (network, original) = (ImageSize::new(96, 128)?, ImageSize::new(480, 640)?);
//! let found = detections(output.last(), 0, network, original, 300);
//! assert!(found.len() <= 300 && found.iter().all(|one| one.bbox.x1 <= 640.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what |
//! |---|---|
//! | `config`, `classes` | sizes, presets and switches; what COCO's weights tell apart |
//! | `features`, `geometry` | neck and tokens; levels, padding, reference points and first boxes |
//! | `deformable` | deformable attention as a module |
//! | `selector`, `ranking` | foreground scores and the lists that follow from them |
//! | `encoder`, `decoder` | the layers of all variants |
//! | `model` | how they are put together |
//! | `denoising`, `labels`, `criterion`, `schedule` | what training needs |
//! | `supervision` | the target of Sparse DETR's selector |
//! | `output` | detections in the original image |
//! | `cost` | multiply-accumulates, and the share of tokens that a budget allows |
//! | `weights`, `trainable` | names of published weights; what trainer and library need |
//!
//! Dimension key: `B` batch, `N` tokens of all levels, `Q` queries, `C` model width, `K` classes, `G` heads, `P` points. Boxes are centre x,
//! centre y, width, height as fractions of the unpadded network input.

mod classes;
mod config;
mod cost;
mod criterion;
mod decoder;
mod deformable;
mod denoising;
mod encoder;
mod features;
mod geometry;
mod labels;
mod model;
mod output;
mod ranking;
mod schedule;
mod selector;
mod supervision;
mod trainable;
mod weights;

pub use classes::{COCO_CLASSES, coco_category_ids};
pub use config::{
    DecoderKind, EncoderConfig, FocusConfig, FocusDetrConfig, ImageSides, LEVELS, Modulation, PositionConfig,
};
pub use cost::MacCount;
pub use criterion::{Criterion, DetectionLosses, LossTerm, Matches, SetKind, StepError, Target};
pub use decoder::{Decoder, DecoderInput, DecoderLayer, DecoderState, FixedPosition, QueryPosition};
pub use deformable::{DeformableAttention, DeformableConfig, LevelTokens, Samples};
pub use denoising::{DenoisingConfig, DenoisingPlan, DenoisingQueries, Noise};
pub use encoder::{Encoded, Encoder, EncoderInput, EncoderLayer, FineAttention, Queries, fine_scores};
pub use features::{Neck, Projection, tokens};
pub use geometry::{FirstBoxes, Geometry, inverse_sigmoid};
pub use labels::{LabelRule, SizeRange, foreground_labels, select_losses};
pub use model::{Encoding, FocusDetr, ForwardError, ForwardOptions, Output, Prediction, Proposals, TokenTransform};
pub use output::{Detection, Scored, detections, scored};
pub use ranking::largest;
pub use schedule::Schedule;
pub use selector::{ScoreHead, Selection, TokenSelector};
pub use supervision::{Supervision, cross_attention_map};
pub use weights::{DETREX_KEYS, SPARSE_DETR_KEYS, decays, in_backbone, unequal_aliases};

pub use crate::backbone::{Backbone, BackboneConfig};

use burn::nn::Initializer;
use burn::tensor::Device;
use groundling_nn::attention::{MultiHeadAttention, MultiHeadAttentionConfig};
use groundling_nn::layers::Dense;

/// Epsilon of the norms.
const EPSILON: f64 = 1e-5;

/// A linear layer as the released code starts those of the transformer: weights after Glorot and Bengio 2010, bias 0.
fn dense(inputs: usize, outputs: usize, device: &Device) -> Dense {
    let mut layer = Dense::with_initializer(inputs, outputs, Initializer::XavierUniform { gain: 1.0 }, device);
    layer.bias = Some(Initializer::Zeros.init([outputs], device));
    layer
}

/// Attention of queries to one another.
fn self_attention(config: &FocusDetrConfig, device: &Device) -> MultiHeadAttention {
    let width = config.width;
    let mut attention = MultiHeadAttentionConfig { width, heads: config.heads, dropout: 0.0 }.init(device);
    let MultiHeadAttention { q_proj, k_proj, v_proj, out_proj, .. } = &mut attention;
    for layer in [q_proj, k_proj, v_proj, out_proj] {
        *layer = dense(width, width, device);
    }
    attention
}
