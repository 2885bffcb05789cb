//! One sample: a picture and a phrase, changed at random, as the model reads it.

use groundling_core::{Anchor, BinaryMask, BoxXyxy, ContentRect, FrameError, ImageSize, Pixels, Placement};
use groundling_data::examples::{ExampleObject, ExamplePhrase, Picture};
use groundling_data::image::augment::{GrounderRecipe, Jitter, MirrorText, Scene, random_anchor, random_jitter};
use groundling_data::image::preprocess::{Preprocessor, place, target_box};
use groundling_data::image::resize::resize;
use groundling_data::rng::Rng;
use groundling_data::text::erase::{EraseMode, erasures};
use groundling_data::text::nouns::RuleTagger;
use groundling_data::text::wordpiece::{Encoded, Truncation, WordPiece};
use groundling_models::contract::{Fit, InputSpec, SampleTruth, TruthObject};

use crate::recipe::{Augmentation, AugmentationSection, PlacementName};

/// A sample on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostSample {
    /// The id of its phrase.
    pub id: String,
    /// `[3, H, W]`, normalised.
    pub pixels: Vec<f32>,
    /// Where the picture lies in its canvas.
    pub content: ContentRect,
    /// Word pieces.
    pub ids: Vec<u32>,
    /// The same with one of the phrase's nouns, drawn anew each time, replaced by 0; for systems that segment.
    pub erased: Option<Vec<u32>>,
    /// What the phrase refers to, in the frame of the canvas.
    pub truth: SampleTruth,
}

/// Makes samples of pictures.
#[derive(Debug, Clone)]
pub struct SampleMaker {
    input: InputSpec,
    preprocessor: Preprocessor,
    words: WordPiece,
    augmentation: AugmentationSection,
    grounder: GrounderRecipe,
    /// Finds the nouns of phrases, where masks and erased phrases are wanted.
    nouns: Option<RuleTagger>,
}

impl SampleMaker {
    /// For a system's input and a recipe's augmentation.
    pub fn new(input: InputSpec, words: WordPiece, augmentation: &AugmentationSection) -> Self {
        let grounder = GrounderRecipe {
            jitter_probability: augmentation.jitter,
            jitter_strength: augmentation.jitter_strength,
            mirror_probability: augmentation.mirror,
            ..GrounderRecipe::for_side(input.side)
        };
        let preprocessor = groundling::input::preprocessor(&input);
        Self { input, preprocessor, words, augmentation: augmentation.clone(), grounder, nouns: None }
    }

    /// Also makes masks at the size of the canvas, and phrases with a noun erased: for systems that segment.
    pub fn with_masks(self) -> Self {
        Self { nouns: Some(RuleTagger::default()), ..self }
    }

    /// The sample of a phrase.
    ///
    /// # Errors
    /// If the picture cannot be placed in the canvas: it has no pixels, or the canvas has no sides.
    pub fn make(&self, picture: &Picture, phrase: &ExamplePhrase, rng: &mut Rng) -> Result<HostSample, FrameError> {
        let target = phrase.truth.enclosing_box();
        // The target's box goes first; crowds are no single objects.
        let objects: Vec<(usize, &ExampleObject)> =
            picture.about.objects.iter().enumerate().filter(|(_, object)| !object.is_crowd).collect();
        let boxes = target.into_iter().chain(objects.iter().map(|(_, object)| object.bbox)).collect();
        // Only that of the target, so that it stands beside the target's box.
        let wanted = self.nouns.is_some() && target.is_some();
        let mask = wanted.then(|| phrase.truth.union_mask()).flatten();
        let scene = Scene {
            image: picture.image.clone(),
            boxes,
            masks: mask.iter().map(groundling_core::Rle::to_mask).collect(),
            phrase: phrase.phrase.as_str().to_owned(),
        };
        let scene = self.augmented(scene, usize::from(target.is_some()), rng);
        let placement = self.placement(ImageSize::new(scene.image.height(), scene.image.width())?, rng)?;
        let resized = resize(&scene.image, placement.resized(), self.preprocessor.filter);
        let prepared = place(&resized, placement, self.input.mean, self.input.std);
        let mut boxes = scene.boxes.into_iter();
        let bbox = target.and_then(|_| boxes.next()).map(|bbox| target_box(&placement, bbox));
        let object = |((index, object), bbox): ((usize, &ExampleObject), BoxXyxy<Pixels>)| TruthObject {
            bbox: target_box(&placement, bbox),
            class: object.class,
            unshown_classes: object.unshown_classes,
            is_target: phrase.targets.contains(&index),
            named: phrase.named.as_ref().map(|named| [named.head.contains(&index), named.others.contains(&index)]),
        };
        // A crop can cut away objects that are not the target.
        let mask = scene.masks.first().map(|mask| on_canvas(mask, &placement));
        let encoded = encoded(&self.words, &scene.phrase, &self.input);
        let erased = self.nouns.as_ref().map(|nouns| {
            let mut ways = erasures(&scene.phrase, &encoded, nouns, EraseMode::Aligned);
            ways.swap_remove(rng.below(ways.len()))
        });
        let seen = objects.into_iter().zip(boxes).filter(|(_, bbox)| bbox.width() > 0.0 && bbox.height() > 0.0);
        Ok(HostSample {
            id: phrase.id.clone(),
            pixels: prepared.pixels,
            content: placement.content(),
            ids: encoded.ids,
            erased,
            truth: SampleTruth { bbox, objects: seen.map(object).collect(), mask },
        })
    }

