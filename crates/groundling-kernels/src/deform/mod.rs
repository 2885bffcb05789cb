//! Multi-scale deformable attention.

mod autodiff;
mod composed;
#[cfg(feature = "flex")]
mod flex;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Multi-scale deformable attention as an extension of burn's backends; see [`ms_deform_attn`].
///
/// Shapes as there. Sizes are checked by the function on tensors, not here.
#[backend_extension(Flex: cfg(feature = "flex"), Cube: cfg(feature = "cube"), Autodiff)]
pub trait DeformOps: Backend {
    /// The output `[B, N, G E]`.
    fn fused_deform(
        value: FloatTensor<Self>,
        levels: Vec<[usize; 2]>,
        locations: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed::deform::<Self>(value, &levels, locations, weights)
    }

    /// Gradients of value, locations and weights from that of the output.
    fn fused_deform_backward(
        value: FloatTensor<Self>,
        levels: Vec<[usize; 2]>,
        locations: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::deform_backward::<Self>(value, &levels, locations, weights, grad)
    }
}

#[cfg(feature = "cube")]
impl DeformOps for burn::backend::Cube {}

/// Weighted sums of bilinear samples of several feature maps (Zhu et al. 2020, arXiv:2010.04159, Eq. 3), without projections and softmax.
///
/// A location `(x, y)` of level `(H, W)` is at pixel `(x W - 0.5, y H - 0.5)`, where integers are centres of cells. Cells outside of the map
/// count as zeros; a location that is not finite is outside.
///
/// # Shapes
/// - `value` `[B, S, G, E]`: the levels one after the other, each row by row
/// - `levels`: height and width of each, `S` cells in all
/// - `locations` `[B, N, G, levels, P, 2]`: x, then y, from 0 (left or top edge of the map) to 1
/// - `weights` `[B, N, G, levels, P]`
/// - returns `[B, N, G E]`
///
/// # Gradient
/// For value, locations and weights. Where a location is exactly on the centre of a cell, that of the piece to the right and below is taken.
///
/// # Panics
/// If the shapes disagree.
pub fn ms_deform_attn(value: Tensor<4>, levels: &[[usize; 2]], locations: Tensor<6>, weights: Tensor<5>) -> Tensor<3> {
    let [b, s, g, _] = value.dims();
    let [_, n, _, _, p] = weights.dims();
    assert_eq!(levels.iter().map(|[height, width]| height * width).sum::<usize>(), s, "the levels have S cells in all");
    assert_eq!(locations.dims(), [b, n, g, levels.len(), p, 2], "locations are [B, N, G, levels, P, 2]");
    assert_eq!(weights.dims(), [b, n, g, levels.len(), p], "weights are [B, N, G, levels, P]");
    let (value, locations, weights) = (value.into_dispatch(), locations.into_dispatch(), weights.into_dispatch());
    Tensor::from_dispatch(<Dispatch as DeformOps>::fused_deform(value, levels.to_vec(), locations, weights))
}
