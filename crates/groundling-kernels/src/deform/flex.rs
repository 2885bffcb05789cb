//! Deformable attention on slices: vectors run over the channels of a head.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{DeformOps, composed};
use crate::flex;
use crate::isa::Isa;
use crate::shared::Shared;
use crate::simd::{Simd, blocks, multiversion};

impl DeformOps for Flex {
    fn fused_deform(
        value: FloatTensor<Self>,
        levels: Vec<[usize; 2]>,
        locations: FloatTensor<Self>,
        weights: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if !takes([&value, &locations, &weights]) {
            return composed::deform::<Self>(value, &levels, locations, weights);
        }
        let [value, locations, weights] = [value, locations, weights].map(flex::in_order);
        let maps = Maps::new(&value, &levels, &locations, &weights);
        let (b, n, width) = (maps.b, maps.n, maps.g * maps.e);
        let mut out = flex::unset(b * n * width);
        flex::rows(&mut out, width, |start, rows| forward(Isa::detect(), &maps, start, rows));
        flex::tensor(out, [b, n, width])
    }

    fn fused_deform_backward(
        value: FloatTensor<Self>,
        levels: Vec<[usize; 2]>,
        locations: FloatTensor<Self>,
        weights: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !takes([&value, &locations, &weights, &grad]) {
            return composed::deform_backward::<Self>(value, &levels, locations, weights, grad);
        }
        let [value, locations, weights, grad] = [value, locations, weights, grad].map(flex::in_order);
        let maps = Maps::new(&value, &levels, &locations, &weights);
        let mut grad_value = vec![0.0; maps.value.len()];
        let mut grad_locations = flex::unset(maps.locations.len());
        let mut grad_weights = flex::unset(maps.weights.len());
        {
            let to = Gradients {
                value: Shared::new(&mut grad_value),
                locations: Shared::new(&mut grad_locations),
                weights: Shared::new(&mut grad_weights),
            };
            let grad = flex::slice(&grad);
            let work = |head: usize| backward(Isa::detect(), &maps, [head / maps.g, head % maps.g], grad, &to);
            let heads = maps.b * maps.g;
            if maps.weights.len() * maps.e < flex::PARALLEL || heads < 2 || rayon::current_num_threads() < 2 {
                (0..heads).for_each(work);
            } else {
                // A head's cells belong to one task, which adds to them in the order of the queries.
                (0..heads).into_par_iter().for_each(work);
            }
        }
        (
            flex::tensor(grad_value, value.layout().shape().clone()),
            flex::tensor(grad_locations, locations.layout().shape().clone()),
            flex::tensor(grad_weights, weights.layout().shape().clone()),
        )
    }
}

/// True if the kernels can take these. Empty ones are left to the composed body, which knows them.
fn takes<'a>(tensors: impl IntoIterator<Item = &'a FlexTensor> + Clone) -> bool {
    flex::all_f32(tensors.clone()) && tensors.into_iter().all(|tensor| tensor.layout().num_elements() > 0)
}

/// Sizes and inputs in order.
struct Maps<'a> {
    b: usize,
    n: usize,
    g: usize,
    p: usize,
    e: usize,
    cells: usize,
    /// First cell, height and width.
    levels: Vec<[usize; 3]>,
    value: &'a [f32],
    locations: &'a [f32],
    weights: &'a [f32],
}

/// Where gradients go.
struct Gradients {
    value: Shared,
    locations: Shared,
    weights: Shared,
}

/// A sample that touches the map.
#[derive(Clone, Copy)]
struct Sample {
    weight: f32,
    height: f32,
    width: f32,
    /// How far right of and below the first neighbour, from 0 to 1.
    right: f32,
    below: f32,
    /// Where the four neighbours begin in the value: this row, then the row below; `OUTSIDE` if not on the map.
    neighbours: [usize; 4],
}

const OUTSIDE: usize = usize::MAX;

impl Sample {
    /// The bilinear shares of the neighbours.
    #[inline(always)]
    fn shares(&self) -> [f32; 4] {
        let (left, above) = (1.0 - self.right, 1.0 - self.below);
        [left * above, self.right * above, left * self.below, self.right * self.below]
    }
}