    fn augmented(&self, mut scene: Scene, targets: usize, rng: &mut Rng) -> Scene {
        let AugmentationSection { kind, mirror, jitter, jitter_strength, grey, .. } = self.augmentation;
        if grey > 0.0 && !names_a_colour(&scene.phrase) && rng.chance(grey) {
            Jitter::Saturation(0.0).apply(&mut scene.image);
        }
        match kind {
            Augmentation::Grounder => GrounderRecipe { crop_keeps: targets, ..self.grounder.clone() }.apply(scene, rng),
            // `Phrases` refuses recipes with a detector's or a classifier's crops.
            Augmentation::None | Augmentation::Detector | Augmentation::Classifier => {
                if rng.chance(jitter) {
                    random_jitter(&mut scene.image, jitter_strength, rng);
                }
                if rng.chance(mirror) { scene.mirrored(MirrorText::Words) } else { scene }
            }
        }
    }

    fn placement(&self, size: ImageSize, rng: &mut Rng) -> Result<Placement, FrameError> {
        let usual = self.preprocessor.placement(size)?;
        if self.input.fit == Fit::Square {
            return Ok(usual);
        }
        let side = self.input.side;
        // The grounders' recipe has chosen the size; it never is larger than the canvas.
        let keeps_size = self.augmentation.kind == Augmentation::Grounder && size.long_side() <= side;
        let resized = if keeps_size { size } else { usual.resized() };
        let anchor = match (self.augmentation.placement, self.input.fit) {
            (PlacementName::Random, _) => random_anchor(resized, side, rng),
            (PlacementName::Fixed, Fit::LetterboxCentre) => Anchor::Centre,
            (PlacementName::Fixed, _) => Anchor::TopLeft,
        };
        Placement::padded(size, resized, ImageSize::square(side)?, anchor)
    }
}

/// A mask of the picture where the picture lies in its canvas.
fn on_canvas(mask: &BinaryMask, placement: &Placement) -> BinaryMask {
    let (resized, content) = (mask.resized_nearest(placement.resized()), placement.content());
    if resized.size() == placement.canvas() {
        return resized;
    }
    BinaryMask::from_fn(placement.canvas(), |row, column| {
        let inside = |at: u32, first: u32, length: u32| at.checked_sub(first).filter(|&at| at < length);
        let row = inside(row, content.top, content.height);
        row.zip(inside(column, content.left, content.width)).is_some_and(|(row, column)| resized.get(row, column))
    })
}

/// Whether a phrase says something about colours: one of the words for them, or a word made from one ("reddish", "blue-green").
fn names_a_colour(phrase: &str) -> bool {
    const WORDS: &str = "red orange yellow green cyan turquoise teal blue navy indigo purple violet lilac lavender magenta pink \
        crimson scarlet maroon brown tan beige khaki olive cream ivory gold golden silver white black grey gray dark light \
        bright pale blond colour coloured colourful color colored colorful reddish";
    const ENDINGS: [&str; 5] = ["", "ish", "er", "est", "e"];
    let lower = phrase.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    words.any(|word| {
        let made_of = |colour: &str| word.strip_prefix(colour).is_some_and(|ending| ENDINGS.contains(&ending));
        WORDS.split_whitespace().any(made_of)
    })
}

/// Word pieces of a phrase, cut to what a system reads.
fn encoded(words: &WordPiece, phrase: &str, input: &InputSpec) -> Encoded {
    words.encode(phrase).fitted(input.max_ids, Truncation::KeepSeparator)
}

/// The ids of [`encoded`].
pub(crate) fn ids(words: &WordPiece, phrase: &str, input: &InputSpec) -> Vec<u32> {
    encoded(words, phrase, input).ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_found_among_words() {
        for phrase in [
            "the red car",
            "Reddish things",
            "a blue-green vase",
            "the darker one",
            "the coloured ball",
            "blonde woman",
        ] {
            assert!(names_a_colour(phrase), "{phrase}");
        }
        for phrase in
            ["the bored dog", "third from the left", "a tank", "two stars right of the ring", "the lightning", ""]
        {
            assert!(!names_a_colour(phrase), "{phrase}");
        }
    }
}
