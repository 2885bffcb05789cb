//! Where an image lies in a network input, and the way back.
//!
//! One [`Placement`] is made per image by the preprocessor and travels with the batch. Everything that leaves the model
//! goes through [`Placement::image_from_model`], so results are always in pixels of the original image.

use crate::{BoxXyxy, Canvas, ImageSize, Pixels, SizeError, Unit};

/// How a scaled side becomes a whole number of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// `floor(x + 0.5)`: ScanFormer, Focus-DETR.
    HalfUp,
    /// Ties go to the even neighbour, as Python's `round`: TransVG, VLTVG, QRNet.
    HalfEven,
}

impl Rounding {
    /// The rounded side, at least 1.
    pub fn side(self, x: f64) -> u32 {
        let rounded = match self {
            Rounding::HalfUp => (x + 0.5).floor(),
            Rounding::HalfEven => x.round_ties_even(),
        };
        rounded.clamp(1.0, f64::from(u32::MAX)) as u32
    }
}

/// Where the content goes in a larger canvas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// In the top left corner.
    TopLeft,
    /// Centred; an odd margin leaves the extra row or column at the bottom and right.
    Centre,
    /// At a chosen place (training augmentation).
    At {
        /// Rows of padding above.
        top: u32,
        /// Columns of padding to the left.
        left: u32,
    },
}

/// The rectangle of the canvas that holds image, in whole pixels; the rest is padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRect {
    /// First row.
    pub top: u32,
    /// First column.
    pub left: u32,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
}

/// Why an image cannot be placed.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The content would reach beyond the canvas.
    #[error("content {content:?} does not fit a canvas of {canvas} (width x height)")]
    DoesNotFit {
        /// Where the content would be.
        content: ContentRect,
        /// The canvas.
        canvas: ImageSize,
    },
    /// Something of another size than the image that was placed.
    #[error("found {found} (width x height), expected {image}, the size of the image that was placed")]
    OtherImage {
        /// Size found.
        found: ImageSize,
        /// Size of the image.
        image: ImageSize,
    },
    /// The canvas has no pixels.
    #[error(transparent)]
    Size(#[from] SizeError),
}

/// An image resized into a rectangle of a canvas: `x_model = x_image * scale_x + left`, likewise for y.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    image: ImageSize,
    canvas: ImageSize,
    content: ContentRect,
    scale_x: f64,
    scale_y: f64,
}

impl Placement {
    /// General form: `image` resized to `content` inside `canvas`. Boxes follow the true sides, `content.width / image.width`.
    ///
    /// # Errors
    /// If the content is empty or does not fit.
    pub fn new(image: ImageSize, canvas: ImageSize, content: ContentRect) -> Result<Self, FrameError> {
        ImageSize::new(content.height, content.width)?;
        let fits = u64::from(content.top) + u64::from(content.height) <= u64::from(canvas.height())
            && u64::from(content.left) + u64::from(content.width) <= u64::from(canvas.width());
        if !fits {
            return Err(FrameError::DoesNotFit { content, canvas });
        }
        let scale_x = f64::from(content.width) / f64::from(image.width());
        let scale_y = f64::from(content.height) / f64::from(image.height());
        Ok(Self { image, canvas, content, scale_x, scale_y })
    }

    /// Long side to `side`, aspect ratio kept, padded to a square of `side`. Small images are enlarged.
    ///
    /// # Errors
    /// If `side` is zero or the anchor pushes the content out of the canvas.
    pub fn letterbox(image: ImageSize, side: u32, rounding: Rounding, anchor: Anchor) -> Result<Self, FrameError> {
        let resized = Self::long_side_size(image, side, rounding)?;
        Self::padded(image, resized, ImageSize::square(side)?, anchor)
    }

    /// Both sides to `side`, aspect ratio not kept (DMMI, LAVT, ReLA).
    ///
    /// # Errors
    /// If `side` is zero.
    pub fn square_resize(image: ImageSize, side: u32) -> Result<Self, FrameError> {
        let canvas = ImageSize::square(side)?;
        Self::new(image, canvas, ContentRect { top: 0, left: 0, height: side, width: side })
    }

    /// `image` resized to `resized` and set into `canvas`.
    ///
    /// # Errors
    /// If `resized` does not fit.
    pub fn padded(image: ImageSize, resized: ImageSize, canvas: ImageSize, anchor: Anchor) -> Result<Self, FrameError> {
        let (height, width) = (resized.height(), resized.width());
        let (top, left) = match anchor {
            Anchor::TopLeft => (0, 0),
            Anchor::Centre => (canvas.height().saturating_sub(height) / 2, canvas.width().saturating_sub(width) / 2),
            Anchor::At { top, left } => (top, left),
        };
        Self::new(image, canvas, ContentRect { top, left, height, width })
    }

    /// The same placement with box factors stated instead of derived from the sides of the resized image.
    ///
    /// PARITY: TransVG and QRNet scale boxes by the one unrounded ratio `side / long side`.
    pub fn with_box_scales(self, scale_x: f64, scale_y: f64) -> Self {
        Self { scale_x, scale_y, ..self }
    }

    /// Size of `image` with its long side scaled to `side`.
    ///
    /// # Errors
    /// If `side` is zero.
    pub fn long_side_size(image: ImageSize, side: u32, rounding: Rounding) -> Result<ImageSize, FrameError> {
        let ratio = f64::from(side) / f64::from(image.long_side());
        Ok(Self::scaled_size(image, ratio, rounding, ImageSize::square(side)?))
    }

