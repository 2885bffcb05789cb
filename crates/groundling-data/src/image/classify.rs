//! Preparation of pictures for classifiers: what ImageNet models are trained with, and how they are scored.
//!
//! Every operation on bytes is Pillow's, to the byte; RandAugment is that of timm (`rand-m9-mstd0.5-inc1`), which the published recipes name.
//!
//! Sources: Cubuk et al. 2020 (arXiv:1909.13719), Zhong et al. 2020 (arXiv:1708.04896), Zhang et al. 2018 (arXiv:1710.09412),
//! Yun et al. 2019 (arXiv:1905.04899), Szegedy et al. 2015 (arXiv:1409.4842) for the crops.

use groundling_core::ImageSize;
use image::{Rgb, RgbImage};

use super::augment::Jitter;
use super::preprocess::{Fit, IMAGENET_MEAN, IMAGENET_STD, Preprocessor};
use super::resize::{Filter, resize};
use crate::rng::Rng;

/// Mean of ImageNet's pictures, bytes: what a moved picture leaves behind.
pub const MEAN_BYTES: [u8; 3] = [124, 116, 104];

/// A change of a picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// Stretches every channel to the whole range.
    AutoContrast,
    /// Makes all values of a channel about equally frequent.
    Equalize,
    /// Negative.
    Invert,
    /// Counter-clockwise, degrees.
    Rotate(f64),
    /// Keeps so many high bits.
    Posterize(u8),
    /// Inverts values from here up; 256 for none.
    Solarize(u16),
    /// Adds to values below 128.
    SolarizeAdd(u8),
    /// Saturation, 1 for none.
    Colour(f32),
    /// Contrast, 1 for none.
    Contrast(f32),
    /// Brightness, 1 for none.
    Brightness(f32),
    /// Sharpness, 1 for none.
    Sharpness(f32),
    /// Columns over rows.
    ShearX(f64),
    /// Rows over columns.
    ShearY(f64),
    /// To the left, as a share of the width.
    TranslateX(f64),
    /// Upwards, as a share of the height.
    TranslateY(f64),
}

impl Change {
    /// The changed picture, of the same size. `filter` says how moved pictures are read.
    pub fn apply(self, image: &RgbImage, filter: Filter, fill: [u8; 3]) -> RgbImage {
        let (width, height) = (f64::from(image.width()), f64::from(image.height()));
        let warped = |matrix: [f64; 6]| warp(image, matrix, filter, fill);
        let jittered = |jitter: Jitter| {
            let mut image = image.clone();
            jitter.apply(&mut image);
            image
        };
        match self {
            Change::AutoContrast => through(image, |counts| {
                let low = counts.iter().position(|&count| count > 0).unwrap_or(0);
                let high = counts.iter().rposition(|&count| count > 0).unwrap_or(0);
                if high <= low {
                    return table(|value| value);
                }
                let scale = 255.0 / (high - low) as f64;
                table(|value| (f64::from(value) * scale - low as f64 * scale).clamp(0.0, 255.0) as u8)
            }),
            Change::Equalize => through(image, equalized),
            Change::Invert => through(image, |_| table(|value| 255 - value)),
            Change::Posterize(bits) => {
                let mask = if bits >= 8 { 0xff } else { !(0xffu8 >> bits) };
                through(image, |_| table(|value| value & mask))
            }
            Change::Solarize(threshold) => {
                through(image, |_| table(|value| if u16::from(value) < threshold { value } else { 255 - value }))
            }
            Change::SolarizeAdd(add) => {
                through(image, |_| table(|value| if value < 128 { value.saturating_add(add) } else { value }))
            }
            Change::Colour(factor) => jittered(Jitter::Saturation(factor)),
            Change::Contrast(factor) => jittered(Jitter::Contrast(factor)),
            Change::Brightness(factor) => jittered(Jitter::Brightness(factor)),
            Change::Sharpness(factor) => sharpened(image, factor),
            Change::Rotate(degrees) => {
                let angle = -degrees.rem_euclid(360.0).to_radians();
                let (sin, cos) = angle.sin_cos();
                // Pillow rounds the matrix to fifteen digits, so that right angles are exact.
                let rounded = |value: f64| (value * 1e15).round() / 1e15;
                let (sin, cos) = (rounded(sin), rounded(cos));
                let (x, y) = (width / 2.0, height / 2.0);
                warped([cos, sin, cos * -x + sin * -y + x, -sin, cos, -sin * -x + cos * -y + y])
            }
            Change::ShearX(factor) => warped([1.0, factor, 0.0, 0.0, 1.0, 0.0]),
            Change::ShearY(factor) => warped([1.0, 0.0, 0.0, factor, 1.0, 0.0]),
            Change::TranslateX(share) => warped([1.0, 0.0, share * width, 0.0, 1.0, 0.0]),
            Change::TranslateY(share) => warped([1.0, 0.0, 0.0, 0.0, 1.0, share * height]),
        }
    }
}

