//! From RGB pixels to the array a network reads.
//!
//! How a model wants its input is data, a [`Preprocessor`], stored with its weights; the code below is the same for all.

use groundling_core::{
    Anchor, BinaryMask, BoxCxcywh, BoxXyxy, FrameError, ImageSize, Pixels, Placement, Rounding, Unit,
    shortest_edge_size,
};
use image::RgbImage;

use super::resize::{Filter, resize};

/// How an image is fitted into the network input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Long side to `side`, padded to a square.
    Letterbox {
        /// Side of the square.
        side: u32,
        /// Where the image goes.
        anchor: Anchor,
        /// How the short side becomes whole pixels.
        rounding: Rounding,
        /// How boxes are scaled.
        box_scale: BoxScale,
    },
    /// Both sides to `side`; the aspect ratio is lost.
    Square {
        /// Side of the square.
        side: u32,
    },
    /// Shorter side to `short` unless the longer one would pass `max_long`; no padding.
    ShortestEdge {
        /// Target of the shorter side.
        short: u32,
        /// Bound of the longer side.
        max_long: u32,
    },
}

/// The factor that takes boxes into a letterbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoxScale {
    /// The true sides of the resized image, `new / old` on each axis (ScanFormer, VLTVG).
    Sides,
    /// The one unrounded ratio `side / long side` (TransVG, QRNet).
    Ratio,
}

/// How a model wants its images.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preprocessor {
    /// How the image is fitted.
    pub fit: Fit,
    /// Resampling kernel.
    pub filter: Filter,
    /// Per channel, on the 0..1 scale.
    pub mean: [f32; 3],
    /// Per channel, on the 0..1 scale.
    pub std: [f32; 3],
}

/// Mean of ImageNet, on the 0..1 scale.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Standard deviation of ImageNet, on the 0..1 scale.
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// A network input.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    /// `[3, H, W]` row-major, normalised; 0 under padding.
    pub pixels: Vec<f32>,
    /// `[H, W]`, `true` = ignore.
    pub padding: Vec<bool>,
    /// Where the image lies in it.
    pub placement: Placement,
}

impl Preprocessor {
    /// ScanFormer and ViLT: long side to `side`, bicubic, corner, mean and deviation 0.5.
    ///
    /// Source: specification of ScanFormer (arXiv:2406.18048), Sec. 4.1 there.
    pub const fn scanformer(side: u32) -> Self {
        Self {
            fit: Fit::Letterbox {
                side,
                anchor: Anchor::TopLeft,
                rounding: Rounding::HalfUp,
                box_scale: BoxScale::Sides,
            },
            filter: Filter::Bicubic,
            mean: [0.5; 3],
            std: [0.5; 3],
        }
    }

    /// TransVG and QRNet at evaluation: long side to `side` (640), bilinear, centred, boxes by the single ratio.
    pub const fn transvg(side: u32) -> Self {
        Self::centred(side, BoxScale::Ratio)
    }

    /// VLTVG at evaluation: as TransVG, boxes by the true sides.
    pub const fn vltvg(side: u32) -> Self {
        Self::centred(side, BoxScale::Sides)
    }

