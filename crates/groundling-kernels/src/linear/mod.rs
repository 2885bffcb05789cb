//! Matrix product, bias and activation in one pass.

mod autodiff;
mod composed;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::activation::ActivationOps;
use crate::maybe::{MaybeTensor, dispatch};

/// What follows the sum of products and bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// The exact GELU, see [`gelu`](crate::gelu).
    Gelu,
}

/// `activation(x weight + bias)` as an extension of burn's backends; see [`linear`].
///
/// Shapes: `x` `[.., K]`, `weight` `[K, N]`, `bias` `[N]`, results `[.., N]`.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait LinearOps: Backend + ActivationOps {
    /// The output.
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] bias: MaybeTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        composed::linear::<Self>(x, weight, bias, activation)
    }

    /// `grad` `[.., N]` times the transposed `weight`: the gradient of `x`.
    fn fused_linear_grad_input(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::grad_input::<Self>(grad, weight)
    }

    /// Transposed `x` times `grad`: the gradient `[K, N]` of the weight.
    fn fused_linear_grad_weight(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::grad_weight::<Self>(x, grad)
    }

    /// Sum of `grad` over all but the last dimension: the gradient `[N]` of the bias.
    fn fused_linear_grad_bias(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::grad_bias::<Self>(grad)
    }

    /// `grad` where `output` is positive, else 0.
    fn fused_relu_backward(output: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::relu_backward(output, grad)
    }

    /// `weight` in the order in which the kernel of this machine reads it; the weight itself on backends without one.
    fn pack_linear(weight: FloatTensor<Self>) -> FloatTensor<Self> {
        weight
    }

    /// The output for a weight that [`pack_linear`](LinearOps::pack_linear) gave.
    fn packed_linear(
        x: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        #[extension_type] bias: MaybeTensor<Self>,
        width: usize,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let _ = width;
        composed::linear::<Self>(x, packed, bias, activation)
    }
}

#[cfg(feature = "cube")]
impl LinearOps for burn::backend::Cube {}

/// `activation(x weight + bias)` in one pass over memory.
///
/// # Shapes
/// - `x` `[.., K]`, `weight` `[K, N]` (as in burn's `Linear`), `bias` `[N]`
/// - returns `[.., N]`
///
/// # Panics
/// If the shapes disagree.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
) -> Tensor<D> {
    let [inputs, outputs] = weight.dims();
    check(&x, inputs, outputs, bias.as_ref());
    let output =
        <Dispatch as LinearOps>::fused_linear(x.into_dispatch(), weight.into_dispatch(), dispatch(bias), activation);
    Tensor::from_dispatch(output)
}

/// A weight in the order in which the kernel reads it, made once and used for many inputs.
///
/// Worth it for inference with few rows, where rearranging the weight would cost as much as the product: a forward of BERT-base
/// over 20 tokens reads 340 MB of weights and uses each number 20 times. On backends without a kernel, and where gradients are
/// tracked, it holds the weight itself; results are the same.
#[derive(Debug, Clone)]
pub struct PackedLinear {
    weight: Packed,
    bias: Option<Tensor<1>>,
    inputs: usize,
    outputs: usize,
}

#[derive(Debug, Clone)]
enum Packed {
    InOrder(Tensor<1>),
    Plain(Tensor<2>),
}

impl PackedLinear {
    /// Rearranges `weight` `[K, N]`; `bias` is `[N]`.
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Self {
        let [inputs, outputs] = weight.dims();
        if let Some(bias) = &bias {
            assert_eq!(bias.dims(), [outputs], "the bias has one value for each column of the weight");
        }
        let packed = <Dispatch as LinearOps>::pack_linear(weight.clone().into_dispatch());
        let weight = match burn::backend::TensorMetadata::shape(&packed).num_dims() {
            1 => Packed::InOrder(Tensor::from_dispatch(packed)),
            _ => Packed::Plain(weight),
        };
        Self { weight, bias, inputs, outputs }
    }

    /// `activation(x weight + bias)`; `x` `[.., K]` to `[.., N]`.
    ///
    /// # Panics
    /// If the last dimension of `x` is not `K`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>, activation: Activation) -> Tensor<D> {
        check(&x, self.inputs, self.outputs, self.bias.as_ref());
        match &self.weight {
            Packed::Plain(weight) => linear(x, weight.clone(), self.bias.clone(), activation),
            Packed::InOrder(packed) => Tensor::from_dispatch(<Dispatch as LinearOps>::packed_linear(
                x.into_dispatch(),
                packed.clone().into_dispatch(),
                dispatch(self.bias.clone()),
                self.outputs,
                activation,
            )),
        }
    }
}

fn check<const D: usize>(x: &Tensor<D>, inputs: usize, outputs: usize, bias: Option<&Tensor<1>>) {
    assert_eq!(x.dims()[D - 1], inputs, "the last dimension of the input is the first of the weight");
    if let Some(bias) = bias {
        assert_eq!(bias.dims(), [outputs], "the bias has one value for each column of the weight");
    }
}
