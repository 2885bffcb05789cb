//! Rectangles whose type says the format and the frame.
//!
//! | format | numbers | who uses it |
//! |---|---|---|
//! | [`BoxXyxy`] | left, top, right, bottom | our results, ODVG, Hugging Face, ReferIt and Flickr lists |
//! | [`BoxXywh`] | left, top, width, height | COCO, the RefCOCO lists of ReSC and TransVG |
//! | [`BoxCxcywh`] | centre, width, height | what DETR-like models predict |
//!
//! Coordinates are continuous: pixel column `j` covers `[j, j + 1)`, so a box over columns 2 and 3 runs from 2 to 4 and
//! there is no "+1" anywhere. Arithmetic is in `f64`, so that evaluation does not depend on the order of a sum.

use std::marker::PhantomData;

use crate::ImageSize;

/// The coordinate system a rectangle lives in.
pub trait Frame: Copy + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    /// Short name for messages.
    const NAME: &'static str;
}

/// Pixels of the original image, the frame of every result we print.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pixels;

/// Pixels of the padded network input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas;

/// Fractions of the padded network input, 0 to 1 on each axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit;

impl Frame for Pixels {
    const NAME: &'static str = "pixels of the original image";
}
impl Frame for Canvas {
    const NAME: &'static str = "pixels of the network input";
}
impl Frame for Unit {
    const NAME: &'static str = "fractions of the network input";
}

/// Left, top, right, bottom.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxXyxy<F: Frame> {
    /// Left edge.
    pub x0: f64,
    /// Top edge.
    pub y0: f64,
    /// Right edge.
    pub x1: f64,
    /// Bottom edge.
    pub y1: f64,
    frame: PhantomData<F>,
}

/// Left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxXywh<F: Frame> {
    /// Left edge.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    frame: PhantomData<F>,
}

/// Centre x, centre y, width, height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoxCxcywh<F: Frame> {
    /// Centre, horizontally.
    pub cx: f64,
    /// Centre, vertically.
    pub cy: f64,
    /// Width.
    pub width: f64,
    /// Height.
    pub height: f64,
    frame: PhantomData<F>,
}

/// Why four numbers are not a rectangle.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BoxError {
    /// A coordinate is NaN or infinite.
    #[error("box [{x0}, {y0}, {x1}, {y1}] (x0, y0, x1, y1) holds a number that is not finite")]
    NotFinite {
        /// Left edge.
        x0: f64,
        /// Top edge.
        y0: f64,
        /// Right edge.
        x1: f64,
        /// Bottom edge.
        y1: f64,
    },
    /// Width or height is zero or negative.
    #[error("box is {width} wide and {height} high, expected both to be positive")]
    Degenerate {
        /// Width found.
        width: f64,
        /// Height found.
        height: f64,
    },
}

impl<F: Frame> BoxXyxy<F> {
    /// A rectangle from its edges. Nothing is checked; see [`BoxXyxy::checked`].
    pub const fn new(x0: f64, y0: f64, x1: f64, y1: f64) -> Self {
        Self { x0, y0, x1, y1, frame: PhantomData }
    }

    /// From `[x0, y0, x1, y1]`.
    pub const fn from_array([x0, y0, x1, y1]: [f64; 4]) -> Self {
        Self::new(x0, y0, x1, y1)
    }

    /// `[x0, y0, x1, y1]`.
    pub const fn to_array(self) -> [f64; 4] {
        [self.x0, self.y0, self.x1, self.y1]
    }

    /// The same rectangle, if its numbers are finite and its sides positive.
    ///
    /// # Errors
    /// [`BoxError`] naming what is wrong.
    pub fn checked(self) -> Result<Self, BoxError> {
        let Self { x0, y0, x1, y1, .. } = self;
        if !self.is_finite() {
            return Err(BoxError::NotFinite { x0, y0, x1, y1 });
        }
        if x1 <= x0 || y1 <= y0 {
            return Err(BoxError::Degenerate { width: self.width(), height: self.height() });
        }
        Ok(self)
    }

