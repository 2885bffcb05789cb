//! Deformable attention on slices.

use burn::backend::Flex;

use super::DeformOps;

impl DeformOps for Flex {}
