//! Layer normalisation on slices.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{NormOps, composed};
use crate::flex;
use crate::isa::Isa;
use crate::maybe::MaybeTensor;
use crate::simd::{Simd, blocks, multiversion};

impl NormOps for Flex {
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        residual: MaybeTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        if !flex::all_f32([&x, &gamma, &beta].into_iter().chain(residual.as_option())) {
            return composed::layer_norm::<Self>(composed::sum::<Self>(x, residual), gamma, beta, epsilon);
        }
        let operands = Operands::new(x, residual, gamma, beta, epsilon);
        let mut out = flex::unset(operands.len());
        operands.run(&mut [], &mut [], &mut [], &mut out);
        flex::tensor(out, operands.x.layout().shape().clone())
    }

    fn fused_add_then_layer_norm(
        x: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if !flex::all_f32([&x, &residual, &gamma, &beta]) {
            let sum = composed::sum::<Self>(x, MaybeTensor::Given(residual));
            return (sum.clone(), composed::layer_norm::<Self>(sum, gamma, beta, epsilon));
        }
        let operands = Operands::new(x, MaybeTensor::Given(residual), gamma, beta, epsilon);
        let (mut sum, mut out) = (flex::unset(operands.len()), flex::unset(operands.len()));
        operands.run(&mut sum, &mut [], &mut [], &mut out);
        let shape = operands.x.layout().shape().clone();
        (flex::tensor(sum, shape.clone()), flex::tensor(out, shape))
    }

    fn fused_layer_norm_keeping(
        x: FloatTensor<Self>,
        residual: MaybeTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !flex::all_f32([&x, &gamma, &beta].into_iter().chain(residual.as_option())) {
            return composed::layer_norm_keeping::<Self>(composed::sum::<Self>(x, residual), gamma, beta, epsilon);
        }
        let operands = Operands::new(x, residual, gamma, beta, epsilon);
        let shape = operands.x.layout().shape().clone();
        let rows =
            operands.len().checked_div(operands.width).unwrap_or_else(|| shape[..shape.len() - 1].iter().product());
        let mut sum = flex::unset(if operands.residual.is_some() { operands.len() } else { 0 });
        let (mut mean, mut scale, mut out) = (vec![0.0; rows], vec![0.0; rows], flex::unset(operands.len()));
        operands.run(&mut sum, &mut mean, &mut scale, &mut out);

        let mut row_shape = shape.clone();
        row_shape[shape.len() - 1] = 1;
        let sum = if operands.residual.is_some() { flex::tensor(sum, shape.clone()) } else { operands.x };
        (flex::tensor(out, shape), sum, flex::tensor(mean, row_shape.clone()), flex::tensor(scale, row_shape))
    }

    fn fused_layer_norm_backward(
        sum: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !flex::all_f32([&sum, &mean, &scale, &gamma, &grad]) {
            return composed::layer_norm_backward::<Self>(sum, mean, scale, gamma, grad);
        }
        let [sum, mean, scale, gamma, grad] = [sum, mean, scale, gamma, grad].map(flex::in_order);
        let kept = Kept {
            sum: flex::slice(&sum),
            mean: flex::slice(&mean),
            scale: flex::slice(&scale),
            gamma: flex::slice(&gamma),
        };
        let (to_sum, to_gamma, to_beta) = gradients(kept, flex::slice(&grad));
        let width = gamma.layout().shape().clone();
        (
            flex::tensor(to_sum, sum.layout().shape().clone()),
            flex::tensor(to_gamma, width.clone()),
            flex::tensor(to_beta, width),
        )
    }
}

/// What a forward pass reads.
struct Operands {
    x: FlexTensor,
    residual: Option<FlexTensor>,
    gamma: FlexTensor,
    beta: FlexTensor,
    epsilon: f32,
    width: usize,
}

