//! The classifier as the trainer, the library and the programs see it.

use burn::tensor::Device;
use groundling_nn::checkpoint::{Rule, absent, ignore, within};

use super::{CLASSIFIER_KEYS, Criterion, ScalableVit, ScalableVitConfig};
use crate::contract::{ConfigError, Layout, ParameterGroup, Trainable};

/// A classifier's weights for other classes: the head starts from random numbers.
const OTHER_CLASSES_KEYS: &[Rule] = &[
    ignore(r"^(module\.)?head\.", "the head: it knows other classes"),
    within("", CLASSIFIER_KEYS),
    absent(r"^head\.", "the head starts anew for other classes"),
];

impl Trainable for ScalableVit {
    const NAME: &'static str = "scalablevit";
    const READS_PHRASES: bool = false;
    type Config = ScalableVitConfig;
    type Criterion = Criterion;

    fn init(config: &ScalableVitConfig, device: &Device) -> Result<Self, ConfigError> {
        config.init(device)
    }

    fn config(&self) -> &ScalableVitConfig {
        self.config()
    }

    fn layouts(_: &ScalableVitConfig) -> Vec<Layout> {
        vec![
            Layout::new("official", "the released classifiers", "patch_embeds.", CLASSIFIER_KEYS),
            Layout::new(
                "other_classes",
                "the released classifiers, for other classes",
                "patch_embeds.",
                OTHER_CLASSES_KEYS,
            ),
        ]
    }

    fn parameter_group(_: &str) -> ParameterGroup {
        ParameterGroup::Base
    }

    /// Gains, shifts and biases do not decay, nor does the convolution that says where tokens are; those of attention do.
    fn decays(name: &str, rank: usize) -> bool {
        rank >= 2 && !name.contains(".peg.")
    }

    fn for_training(self, criterion: &Criterion) -> Result<Self, ConfigError> {
        criterion.check()?;
        Ok(self)
    }
}
