//! What each tap of a convolution sees.

use std::ops::Range;

use crate::conv::ConvOptions;
use crate::isa::Isa;
use crate::simd::{blocks, multiversion};

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
    /// Height and width, as the others.
    pub(crate) input: [usize; 2],
    pub(crate) output: [usize; 2],
    pub(crate) kernel: [usize; 2],
    pub(crate) options: ConvOptions,
}

impl Geometry {
    /// # Panics
    /// If the kernel does not fit, which the public function rules out.
    pub(crate) fn new(x: [usize; 4], weight: [usize; 4], options: ConvOptions) -> Self {
        let (input, kernel) = ([x[2], x[3]], [weight[2], weight[3]]);
        let output = options.output_size(input, kernel).expect("checked by the public function");
        Self { batch: x[0], inputs: x[1], outputs: weight[0], groups: options.groups, input, output, kernel, options }
    }

    pub(crate) fn inputs_per_group(&self) -> usize {
        self.inputs / self.groups
    }

    pub(crate) fn outputs_per_group(&self) -> usize {
        self.outputs / self.groups
    }

    /// Taps of all input channels of a group.
    pub(crate) fn depth(&self) -> usize {
        self.inputs_per_group() * self.kernel[0] * self.kernel[1]
    }

    /// Pixels of an output channel.
    pub(crate) fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    pub(crate) fn input_len(&self) -> usize {
        self.batch * self.inputs * self.input[0] * self.input[1]
    }

    pub(crate) fn output_len(&self) -> usize {
        self.batch * self.outputs * self.pixels()
    }

    pub(crate) fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.outputs, self.output[0], self.output[1]]
    }

    /// The convolution that takes the gradient of the output to that of the input, if there is one: with stride 1 and padding
    /// within the reach of the kernel.
    pub(crate) fn reverse(&self) -> Option<Self> {
        let mut padding = [0; 2];
        for axis in 0..2 {
            let reach = self.options.dilation[axis] * (self.kernel[axis] - 1);
            padding[axis] = reach.checked_sub(self.options.padding[axis])?;
        }
        let options = ConvOptions { padding, ..self.options };
        (self.options.stride == [1, 1]).then_some(Self {
            inputs: self.outputs,
            outputs: self.inputs,
            input: self.output,
            output: self.input,
            options,
            ..*self
        })
    }

    /// The weight of [`reverse`](Self::reverse): inputs and outputs of each group exchanged, taps in reverse order.
    pub(crate) fn turned(&self, weight: &[f32]) -> Vec<f32> {
        let (outputs, inputs) = (self.outputs_per_group(), self.inputs_per_group());
        let taps = self.kernel[0] * self.kernel[1];
        let mut turned = vec![0.0; weight.len()];
        for group in 0..self.groups {
            for (o, i) in (0..outputs).flat_map(|o| (0..inputs).map(move |i| (o, i))) {
                let from = &weight[((group * outputs + o) * inputs + i) * taps..][..taps];
                let to = &mut turned[((group * inputs + i) * outputs + o) * taps..][..taps];
                for (to, from) in to.iter_mut().zip(from.iter().rev()) {
                    *to = *from;
                }
            }
        }
        turned
    }

    /// What tap `k` of a group sees at the output pixels `columns`, zeros outside the image.
    ///
    /// # Safety
    /// `to` is valid for `columns.len()` elements.
    #[inline]
    pub(crate) unsafe fn see(
        &self,
        isa: Isa,
        x: &[f32],
        image: usize,
        group: usize,
        k: usize,
        columns: Range<usize>,
        to: *mut f32,
    ) {
        let taps = self.kernel[0] * self.kernel[1];
        let (channel, tap) = (k / taps, k % taps);
        let plane = self.input[0] * self.input[1];
        let at = ((image * self.groups + group) * self.inputs_per_group() + channel) * plane;
        let source = &x[at..at + plane];
        if taps == 1 && self.options.stride == [1, 1] && self.options.padding == [0, 0] {
            let source = &source[columns];
            // SAFETY: as many elements as columns.
            return unsafe { std::ptr::copy_nonoverlapping(source.as_ptr(), to, source.len()) };
        }
        see_tap(isa, self, source, tap / self.kernel[1], tap % self.kernel[1], columns, to);
    }

    /// Adds what a tap gave, one value for each output pixel, to the input pixels that it looked at.
    pub(crate) fn give_back(&self, tap: usize, given: &[f32], plane: &mut [f32]) {
        let [ky, kx] = [tap / self.kernel[1], tap % self.kernel[1]];
        let [width, columns] = [self.input[1], self.output[1]];
        for (oy, given) in given.chunks(columns).enumerate() {
            let Some(y) = self.row(oy, ky) else { continue };
            let valid = self.valid(kx);
            let row = &mut plane[y * width..(y + 1) * width];
            for ox in valid {
                row[self.column(ox, kx)] += given[ox];
            }
        }
    }

    /// The input row that a tap sees from an output row, if it is inside.
    pub(crate) fn row(&self, oy: usize, ky: usize) -> Option<usize> {
        let y = (oy * self.options.stride[0] + ky * self.options.dilation[0]).checked_sub(self.options.padding[0])?;
        (y < self.input[0]).then_some(y)
    }

    /// The output columns from which a tap sees a column inside the image.
    pub(crate) fn valid(&self, kx: usize) -> Range<usize> {
        let (stride, offset) = (self.options.stride[1], kx * self.options.dilation[1]);
        let start = self.options.padding[1].saturating_sub(offset).div_ceil(stride);
        let end = (self.input[1] + self.options.padding[1]).saturating_sub(offset).div_ceil(stride);
        let end = end.min(self.output[1]);
        start.min(end)..end
    }

    /// The input column that a tap sees from an output column in [`valid`](Self::valid).
    pub(crate) fn column(&self, ox: usize, kx: usize) -> usize {
        ox * self.options.stride[1] + kx * self.options.dilation[1] - self.options.padding[1]
    }
}

