//! Training augmentation in which picture, boxes, masks and phrase change together.
//!
//! A [`Scene`] is what one training sample shows; every operation takes it whole, so nothing can be forgotten. The
//! recipe of TransVG, VLTVG and QRNet is [`GrounderRecipe`], that of the DETR family [`DetectorRecipe`].

use groundling_core::phrase::{mirror_substrings, mirror_words};
use groundling_core::{Anchor, BinaryMask, BoxXyxy, ImageSize, Pixels, Placement, Rounding, shortest_edge_size};
use image::{RgbImage, imageops};

use super::resize::{Filter, resize};
use crate::rng::Rng;

/// A picture with everything that must move with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// The pixels.
    pub image: RgbImage,
    /// Boxes in pixels of `image`.
    pub boxes: Vec<BoxXyxy<Pixels>>,
    /// Masks of the size of `image`; either none or one a box.
    pub masks: Vec<BinaryMask>,
    /// The phrase; empty for detection.
    pub phrase: String,
}

/// How left and right in the phrase follow a mirrored picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MirrorText {
    /// Whole words only.
    #[default]
    Words,
    /// Every substring, as the released programs do ("brightest" becomes "bleftest").
    Substrings,
}

/// When a random crop is taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CropRule {
    /// The part of the box inside the crop has at least this IoU with the box (VLTVG takes 0.5).
    KeepsIou(f64),
    /// PARITY: the released TransVG and QRNet compare the box centre with the crop's corner, axes swapped, and never look
    /// at the far side; the target can be cut away. Only for people who reproduce their runs.
    ReleasedTransVg,
}

/// Longest side that a resize by the short side makes. DEVIATION: the reference programs have no bound, and turn a picture of
/// 1 x 8000 pixels into one of 600 x 4 800 000. Pictures less than 27 times as long as wide never reach it.
pub const MAX_LONG_SIDE: u32 = 16_384;

impl Scene {
    /// Height and width of the picture.
    ///
    /// # Panics
    /// If the picture has no pixels; decoders never give one.
    pub fn size(&self) -> ImageSize {
        ImageSize::new(self.image.height(), self.image.width()).expect("a decoded picture has pixels")
    }

    /// Resizes to exactly `size`; boxes follow each axis by its own factor.
    pub fn resized(self, size: ImageSize, filter: Filter) -> Self {
        let old = self.size();
        let x_factor = f64::from(size.width()) / f64::from(old.width());
        let y_factor = f64::from(size.height()) / f64::from(old.height());
        self.resized_with(size, filter, (x_factor, y_factor))
    }

    /// Resizes so that the long side is `side`; boxes follow by the one ratio.
    ///
    /// # Panics
    /// If `side` is zero.
    pub fn long_side(self, side: u32) -> Self {
        let old = self.size();
        let size = Placement::long_side_size(old, side, Rounding::HalfEven).expect("the side is positive");
        let ratio = f64::from(side) / f64::from(old.long_side());
        self.resized_with(size, Filter::Bilinear, (ratio, ratio))
    }

    /// Resizes so that the short side is `side`; boxes follow by the one ratio. A long side beyond [`MAX_LONG_SIDE`] is cut to
    /// that, and the short one follows.
    pub fn short_side(self, side: u32) -> Self {
        let old = self.size();
        let longest = f64::from(MAX_LONG_SIDE) / f64::from(old.long_side());
        let ratio = (f64::from(side) / f64::from(old.short_side())).min(longest);
        let scaled = |length: u32| Rounding::HalfEven.side(f64::from(length) * ratio);
        let size = ImageSize::new(scaled(old.height()), scaled(old.width())).unwrap_or(old);
        self.resized_with(size, Filter::Bilinear, (ratio, ratio))
    }

    fn resized_with(self, size: ImageSize, filter: Filter, (x_factor, y_factor): (f64, f64)) -> Self {
        Self {
            image: resize(&self.image, size, filter),
            boxes: self.boxes.iter().map(|b| b.scaled_into(x_factor, y_factor)).collect(),
            masks: self.masks.iter().map(|mask| mask.resized_nearest(size)).collect(),
            phrase: self.phrase,
        }
    }

