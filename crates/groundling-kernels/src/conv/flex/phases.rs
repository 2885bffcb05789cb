//! What the taps of a convolution see, as straight copies.
//!
//! Where the output is as wide as the input, what a tap sees at output pixels `p, p + 1, ..` lies side by side in the image, from row to
//! row, but for the pixels outside, which a mask hides. A stride is taken away first: an image is split into its *phases*, the
//! pixels with the same remainders of row and column, each as wide as the output.

use std::ops::Range;

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::gemm::scratch::{self, Scratch};
use crate::isa::Isa;
use crate::simd::multiversion;

/// One tap: where it looks, relative to the output pixel.
#[derive(Debug, Clone, Copy)]
struct Tap {
    /// Which of the phases.
    phase: usize,
    row: isize,
    column: isize,
}

/// Rows and columns that a phase has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Phase {
    remainder: [usize; 2],
    size: [usize; 2],
}

/// The images of a convolution, split into phases.
pub(super) struct Phases<'a> {
    geometry: &'a Geometry,
    taps: Vec<Tap>,
    phases: Vec<Phase>,
    data: Source<'a>,
    /// From one channel to the next.
    plane: usize,
}

enum Source<'a> {
    /// Stride 1: the images as they are.
    Images(&'a [f32]),
    /// `[B, C, phase, plane]`.
    Split(Scratch),
}

/// Where a block of what taps see goes: `to[k * k_stride + panel * panel_stride + lane]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) to: *mut f32,
    pub(super) k_stride: usize,
    pub(super) panel_stride: usize,
}

/// The pixels of a panel that each tap finds inside the image, as bits: `masks[panel * taps + tap]`.
pub(super) struct Masks(Vec<u32>);

impl<'a> Phases<'a> {
    /// `None` if a phase is wider than the output, which no convolution that keeps or halves the size has.
    pub(super) fn new(g: &'a Geometry, x: &'a [f32]) -> Option<Self> {
        let [sy, sx] = g.options.stride;
        let mut phases: Vec<Phase> = Vec::new();
        let mut taps = Vec::with_capacity(g.kernel[0] * g.kernel[1]);
        for (ky, kx) in (0..g.kernel[0]).flat_map(|ky| (0..g.kernel[1]).map(move |kx| (ky, kx))) {
            let at = [ky, kx].map(|k| k as isize);
            let shift =
                [0, 1].map(|axis| at[axis] * g.options.dilation[axis] as isize - g.options.padding[axis] as isize);
            let remainder = [shift[0].rem_euclid(sy as isize) as usize, shift[1].rem_euclid(sx as isize) as usize];
            let size = [
                g.input[0].saturating_sub(remainder[0]).div_ceil(sy),
                g.input[1].saturating_sub(remainder[1]).div_ceil(sx),
            ];
            let phase = Phase { remainder, size };
            let index = phases.iter().position(|known| *known == phase).unwrap_or_else(|| {
                phases.push(phase);
                phases.len() - 1
            });
            taps.push(Tap {
                phase: index,
                row: shift[0].div_euclid(sy as isize),
                column: shift[1].div_euclid(sx as isize),
            });
        }
        if phases.iter().any(|phase| phase.size[1] > g.output[1]) {
            return None;
        }
        if g.options.stride == [1, 1] && g.input[1] == g.output[1] {
            let plane = g.input[0] * g.input[1];
            return Some(Self { geometry: g, taps, phases, data: Source::Images(x), plane });
        }
        let (width, rows) = (g.output[1], phases.iter().map(|phase| phase.size[0]).max()?);
        let (plane, image) = (width * rows, g.input[0] * g.input[1]);
        if plane == 0 {
            return None;
        }
        let mut split = scratch::take(g.batch * g.inputs * phases.len() * plane);
        split.par_chunks_mut(phases.len() * plane).zip(x.par_chunks(image)).for_each(|(to, from)| {
            for (phase, to) in phases.iter().zip(to.chunks_mut(plane)).filter(|(phase, _)| phase.size[1] > 0) {
                for y in 0..phase.size[0] {
                    let from = &from[(y * sy + phase.remainder[0]) * g.input[1] + phase.remainder[1]..]
                        [..g.input[1] - phase.remainder[1]];
                    every(from, sx, &mut to[y * width..][..phase.size[1]]);
                }
            }
        });
        Some(Self { geometry: g, taps, phases, data: Source::Split(split), plane })
    }