fn table(value: impl Fn(u8) -> u8) -> [u8; 256] {
    std::array::from_fn(|index| value(index as u8))
}

/// A table for each channel, made from how often its values are there.
fn through(image: &RgbImage, make: impl Fn(&[u64; 256]) -> [u8; 256]) -> RgbImage {
    let mut counts = [[0u64; 256]; 3];
    for pixel in image.pixels() {
        pixel.0.iter().zip(&mut counts).for_each(|(&value, counts)| counts[usize::from(value)] += 1);
    }
    let tables = counts.map(|counts| make(&counts));
    let mut image = image.clone();
    for pixel in image.pixels_mut() {
        pixel.0.iter_mut().zip(&tables).for_each(|(value, table)| *value = table[usize::from(*value)]);
    }
    image
}

fn equalized(counts: &[u64; 256]) -> [u8; 256] {
    let total: u64 = counts.iter().sum();
    let last = counts.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
    let step = (total - last) / 255;
    if counts.iter().filter(|&&count| count > 0).count() <= 1 || step == 0 {
        return table(|value| value);
    }
    let mut n = step / 2;
    let mut table = [0; 256];
    for (entry, count) in table.iter_mut().zip(counts) {
        *entry = (n / step).min(255) as u8;
        n += count;
    }
    table
}

/// Between the picture and its blur by `[1 1 1; 1 5 1; 1 1 1] / 13`; the outermost pixels are not blurred.
fn sharpened(image: &RgbImage, factor: f32) -> RgbImage {
    let (width, height) = image.dimensions();
    let mut out = image.clone();
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let inside = x > 0 && y > 0 && x + 1 < width && y + 1 < height;
        for (channel, value) in pixel.0.iter_mut().enumerate() {
            let here = *value;
            let blurred = if inside {
                let at = |dx: u32, dy: u32| f32::from(image.get_pixel(x + dx - 1, y + dy - 1).0[channel]);
                // Summed row by row from below, in single precision, as Pillow does.
                let mut sum = 0.5f32;
                for dy in [2, 1, 0] {
                    let weight = |dx| if (dx, dy) == (1, 1) { 5.0f32 / 13.0 } else { 1.0 / 13.0 };
                    sum += at(0, dy) * weight(0) + at(1, dy) * weight(1) + at(2, dy) * weight(2);
                }
                sum.clamp(0.0, 255.0) as u8
            } else {
                here
            };
            let base = f32::from(blurred);
            *value = (base + factor * (f32::from(here) - base)).clamp(0.0, 255.0) as u8;
        }
    }
    out
}

