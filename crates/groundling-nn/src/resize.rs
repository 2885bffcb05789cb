//! Bilinear resizing of maps, shrinking without a filter, as PyTorch's `interpolate`.
//!
//! Two products with matrices of two numbers a column, so that there is a gradient on every backend; beside the convolutions around it they
//! cost nothing.

use burn::tensor::{Device, Tensor, TensorData};
use groundling_kernels::{Activation, linear};

/// What of two maps lies at the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meet {
    /// The centres of their corner pixels (`align_corners`).
    CornerPixels,
    /// Their edges.
    Edges,
}

/// A map of another size, bilinear between the centres of its pixels.
///
/// # Shapes
/// - `x` `[B, C, H, W]`
/// - returns `[B, C, height, width]`
pub fn bilinear(x: Tensor<4>, [height, width]: [usize; 2], meet: Meet) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let device = x.device();
    let x = if w == width { x } else { linear(x, weights(w, width, meet, &device), None, Activation::Identity) };
    if h == height {
        return x;
    }
    let x = linear(x.swap_dims(2, 3), weights(h, height, meet, &device), None, Activation::Identity);
    x.swap_dims(2, 3)
}

/// What each of `to` outputs takes of `from` inputs, `[from, to]`.
fn weights(from: usize, to: usize, meet: Meet, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0f32; from * to];
    for column in 0..to {
        let place = match meet {
            Meet::CornerPixels if to > 1 => column as f64 * ((from - 1) as f64 / (to - 1) as f64),
            Meet::CornerPixels => 0.0,
            Meet::Edges => ((column as f64 + 0.5) * (from as f64 / to as f64) - 0.5).max(0.0),
        };
        let low = (place as usize).min(from - 1);
        let high = (low + 1).min(from - 1);
        let share = (place - low as f64).min(1.0);
        values[low * to + column] += (1.0 - share) as f32;
        values[high * to + column] += share as f32;
    }
    Tensor::from_data(TensorData::new(values, [from, to]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resized(size: [usize; 2], meet: Meet) -> Vec<f32> {
        let x = Tensor::<4>::from_data([[[[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]]], &Device::flex());
        bilinear(x, size, meet).into_data().try_to_vec::<f32>().unwrap()
    }

    #[test]
    fn corners_meet_and_what_lies_between_is_linear() {
        let big = resized([3, 5], Meet::CornerPixels);
        assert_eq!(big, [0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 6.0, 7.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        assert_eq!(resized([2, 3], Meet::CornerPixels), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    }

    /// `torch.nn.functional.interpolate(x, (4, 6), mode="bilinear")`.
    #[test]
    fn edges_meet_and_beyond_the_last_centre_nothing_changes() {
        let rows = resized([4, 6], Meet::Edges);
        assert_eq!(rows[..6], [0.0, 0.5, 1.5, 2.5, 3.5, 4.0]);
        assert_eq!(rows[6..12], [1.5, 2.0, 3.0, 4.0, 5.0, 5.5]);
        assert_eq!(rows[18..], [6.0, 6.5, 7.5, 8.5, 9.5, 10.0]);
        assert_eq!(resized([1, 1], Meet::Edges), [5.0]);
    }
}
