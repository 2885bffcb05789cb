//! Gradients of the convolution.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::Shape;

use super::{ConvOps, ConvOptions};
use crate::maybe::MaybeTensor;

/// Parents: input, weight, then shift and residual as far as they are given.
#[derive(Debug)]
struct Conv<const D: usize> {
    options: ConvOptions,
    shift: bool,
}

/// Input, weight, scale, and the output if ReLU made it.
type State<B> = (FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>, Option<FloatTensor<B>>);

impl<B: Backend + ConvOps, const D: usize> Backward<B, D> for Conv<D> {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, D>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, scale, output) = ops.state;
        let grad = match output {
            Some(output) => B::relu_backward(output, grad),
            None => grad,
        };
        let mut rest = ops.parents[2..].iter();
        if self.shift
            && let Some(Some(node)) = rest.next()
        {
            grads.register::<B>(node.id, per_channel_sum::<B>(grad.clone()));
        }
        if let Some(Some(node)) = rest.next() {
            grads.register::<B>(node.id, grad.clone());
        }
        let grad = match scale {
            Some(scale) => {
                let channels = scale.shape()[0];
                B::float_mul(grad, B::float_reshape(scale, Shape::from([1, channels, 1, 1])))
            }
            None => grad,
        };
        if let Some(node) = &ops.parents[0] {
            let input = B::fused_conv2d_grad_input(x.clone(), weight.clone(), grad.clone(), self.options);
            grads.register::<B>(node.id, input);
        }
        if let Some(node) = &ops.parents[1] {
            grads.register::<B>(node.id, B::fused_conv2d_grad_weight(x, weight, grad, self.options));
        }
    }
}

/// `[B, O, H, W]` to `[O]`.
fn per_channel_sum<B: Backend>(grad: FloatTensor<B>) -> FloatTensor<B> {
    let shape = grad.shape();
    let (batch, channels, pixels) = (shape[0], shape[1], shape[2] * shape[3]);
    let sums = B::float_sum_dim(B::float_reshape(grad, Shape::from([batch, channels, pixels])), 2);
    B::float_reshape(B::float_sum_dim(sums, 0), Shape::from([channels]))
}

impl<B: Backend + ConvOps, C: CheckpointStrategy> ConvOps for Autodiff<B, C> {
    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: MaybeTensor<Self>,
        shift: MaybeTensor<Self>,
        residual: MaybeTensor<Self>,
        relu: bool,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let (shift, residual) = (shift.into_option(), residual.into_option());
        let (x_node, weight_node) = (x.node(), weight.node());
        let (shift_node, residual_node) = (shift.as_ref().map(|t| t.node()), residual.as_ref().map(|t| t.node()));
        let arguments = Arguments {
            x: x.into_primitive(),
            weight: weight.into_primitive(),
            scale: scale.into_option().map(|tensor| tensor.into_primitive()),
            shift: shift.map(|tensor| tensor.into_primitive()),
            residual: residual.map(|tensor| tensor.into_primitive()),
            relu,
            options,
        };
        match (shift_node, residual_node) {
            (None, None) => arguments.run::<C, 2>([x_node, weight_node]),
            (Some(shift), None) => arguments.run::<C, 3>([x_node, weight_node, shift]),
            (None, Some(residual)) => arguments.run::<C, 3>([x_node, weight_node, residual]),
            (Some(shift), Some(residual)) => arguments.run::<C, 4>([x_node, weight_node, shift, residual]),
        }
    }

    /// # Panics
    /// If `x` or what follows is tracked: a packed weight has no gradient to pass on.
    fn packed_conv2d(
        x: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        scale: MaybeTensor<Self>,
        shift: MaybeTensor<Self>,
        residual: MaybeTensor<Self>,
        relu: bool,
        weight: [usize; 4],
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let nodes = [Some(&x), shift.as_option(), residual.as_option()].map(|tensor| tensor.unwrap_or(&x).node());
        let inner = |tensor: MaybeTensor<Self>| tensor.into_option().map(|tensor| tensor.into_primitive()).into();
        let (scale, shift, residual) = (inner(scale), inner(shift), inner(residual));
        let (x, packed) = (x.into_primitive(), packed.into_primitive());
        let output = B::packed_conv2d(x, packed, scale, shift, residual, relu, weight, options);
        match Packed.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(_) => panic!("a packed weight is for inference: its input must not be tracked"),
            OpsKind::UnTracked(prep) => prep.finish(output),
        }
    }
}

#[derive(Debug)]
struct Packed;

impl<B: Backend> Backward<B, 3> for Packed {
    type State = ();

    fn backward(self, _: Ops<(), 3>, _: &mut Gradients, _: &mut Checkpointer) {
        unreachable!("never tracked")
    }
}

struct Arguments<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    scale: Option<FloatTensor<B>>,
    shift: Option<FloatTensor<B>>,
    residual: Option<FloatTensor<B>>,
    relu: bool,
    options: ConvOptions,
}

impl<B: Backend + ConvOps> Arguments<B> {
    fn run<C: CheckpointStrategy, const D: usize>(self, nodes: [NodeGuard; D]) -> FloatTensor<Autodiff<B, C>> {
        let node = Conv::<D> { options: self.options, shift: self.shift.is_some() };
        match node.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x, weight, scale, relu) = (self.x.clone(), self.weight.clone(), self.scale.clone(), self.relu);
                let output = self.forward();
                prep.finish((x, weight, scale, relu.then(|| output.clone())), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(self.forward()),
        }
    }

    fn forward(self) -> FloatTensor<B> {
        let (scale, shift, residual) = (self.scale.into(), self.shift.into(), self.residual.into());
        B::fused_conv2d(self.x, self.weight, scale, shift, residual, self.relu, self.options)
    }
}
