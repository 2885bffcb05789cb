//! What TransVG, VLTVG and QRNet share: the encoders of picture and phrase, the fusion encoder, box losses, and answers of models that
//! look at everything.

mod answer;
mod canvas;
pub(crate) mod flops;
mod fusion;
mod init;
mod keys;
mod look;
mod losses;
mod sizes;
mod visual;
mod words;

pub use canvas::Cells;
pub use fusion::{Fusion, FusionConfig, Masked};
pub use look::{Attention, Blind, Look};
pub use losses::Criterion;
pub use visual::{DetrVisual, DetrVisualConfig, Seen};

pub(crate) use answer::{TraceOf, answer};
pub(crate) use canvas::input_spec;
pub(crate) use init::{normal, xavier, zeros};
pub(crate) use keys::{DETR_VISUAL_KEYS, FUSION_KEYS, bert_layout, visual_layouts};
pub(crate) use look::ScoresOf;
pub(crate) use losses::{BoxWeights, box_losses};
pub(crate) use sizes::{check_backbone, check_bert, check_numbers, check_transformer, last_stage};
pub(crate) use words::{encode, phrase_ids};
