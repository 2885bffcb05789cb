//! Maps cut into windows, channels last.

use burn::tensor::Tensor;

/// Zeros behind the end of an axis.
pub fn pad_end<const D: usize>(x: Tensor<D>, axis: usize, count: usize) -> Tensor<D> {
    if count == 0 {
        return x;
    }
    let mut shape = x.dims();
    shape[axis] = count;
    let zeros = Tensor::zeros(shape, &x.device());
    Tensor::cat(vec![x, zeros], axis)
}

/// Zeros below and to the right of `[B, H, W, C]`, up to whole windows.
pub fn pad_to_windows(x: Tensor<4>, side: usize) -> Tensor<4> {
    let [_, height, width, _] = x.dims();
    let missing = |length: usize| length.next_multiple_of(side) - length;
    pad_end(pad_end(x, 1, missing(height)), 2, missing(width))
}

/// `[B, H, W, C]` to `[B windows, side * side, C]`, windows and tokens row by row.
///
/// # Panics
/// If windows do not divide the map: see [`pad_to_windows`].
pub fn split(x: Tensor<4>, side: usize) -> Tensor<3> {
    let [b, height, width, c] = x.dims();
    let (rows, columns) = (height / side, width / side);
    let windows = x.reshape([b, rows, side, columns, side * c]).swap_dims(2, 3);
    windows.reshape([b * rows * columns, side * side, c])
}

/// What [`split`] cut, for a map of so many rows and columns.
///
/// # Panics
/// If windows do not divide the map.
pub fn join(windows: Tensor<3>, [height, width]: [usize; 2], side: usize) -> Tensor<4> {
    let [all, _, c] = windows.dims();
    let (rows, columns) = (height / side, width / side);
    let b = all / (rows * columns);
    windows.reshape([b, rows, columns, side, side * c]).swap_dims(2, 3).reshape([b, height, width, c])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int};

    use super::*;

    #[test]
    fn windows_go_row_by_row_and_back() {
        let map = Tensor::<1, Int>::arange(0..24, &Device::flex()).float().reshape([1, 4, 6, 1]);
        let windows = split(map.clone(), 2);
        assert_eq!(windows.dims(), [6, 4, 1]);
        let second: Vec<f32> = windows.clone().narrow(0, 1, 1).into_data().iter().collect();
        assert_eq!(second, [2.0, 3.0, 8.0, 9.0]);
        assert_eq!(join(windows, [4, 6], 2).into_data(), map.into_data());
    }

    #[test]
    fn what_is_missing_is_zero_and_behind() {
        let padded = pad_to_windows(Tensor::<4>::ones([1, 3, 4, 1], &Device::flex()), 3);
        assert_eq!(padded.dims(), [1, 3, 6, 1]);
        let row: Vec<f32> = padded.narrow(1, 2, 1).into_data().iter().collect();
        assert_eq!(row, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }
}
