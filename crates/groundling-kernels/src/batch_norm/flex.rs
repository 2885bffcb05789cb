//! Batch normalisation on slices.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;
use rayon::prelude::*;

use super::{BatchNormOps, composed};
use crate::flex;
use crate::isa::Isa;
use crate::simd::{Simd, blocks, multiversion};

impl BatchNormOps for Flex {
    fn channel_moments(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&x]) || x.layout().shape().num_elements() == 0 {
            return composed::moments::<Self>(x);
        }
        let x = flex::in_order(x);
        let map = Map::new(&x);
        let count = map.per_channel() as f64;
        let moments = map.each_channel(|channel| {
            let total = |centre: f32| {
                map.planes(channel)
                    .map(|plane| sums(Isa::detect(), plane, centre))
                    .fold([0.0; 2], |[a, b], sums| [a + f64::from(sums[0]), b + f64::from(sums[1])])
            };
            let centre = (total(0.0)[0] / count) as f32;
            // The rounded mean is put right by what the differences to it still add up to.
            let [apart, squares] = total(centre).map(|sum| sum / count);
            [f64::from(centre) + apart, squares - apart * apart]
        });
        let values = [0, 1].into_iter().flat_map(|which| moments.iter().map(move |pair| pair[which] as f32)).collect();
        flex::tensor(values, vec![2, map.channels])
    }

    fn fused_batch_norm_relu(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        if !flex::all_f32([&x, &moments, &gamma, &beta]) {
            return composed::batch_norm_relu::<Self>(x, moments, gamma, beta, epsilon);
        }
        let x = flex::in_order(x);
        let map = Map::new(&x);
        let norms = Channel::of_all(moments, gamma, beta, epsilon);
        let mut out = flex::unset(map.values.len());
        flex::rows(&mut out, map.pixels, |first, out| {
            for (index, out) in out.chunks_mut(map.pixels).enumerate() {
                let plane = first + index;
                forward(Isa::detect(), map.plane(plane), norms[plane % map.channels], out);
            }
        });
        flex::tensor(out, x.layout().shape().clone())
    }

    fn fused_batch_norm_relu_backward(
        x: FloatTensor<Self>,
        moments: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !flex::all_f32([&x, &moments, &gamma, &beta, &grad]) || x.layout().shape().num_elements() == 0 {
            return composed::batch_norm_relu_backward::<Self>(x, [moments, gamma, beta], grad, epsilon);
        }
        let (x, grad) = (flex::in_order(x), flex::in_order(grad));
        let (map, grads) = (Map::new(&x), Map::new(&grad));
        assert_eq!(map.values.len(), grads.values.len(), "the gradient has the shape of the input");
        let norms = Channel::of_all(moments, gamma, beta, epsilon);
        // Of the gradient, and of its product with the normalised values.
        let totals = map.each_channel(|channel| {
            let planes = map.planes(channel).zip(grads.planes(channel));
            planes.fold([0.0; 2], |[flat, along], (plane, grad)| {
                let sums = gradient_sums(Isa::detect(), plane, grad, norms[channel]);
                [flat + f64::from(sums[0]), along + f64::from(sums[1])]
            })
        });
        let count = map.per_channel() as f64;
        let mut to_x = flex::unset(map.values.len());
        flex::rows(&mut to_x, map.pixels, |first, out| {
            for (index, out) in out.chunks_mut(map.pixels).enumerate() {
                let plane = first + index;
                let channel = plane % map.channels;
                let means = totals[channel].map(|total| (total / count) as f32);
                backward(Isa::detect(), map.plane(plane), grads.plane(plane), norms[channel], means, out);
            }
        });
        let of_channels = |which: usize| {
            let values = totals.iter().map(|pair| pair[which] as f32).collect();
            flex::tensor(values, vec![map.channels])
        };
        (flex::tensor(to_x, x.layout().shape().clone()), of_channels(1), of_channels(0))
    }
}

/// `[B, C, P]`, plane by plane.
struct Map<'a> {
    values: &'a [f32],
    channels: usize,
    pixels: usize,
}

impl<'a> Map<'a> {
    fn new(x: &'a FlexTensor) -> Self {
        let shape = x.layout().shape();
        Self { values: flex::slice(x), channels: shape[1], pixels: shape[2] }
    }

    /// Of one sample and channel, sample by sample.
    fn plane(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.pixels..][..self.pixels]
    }

    /// Those of a channel.
    fn planes(&self, channel: usize) -> impl Iterator<Item = &'a [f32]> + '_ {
        let count = self.values.len() / self.pixels.max(1);
        (channel..count).step_by(self.channels).map(|index| self.plane(index))
    }

    /// Values of a channel.
    fn per_channel(&self) -> usize {
        self.values.len() / self.channels.max(1)
    }

    /// Something of every channel, each on one thread: the same on any number of them.
    fn each_channel(&self, of: impl Fn(usize) -> [f64; 2] + Send + Sync) -> Vec<[f64; 2]> {
        if self.values.len() < flex::PARALLEL {
            (0..self.channels).map(of).collect()
        } else {
            (0..self.channels).into_par_iter().map(of).collect()
        }
    }
}

/// What becomes of a channel: the positive part of `(x - mean) scale gamma + beta`.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    scale: f32,
    gamma: f32,
    beta: f32,
}

