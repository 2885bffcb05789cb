//! The largest value of each window, as behind the first convolution of a ResNet.

mod autodiff;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

use crate::conv::ConvOptions;

/// Windows of a pooling, as (vertical, horizontal).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolOptions {
    /// Size of a window.
    pub kernel: [usize; 2],
    /// Steps between windows, at least 1.
    pub stride: [usize; 2],
    /// Positions outside on both sides, which never win; at most half of a window.
    pub padding: [usize; 2],
}

impl PoolOptions {
    /// Height and width of the output (rounded down); `None` if no window fits or an option is out of range.
    pub fn output_size(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let half = (0..2).all(|axis| 2 * self.padding[axis] <= self.kernel[axis]);
        let options = ConvOptions { stride: self.stride, padding: self.padding, ..ConvOptions::default() };
        options.output_size(input, self.kernel).filter(|_| half)
    }
}

/// Max pooling as an extension of burn's backends; see [`max_pool2d`].
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait PoolOps: Backend {
    /// The output, for `x` `[B, C, H, W]`.
    fn fused_max_pool2d(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        Self::max_pool2d(x, options.kernel, options.stride, options.padding, [1, 1], false)
    }
}

#[cfg(feature = "cube")]
impl PoolOps for burn::backend::Cube {}

/// The largest value of each window; NaN if one is in it.
///
/// # Shapes
/// - `x` `[B, C, H, W]`
/// - returns `[B, C, H', W']` with the size of [`PoolOptions::output_size`]
///
/// # Panics
/// If no window fits, or the padding is more than half of a window.
pub fn max_pool2d(x: Tensor<4>, options: PoolOptions) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    assert!(options.output_size([h, w]).is_some(), "{options:?} does not go with {h}x{w}");
    Tensor::from_dispatch(<Dispatch as PoolOps>::fused_max_pool2d(x.into_dispatch(), options))
}