impl Operands {
    fn new(x: FlexTensor, residual: MaybeTensor<Flex>, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> Self {
        let [x, gamma, beta] = [x, gamma, beta].map(flex::in_order);
        let residual = residual.into_option().map(flex::in_order);
        let width = flex::slice(&gamma).len();
        Self { x, residual, gamma, beta, epsilon: epsilon as f32, width }
    }

    /// How many elements are normalised.
    fn len(&self) -> usize {
        flex::slice(&self.x).len()
    }

    /// Normalises all rows into `out`; the other three, each of all rows or empty, get the sum, the mean and one over the deviation.
    fn run(&self, sum: &mut [f32], mean: &mut [f32], scale: &mut [f32], out: &mut [f32]) {
        if out.is_empty() {
            return;
        }
        let (isa, width) = (Isa::detect(), self.width);
        let row = Rows {
            x: flex::slice(&self.x),
            residual: self.residual.as_ref().map_or(&[], flex::slice),
            gamma: flex::slice(&self.gamma),
            beta: flex::slice(&self.beta),
            epsilon: self.epsilon,
        };
        let rows = out.len() / width;
        let threads = rayon::current_num_threads();
        if out.len() < flex::PARALLEL || rows < 2 || threads < 2 {
            return forward(isa, row, sum, mean, scale, out);
        }
        let piece = rows.div_ceil(threads * 4);
        let pieces = rows.div_ceil(piece);
        out.par_chunks_mut(piece * width)
            .zip(split(sum, piece * width, pieces))
            .zip(split(mean, piece, pieces).into_par_iter().zip(split(scale, piece, pieces)))
            .enumerate()
            .for_each(|(index, ((out, sum), (mean, scale)))| {
                forward(isa, row.from(index * piece, out.len() / width), sum, mean, scale, out);
            });
    }
}

/// The pieces of `size` elements, or as many empty ones if there is nothing.
fn split(values: &mut [f32], size: usize, pieces: usize) -> Vec<&mut [f32]> {
    if values.is_empty() {
        return (0..pieces).map(|_| <&mut [f32]>::default()).collect();
    }
    values.chunks_mut(size).collect()
}

/// Rows to normalise.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    x: &'a [f32],
    /// As long as `x`, or empty.
    residual: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

impl Rows<'_> {
    /// `count` of them, starting at `first`.
    fn from(self, first: usize, count: usize) -> Self {
        let width = self.gamma.len();
        let range = first * width..(first + count) * width;
        let residual = if self.residual.is_empty() { self.residual } else { &self.residual[range.clone()] };
        Self { x: &self.x[range], residual, ..self }
    }
}

multiversion! {
    /// Normalises rows; `sum`, `mean` and `scale` are written unless empty.
    pub(crate) fn forward<S>(rows: Rows<'_>, sum: &mut [f32], mean: &mut [f32], scale: &mut [f32], out: &mut [f32]) {
        let Rows { x, residual, gamma, beta, epsilon } = rows;
        let (width, count) = (gamma.len(), out.len() / gamma.len());
        assert!(x.len() == out.len() && out.len() == count * width && beta.len() == width);
        assert!(residual.is_empty() || residual.len() == x.len());
        assert!((sum.is_empty() || sum.len() == x.len()) && mean.len() == scale.len());
        assert!(mean.is_empty() || mean.len() == count);
        for row in 0..count {
            let start = row * width;
            let to = out.as_mut_ptr().add(start);
            let mut from = x.as_ptr().add(start);
            let total = if residual.is_empty() {
                total::<S>(from, width)
            } else {
                // The sum is kept where the caller wants it, otherwise for a moment where the result will be.
                let kept = if sum.is_empty() { to } else { sum.as_mut_ptr().add(start) };
                let total = add_and_total::<S>(from, residual.as_ptr().add(start), kept, width);
                from = kept;
                total
            };
            let rough = total / width as f32;
            let (rest, squares) = about::<S>(from, rough, width);
            // What rounding left of the mean, small as it is, would be an error in every element of a row far from zero.
            let (rest, squares) = (rest / width as f32, squares / width as f32);
            let factor = 1.0 / ((squares - rest * rest).max(0.0) + epsilon).sqrt();
            if !mean.is_empty() {
                mean[row] = rough + rest;
                scale[row] = factor;
            }
            let (rough, rest, factor) = (S::splat(rough), S::splat(rest), S::splat(factor));
            let (gain, shift) = (gamma.as_ptr(), beta.as_ptr());
            blocks::<S>(
                width,
                |i| {
                    let normal = S::mul(S::sub(S::sub(S::load(from.add(i)), rough), rest), factor);
                    S::store(to.add(i), S::fma(normal, S::load(gain.add(i)), S::load(shift.add(i))));
                },
                |i, n| {
                    let normal = S::mul(S::sub(S::sub(S::load_part(from.add(i), n), rough), rest), factor);
                    S::store_part(to.add(i), S::fma(normal, S::load_part(gain.add(i), n), S::load_part(shift.add(i), n)), n);
                },
            );
        }
    }
}