    /// Which taps see something at the output pixels of each panel.
    pub(super) fn masks(&self, columns: Range<usize>, width: usize) -> Masks {
        let (width_out, taps) = (self.geometry.output[1], self.taps.len());
        let mut masks = vec![0; columns.len().div_ceil(width) * taps];
        let mut at = columns.start;
        while at < columns.end {
            // A run of pixels in one row of the output and in one panel.
            let (panel, lane) = ((at - columns.start) / width, (at - columns.start) % width);
            let (y, x) = (at / width_out, at % width_out);
            let run = (width_out - x).min(width - lane).min(columns.end - at);
            for (mask, tap) in masks[panel * taps..][..taps].iter_mut().zip(&self.taps) {
                let size = self.phases[tap.phase].size.map(|size| size as isize);
                if !(0..size[0]).contains(&(y as isize + tap.row)) {
                    continue;
                }
                let first = x as isize + tap.column;
                let (skip, end) = ((-first).clamp(0, run as isize), (size[1] - first).clamp(0, run as isize));
                if skip < end {
                    let bits = (1u64 << end) - (1u64 << skip);
                    *mask |= (bits << lane) as u32;
                }
            }
            at += run;
        }
        Masks(masks)
    }

    /// What the taps `k` of a group see at the output pixels `columns`.
    ///
    /// # Safety
    /// The target is valid for `k.len()` taps of all panels; the masks were made for these columns and this width, which is two
    /// vectors of `isa`.
    pub(super) unsafe fn see(
        &self,
        isa: Isa,
        [image, group]: [usize; 2],
        k: Range<usize>,
        columns: Range<usize>,
        masks: &Masks,
        target: Target,
    ) {
        let g = self.geometry;
        let channel = (image * g.groups + group) * g.inputs_per_group();
        let (data, step) = match &self.data {
            Source::Images(x) => (x.as_ptr(), self.plane),
            Source::Split(split) => (split.as_ptr(), self.phases.len() * self.plane),
        };
        let offset = |tap: &Tap| {
            (tap.phase * self.plane) as isize + tap.row * g.output[1] as isize + tap.column + columns.start as isize
        };
        let offsets: Vec<isize> = self.taps.iter().map(offset).collect();
        copy(isa, data.wrapping_add(channel * step), step, &offsets, k, &masks.0, target);
    }
}

/// Every `step`-th value.
fn every(from: &[f32], step: usize, to: &mut [f32]) {
    match step {
        1 => to.copy_from_slice(&from[..to.len()]),
        // A constant step becomes shuffles of whole vectors.
        2 => {
            let pairs = from.chunks_exact(2);
            let rest = pairs.remainder();
            for (to, pair) in to.iter_mut().zip(pairs) {
                *to = pair[0];
            }
            if let (Some(last), Some(value)) = (to.get_mut(from.len() / 2), rest.first()) {
                *last = *value;
            }
        }
        _ => to.iter_mut().zip(from.iter().step_by(step)).for_each(|(to, from)| *to = *from),
    }
}

multiversion! {
    fn copy<S>(data: *const f32, step: usize, offsets: &[isize], k: Range<usize>, masks: &[u32], target: Target) {
        let taps = offsets.len();
        for (panel, masks) in masks.chunks(taps).enumerate() {
            let mut to = target.to.add(panel * target.panel_stride);
            let (mut channel, mut tap) = (k.start / taps, k.start % taps);
            let mut plane = data.wrapping_add(channel * step).wrapping_add(panel * 2 * S::LANES);
            for _ in k.clone() {
                let (from, mask) = (plane.wrapping_offset(offsets[tap]), masks[tap]);
                S::store(to, S::load_masked(from, mask));
                S::store(to.add(S::LANES), S::load_masked(from.wrapping_add(S::LANES), mask >> S::LANES));
                to = to.add(target.k_stride);
                tap += 1;
                if tap == taps {
                    tap = 0;
                    channel += 1;
                    plane = data.wrapping_add(channel * step).wrapping_add(panel * 2 * S::LANES);
                }
            }
        }
    }
}
