//! Convolutions of one input channel for each group: too little work for a product, done directly.
//!
//! Each plane is copied once into a padded one, so that no tap has to ask where the image ends.

use super::{After, Geometry};
use crate::flex;
use crate::gemm::scratch;
use crate::isa::Isa;
use crate::simd::{Simd, blocks, multiversion};

/// A plane with zeros around it, and how taps and outputs step over it.
struct Padded {
    plane: *mut f32,
    width: usize,
    stride: [usize; 2],
    dilation: [usize; 2],
    kernel: [usize; 2],
}

impl Padded {
    fn len(g: &Geometry) -> usize {
        (g.input[0] + 2 * g.options.padding[0]) * (g.input[1] + 2 * g.options.padding[1])
    }

    /// # Safety
    /// `to` is valid for [`len`](Self::len) elements.
    unsafe fn copy(g: &Geometry, plane: &[f32], to: *mut f32) -> Self {
        let [top, left] = g.options.padding;
        let width = g.input[1] + 2 * left;
        unsafe {
            to.write_bytes(0, Self::len(g));
            for (y, row) in plane.chunks(g.input[1]).enumerate() {
                std::ptr::copy_nonoverlapping(row.as_ptr(), to.add((y + top) * width + left), row.len());
            }
        }
        Self { plane: to, width, stride: g.options.stride, dilation: g.options.dilation, kernel: g.kernel }
    }

    #[inline(always)]
    unsafe fn at(&self, oy: usize, tap: usize) -> *mut f32 {
        let (ky, kx) = (tap / self.kernel[1], tap % self.kernel[1]);
        let row = oy * self.stride[0] + ky * self.dilation[0];
        unsafe { self.plane.add(row * self.width + kx * self.dilation[1]) }
    }
}

pub(super) fn forward(isa: Isa, g: &Geometry, x: &[f32], weight: &[f32], after: &After<'_>, out: &mut [f32]) {
    let (plane, pixels, taps) = (g.input[0] * g.input[1], g.pixels(), g.depth());
    flex::rows(out, pixels, |first, rows| {
        scratch::local(Padded::len(g), |padded| {
            for (index, to) in rows.chunks_mut(pixels).enumerate() {
                let (image, output) = ((first + index) / g.outputs, (first + index) % g.outputs);
                let input = output / g.outputs_per_group();
                let from = &x[(image * g.inputs + input) * plane..][..plane];
                let after = Channel {
                    scale: after.scale.map_or(1.0, |scale| scale[output]),
                    shift: after.shift.map_or(0.0, |shift| shift[output]),
                    residual: after.residual.map(|residual| residual[(first + index) * pixels..].as_ptr()),
                    least: if after.relu { 0.0 } else { f32::NEG_INFINITY },
                };
                // SAFETY: the scratch has room for the padded plane.
                let padded = unsafe { Padded::copy(g, from, padded) };
                sums(isa, &padded, &weight[output * taps..][..taps], &after, g.output[1], to);
            }
        });
    });
}

pub(super) fn grad_input(isa: Isa, g: &Geometry, weight: &[f32], grad: &[f32], out: &mut [f32]) {
    let (plane, pixels, taps, outputs) = (g.input[0] * g.input[1], g.pixels(), g.depth(), g.outputs_per_group());
    let [top, left] = g.options.padding;
    flex::rows(out, plane, |first, planes| {
        scratch::local(Padded::len(g), |padded| {
            for (index, to) in planes.chunks_mut(plane).enumerate() {
                let (image, input) = ((first + index) / g.inputs, (first + index) % g.inputs);
                // SAFETY: the scratch has room for the padded plane, of which `to` is the inner part.
                unsafe {
                    let padded = Padded::copy(g, &[], padded);
                    for output in input * outputs..(input + 1) * outputs {
                        let grad = &grad[(image * g.outputs + output) * pixels..][..pixels];
                        give_back(isa, &padded, &weight[output * taps..][..taps], grad, g.output[1]);
                    }
                    for (y, to) in to.chunks_mut(g.input[1]).enumerate() {
                        let from = padded.plane.add((y + top) * padded.width + left);
                        std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len());
                    }
                }
            }
        });
    });
}

pub(super) fn grad_weight(isa: Isa, g: &Geometry, x: &[f32], grad: &[f32], out: &mut [f32]) {
    let (plane, pixels, taps) = (g.input[0] * g.input[1], g.pixels(), g.depth());
    use rayon::prelude::*;
    out.par_chunks_mut(taps).enumerate().for_each(|(output, to)| {
        let input = output / g.outputs_per_group();
        scratch::local(Padded::len(g), |padded| {
            for image in 0..g.batch {
                let from = &x[(image * g.inputs + input) * plane..][..plane];
                let grad = &grad[(image * g.outputs + output) * pixels..][..pixels];
                // SAFETY: the scratch has room for the padded plane.
                let padded = unsafe { Padded::copy(g, from, padded) };
                for (tap, to) in to.iter_mut().enumerate() {
                    *to += seen_times(isa, &padded, tap, grad, g.output[1]);
                }
            }
        });
    });
}

/// What follows the sums of one channel.
struct Channel {
    scale: f32,
    shift: f32,
    residual: Option<*const f32>,
    least: f32,
}

