//! The gradient of max pooling: to the winner of each window.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend};
use burn::tensor::IntDType;

use super::{PoolOps, PoolOptions};

#[derive(Debug)]
struct MaxPool(PoolOptions);

impl<B: Backend + PoolOps> Backward<B, 1> for MaxPool {
    /// Input and, for each output, the position that won.
    type State = (FloatTensor<B>, IntTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let PoolOptions { kernel, stride, padding } = self.0;
        let [parent] = ops.parents;
        let (x, winners) = ops.state;
        if let Some(parent) = parent {
            let grad =
                B::max_pool2d_with_indices_backward(x, kernel, stride, padding, [1, 1], false, grad, winners).x_grad;
            grads.register::<B>(parent.id, grad);
        }
    }
}

impl<B: Backend + PoolOps, C: CheckpointStrategy> PoolOps for Autodiff<B, C> {
    fn fused_max_pool2d(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        match MaxPool(options).prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let PoolOptions { kernel, stride, padding } = options;
                let input = x.primitive().clone();
                let pooled =
                    B::max_pool2d_with_indices(input.clone(), kernel, stride, padding, [1, 1], false, IntDType::I32);
                prep.finish((input, pooled.indices), pooled.output)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::fused_max_pool2d(x.into_primitive(), options)),
        }
    }
}
