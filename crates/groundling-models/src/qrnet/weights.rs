//! Key tables of QRNet's checkpoints.

use groundling_nn::checkpoint::{Rule, absent, ignore, rename, within};
use groundling_nn::swin::KEYS as SWIN;

use crate::bases::{FUSION_KEYS, bert_layout};
use crate::contract::Layout;

/// Names of a gate, behind those of the place where it stands.
pub const GATE_KEYS: &[Rule] = &[
    rename(r"(^|\.)ChannelGate\.mlp\.0\.decoder\.", "${1}squeeze."),
    rename(r"(^|\.)ChannelGate\.mlp\.2\.decoder\.", "${1}expand."),
    rename(r"(^|\.)SpatialGate\.spatial\.decoder\.", "${1}spatial."),
    rename(r"\.(squeeze|expand|spatial)\.V$", ".$1.basis"),
    rename(r"^(squeeze|expand|spatial)\.V$", "$1.basis"),
];

/// Names of the authors' checkpoints.
pub const OFFICIAL_KEYS: &[Rule] = &[
    ignore(r"^visumodel\.rpn_head\.", "a detection head that the model carries along and never reads"),
    rename(r"^visumodel\.backbone\.layers\.(\d)\.qdatt\.", "visual.gates.$1."),
    rename(r"^visumodel\.backbone\.", "visual.swin."),
    rename(r"^visumodel\.neck\.lateral_convs\.(\d)\.conv\.", "visual.lateral.$1."),
    rename(r"^visumodel\.neck\.fpn_down\.(\d)\.qdatt\.", "visual.down.$1."),
    rename(r"^scale_embed\.weight$", "scale_embed"),
    within("visual.", GATE_KEYS),
    within("visual.swin.", SWIN),
    within("", FUSION_KEYS),
];

/// Names of a Mask R-CNN with this backbone, which training starts from.
pub const DETECTOR_KEYS: &[Rule] = &[
    absent(r"^(text|fusion)\.", "a detector has no phrases"),
    absent(r"^(text_proj\.|visu_proj\.|scale_embed$)", "a detector has no phrases"),
    absent(r"^visual\.(gates|down)\.", "a detector has no phrases"),
    ignore(r"^(rpn_head|roi_head)\.", "heads for object detection"),
    ignore(r"^neck\.fpn_convs\.", "this neck smooths nothing"),
    rename(r"^neck\.lateral_convs\.(\d)\.conv\.", "visual.lateral.$1."),
    rename(r"^backbone\.", "visual.swin."),
    within("visual.swin.", SWIN),
];

/// What a model can be made of, or started from.
pub(super) fn layouts() -> Vec<Layout> {
    let detector = "a Swin Mask R-CNN's, for the visual branch: what training starts from";
    vec![
        Layout::new("official", "checkpoints of QRNet's authors", "visumodel.", OFFICIAL_KEYS),
        Layout::new("mask-rcnn", detector, "roi_head.", DETECTOR_KEYS),
        bert_layout(),
    ]
}
