//! The gradients of both softmaxes.

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::SoftmaxOps;
use crate::unary::{From, tracked};

impl<B: Backend + SoftmaxOps, C: CheckpointStrategy> SoftmaxOps for Autodiff<B, C> {
    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<B, C>(x, B::fused_softmax, B::fused_softmax_backward, From::Output)
    }

    fn fused_softmax_columns(x: FloatTensor<Self>) -> FloatTensor<Self> {
        tracked::<B, C>(x, B::fused_softmax_columns, B::fused_softmax_columns_backward, From::Output)
    }
}
