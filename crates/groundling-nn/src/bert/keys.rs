//! Names of published BERT weights.

use crate::checkpoint::{Rule, ignore, rename, within};

/// For a [`Bert`](super::Bert) with a pooler. Names of Hugging Face, with or without `bert.` before them, and the older `gamma` and
/// `beta`.
pub const KEYS: &[Rule] = &[
    rename(r"^bert\.", ""),
    ignore(r"^cls\.", "heads of the pre-training tasks"),
    ignore(r"^embeddings\.position_ids$", "the numbers 0, 1, 2, ...: not a weight"),
    rename(r"\.gamma$", ".weight"),
    rename(r"\.beta$", ".bias"),
    rename(r"^embeddings\.LayerNorm\.", "embeddings.layer_norm."),
    rename(r"\.attention\.self\.query\.", ".attention.q_proj."),
    rename(r"\.attention\.self\.key\.", ".attention.k_proj."),
    rename(r"\.attention\.self\.value\.", ".attention.v_proj."),
    rename(r"\.attention\.output\.dense\.", ".attention.out_proj."),
    rename(r"\.attention\.output\.LayerNorm\.", ".attention_norm."),
    rename(r"\.intermediate\.dense\.", ".intermediate."),
    rename(r"\.output\.dense\.", ".output."),
    rename(r"\.output\.LayerNorm\.", ".output_norm."),
];

/// For a [`Bert`](super::Bert) without a pooler, whether the file has one or not.
pub const KEYS_WITHOUT_POOLER: &[Rule] =
    &[within("", KEYS), ignore(r"^pooler\.", "this model uses the tokens, not the pooled vector")];
