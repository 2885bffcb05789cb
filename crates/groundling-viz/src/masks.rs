//! Masks laid over a picture: a translucent tint with a crisp contour.

use groundling_core::mask::nearest_indices;
use groundling_core::{BinaryMask, ImageSize, Rle};

use crate::color::Color;
use crate::painter::{Painter, blend_pixel};

/// How a mask looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskStyle {
    /// Colour of tint and contour.
    pub color: Color,
    /// Opacity of the tint, 0 to 1.
    pub tint: f32,
    /// Thickness of the contour, in pixels, drawn inside the mask.
    pub contour: f64,
    /// A seam just outside the mask, with its width in pixels.
    pub halo: Option<(Color, f64)>,
}

impl Painter {
    /// Lays a run-length code over the picture, as [`Painter::mask`] does. Memory is bounded by the picture and the code,
    /// whatever size the code claims.
    pub fn rle(&mut self, code: &Rle, style: &MaskStyle) {
        if let Ok(size) = ImageSize::new(self.image().height(), self.image().width()) {
            self.mask(&decoded_at(code, size), style);
        }
    }

    /// Lays a mask over the picture, pixel on pixel; a mask of another size is first stretched to the picture's.
    /// Pixels that are neither foreground nor within the seam keep their values.
    pub fn mask(&mut self, mask: &BinaryMask, style: &MaskStyle) {
        let Ok(size) = ImageSize::new(self.image().height(), self.image().width()) else { return };
        if mask.size() != size {
            return self.mask(&mask.resized_nearest(size), style);
        }
        let seam = style.halo.map_or(0.0, |(_, seam)| seam);
        let Some(window) = Window::around(mask, seam) else { return };
        let distances = window.distances_to_contour(mask);
        let steps = |pixels: f64| (pixels.clamp(0.0, 1000.0) * f64::from(STEP)) as u16;
        let (contour, seam) = (steps(style.contour), steps(seam));
        let halo = style.halo.map_or(Color::BLACK.with_opacity(0.0), |(color, _)| color);
        for (row, distances) in (window.top..window.bottom).zip(distances.chunks_exact(window.width())) {
            let inside = &mask.row(row as u32)[window.left..window.right];
            let pixels = &mut self.row_mut(row as u32)[window.left * 3..window.right * 3];
            for ((pixel, &inside), &distance) in pixels.chunks_exact_mut(3).zip(inside).zip(distances) {
                if !inside {
                    if distance < seam {
                        blend_pixel(pixel, halo.channels(), halo.opacity);
                    }
                } else if distance < contour {
                    blend_pixel(pixel, style.color.channels(), style.color.opacity);
                } else {
                    blend_pixel(pixel, style.color.channels(), style.tint);
                }
            }
        }
    }
}

/// The code's mask, stretched to a size without decoding it at its own.
fn decoded_at(code: &Rle, size: ImageSize) -> BinaryMask {
    if code.size() == size {
        return code.to_mask();
    }
    let height = u64::from(code.size().height());
    let rows = nearest_indices(code.size().height(), size.height());
    let columns = nearest_indices(code.size().width(), size.width());
    let runs: Vec<(u64, u64)> = code.foreground().collect();
    let mut mask = BinaryMask::empty(size);
    for (column, &source) in (0u32..).zip(&columns) {
        let top = u64::from(source) * height;
        // Runs are in order down the columns, and so are the rows: one walk a column.
        let mut next = runs.partition_point(|&(_, end)| end <= top);
        for (row, &source) in (0u32..).zip(&rows) {
            let position = top + u64::from(source);
            while runs.get(next).is_some_and(|&(_, end)| end <= position) {
                next += 1;
            }
            mask.set(row, column, runs.get(next).is_some_and(|&(start, _)| start <= position));
        }
    }
    mask
}

/// One pixel to the side in chamfer distances; one diagonally is 4.
const STEP: u16 = 3;
const DIAGONAL: u16 = 4;

/// The part of the picture that a mask and its seam touch.
struct Window {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Window {
    fn around(mask: &BinaryMask, seam: f64) -> Option<Self> {
        let tight = mask.bbox()?;
        let reach = seam.clamp(0.0, 1000.0).ceil() + 1.0;
        let wide =
            groundling_core::BoxXyxy::new(tight.x0 - reach, tight.y0 - reach, tight.x1 + reach, tight.y1 + reach)
                .clipped_to(mask.size());
        Some(Self { left: wide.x0 as usize, top: wide.y0 as usize, right: wide.x1 as usize, bottom: wide.y1 as usize })
    }

