//! Key tables of the checkpoints of ViLT-B/32 (Kim et al. 2021, arXiv:2102.03334).
//!
//! What ViLT does not have (selection and box heads, the learned part of the position-scale embedding) keeps its fresh values. The
//! token that answers takes over ViLT's class token with its position and type, and the constant starts as "vision, no content, no place".

use groundling_nn::checkpoint::{Piece, RESHAPE, Rule, absent, adapt, distribute, ignore, rename, within};

use crate::contract::Layout;

/// Of both layouts: what they lack, and what they have for other tasks.
const COMMON: &[Rule] = &[
    absent(r"^pse\.fc[12]\.", "ViLT has a table of positions only"),
    absent(r"^select\.", "ViLT reads everything"),
    absent(r"^box\.", "ViLT predicts no boxes"),
    absent(r"^aux\.", "heads of auxiliary losses start fresh"),
    adapt(r"^(reg_token|const_token|pse\.grid)$", &RESHAPE),
];

const OTHER_TASKS: &[Rule] = &[
    ignore(
        r"^(pooler|mlm_score|itm_score|rank_output|vqa_classifier|nlvr2_classifier|classifier)\.",
        "a head for another task",
    ),
    ignore(r"(^|\.)(position_ids|token_type_ids)$", "a list of consecutive numbers"),
];

/// The type of vision tokens, the second row of the table, is part of both special tokens. NLVR2 has a third row for a second picture.
const MODALITY: &[Piece] = &[
    Piece::to("modality.weight").rows(0, 2),
    Piece::to("const_token").rows(1, 2),
    Piece::to("reg_token").rows(1, 2).term(3),
];
const POSITIONS: &[Piece] = &[Piece::to("reg_token").rows(0, 1).term(3), Piece::to("pse.grid").rows_from(1)];
const CLASS_TOKEN: &[Piece] = &[Piece::to("reg_token").rows(0, 1).term(3)];

/// The embedding of phrases, which both name alike.
const TEXT: &[Rule] = &[
    rename(r"^text_embeddings\.word_embeddings\.", "text.word."),
    rename(r"^text_embeddings\.position_embeddings\.", "text.position."),
    rename(r"^text_embeddings\.token_type_embeddings\.", "text.segment."),
    rename(r"^text_embeddings\.LayerNorm\.", "text.norm."),
];

/// Names of the authors' checkpoints.
pub const OFFICIAL_KEYS: &[Rule] = &[
    within("", COMMON),
    within("", OTHER_TASKS),
    distribute(r"^token_type_embeddings\.weight$", MODALITY),
    distribute(r"^transformer\.pos_embed$", POSITIONS),
    distribute(r"^transformer\.cls_token$", CLASS_TOKEN),
    within("", TEXT),
    rename(r"^transformer\.patch_embed\.proj\.", "patch.proj."),
    rename(r"^transformer\.blocks\.", "layers."),
    rename(r"^transformer\.norm\.", "norm."),
];

const QUERY: &[Piece] = &[Piece::to("layers.$1.attn.qkv.$2").part(0, 3)];
const KEY: &[Piece] = &[Piece::to("layers.$1.attn.qkv.$2").part(1, 3)];
const VALUE: &[Piece] = &[Piece::to("layers.$1.attn.qkv.$2").part(2, 3)];

/// Names of Hugging Face, with or without `vilt.` before them.
pub const HF_KEYS: &[Rule] = &[
    within("", COMMON),
    rename(r"^vilt\.", ""),
    within("", OTHER_TASKS),
    distribute(r"^embeddings\.token_type_embeddings\.weight$", MODALITY),
    distribute(r"^embeddings\.position_embeddings$", POSITIONS),
    distribute(r"^embeddings\.cls_token$", CLASS_TOKEN),
    rename(r"^embeddings\.text_embeddings\.", "text_embeddings."),
    within("", TEXT),
    rename(r"^embeddings\.patch_embeddings\.projection\.", "patch.proj."),
    distribute(r"^encoder\.layer\.(\d+)\.attention\.attention\.query\.(weight|bias)$", QUERY),
    distribute(r"^encoder\.layer\.(\d+)\.attention\.attention\.key\.(weight|bias)$", KEY),
    distribute(r"^encoder\.layer\.(\d+)\.attention\.attention\.value\.(weight|bias)$", VALUE),
    rename(r"^encoder\.layer\.(\d+)\.layernorm_before\.", "layers.$1.norm1."),
    rename(r"^encoder\.layer\.(\d+)\.layernorm_after\.", "layers.$1.norm2."),
    rename(r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", "layers.$1.attn.proj."),
    rename(r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", "layers.$1.mlp.fc1."),
    rename(r"^encoder\.layer\.(\d+)\.output\.dense\.", "layers.$1.mlp.fc2."),
    rename(r"^layernorm\.", "norm."),
];

/// Both layouts; Hugging Face's twice, since a bare model lacks the prefix.
pub(super) fn layouts() -> Vec<Layout> {
    let official = "checkpoints of ViLT's authors (vilt_200k_mlm_itm.ckpt and its siblings)";
    let hf = "ViLT of Hugging Face transformers; norms add 1e-12, which is a matter of the configuration";
    vec![
        Layout::new("official", official, "transformer.", OFFICIAL_KEYS),
        Layout::new("hf", hf, "vilt.", HF_KEYS),
        Layout::new("hf-bare", hf, "embeddings.", HF_KEYS),
    ]
}
