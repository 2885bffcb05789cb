//! The kernels for the CPU.
//!
//! A convolution is a product of the weight `[O, K]`, `K = C kernel_height kernel_width`, and the matrix `[K, pixels]` of what each tap sees. That matrix is
//! never made as a whole: each task rearranges the few columns that it multiplies, straight from the image, into the second-level cache.

mod depthwise;
mod geometry;
mod phases;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use rayon::prelude::*;

use super::{ConvOps, ConvOptions, composed};
use crate::flex::{self, all_f32, in_order, slice};
use crate::gemm::kernel::{self, Call, Tile};
use crate::gemm::{self, DEPTH, Epilogue, Right, Rows, Strips, View, pack, scratch};
use crate::isa::Isa;
use crate::linear::Activation;
use crate::maybe::MaybeTensor;
use crate::shared::Shared;
use geometry::{Geometry, Panels};
use phases::{Masks, Phases, Target};

/// Columns that a task rearranges at once: with a block's depth 480 KB, half of the second-level cache.
const COLUMNS: usize = 192;

/// Depth of a block, at most. More than [`DEPTH`]: rows of the output lie far apart, and each visit to them costs.
const BLOCK: usize = 640;

impl ConvOps for Flex {
    fn fused_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: MaybeTensor<Self>,
        shift: MaybeTensor<Self>,
        residual: MaybeTensor<Self>,
        relu: bool,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let optional = [&scale, &shift, &residual].into_iter().filter_map(MaybeTensor::as_option);
        if !all_f32([&x, &weight].into_iter().chain(optional)) {
            return composed::conv2d::<Self>(x, weight, scale, shift, residual, relu, options);
        }
        let (x, weight) = (in_order(x), in_order(weight));
        let [scale, shift, residual] = [scale, shift, residual].map(|tensor| tensor.into_option().map(in_order));
        let geometry = Geometry::new(dims(&x), dims(&weight), options);
        let after = After {
            scale: scale.as_ref().map(slice),
            shift: shift.as_ref().map(slice),
            residual: residual.as_ref().map(slice),
            relu,
        };
        let mut out = flex::unset(geometry.output_len());
        forward(Isa::detect(), &geometry, slice(&x), slice(&weight), &after, &mut out);
        flex::tensor(out, geometry.output_shape())
    }

    fn pack_conv2d(weight: FloatTensor<Self>, groups: usize) -> FloatTensor<Self> {
        if !all_f32([&weight]) {
            return weight;
        }
        let weight = in_order(weight);
        let [outputs, inputs, ..] = dims(&weight);
        if inputs == 1 && groups > 1 {
            return weight; // depthwise: too few numbers to be worth it
        }
        let kernel = [dims(&weight)[2], dims(&weight)[3]];
        let options = ConvOptions { groups, ..ConvOptions::default() };
        // The size of an image has no part in how the weight lies: the smallest that the kernel fits into.
        let image = [1, inputs * groups, kernel[0], kernel[1]];
        let geometry = Geometry::new(image, [outputs, inputs, kernel[0], kernel[1]], options);
        let mut packed = flex::unset(slice(&weight).len());
        pack_weight(Isa::detect(), &geometry, slice(&weight), &mut packed);
        let len = packed.len();
        flex::tensor(packed, [len])
    }

    fn packed_conv2d(
        x: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        scale: MaybeTensor<Self>,
        shift: MaybeTensor<Self>,
        residual: MaybeTensor<Self>,
        relu: bool,
        weight: [usize; 4],
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let dtype = x.dtype();
        let in_f32 = |tensor: FloatTensor<Self>| {
            in_order(if all_f32([&tensor]) { tensor } else { flex::cast(tensor, burn::tensor::FloatDType::F32) })
        };
        let (x, packed) = (in_f32(x), in_order(packed));
        let [scale, shift, residual] = [scale, shift, residual].map(|tensor| tensor.into_option().map(in_f32));
        let geometry = Geometry::new(dims(&x), weight, options);
        let after = After {
            scale: scale.as_ref().map(slice),
            shift: shift.as_ref().map(slice),
            residual: residual.as_ref().map(slice),
            relu,
        };
        let mut out = flex::unset(geometry.output_len());
        if !out.is_empty() {
            forward_packed(Isa::detect(), &geometry, slice(&x), slice(&packed), &after, &mut out);
        }
        let out = flex::tensor(out, geometry.output_shape());
        if out.dtype() == dtype { out } else { flex::cast(out, dtype.into()) }
    }

    fn fused_conv2d_grad_input(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        if !all_f32([&weight, &grad]) {
            return composed::grad_input::<Self>(x, weight, grad, options);
        }
        let (weight, grad) = (in_order(weight), in_order(grad));
        let geometry = Geometry::new(dims(&x), dims(&weight), options);
        let mut out = flex::unset(geometry.input_len());
        grad_input(Isa::detect(), &geometry, slice(&weight), slice(&grad), &mut out);
        flex::tensor(out, x.shape())
    }

    fn fused_conv2d_grad_weight(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        if !all_f32([&x, &grad]) {
            return composed::grad_weight::<Self>(x, weight, grad, options);
        }
        let (x, grad) = (in_order(x), in_order(grad));
        let geometry = Geometry::new(dims(&x), dims(&weight), options);
        let mut out = vec![0.0; geometry.outputs * geometry.depth()];
        grad_weight(Isa::detect(), &geometry, slice(&x), slice(&grad), &mut out);
        flex::tensor(out, weight.shape())
    }
}

