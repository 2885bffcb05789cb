//! Key tables of TransVG's checkpoints, and of the checkpoints that its training starts from.

use groundling_nn::bert::KEYS_WITHOUT_POOLER;
use groundling_nn::checkpoint::{Rule, absent, ignore, rename, within};
use groundling_nn::resnet::BACKBONE_KEYS;
use groundling_nn::transformer::KEYS as PACKED;

use crate::contract::Layout;

/// Names of the authors' checkpoints.
pub const OFFICIAL_KEYS: &[Rule] = &[
    rename(r"^visumodel\.backbone\.0\.body\.", "visual.backbone."),
    rename(r"^visumodel\.input_proj\.", "visual.input_proj."),
    rename(r"^visumodel\.transformer\.encoder\.", "visual.encoder."),
    rename(r"^textmodel\.", "text."),
    rename(r"^text\.bert\.", "text."),
    rename(r"^vl_pos_embed\.weight$", "fusion.position"),
    rename(r"^reg_token\.weight$", "fusion.reg_token"),
    rename(r"^vl_transformer\.encoder\.", "fusion.encoder."),
    rename(r"^bbox_embed\.", "fusion.bbox."),
    within("visual.backbone.", BACKBONE_KEYS),
    within("text.", KEYS_WITHOUT_POOLER),
    within("", PACKED),
];

/// Names of DETR's checkpoints, for the visual branch; TransVG and VLTVG have it under the same names.
pub const DETR_KEYS: &[Rule] = &[
    absent(r"^(text|fusion|decoder|bbox)\.", "DETR has no phrases"),
    absent(r"^(text_proj|visu_proj)\.", "DETR has no phrases"),
    ignore(r"^transformer\.decoder\.", "the decoder for object queries"),
    ignore(r"^(query_embed|class_embed|bbox_embed)\.", "heads for object detection"),
    rename(r"^backbone\.0\.body\.", "visual.backbone."),
    rename(r"^input_proj\.", "visual.input_proj."),
    rename(r"^transformer\.encoder\.", "visual.encoder."),
    within("visual.backbone.", BACKBONE_KEYS),
    within("", PACKED),
];

/// Names of BERT's checkpoints, for the phrase encoder of all three systems.
pub const BERT_KEYS: &[Rule] = &[
    absent(r"^(visual|fusion|decoder|bbox)\.", "BERT has no pictures"),
    absent(r"^(text_proj|visu_proj)\.", "BERT has no pictures"),
    absent(r"^scale_embed$", "BERT has no pictures"),
    ignore(r"^cls\.", "heads of the pre-training tasks"),
    rename(r"^(bert\.)?", "text."),
    within("text.", KEYS_WITHOUT_POOLER),
];

/// What a model can be made of, or started from.
pub(super) fn layouts() -> Vec<Layout> {
    let layout = |name, about, marker, rules: &[Rule]| Layout { name, about, marker, rules: rules.to_vec() };
    vec![
        layout("official", "checkpoints of TransVG's authors", "visumodel.", OFFICIAL_KEYS),
        layout("detr", "DETR's, for the visual branch: what training starts from", "transformer.", DETR_KEYS),
        layout("bert", "BERT's, for the phrase encoder: what training starts from", "bert.", BERT_KEYS),
    ]
}
