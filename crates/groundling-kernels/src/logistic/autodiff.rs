//! The gradient of the logistic loss.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::LogisticOps;

#[derive(Debug)]
struct LogisticLoss;

impl<B: Backend + LogisticOps> Backward<B, 1> for LogisticLoss {
    type State = [FloatTensor<B>; 2];

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([x, targets], [parent]) = (ops.state, ops.parents);
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, B::fused_logistic_loss_backward(x, targets, grad));
        }
    }
}

impl<B: Backend + LogisticOps, C: CheckpointStrategy> LogisticOps for Autodiff<B, C> {
    fn fused_logistic_loss(x: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        let targets = targets.into_primitive();
        match LogisticLoss.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let x = x.into_primitive();
                prep.finish([x.clone(), targets.clone()], B::fused_logistic_loss(x, targets))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_logistic_loss(x.into_primitive(), targets)),
        }
    }
}
