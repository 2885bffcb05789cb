//! Gradients of deformable attention.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::DeformOps;

#[derive(Debug)]
struct Deform;

impl<B: Backend + DeformOps> Backward<B, 3> for Deform {
    type State = ([FloatTensor<B>; 3], Vec<[usize; 2]>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let ([value, locations, weights], levels) = ops.state;
        let (value, locations, weights) = B::fused_deform_backward(value, levels, locations, weights, grad);
        for (parent, grad) in ops.parents.iter().zip([value, locations, weights]) {
            if let Some(node) = parent {
                grads.register::<B>(node.id, grad);
            }
        }
    }
}

impl<B: Backend + DeformOps, C: CheckpointStrategy> DeformOps for Autodiff<B, C> {
    fn fused_deform(
        value: FloatTensor<Self>,
        levels: Vec<[usize; 2]>,
        locations: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let nodes = [value.node(), locations.node(), weights.node()];
        let (value, locations, weights) =
            (value.into_primitive(), locations.into_primitive(), weights.into_primitive());
        match Backward::<B, 3>::prepare::<C>(Deform, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let state = ([value.clone(), locations.clone(), weights.clone()], levels.clone());
                prep.finish(state, B::fused_deform(value, levels, locations, weights))
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_deform(value, levels, locations, weights)),
        }
    }
}
