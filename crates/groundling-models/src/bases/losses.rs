//! Box losses.

use burn::tensor::{Tensor, TensorData};
use groundling_core::BoxCxcywh;
use groundling_nn::losses::{Denominator, box_l1, giou, iou};
use serde::{Deserialize, Serialize};

use crate::contract::{ConfigError, Losses, SampleTruth};

/// Weights of the losses of TransVG and QRNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criterion {
    /// Of the L1 distance of the boxes, the sum over their four numbers.
    pub lambda_l1: f64,
    /// Of one minus their GIoU.
    pub lambda_giou: f64,
    /// Divide as the released code does: a prediction and a truth without area make every gradient of the batch NaN.
    pub unguarded_giou: bool,
}

impl Default for Criterion {
    fn default() -> Self {
        Self { lambda_l1: 1.0, lambda_giou: 1.0, unguarded_giou: false }
    }
}

impl Criterion {
    /// # Errors
    /// Naming the field that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.weights().check()
    }

    pub(crate) fn weights(&self) -> BoxWeights {
        BoxWeights { l1: self.lambda_l1, giou: self.lambda_giou, unguarded: self.unguarded_giou }
    }
}

/// How the boxes of a stage weigh.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BoxWeights {
    pub(crate) l1: f64,
    pub(crate) giou: f64,
    pub(crate) unguarded: bool,
}

impl BoxWeights {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        for (field, value) in [("lambda_l1", self.l1), ("lambda_giou", self.giou)] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(ConfigError { field, found: value.to_string(), expected: "at least 0".to_owned() });
            }
        }
        Ok(())
    }
}

/// The losses of boxes `[stages, B, 4]`, summed over the stages, each a mean over the pairs that have a box.
///
/// # Panics
/// If there is not one truth for each pair.
pub(crate) fn box_losses(boxes: Tensor<3>, truths: &[SampleTruth], weights: BoxWeights) -> Losses {
    let ([stages, b, _], device) = (boxes.dims(), boxes.device());
    assert_eq!(truths.len(), b, "a truth for each pair");
    // A box in the middle stands where there is none; its weight is 0.
    let some = |truth: &SampleTruth| truth.bbox.unwrap_or(BoxCxcywh::new(0.5, 0.5, 0.5, 0.5));
    let targets: Vec<f32> = truths.iter().flat_map(|truth| some(truth).to_array()).map(|value| value as f32).collect();
    let targets = Tensor::<3>::from_data(TensorData::new(targets, [1, b, 4]), &device);
    let targets = targets.expand([stages, b, 4]).reshape([stages * b, 4]);
    let count = truths.iter().filter(|truth| truth.bbox.is_some()).count().max(1);
    let shares = truths.iter().map(|truth| if truth.bbox.is_some() { 1.0 / count as f32 } else { 0.0 }).collect();
    let shares = Tensor::<2>::from_data(TensorData::new::<f32, _>(shares, [1, b]), &device);
    let denominator = if weights.unguarded { Denominator::Plain } else { Denominator::Guarded };
    let flat = boxes.reshape([stages * b, 4]);
    let means = |values: Tensor<1>| -> Tensor<1> {
        (values.reshape([stages, b]) * shares.clone()).sum_dim(1).reshape([stages])
    };
    let l1 = means(box_l1(flat.clone(), targets.clone()));
    let apart = means(giou(flat.clone(), targets.clone(), denominator).neg().add_scalar(1.0));
    let overlap = means(iou(flat.detach(), targets, Denominator::Guarded));
    let total = (l1.clone() * weights.l1 + apart.clone() * weights.giou).sum();
    let mut terms = Vec::with_capacity(3 * stages);
    for (name, values) in [("l1", l1), ("giou", apart), ("iou", overlap)] {
        let values = values.without_autodiff();
        for stage in 0..stages {
            let name = if stages == 1 { name.to_owned() } else { format!("{name}.{stage}") };
            terms.push((name, values.clone().narrow(0, stage, 1)));
        }
    }
    Losses { total, terms }
}
