//! Key tables of VLTVG's checkpoints.

use groundling_nn::bert::KEYS_WITHOUT_POOLER;
use groundling_nn::checkpoint::{Rule, ignore, rename, within};
use groundling_nn::transformer::KEYS as PACKED;

use crate::backbone::BackboneConfig;
use crate::bases::{DETR_VISUAL_KEYS, visual_layouts};
use crate::contract::Layout;

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
    rename(r"^trans_encoder\.", "transformer."),
    within("", DETR_VISUAL_KEYS),
    rename(r"^bert\.", "text."),
    rename(r"^bert_proj\.", "text_proj."),
    rename(r"^bbox_embed\.", "bbox."),
    rename(r"^trans_decoder\.decoder\.", "decoder."),
    within("text.", KEYS_WITHOUT_POOLER),
    within("decoder.", DECODER_KEYS),
    within("", PACKED),
];

/// What a model can be made of, or started from.
pub(super) fn layouts(backbone: &BackboneConfig) -> Vec<Layout> {
    let official = Layout::new("official", "checkpoints of VLTVG's authors", "trans_decoder.", OFFICIAL_KEYS);
    visual_layouts(official, backbone)
}
