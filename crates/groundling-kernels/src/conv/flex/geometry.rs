//! What each tap of a convolution sees.

use std::ops::Range;

use crate::conv::ConvOptions;
use crate::isa::Isa;
use crate::simd::{Simd, blocks, multiversion};

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
        let padding = |axis: usize| {
            (self.options.dilation[axis] * (self.kernel[axis] - 1)).checked_sub(self.options.padding[axis])
        };
        let padding = [padding(0)?, padding(1)?];
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

    /// What tap `k` of a group sees at the output pixels `columns`, zeros outside the image: `width` values to each panel, `stride` apart,
    /// the last one filled up with zeros.
    ///
    /// # Safety
    /// `to` is valid for the panels that `columns` need; the machine has `isa`.
    #[inline]
    #[allow(clippy::too_many_arguments)]
    pub(crate) unsafe fn see(
        &self,
        isa: Isa,
        x: &[f32],
        image: usize,
        group: usize,
        k: usize,
        columns: Range<usize>,
        to: Panels,
    ) {
        let taps = self.kernel[0] * self.kernel[1];
        let (channel, tap) = (k / taps, k % taps);
        let plane = self.input[0] * self.input[1];
        let at = ((image * self.groups + group) * self.inputs_per_group() + channel) * plane;
        see_tap(isa, self, &x[at..at + plane], tap / self.kernel[1], tap % self.kernel[1], columns, to);
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

/// Where the values of one row go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panels {
    pub(crate) data: *mut f32,
    /// Values for each panel.
    pub(crate) width: usize,
    /// From one panel to the next.
    pub(crate) stride: usize,
}

multiversion! {
    fn see_tap<S>(geometry: &Geometry, plane: &[f32], ky: usize, kx: usize, columns: Range<usize>, to: Panels) {
        let row = Row {
            geometry,
            plane: plane.as_ptr(),
            width: geometry.output[1],
            input_width: geometry.input[1],
            step: geometry.options.stride[1],
            valid: geometry.valid(kx),
            ky,
            kx,
        };
        let (mut oy, mut ox) = (columns.start / row.width, columns.start % row.width);
        let mut y = geometry.row(oy, ky);
        for (panel, start) in columns.clone().step_by(to.width).enumerate() {
            let to_panel = to.data.add(panel * to.stride);
            let count = (columns.end - start).min(to.width);
            let whole = count == to.width && ox >= row.valid.start && ox + count <= row.valid.end;
            if let Some(y) = y && whole {
                // The usual case: all inside one row of the image.
                row.copy::<S>(y, ox, count, to_panel);
                ox += count;
            } else {
                let (mut done, mut left) = (0, count);
                while left > 0 {
                    let part = left.min(row.width - ox);
                    row.piece::<S>(y, ox, part, to_panel.add(done));
                    done += part;
                    left -= part;
                    ox += part;
                    if ox == row.width && left > 0 {
                        (oy, ox) = (oy + 1, 0);
                        y = geometry.row(oy, ky);
                    }
                }
                zero(to_panel.add(count), to.width - count);
            }
            if ox == row.width {
                (oy, ox) = (oy + 1, 0);
                y = geometry.row(oy, ky);
            }
        }
    }
}

/// One tap on its way over the output.
struct Row<'a> {
    geometry: &'a Geometry,
    plane: *const f32,
    width: usize,
    input_width: usize,
    step: usize,
    valid: Range<usize>,
    ky: usize,
    kx: usize,
}

impl Row<'_> {
    /// `count` values from output column `ox` on, all inside row `y` of the image.
    #[inline(always)]
    unsafe fn copy<S: Simd>(&self, y: usize, ox: usize, count: usize, to: *mut f32) {
        unsafe {
            let from = self.plane.add(y * self.input_width + self.geometry.column(ox, self.kx));
            match self.step {
                1 => blocks::<S>(
                    count,
                    |i| S::store(to.add(i), S::load(from.add(i))),
                    |i, n| S::store_part(to.add(i), S::load_part(from.add(i), n), n),
                ),
                // A constant step lets the compiler pick every other value of two vectors.
                2 => (0..count).for_each(|i| *to.add(i) = *from.add(2 * i)),
                step => (0..count).for_each(|i| *to.add(i) = *from.add(step * i)),
            }
        }
    }

    /// `count` values from output column `ox` of a row of the output, which sees row `y` of the image or nothing.
    #[inline(always)]
    unsafe fn piece<S: Simd>(&self, y: Option<usize>, ox: usize, count: usize, to: *mut f32) {
        debug_assert!(self.ky < self.geometry.kernel[0]);
        let (start, stop) = (self.valid.start.clamp(ox, ox + count), self.valid.end.clamp(ox, ox + count));
        unsafe {
            match y {
                Some(y) if start < stop => {
                    zero(to, start - ox);
                    self.copy::<S>(y, start, stop - start, to.add(start - ox));
                    zero(to.add(stop - ox), ox + count - stop);
                }
                _ => zero(to, count),
            }
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