/// Pixel (x, y) of the result is read at `(a x + b y + c, d x + e y + f)`, centres at halves; what lies outside is filled.
fn warp(image: &RgbImage, [a, b, c, d, e, f]: [f64; 6], filter: Filter, fill: [u8; 3]) -> RgbImage {
    let (width, height) = image.dimensions();
    if filter == Filter::Nearest {
        // Pillow steps through the picture in whole numbers of 1 / 65536 there.
        let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
        let (x0, y0) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
        let [a, b, d, e] = [a, b, d, e].map(fixed);
        return RgbImage::from_fn(width, height, |x, y| {
            let (x, y) = (i64::from(x), i64::from(y));
            let (x, y) = ((x0 + a * x + b * y) >> 16, (y0 + d * x + e * y) >> 16);
            let inside = (0..i64::from(width)).contains(&x) && (0..i64::from(height)).contains(&y);
            if inside { *image.get_pixel(x as u32, y as u32) } else { Rgb(fill) }
        });
    }
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
        let (x, y) = (a * x + b * y + c, d * x + e * y + f);
        if !(x >= 0.0 && x < f64::from(width) && y >= 0.0 && y < f64::from(height)) {
            return Rgb(fill);
        }
        Rgb(std::array::from_fn(|channel| read(image, x, y, channel, filter)))
    })
}

/// The value at a place between pixels, edges repeated.
fn read(image: &RgbImage, x: f64, y: f64, channel: usize, filter: Filter) -> u8 {
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let at = |x: i64, y: i64| {
        let (x, y) = (x.clamp(0, width - 1) as u32, y.clamp(0, height - 1) as u32);
        f64::from(image.get_pixel(x, y).0[channel])
    };
    let (x, y) = (x - 0.5, y - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (dx, dy) = (x - left, y - top);
    let (left, top) = (left as i64, top as i64);
    if filter == Filter::Bilinear {
        let row = |y: i64| at(left, y) + (at(left + 1, y) - at(left, y)) * dx;
        let (upper, lower) = (row(top), row(top + 1));
        return (upper + (lower - upper) * dy) as u8;
    }
    let row = |y: i64| cubic([at(left - 1, y), at(left, y), at(left + 1, y), at(left + 2, y)], dx);
    let value = cubic([row(top - 1), row(top), row(top + 1), row(top + 2)], dy);
    value.clamp(0.0, 255.0) as u8
}

/// Pillow's cubic through four values.
fn cubic([v1, v2, v3, v4]: [f64; 4], d: f64) -> f64 {
    let (p1, p2) = (v2, -v1 + v3);
    let (p3, p4) = (2.0 * (v1 - v2) + v3 - v4, -v1 + v2 - v3 + v4);
    p1 + d * (p2 + d * (p3 + d * p4))
}

/// RandAugment as timm has it, with changes that all grow with the magnitude.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandAugment {
    /// Changes that are drawn for a picture; each is made with probability one half.
    pub changes: usize,
    /// Magnitude, 0 to 10.
    pub magnitude: f64,
    /// Standard deviation of the magnitude.
    pub deviation: f64,
}

impl RandAugment {
    /// `rand-m9-mstd0.5-inc1`.
    pub const PUBLISHED: Self = Self { changes: 2, magnitude: 9.0, deviation: 0.5 };

    /// The changed picture.
    pub fn apply(&self, image: RgbImage, rng: &mut Rng) -> RgbImage {
        (0..self.changes).fold(image, |image, _| {
            let which = rng.below(15);
            if !rng.chance(0.5) {
                return image;
            }
            let level = (self.magnitude + self.deviation * normal(rng)).clamp(0.0, 10.0) / 10.0;
            let change = drawn(which, level, rng);
            let filter = if rng.chance(0.5) { Filter::Bilinear } else { Filter::Bicubic };
            change.apply(&image, filter, MEAN_BYTES)
        })
    }
}