impl Channel {
    #[inline(always)]
    unsafe fn after<S: Simd>(&self, sum: S::V, at: usize) -> S::V {
        unsafe {
            let mut value = S::fma(sum, S::splat(self.scale), S::splat(self.shift));
            if let Some(residual) = self.residual {
                value = S::add(value, S::load(residual.add(at)));
            }
            S::max(S::splat(self.least), value)
        }
    }

    fn after_one(&self, sum: f32, at: usize) -> f32 {
        // SAFETY: the residual has as many elements as the output.
        let residual = self.residual.map_or(0.0, |residual| unsafe { *residual.add(at) });
        let value = sum * self.scale + self.shift + residual;
        if self.least > value { self.least } else { value }
    }
}

multiversion! {
    /// `to[pixel] = after(sum over taps of weight * what it sees)`.
    fn sums<S>(padded: &Padded, weight: &[f32], after: &Channel, columns: usize, to: &mut [f32]) {
        if padded.stride[1] != 1 || columns < S::LANES {
            for (at, to) in to.iter_mut().enumerate() {
                let (oy, ox) = (at / columns, at % columns);
                let sum = weight.iter().enumerate().map(|(tap, weight)| weight * *padded.at(oy, tap).add(ox * padded.stride[1])).sum();
                *to = after.after_one(sum, at);
            }
            return;
        }
        for oy in 0..to.len() / columns {
            if padded.kernel == [3, 3] {
                row::<S, 3, 3>(padded, weight, after, columns, oy, to.as_mut_ptr());
            } else {
                row_of_any::<S>(padded, weight, after, columns, oy, to.as_mut_ptr());
            }
        }
    }
}

/// One output row of at least one vector; the last vector overlaps the one before it.
#[inline(always)]
unsafe fn row<S: Simd, const H: usize, const W: usize>(
    padded: &Padded,
    weight: &[f32],
    after: &Channel,
    columns: usize,
    oy: usize,
    to: *mut f32,
) {
    unsafe {
        let weights: [[S::V; W]; H] = std::array::from_fn(|ky| std::array::from_fn(|kx| S::splat(weight[ky * W + kx])));
        let rows: [*const f32; H] = std::array::from_fn(|ky| padded.at(oy, ky * W).cast_const());
        let step = padded.dilation[1];
        let mut ox = 0;
        loop {
            let mut sum = S::splat(0.0);
            for (weights, from) in weights.iter().zip(rows) {
                for (kx, weight) in weights.iter().enumerate() {
                    sum = S::fma(*weight, S::load(from.add(ox + kx * step)), sum);
                }
            }
            let at = oy * columns + ox;
            S::store(to.add(at), after.after::<S>(sum, at));
            if ox + S::LANES >= columns {
                return;
            }
            ox = (ox + S::LANES).min(columns - S::LANES);
        }
    }
}

#[inline(always)]
unsafe fn row_of_any<S: Simd>(
    padded: &Padded,
    weight: &[f32],
    after: &Channel,
    columns: usize,
    oy: usize,
    to: *mut f32,
) {
    unsafe {
        let mut ox = 0;
        loop {
            let mut sum = S::splat(0.0);
            for (tap, weight) in weight.iter().enumerate() {
                sum = S::fma(S::splat(*weight), S::load(padded.at(oy, tap).add(ox)), sum);
            }
            let at = oy * columns + ox;
            S::store(to.add(at), after.after::<S>(sum, at));
            if ox + S::LANES >= columns {
                return;
            }
            ox = (ox + S::LANES).min(columns - S::LANES);
        }
    }
}

multiversion! {
    /// Adds `weight * grad` wherever each tap looked.
    fn give_back<S>(padded: &Padded, weight: &[f32], grad: &[f32], columns: usize) {
        for (oy, grad) in grad.chunks(columns).enumerate() {
            for (tap, weight) in weight.iter().enumerate() {
                let to = padded.at(oy, tap);
                if padded.stride[1] == 1 {
                    let (from, weight) = (grad.as_ptr(), S::splat(*weight));
                    blocks::<S>(
                        columns,
                        |i| S::store(to.add(i), S::fma(weight, S::load(from.add(i)), S::load(to.add(i)))),
                        |i, n| {
                            let value = S::fma(weight, S::load_part(from.add(i), n), S::load_part(to.add(i), n));
                            S::store_part(to.add(i), value, n);
                        },
                    );
                } else {
                    for (ox, grad) in grad.iter().enumerate() {
                        *to.add(ox * padded.stride[1]) += weight * grad;
                    }
                }
            }
        }
    }
}

multiversion! {
    /// The sum of `grad` times what a tap sees.
    fn seen_times<S>(padded: &Padded, tap: usize, grad: &[f32], columns: usize) -> f32 {
        let (mut sum, mut rest) = (S::splat(0.0), 0.0);
        for (oy, grad) in grad.chunks(columns).enumerate() {
            let from = padded.at(oy, tap).cast_const();
            if padded.stride[1] == 1 {
                let other = grad.as_ptr();
                let mut part = S::splat(0.0);
                blocks::<S>(
                    columns,
                    |i| sum = S::fma(S::load(from.add(i)), S::load(other.add(i)), sum),
                    |i, n| part = S::mul(S::load_part(from.add(i), n), S::load_part(other.add(i), n)),
                );
                sum = S::add(sum, part);
            } else {
                rest += grad.iter().enumerate().map(|(ox, grad)| *from.add(ox * padded.stride[1]) * grad).sum::<f32>();
            }
        }
        S::sum(sum) + rest
    }
}