    const fn centred(side: u32, box_scale: BoxScale) -> Self {
        Self {
            fit: Fit::Letterbox { side, anchor: Anchor::Centre, rounding: Rounding::HalfEven, box_scale },
            filter: Filter::Bilinear,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }

    /// DMMI, LAVT and their like: both sides to `side` (480), bilinear.
    pub const fn dmmi(side: u32) -> Self {
        Self { fit: Fit::Square { side }, filter: Filter::Bilinear, mean: IMAGENET_MEAN, std: IMAGENET_STD }
    }

    /// Focus-DETR and Detectron2: shorter side 800, longer at most 1333, bilinear; their mean and deviation on 0..255 are
    /// ImageNet's times 255.
    pub const fn focus_detr(short: u32, max_long: u32) -> Self {
        Self {
            fit: Fit::ShortestEdge { short, max_long },
            filter: Filter::Bilinear,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }

    /// Where an image of this size would lie.
    ///
    /// # Errors
    /// If a side of the configuration is zero or an anchor does not fit.
    pub fn placement(&self, image: ImageSize) -> Result<Placement, FrameError> {
        match self.fit {
            Fit::Letterbox { side, anchor, rounding, box_scale } => {
                let placement = Placement::letterbox(image, side, rounding, anchor)?;
                Ok(match box_scale {
                    BoxScale::Sides => placement,
                    BoxScale::Ratio => {
                        let ratio = f64::from(side) / f64::from(image.long_side());
                        placement.with_box_scales(ratio, ratio)
                    }
                })
            }
            Fit::Square { side } => Placement::square_resize(image, side),
            Fit::ShortestEdge { short, max_long } => {
                let resized = shortest_edge_size(image, short, Some(max_long));
                Placement::padded(image, resized, resized, Anchor::TopLeft)
            }
        }
    }

    /// Makes the network input of an image.
    ///
    /// # Errors
    /// If the image has no pixels or the configuration does not fit.
    pub fn prepare(&self, image: &RgbImage) -> Result<Prepared, FrameError> {
        let size = ImageSize::new(image.height(), image.width())?;
        let placement = self.placement(size)?;
        let resized = resize(image, placement.resized(), self.filter);
        Ok(place(&resized, placement, self.mean, self.std))
    }

    /// An image as it is, normalised: `[3, H, W]`.
    pub fn normalised(&self, image: &RgbImage) -> Vec<f32> {
        let mut pixels = vec![0.0; 3 * image.height() as usize * image.width() as usize];
        let plane = pixels.len() / 3;
        let tables = tables(self.mean, self.std);
        for (index, pixel) in image.pixels().enumerate() {
            for (channel, table) in tables.iter().enumerate() {
                pixels[channel * plane + index] = table[usize::from(pixel.0[channel])];
            }
        }
        pixels
    }

    /// A truth mask in the frame of the network input: nearest resize of the content, background under padding.
    ///
    /// # Errors
    /// If the mask is not of the size of the image, and would be stretched unseen.
    pub fn mask_to_model(mask: &BinaryMask, placement: &Placement) -> Result<BinaryMask, FrameError> {
        if mask.size() != placement.image() {
            return Err(FrameError::OtherImage { found: mask.size(), image: placement.image() });
        }
        let content = placement.content();
        let resized = mask.resized_nearest(ImageSize::new(content.height, content.width)?);
        Ok(BinaryMask::from_fn(placement.canvas(), |row, column| {
            row >= content.top && column >= content.left && resized.get(row - content.top, column - content.left)
        }))
    }
}

/// Normalises a resized image and sets it into its canvas.
///
/// # Panics
/// If `resized` is not of the placement's content size, which is a bug in the caller.
pub fn place(resized: &RgbImage, placement: Placement, mean: [f32; 3], std: [f32; 3]) -> Prepared {
    let (canvas, content) = (placement.canvas(), placement.content());
    assert_eq!((resized.height(), resized.width()), (content.height, content.width), "content size");
    let (height, width) = (canvas.height() as usize, canvas.width() as usize);
    let (top, left) = (content.top as usize, content.left as usize);
    let mut pixels = vec![0.0; 3 * height * width];
    let mut padding = vec![true; height * width];
    let tables = tables(mean, std);
    for (row, values) in resized.as_raw().chunks_exact(content.width as usize * 3).enumerate() {
        let start = (top + row) * width + left;
        padding[start..start + content.width as usize].fill(false);
        for (channel, table) in tables.iter().enumerate() {
            let out = &mut pixels[channel * height * width + start..][..content.width as usize];
            let values = values[channel..].iter().step_by(3);
            out.iter_mut().zip(values).for_each(|(out, &value)| *out = table[usize::from(value)]);
        }
    }
    Prepared { pixels, padding, placement }
}

/// What each byte of a channel becomes: one table instead of two divisions a pixel.
fn tables(mean: [f32; 3], std: [f32; 3]) -> Vec<[f32; 256]> {
    mean.iter().zip(std).map(|(&mean, std)| std::array::from_fn(|v| (v as f32 / 255.0 - mean) / std)).collect()
}

/// A box of the original image as model target: centre and sides in fractions of the network input.
pub fn target_box(placement: &Placement, bbox: BoxXyxy<Pixels>) -> BoxCxcywh<Unit> {
    placement.unit_from_canvas(placement.model_from_image(bbox)).to_cxcywh()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_zero_and_marked() {
        let image = RgbImage::from_pixel(40, 20, image::Rgb([255, 0, 128]));
        let prepared = Preprocessor::scanformer(64).prepare(&image).unwrap();
        assert_eq!(prepared.placement.resized(), ImageSize::new(32, 64).unwrap());
        assert_eq!(prepared.pixels.len(), 3 * 64 * 64);
        assert_eq!(prepared.padding.iter().filter(|&&p| p).count(), 32 * 64);
        assert_eq!(prepared.pixels[0], 1.0);
        assert_eq!(prepared.pixels[64 * 64], -1.0);
        assert_eq!(prepared.pixels[40 * 64], 0.0);
    }

    #[test]
    fn masks_follow_the_image() {
        let image = ImageSize::new(20, 40).unwrap();
        let mask = BinaryMask::from_fn(image, |row, column| row < 10 && column < 20);
        let placement = Preprocessor::transvg(80).placement(image).unwrap();
        let moved = Preprocessor::mask_to_model(&mask, &placement).unwrap();
        let bbox = placement.model_from_image(mask.bbox().unwrap());
        assert_eq!(moved.bbox().unwrap().to_array(), bbox.to_array());
        let turned = BinaryMask::empty(ImageSize::new(40, 20).unwrap());
        let error = Preprocessor::mask_to_model(&turned, &placement).unwrap_err();
        assert_eq!(error, FrameError::OtherImage { found: turned.size(), image });
    }

    #[test]
    fn no_configuration_panics() {
        let image = RgbImage::new(3, 2);
        assert!(Preprocessor::dmmi(0).prepare(&image).is_err());
        assert!(Preprocessor::dmmi(4).prepare(&RgbImage::new(0, 0)).is_err());
        assert!(Preprocessor::focus_detr(0, 0).prepare(&image).is_ok(), "sides are at least 1");
    }
}
