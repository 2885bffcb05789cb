//! Focus-DETR as the trainer, the library and the programs see it.

use burn::tensor::Device;
use groundling_nn::checkpoint::{Rule, absent, rename, within};

use super::weights::{DETREX_KEYS, SPARSE_DETR_KEYS, decays, in_backbone};
use super::{BackboneConfig, Criterion, FocusDetr, FocusDetrConfig};
use crate::contract::{ConfigError, Layout, ParameterGroup, Trainable};

/// Names of classifiers for the backbone: what training starts from.
fn imagenet_keys(backbone: &BackboneConfig) -> Vec<Rule> {
    vec![
        absent(
            r"^(neck|proposals|selector|encoder|decoder|class_heads|box_heads)\.",
            "a classifier has nothing behind its backbone",
        ),
        absent(r"^(level_embedding|query_content|label_embedding)$", "a classifier has nothing behind its backbone"),
        rename(r"^", "backbone."),
        within("backbone.", backbone.classifier_keys()),
    ]
}

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

    /// Nobody has published a detector with a ScalableViT.
    fn layouts(config: &FocusDetrConfig) -> Vec<Layout> {
        let backbone = &config.backbone;
        let detectors = [
            Layout::new(
                "detrex",
                "published weights of Focus-DETR, and DINO's in the same framework",
                "neck.",
                DETREX_KEYS,
            ),
            Layout::new("sparse_detr", "checkpoints of Sparse DETR", "transformer.pos_trans.", SPARSE_DETR_KEYS),
        ];
        let published = detectors.into_iter().filter(|_| !matches!(backbone, BackboneConfig::ScalableVit(_)));
        let about = "classifiers of ImageNet, for the backbone: what training starts from";
        let imagenet = Layout::new("imagenet", about, backbone.classifier_marker(), &imagenet_keys(backbone));
        published.chain([imagenet]).collect()
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
