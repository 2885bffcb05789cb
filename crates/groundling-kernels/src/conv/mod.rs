//! Two-dimensional convolution with what follows it: scale and shift of each channel, a residual, ReLU.

mod autodiff;
mod composed;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::maybe::{MaybeTensor, dispatch};

/// Stride, padding, dilation (vertical, horizontal) and groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvOptions {
    /// Steps between outputs, at least 1.
    pub stride: [usize; 2],
    /// Zeros on both sides.
    pub padding: [usize; 2],
    /// Steps between the taps of the kernel, at least 1.
    pub dilation: [usize; 2],
    /// Groups of channels that do not see each other; the number of channels for a depthwise convolution.
    pub groups: usize,
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

impl ConvOptions {
    /// Size of the output for an input and a kernel (height, width); `None` if the kernel does not fit or an option is 0.
    pub fn output_size(&self, input: [usize; 2], kernel: [usize; 2]) -> Option<[usize; 2]> {
        let mut size = [0; 2];
        for axis in 0..2 {
            let reach = self.dilation[axis].checked_mul(kernel[axis].checked_sub(1)?)? + 1;
            let padded = input[axis] + 2 * self.padding[axis];
            size[axis] = padded.checked_sub(reach)?.checked_div(self.stride[axis])? + 1;
        }
        Some(size)
    }
}

/// What follows the sum of products: `relu?(sum * scale + shift + residual)`, each part optional.
#[derive(Debug, Clone, Default)]
pub struct ConvEpilogue {
    /// `[O]`, one factor for each output channel. A constant: no gradient. With `shift` it is a frozen batch normalisation.
    pub scale: Option<Tensor<1>>,
    /// `[O]`, one summand for each output channel: the bias. Has a gradient.
    pub shift: Option<Tensor<1>>,
    /// `[B, O, H', W']`, added before ReLU. Has a gradient.
    pub residual: Option<Tensor<4>>,
    /// Ends with `max(x, 0)`.
    pub relu: bool,
}

/// Convolution as an extension of burn's backends; see [`conv2d`].
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait ConvOps: Backend {
    /// The output.
    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        #[extension_type] scale: MaybeTensor<Self>,
        #[extension_type] shift: MaybeTensor<Self>,
        #[extension_type] residual: MaybeTensor<Self>,
        relu: bool,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        composed::conv2d::<Self>(x, weight, scale, shift, residual, relu, options)
    }

    /// `weight` in the order in which the kernel of this machine reads it; the weight itself on backends without one.
    fn pack_conv2d(weight: FloatTensor<Self>, groups: usize) -> FloatTensor<Self> {
        let _ = groups;
        weight
    }

    /// The output for a weight that [`pack_conv2d`](ConvOps::pack_conv2d) gave as one dimension; `weight` is its shape before.
    #[allow(clippy::too_many_arguments)]
    fn packed_conv2d(
        x: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        #[extension_type] scale: MaybeTensor<Self>,
        #[extension_type] shift: MaybeTensor<Self>,
        #[extension_type] residual: MaybeTensor<Self>,
        relu: bool,
        weight: [usize; 4],
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let packed = Self::float_reshape(packed, burn::tensor::Shape::from(weight));
        composed::conv2d::<Self>(x, packed, scale, shift, residual, relu, options)
    }

    /// The gradient of `x` from that of the sums; `x` gives the shape only.
    fn fused_conv2d_grad_input(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        composed::grad_input::<Self>(x, weight, grad, options)
    }

    /// The gradient of `weight` from that of the sums; `weight` gives the shape only.
    fn fused_conv2d_grad_weight(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        composed::grad_weight::<Self>(x, weight, grad, options)
    }
}

#[cfg(feature = "cube")]
impl ConvOps for burn::backend::Cube {}

/// `relu?(conv(x, weight) * scale + shift + residual)` in one pass over the output.
///
/// # Shapes
/// - `x` `[B, C, H, W]`, `weight` `[O, C / groups, kernel height, kernel width]`
/// - returns `[B, O, H', W']` with the size of [`ConvOptions::output_size`]
///
/// # Panics
/// If shapes disagree, the groups do not divide the channels or the kernel does not fit.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, epilogue: ConvEpilogue, options: ConvOptions) -> Tensor<4> {
    check(&x, weight.dims(), &epilogue, options);
    let output = <Dispatch as ConvOps>::fused_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        dispatch(epilogue.scale),
        dispatch(epilogue.shift),
        dispatch(epilogue.residual),
        epilogue.relu,
        options,
    );
    Tensor::from_dispatch(output)
}

/// A weight in the order in which the kernel reads it, made once and used for many images; see [`PackedLinear`](crate::PackedLinear).
///
/// Worth it where maps are small: the last stage of a ResNet has 2 million weights for each 3x3 convolution and, for an image of 640
/// pixels, 400 positions to use them at.
#[derive(Debug, Clone)]
pub struct PackedConv {
    weight: Packed,
    shape: [usize; 4],
    options: ConvOptions,
}

#[derive(Debug, Clone)]
enum Packed {
    InOrder(Tensor<1>),
    Plain(Tensor<4>),
}

impl PackedConv {
    /// Rearranges `weight` `[O, C / groups, kernel height, kernel width]`.
    pub fn new(weight: Tensor<4>, options: ConvOptions) -> Self {
        let shape = weight.dims();
        let packed = <Dispatch as ConvOps>::pack_conv2d(weight.clone().into_dispatch(), options.groups);
        let weight = match burn::backend::TensorMetadata::shape(&packed).num_dims() {
            1 => Packed::InOrder(Tensor::from_dispatch(packed)),
            _ => Packed::Plain(weight),
        };
        Self { weight, shape, options }
    }

    /// As [`conv2d`] with the weight given before.
    ///
    /// # Panics
    /// As [`conv2d`].
    pub fn forward(&self, x: Tensor<4>, epilogue: ConvEpilogue) -> Tensor<4> {
        let packed = match &self.weight {
            Packed::Plain(weight) => return conv2d(x, weight.clone(), epilogue, self.options),
            Packed::InOrder(packed) => packed.clone(),
        };
        check(&x, self.shape, &epilogue, self.options);
        Tensor::from_dispatch(<Dispatch as ConvOps>::packed_conv2d(
            x.into_dispatch(),
            packed.into_dispatch(),
            dispatch(epilogue.scale),
            dispatch(epilogue.shift),
            dispatch(epilogue.residual),
            epilogue.relu,
            self.shape,
            self.options,
        ))
    }
}

fn check(x: &Tensor<4>, weight: [usize; 4], epilogue: &ConvEpilogue, options: ConvOptions) {
    let [b, c, h, w] = x.dims();
    let [o, per_group, kernel_h, kernel_w] = weight;
    assert!(
        options.groups > 0 && c == per_group * options.groups && o % options.groups == 0,
        "{c} channels into {o} do not go with a weight for {per_group} and {} groups",
        options.groups
    );
    let size = options.output_size([h, w], [kernel_h, kernel_w]);
    let [out_h, out_w] = size.unwrap_or_else(|| panic!("a kernel of {kernel_h}x{kernel_w} does not fit into {h}x{w}"));
    for channels in [&epilogue.scale, &epilogue.shift].into_iter().flatten() {
        assert_eq!(channels.dims(), [o], "scale and shift have one value for each output channel");
    }
    if let Some(residual) = &epilogue.residual {
        assert_eq!(residual.dims(), [b, o, out_h, out_w], "the residual has the shape of the output");
    }
}
