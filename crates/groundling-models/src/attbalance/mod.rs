//! AttBalance: losses on where the token that answers looks, for training only. Inference and weights stay what they are.
//!
//! Source: Kang, Zhou, Wu, Sun, Yan, "Visual Grounding with Attention-Driven Constraint Balancing" (arXiv:2407.03243).
//!
//! Three parts: attention is drawn into the box, more so in layers where that goes with good boxes ([`AttBalance::use_rac`]); it is kept near
//! that of a slowly moving teacher ([`AttBalance::use_mrc`]); and samples that are difficult weigh more ([`AttBalance::use_dat`]).
//!
//! | file | what |
//! |---|---|
//! | `config` | a section of a recipe |
//! | `mask` | cells of a box |
//! | `maps` | attention as probabilities, without a logarithm of a sum that may be 0 |
//! | `step` | the losses of a step |
//!
//! DEVIATION: no code was published; what the paper leaves open is a field of [`AttBalance`] with a default of this project.

mod config;
mod maps;
mod mask;
mod step;

use burn::tensor::Tensor;
use groundling_core::ContentRect;

pub use config::{AttBalance, BoxRatio, Domain, Rho};
pub use maps::Maps;
pub use mask::{MaskRule, box_mask};
pub use step::{Balanced, Correlate, Smoothed, Step, relative};

use crate::bases::Attention;
use crate::contract::{Batch, System};

/// A system whose answering token attends to visual tokens, so that its attention can be supervised.
pub trait Attentive: System {
    /// Layers that can be supervised.
    fn attentive_layers(config: &Self::Config) -> usize;

    /// Layers that are supervised unless a recipe says otherwise, ascending. By default the last four, as far as is known of the paper.
    fn supervised_layers(config: &Self::Config) -> Vec<usize> {
        let layers = Self::attentive_layers(config);
        (layers.saturating_sub(4)..layers).collect()
    }

    /// Epochs that are supervised unless a recipe says otherwise.
    fn epochs_supervised(config: &Self::Config) -> usize {
        let _ = config;
        60
    }

    /// The system's own weights of L1 distance and one minus GIoU.
    fn box_weights(criterion: &Self::Criterion) -> [f64; 2];

    /// The forward pass of training with the attention of some layers, ascending. Boxes are those of [`System::losses`].
    ///
    /// # Panics
    /// As [`System::losses`].
    fn attend(&self, batch: &Batch, layers: &[usize]) -> Attended;
}

/// What a forward pass computed.
#[derive(Debug, Clone)]
pub struct Attended {
    /// `[stages, B, 4]`: centre x, centre y, width, height in fractions of the canvas; the last stage is the answer.
    pub boxes: Tensor<3>,
    /// Scaled products of the answering token with each visual token, `[layers, B, G, S]`, whatever is hidden.
    pub logits: Tensor<4>,
    /// The same for its other keys, `[layers, B, G, X]`, if it has any.
    pub other: Option<Tensor<4>>,
    /// Visual tokens that are hidden, `[B * S]`.
    pub padding: Vec<bool>,
    /// Other keys that are hidden, `[B * X]`.
    pub other_padding: Vec<bool>,
    /// Rows and columns of the maps that the visual tokens are.
    pub grids: Vec<[usize; 2]>,
}

impl Attended {
    /// From the attention of some layers to all keys: the visual tokens are those after the first `skip`.
    pub(crate) fn new(boxes: Tensor<3>, found: Vec<Attention>, skip: usize, grids: &[[usize; 2]]) -> Self {
        let scores: Vec<Tensor<3>> = found.iter().map(|attention| attention.scores.clone()).collect();
        let scores: Tensor<4> = Tensor::stack(scores, 0); // [layers, B, G, T]
        let [_, b, _, t] = scores.dims();
        let padding: Vec<bool> = match found.first().and_then(|first| first.padding.clone()) {
            Some(padding) => padding.into_data().iter::<bool>().collect(),
            None => vec![false; b * t],
        };
        let part = |from: usize, to: usize| -> Vec<bool> {
            padding.chunks(t).flat_map(|row| row[from..to].iter().copied()).collect()
        };
        Self {
            boxes,
            logits: scores.clone().narrow(3, skip, t - skip),
            other: (skip > 0).then(|| scores.narrow(3, 0, skip)),
            padding: part(skip, t),
            other_padding: part(0, skip),
            grids: grids.to_vec(),
        }
    }
}

/// Share of a canvas of `side` pixels a side that each picture covers.
pub fn content_shares(contents: &[ContentRect], side: usize) -> Vec<f64> {
    let area = |content: &ContentRect| f64::from(content.height) * f64::from(content.width);
    contents.iter().map(|content| area(content) / (side * side) as f64).collect()
}
