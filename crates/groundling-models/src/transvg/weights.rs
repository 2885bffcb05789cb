//! Key tables of TransVG's checkpoints, and of the checkpoints that its training starts from.

use groundling_nn::checkpoint::{Rule, rename, within};

use crate::backbone::BackboneConfig;
use crate::bases::{DETR_VISUAL_KEYS, FUSION_KEYS, visual_layouts};
use crate::contract::Layout;

/// Names of the authors' checkpoints.
pub const OFFICIAL_KEYS: &[Rule] =
    &[rename(r"^visumodel\.", ""), within("", DETR_VISUAL_KEYS), within("", FUSION_KEYS)];

/// What a model can be made of, or started from.
pub(super) fn layouts(backbone: &BackboneConfig) -> Vec<Layout> {
    let official = Layout::new("official", "checkpoints of TransVG's authors", "visumodel.", OFFICIAL_KEYS);
    visual_layouts(official, backbone)
}
