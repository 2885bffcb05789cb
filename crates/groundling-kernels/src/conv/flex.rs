//! The kernel for the CPU.
use super::ConvOps;
use burn::backend::Flex;
impl ConvOps for Flex {}
