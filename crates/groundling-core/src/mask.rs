//! Binary masks, row-major.

use crate::{BoxXyxy, ImageSize, Pixels};

/// One truth value a pixel, row by row from the top.
#[derive(Clone, PartialEq, Eq)]
pub struct BinaryMask {
    size: ImageSize,
    pixels: Vec<bool>,
}

/// Why values are not a mask of the size stated, or two masks do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaskError {
    /// Wrong number of values.
    #[error("mask has {found} values, expected {expected} for {size} (width x height)")]
    Length {
        /// The size stated.
        size: ImageSize,
        /// Values expected.
        expected: u64,
        /// Values found.
        found: usize,
    },
    /// Two masks of different sizes were combined.
    #[error("masks of {left} and {right} (width x height) cannot be combined")]
    SizeMismatch {
        /// Size of the first.
        left: ImageSize,
        /// Size of the second.
        right: ImageSize,
    },
}

impl std::fmt::Debug for BinaryMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BinaryMask({}, {} foreground)", self.size, self.area())
    }
}

impl BinaryMask {
    /// All background.
    pub fn empty(size: ImageSize) -> Self {
        Self { size, pixels: vec![false; size.pixels() as usize] }
    }

    /// From row-major values.
    ///
    /// # Errors
    /// If the number of values is not height x width.
    pub fn from_pixels(size: ImageSize, pixels: Vec<bool>) -> Result<Self, MaskError> {
        if pixels.len() as u64 != size.pixels() {
            return Err(MaskError::Length { size, expected: size.pixels(), found: pixels.len() });
        }
        Ok(Self { size, pixels })
    }

    /// Foreground where `inside(row, column)` holds.
    pub fn from_fn(size: ImageSize, mut inside: impl FnMut(u32, u32) -> bool) -> Self {
        let mut pixels = Vec::with_capacity(size.pixels() as usize);
        for row in 0..size.height() {
            pixels.extend((0..size.width()).map(|column| inside(row, column)));
        }
        Self { size, pixels }
    }

    /// Height and width.
    pub fn size(&self) -> ImageSize {
        self.size
    }

    /// Row-major values.
    pub fn pixels(&self) -> &[bool] {
        &self.pixels
    }

    /// One row of values.
    ///
    /// # Panics
    /// If `row` is not below the height.
    pub fn row(&self, row: u32) -> &[bool] {
        let width = self.size.width() as usize;
        &self.pixels[row as usize * width..(row as usize + 1) * width]
    }

    /// The value at a place; `false` outside the mask.
    pub fn get(&self, row: u32, column: u32) -> bool {
        row < self.size.height() && column < self.size.width() && self.row(row)[column as usize]
    }

    /// Sets one pixel; places outside the mask are ignored.
    pub fn set(&mut self, row: u32, column: u32, value: bool) {
        if row < self.size.height() && column < self.size.width() {
            self.pixels[row as usize * self.size.width() as usize + column as usize] = value;
        }
    }

    /// Number of foreground pixels.
    pub fn area(&self) -> u64 {
        self.pixels.iter().map(|&inside| u64::from(inside)).sum()
    }

    /// Whether there is no foreground.
    pub fn is_empty(&self) -> bool {
        !self.pixels.contains(&true)
    }

    /// The tight box around the foreground, `None` if there is none.
    pub fn bbox(&self) -> Option<BoxXyxy<Pixels>> {
        let (mut x0, mut y0, mut x1, mut y1) = (u32::MAX, u32::MAX, 0, 0);
        for row in 0..self.size.height() {
            let values = self.row(row);
            let Some(first) = values.iter().position(|&inside| inside) else { continue };
            let last = values.iter().rposition(|&inside| inside).unwrap_or(first);
            (x0, x1) = (x0.min(first as u32), x1.max(last as u32 + 1));
            (y0, y1) = (y0.min(row), row + 1);
        }
        (x1 > 0).then(|| BoxXyxy::new(f64::from(x0), f64::from(y0), f64::from(x1), f64::from(y1)))
    }

    /// Adds the foreground of `other`.
    ///
    /// # Errors
    /// If the sizes differ.
    pub fn union_with(&mut self, other: &Self) -> Result<(), MaskError> {
        self.same_size(other)?;
        self.pixels.iter_mut().zip(&other.pixels).for_each(|(a, &b)| *a |= b);
        Ok(())
    }

