//! Answers of models that look at everything.

use burn::tensor::{Tensor, activation};
use groundling_core::BoxCxcywh;

use super::Attention;
use crate::contract::{Grounded, GroundedTarget, Trace, TraceLayer};

/// The answer of stages `[stages, 1, 4]`, the last being the model's.
///
/// Its score is the mean IoU of the last stage with those before it; a model with one stage cannot tell and says 1.
pub(crate) fn answer(stages: Tensor<3>, flops: u64, trace: Option<Trace>) -> Grounded {
    let values: Vec<f32> = stages.into_data().iter::<f32>().collect();
    let bbox = |values: &[f32]| {
        let [cx, cy, width, height] = [0, 1, 2, 3].map(|index| f64::from(values[index]));
        BoxCxcywh::new(cx, cy, width, height)
    };
    let mut boxes = values.chunks_exact(4).rev().map(bbox);
    let last = boxes.next().expect("there is at least one stage");
    let agreement: Vec<f64> = boxes.map(|earlier| last.to_xyxy().iou(earlier.to_xyxy())).collect();
    let score = if agreement.is_empty() { 1.0 } else { agreement.iter().sum::<f64>() / agreement.len() as f64 };
    Grounded {
        targets: vec![GroundedTarget { bbox: last, score: score as f32 }],
        flops,
        dense_flops: flops,
        trace,
        ..Grounded::default()
    }
}

/// How the keys of an answering token are cut to visual tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TraceOf<'a> {
    /// Keys before the first visual token.
    pub(crate) skip: usize,
    /// Rows and columns of the maps.
    pub(crate) grids: &'a [[usize; 2]],
}

impl TraceOf<'_> {
    /// The trace of one pair.
    pub(crate) fn trace(&self, found: Vec<Attention>) -> Trace {
        let tokens: usize = self.grids.iter().map(|[rows, columns]| rows * columns).sum();
        let host =
            |values: Tensor<2>| -> Vec<f32> { values.narrow(1, self.skip, tokens).into_data().iter::<f32>().collect() };
        let valid = match found.first().and_then(|first| first.padding.clone()) {
            Some(padding) => host(padding.float()).into_iter().map(|hidden| hidden == 0.0).collect(),
            None => vec![true; tokens],
        };
        let layer = |Attention { scores, padding }: Attention| {
            let seen = match padding {
                Some(padding) => {
                    let shape = scores.dims();
                    scores.clone().mask_fill(padding.unsqueeze_dim::<3>(1).expand(shape), f32::NEG_INFINITY)
                }
                None => scores.clone(),
            };
            let mean = |values: Tensor<3>| host(values.mean_dim(1).squeeze_dim(1));
            TraceLayer { logits: mean(scores), weights: mean(activation::softmax(seen, 2)) }
        };
        Trace { grids: self.grids.to_vec(), valid, layers: found.into_iter().map(layer).collect() }
    }
}
