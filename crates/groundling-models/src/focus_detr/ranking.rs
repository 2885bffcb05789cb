//! Choosing tokens: ranks, rows by their place, and rows put back.

use std::cmp::Ordering;

use burn::tensor::{Device, Int, Tensor, TensorData};

/// Places of the `count` largest values, largest first; of equals the lower place, NaN after everything else. All of them if there are
/// no more.
pub fn largest(values: &[f32], count: usize) -> Vec<usize> {
    let count = count.min(values.len());
    let order = |a: &usize, b: &usize| {
        let (x, y) = (values[*a], values[*b]);
        let by_value = match (x.is_nan(), y.is_nan()) {
            // Not `total_cmp`: zeros of both signs are equal.
            (false, false) => y.partial_cmp(&x).unwrap_or(Ordering::Equal),
            (x_nan, y_nan) => x_nan.cmp(&y_nan),
        };
        by_value.then(a.cmp(b))
    };
    let mut places: Vec<usize> = (0..values.len()).collect();
    if count > 0 && count < values.len() {
        places.select_nth_unstable_by(count - 1, order);
    }
    places.truncate(count);
    places.sort_unstable_by(order);
    places
}

/// [`largest`] of each row of `[B, N]`.
pub(super) fn largest_of_rows(values: Tensor<2>, count: usize) -> Vec<Vec<usize>> {
    let [_, n] = values.dims();
    host(values).chunks(n.max(1)).map(|row| largest(row, count)).collect()
}

/// Values of a tensor on the host.
pub(super) fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Rows of each image: `x` `[B, N, ..]` and as many places in every image give `[B, places, ..]`.
pub(super) fn gather<const D: usize>(x: Tensor<D>, places: &[Vec<usize>]) -> Tensor<D> {
    let mut shape = x.dims();
    let n = shape[1];
    let rest: usize = shape[2..].iter().product();
    let flat: Vec<i64> = flat(places, n).map(|place| place as i64).collect();
    shape[1] = places.first().map_or(0, Vec::len);
    let index = indices(flat, &x.device());
    let rows: Tensor<2> = x.reshape([places.len() * n, rest]);
    rows.select(0, index).reshape(shape)
}

/// `x` `[B, N, C]` with the first `counts[b]` rows of `rows` `[B, places, C]` at their places; all others are untouched.
pub(super) fn replaced(x: Tensor<3>, places: &[Vec<usize>], counts: &[usize], rows: Tensor<3>) -> Tensor<3> {
    let [images, n, c] = x.dims();
    let k = rows.dims()[1];
    let mut source: Vec<i64> = (0..(images * n) as i64).collect();
    for (image, (places, &count)) in places.iter().zip(counts).enumerate() {
        for (row, place) in places.iter().take(count).enumerate() {
            source[image * n + place] = (images * n + image * k + row) as i64;
        }
    }
    let index = indices(source, &x.device());
    let both = Tensor::cat(vec![x.reshape([images * n, c]), rows.reshape([images * k, c])], 0);
    both.select(0, index).reshape([images, n, c])
}

/// Numbers as a tensor of indices.
pub(super) fn indices(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

fn flat(places: &[Vec<usize>], n: usize) -> impl Iterator<Item = usize> + '_ {
    places.iter().enumerate().flat_map(move |(image, places)| places.iter().map(move |place| image * n + place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_go_by_place_and_nan_goes_last() {
        let values = [1.0, f32::NAN, 3.0, 1.0, -0.0, 0.0, f32::INFINITY, 3.0];
        assert_eq!(largest(&values, 5), [6, 2, 7, 0, 3]);
        assert_eq!(largest(&values, 99), [6, 2, 7, 0, 3, 4, 5, 1]);
        assert!(largest(&values, 0).is_empty() && largest(&[], 3).is_empty());
    }

    #[test]
    fn rows_come_back_where_they_were() {
        let device = Device::flex();
        let x = Tensor::<1, Int>::arange(0..12, &device).float().reshape([2, 3, 2]);
        let places = [vec![2, 0], vec![1, 2]];
        let rows = gather(x.clone(), &places);
        assert_eq!(host(rows.clone()), [4.0, 5.0, 0.0, 1.0, 8.0, 9.0, 10.0, 11.0]);
        let changed = replaced(x, &places, &[1, 2], rows.add_scalar(100.0));
        let expected = [0.0, 1.0, 2.0, 3.0, 104.0, 105.0, 6.0, 7.0, 108.0, 109.0, 110.0, 111.0];
        assert_eq!(host(changed), expected);
    }
}
