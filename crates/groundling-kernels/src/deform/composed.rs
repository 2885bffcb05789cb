//! Deformable attention of ordinary operations: what the kernels compute, for backends without one and for float types other than `f32`.
//!
//! Every sample is four gathers of `[B G, N P, E]`, one for each neighbour.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{DType, IndexingUpdateOp, Shape, Slice};

/// `[B, N, G, levels, P]`, and `E`.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    b: usize,
    n: usize,
    g: usize,
    levels: usize,
    p: usize,
    e: usize,
}

impl Sizes {
    fn of<B: Backend>(value: &FloatTensor<B>, weights: &FloatTensor<B>) -> Self {
        let [b, n, g, levels, p] = weights.shape().dims();
        Self { b, n, g, levels, p, e: value.shape()[3] }
    }

    fn any_zero(&self, cells: usize) -> bool {
        self.b * self.n * self.g * self.levels * self.p * self.e * cells == 0
    }

    fn heads(&self) -> usize {
        self.b * self.g
    }

    fn samples(&self) -> usize {
        self.n * self.p
    }
}

pub(super) fn deform<B: Backend>(
    value: FloatTensor<B>,
    levels: &[[usize; 2]],
    locations: FloatTensor<B>,
    weights: FloatTensor<B>,
) -> FloatTensor<B> {
    let sizes = Sizes::of::<B>(&value, &weights);
    let Sizes { b, n, g, p, e, .. } = sizes;
    let mut out = zeros_like::<B>(&value, [sizes.heads(), n, e]);
    if !sizes.any_zero(value.shape()[1]) {
        let value_by_head = by_head::<B>(value);
        let mut start = 0;
        for (index, &[height, width]) in levels.iter().enumerate() {
            if height * width > 0 {
                let level = Level::<B>::new(&sizes, index, start, [height, width], &locations, &weights);
                for corner in &level.corners {
                    let samples = B::float_gather(1, value_by_head.clone(), wide::<B>(&corner.index, e));
                    let share = B::float_mul(corner.share.clone(), level.weight.clone());
                    let share = B::float_reshape(share, Shape::from([sizes.heads(), sizes.samples(), 1]));
                    let samples = B::float_reshape(B::float_mul(samples, share), Shape::from([sizes.heads(), n, p, e]));
                    let sum = B::float_reshape(B::float_sum_dim(samples, 2), Shape::from([sizes.heads(), n, e]));
                    out = B::float_add(out, sum);
                }
            }
            start += height * width;
        }
    }
    let out = B::float_permute(B::float_reshape(out, Shape::from([b, g, n, e])), &[0, 2, 1, 3]);
    B::float_reshape(out, Shape::from([b, n, g * e]))
}

