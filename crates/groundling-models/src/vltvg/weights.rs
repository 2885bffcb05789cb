//! Key tables of VLTVG's checkpoints.

use groundling_nn::bert::KEYS_WITHOUT_POOLER;
use groundling_nn::checkpoint::{Rule, ignore, rename, within};
use groundling_nn::resnet::BACKBONE_KEYS;
use groundling_nn::transformer::KEYS as PACKED;

use crate::contract::Layout;
use crate::transvg::{BERT_KEYS, DETR_KEYS};

/// Names of the decoder alone.
pub const DECODER_KEYS: &[Rule] = &[
    ignore(r"\.img2img_attn\.pos_[xy]$", "sines of offsets, which are computed"),
    rename(r"^extra_encoder_layers\.0\.", "verify."),
    rename(r"^verify\.(text|img)_proj\.layers\.0\.", "verify.${1}_proj."),
    rename(r"^(layers\.\d+)\.ffn\.0\.", "$1.linear1."),
    rename(r"^(layers\.\d+)\.ffn\.3\.", "$1.linear2."),
    rename(r"^((vis|text)_query_embed)\.weight$", "$1"),
    within("", PACKED),
];

/// Names of the authors' checkpoints.
pub const OFFICIAL_KEYS: &[Rule] = &[
    rename(r"^backbone\.0\.body\.", "visual.backbone."),
    rename(r"^input_proj\.", "visual.input_proj."),
    rename(r"^trans_encoder\.encoder\.", "visual.encoder."),
    rename(r"^bert\.", "text."),
    rename(r"^bert_proj\.", "text_proj."),
    rename(r"^bbox_embed\.", "bbox."),
    rename(r"^trans_decoder\.decoder\.", "decoder."),
    within("visual.backbone.", BACKBONE_KEYS),
    within("text.", KEYS_WITHOUT_POOLER),
    within("decoder.", DECODER_KEYS),
    within("", PACKED),
];

/// What a model can be made of, or started from.
pub(super) fn layouts() -> Vec<Layout> {
    let layout = |name, about, marker, rules: &[Rule]| Layout { name, about, marker, rules: rules.to_vec() };
    vec![
        layout("official", "checkpoints of VLTVG's authors", "trans_decoder.", OFFICIAL_KEYS),
        layout("detr", "DETR's, for the visual branch: what training starts from", "transformer.", DETR_KEYS),
        layout("bert", "BERT's, for the phrase encoder: what training starts from", "bert.", BERT_KEYS),
    ]
}