    fn scaled_size(image: ImageSize, ratio: f64, rounding: Rounding, fallback: ImageSize) -> ImageSize {
        let height = rounding.side(f64::from(image.height()) * ratio);
        let width = rounding.side(f64::from(image.width()) * ratio);
        ImageSize::new(height, width).unwrap_or(fallback)
    }

    /// The original image.
    pub fn image(&self) -> ImageSize {
        self.image
    }

    /// The network input.
    pub fn canvas(&self) -> ImageSize {
        self.canvas
    }

    /// Where the image lies in it.
    pub fn content(&self) -> ContentRect {
        self.content
    }

    /// Size of the resized image.
    pub fn resized(&self) -> ImageSize {
        ImageSize::new(self.content.height, self.content.width).expect("content was checked when it was placed")
    }

    /// From pixels of the original image to pixels of the network input.
    pub fn model_from_image(&self, bbox: BoxXyxy<Pixels>) -> BoxXyxy<Canvas> {
        bbox.scaled_into(self.scale_x, self.scale_y).shifted(f64::from(self.content.left), f64::from(self.content.top))
    }

    /// From pixels of the network input to pixels of the original image, clipped to the image.
    pub fn image_from_model(&self, bbox: BoxXyxy<Canvas>) -> BoxXyxy<Pixels> {
        self.image_from_model_unclipped(bbox).clipped_to(self.image)
    }

    /// As [`Placement::image_from_model`] without clipping.
    pub fn image_from_model_unclipped(&self, bbox: BoxXyxy<Canvas>) -> BoxXyxy<Pixels> {
        bbox.shifted(-f64::from(self.content.left), -f64::from(self.content.top))
            .scaled_into(1.0 / self.scale_x, 1.0 / self.scale_y)
    }

    /// From fractions of the network input to its pixels.
    pub fn canvas_from_unit(&self, bbox: BoxXyxy<Unit>) -> BoxXyxy<Canvas> {
        bbox.scaled_into(f64::from(self.canvas.width()), f64::from(self.canvas.height()))
    }

    /// From pixels of the network input to fractions of it.
    pub fn unit_from_canvas(&self, bbox: BoxXyxy<Canvas>) -> BoxXyxy<Unit> {
        bbox.scaled_into(1.0 / f64::from(self.canvas.width()), 1.0 / f64::from(self.canvas.height()))
    }
}

/// Size with the shorter side at `short`, unless that makes the longer one exceed `max_long`; then the longer side is
/// `max_long`. All in `f64`, rounded half up.
///
/// Source: the test-time resize of Detectron2 and Focus-DETR (arXiv:2307.12612), 800 and 1333 there.
pub fn shortest_edge_size(image: ImageSize, short: u32, max_long: Option<u32>) -> ImageSize {
    let (h, w, s) = (f64::from(image.height()), f64::from(image.width()), f64::from(short.max(1)));
    let scale = s / h.min(w);
    let (mut height, mut width) = if h < w { (s, scale * w) } else { (scale * h, s) };
    if let Some(max_long) = max_long {
        let longest = height.max(width);
        if longest > f64::from(max_long) {
            let shrink = f64::from(max_long) / longest;
            height *= shrink;
            width *= shrink;
        }
    }
    ImageSize::new(Rounding::HalfUp.side(height), Rounding::HalfUp.side(width)).unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: u32, width: u32) -> ImageSize {
        ImageSize::new(height, width).unwrap()
    }

    #[test]
    fn letterbox_sizes_of_the_scanformer_specification() {
        for (image, expected) in [
            (size(480, 640), (480, 640)),
            (size(375, 500), (480, 640)),
            (size(500, 333), (640, 426)),
            (size(1, 1), (640, 640)),
            (size(10, 2000), (3, 640)),
        ] {
            let placement = Placement::letterbox(image, 640, Rounding::HalfUp, Anchor::TopLeft).unwrap();
            let resized = placement.resized();
            assert_eq!((resized.height(), resized.width()), expected, "{image}");
        }
    }

    #[test]
    fn boxes_come_back_from_every_anchor() {
        let image = size(333, 500);
        let cup = BoxXyxy::<Pixels>::new(10.0, 20.0, 480.5, 300.25);
        for anchor in [Anchor::TopLeft, Anchor::Centre, Anchor::At { top: 7, left: 0 }] {
            let placement = Placement::letterbox(image, 640, Rounding::HalfEven, anchor).unwrap();
            let unit = placement.unit_from_canvas(placement.model_from_image(cup));
            let back = placement.image_from_model(placement.canvas_from_unit(unit));
            for (a, b) in back.to_array().iter().zip(cup.to_array()) {
                assert!((a - b).abs() < 1e-9, "{anchor:?}: {back:?}");
            }
        }
    }

    #[test]
    fn content_must_fit() {
        let anchor = Anchor::At { top: 300, left: 0 };
        let error = Placement::letterbox(size(480, 640), 640, Rounding::HalfUp, anchor).unwrap_err();
        assert!(error.to_string().contains("does not fit a canvas of 640x640"), "{error}");
        assert!(Placement::square_resize(size(4, 4), 0).is_err());
    }

    #[test]
    fn centred_content_leaves_the_odd_row_below() {
        let placement = Placement::letterbox(size(47, 64), 72, Rounding::HalfEven, Anchor::Centre).unwrap();
        assert_eq!(placement.content(), ContentRect { top: 9, left: 0, height: 53, width: 72 });
    }
}