fn dims(tensor: &FloatTensor<Flex>) -> [usize; 4] {
    let shape = tensor.shape();
    [shape[0], shape[1], shape[2], shape[3]]
}

/// What follows the sums.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct After<'a> {
    scale: Option<&'a [f32]>,
    shift: Option<&'a [f32]>,
    residual: Option<&'a [f32]>,
    relu: bool,
}

fn forward(isa: Isa, geometry: &Geometry, x: &[f32], weight: &[f32], after: &After<'_>, out: &mut [f32]) {
    assert_eq!(out.len(), geometry.output_len());
    if out.is_empty() {
        return;
    }
    if geometry.inputs_per_group() == 1 && geometry.groups > 1 {
        return depthwise::forward(isa, geometry, x, weight, after, out);
    }
    let mut packed = scratch::take(weight.len());
    pack_weight(isa, geometry, weight, &mut packed);
    forward_packed(isa, geometry, x, &packed, after, out);
}

/// Depth of the blocks into which `depth` is cut: as equal as can be, so that none is left with a few rows.
fn block_of(depth: usize) -> usize {
    depth.div_ceil(depth.div_ceil(BLOCK).max(1)).max(1)
}

/// The weight of each group, strip by strip for each block of the depth.
fn pack_weight(isa: Isa, geometry: &Geometry, weight: &[f32], packed: &mut [f32]) {
    let (rows, depth) = (geometry.outputs_per_group(), geometry.depth());
    let strips = Strips::new(rows, Tile::of(isa).rows);
    let block = block_of(depth);
    for (group, to) in packed.chunks_mut((rows * depth).max(1)).enumerate() {
        let view = View::rows(&weight[group * rows * depth..], depth);
        let pack = |(part, to): (usize, &mut [f32])| {
            let (start, count) = (part * block, to.len() / rows);
            for (row, height) in strips.iter() {
                let to = &mut to[row * count..][..height * count];
                // SAFETY: rows and depth lie inside the weight of the group.
                unsafe { pack::interleave(isa, view.from(row, start), height, count, to.as_mut_ptr(), height) };
            }
        };
        if to.len() < flex::PARALLEL {
            to.chunks_mut(block * rows).enumerate().for_each(pack);
        } else {
            to.par_chunks_mut(block * rows).enumerate().for_each(pack);
        }
    }
}