multiversion! {
    fn see_tap<S>(geometry: &Geometry, plane: &[f32], ky: usize, kx: usize, columns: Range<usize>, to: *mut f32) {
        let (width, input_width, stride) = (geometry.output[1], geometry.input[1], geometry.options.stride[1]);
        let valid = geometry.valid(kx);
        let mut to = to;
        let (mut oy, mut ox, mut left) = (columns.start / width, columns.start % width, columns.len());
        while left > 0 {
            let end = (ox + left).min(width);
            let count = end - ox;
            let (start, stop) = (valid.start.clamp(ox, end), valid.end.clamp(ox, end));
            match geometry.row(oy, ky) {
                Some(y) if start < stop => {
                    zero(to, start - ox);
                    let from = geometry.column(start, kx);
                    assert!(from + (stop - start - 1) * stride < input_width);
                    let from = plane.as_ptr().add(y * input_width + from);
                    let to = to.add(start - ox);
                    if stride == 1 {
                        // In place of a call: rows of small maps have a vector or two.
                        blocks::<S>(
                            stop - start,
                            |i| S::store(to.add(i), S::load(from.add(i))),
                            |i, n| S::store_part(to.add(i), S::load_part(from.add(i), n), n),
                        );
                    } else if stride == 2 {
                        // A constant step lets the compiler pick every other value of two vectors.
                        for i in 0..stop - start {
                            *to.add(i) = *from.add(2 * i);
                        }
                    } else {
                        for i in 0..stop - start {
                            *to.add(i) = *from.add(stride * i);
                        }
                    }
                    zero(to.add(stop - start), end - stop);
                }
                _ => zero(to, count),
            }
            to = to.add(count);
            left -= count;
            ox = 0;
            oy += 1;
        }
    }
}

#[inline(always)]
unsafe fn zero(to: *mut f32, count: usize) {
    // A few values at the edge of the image: not worth a call.
    for i in 0..count {
        unsafe { *to.add(i) = 0.0 };
    }
}
