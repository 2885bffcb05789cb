//! Convolutions of one input channel for each group: too little work for a product, done directly.

use rayon::prelude::*;

use super::{After, Geometry};
use crate::flex;
use crate::isa::Isa;
use crate::simd::{Simd, blocks, multiversion};

pub(super) fn forward(isa: Isa, g: &Geometry, x: &[f32], weight: &[f32], after: &After<'_>, out: &mut [f32]) {
    let (plane, pixels, taps) = (g.input[0] * g.input[1], g.pixels(), g.depth());
    flex::rows(out, pixels, |first, rows| {
        for (index, to) in rows.chunks_mut(pixels).enumerate() {
            let (image, output) = ((first + index) / g.outputs, (first + index) % g.outputs);
            let input = output / g.outputs_per_group();
            let from = &x[(image * g.inputs + input) * plane..][..plane];
            sums(isa, g, from, &weight[output * taps..][..taps], to);
            let residual = after.residual.map(|residual| &residual[(first + index) * pixels..][..pixels]);
            finish(
                isa,
                to,
                after.scale.map_or(1.0, |scale| scale[output]),
                after.shift.map_or(0.0, |shift| shift[output]),
                residual,
                after.relu,
            );
        }
    });
}

pub(super) fn grad_input(g: &Geometry, weight: &[f32], grad: &[f32], out: &mut [f32]) {
    let (plane, pixels, taps, outputs) = (g.input[0] * g.input[1], g.pixels(), g.depth(), g.outputs_per_group());
    out.fill(0.0);
    if pixels == 0 {
        return;
    }
    flex::rows(out, plane, |first, planes| {
        for (index, to) in planes.chunks_mut(plane).enumerate() {
            let (image, input) = ((first + index) / g.inputs, (first + index) % g.inputs);
            for output in input * outputs..(input + 1) * outputs {
                let grad = &grad[(image * g.outputs + output) * pixels..][..pixels];
                for (tap, weight) in weight[output * taps..][..taps].iter().enumerate() {
                    give(g, tap, *weight, grad, to);
                }
            }
        }
    });
}

/// Adds `weight * grad` to the pixels that the tap looked at.
fn give(g: &Geometry, tap: usize, weight: f32, grad: &[f32], plane: &mut [f32]) {
    let [ky, kx] = [tap / g.kernel[1], tap % g.kernel[1]];
    let (width, columns, stride, valid) = (g.input[1], g.output[1], g.options.stride[1], g.valid(kx));
    if valid.is_empty() {
        return;
    }
    for (oy, grad) in grad.chunks(columns).enumerate() {
        let Some(y) = g.row(oy, ky) else { continue };
        let to = &mut plane[y * width + g.column(valid.start, kx)..(y + 1) * width];
        for (to, grad) in to.iter_mut().step_by(stride).zip(&grad[valid.clone()]) {
            *to += weight * grad;
        }
    }
}

pub(super) fn grad_weight(isa: Isa, g: &Geometry, x: &[f32], grad: &[f32], out: &mut [f32]) {
    let (plane, pixels, taps) = (g.input[0] * g.input[1], g.pixels(), g.depth());
    out.par_chunks_mut(taps).enumerate().for_each(|(output, to)| {
        let input = output / g.outputs_per_group();
        for image in 0..g.batch {
            let from = &x[(image * g.inputs + input) * plane..][..plane];
            let grad = &grad[(image * g.outputs + output) * pixels..][..pixels];
            for (tap, to) in to.iter_mut().enumerate() {
                *to += seen_times(isa, g, from, tap, grad);
            }
        }
    });
}

multiversion! {
    /// `to[pixel] = sum over taps of weight * what it sees`.
    fn sums<S>(g: &Geometry, plane: &[f32], weight: &[f32], to: &mut [f32]) {
        let (width, columns, stride) = (g.input[1], g.output[1], g.options.stride[1]);
        // Between these columns every tap is inside the image.
        let inner = (0..g.kernel[1]).map(|kx| g.valid(kx)).fold(0..columns, |all, one| all.start.max(one.start)..all.end.min(one.end));
        let inner = if stride == 1 && inner.start < inner.end { inner } else { 0..0 };
        for (oy, to) in to.chunks_mut(columns).enumerate() {
            if !inner.is_empty() {
                inside::<S>(g, plane, weight, oy, inner.start, &mut to[inner.clone()]);
            }
            let edges = if inner.is_empty() { [0..columns, 0..0] } else { [0..inner.start, inner.end..columns] };
            for range in edges {
                to[range.clone()].fill(0.0);
                for (tap, weight) in weight.iter().enumerate() {
                    let Some(y) = g.row(oy, tap / g.kernel[1]) else { continue };
                    let kx = tap % g.kernel[1];
                    let valid = g.valid(kx);
                    let valid = valid.start.clamp(range.start, range.end)..valid.end.clamp(range.start, range.end);
                    if valid.is_empty() {
                        continue;
                    }
                    let from = &plane[y * width + g.column(valid.start, kx)..(y + 1) * width];
                    for (to, from) in to[valid].iter_mut().zip(from.iter().step_by(stride)) {
                        *to += weight * from;
                    }
                }
            }
        }
    }
}

