//! Gradients of the fused product.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

use super::{Activation, LinearOps};
use crate::maybe::MaybeTensor;

/// `D` parents: input, weight and, if there are three, bias.
#[derive(Debug)]
struct Linear<const D: usize>(Activation);

/// Input, weight, and what the activation's derivative needs: the sum before GELU, the output of ReLU, nothing for none.
type State<B> = (FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>);

impl<B: Backend + LinearOps, const D: usize> Backward<B, D> for Linear<D> {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, D>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, saved) = ops.state;
        let grad = match (self.0, saved) {
            (Activation::Gelu, Some(sum)) => B::fused_gelu_backward(sum, grad),
            (Activation::Relu, Some(output)) => B::fused_relu_backward(output, grad),
            _ => grad,
        };
        if let Some(node) = &ops.parents[0] {
            grads.register::<B>(node.id, B::fused_linear_grad_input(grad.clone(), weight));
        }
        if let Some(node) = &ops.parents[1] {
            grads.register::<B>(node.id, B::fused_linear_grad_weight(x, grad.clone()));
        }
        if let Some(node) = ops.parents.get(2).and_then(Option::as_ref) {
            grads.register::<B>(node.id, B::fused_linear_grad_bias(grad));
        }
    }
}

impl<B: Backend + LinearOps, C: CheckpointStrategy> LinearOps for Autodiff<B, C> {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: MaybeTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        match bias.into_option() {
            Some(bias) => {
                let nodes = [x.node(), weight.node(), bias.node()];
                let bias = MaybeTensor::Given(bias.into_primitive());
                tracked::<B, C, 3>(nodes, x.into_primitive(), weight.into_primitive(), bias, activation)
            }
            None => {
                let nodes = [x.node(), weight.node()];
                let (x, weight) = (x.into_primitive(), weight.into_primitive());
                tracked::<B, C, 2>(nodes, x, weight, MaybeTensor::Absent, activation)
            }
        }
    }

    /// # Panics
    /// If `x` is tracked: a packed weight has no gradient to pass on.
    fn packed_linear(
        x: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        bias: MaybeTensor<Self>,
        width: usize,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let node = x.node();
        let bias = bias.into_option().map(|bias| bias.into_primitive()).into();
        let output = B::packed_linear(x.into_primitive(), packed.into_primitive(), bias, width, activation);
        match Packed.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(_) => panic!("a packed weight is for inference: its input must not be tracked"),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
}

#[derive(Debug)]
struct Packed;

impl<B: Backend> Backward<B, 1> for Packed {
    type State = ();

    fn backward(self, _: Ops<(), 1>, _: &mut Gradients, _: &mut Checkpointer) {
        unreachable!("never tracked")
    }
}

fn tracked<B: Backend + LinearOps, C: CheckpointStrategy, const D: usize>(
    nodes: [NodeGuard; D],
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: MaybeTensor<B>,
    activation: Activation,
) -> FloatTensor<Autodiff<B, C>> {
    match Linear::<D>(activation).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, saved) = match activation {
                Activation::Gelu => {
                    let sum = B::fused_linear(x.clone(), weight.clone(), bias, Activation::Identity);
                    (B::fused_gelu(sum.clone()), Some(sum))
                }
                Activation::Relu => {
                    let output = B::fused_linear(x.clone(), weight.clone(), bias, Activation::Relu);
                    (output.clone(), Some(output))
                }
                Activation::Identity => (B::fused_linear(x.clone(), weight.clone(), bias, activation), None),
            };
            prep.finish((x, weight, saved), output)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::fused_linear(x, weight, bias, activation)),
    }
}