fn forward_packed(isa: Isa, geometry: &Geometry, x: &[f32], packed: &[f32], after: &After<'_>, out: &mut [f32]) {
    let tile = Tile::of(isa);
    let (rows, depth, pixels) = (geometry.outputs_per_group(), geometry.depth(), geometry.pixels());
    let strips = Strips::new(rows, tile.rows);
    let plan = Plan::new(geometry, tile, rows * depth);
    let phases = Phases::new(geometry, x);
    let job = Forward { isa, geometry, x, phases, weight: packed, after, strips, out: Shared::new(out) };
    (0..geometry.batch * geometry.groups * plan.tasks()).into_par_iter().with_max_len(1).for_each(|index| {
        let (image, part) = (index / plan.tasks(), index % plan.tasks());
        let (image, group) = (image / geometry.groups, image % geometry.groups);
        job.task(image, group, plan.columns(part, pixels, tile.columns), plan.strips(part, &job.strips));
    });
}

/// How the output of one group of one image is cut into tasks.
struct Plan {
    column_tasks: usize,
    row_tasks: usize,
}

impl Plan {
    fn new(geometry: &Geometry, tile: Tile, weights: usize) -> Self {
        let (threads, others) = (rayon::current_num_threads(), geometry.batch * geometry.groups);
        let panels = geometry.pixels().div_ceil(tile.columns);
        let small = others * weights * geometry.pixels() < 1 << 17;
        let wanted = if small || threads < 2 { 1 } else { threads.div_ceil(others) };
        // As many columns as the cache takes, in a number of pieces that all threads share evenly.
        let pieces = geometry.pixels().div_ceil(COLUMNS).next_multiple_of(wanted);
        let column_tasks = pieces.min(panels).max(1);
        // A map of a few pixels gives work to all threads by its channels.
        let row_tasks = wanted.div_ceil(column_tasks);
        Self { column_tasks, row_tasks }
    }

    fn tasks(&self) -> usize {
        self.column_tasks * self.row_tasks
    }

    fn columns(&self, part: usize, pixels: usize, width: usize) -> std::ops::Range<usize> {
        let (part, panels) = (part % self.column_tasks, pixels.div_ceil(width));
        let edge = |part: usize| (part * panels / self.column_tasks * width).min(pixels);
        edge(part)..edge(part + 1)
    }

    fn strips(&self, part: usize, strips: &Strips) -> std::ops::Range<usize> {
        let (part, count) = (part / self.column_tasks, strips.iter().count());
        part * count / self.row_tasks..(part + 1) * count / self.row_tasks
    }
}

struct Forward<'a> {
    isa: Isa,
    geometry: &'a Geometry,
    x: &'a [f32],
    /// `None` where the taps have to be followed one by one.
    phases: Option<Phases<'a>>,
    weight: &'a [f32],
    after: &'a After<'a>,
    strips: Strips,
    out: Shared,
}

impl Forward<'_> {
    fn task(&self, image: usize, group: usize, columns: std::ops::Range<usize>, strips: std::ops::Range<usize>) {
        if columns.is_empty() || strips.is_empty() {
            return;
        }
        let g = self.geometry;
        let (width, rows, depth, pixels) = (Tile::of(self.isa).columns, g.outputs_per_group(), g.depth(), g.pixels());
        let weight = &self.weight[group * rows * depth..][..rows * depth];
        let panels = columns.len().div_ceil(width);
        let first = (image * g.groups + group) * rows;
        let epilogue = Epilogue {
            row_scale: self.after.scale.map(|scale| &scale[group * rows..]),
            row_shift: self.after.shift.map(|shift| &shift[group * rows..]),
            residual: self.after.residual.map(|residual| View::rows(&residual[first * pixels..], pixels)),
            activation: if self.after.relu { Activation::Relu } else { Activation::Identity },
            ..Epilogue::default()
        };
        let most = block_of(depth);
        let masks = self.phases.as_ref().map(|phases| phases.masks(columns.clone(), width));
        scratch::local(panels * width * most, |packed| {
            for start in (0..depth).step_by(most) {
                let block = (depth - start).min(most);
                // SAFETY: the panels have `panels * width` elements for each of `block` rows.
                unsafe {
                    if let (Some(phases), Some(masks)) = (&self.phases, &masks) {
                        let target = Target { to: packed, k_stride: width, panel_stride: block * width };
                        phases.see(self.isa, [image, group], start..start + block, columns.clone(), masks, target);
                    } else {
                        for k in 0..block {
                            let to = Panels { data: packed.add(k * width), width, stride: block * width };
                            g.see(self.isa, self.x, image, group, start + k, columns.clone(), to);
                        }
                    }
                }
                for panel in 0..panels {
                    let column = columns.start + panel * width;
                    let count = (columns.end - column).min(width);
                    for (row, height) in self.strips.iter().skip(strips.start).take(strips.len()) {
                        // SAFETY: the strip and the panel were packed above; tasks differ in image, group, columns or strips.
                        unsafe {
                            let call = Call {
                                rows: height,
                                columns: count,
                                depth: block,
                                a: weight.as_ptr().add(start * rows + row * block),
                                b: packed.add(panel * block * width),
                                b_stride: width,
                                ahead: packed.add(panel * block * width),
                                c: Rows { data: self.out.add((first + row) * pixels + column), stride: pixels },
                                accumulate: start > 0,
                            };
                            let last = start + block == depth;
                            gemm::finish(self.isa, call, last.then_some((&epilogue, [row, column])));
                        }
                    }
                }
            }
        });
    }
}