impl Channel {
    fn of_all(moments: FlexTensor, gamma: FlexTensor, beta: FlexTensor, epsilon: f64) -> Vec<Self> {
        let [moments, gamma, beta] = [moments, gamma, beta].map(flex::in_order);
        let (means, variances) = flex::slice(&moments).split_at(flex::slice(&gamma).len());
        let parts = means.iter().zip(variances).zip(flex::slice(&gamma)).zip(flex::slice(&beta));
        parts
            .map(|(((&mean, &variance), &gamma), &beta)| {
                let scale = (1.0 / (f64::from(variance) + epsilon).sqrt()) as f32;
                Self { mean, scale, gamma, beta }
            })
            .collect()
    }
}

multiversion! {
    /// The sum of the differences to `centre`, and of their squares.
    fn sums<S>(x: &[f32], centre: f32) -> [f32; 2] {
        let (from, all) = (x.as_ptr(), S::splat(centre));
        let (mut total, mut squares) = ([S::splat(0.0); 2], [S::splat(0.0); 2]);
        let mut index = 0;
        while index + 2 * S::LANES <= x.len() {
            for k in 0..2 {
                let apart = S::sub(S::load(from.add(index + k * S::LANES)), all);
                total[k] = S::add(total[k], apart);
                squares[k] = S::fma(apart, apart, squares[k]);
            }
            index += 2 * S::LANES;
        }
        let (mut rest, mut rest_squares) = (0.0, 0.0);
        for value in &x[index..] {
            let apart = value - centre;
            rest += apart;
            rest_squares += apart * apart;
        }
        [S::sum(S::add(total[0], total[1])) + rest, S::sum(S::add(squares[0], squares[1])) + rest_squares]
    }
}

/// The normalised values and what becomes of them.
#[inline(always)]
unsafe fn normal_and_value<S: Simd>(x: S::V, channel: Channel) -> (S::V, S::V) {
    unsafe {
        let normal = S::mul(S::sub(x, S::splat(channel.mean)), S::splat(channel.scale));
        (normal, S::fma(normal, S::splat(channel.gamma), S::splat(channel.beta)))
    }
}

multiversion! {
    /// A plane.
    fn forward<S>(x: &[f32], channel: Channel, out: &mut [f32]) {
        assert_eq!(x.len(), out.len());
        let (x, to) = (x.as_ptr(), out.as_mut_ptr());
        // The operand that may be NaN comes second: it is the one that survives.
        let zero = S::splat(0.0);
        blocks::<S>(
            out.len(),
            |i| S::store(to.add(i), S::max(zero, normal_and_value::<S>(S::load(x.add(i)), channel).1)),
            |i, n| {
                let value = normal_and_value::<S>(S::load_part(x.add(i), n), channel).1;
                S::store_part(to.add(i), S::max(zero, value), n);
            },
        );
    }
}

/// The gradient behind the positive part, and the normalised values.
#[inline(always)]
unsafe fn gradient_and_normal<S: Simd>(x: S::V, grad: S::V, channel: Channel) -> (S::V, S::V) {
    unsafe {
        let (normal, value) = normal_and_value::<S>(x, channel);
        (S::select_greater(value, S::splat(0.0), grad, S::splat(0.0)), normal)
    }
}

multiversion! {
    /// The sums of the gradient, and of its product with the normalised values.
    fn gradient_sums<S>(x: &[f32], grad: &[f32], channel: Channel) -> [f32; 2] {
        assert_eq!(x.len(), grad.len());
        let (len, x, g) = (x.len(), x.as_ptr(), grad.as_ptr());
        let (mut flat, mut along) = (S::splat(0.0), S::splat(0.0));
        let mut i = 0;
        while i < len {
            let n = S::LANES.min(len - i);
            // What lies past the end has a gradient of zero, so adds nothing.
            let (x, g) = if n == S::LANES {
                (S::load(x.add(i)), S::load(g.add(i)))
            } else {
                (S::load_part(x.add(i), n), S::load_part(g.add(i), n))
            };
            let (grad, normal) = gradient_and_normal::<S>(x, g, channel);
            (flat, along) = (S::add(flat, grad), S::fma(grad, normal, along));
            i += n;
        }
        [S::sum(flat), S::sum(along)]
    }
}

multiversion! {
    /// The gradient of a plane; `means` are those of the gradient and of its product with the normalised values.
    fn backward<S>(x: &[f32], grad: &[f32], channel: Channel, means: [f32; 2], out: &mut [f32]) {
        assert!(x.len() == out.len() && grad.len() == out.len());
        let (x, g, to) = (x.as_ptr(), grad.as_ptr(), out.as_mut_ptr());
        let (flat, along) = (S::splat(-means[0]), S::splat(-means[1]));
        let factor = S::splat(channel.scale * channel.gamma);
        blocks::<S>(
            out.len(),
            |i| {
                let (grad, normal) = gradient_and_normal::<S>(S::load(x.add(i)), S::load(g.add(i)), channel);
                S::store(to.add(i), S::mul(S::fma(normal, along, S::add(grad, flat)), factor));
            },
            |i, n| {
                let (x, g) = (S::load_part(x.add(i), n), S::load_part(g.add(i), n));
                let (grad, normal) = gradient_and_normal::<S>(x, g, channel);
                S::store_part(to.add(i), S::mul(S::fma(normal, along, S::add(grad, flat)), factor), n);
            },
        );
    }
}