pub(super) fn deform_backward<B: Backend>(
    value: FloatTensor<B>,
    levels: &[[usize; 2]],
    locations: FloatTensor<B>,
    weights: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let sizes = Sizes::of::<B>(&value, &weights);
    let Sizes { b, n, g, p, e, .. } = sizes;
    let cells = value.shape()[1];
    if sizes.any_zero(cells) {
        let zeros = |tensor: &FloatTensor<B>| zeros_like::<B>(tensor, tensor.shape());
        return (zeros(&value), zeros(&locations), zeros(&weights));
    }
    let samples = [sizes.heads(), sizes.samples()];
    let grad = B::float_permute(B::float_reshape(grad, Shape::from([b, n, g, e])), &[0, 2, 1, 3]);
    let grad = B::float_expand(
        B::float_reshape(grad, Shape::from([sizes.heads(), n, 1, e])),
        Shape::from([sizes.heads(), n, p, e]),
    );
    let grad = B::float_reshape(grad, Shape::from([samples[0], samples[1], e]));
    let value_by_head = by_head::<B>(value);
    let mut grad_value = zeros_like::<B>(&value_by_head, value_by_head.shape());
    let (mut grad_locations, mut grad_weights) = (Vec::new(), Vec::new());
    let mut start = 0;
    for (index, &[height, width]) in levels.iter().enumerate() {
        let none = zeros_like::<B>(&grad_value, samples);
        let (mut along_x, mut along_y, mut along_weight) = (none.clone(), none.clone(), none);
        if height * width > 0 {
            let level = Level::<B>::new(&sizes, index, start, [height, width], &locations, &weights);
            for corner in level.corners {
                let index = wide::<B>(&corner.index, e);
                let sample = B::float_gather(1, value_by_head.clone(), index.clone());
                let dot =
                    B::float_reshape(B::float_sum_dim(B::float_mul(sample, grad.clone()), 2), Shape::from(samples));
                along_x = B::float_add(along_x, B::float_mul(dot.clone(), corner.share_by_x));
                along_y = B::float_add(along_y, B::float_mul(dot.clone(), corner.share_by_y));
                along_weight = B::float_add(along_weight, B::float_mul(dot, corner.share.clone()));
                let share = B::float_mul(corner.share, level.weight.clone());
                let share = B::float_reshape(share, Shape::from([samples[0], samples[1], 1]));
                let part = B::float_mul(grad.clone(), share);
                grad_value = B::float_scatter(1, grad_value, index, part, IndexingUpdateOp::Add);
            }
            along_x = B::float_mul_scalar(B::float_mul(along_x, level.weight.clone()), (width as f64).into());
            along_y = B::float_mul_scalar(B::float_mul(along_y, level.weight), (height as f64).into());
        }
        let to = |tensor: FloatTensor<B>, last: usize| B::float_reshape(tensor, Shape::from([b, g, n, 1, p, last]));
        grad_locations.push(B::float_cat(vec![to(along_x, 1), to(along_y, 1)], 5));
        grad_weights.push(to(along_weight, 1));
        start += height * width;
    }
    let in_order = |parts: Vec<FloatTensor<B>>| B::float_permute(B::float_cat(parts, 3), &[0, 2, 1, 3, 4, 5]);
    let grad_value = B::float_reshape(grad_value, Shape::from([b, g, cells, e]));
    (
        B::float_permute(grad_value, &[0, 2, 1, 3]),
        in_order(grad_locations),
        B::float_reshape(in_order(grad_weights), Shape::from([b, n, g, sizes.levels, p])),
    )
}

/// One level: the weights `[B G, N P]` and the four neighbours of every sample.
struct Level<B: Backend> {
    weight: FloatTensor<B>,
    corners: Vec<Corner<B>>,
}

/// One neighbour of every sample, all `[B G, N P]`: which cell, its bilinear share (0 outside of the map) and how the share changes with
/// the pixel coordinates.
struct Corner<B: Backend> {
    index: IntTensor<B>,
    share: FloatTensor<B>,
    share_by_x: FloatTensor<B>,
    share_by_y: FloatTensor<B>,
}

