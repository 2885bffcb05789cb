//! One picture with its objects, changed at random, as a detector reads it.

use groundling_core::{BoxXyxy, FrameError, ImageSize, Pixels};
use groundling_data::examples::{About, Picture};
use groundling_data::image::augment::{DetectorRecipe, MirrorText, Scene, random_jitter};
use groundling_data::image::preprocess::Preprocessor;
use groundling_data::rng::Rng;
use groundling_models::focus_detr::{ImageSides, Target};

use crate::recipe::{Augmentation, AugmentationSection, RecipeError};

/// Boxes that are thinner, in pixels, are dropped.
const THINNEST: f64 = 1e-5;

/// A sample on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct ObjectSample {
    /// The name of its picture.
    pub id: String,
    /// `[3, H, W]`, normalised.
    pub pixels: Vec<f32>,
    /// Height and width.
    pub size: ImageSize,
    /// Its objects.
    pub target: Target,
}

/// Makes samples of pictures.
#[derive(Debug, Clone)]
pub struct ObjectMaker {
    preprocessor: Preprocessor,
    recipe: Option<DetectorRecipe>,
    augmentation: AugmentationSection,
}

impl ObjectMaker {
    /// For a detector's input and a recipe's augmentation.
    ///
    /// # Errors
    /// If the recipe asks for the augmentation of phrases.
    pub fn new(input: ImageSides, augmentation: &AugmentationSection) -> Result<Self, RecipeError> {
        let known = [Augmentation::None, Augmentation::Detector];
        augmentation.check_kind(&known, "\"none\" or \"detector\" for a detector")?;
        augmentation.check_wordless()?;
        let recipe = (augmentation.kind == Augmentation::Detector).then(|| DetectorRecipe {
            crop_probability: augmentation.crop,
            mirror_probability: augmentation.mirror,
            ..DetectorRecipe::for_sides(input.short, input.longest)
        });
        let preprocessor = Preprocessor::focus_detr(input.short, input.longest);
        Ok(Self { preprocessor, recipe, augmentation: augmentation.clone() })
    }

    /// The sample of a picture; `class_of` says the model's class for each of the source's. Crowds are no targets, and boxes are cut at the
    /// edges of the picture.
    ///
    /// # Errors
    /// If the picture has no pixels.
    pub fn make(&self, picture: Picture, class_of: &[usize], rng: &mut Rng) -> Result<ObjectSample, FrameError> {
        let Picture { image, about } = picture;
        let (labels, boxes): (Vec<usize>, Vec<_>) =
            whole_objects(&about).map(|(class, bbox)| (class_of[class], bbox)).unzip();
        let mut scene = Scene { image, boxes, masks: Vec::new(), phrase: String::new() };
        if rng.chance(self.augmentation.jitter) {
            random_jitter(&mut scene.image, self.augmentation.jitter_strength, rng);
        }
        let scene = match &self.recipe {
            Some(recipe) => recipe.transform(scene, rng),
            None => self.as_at_inference(scene, rng)?,
        };
        let size = scene.size();
        let kept = labels.into_iter().zip(scene.boxes);
        let kept = kept.filter(|(_, bbox)| bbox.width() > THINNEST && bbox.height() > THINNEST);
        let (labels, boxes) = kept.map(|(label, bbox)| (label, fractions(bbox, size))).unzip();
        Ok(ObjectSample {
            id: about.file_name,
            pixels: self.preprocessor.normalised(&scene.image),
            size,
            target: Target { labels, boxes },
        })
    }

    fn as_at_inference(&self, scene: Scene, rng: &mut Rng) -> Result<Scene, FrameError> {
        let scene = if rng.chance(self.augmentation.mirror) { scene.mirrored(MirrorText::Words) } else { scene };
        let placement = self.preprocessor.placement(scene.size())?;
        Ok(scene.resized(placement.resized(), self.preprocessor.filter))
    }
}

/// Classes and boxes of the objects that a detector can be trained on, cut at the edges of the picture: no crowds, nothing without a class
/// or an area.
pub fn whole_objects(about: &About) -> impl Iterator<Item = (usize, BoxXyxy<Pixels>)> {
    about.objects.iter().filter_map(|object| {
        let bbox = object.bbox.clipped_to(about.size);
        let whole = !object.is_crowd && bbox.width() > THINNEST && bbox.height() > THINNEST;
        object.class.filter(|_| whole).map(|class| (class, bbox))
    })
}

/// Centre and sides over those of the picture.
fn fractions(bbox: BoxXyxy<Pixels>, size: ImageSize) -> [f32; 4] {
    let (width, height) = (f64::from(size.width()), f64::from(size.height()));
    let (cx, cy) = bbox.centre();
    [cx / width, cy / height, bbox.width() / width, bbox.height() / height].map(|value| value as f32)
}
