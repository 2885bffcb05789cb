//! Operations of one tensor whose gradient is made of their input or of their output.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

/// What the gradient is made of, besides that of the output.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From {
    Input,
    Output,
}

/// The gradient of the input from what was kept and the gradient of the output.
type Gradient<B> = fn(FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>;

#[derive(Debug)]
struct Unary<B: Backend>(Gradient<B>);

impl<B: Backend> Backward<B, 1> for Unary<B> {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            grads.register::<B>(parent.id, (self.0)(ops.state, grad));
        }
    }
}

/// `value(x)` with its gradient.
pub(crate) fn tracked<B: Backend, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    value: fn(FloatTensor<B>) -> FloatTensor<B>,
    gradient: Gradient<B>,
    from: From,
) -> FloatTensor<Autodiff<B, C>> {
    match Unary(gradient).prepare::<C>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let input = x.into_primitive();
            let output = value(input.clone());
            let kept = match from {
                From::Input => input,
                From::Output => output.clone(),
            };
            prep.finish(kept, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(value(x.into_primitive())),
    }
}
