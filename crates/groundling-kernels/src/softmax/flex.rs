//! Softmax on slices.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{SoftmaxOps, composed};
use crate::flex;
use crate::isa::Isa;
use crate::simd::{Simd, blocks, exp, multiversion};

impl SoftmaxOps for Flex {
    fn fused_softmax(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&x]) {
            return composed::softmax::<Self>(x);
        }
        let x = flex::in_order(x);
        let (input, width) = (flex::slice(&x), width(&x));
        let mut out = flex::unset(input.len());
        flex::rows(&mut out, width, |first, out| {
            forward(Isa::detect(), &input[first * width..][..out.len()], width, out);
        });
        flex::tensor(out, x.layout().shape().clone())
    }

    fn fused_softmax_backward(output: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&output, &grad]) {
            return composed::softmax_backward::<Self>(output, grad);
        }
        let (output, grad) = (flex::in_order(output), flex::in_order(grad));
        let (values, grads, width) = (flex::slice(&output), flex::slice(&grad), width(&output));
        assert_eq!(values.len(), grads.len(), "the gradient has the shape of the output");
        let mut out = flex::unset(values.len());
        flex::rows(&mut out, width, |first, out| {
            let range = first * width..first * width + out.len();
            backward(Isa::detect(), &values[range.clone()], &grads[range], width, out);
        });
        flex::tensor(out, output.layout().shape().clone())
    }

    fn fused_softmax_columns(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&x]) {
            return composed::columns::<Self>(x, composed::softmax::<Self>);
        }
        let x = flex::in_order(x);
        let (input, [rows, width]) = (flex::slice(&x), matrix(&x));
        let mut out = flex::unset(input.len());
        flex::rows(&mut out, rows * width, |first, out| {
            let input = &input[first * rows * width..][..out.len()];
            columns_forward(Isa::detect(), input, rows, width, out);
        });
        flex::tensor(out, x.layout().shape().clone())
    }

    fn fused_softmax_columns_backward(output: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&output, &grad]) {
            let grad = composed::turned::<Self>(grad);
            return composed::columns::<Self>(output, |output| composed::softmax_backward::<Self>(output, grad));
        }
        let (output, grad) = (flex::in_order(output), flex::in_order(grad));
        let (values, grads, [rows, width]) = (flex::slice(&output), flex::slice(&grad), matrix(&output));
        assert_eq!(values.len(), grads.len(), "the gradient has the shape of the output");
        let mut out = flex::unset(values.len());
        flex::rows(&mut out, rows * width, |first, out| {
            let range = first * rows * width..first * rows * width + out.len();
            columns_backward(Isa::detect(), &values[range.clone()], &grads[range], rows, width, out);
        });
        flex::tensor(out, output.layout().shape().clone())
    }
}

/// Rows and columns of each matrix.
fn matrix(tensor: &FlexTensor) -> [usize; 2] {
    let shape = tensor.layout().shape();
    [shape[shape.num_dims() - 2], width(tensor)]
}

fn width(tensor: &FlexTensor) -> usize {
    tensor.layout().shape().last().copied().unwrap_or(1)
}

multiversion! {
    /// `out = softmax(x)` of rows of `width`; a row of nothing but `-inf` becomes zeros.
    pub(crate) fn forward<S>(x: &[f32], width: usize, out: &mut [f32]) {
        assert!(x.len() == out.len() && width > 0 && x.len().is_multiple_of(width));
        for start in (0..x.len()).step_by(width) {
            softmax_row::<S>(x.as_ptr().add(start), out.as_mut_ptr().add(start), width);
        }
    }
}

