//! Image sizes with named sides.

/// Height and width in pixels, both at least 1.
///
/// Always written out by name: `(w, h)` tuples are the field's commonest bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageSize {
    height: u32,
    width: u32,
}

/// Why a pair of numbers is not an image size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// A side is zero.
    #[error("image size is {height}x{width} (height x width), expected both sides to be at least 1 pixel")]
    Empty {
        /// The height given.
        height: u32,
        /// The width given.
        width: u32,
    },
    /// The pixels do not fit the 32-bit counts of a run-length code.
    #[error("image of {height}x{width} (height x width) has {} pixels, expected fewer than 2^32", u64::from(*height) * u64::from(*width))]
    TooManyPixels {
        /// The height given.
        height: u32,
        /// The width given.
        width: u32,
    },
}

impl ImageSize {
    /// A size of `height` x `width` pixels.
    ///
    /// # Errors
    /// If a side is zero or the number of pixels does not fit 32 bits.
    pub fn new(height: u32, width: u32) -> Result<Self, SizeError> {
        if height == 0 || width == 0 {
            return Err(SizeError::Empty { height, width });
        }
        if u64::from(height) * u64::from(width) > u64::from(u32::MAX) {
            return Err(SizeError::TooManyPixels { height, width });
        }
        Ok(Self { height, width })
    }

    /// A square of `side` pixels.
    ///
    /// # Errors
    /// As [`ImageSize::new`].
    pub fn square(side: u32) -> Result<Self, SizeError> {
        Self::new(side, side)
    }

    /// Number of rows.
    pub fn height(self) -> u32 {
        self.height
    }

    /// Number of columns.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Number of pixels.
    pub fn pixels(self) -> u64 {
        u64::from(self.height) * u64::from(self.width)
    }

    /// The longer side.
    pub fn long_side(self) -> u32 {
        self.height.max(self.width)
    }

    /// The shorter side.
    pub fn short_side(self) -> u32 {
        self.height.min(self.width)
    }
}

impl std::fmt::Display for ImageSize {
    /// Written the way people say it, width first and the sides named by order: `640x480`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_pixels() {
        let size = ImageSize::new(480, 640).unwrap();
        assert_eq!((size.height(), size.width(), size.pixels()), (480, 640, 307_200));
        assert_eq!((size.long_side(), size.short_side()), (640, 480));
        assert_eq!(size.to_string(), "640x480");
    }

    #[test]
    fn empty_and_huge_sizes_are_errors() {
        assert_eq!(ImageSize::new(0, 5), Err(SizeError::Empty { height: 0, width: 5 }));
        let error = ImageSize::new(u32::MAX, 2).unwrap_err();
        assert!(error.to_string().contains("expected fewer than 2^32"), "{error}");
    }
}