/// A change of this strength, 0 to 1, with a random sign where there are two.
fn drawn(which: usize, level: f64, rng: &mut Rng) -> Change {
    let mut signed = |value: f64| if rng.chance(0.5) { -value } else { value };
    let factor = |signed: f64| (1.0 + signed).max(0.1) as f32;
    match which {
        0 => Change::AutoContrast,
        1 => Change::Equalize,
        2 => Change::Invert,
        3 => Change::Rotate(signed(30.0 * level)),
        4 => Change::Posterize(4 - (4.0 * level) as u8),
        5 => Change::Solarize(256 - (256.0 * level).min(256.0) as u16),
        6 => Change::SolarizeAdd((110.0 * level).min(128.0) as u8),
        7 => Change::Colour(factor(signed(0.9 * level))),
        8 => Change::Contrast(factor(signed(0.9 * level))),
        9 => Change::Brightness(factor(signed(0.9 * level))),
        10 => Change::Sharpness(factor(signed(0.9 * level))),
        11 => Change::ShearX(signed(0.3 * level)),
        12 => Change::ShearY(signed(0.3 * level)),
        13 => Change::TranslateX(signed(0.45 * level)),
        _ => Change::TranslateY(signed(0.45 * level)),
    }
}

/// A number of the normal distribution (Box and Muller).
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.unit()).cos()
}

/// A random part of a picture, resized to a square: area 8 to 100 % of it, sides 3 : 4 to 4 : 3.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomResizedCrop {
    /// Side of the square.
    pub side: u32,
    /// Least and greatest share of the area.
    pub area: (f64, f64),
    /// Least and greatest width over height.
    pub aspect: (f64, f64),
}

impl RandomResizedCrop {
    /// The published shares, for a square of this side.
    pub fn for_side(side: u32) -> Self {
        Self { side, area: (0.08, 1.0), aspect: (3.0 / 4.0, 4.0 / 3.0) }
    }

    /// Left, top, width and height of a part. Ten draws, then the largest part in the middle that the aspect allows.
    pub fn draw(&self, size: ImageSize, rng: &mut Rng) -> [u32; 4] {
        let (width, height) = (f64::from(size.width()), f64::from(size.height()));
        let logs = (self.aspect.0.ln(), self.aspect.1.ln());
        for _ in 0..10 {
            let area = width * height * rng.uniform(self.area.0, self.area.1);
            let aspect = rng.uniform(logs.0, logs.1).exp();
            let (w, h) = ((area * aspect).sqrt().round() as u32, (area / aspect).sqrt().round() as u32);
            if (1..=size.width()).contains(&w) && (1..=size.height()).contains(&h) {
                let (left, top) = (rng.between(0, size.width() - w), rng.between(0, size.height() - h));
                return [left, top, w, h];
            }
        }
        let ratio = width / height;
        let (w, h) = match ratio {
            ratio if ratio < self.aspect.0 => (width, (width / self.aspect.0).round()),
            ratio if ratio > self.aspect.1 => ((height * self.aspect.1).round(), height),
            _ => (width, height),
        };
        let (w, h) = ((w as u32).clamp(1, size.width()), (h as u32).clamp(1, size.height()));
        [(size.width() - w) / 2, (size.height() - h) / 2, w, h]
    }

    /// The part as a square, bicubic.
    pub fn apply(&self, image: &RgbImage, rng: &mut Rng) -> RgbImage {
        let (Ok(size), Ok(side)) =
            (ImageSize::new(image.height(), image.width()), ImageSize::new(self.side, self.side))
        else {
            return RgbImage::new(self.side, self.side);
        };
        let [left, top, width, height] = self.draw(size, rng);
        let part = image::imageops::crop_imm(image, left, top, width, height).to_image();
        resize(&part, side, Filter::Bicubic)
    }
}

/// A picture longer than so many times its short side is cut to that before it is enlarged, or a strip of 16384 x 1 pixels would take
/// gigabytes. Of what is left, the middle that is scored is a fraction.
const LONGEST_ASPECT: u32 = 16;