    /// Cuts out a rectangle. Boxes are shifted and clipped to it and may become empty; masks are cut.
    pub fn cropped(self, top: u32, left: u32, size: ImageSize) -> Self {
        let image = imageops::crop_imm(&self.image, left, top, size.width(), size.height()).to_image();
        let (dx, dy) = (-f64::from(left), -f64::from(top));
        Self {
            image,
            boxes: self.boxes.iter().map(|b| b.shifted(dx, dy).clipped_to(size)).collect(),
            masks: self.masks.iter().map(|mask| mask.cropped(top, left, size)).collect(),
            phrase: self.phrase,
        }
    }

    /// Mirrors left to right, the phrase too.
    pub fn mirrored(self, text: MirrorText) -> Self {
        let size = self.size();
        Self {
            image: imageops::flip_horizontal(&self.image),
            boxes: self.boxes.iter().map(|b| b.flipped_horizontally(size)).collect(),
            masks: self.masks.iter().map(BinaryMask::flipped_horizontally).collect(),
            phrase: match text {
                MirrorText::Words => mirror_words(&self.phrase),
                MirrorText::Substrings => mirror_substrings(&self.phrase),
            },
        }
    }

    /// Drops boxes, and their masks, thinner than `smallest` on a side.
    pub fn without_slivers(mut self, smallest: f64) -> Self {
        let keep: Vec<bool> = self.boxes.iter().map(|b| b.width() > smallest && b.height() > smallest).collect();
        let mut flags = keep.iter();
        self.boxes.retain(|_| flags.next() == Some(&true));
        let mut flags = keep.iter();
        self.masks.retain(|_| flags.next() == Some(&true));
        self
    }
}

/// One step of colour jitter, on bytes as Pillow computes it: `trunc(clamp(base + f * (v - base)))` in `f32`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Jitter {
    /// Base 0.
    Brightness(f32),
    /// Base is the rounded mean grey of the picture.
    Contrast(f32),
    /// Base is the pixel's own grey.
    Saturation(f32),
}

impl Jitter {
    /// Changes the picture in place.
    pub fn apply(self, image: &mut RgbImage) {
        match self {
            Jitter::Brightness(factor) => blend_all(image, factor, |_| 0),
            Jitter::Contrast(factor) => {
                let count = (u64::from(image.width()) * u64::from(image.height())).max(1);
                let sum: u64 = image.pixels().map(|pixel| u64::from(grey(pixel.0))).sum();
                let mean = (sum as f64 / count as f64 + 0.5) as u8;
                blend_all(image, factor, |_| mean);
            }
            Jitter::Saturation(factor) => blend_all(image, factor, grey),
        }
    }
}

/// Pillow's conversion to grey: `(19595 R + 38470 G + 7471 B + 32768) >> 16`.
pub fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((19_595 * u32::from(r) + 38_470 * u32::from(g) + 7_471 * u32::from(b) + 32_768) >> 16) as u8
}

fn blend_all(image: &mut RgbImage, factor: f32, base: impl Fn([u8; 3]) -> u8) {
    for pixel in image.pixels_mut() {
        let base = f32::from(base(pixel.0));
        for value in &mut pixel.0 {
            *value = (base + factor * (f32::from(*value) - base)).clamp(0.0, 255.0) as u8;
        }
    }
}

/// Brightness, contrast and saturation in random order, each factor uniform in `1 - strength ..= 1 + strength`.
pub fn random_jitter(image: &mut RgbImage, strength: f64, rng: &mut Rng) {
    let mut order = [0, 1, 2];
    rng.shuffle(&mut order);
    for which in order {
        let factor = rng.uniform(1.0 - strength, 1.0 + strength) as f32;
        let step = match which {
            0 => Jitter::Brightness(factor),
            1 => Jitter::Contrast(factor),
            _ => Jitter::Saturation(factor),
        };
        step.apply(image);
    }
}

/// Training augmentation of TransVG, VLTVG and QRNet.
///
/// Source: the released recipes of TransVG (arXiv:2104.08541) and VLTVG; sizes are those for a 640 canvas.
#[derive(Debug, Clone, PartialEq)]
pub struct GrounderRecipe {
    /// Long sides to draw from.
    pub long_sides: Vec<u32>,
    /// Short sides to draw from before a crop.
    pub crop_short_sides: Vec<u32>,
    /// Smallest and largest side of a crop.
    pub crop_sides: (u32, u32),
    /// When a crop is taken.
    pub crop_rule: CropRule,
    /// How many of the scene's first boxes a crop must keep; the others may be cut away, and are empty then.
    pub crop_keeps: usize,
    /// Probability of colour jitter.
    pub jitter_probability: f64,
    /// Its strength.
    pub jitter_strength: f64,
    /// Probability of mirroring.
    pub mirror_probability: f64,
    /// How the phrase follows.
    pub mirror_text: MirrorText,
}

