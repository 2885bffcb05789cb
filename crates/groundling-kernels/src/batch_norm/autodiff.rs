//! The gradients of batch normalisation.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::BatchNormOps;

#[derive(Debug)]
struct BatchNorm;

/// `x`, its moments, `gamma` and `beta`, and what is added to variances.
type Kept<B> = ([FloatTensor<B>; 4], f64);

impl<B: Backend + BatchNormOps> Backward<B, 3> for BatchNorm {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([x, moments, gamma, beta], epsilon) = ops.state;
        let (to_x, to_gamma, to_beta) = B::fused_batch_norm_relu_backward(x, moments, gamma, beta, grad, epsilon);
        for (parent, grad) in ops.parents.into_iter().zip([to_x, to_gamma, to_beta]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: Backend + BatchNormOps, C: CheckpointStrategy> BatchNormOps for Autodiff<B, C> {
    fn channel_moments(x: FloatTensor<Self>) -> FloatTensor<Self> {
        <Self as burn::backend::AutodiffBackend>::from_inner(B::channel_moments(x.into_primitive()))
    }

    fn fused_batch_norm_relu(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let nodes = [x.node(), gamma.node(), beta.node()];
        let [x, moments, gamma, beta] = [x, moments, gamma, beta].map(|tensor| tensor.into_primitive());
        match BatchNorm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let kept = [x.clone(), moments.clone(), gamma.clone(), beta.clone()];
                prep.finish((kept, epsilon), B::fused_batch_norm_relu(x, moments, gamma, beta, epsilon))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_batch_norm_relu(x, moments, gamma, beta, epsilon)),
        }
    }
}
