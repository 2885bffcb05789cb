//! Attention within a window, with a bias for relative positions.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor, TensorData, assert_shape};
use groundling_kernels::{AttentionBias, attention};

use crate::layers::{Dense, PrepareInference};

/// Scaled dot-product attention among the tokens of a window (Liu et al. 2021, Eq. 4).
#[derive(Module, Debug)]
pub struct WindowAttention {
    qkv: Dense,
    /// `[(2 w - 1)^2, G]`: what is added to the score of a query and a key, by how far they are apart.
    relative_position_bias_table: Param<Tensor<2>>,
    proj: Dense,
    heads: usize,
    window: usize,
}

impl WindowAttention {
    /// For windows of `window` x `window` tokens of width `dim`.
    ///
    /// # Panics
    /// If the heads do not divide the width.
    pub fn new(dim: usize, heads: usize, window: usize, qkv_bias: bool, device: &Device) -> Self {
        assert!(heads > 0 && dim.is_multiple_of(heads), "{heads} heads do not divide a width of {dim}");
        let make = if qkv_bias { Dense::new } else { Dense::without_bias };
        let initializer = Initializer::Normal { mean: 0.0, std: 0.02 };
        Self {
            qkv: make(dim, 3 * dim, device),
            relative_position_bias_table: initializer.init([(2 * window - 1).pow(2), heads], device),
            proj: Dense::new(dim, dim, device),
            heads,
            window,
        }
    }

    /// # Shapes
    /// - `x` `[B * windows, w w, D]`, the windows of a map one after another
    /// - `mask` `[windows, w w, w w]`, added to the scores of every head
    /// - returns the shape of `x`
    ///
    /// # Panics
    /// If the shapes disagree.
    pub fn forward(&self, x: Tensor<3>, mask: Option<&Tensor<3>>) -> Tensor<3> {
        let [b, n, d] = x.dims();
        let (heads, width) = (self.heads, d / self.heads);
        assert_shape!(x, [b, self.window * self.window, d]);
        if let Some(mask) = mask {
            let [windows, _, _] = mask.dims();
            assert_shape!(mask, [windows, n, n]);
            assert!(b.is_multiple_of(windows), "{b} windows for a mask of {windows}");
        }
        // Queries, keys and values side by side, heads in each: views [B, G, N, E] that the kernel reads where they lie.
        let qkv = self.qkv.forward(x).reshape([b, n, 3 * heads, width]);
        let part = |index: usize| qkv.clone().narrow(2, index * heads, heads).swap_dims(1, 2);
        let bias = AttentionBias { pair: Some(self.position_bias()), mask: mask.cloned(), ..AttentionBias::none() };
        let context = attention(part(0), part(1), part(2), (width as f64).powf(-0.5), bias);
        let context = context.swap_dims(1, 2).reshape([b, n, d]);
        self.proj.forward(context)
    }

    /// What is added to the scores for the positions, `[1, G, N, N]`.
    fn position_bias(&self) -> Tensor<4> {
        let table = self.relative_position_bias_table.val();
        let n = self.window * self.window;
        let index = relative_position_index(self.window);
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [n * n]), &table.device());
        table.select(0, index).reshape([n, n, self.heads]).permute([2, 0, 1]).unsqueeze::<4>()
    }
}

impl PrepareInference for WindowAttention {
    fn prepare_inference(&mut self) {
        self.qkv.prepare_inference();
        self.proj.prepare_inference();
    }
}

/// Row of the bias table for every query and key of a window, `[w w, w w]` row-major:
/// `(y_i - y_j + w - 1) (2 w - 1) + x_i - x_j + w - 1`.
pub fn relative_position_index(window: usize) -> Vec<i64> {
    let w = window as i64;
    let place = |token: i64| (token / w, token % w);
    let entry = |query: i64, key: i64| {
        let ((yi, xi), (yj, xj)) = (place(query), place(key));
        (yi - yj + w - 1) * (2 * w - 1) + xi - xj + w - 1
    };
    (0..w * w).flat_map(|query| (0..w * w).map(move |key| entry(query, key))).collect()
}

/// Which pairs of tokens of the shifted windows of a map are no neighbours: `[windows, w w, w w]` row-major, windows row by row.
///
/// A window of the rolled map that reaches over the edge holds parts of the map that lie far apart.
pub fn shift_regions_differ([height, width]: [usize; 2], window: usize, shift: usize) -> Vec<bool> {
    let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
    // Three bands a side: whole windows, the rest of the last one, and what was rolled in.
    let band = |place: usize, side: usize| match place {
        place if place + window < side => 0,
        place if place + shift < side => 1,
        _ => 2,
    };
    let region = |row: usize, column: usize| 3 * band(row, rows * window) + band(column, columns * window);
    let mut differ = Vec::with_capacity(rows * columns * window.pow(4));
    for index in 0..rows * columns {
        let (top, left) = (index / columns * window, index % columns * window);
        let regions: Vec<usize> =
            (0..window * window).map(|token| region(top + token / window, left + token % window)).collect();
        for query in &regions {
            differ.extend(regions.iter().map(|key| key != query));
        }
    }
    differ
}

/// -100 where [`shift_regions_differ`], 0 elsewhere.
///
/// PARITY: not minus infinity, as in every released Swin.
pub(super) fn shift_mask(size: [usize; 2], window: usize, shift: usize, device: &Device) -> Tensor<3> {
    let values: Vec<f32> =
        shift_regions_differ(size, window, shift).into_iter().map(|differ| if differ { -100.0 } else { 0.0 }).collect();
    let n = window * window;
    let windows = values.len() / (n * n);
    Tensor::from_data(TensorData::new(values, [windows, n, n]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_of_a_window_of_two() {
        let expected = [4, 3, 1, 0, 5, 4, 2, 1, 7, 6, 4, 3, 8, 7, 5, 4];
        assert_eq!(relative_position_index(2), expected);
    }

    #[test]
    fn whole_windows_away_from_the_edge_are_not_masked() {
        let differ = shift_regions_differ([12, 12], 4, 2);
        assert!(differ[..256].iter().all(|&differ| !differ));
        assert!(differ[8 * 256..].iter().any(|&differ| differ));
    }
}