impl GrounderRecipe {
    /// The published recipe for a canvas of `side` pixels (640), with faults mended: a crop must keep the target, and
    /// only whole words are mirrored.
    pub fn for_side(side: u32) -> Self {
        let scaled = |pixels: u32| (f64::from(side) * f64::from(pixels) / 640.0).round().max(1.0) as u32;
        Self {
            long_sides: (0..7).map(|step| scaled(448 + 32 * step)).collect(),
            crop_short_sides: [400, 500, 600].map(scaled).to_vec(),
            crop_sides: (scaled(384), scaled(600)),
            crop_rule: CropRule::KeepsIou(0.5),
            crop_keeps: usize::MAX,
            jitter_probability: 0.8,
            jitter_strength: 0.4,
            mirror_probability: 0.5,
            mirror_text: MirrorText::Words,
        }
    }

    /// Applies the recipe. Phrases about places are only resized before jitter and mirroring, never cropped.
    pub fn apply(&self, scene: Scene, rng: &mut Rng) -> Scene {
        const PLACES: [&str; 5] = ["left", "right", "top", "bottom", "middle"];
        // The reference programs lower-case the phrase before they look; ours is kept as it was said.
        let phrase = scene.phrase.to_lowercase();
        let about_a_place = PLACES.iter().any(|word| phrase.contains(word));
        let mut scene = if about_a_place || rng.chance(0.5) {
            scene.long_side(pick(&self.long_sides, rng))
        } else {
            let scene = scene.short_side(pick(&self.crop_short_sides, rng));
            let scene = self.random_crop(scene, rng);
            scene.long_side(pick(&self.long_sides, rng))
        };
        if rng.chance(self.jitter_probability) {
            random_jitter(&mut scene.image, self.jitter_strength, rng);
        }
        if rng.chance(self.mirror_probability) {
            scene = scene.mirrored(self.mirror_text);
        }
        scene
    }

    fn random_crop(&self, scene: Scene, rng: &mut Rng) -> Scene {
        let size = scene.size();
        let (smallest, largest) = self.crop_sides;
        for _ in 0..20 {
            let side = |length: u32, rng: &mut Rng| rng.between(smallest.min(length), length.min(largest));
            let (width, height) = (side(size.width(), rng), side(size.height(), rng));
            let left = rng.between(0, size.width() - width);
            let top = rng.between(0, size.height() - height);
            let Ok(crop) = ImageSize::new(height, width) else { continue };
            if scene.boxes.iter().take(self.crop_keeps).all(|bbox| self.accepts(*bbox, top, left, crop)) {
                return scene.cropped(top, left, crop);
            }
        }
        scene
    }

    fn accepts(&self, bbox: BoxXyxy<Pixels>, top: u32, left: u32, crop: ImageSize) -> bool {
        let (top, left) = (f64::from(top), f64::from(left));
        match self.crop_rule {
            CropRule::KeepsIou(least) => {
                bbox.shifted(-left, -top).clipped_to(crop).shifted(left, top).iou(bbox) >= least
            }
            CropRule::ReleasedTransVg => {
                let (cx, cy) = bbox.centre();
                cx > top && cy > left
            }
        }
    }
}

/// A place for content of size `resized` in a square canvas of `side`, uniform over all that fit: the last step of the
/// grounders' training recipe. Content that does not fit stays in the corner, where placing it is an error.
pub fn random_anchor(resized: ImageSize, side: u32, rng: &mut Rng) -> Anchor {
    let top = rng.between(0, side.saturating_sub(resized.height()));
    let left = rng.between(0, side.saturating_sub(resized.width()));
    Anchor::At { top, left }
}

/// Training augmentation of DINO and Focus-DETR (arXiv:2307.12612).
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorRecipe {
    /// Shorter sides to draw from.
    pub short_sides: Vec<u32>,
    /// Bound of the longer side.
    pub max_long: u32,
    /// Shorter sides to draw from before a crop.
    pub crop_short_sides: Vec<u32>,
    /// Smallest and largest side of a crop.
    pub crop_sides: (u32, u32),
    /// Probability of the crop branch: 0.5 in the copy that detrex trains with, 0 in the authors' own.
    pub crop_probability: f64,
    /// Probability of mirroring.
    pub mirror_probability: f64,
}

