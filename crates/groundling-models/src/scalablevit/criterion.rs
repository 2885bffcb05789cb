//! What training a classifier minimises.

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::{ScalableVit, TooSmall};
use crate::contract::{ConfigError, Losses};

/// Settings of the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criterion {
    /// Share of what is wanted that all classes divide among them (label smoothing, Szegedy et al. 2016, arXiv:1512.00567).
    pub smoothing: f64,
}

impl Default for Criterion {
    /// 0.1, as published.
    fn default() -> Self {
        Self { smoothing: 0.1 }
    }
}

impl Criterion {
    /// # Errors
    /// Naming the field that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        if (0.0..1.0).contains(&self.smoothing) {
            return Ok(());
        }
        let (field, found) = ("criterion.smoothing", self.smoothing.to_string());
        Err(ConfigError { field, found, expected: "from 0 to below 1".to_owned() })
    }

    /// Mean over the batch of `-sum(t log softmax(z))`, where `t` is what is wanted after smoothing; `[1]`.
    ///
    /// # Shapes
    /// - `logits` `[B, classes]`
    /// - `wanted` `[B, classes]`, each row a distribution
    pub fn loss(&self, logits: Tensor<2>, wanted: Tensor<2>) -> Tensor<1> {
        let [_, classes] = logits.dims();
        let wanted = wanted.mul_scalar(1.0 - self.smoothing).add_scalar(self.smoothing / classes as f64);
        (activation::log_softmax(logits, 1) * wanted).sum_dim(1).mean().neg()
    }
}

impl ScalableVit {
    /// The loss of a batch, for training.
    ///
    /// # Shapes
    /// - `images` `[B, 3, H, W]`, normalised
    /// - `wanted` `[B, classes]`: a distribution over the classes for each, one-hot unless pictures were mixed
    ///
    /// # Errors
    /// If the images are too small for a stage.
    ///
    /// # Panics
    /// If there is no head, or the shapes disagree.
    pub fn losses(&self, images: Tensor<4>, wanted: Tensor<2>, criterion: &Criterion) -> Result<Losses, TooSmall> {
        let loss = criterion.loss(self.classify(images)?, wanted);
        Ok(Losses { total: loss.clone(), terms: vec![("cross_entropy".to_owned(), loss)] })
    }
}
