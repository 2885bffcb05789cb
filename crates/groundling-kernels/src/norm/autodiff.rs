//! The gradients of layer normalisation.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::NormOps;
use crate::maybe::MaybeTensor;

/// What was normalised, its mean, one over its standard deviation, and `gamma`.
type Kept<B> = [FloatTensor<B>; 4];

#[derive(Debug)]
struct LayerNorm;

impl<B: Backend + NormOps> Backward<B, 3> for LayerNorm {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [sum, mean, scale, gamma] = ops.state;
        let (to_x, to_gamma, to_beta) = B::fused_layer_norm_backward(sum, mean, scale, gamma, grad);
        for (parent, grad) in ops.parents.into_iter().zip([to_x, to_gamma, to_beta]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

#[derive(Debug)]
struct AddLayerNorm;

impl<B: Backend + NormOps> Backward<B, 4> for AddLayerNorm {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Self::State, 4>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [sum, mean, scale, gamma] = ops.state;
        let (to_sum, to_gamma, to_beta) = B::fused_layer_norm_backward(sum, mean, scale, gamma, grad);
        for (parent, grad) in ops.parents.into_iter().zip([to_sum.clone(), to_sum, to_gamma, to_beta]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: Backend + NormOps, C: CheckpointStrategy> NormOps for Autodiff<B, C> {
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        residual: MaybeTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        // The number of parents is in the type of a node, hence two arms that differ in little else.
        match residual.into_option() {
            None => {
                let nodes = [x.node(), gamma.node(), beta.node()];
                let (x, gamma, beta) = (x.into_primitive(), gamma.into_primitive(), beta.into_primitive());
                match LayerNorm.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => {
                        let (output, sum, mean, scale) =
                            B::fused_layer_norm_keeping(x, MaybeTensor::Absent, gamma.clone(), beta, epsilon);
                        prep.finish([sum, mean, scale, gamma], output)
                    }
                    OpsKind::UnTracked(prep) => {
                        prep.finish(B::fused_layer_norm(x, MaybeTensor::Absent, gamma, beta, epsilon))
                    }
                }
            }
            Some(residual) => {
                let nodes = [x.node(), residual.node(), gamma.node(), beta.node()];
                let (x, gamma, beta) = (x.into_primitive(), gamma.into_primitive(), beta.into_primitive());
                let residual = MaybeTensor::Given(residual.into_primitive());
                match AddLayerNorm.prepare::<C>(nodes).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => {
                        let (output, sum, mean, scale) =
                            B::fused_layer_norm_keeping(x, residual, gamma.clone(), beta, epsilon);
                        prep.finish([sum, mean, scale, gamma], output)
                    }
                    OpsKind::UnTracked(prep) => prep.finish(B::fused_layer_norm(x, residual, gamma, beta, epsilon)),
                }
            }
        }
    }
}