    /// Whether every coordinate is a finite number.
    pub fn is_finite(self) -> bool {
        self.to_array().iter().all(|v| v.is_finite())
    }

    /// Right minus left; negative for an inverted box.
    pub fn width(self) -> f64 {
        self.x1 - self.x0
    }

    /// Bottom minus top; negative for an inverted box.
    pub fn height(self) -> f64 {
        self.y1 - self.y0
    }

    /// Area, 0 for an inverted box.
    pub fn area(self) -> f64 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// Centre as (x, y).
    pub fn centre(self) -> (f64, f64) {
        ((self.x0 + self.x1) / 2.0, (self.y0 + self.y1) / 2.0)
    }

    /// Corner plus sides.
    pub fn to_xywh(self) -> BoxXywh<F> {
        BoxXywh::new(self.x0, self.y0, self.width(), self.height())
    }

    /// Centre plus sides.
    pub fn to_cxcywh(self) -> BoxCxcywh<F> {
        let (cx, cy) = self.centre();
        BoxCxcywh::new(cx, cy, self.width(), self.height())
    }

    /// The part inside `[0, width] x [0, height]`.
    ///
    /// # Panics
    /// If `width` or `height` is negative or NaN.
    pub fn clipped(self, width: f64, height: f64) -> Self {
        Self::new(
            self.x0.clamp(0.0, width),
            self.y0.clamp(0.0, height),
            self.x1.clamp(0.0, width),
            self.y1.clamp(0.0, height),
        )
    }

    /// Moved by (`dx`, `dy`).
    pub fn shifted(self, dx: f64, dy: f64) -> Self {
        Self::new(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)
    }

    /// The smallest rectangle that holds both.
    pub fn enclosing(self, other: Self) -> Self {
        Self::new(self.x0.min(other.x0), self.y0.min(other.y0), self.x1.max(other.x1), self.y1.max(other.y1))
    }

    /// Area of the common part.
    pub fn intersection(self, other: Self) -> f64 {
        let width = self.x1.min(other.x1) - self.x0.max(other.x0);
        let height = self.y1.min(other.y1) - self.y0.max(other.y0);
        if width <= 0.0 || height <= 0.0 { 0.0 } else { width * height }
    }

    /// Intersection over union, in `[0, 1]`; 0 where both boxes are empty.
    pub fn iou(self, other: Self) -> f64 {
        let intersection = self.intersection(other);
        let union = self.area() + other.area() - intersection;
        if union > 0.0 { intersection / union } else { 0.0 }
    }

    /// Generalised IoU, in `[-1, 1]`: `IoU - (|C| - |A ∪ B|) / |C|` with `C` the enclosing rectangle.
    ///
    /// Source: Rezatofighi et al. 2019 (arXiv:1902.09630), Algorithm 1. Two empty boxes on one point give 0.
    pub fn giou(self, other: Self) -> f64 {
        let intersection = self.intersection(other);
        let union = self.area() + other.area() - intersection;
        let hull = self.enclosing(other).area();
        let iou = if union > 0.0 { intersection / union } else { 0.0 };
        if hull > 0.0 { iou - (hull - union) / hull } else { iou }
    }

    /// Stretched by a factor per axis into another frame. For [`crate::Placement`] and tests; the caller vouches for
    /// the meaning.
    pub fn scaled_into<G: Frame>(self, x_factor: f64, y_factor: f64) -> BoxXyxy<G> {
        BoxXyxy::new(self.x0 * x_factor, self.y0 * y_factor, self.x1 * x_factor, self.y1 * y_factor)
    }
}

impl BoxXyxy<Pixels> {
    /// The part inside the image.
    pub fn clipped_to(self, image: ImageSize) -> Self {
        self.clipped(f64::from(image.width()), f64::from(image.height()))
    }

    /// Mirrored left to right in an image of this size.
    pub fn flipped_horizontally(self, image: ImageSize) -> Self {
        let width = f64::from(image.width());
        Self::new(width - self.x1, self.y0, width - self.x0, self.y1)
    }
}

