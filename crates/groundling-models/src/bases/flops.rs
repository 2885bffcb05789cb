//! Multiply-adds of what the grounders have in common.

use groundling_nn::bert::BertConfig;
use groundling_nn::macs::{dense, sum};

/// Of a phrase of so many pieces, brought to the width `d`.
pub(crate) fn phrase(bert: &BertConfig, pieces: usize, d: usize) -> u64 {
    sum([bert.macs(pieces), dense(pieces, bert.width, d)])
}

/// Of the box head.
pub(crate) fn box_head(d: usize) -> u64 {
    sum([dense(2, d, d), dense(1, d, 4)])
}