fn grad_input(isa: Isa, geometry: &Geometry, weight: &[f32], grad: &[f32], out: &mut [f32]) {
    if geometry.inputs_per_group() == 1 && geometry.groups > 1 {
        return depthwise::grad_input(isa, geometry, weight, grad, out);
    }
    if let Some(reverse) = geometry.reverse() {
        // With stride 1 it is a convolution of the gradient with the weight turned around.
        let weight = geometry.turned(weight);
        return forward(isa, &reverse, grad, &weight, &After::default(), out);
    }
    out.fill(0.0);
    if geometry.output_len() == 0 {
        return;
    }
    let (rows, depth, pixels) = (geometry.outputs_per_group(), geometry.depth(), geometry.pixels());
    let taps = depth / geometry.inputs_per_group();
    // What each tap gives back, for as many channels at a time as 32 MB hold, then summed where the taps looked.
    let channels = ((8 << 20) / (taps * pixels)).clamp(1, geometry.inputs_per_group());
    let mut given = scratch::take(channels * taps * pixels);
    let plane = geometry.input[0] * geometry.input[1];
    for (image, group) in (0..geometry.batch).flat_map(|image| (0..geometry.groups).map(move |group| (image, group))) {
        let grad = View::rows(&grad[(image * geometry.groups + group) * rows * pixels..], pixels);
        for start in (0..geometry.inputs_per_group()).step_by(channels) {
            let count = (geometry.inputs_per_group() - start).min(channels);
            let given = &mut given[..count * taps * pixels];
            // SAFETY: the columns of the group's weight from `start * taps` on, all rows; the gradient of the group.
            unsafe {
                let weight = View::rows(&weight[group * rows * depth..], depth).from(0, start * taps).transposed();
                let shape = [count * taps, pixels, rows];
                gemm::product(isa, shape, weight, Right::Plain(grad), given, &Epilogue::default());
            }
            let first = (image * geometry.groups + group) * geometry.inputs_per_group() + start;
            let planes = &mut out[first * plane..(first + count) * plane];
            planes.par_chunks_mut(plane).zip(given.par_chunks(taps * pixels)).for_each(|(plane, given)| {
                for (tap, given) in given.chunks(pixels).enumerate() {
                    geometry.give_back(tap, given, plane);
                }
            });
        }
    }
}

