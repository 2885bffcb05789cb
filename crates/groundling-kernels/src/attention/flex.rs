//! Attention on slices.

use burn::backend::Flex;

use super::AttentionOps;

impl AttentionOps for Flex {}