impl<F: Frame> BoxXywh<F> {
    /// From corner and sides. Nothing is checked.
    pub const fn new(x: f64, y: f64, width: f64, height: f64) -> Self {
        Self { x, y, width, height, frame: PhantomData }
    }

    /// From `[x, y, width, height]`.
    pub const fn from_array([x, y, width, height]: [f64; 4]) -> Self {
        Self::new(x, y, width, height)
    }

    /// `[x, y, width, height]`.
    pub const fn to_array(self) -> [f64; 4] {
        [self.x, self.y, self.width, self.height]
    }

    /// Edges.
    pub fn to_xyxy(self) -> BoxXyxy<F> {
        BoxXyxy::new(self.x, self.y, self.x + self.width, self.y + self.height)
    }
}

impl<F: Frame> BoxCxcywh<F> {
    /// From centre and sides. Nothing is checked.
    pub const fn new(cx: f64, cy: f64, width: f64, height: f64) -> Self {
        Self { cx, cy, width, height, frame: PhantomData }
    }

    /// From `[cx, cy, width, height]`.
    pub const fn from_array([cx, cy, width, height]: [f64; 4]) -> Self {
        Self::new(cx, cy, width, height)
    }

    /// `[cx, cy, width, height]`.
    pub const fn to_array(self) -> [f64; 4] {
        [self.cx, self.cy, self.width, self.height]
    }

    /// Edges.
    pub fn to_xyxy(self) -> BoxXyxy<F> {
        let (half_width, half_height) = (self.width / 2.0, self.height / 2.0);
        BoxXyxy::new(self.cx - half_width, self.cy - half_height, self.cx + half_width, self.cy + half_height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Px = BoxXyxy<Pixels>;

    #[test]
    fn formats_agree() {
        let edges = Px::new(2.0, 3.0, 10.0, 7.0);
        assert_eq!(edges.to_xywh().to_array(), [2.0, 3.0, 8.0, 4.0]);
        assert_eq!(edges.to_cxcywh().to_array(), [6.0, 5.0, 8.0, 4.0]);
        assert_eq!(edges.to_xywh().to_xyxy(), edges);
        assert_eq!(edges.to_cxcywh().to_xyxy(), edges);
    }

    #[test]
    fn iou_of_known_pairs() {
        let unit = Px::new(0.0, 0.0, 1.0, 1.0);
        for (other, iou, giou) in [
            (unit, 1.0, 1.0),
            (unit.shifted(0.5, 0.0), 1.0 / 3.0, 1.0 / 3.0),
            (unit.shifted(1.0, 0.0), 0.0, 0.0), // touching edges share no area, hull is filled
            (unit.shifted(2.0, 0.0), 0.0, -1.0 / 3.0), // a third of the hull is empty
            (Px::new(0.25, 0.25, 0.75, 0.75), 0.25, 0.25),
            (Px::new(0.5, 0.5, 0.5, 0.5), 0.0, 0.0), // an empty box inside
        ] {
            assert!((unit.iou(other) - iou).abs() < 1e-15, "{other:?}");
            assert!((unit.giou(other) - giou).abs() < 1e-15, "{other:?}");
        }
        let point = Px::new(3.0, 3.0, 3.0, 3.0);
        assert_eq!((point.iou(point), point.giou(point)), (0.0, 0.0));
    }

    #[test]
    fn bad_boxes_are_named() {
        assert!(matches!(Px::new(0.0, f64::NAN, 1.0, 1.0).checked(), Err(BoxError::NotFinite { .. })));
        let error = Px::new(5.0, 0.0, 1.0, 1.0).checked().unwrap_err();
        assert_eq!(error.to_string(), "box is -4 wide and 1 high, expected both to be positive");
    }

    #[test]
    fn flipping_twice_is_the_identity() {
        let size = ImageSize::new(10, 33).unwrap();
        let here = Px::new(1.5, 2.0, 9.0, 4.0);
        assert_eq!(here.flipped_horizontally(size), Px::new(24.0, 2.0, 31.5, 4.0));
        assert_eq!(here.flipped_horizontally(size).flipped_horizontally(size), here);
    }
}