impl<'a> Maps<'a> {
    fn new(value: &'a FlexTensor, levels: &[[usize; 2]], locations: &'a FlexTensor, weights: &'a FlexTensor) -> Self {
        let [b, n, g, _, p] = weights.layout().shape().dims();
        let [_, cells, _, e] = value.layout().shape().dims();
        let starts = levels.iter().scan(0, |next, [height, width]| {
            let start = *next;
            *next += height * width;
            Some([start, *height, *width])
        });
        let levels: Vec<_> = starts.collect();
        assert!(
            levels.last().is_some_and(|[start, height, width]| start + height * width == cells),
            "levels have all cells"
        );
        let (value, locations, weights) = (flex::slice(value), flex::slice(locations), flex::slice(weights));
        Self { b, n, g, p, e, cells, levels, value, locations, weights }
    }

    fn samples(&self) -> usize {
        self.levels.len() * self.p
    }

    /// Sample `index` of one head, `head` counted over batch, queries and heads; none if it is wholly outside or no number.
    #[inline(always)]
    fn sample(&self, b: usize, head: usize, index: usize) -> Option<Sample> {
        let [start, height, width] = self.levels[index / self.p];
        let at = head * self.samples() + index;
        let pixel = |place: f32, size: usize| {
            let pixel = place * size as f32 - 0.5;
            (pixel >= -1.0 && pixel < size as f32).then_some(pixel)
        };
        let (x, y) = (pixel(self.locations[2 * at], width)?, pixel(self.locations[2 * at + 1], height)?);
        // Truncation rounds down from 0 on, and from -1 on after adding 1.
        let (column, row) = ((x + 1.0) as usize, (y + 1.0) as usize);
        let g = head % self.g;
        let neighbour = |row: usize, column: usize| {
            // Rows and columns are counted from -1 here.
            let inside = row >= 1 && row <= height && column >= 1 && column <= width;
            let cell = || b * self.cells + start + (row - 1) * width + column - 1;
            if inside { (cell() * self.g + g) * self.e } else { OUTSIDE }
        };
        Some(Sample {
            weight: self.weights[at],
            height: height as f32,
            width: width as f32,
            right: x - (column as f32 - 1.0),
            below: y - (row as f32 - 1.0),
            neighbours: [
                neighbour(row, column),
                neighbour(row, column + 1),
                neighbour(row + 1, column),
                neighbour(row + 1, column + 1),
            ],
        })
    }
}

/// `out[c] = sum of share times value[c]` over cells, `V` vectors of channels from `channel` on.
#[inline(always)]
unsafe fn gather<S: Simd, const V: usize>(cells: &[(usize, f32)], value: *const f32, channel: usize, out: *mut f32) {
    unsafe {
        let mut sums = [S::splat(0.0); V];
        for (start, share) in cells {
            let (from, share) = (value.add(start + channel), S::splat(*share));
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = S::fma(share, S::load(from.add(vector * S::LANES)), *sum);
            }
        }
        for (vector, sum) in sums.into_iter().enumerate() {
            S::store(out.add(channel + vector * S::LANES), sum);
        }
    }
}

multiversion! {
    /// Rows of the output, the first of which is `first` counted over batch and queries.
    fn forward<S>(maps: &Maps<'_>, first: usize, out: &mut [f32]) {
        let (e, value) = (maps.e, maps.value.as_ptr());
        // Every neighbour with a share, as long as they fit: they are looked up once for all channels.
        let mut cells = Vec::with_capacity(4 * maps.samples());
        for (index, out) in out.chunks_exact_mut(maps.e).enumerate() {
            let head = first * maps.g + index;
            cells.clear();
            for index in 0..maps.samples() {
                let Some(sample) = maps.sample(head / (maps.n * maps.g), head, index) else { continue };
                for (start, share) in sample.neighbours.into_iter().zip(sample.shares()) {
                    if start != OUTSIDE {
                        cells.push((start, share * sample.weight));
                    }
                }
            }
            let mut channel = 0;
            while channel + 4 * S::LANES <= e {
                gather::<S, 4>(&cells, value, channel, out.as_mut_ptr());
                channel += 4 * S::LANES;
            }
            while channel + 2 * S::LANES <= e {
                gather::<S, 2>(&cells, value, channel, out.as_mut_ptr());
                channel += 2 * S::LANES;
            }
            while channel + S::LANES <= e {
                gather::<S, 1>(&cells, value, channel, out.as_mut_ptr());
                channel += S::LANES;
            }
            if channel < e {
                let mut sum = S::splat(0.0);
                for (start, share) in &cells {
                    sum = S::fma(S::splat(*share), S::load_part(value.add(start + channel), e - channel), sum);
                }
                S::store_part(out.as_mut_ptr().add(channel), sum, e - channel);
            }
        }
    }
}