/// Adds `value(index)` for every whole vector of `len` in four chains, and `part(index, count)` for what is left.
///
/// Four chains hide the latency of an addition, and make a sum of thousands as exact as it needs to be: each of 64 lanes adds few.
#[inline(always)]
unsafe fn in_four<S: Simd>(
    len: usize,
    mut value: impl FnMut(usize) -> S::V,
    part: impl FnOnce(usize, usize) -> S::V,
) -> f32 {
    unsafe {
        let mut chains = [S::splat(0.0); 4];
        let mut index = 0;
        while index + 4 * S::LANES <= len {
            for (k, chain) in chains.iter_mut().enumerate() {
                *chain = S::add(*chain, value(index + k * S::LANES));
            }
            index += 4 * S::LANES;
        }
        for chain in &mut chains {
            if index + S::LANES <= len {
                *chain = S::add(*chain, value(index));
                index += S::LANES;
            }
        }
        if index < len {
            chains[3] = S::add(chains[3], part(index, len - index));
        }
        S::sum(S::add(S::add(chains[0], chains[1]), S::add(chains[2], chains[3])))
    }
}

#[inline(always)]
unsafe fn total<S: Simd>(from: *const f32, len: usize) -> f32 {
    unsafe { in_four::<S>(len, |i| S::load(from.add(i)), |i, n| S::load_part(from.add(i), n)) }
}

#[inline(always)]
unsafe fn add_and_total<S: Simd>(x: *const f32, residual: *const f32, to: *mut f32, len: usize) -> f32 {
    unsafe {
        in_four::<S>(
            len,
            |i| {
                let sum = S::add(S::load(x.add(i)), S::load(residual.add(i)));
                S::store(to.add(i), sum);
                sum
            },
            |i, n| {
                let sum = S::add(S::load_part(x.add(i), n), S::load_part(residual.add(i), n));
                S::store_part(to.add(i), sum, n);
                sum
            },
        )
    }
}

/// The sum of the differences to `centre`, and of their squares.
#[inline(always)]
unsafe fn about<S: Simd>(from: *const f32, centre: f32, len: usize) -> (f32, f32) {
    unsafe {
        let all = S::splat(centre);
        let (mut sums, mut squares) = ([S::splat(0.0); 4], [S::splat(0.0); 4]);
        let mut index = 0;
        while index + 4 * S::LANES <= len {
            for k in 0..4 {
                let apart = S::sub(S::load(from.add(index + k * S::LANES)), all);
                sums[k] = S::add(sums[k], apart);
                squares[k] = S::fma(apart, apart, squares[k]);
            }
            index += 4 * S::LANES;
        }
        for k in 0..4 {
            if index >= len {
                break;
            }
            let count = S::LANES.min(len - index);
            let apart = if count == S::LANES {
                S::sub(S::load(from.add(index)), all)
            } else {
                // The lanes past the end must be `centre` to count nothing: they are read back from a whole vector.
                let mut lanes = [centre; 16];
                S::store_part(lanes.as_mut_ptr(), S::load_part(from.add(index), count), count);
                S::sub(S::load(lanes.as_ptr()), all)
            };
            sums[k] = S::add(sums[k], apart);
            squares[k] = S::fma(apart, apart, squares[k]);
            index += count;
        }
        let total = |v: [S::V; 4]| S::sum(S::add(S::add(v[0], v[1]), S::add(v[2], v[3])));
        (total(sums), total(squares))
    }
}

/// What the gradient needs from the forward pass.
#[derive(Clone, Copy)]
pub(crate) struct Kept<'a> {
    sum: &'a [f32],
    mean: &'a [f32],
    scale: &'a [f32],
    gamma: &'a [f32],
}

/// The gradients of what was normalised, of `gamma` and of `beta`.
///
/// Rows are summed in groups whose size depends on the number of rows only, and groups in their order: the result is the same on any
/// number of threads.
fn gradients(kept: Kept<'_>, grad: &[f32]) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let (isa, width) = (Isa::detect(), kept.gamma.len());
    if grad.is_empty() {
        return (Vec::new(), vec![0.0; width], vec![0.0; width]);
    }
    let rows = grad.len() / width;
    let group = rows.div_ceil(32).max(8);
    let mut to_sum = flex::unset(grad.len());
    let mut sums = vec![0.0; rows.div_ceil(group) * 2 * width];
    let work = |(index, (out, sums)): (usize, (&mut [f32], &mut [f32]))| {
        let (first, count) = (index * group, out.len() / width);
        let range = first * width..(first + count) * width;
        let (to_gamma, to_beta) = sums.split_at_mut(width);
        let kept = Kept {
            sum: &kept.sum[range.clone()],
            mean: &kept.mean[first..first + count],
            scale: &kept.scale[first..first + count],
            gamma: kept.gamma,
        };
        backward(isa, kept, &grad[range], to_gamma, to_beta, out);
    };
    if grad.len() < flex::PARALLEL {
        to_sum.chunks_mut(group * width).zip(sums.chunks_mut(2 * width)).enumerate().for_each(work);
    } else {
        to_sum.par_chunks_mut(group * width).zip(sums.par_chunks_mut(2 * width)).enumerate().for_each(work);
    }
    let mut groups = sums.chunks(2 * width);
    let mut total = groups.next().expect("there is a row").to_vec();
    for group in groups {
        for (total, value) in total.iter_mut().zip(group) {
            *total += value;
        }
    }
    let to_beta = total.split_off(width);
    (to_sum, total, to_beta)
}