/// The square that a classifier is scored on: the short side becomes `floor(256 / 224 side)`, bicubic, and the middle is cut out.
pub fn scored(image: &RgbImage, side: u32) -> RgbImage {
    let most = image.width().min(image.height()).saturating_mul(LONGEST_ASPECT);
    if image.width().max(image.height()) > most {
        let (width, height) = (image.width().min(most), image.height().min(most));
        let (left, top) = ((image.width() - width) / 2, (image.height() - height) / 2);
        return scored(&image::imageops::crop_imm(image, left, top, width, height).to_image(), side);
    }
    let short = (f64::from(side) * 256.0 / 224.0).floor().max(1.0) as u32;
    let (width, height) = image.dimensions();
    // The longer side is rounded down, as torchvision does.
    let long =
        |long: u32, other: u32| ((u64::from(short) * u64::from(long) / u64::from(other.max(1))) as u32).max(short);
    let (w, h) = if width <= height { (short, long(height, width)) } else { (long(width, height), short) };
    let Ok(size) = ImageSize::new(h, w) else { return RgbImage::new(side, side) };
    let resized = resize(image, size, Filter::Bicubic);
    let middle = |length: u32| (f64::from(length.saturating_sub(side)) / 2.0).round_ties_even() as u32;
    image::imageops::crop_imm(&resized, middle(w), middle(h), side, side).to_image()
}

/// A picture as classifiers read it: `[3, H, W]`, normalised by ImageNet's mean and deviation.
pub fn normalised(image: &RgbImage) -> Vec<f32> {
    let side = image.height();
    let (mean, std) = (IMAGENET_MEAN, IMAGENET_STD);
    Preprocessor { fit: Fit::Square { side }, filter: Filter::Bicubic, mean, std }.normalised(image)
}

/// Fills a random rectangle of a normalised picture with noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomErasing {
    /// How often.
    pub probability: f64,
    /// Least and greatest share of the area.
    pub area: (f64, f64),
    /// Least height over width; the greatest is its inverse.
    pub aspect: f64,
}

impl RandomErasing {
    /// A quarter of the pictures, 2 to 33 % of the area.
    pub const PUBLISHED: Self = Self { probability: 0.25, area: (0.02, 1.0 / 3.0), aspect: 0.3 };

    /// Erases in place. `pixels` is `[3, height, width]`.
    ///
    /// # Panics
    /// If there are other pixels.
    pub fn apply(&self, pixels: &mut [f32], height: usize, width: usize, rng: &mut Rng) {
        assert_eq!(pixels.len(), 3 * height * width, "three channels");
        if !rng.chance(self.probability) {
            return;
        }
        let log = -self.aspect.ln();
        for _ in 0..10 {
            let area = (height * width) as f64 * rng.uniform(self.area.0, self.area.1);
            let aspect = rng.uniform(-log, log).exp();
            let (h, w) = ((area * aspect).sqrt().round() as usize, (area / aspect).sqrt().round() as usize);
            if h >= height || w >= width || h == 0 || w == 0 {
                continue;
            }
            let (top, left) = (rng.below(height - h + 1), rng.below(width - w + 1));
            for channel in 0..3 {
                for row in top..top + h {
                    let start = (channel * height + row) * width + left;
                    pixels[start..start + w].iter_mut().for_each(|value| *value = normal(rng) as f32);
                }
            }
            return;
        }
    }
}

/// Mixing of a batch with itself in reverse order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mixing {
    /// None.
    Alone,
    /// Sums: this share of the picture, the rest of the other.
    Mixup(f64),
    /// A rectangle of the other: left, top, width, height; `share` is what is left of the picture.
    Cutmix {
        /// Left, top, width, height.
        part: [usize; 4],
        /// Share of the picture that stays, from the rectangle as it was clipped.
        share: f64,
    },
}

impl Mixing {
    /// Draws for a batch of pictures of this size: mixup with `alpha` 0.8 or cutmix with 1.0, each half of the time.
    pub fn draw(height: usize, width: usize, rng: &mut Rng) -> Self {
        if rng.chance(0.5) {
            return Mixing::Mixup(beta(0.8, rng));
        }
        let keep = beta(1.0, rng);
        let cut = (1.0 - keep).sqrt();
        let (w, h) = ((width as f64 * cut) as usize, (height as f64 * cut) as usize);
        let (x, y) = (rng.below(width), rng.below(height));
        let span = |middle: usize, length: usize, side: usize| {
            let start = middle.saturating_sub(length / 2);
            (start, (middle + length / 2).min(side).saturating_sub(start))
        };
        let ((left, w), (top, h)) = (span(x, w, width), span(y, h, height));
        let share = 1.0 - (w * h) as f64 / (width * height).max(1) as f64;
        Mixing::Cutmix { part: [left, top, w, h], share }
    }

