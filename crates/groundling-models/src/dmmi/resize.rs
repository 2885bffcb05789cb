//! Bilinear resizing whose corners meet.

use burn::tensor::{Device, Tensor, TensorData};
use groundling_kernels::{Activation, linear};

/// A map of another size: the centres of its corner pixels are those of the old corner pixels ("align corners"), bilinear between.
///
/// Two products with matrices of two numbers a column, so that there is a gradient on every backend; beside the convolutions around it
/// they cost nothing.
///
/// # Shapes
/// - `x` `[B, C, H, W]`
/// - returns `[B, C, height, width]`
pub(super) fn resize(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    let device = x.device();
    let x = if w == width { x } else { linear(x, weights(w, width, &device), None, Activation::Identity) };
    if h == height {
        return x;
    }
    let x = linear(x.swap_dims(2, 3), weights(h, height, &device), None, Activation::Identity);
    x.swap_dims(2, 3)
}

/// What each of `to` outputs takes of `from` inputs, `[from, to]`.
fn weights(from: usize, to: usize, device: &Device) -> Tensor<2> {
    let mut values = vec![0.0f32; from * to];
    let step = if to > 1 { (from - 1) as f64 / (to - 1) as f64 } else { 0.0 };
    for column in 0..to {
        let place = column as f64 * step;
        let low = (place as usize).min(from - 1);
        let high = (low + 1).min(from - 1);
        let share = place - low as f64;
        values[low * to + column] += (1.0 - share) as f32;
        values[high * to + column] += share as f32;
    }
    Tensor::from_data(TensorData::new(values, [from, to]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_meet_and_what_lies_between_is_linear() {
        let device = Device::flex();
        let x = Tensor::<4>::from_data([[[[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]]], &device);
        let big = resize(x.clone(), [3, 5]).into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(big, [0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0, 6.0, 7.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        assert_eq!(resize(x.clone(), [2, 3]).into_data(), x.into_data());
    }
}