impl Default for DetectorRecipe {
    /// 480 to 800 in steps of 32, at most 1333, no crop branch: what the authors' figures were made with.
    fn default() -> Self {
        Self {
            short_sides: (0..11).map(|step| 480 + 32 * step).collect(),
            max_long: 1333,
            crop_short_sides: vec![400, 500, 600],
            crop_sides: (384, 600),
            crop_probability: 0.0,
            mirror_probability: 0.5,
        }
    }
}

impl DetectorRecipe {
    /// The recipe for another input than 800 and 1333 pixels, everything smaller or larger by the ratio of the shorter sides.
    pub fn for_sides(short: u32, longest: u32) -> Self {
        let scaled = |pixels: u32| (f64::from(short) * f64::from(pixels) / 800.0).round().max(1.0) as u32;
        let usual = Self::default();
        Self {
            short_sides: usual.short_sides.into_iter().map(scaled).collect(),
            max_long: longest,
            crop_short_sides: usual.crop_short_sides.into_iter().map(scaled).collect(),
            crop_sides: (scaled(usual.crop_sides.0), scaled(usual.crop_sides.1)),
            ..usual
        }
    }

    /// Applies the recipe; boxes thinner than 1e-5 pixels afterwards are dropped.
    pub fn apply(&self, scene: Scene, rng: &mut Rng) -> Scene {
        self.transform(scene, rng).without_slivers(1e-5)
    }

    /// Applies the recipe and drops nothing: a box that a crop has cut away is empty. For those who keep classes beside the boxes.
    pub fn transform(&self, mut scene: Scene, rng: &mut Rng) -> Scene {
        if rng.chance(self.mirror_probability) {
            scene = scene.mirrored(MirrorText::Words);
        }
        if rng.chance(self.crop_probability) {
            let size = shortest_edge_size(scene.size(), pick(&self.crop_short_sides, rng), Some(MAX_LONG_SIDE));
            scene = scene.resized(size, Filter::Bilinear);
            let (smallest, largest) = self.crop_sides;
            let side = |length: u32, rng: &mut Rng| rng.between(smallest.min(length), length.min(largest));
            let (height, width) = (side(size.height(), rng), side(size.width(), rng));
            let top = rng.between(0, size.height() - height);
            let left = rng.between(0, size.width() - width);
            if let Ok(crop) = ImageSize::new(height, width) {
                scene = scene.cropped(top, left, crop);
            }
        }
        let size = shortest_edge_size(scene.size(), pick(&self.short_sides, rng), Some(self.max_long));
        scene.resized(size, Filter::Bilinear)
    }
}

