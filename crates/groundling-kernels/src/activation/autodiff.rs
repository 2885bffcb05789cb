//! The gradients of GELU and tanh.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::ActivationOps;
use crate::unary::{From, tracked};

impl<B: Backend + ActivationOps, C: CheckpointStrategy> ActivationOps for Autodiff<B, C> {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<B, C>(x, B::fused_gelu, B::fused_gelu_backward, From::Input)
    }

    fn fused_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<B, C>(x, B::fused_tanh, B::fused_tanh_backward, From::Output)
    }
}
