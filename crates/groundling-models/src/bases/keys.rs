//! Key tables that the grounders share.

use groundling_nn::bert::KEYS_WITHOUT_POOLER;
use groundling_nn::checkpoint::{Rule, absent, ignore, rename, within};
use groundling_nn::resnet::BACKBONE_KEYS;
use groundling_nn::transformer::KEYS as PACKED;

use crate::backbone::{BackboneConfig, focus_detr_layout};
use crate::contract::Layout;

/// Names of the visual branch of TransVG and VLTVG as DETR has them; packed attention is left to the table that this one is in.
pub(crate) const DETR_VISUAL_KEYS: &[Rule] = &[
    rename(r"^backbone\.0\.body\.", "visual.backbone."),
    rename(r"^input_proj\.", "visual.input_proj."),
    rename(r"^transformer\.encoder\.", "visual.encoder."),
    within("visual.backbone.", BACKBONE_KEYS),
];

/// Names of what follows the visual branch in the checkpoints of TransVG's and QRNet's authors.
pub(crate) const FUSION_KEYS: &[Rule] = &[
    rename(r"^textmodel\.", "text."),
    rename(r"^text\.bert\.", "text."),
    rename(r"^vl_pos_embed\.weight$", "fusion.position"),
    rename(r"^reg_token\.weight$", "fusion.reg_token"),
    rename(r"^vl_transformer\.encoder\.", "fusion.encoder."),
    rename(r"^bbox_embed\.", "fusion.bbox."),
    within("text.", KEYS_WITHOUT_POOLER),
    within("", PACKED),
];

/// Names of DETR's checkpoints, for the visual branch of TransVG and VLTVG.
const DETR_KEYS: &[Rule] = &[
    absent(r"^(text|fusion|decoder|bbox)\.", "DETR has no phrases"),
    absent(r"^(text_proj|visu_proj)\.", "DETR has no phrases"),
    ignore(r"^transformer\.decoder\.", "the decoder for object queries"),
    ignore(r"^(query_embed|class_embed|bbox_embed)\.", "heads for object detection"),
    within("", DETR_VISUAL_KEYS),
    within("", PACKED),
];

/// Names of BERT's checkpoints, for the phrase encoder.
const BERT_KEYS: &[Rule] = &[
    absent(r"^(visual|fusion|decoder|bbox)\.", "BERT has no pictures"),
    absent(r"^(text_proj|visu_proj)\.", "BERT has no pictures"),
    absent(r"^scale_embed$", "BERT has no pictures"),
    ignore(r"^cls\.", "heads of the pre-training tasks"),
    rename(r"^(bert\.)?", "text."),
    within("text.", KEYS_WITHOUT_POOLER),
];

/// What can be made of, or started from, published weights with this backbone: all that there is for a ResNet, for others what training
/// starts from. `official` are the authors' of the system.
pub(crate) fn visual_layouts(official: Layout, backbone: &BackboneConfig) -> Vec<Layout> {
    let published = [official, detr_layout()].into_iter().filter(|_| matches!(backbone, BackboneConfig::ResNet(_)));
    published.chain([bert_layout(), imagenet_layout(backbone), focus_detr_layout(&FROM_DETECTOR)]).collect()
}

/// What becomes of a detector's backbone.
const FROM_DETECTOR: [Rule; 3] = [
    absent(r"^(text|fusion|decoder|bbox|text_proj|visu_proj)\.", "a detector has no phrases"),
    absent(r"^visual\.(input_proj|encoder)\.", "this detector's neck and encoder are of another kind"),
    rename(r"^backbone\.", "visual.backbone."),
];

/// What training starts from: a classifier's backbone.
fn imagenet_layout(backbone: &BackboneConfig) -> Layout {
    const WHY: &str = "a classifier has nothing behind its backbone";
    let rules = [
        absent(r"^(text|fusion|decoder|bbox|text_proj|visu_proj)\.", WHY),
        absent(r"^visual\.(input_proj|encoder)\.", WHY),
        rename(r"^", "visual.backbone."),
        within("visual.backbone.", backbone.classifier_keys()),
    ];
    let about = "classifiers of ImageNet, for the backbone: what training starts from";
    Layout::new("imagenet", about, backbone.classifier_marker(), &rules)
}

/// What training starts from: DETR's visual branch.
fn detr_layout() -> Layout {
    Layout::new("detr", "DETR's, for the visual branch: what training starts from", "transformer.", DETR_KEYS)
}

/// What training starts from: BERT's phrase encoder.
pub(crate) fn bert_layout() -> Layout {
    Layout::new("bert", "BERT's, for the phrase encoder: what training starts from", "bert.", BERT_KEYS)
}
