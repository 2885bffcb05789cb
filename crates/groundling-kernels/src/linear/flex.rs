//! The kernel for the CPU.
use super::LinearOps;
use burn::backend::Flex;
impl LinearOps for Flex {}