#[inline(always)]
unsafe fn softmax_row<S: Simd>(from: *const f32, to: *mut f32, width: usize) {
    unsafe {
        let largest = largest::<S>(from, width);
        if largest == f32::NEG_INFINITY {
            // Nothing to attend to, unless a NaN hides here: the comparisons of `largest` pass over it.
            let nan = (0..width).any(|i| (*from.add(i)).is_nan());
            std::slice::from_raw_parts_mut(to, width).fill(if nan { f32::NAN } else { 0.0 });
            return;
        }
        let shift = S::splat(largest);
        // Two chains: an exponential takes long enough to hide the additions.
        let (mut even, mut odd) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i + 2 * S::LANES <= width {
            let a = exp::<S>(S::sub(S::load(from.add(i)), shift));
            let b = exp::<S>(S::sub(S::load(from.add(i + S::LANES)), shift));
            S::store(to.add(i), a);
            S::store(to.add(i + S::LANES), b);
            (even, odd) = (S::add(even, a), S::add(odd, b));
            i += 2 * S::LANES;
        }
        if i + S::LANES <= width {
            let a = exp::<S>(S::sub(S::load(from.add(i)), shift));
            S::store(to.add(i), a);
            even = S::add(even, a);
            i += S::LANES;
        }
        if i < width {
            let count = width - i;
            S::store_part(to.add(i), exp::<S>(S::sub(S::load_part(from.add(i), count), shift)), count);
            odd = S::add(odd, S::load_part(to.add(i), count));
        }
        let factor = S::splat(1.0 / S::sum(S::add(even, odd)));
        blocks::<S>(
            width,
            |i| S::store(to.add(i), S::mul(S::load(to.add(i)), factor)),
            |i, n| S::store_part(to.add(i), S::mul(S::load_part(to.add(i), n), factor), n),
        );
    }
}

#[inline(always)]
unsafe fn largest<S: Simd>(from: *const f32, width: usize) -> f32 {
    unsafe {
        let mut largest = [S::splat(f32::NEG_INFINITY); 4];
        let mut i = 0;
        while i + 4 * S::LANES <= width {
            for (k, largest) in largest.iter_mut().enumerate() {
                *largest = S::max(*largest, S::load(from.add(i + k * S::LANES)));
            }
            i += 4 * S::LANES;
        }
        while i + S::LANES <= width {
            largest[0] = S::max(largest[0], S::load(from.add(i)));
            i += S::LANES;
        }
        if i < width && width >= S::LANES {
            // The last whole vector overlaps what was seen, which a maximum does not mind.
            largest[1] = S::max(largest[1], S::load(from.add(width - S::LANES)));
        } else if i < width {
            let mut lanes = [f32::NEG_INFINITY; 16];
            S::store_part(lanes.as_mut_ptr(), S::load_part(from, width), width);
            largest[1] = S::max(largest[1], S::load(lanes.as_ptr()));
        }
        S::largest(S::max(S::max(largest[0], largest[1]), S::max(largest[2], largest[3])))
    }
}

multiversion! {
    /// `out = y (grad - sum(y grad))` of rows of `width`.
    pub(crate) fn backward<S>(y: &[f32], grad: &[f32], width: usize, out: &mut [f32]) {
        assert!(y.len() == out.len() && grad.len() == out.len() && width > 0 && y.len().is_multiple_of(width));
        for start in (0..y.len()).step_by(width) {
            let (y, g, to) = (y.as_ptr().add(start), grad.as_ptr().add(start), out.as_mut_ptr().add(start));
            let mut chains = [S::splat(0.0); 4];
            let mut i = 0;
            while i + 4 * S::LANES <= width {
                for (k, chain) in chains.iter_mut().enumerate() {
                    let at = i + k * S::LANES;
                    *chain = S::fma(S::load(y.add(at)), S::load(g.add(at)), *chain);
                }
                i += 4 * S::LANES;
            }
            while i + S::LANES <= width {
                chains[0] = S::fma(S::load(y.add(i)), S::load(g.add(i)), chains[0]);
                i += S::LANES;
            }
            if i < width {
                chains[1] = S::fma(S::load_part(y.add(i), width - i), S::load_part(g.add(i), width - i), chains[1]);
            }
            let along = S::splat(S::sum(S::add(S::add(chains[0], chains[1]), S::add(chains[2], chains[3]))));
            blocks::<S>(
                width,
                |i| S::store(to.add(i), S::mul(S::load(y.add(i)), S::sub(S::load(g.add(i)), along))),
                |i, n| {
                    let value = S::mul(S::load_part(y.add(i), n), S::sub(S::load_part(g.add(i), n), along));
                    S::store_part(to.add(i), value, n);
                },
            );
        }
    }
}

multiversion! {
    /// `out = softmax` over the rows of matrices of `rows` x `width`, column by column.
    fn columns_forward<S>(x: &[f32], rows: usize, width: usize, out: &mut [f32]) {
        assert!(x.len() == out.len() && rows * width > 0 && x.len().is_multiple_of(rows * width));
        for start in (0..x.len()).step_by(rows * width) {
            let (x, to) = (x.as_ptr().add(start), out.as_mut_ptr().add(start));
            blocks::<S>(
                width,
                |i| softmax_columns::<S>(x.add(i), to.add(i), rows, width, S::LANES),
                |i, n| softmax_columns::<S>(x.add(i), to.add(i), rows, width, n),
            );
        }
    }
}