multiversion! {
    /// All gradients of one head of one element of the batch.
    fn backward<S>(maps: &Maps<'_>, head: [usize; 2], grad: &[f32], to: &Gradients) {
        let [b, g] = head;
        let (e, samples) = (maps.e, maps.samples());
        for n in 0..maps.n {
            let head = (b * maps.n + n) * maps.g + g;
            let grad = grad[head * e..][..e].as_ptr();
            // SAFETY of all three: every task has a head of its own, and cells belong to a head.
            let (locations, weights) =
                (to.locations.range(2 * head * samples, 2 * samples), to.weights.range(head * samples, samples));
            for index in 0..samples {
                let Some(sample) = maps.sample(b, head, index) else {
                    locations[2 * index..2 * index + 2].fill(0.0);
                    weights[index] = 0.0;
                    continue;
                };
                let shares = sample.shares();
                let mut dots = [0.0; 4];
                for (corner, start) in sample.neighbours.into_iter().enumerate() {
                    if start == OUTSIDE {
                        continue;
                    }
                    let from = maps.value.as_ptr().add(start);
                    let into = to.value.range(start, e).as_mut_ptr();
                    let share = S::splat(shares[corner] * sample.weight);
                    let sum = std::cell::Cell::new(S::splat(0.0));
                    blocks::<S>(
                        e,
                        |i| {
                            let grad = S::load(grad.add(i));
                            sum.set(S::fma(grad, S::load(from.add(i)), sum.get()));
                            S::store(into.add(i), S::fma(share, grad, S::load(into.add(i))));
                        },
                        |i, count| {
                            let grad = S::load_part(grad.add(i), count);
                            sum.set(S::fma(grad, S::load_part(from.add(i), count), sum.get()));
                            S::store_part(into.add(i), S::fma(share, grad, S::load_part(into.add(i), count)), count);
                        },
                    );
                    dots[corner] = S::sum(sum.get());
                }
                let along_x = (dots[1] - dots[0]) * (1.0 - sample.below) + (dots[3] - dots[2]) * sample.below;
                let along_y = (dots[2] - dots[0]) * (1.0 - sample.right) + (dots[3] - dots[1]) * sample.right;
                locations[2 * index] = sample.weight * sample.width * along_x;
                locations[2 * index + 1] = sample.weight * sample.height * along_y;
                weights[index] = dots.iter().zip(shares).map(|(dot, share)| dot * share).sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| (((i * 37 + salt) * 7919) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    #[test]
    fn every_instruction_set_gives_the_same() {
        let (b, n, g, p) = (2, 3, 2, 3);
        let levels = [[4, 5], [1, 1], [3, 2]];
        for e in [1, 8, 21, 32, 71] {
            let value = flex::tensor(numbers(b * 27 * g * e, 1), [b, 27, g, e]);
            let places = numbers(b * n * g * 3 * p * 2, 2).into_iter().map(|place| 0.7 * place + 0.5).collect();
            let locations = flex::tensor(places, [b, n, g, 3, p, 2]);
            let weights = flex::tensor(numbers(b * n * g * 3 * p, 3), [b, n, g, 3, p]);
            let maps = Maps::new(&value, &levels, &locations, &weights);
            let grad = numbers(b * n * g * e, 4);
            let run = |isa| {
                let mut out = vec![0.0; b * n * g * e];
                forward(isa, &maps, 0, &mut out);
                let mut grads = [maps.value, maps.locations, maps.weights].map(|values| vec![0.0; values.len()]);
                let [value, locations, weights] = grads.each_mut().map(|values| Shared::new(values));
                let to = Gradients { value, locations, weights };
                (0..b * g).for_each(|head| backward(isa, &maps, [head / g, head % g], &grad, &to));
                let [value, locations, weights] = grads;
                [out, value, locations, weights]
            };
            let want = run(Isa::Portable);
            assert!(want.iter().all(|values| values.iter().any(|value| *value != 0.0)));
            for isa in Isa::available() {
                for (index, (got, want)) in run(isa).iter().zip(&want).enumerate() {
                    let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-4);
                    assert!(near, "{isa:?}: result {index} for heads of {e}");
                }
            }
        }
    }
}