    /// Share of the picture itself.
    pub fn share(self) -> f64 {
        match self {
            Mixing::Alone => 1.0,
            Mixing::Mixup(share) | Mixing::Cutmix { share, .. } => share,
        }
    }

    /// Mixes pictures `[B, 3, height, width]` in place.
    ///
    /// # Panics
    /// If there are other pixels.
    pub fn apply(self, pixels: &mut [f32], height: usize, width: usize) {
        let one = 3 * height * width;
        assert!(one > 0 && pixels.len().is_multiple_of(one), "whole pictures");
        let count = pixels.len() / one;
        if self == Mixing::Alone {
            return;
        }
        for index in 0..count / 2 {
            let (front, back) = pixels.split_at_mut((count - 1 - index) * one);
            let (a, b) = (&mut front[index * one..(index + 1) * one], &mut back[..one]);
            match self {
                Mixing::Alone => {}
                Mixing::Mixup(share) => {
                    let share = share as f32;
                    for (a, b) in a.iter_mut().zip(b) {
                        (*a, *b) = (share * *a + (1.0 - share) * *b, share * *b + (1.0 - share) * *a);
                    }
                }
                Mixing::Cutmix { part: [left, top, w, h], .. } => {
                    for row in (0..3).flat_map(|channel| (top..top + h).map(move |row| channel * height + row)) {
                        let span = row * width + left..row * width + left + w;
                        a[span.clone()].swap_with_slice(&mut b[span]);
                    }
                }
            }
        }
    }

    /// What is wanted of each picture, `[B, classes]`: one for its class, less `smoothing` shared by all, mixed as the pictures are.
    ///
    /// # Panics
    /// If a class is none of them.
    pub fn targets(self, labels: &[usize], classes: usize, smoothing: f64) -> Vec<f32> {
        let off = smoothing / classes.max(1) as f64;
        let share = self.share();
        let mut targets = vec![off as f32; labels.len() * classes];
        let mut add = |row: usize, class: usize, weight: f64| {
            assert!(class < classes, "class {class} of {classes}");
            targets[row * classes + class] += (weight * (1.0 - smoothing)) as f32;
        };
        for (row, &class) in labels.iter().enumerate() {
            add(row, class, share);
            if share < 1.0 {
                add(row, labels[labels.len() - 1 - row], 1.0 - share);
            }
        }
        targets
    }
}

/// A number of the beta distribution with both parameters `alpha` (Jöhnk 1964 for small, else from two gamma numbers by Marsaglia and Tsang 2000).
fn beta(alpha: f64, rng: &mut Rng) -> f64 {
    let (a, b) = (gamma(alpha, rng), gamma(alpha, rng));
    if a + b > 0.0 { a / (a + b) } else { 0.5 }
}

fn gamma(shape: f64, rng: &mut Rng) -> f64 {
    if shape < 1.0 {
        return gamma(shape + 1.0, rng) * (1.0 - rng.unit()).powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = normal(rng);
        let v = (1.0 + c * x).powi(3);
        if v > 0.0 && (1.0 - rng.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_numbers_have_the_right_moments() {
        let mut rng = Rng::new(5);
        for alpha in [0.8, 1.0, 2.5] {
            let numbers: Vec<f64> = (0..20_000).map(|_| beta(alpha, &mut rng)).collect();
            let mean = numbers.iter().sum::<f64>() / 20_000.0;
            let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0;
            let expected = 1.0 / (4.0 * (2.0 * alpha + 1.0));
            assert!(
                (mean - 0.5).abs() < 0.01 && (variance / expected - 1.0).abs() < 0.05,
                "{alpha}: {mean} {variance}"
            );
        }
    }
}