impl<B: Backend> Level<B> {
    fn new(
        sizes: &Sizes,
        level: usize,
        start: usize,
        [height, width]: [usize; 2],
        locations: &FloatTensor<B>,
        weights: &FloatTensor<B>,
    ) -> Self {
        let Sizes { b, n, g, p, .. } = *sizes;
        let flat = |tensor: FloatTensor<B>| {
            let tensor = B::float_permute(B::float_reshape(tensor, Shape::from([b, n, g, p])), &[0, 2, 1, 3]);
            B::float_reshape(tensor, Shape::from([sizes.heads(), sizes.samples()]))
        };
        let every = |end: usize| Slice::from(0..end);
        let one = |index: usize| Slice::from(index..index + 1);
        let coordinate = |axis: usize, size: usize| {
            let slices = [every(b), every(n), every(g), one(level), every(p), one(axis)];
            // Cell numbers are computed in f32: they do not fit the smaller types.
            let at = B::float_cast(flat(B::float_slice(locations.clone(), &slices)), burn::tensor::FloatDType::F32);
            let at = B::float_sub_scalar(B::float_mul_scalar(at, (size as f64).into()), 0.5f64.into());
            inside::<B>(at, size)
        };
        let dtype = weights.dtype();
        let (x, y) = (coordinate(0, width), coordinate(1, height));
        let (left, top) = (B::float_floor(x.clone()), B::float_floor(y.clone()));
        let (by_x, by_y) = (B::float_sub(x, left.clone()), B::float_sub(y, top.clone()));
        let corners = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(below, right)| {
            let (column, row) = (
                B::float_add_scalar(left.clone(), (right as f64).into()),
                B::float_add_scalar(top.clone(), (below as f64).into()),
            );
            let (column, misses_column) = clamped::<B>(column, width);
            let (row, misses_row) = clamped::<B>(row, height);
            let outside = B::bool_or(misses_column, misses_row);
            let share_x = if right == 1 { by_x.clone() } else { one_minus::<B>(by_x.clone()) };
            let share_y = if below == 1 { by_y.clone() } else { one_minus::<B>(by_y.clone()) };
            let signed = |share: FloatTensor<B>, plus: bool| if plus { share } else { B::float_neg(share) };
            let shown = |share: FloatTensor<B>| {
                let share = B::float_mask_fill(share, outside.clone(), 0.0f64.into());
                if dtype == DType::F32 { share } else { B::float_cast(share, dtype.into()) }
            };
            let index = B::float_add(B::float_mul_scalar(row, (width as f64).into()), column);
            let index = B::float_add_scalar(index, (start as f64).into());
            let int = get_or_init_device_settings::<B>(&index.device()).int_dtype;
            Corner {
                share: shown(B::float_mul(share_x.clone(), share_y.clone())),
                share_by_x: shown(signed(share_y, right == 1)),
                share_by_y: shown(signed(share_x, below == 1)),
                index: B::float_into_int(index, int),
            }
        });
        let slices = [every(b), every(n), every(g), one(level), every(p)];
        Self { weight: flat(B::float_slice(weights.clone(), &slices)), corners: corners.into() }
    }
}

/// A pixel coordinate, or -2, none of whose neighbours is on the map, where it is further out or no number at all.
fn inside<B: Backend>(at: FloatTensor<B>, size: usize) -> FloatTensor<B> {
    let bool = get_or_init_device_settings::<B>(&at.device()).bool_dtype;
    let low = B::float_greater_equal_elem(at.clone(), (-1.0f64).into(), bool);
    let high = B::float_lower_elem(at.clone(), (size as f64).into(), bool);
    B::float_mask_fill(at, B::bool_not(B::bool_and(low, high)), (-2.0f64).into())
}

/// The nearest cell on the map, and whether it is another one.
fn clamped<B: Backend>(at: FloatTensor<B>, size: usize) -> (FloatTensor<B>, burn::backend::tensor::BoolTensor<B>) {
    let bool = get_or_init_device_settings::<B>(&at.device()).bool_dtype;
    let nearest = B::float_clamp(at.clone(), 0.0f64.into(), ((size - 1) as f64).into());
    let other = B::float_not_equal(nearest.clone(), at, bool);
    (nearest, other)
}

fn one_minus<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_add_scalar(B::float_neg(x), 1.0f64.into())
}

/// `[B, S, G, E]` to `[B G, S, E]`.
fn by_head<B: Backend>(value: FloatTensor<B>) -> FloatTensor<B> {
    let [b, s, g, e] = value.shape().dims();
    B::float_reshape(B::float_permute(value, &[0, 2, 1, 3]), Shape::from([b * g, s, e]))
}

/// The same index for every channel.
fn wide<B: Backend>(index: &IntTensor<B>, e: usize) -> IntTensor<B> {
    let [heads, samples] = index.shape().dims();
    B::int_expand(B::int_reshape(index.clone(), Shape::from([heads, samples, 1])), Shape::from([heads, samples, e]))
}

fn zeros_like<B: Backend>(tensor: &FloatTensor<B>, shape: impl Into<Shape>) -> FloatTensor<B> {
    B::float_zeros(shape.into(), &tensor.device(), tensor.dtype().into())
}
