//! Max pooling on slices: first down the columns of a window, then along its row.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};

use super::{PoolOps, PoolOptions};
use crate::flex::{self, all_f32, in_order, slice};
use crate::gemm::scratch;
use crate::isa::Isa;
use crate::simd::{blocks, multiversion};

impl PoolOps for Flex {
    fn fused_max_pool2d(x: FloatTensor<Self>, options: PoolOptions) -> FloatTensor<Self> {
        let shape = x.shape();
        let input = [shape[2], shape[3]];
        let Some([rows, columns]) = options.output_size(input).filter(|_| all_f32([&x])) else {
            let PoolOptions { kernel, stride, padding } = options;
            return <Self as burn::backend::ops::ModuleOps<Self>>::max_pool2d(
                x,
                kernel,
                stride,
                padding,
                [1, 1],
                false,
            );
        };
        let x = in_order(x);
        let (values, plane) = (slice(&x), input[0] * input[1]);
        let mut out = flex::unset(shape[0] * shape[1] * rows * columns);
        flex::rows(&mut out, rows * columns, |first, out| {
            for (index, out) in out.chunks_mut(rows * columns).enumerate() {
                pool(Isa::detect(), &values[(first + index) * plane..][..plane], input, &options, columns, out);
            }
        });
        flex::tensor(out, [shape[0], shape[1], rows, columns])
    }
}

multiversion! {
    /// One channel.
    fn pool<S>(plane: &[f32], input: [usize; 2], options: &PoolOptions, columns: usize, out: &mut [f32]) {
        let [height, width] = input;
        let [top, left] = options.padding;
        // One row with the padding on both sides, which never wins.
        let padded = (width + 2 * left).max((columns - 1) * options.stride[1] + options.kernel[1]);
        scratch::local(padded, |row| {
            let line = std::slice::from_raw_parts_mut(row, padded);
            line.fill(f32::NEG_INFINITY);
            for (oy, out) in out.chunks_mut(columns).enumerate() {
                let start = (oy * options.stride[0]).saturating_sub(top);
                let end = (oy * options.stride[0] + options.kernel[0]).saturating_sub(top).min(height);
                let (from, to) = (plane.as_ptr(), line.as_mut_ptr().add(left));
                blocks::<S>(
                    width,
                    |i| {
                        let mut best = S::splat(f32::NEG_INFINITY);
                        for y in start..end {
                            let value = S::load(from.add(y * width + i));
                            best = S::select_greater(value, best, value, S::select_nan(value, value, best));
                        }
                        S::store(to.add(i), best);
                    },
                    |i, n| {
                        let mut best = S::splat(f32::NEG_INFINITY);
                        for y in start..end {
                            let value = S::load_part(from.add(y * width + i), n);
                            best = S::select_greater(value, best, value, S::select_nan(value, value, best));
                        }
                        S::store_part(to.add(i), best, n);
                    },
                );
                along(line, options.kernel[1], options.stride[1], out);
            }
        });
    }
}

/// `out[x] = max(line[x * stride..][..kernel])`.
#[inline(always)]
fn along(line: &[f32], kernel: usize, stride: usize, out: &mut [f32]) {
    if (kernel, stride) == (3, 2) {
        // The usual case, with constants that the compiler makes vectors of.
        for (window, out) in line.windows(3).step_by(2).zip(out) {
            *out = larger(larger(window[0], window[1]), window[2]);
        }
        return;
    }
    for (window, out) in line.windows(kernel).step_by(stride).zip(out) {
        *out = window[1..].iter().fold(window[0], |best, value| larger(best, *value));
    }
}

#[inline(always)]
fn larger(best: f32, value: f32) -> f32 {
    if value > best || value.is_nan() { value } else { best }
}