fn pick(sides: &[u32], rng: &mut Rng) -> u32 {
    sides.get(rng.below(sides.len())).copied().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(height: u32, width: u32, phrase: &str) -> Scene {
        let size = ImageSize::new(height, width).unwrap();
        let inside = |row, column| (height / 4..height / 2).contains(&row) && (width / 8..width / 3).contains(&column);
        let mask = BinaryMask::from_fn(size, inside);
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([if inside(y, x) { 250 } else { 10 }; 3]));
        Scene { image, boxes: vec![mask.bbox().unwrap()], masks: vec![mask], phrase: phrase.into() }
    }

    /// Where the bright patch is, boxes and masks must be.
    fn agrees(scene: &Scene) -> bool {
        let bright = BinaryMask::from_fn(scene.size(), |row, column| scene.image.get_pixel(column, row).0[0] > 100);
        let (Some(seen), Some(mask)) = (bright.bbox(), scene.masks[0].bbox()) else { return false };
        seen.iou(scene.boxes[0]) > 0.9 && mask.iou(scene.boxes[0]) > 0.9
    }

    #[test]
    fn everything_moves_together() {
        let start = scene(120, 160, "the left patch");
        assert!(agrees(&start));
        let mirrored = start.clone().mirrored(MirrorText::Words);
        assert!(agrees(&mirrored) && mirrored.phrase == "the right patch");
        assert_eq!(mirrored.mirrored(MirrorText::Words), start);
        assert!(agrees(&start.clone().long_side(333)));
        assert!(agrees(&start.clone().cropped(10, 5, ImageSize::new(100, 90).unwrap())));
    }

    #[test]
    fn a_recipe_keeps_the_target() {
        let recipe = GrounderRecipe { jitter_probability: 0.0, ..GrounderRecipe::for_side(160) };
        for seed in 0..200 {
            let start = scene(120, 160, if seed % 2 == 0 { "the left patch" } else { "the patch" });
            let changed = recipe.apply(start, &mut Rng::new(seed));
            assert!(agrees(&changed), "seed {seed}: {:?}", changed.boxes);
        }
    }

    #[test]
    fn the_released_crop_can_lose_the_target() {
        // The fault is a switch, and it is a fault: some seed cuts the target away.
        let fixed = GrounderRecipe { jitter_probability: 0.0, ..GrounderRecipe::for_side(160) };
        let released = GrounderRecipe { crop_rule: CropRule::ReleasedTransVg, ..fixed };
        // A target low and left: its centre passes both swapped comparisons although the crop starts to its right.
        let mut start = scene(150, 160, "the patch");
        start.boxes = vec![BoxXyxy::new(30.0, 120.0, 44.0, 149.0)];
        start.masks.clear();
        let lost = (0..400).any(|seed| {
            let changed = released.apply(start.clone(), &mut Rng::new(seed));
            changed.boxes[0].area() == 0.0
        });
        assert!(lost, "no seed lost the target");
    }

    #[test]
    fn capital_letters_do_not_bring_a_crop() {
        let recipe =
            GrounderRecipe { jitter_probability: 0.0, mirror_probability: 0.0, ..GrounderRecipe::for_side(160) };
        for seed in 0..50 {
            let quiet = recipe.apply(scene(120, 160, "the left patch"), &mut Rng::new(seed));
            let loud = recipe.apply(scene(120, 160, "LEFT patch"), &mut Rng::new(seed));
            assert_eq!(quiet.boxes, loud.boxes, "seed {seed}");
        }
    }

    #[test]
    fn a_strip_of_pixels_stays_affordable() {
        let strip = Scene {
            image: RgbImage::new(8000, 1),
            boxes: vec![BoxXyxy::new(0.0, 0.0, 8000.0, 1.0)],
            masks: Vec::new(),
            phrase: "the strip".into(),
        };
        let resized = strip.clone().short_side(600);
        assert_eq!((resized.size().height(), resized.size().width()), (2, 16_384));
        assert_eq!(resized.boxes[0].to_array(), [0.0, 0.0, 16_384.0, 2.048]);
        let recipe = DetectorRecipe { crop_probability: 1.0, ..DetectorRecipe::default() };
        assert!(recipe.apply(strip, &mut Rng::new(1)).size().long_side() <= 1333);
    }

    #[test]
    fn random_places_fit_and_reach_both_ends() {
        let resized = ImageSize::new(61, 64).unwrap();
        let mut rng = Rng::new(4);
        let mut tops = [false; 4];
        for _ in 0..200 {
            let anchor = random_anchor(resized, 64, &mut rng);
            let canvas = ImageSize::square(64).unwrap();
            assert!(Placement::padded(resized, resized, canvas, anchor).is_ok());
            let Anchor::At { top, left: 0 } = anchor else { panic!("{anchor:?}") };
            tops[top as usize] = true;
        }
        assert_eq!(tops, [true; 4]);
        assert_eq!(random_anchor(resized, 10, &mut rng), Anchor::At { top: 0, left: 0 });
    }

    #[test]
    fn slivers_go_with_their_masks() {
        let mut scene = scene(40, 40, "");
        scene.boxes.push(BoxXyxy::new(5.0, 5.0, 5.0, 9.0));
        scene.masks.push(BinaryMask::empty(scene.size()));
        let left = scene.without_slivers(1e-5);
        assert_eq!((left.boxes.len(), left.masks.len()), (1, 1));
    }

    #[test]
    fn detector_sizes_are_those_of_the_recipe() {
        let recipe = DetectorRecipe { crop_probability: 0.5, ..DetectorRecipe::default() };
        for seed in 0..20 {
            let size = recipe.apply(scene(60, 90, ""), &mut Rng::new(seed)).size();
            assert!(recipe.short_sides.contains(&size.short_side()) || size.long_side() == 1333, "{size}");
        }
    }
}
