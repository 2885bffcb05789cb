//! One picture, changed at random, as a classifier reads it.

use groundling_data::image::augment::random_jitter;
use groundling_data::image::classify::{RandAugment, RandomErasing, RandomResizedCrop, normalised, scored};
use groundling_data::rng::Rng;
use image::{RgbImage, imageops};

use crate::recipe::{Augmentation, AugmentationSection, ClassifierSection, RecipeError};

/// A sample on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassSample {
    /// The name of its picture.
    pub id: String,
    /// `[3, side, side]`, normalised; mixed with another if the pass was.
    pub pixels: Vec<f32>,
    /// A distribution over the classes, before smoothing.
    pub wanted: Vec<f32>,
}

/// Makes pixels of pictures.
#[derive(Debug, Clone)]
pub struct ClassMaker {
    side: u32,
    /// `None` for the square that pictures are scored on.
    changes: Option<ClassifierSection>,
    augmentation: AugmentationSection,
}

impl ClassMaker {
    /// For squares of this side and a recipe's augmentation.
    ///
    /// # Errors
    /// If the recipe asks for the augmentation of phrases or objects, or for changes of classifiers without their kind.
    pub fn new(side: u32, augmentation: &AugmentationSection) -> Result<Self, RecipeError> {
        let known = [Augmentation::None, Augmentation::Classifier];
        augmentation.check_kind(&known, "\"none\" or \"classifier\" for a classifier")?;
        augmentation.check_wordless()?;
        let changes = match (augmentation.kind, augmentation.classifier) {
            (Augmentation::Classifier, section) => Some(section.unwrap_or_default()),
            (_, None) => None,
            (_, Some(_)) => {
                return Err(RecipeError::Value {
                    key: "augmentation.kind".to_owned(),
                    found: "\"none\" beside [augmentation.classifier]".to_owned(),
                    expected: "\"classifier\"".to_owned(),
                });
            }
        };
        Ok(Self { side, changes, augmentation: augmentation.clone() })
    }

    /// How often a pass is mixed with itself.
    pub fn mixing(&self) -> f64 {
        self.changes.map_or(0.0, |changes| changes.mixing)
    }

    /// `[3, side, side]`, normalised: cropped, mirrored, changed and erased in this order.
    pub fn make(&self, image: &RgbImage, rng: &mut Rng) -> Vec<f32> {
        let mut square = match self.changes {
            None => scored(image, self.side),
            Some(ClassifierSection { area, aspect, .. }) => {
                let (area, aspect) = ((area[0], area[1]), (aspect[0], aspect[1]));
                RandomResizedCrop { side: self.side, area, aspect }.apply(image, rng)
            }
        };
        if rng.chance(self.augmentation.mirror) {
            imageops::flip_horizontal_in_place(&mut square);
        }
        if rng.chance(self.augmentation.jitter) {
            random_jitter(&mut square, self.augmentation.jitter_strength, rng);
        }
        let Some(ClassifierSection { changes, magnitude, deviation, erasing, .. }) = self.changes else {
            return normalised(&square);
        };
        let mut pixels = normalised(&RandAugment { changes, magnitude, deviation }.apply(square, rng));
        let side = self.side as usize;
        RandomErasing { probability: erasing, ..RandomErasing::PUBLISHED }.apply(&mut pixels, side, side, rng);
        pixels
    }
}