    /// Removes the foreground of `other`.
    ///
    /// # Errors
    /// If the sizes differ.
    pub fn subtract(&mut self, other: &Self) -> Result<(), MaskError> {
        self.same_size(other)?;
        self.pixels.iter_mut().zip(&other.pixels).for_each(|(a, &b)| *a &= !b);
        Ok(())
    }

    /// Pixels in both, and pixels in either.
    ///
    /// # Errors
    /// If the sizes differ.
    pub fn intersection_and_union(&self, other: &Self) -> Result<(u64, u64), MaskError> {
        self.same_size(other)?;
        let (mut both, mut either) = (0, 0);
        for (&a, &b) in self.pixels.iter().zip(&other.pixels) {
            both += u64::from(a & b);
            either += u64::from(a | b);
        }
        Ok((both, either))
    }

    /// Mirrored left to right.
    pub fn flipped_horizontally(&self) -> Self {
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for row in 0..self.size.height() {
            pixels.extend(self.row(row).iter().rev());
        }
        Self { size: self.size, pixels }
    }

    /// The rectangle of `size` whose top left pixel is (`top`, `left`); outside the mask is background.
    pub fn cropped(&self, top: u32, left: u32, size: ImageSize) -> Self {
        Self::from_fn(size, |row, column| self.get(row.saturating_add(top), column.saturating_add(left)))
    }

    /// Nearest-neighbour resize, exactly as Pillow does it (see [`nearest_indices`]).
    pub fn resized_nearest(&self, size: ImageSize) -> Self {
        let rows = nearest_indices(self.size.height(), size.height());
        let columns = nearest_indices(self.size.width(), size.width());
        let mut pixels = Vec::with_capacity(size.pixels() as usize);
        for &row in &rows {
            let values = self.row(row);
            pixels.extend(columns.iter().map(|&column| values[column as usize]));
        }
        Self { size, pixels }
    }

    fn same_size(&self, other: &Self) -> Result<(), MaskError> {
        if self.size == other.size {
            return Ok(());
        }
        Err(MaskError::SizeMismatch { left: self.size, right: other.size })
    }
}

/// Source index of every output index of a nearest-neighbour resize from `from` to `to` samples.
///
/// PARITY: Pillow adds up `from / to` in `f64` starting at half a step. The closed form `(i + 0.5) * from / to` differs
/// for 99 of the 480 columns of 640 -> 480, because the exact value is an integer at every third pixel.
pub fn nearest_indices(from: u32, to: u32) -> Vec<u32> {
    let step = f64::from(from) / f64::from(to);
    let last = from.saturating_sub(1);
    let mut position = 0.5 * step;
    (0..to)
        .map(|_| {
            let index = (position as u32).min(last);
            position += step;
            index
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: u32, width: u32) -> ImageSize {
        ImageSize::new(height, width).unwrap()
    }

    #[test]
    fn box_area_and_flip_of_a_small_mask() {
        let mask = BinaryMask::from_fn(size(4, 6), |row, column| row >= 1 && (2..4).contains(&column));
        assert_eq!(mask.area(), 6);
        assert_eq!(mask.bbox().unwrap().to_array(), [2.0, 1.0, 4.0, 4.0]);
        assert_eq!(mask.flipped_horizontally().bbox().unwrap().to_array(), [2.0, 1.0, 4.0, 4.0]);
        assert_eq!(BinaryMask::empty(size(3, 3)).bbox(), None);
    }

    #[test]
    fn overlap_counts() {
        let left = BinaryMask::from_fn(size(2, 4), |_, column| column < 3);
        let right = BinaryMask::from_fn(size(2, 4), |_, column| column >= 2);
        assert_eq!(left.intersection_and_union(&right), Ok((2, 8)));
        let other = BinaryMask::empty(size(4, 2));
        assert!(matches!(left.intersection_and_union(&other), Err(MaskError::SizeMismatch { .. })));
    }

    #[test]
    fn resizing_to_the_own_size_is_the_identity() {
        let mask = BinaryMask::from_fn(size(5, 7), |row, column| (row * 7 + column) % 3 == 0);
        assert_eq!(mask.resized_nearest(mask.size()), mask);
    }

    #[test]
    fn wrong_length_is_an_error() {
        let error = BinaryMask::from_pixels(size(2, 2), vec![true; 3]).unwrap_err();
        assert_eq!(error.to_string(), "mask has 3 values, expected 4 for 2x2 (width x height)");
    }
}