/// Columns from `start` of one output row, all of whose taps are between the left and right edge; stride 1.
#[inline(always)]
unsafe fn inside<S: Simd>(g: &Geometry, plane: &[f32], weight: &[f32], oy: usize, start: usize, to: &mut [f32]) {
    let width = g.input[1];
    let at = to.as_mut_ptr();
    // SAFETY: every tap of these columns lies inside its row of the plane.
    unsafe {
        blocks::<S>(
            to.len(),
            |i| {
                let mut sum = S::splat(0.0);
                for ky in 0..g.kernel[0] {
                    let Some(y) = g.row(oy, ky) else { continue };
                    for kx in 0..g.kernel[1] {
                        let from = plane.as_ptr().add(y * width + g.column(start, kx) + i);
                        sum = S::fma(S::splat(weight[ky * g.kernel[1] + kx]), S::load(from), sum);
                    }
                }
                S::store(at.add(i), sum);
            },
            |i, n| {
                let mut sum = S::splat(0.0);
                for ky in 0..g.kernel[0] {
                    let Some(y) = g.row(oy, ky) else { continue };
                    for kx in 0..g.kernel[1] {
                        let from = plane.as_ptr().add(y * width + g.column(start, kx) + i);
                        sum = S::fma(S::splat(weight[ky * g.kernel[1] + kx]), S::load_part(from, n), sum);
                    }
                }
                S::store_part(at.add(i), sum, n);
            },
        );
    }
}

multiversion! {
    fn seen_times<S>(g: &Geometry, plane: &[f32], tap: usize, grad: &[f32]) -> f32 {
        let [ky, kx] = [tap / g.kernel[1], tap % g.kernel[1]];
        let (width, columns, stride, valid) = (g.input[1], g.output[1], g.options.stride[1], g.valid(kx));
        let mut total = 0.0;
        if valid.is_empty() {
            return total;
        }
        for (oy, grad) in grad.chunks(columns).enumerate() {
            let Some(y) = g.row(oy, ky) else { continue };
            let (from, grad) = (&plane[y * width + g.column(valid.start, kx)..(y + 1) * width], &grad[valid.clone()]);
            if stride == 1 {
                let (a, b) = (from.as_ptr(), grad.as_ptr());
                let mut sum = S::splat(0.0);
                let mut rest = 0.0;
                blocks::<S>(
                    grad.len(),
                    |i| sum = S::fma(S::load(a.add(i)), S::load(b.add(i)), sum),
                    |i, n| rest = S::sum(S::mul(S::load_part(a.add(i), n), S::load_part(b.add(i), n))),
                );
                total += S::sum(sum) + rest;
            } else {
                total += from.iter().step_by(stride).zip(grad).map(|(from, grad)| from * grad).sum::<f32>();
            }
        }
        total
    }
}

multiversion! {
    fn finish<S>(to: &mut [f32], scale: f32, shift: f32, residual: Option<&[f32]>, relu: bool) {
        let (at, least) = (to.as_mut_ptr(), S::splat(if relu { 0.0 } else { f32::NEG_INFINITY }));
        let (scale, shift) = (S::splat(scale), S::splat(shift));
        let residual = residual.map(|residual| residual.as_ptr());
        blocks::<S>(
            to.len(),
            |i| {
                let mut value = S::fma(S::load(at.add(i)), scale, shift);
                if let Some(residual) = residual {
                    value = S::add(value, S::load(residual.add(i)));
                }
                S::store(at.add(i), S::max(least, value));
            },
            |i, n| {
                let mut value = S::fma(S::load_part(at.add(i), n), scale, shift);
                if let Some(residual) = residual {
                    value = S::add(value, S::load_part(residual.add(i), n));
                }
                S::store_part(at.add(i), S::max(least, value), n);
            },
        );
    }
}
