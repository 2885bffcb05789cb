//! Focus-DETR as the trainer, the library and the programs see it.

use burn::tensor::Device;
use groundling_nn::checkpoint::{Rule, absent, ignore, rename, within};
use groundling_nn::resnet::BACKBONE_KEYS;

use super::weights::{DETREX_KEYS, SPARSE_DETR_KEYS, decays, in_backbone};
use super::{Criterion, FocusDetr, FocusDetrConfig};
use crate::contract::{ConfigError, Layout, ParameterGroup, Trainable};

/// Names of torchvision's ResNets, for the backbone: what training starts from.
const IMAGENET_KEYS: &[Rule] = &[
    absent(
        r"^(neck|proposals|selector|encoder|decoder|class_heads|box_heads)\.",
        "a classifier has nothing behind its backbone",
    ),
    absent(r"^(level_embedding|query_content|label_embedding)$", "a classifier has nothing behind its backbone"),
    ignore(r"^fc\.", "the head of the classifier"),
    rename(r"^", "backbone."),
    within("backbone.", BACKBONE_KEYS),
];

impl Trainable for FocusDetr {
    const NAME: &'static str = "focus_detr";
    const READS_PHRASES: bool = false;
    type Config = FocusDetrConfig;
    type Criterion = Criterion;

    fn init(config: &FocusDetrConfig, device: &Device) -> Result<Self, ConfigError> {
        config.init(device)
    }

    fn config(&self) -> &FocusDetrConfig {
        self.config()
    }

    fn layouts(_: &FocusDetrConfig) -> Vec<Layout> {
        let layout = |name, about, marker, rules: &[Rule]| Layout { name, about, marker, rules: rules.to_vec() };
        vec![
            layout("detrex", "published weights of Focus-DETR, and DINO's in the same framework", "neck.", DETREX_KEYS),
            layout("sparse_detr", "checkpoints of Sparse DETR", "transformer.pos_trans.", SPARSE_DETR_KEYS),
            layout(
                "imagenet",
                "torchvision's ResNets, for the backbone: what training starts from",
                "fc.",
                IMAGENET_KEYS,
            ),
        ]
    }

    fn parameter_group(name: &str) -> ParameterGroup {
        if in_backbone(name) { ParameterGroup::Backbone } else { ParameterGroup::Base }
    }

    /// All but norms decay, biases too.
    fn decays(name: &str, _: usize) -> bool {
        decays(name)
    }

    fn for_training(self, criterion: &Criterion) -> Result<Self, ConfigError> {
        criterion.check()?;
        Ok(self)
    }
}