    fn width(&self) -> usize {
        self.right - self.left
    }

    /// Distance of every pixel, in thirds of a pixel, to the nearest pixel that has a neighbour of the other kind; these
    /// have distance 0 themselves. The border of the picture is no contour.
    fn distances_to_contour(&self, mask: &BinaryMask) -> Vec<u16> {
        let (width, height) = (self.width(), self.bottom - self.top);
        let row = |index: usize| &mask.row((self.top + index) as u32)[self.left..self.right];
        let mut distances = vec![u16::MAX - DIAGONAL; width * height];
        for index in 0..height {
            let here = row(index);
            let below = (index + 1 < height).then(|| row(index + 1));
            for column in 0..width {
                let place = index * width + column;
                if column + 1 < width && here[column] != here[column + 1] {
                    distances[place] = 0;
                    distances[place + 1] = 0;
                }
                if below.is_some_and(|below| below[column] != here[column]) {
                    distances[place] = 0;
                    distances[place + width] = 0;
                }
            }
        }
        sweep(&mut distances, width);
        distances.reverse(); // the way back is the way forth on the reversed picture
        sweep(&mut distances, width);
        distances.reverse();
        distances
    }
}

/// Carries distances right and down.
fn sweep(distances: &mut [u16], width: usize) {
    let mut rows = distances.chunks_exact_mut(width);
    let Some(mut above) = rows.next() else { return };
    carry_right(above);
    for row in rows {
        for column in 0..width {
            let left = if column > 0 { above[column - 1] } else { u16::MAX - DIAGONAL };
            let right = if column + 1 < width { above[column + 1] } else { u16::MAX - DIAGONAL };
            let nearest = (above[column] + STEP).min(left.min(right) + DIAGONAL);
            row[column] = row[column].min(nearest);
        }
        carry_right(row);
        above = row;
    }
}

fn carry_right(row: &mut [u16]) {
    let mut last = u16::MAX - DIAGONAL;
    for value in row {
        *value = (*value).min(last + STEP);
        last = *value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contour_tint_and_seam_lie_where_they_should() {
        let size = ImageSize::new(20, 20).unwrap();
        let mask = BinaryMask::from_fn(size, |row, column| (5..15).contains(&row) && (5..15).contains(&column));
        let halo = Some((Color::BLACK, 1.0));
        let style = MaskStyle { color: Color::rgb(0, 0, 255), tint: 0.5, contour: 2.0, halo };
        let mut painter = Painter::blank(20, 20, Color::WHITE);
        painter.mask(&mask, &style);
        let at = |x, y| painter.image().get_pixel(x, y).0;
        assert_eq!((at(5, 10), at(6, 10)), ([0, 0, 255], [0, 0, 255]));
        assert_eq!(at(7, 10), [128, 128, 255]);
        assert_eq!((at(4, 10), at(3, 10)), ([0, 0, 0], [255; 3]));
    }

    #[test]
    fn a_mask_that_fills_the_picture_has_no_contour() {
        let size = ImageSize::new(4, 6).unwrap();
        let style = MaskStyle { color: Color::BLACK, tint: 0.5, contour: 1.0, halo: None };
        let mut painter = Painter::blank(6, 4, Color::WHITE);
        painter.mask(&BinaryMask::from_fn(size, |_, _| true), &style);
        assert!(painter.image().pixels().all(|p| p.0 == [128; 3]));
    }
    #[test]
    fn codes_are_stretched_as_masks_are() {
        let own = ImageSize::new(13, 9).unwrap();
        let mask = BinaryMask::from_fn(own, |row, column| (row * 7 + column * 5) % 11 < 5);
        for (height, width) in [(13, 9), (40, 31), (5, 4), (1, 1), (26, 3)] {
            let size = ImageSize::new(height, width).unwrap();
            assert_eq!(decoded_at(&Rle::from_mask(&mask), size), mask.resized_nearest(size), "{size}");
        }
        // Four thousand million pixels by its own account.
        let boast =
            Rle::from_counts(ImageSize::square(65_535).unwrap(), vec![65_535 * 32_000, 65_535 * 33_535]).unwrap();
        let area = decoded_at(&boast, ImageSize::new(10, 100).unwrap()).area();
        assert_eq!(area, 10 * 51, "the columns from 32000 of 65535 on");
    }
}