multiversion! {
    /// `out = y (grad - sum(y grad))`, sums over the rows of matrices of `rows` x `width`.
    fn columns_backward<S>(y: &[f32], grad: &[f32], rows: usize, width: usize, out: &mut [f32]) {
        assert!(y.len() == out.len() && grad.len() == out.len());
        assert!(rows * width > 0 && y.len().is_multiple_of(rows * width));
        for start in (0..y.len()).step_by(rows * width) {
            let (y, g, to) = (y.as_ptr().add(start), grad.as_ptr().add(start), out.as_mut_ptr().add(start));
            blocks::<S>(
                width,
                |i| columns_gradient::<S>(y.add(i), g.add(i), to.add(i), rows, width, S::LANES),
                |i, n| columns_gradient::<S>(y.add(i), g.add(i), to.add(i), rows, width, n),
            );
        }
    }
}

/// Of `count` columns beside each other, a vector at most.
#[inline(always)]
unsafe fn softmax_columns<S: Simd>(x: *const f32, to: *mut f32, rows: usize, width: usize, count: usize) {
    unsafe {
        let mut largest = load_some::<S>(x, count);
        for row in 1..rows {
            largest = S::max(largest, load_some::<S>(x.add(row * width), count));
        }
        let mut sum = S::splat(0.0);
        for row in 0..rows {
            let value = exp::<S>(S::sub(load_some::<S>(x.add(row * width), count), largest));
            store_some::<S>(to.add(row * width), value, count);
            sum = S::add(sum, value);
        }
        let factor = S::div(S::splat(1.0), sum);
        for row in 0..rows {
            let to = to.add(row * width);
            store_some::<S>(to, S::mul(load_some::<S>(to, count), factor), count);
        }
    }
}

/// Of `count` columns beside each other, a vector at most.
#[inline(always)]
unsafe fn columns_gradient<S: Simd>(
    y: *const f32,
    grad: *const f32,
    to: *mut f32,
    rows: usize,
    width: usize,
    count: usize,
) {
    unsafe {
        let mut along = S::splat(0.0);
        for at in (0..rows).map(|row| row * width) {
            along = S::fma(load_some::<S>(y.add(at), count), load_some::<S>(grad.add(at), count), along);
        }
        for at in (0..rows).map(|row| row * width) {
            let rest = S::sub(load_some::<S>(grad.add(at), count), along);
            store_some::<S>(to.add(at), S::mul(load_some::<S>(y.add(at), count), rest), count);
        }
    }
}

#[inline(always)]
unsafe fn load_some<S: Simd>(from: *const f32, count: usize) -> S::V {
    unsafe { if count == S::LANES { S::load(from) } else { S::load_part(from, count) } }
}

#[inline(always)]
unsafe fn store_some<S: Simd>(to: *mut f32, value: S::V, count: usize) {
    unsafe { if count == S::LANES { S::store(to, value) } else { S::store_part(to, value, count) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_computes_the_definition() {
        for isa in Isa::available() {
            for width in [1, 2, 7, 8, 15, 16, 17, 33, 64, 100, 131] {
                let x: Vec<f32> = (0..3 * width).map(|i| (i as f32 * 0.7).sin() * 20.0).collect();
                let grad: Vec<f32> = (0..3 * width).map(|i| (i as f32 * 0.3).cos()).collect();
                let (mut y, mut to_x) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                forward(isa, &x, width, &mut y);
                backward(isa, &y, &grad, width, &mut to_x);
                for start in (0..x.len()).step_by(width) {
                    let row: Vec<f64> = x[start..start + width].iter().map(|x| f64::from(*x).exp()).collect();
                    let sum: f64 = row.iter().sum();
                    let along: f64 = row.iter().zip(&grad[start..]).map(|(e, g)| e / sum * f64::from(*g)).sum();
                    for (i, e) in row.iter().enumerate() {
                        let (want, at) = (e / sum, start + i);
                        assert!((f64::from(y[at]) - want).abs() < 1e-6, "{isa:?} {width}: {} not {want}", y[at]);
                        let want = want * (f64::from(grad[at]) - along);
                        let got = f64::from(to_x[at]);
                        assert!((got - want).abs() < 2e-6, "{isa:?} {width}: gradient {got} not {want}");
                    }
                }
            }
        }
    }
}