multiversion! {
    /// The gradient of every row, and those of `gamma` and `beta` added to what is there.
    pub(crate) fn backward<S>(kept: Kept<'_>, grad: &[f32], to_gamma: &mut [f32], to_beta: &mut [f32], out: &mut [f32]) {
        let (width, count) = (kept.gamma.len(), kept.mean.len());
        assert!(to_gamma.len() == width && to_beta.len() == width && kept.scale.len() == count);
        assert!([kept.sum.len(), grad.len(), out.len()] == [count * width; 3]);
        let (gammas, betas) = (to_gamma.as_mut_ptr(), to_beta.as_mut_ptr());
        let mut row = 0;
        while row + 4 <= count {
            backward_rows::<S, 4>(kept, row, grad.as_ptr(), gammas, betas, out.as_mut_ptr());
            row += 4;
        }
        while row < count {
            backward_rows::<S, 1>(kept, row, grad.as_ptr(), gammas, betas, out.as_mut_ptr());
            row += 1;
        }
    }
}

/// [`backward`] of `R` rows at once: what `gamma` and `beta` get is read and written once for all of them.
#[inline(always)]
unsafe fn backward_rows<S: Simd, const R: usize>(
    kept: Kept<'_>,
    row: usize,
    grad: *const f32,
    gammas: *mut f32,
    betas: *mut f32,
    out: *mut f32,
) {
    unsafe {
        let width = kept.gamma.len();
        let gain = kept.gamma.as_ptr();
        let (x, g, to) = (kept.sum.as_ptr().add(row * width), grad.add(row * width), out.add(row * width));
        let (mut centre, mut factor) = ([S::splat(0.0); R], [S::splat(0.0); R]);
        for r in 0..R {
            (centre[r], factor[r]) = (S::splat(kept.mean[row + r]), S::splat(kept.scale[row + r]));
        }
        // Of the gradient through `gamma`, and of its product with the normalised row.
        let (mut flat, mut along) = ([S::splat(0.0); R], [S::splat(0.0); R]);
        let mut i = 0;
        while i + S::LANES <= width {
            let gain = S::load(gain.add(i));
            let (mut gamma, mut beta) = (S::load(gammas.add(i)), S::load(betas.add(i)));
            for r in 0..R {
                let (x, g) = (S::load(x.add(r * width + i)), S::load(g.add(r * width + i)));
                let normal = S::mul(S::sub(x, centre[r]), factor[r]);
                let through = S::mul(g, gain);
                (gamma, beta) = (S::fma(g, normal, gamma), S::add(g, beta));
                (flat[r], along[r]) = (S::add(flat[r], through), S::fma(through, normal, along[r]));
            }
            S::store(gammas.add(i), gamma);
            S::store(betas.add(i), beta);
            i += S::LANES;
        }
        if i < width {
            // What lies past the end has a gradient of zero, so adds nothing anywhere.
            let n = width - i;
            let gain = S::load_part(gain.add(i), n);
            let (mut gamma, mut beta) = (S::load_part(gammas.add(i), n), S::load_part(betas.add(i), n));
            for r in 0..R {
                let (x, g) = (S::load_part(x.add(r * width + i), n), S::load_part(g.add(r * width + i), n));
                let normal = S::mul(S::sub(x, centre[r]), factor[r]);
                let through = S::mul(g, gain);
                (gamma, beta) = (S::fma(g, normal, gamma), S::add(g, beta));
                (flat[r], along[r]) = (S::add(flat[r], through), S::fma(through, normal, along[r]));
            }
            S::store_part(gammas.add(i), gamma, n);
            S::store_part(betas.add(i), beta, n);
        }
        for r in 0..R {
            let (x, g, to) = (x.add(r * width), g.add(r * width), to.add(r * width));
            let (centre, factor) = (centre[r], factor[r]);
            let flat = S::splat(-S::sum(flat[r]) / width as f32);
            let along = S::splat(-S::sum(along[r]) / width as f32);
            blocks::<S>(
                width,
                |i| {
                    let normal = S::mul(S::sub(S::load(x.add(i)), centre), factor);
                    let through = S::fma(S::load(g.add(i)), S::load(gain.add(i)), flat);
                    S::store(to.add(i), S::mul(S::fma(normal, along, through), factor));
                },
                |i, n| {
                    let normal = S::mul(S::sub(S::load_part(x.add(i), n), centre), factor);
                    let through = S::fma(S::load_part(g.add(i), n), S::load_part(gain.add(i), n), flat);
                    S::store_part(to.add(i), S::mul(S::fma(normal, along, through), factor), n);
                },
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize, speed: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * speed).sin() * 2.0 + 0.5).collect()
    }

    fn near(what: &str, got: &[f32], want: &[f64], limit: f64) {
        for (index, (got, want)) in got.iter().zip(want).enumerate() {
            assert!((f64::from(*got) - want).abs() <= limit, "{what}[{index}] = {got}, not {want}");
        }
    }

    #[test]
    fn every_instruction_set_computes_the_definition() {
        for isa in Isa::available() {
            for (count, width) in [(1, 1), (3, 2), (5, 7), (4, 16), (9, 33), (6, 64), (7, 131), (2, 1000)] {
                let what = format!("{isa:?} {count}x{width}");
                let (x, residual, grad) =
                    (wave(count * width, 0.7), wave(count * width, 0.31), wave(count * width, 1.3));
                let (gamma, beta) = (wave(width, 0.9), wave(width, 0.2));
                let rows = Rows { x: &x, residual: &residual, gamma: &gamma, beta: &beta, epsilon: 1e-3 };
                let (mut sum, mut out) = (vec![f32::NAN; x.len()], vec![f32::NAN; x.len()]);
                let (mut mean, mut scale) = (vec![f32::NAN; count], vec![f32::NAN; count]);
                forward(isa, rows, &mut sum, &mut mean, &mut scale, &mut out);
                let mut without_sum = vec![f32::NAN; x.len()];
                forward(isa, rows, &mut [], &mut [], &mut [], &mut without_sum);
                assert_eq!(out, without_sum, "{what}: with and without what is kept");

                let kept = Kept { sum: &sum, mean: &mean, scale: &scale, gamma: &gamma };
                let (mut to_gamma, mut to_beta, mut to_x) =
                    (vec![0.0; width], vec![0.0; width], vec![f32::NAN; x.len()]);
                backward(isa, kept, &grad, &mut to_gamma, &mut to_beta, &mut to_x);

                let (mut want_gamma, mut want_beta) = (vec![0.0; width], vec![0.0; width]);
                for row in 0..count {
                    let range = row * width..(row + 1) * width;
                    let sum: Vec<f64> = range.clone().map(|i| f64::from(x[i] + residual[i])).collect();
                    let n = width as f64;
                    let centre = sum.iter().sum::<f64>() / n;
                    let variance = sum.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / n;
                    let factor = 1.0 / (variance + f64::from(1e-3f32)).sqrt();
                    let normal: Vec<f64> = sum.iter().map(|v| (v - centre) * factor).collect();
                    let value: Vec<f64> =
                        (0..width).map(|i| normal[i] * f64::from(gamma[i]) + f64::from(beta[i])).collect();
                    near(&what, &out[range.clone()], &value, 2e-5);

                    let g: Vec<f64> = grad[range.clone()].iter().map(|g| f64::from(*g)).collect();
                    let through: Vec<f64> = (0..width).map(|i| g[i] * f64::from(gamma[i])).collect();
                    let flat = through.iter().sum::<f64>() / n;
                    let along = through.iter().zip(&normal).map(|(g, v)| g * v).sum::<f64>() / n;
                    let want: Vec<f64> = (0..width).map(|i| factor * (through[i] - flat - normal[i] * along)).collect();
                    near(&format!("{what} x"), &to_x[range], &want, 2e-5 * factor.max(1.0));
                    for i in 0..width {
                        want_gamma[i] += g[i] * normal[i];
                        want_beta[i] += g[i];
                    }
                }
                near(&format!("{what} gamma"), &to_gamma, &want_gamma, 5e-5);
                near(&format!("{what} beta"), &to_beta, &want_beta, 5e-5);
            }
        }
    }
}
