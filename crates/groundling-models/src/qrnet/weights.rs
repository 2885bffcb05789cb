//! Key tables of QRNet's checkpoints.

use groundling_nn::bert::KEYS_WITHOUT_POOLER;
use groundling_nn::checkpoint::{Rule, absent, ignore, rename, within};
use groundling_nn::swin::KEYS as SWIN;
use groundling_nn::transformer::KEYS as PACKED;

use crate::contract::Layout;
use crate::transvg::BERT_KEYS;

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
    rename(r"^textmodel\.", "text."),
    rename(r"^text\.bert\.", "text."),
    rename(r"^vl_pos_embed\.weight$", "fusion.position"),
    rename(r"^reg_token\.weight$", "fusion.reg_token"),
    rename(r"^scale_embed\.weight$", "scale_embed"),
    rename(r"^vl_transformer\.encoder\.", "fusion.encoder."),
    rename(r"^bbox_embed\.", "fusion.bbox."),
    within("visual.", GATE_KEYS),
    within("visual.swin.", SWIN),
    within("text.", KEYS_WITHOUT_POOLER),
    within("", PACKED),
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
    let layout = |name, about, marker, rules: &[Rule]| Layout { name, about, marker, rules: rules.to_vec() };
    let detector = "a Swin Mask R-CNN's, for the visual branch: what training starts from";
    vec![
        layout("official", "checkpoints of QRNet's authors", "visumodel.", OFFICIAL_KEYS),
        layout("mask-rcnn", detector, "roi_head.", DETECTOR_KEYS),
        layout("bert", "BERT's, for the phrase encoder: what training starts from", "bert.", BERT_KEYS),
    ]
}