fn grad_weight(isa: Isa, geometry: &Geometry, x: &[f32], grad: &[f32], out: &mut [f32]) {
    if geometry.output_len() == 0 {
        return;
    }
    if geometry.inputs_per_group() == 1 && geometry.groups > 1 {
        return depthwise::grad_weight(isa, geometry, x, grad, out);
    }
    let tile = Tile::of(isa);
    let (rows, depth, pixels) = (geometry.outputs_per_group(), geometry.depth(), geometry.pixels());
    let panel_len = gemm::packed_len(isa, pixels, rows);
    let mut packed = scratch::take(geometry.batch * panel_len);
    let mut turned = scratch::take(depth * rows);
    let phases = Phases::new(geometry, x);
    // What is outside the image is so for every image and channel.
    let masks = phases.as_ref().map(|phases| {
        let blocks = (0..pixels).step_by(DEPTH);
        blocks.map(|start| phases.masks(start..(start + DEPTH).min(pixels), tile.columns)).collect::<Vec<_>>()
    });
    let seen = phases.as_ref().zip(masks.as_deref());
    for group in 0..geometry.groups {
        // The gradient `[pixels, O]` of each image, as panels.
        for (image, to) in packed.chunks_mut(panel_len).enumerate() {
            let view = View::rows(&grad[(image * geometry.groups + group) * rows * pixels..], pixels).transposed();
            // SAFETY: the gradient of the group.
            unsafe { gemm::pack_right(isa, view, pixels, rows, to) };
        }
        // The transposed gradient of the weight: what the taps see, `[K, pixels]`, times those.
        let height = depth.div_ceil(2 * rayon::current_num_threads()).clamp(1, 4 * tile.rows);
        let packed = &packed[..];
        turned.par_chunks_mut(height * rows).enumerate().for_each(|(part, to)| {
            let taps = part * height..part * height + to.len() / rows;
            grad_weight_task(isa, geometry, x, seen, packed, group, taps, to);
        });
        for (row, out) in out[group * rows * depth..(group + 1) * rows * depth].chunks_mut(depth).enumerate() {
            for (k, value) in out.iter_mut().enumerate() {
                *value = turned[k * rows + row];
            }
        }
    }
}

/// `to[taps, O]`, summed over all images and pixels.
#[allow(clippy::too_many_arguments)]
fn grad_weight_task(
    isa: Isa,
    geometry: &Geometry,
    x: &[f32],
    seen: Option<(&Phases<'_>, &[Masks])>,
    packed: &[f32],
    group: usize,
    taps: std::ops::Range<usize>,
    to: &mut [f32],
) {
    let tile = Tile::of(isa);
    let (rows, pixels) = (geometry.outputs_per_group(), geometry.pixels());
    let panel_len = packed.len() / geometry.batch;
    let strips = Strips::new(taps.len(), tile.rows);
    scratch::local(taps.len() * DEPTH + tile.rows * DEPTH, |strip| {
        // SAFETY: behind the strips, room for the rows of one.
        let lines = unsafe { strip.add(taps.len() * DEPTH) };
        for (image, packed) in packed.chunks(panel_len).enumerate() {
            for start in (0..pixels).step_by(DEPTH) {
                let block = (pixels - start).min(DEPTH);
                for (row, count) in strips.iter() {
                    // SAFETY: `count` rows of `block` pixels, then the strip made of them.
                    unsafe {
                        if let Some((phases, masks)) = seen {
                            let masks = &masks[start / DEPTH];
                            let target = Target { to: lines, k_stride: DEPTH, panel_stride: tile.columns };
                            let k = taps.start + row..taps.start + row + count;
                            phases.see(isa, [image, group], k, start..start + block, masks, target);
                        }
                        for line in (0..count).filter(|_| seen.is_none()) {
                            let tap = taps.start + row + line;
                            let to = Panels { data: lines.add(line * DEPTH), width: block, stride: block };
                            geometry.see(isa, x, image, group, tap, start..start + block, to);
                        }
                        let view = View { data: lines, row_stride: DEPTH, column_stride: 1 };
                        pack::interleave(isa, view, count, block, strip.add(row * block), count);
                    }
                }
                for panel in 0..rows.div_ceil(tile.columns) {
                    for (row, count) in strips.iter() {
                        // SAFETY: strips and panels were packed above; `to` has all taps and all outputs.
                        unsafe {
                            kernel::run(
                                isa,
                                &Call {
                                    rows: count,
                                    columns: (rows - panel * tile.columns).min(tile.columns),
                                    depth: block,
                                    a: strip.add(row * block),
                                    b: packed.as_ptr().add((panel * pixels + start) * tile.columns),
                                    b_stride: tile.columns,
                                    ahead: packed.as_ptr().add((panel * pixels + start) * tile.columns),
                                    c: Rows {
                                        data: to.as_mut_ptr().add(row * rows + panel * tile.columns),
                                        stride: rows,
                                    },
                                    accumulate: image > 0 || start > 0,
                                },
                            );
                        }
                    }
                }
            }
        }
    });
}
