//! Resizing, equal to Pillow bit for bit.
//!
//! Per axis, output sample `i` has its centre at `(i + 0.5) * n / m` and reads the inputs under a kernel that widens
//! when shrinking. Weights are normalised in `f64`, turned into fixed point with 22 fractional bits, and each pass ends in
//! 8 bits. The horizontal pass runs first; an axis whose size does not change is skipped.
//!
//! PARITY: Pillow 13 swaps the passes in some cases where the height shrinks, which moves single values by one grey
//! level. Published weights were made with earlier versions, so the order here is always horizontal first.

use std::borrow::Cow;

use groundling_core::{ImageSize, mask::nearest_indices};
use image::RgbImage;

/// The kernel of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// A triangle, Pillow's `BILINEAR`.
    Bilinear,
    /// Cubic with a = -0.5, Pillow's `BICUBIC`.
    Bicubic,
    /// One sample, Pillow's `NEAREST`.
    Nearest,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Nearest => 0.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Filter::Bilinear => (1.0 - x).max(0.0),
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Filter::Bicubic | Filter::Nearest => 0.0,
        }
    }
}

/// Resizes an image to exactly `size`.
pub fn resize(image: &RgbImage, size: ImageSize, filter: Filter) -> RgbImage {
    let (width, height) = image.dimensions();
    if (height, width) == (size.height(), size.width()) {
        return image.clone();
    }
    if width == 0 || height == 0 {
        return RgbImage::new(size.width(), size.height());
    }
    if filter == Filter::Nearest {
        return nearest(image, size);
    }
    let row_length = size.width() as usize * CHANNELS;
    let mut pixels = Cow::Borrowed(image.as_raw().as_slice());
    if width != size.width() {
        let mut narrow = vec![0; row_length * height as usize];
        horizontal(&pixels, &mut narrow, width as usize, &Taps::new(width, size.width(), filter));
        pixels = Cow::Owned(narrow);
    }
    if height != size.height() {
        let mut low = vec![0; row_length * size.height() as usize];
        vertical(&pixels, &mut low, row_length, &Taps::new(height, size.height(), filter));
        pixels = Cow::Owned(low);
    }
    RgbImage::from_raw(size.width(), size.height(), pixels.into_owned())
        .unwrap_or_else(|| RgbImage::new(size.width(), size.height()))
}

const CHANNELS: usize = 3;
const FRACTION_BITS: u32 = 22;

/// For each output sample, where its inputs start and their fixed-point weights.
struct Taps {
    first: Vec<usize>,
    /// `longest` weights a sample, zeros behind.
    weights: Vec<i32>,
    lengths: Vec<usize>,
    longest: usize,
}

impl Taps {
    fn new(from: u32, to: u32, filter: Filter) -> Self {
        let scale = f64::from(from) / f64::from(to);
        let widening = scale.max(1.0);
        let support = filter.support() * widening;
        let longest = support.ceil() as usize * 2 + 1;
        let mut taps = Self {
            first: Vec::with_capacity(to as usize),
            weights: vec![0; to as usize * longest],
            lengths: Vec::with_capacity(to as usize),
            longest,
        };
        let mut row = Vec::with_capacity(longest);
        for i in 0..to {
            let centre = (f64::from(i) + 0.5) * scale;
            let first = ((centre - support + 0.5) as i64).max(0);
            let end = ((centre + support + 0.5) as i64).min(i64::from(from));
            row.clear();
            row.extend((first..end).map(|j| filter.weight((j as f64 - centre + 0.5) * (1.0 / widening))));
            let total: f64 = row.iter().sum();
            let fixed = |weight: f64| {
                let scaled = if total == 0.0 { weight } else { weight / total } * f64::from(1 << FRACTION_BITS);
                (scaled + 0.5f64.copysign(scaled)) as i32
            };
            let start = i as usize * longest;
            for (slot, &weight) in taps.weights[start..].iter_mut().zip(&row) {
                *slot = fixed(weight);
            }
            taps.first.push(first as usize);
            taps.lengths.push(row.len().min(longest));
        }
        taps
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.first.iter().enumerate().map(|(i, &first)| {
            let start = i * self.longest;
            (first, &self.weights[start..start + self.lengths[i]])
        })
    }
}

fn rounded(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (FRACTION_BITS - 1);

fn horizontal(pixels: &[u8], out: &mut [u8], width: usize, taps: &Taps) {
    let rows = pixels.chunks_exact(width * CHANNELS);
    for (row, out) in rows.zip(out.chunks_exact_mut(taps.first.len() * CHANNELS)) {
        for ((first, weights), out) in taps.iter().zip(out.chunks_exact_mut(CHANNELS)) {
            let mut sums = [HALF; CHANNELS];
            for (pixel, &weight) in row[first * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(value)));
                }
            }
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = rounded(sum));
        }
    }
}

fn vertical(pixels: &[u8], out: &mut [u8], row_length: usize, taps: &Taps) {
    let mut sums = vec![HALF; row_length];
    for ((first, weights), out) in taps.iter().zip(out.chunks_exact_mut(row_length)) {
        sums.fill(HALF);
        for (row, &weight) in pixels[first * row_length..].chunks_exact(row_length).zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum = sum.wrapping_add(weight.wrapping_mul(i32::from(value)));
            }
        }
        out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = rounded(sum));
    }
}

fn nearest(image: &RgbImage, size: ImageSize) -> RgbImage {
    let columns = nearest_indices(image.width(), size.width());
    let rows = nearest_indices(image.height(), size.height());
    RgbImage::from_fn(size.width(), size.height(), |x, y| *image.get_pixel(columns[x as usize], rows[y as usize]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: u32, width: u32) -> ImageSize {
        ImageSize::new(height, width).unwrap()
    }

    #[test]
    fn a_constant_image_stays_constant() {
        let image = RgbImage::from_pixel(37, 23, image::Rgb([3, 127, 255]));
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Nearest] {
            for target in [size(5, 90), size(64, 3), size(1, 1)] {
                let resized = resize(&image, target, filter);
                assert!(resized.pixels().all(|p| p.0 == [3, 127, 255]), "{filter:?} {target}");
                assert_eq!((resized.height(), resized.width()), (target.height(), target.width()));
            }
        }
    }

    #[test]
    fn the_own_size_is_the_identity() {
        let image = RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8, y as u8, 77]));
        assert_eq!(resize(&image, size(7, 9), Filter::Bicubic), image);
    }

    #[test]
    fn halving_averages_pairs() {
        let image = RgbImage::from_fn(4, 1, |x, _| image::Rgb([[0, 100, 200, 100][x as usize]; 3]));
        // Triangle of support 2 around 1.0 and 3.0, cut at the border.
        let halved = resize(&image, size(1, 2), Filter::Bilinear);
        assert_eq!(halved.as_raw(), &[71, 71, 71, 143, 143, 143]);
    }
}
