//! Scenes: a generated world of shapes, with exact masks and phrases whose truth is known.
//!
//! A scene is an image of 3 to 12 objects on a textured background, the visible mask of each object, and a handful of
//! referring expressions with one, several or no targets. Everything follows from (configuration, seed, split, index):
//! any scene can be made alone, on any thread, in any order, with the same bits on every machine.
//!
//! ```
//! use groundling_data::scenes::{SceneConfig, Scenes, Split};
//!
//! let scenes = Scenes::new(SceneConfig::default(), Split::Train, 7)?;
//! let scene = scenes.scene(0);
//! assert_eq!(scene.image.dimensions(), (256, 256));
//! for expression in &scene.expressions {
//!     let truth = expression.truth(&scene);
//!     assert_eq!(truth.targets.len(), expression.targets.len());
//! }
//! # Ok::<(), groundling_data::scenes::SceneError>(())
//! ```
//!
//! The grammar, the margins that keep truths clear, and the pairs held out for the test split are written down in
//! `docs/scenes.md`.
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | `vocabulary` | shapes, colours, sizes, fills, splits, [`HELD_OUT`] |
//! | `silhouette` | [`Silhouette`]: outlines as signed distances |
//! | `layout`, `background`, `paint` | where things lie, and pixels |
//! | `phrase`, `generate`, `wording` | expressions, how they are chosen and said |
//! | `meaning` | the generator's judge, with its margins |
//! | `parse`, `evaluate` | [`resolve`]: an independent reader of finished phrases |

mod background;
mod evaluate;
mod generate;
mod layout;
mod meaning;
mod paint;
mod parse;
mod phrase;
mod random;
mod silhouette;
mod vocabulary;
mod wording;

use groundling_core::{BoxXyxy, GroundTruth, ImageSize, Pixels, Rle, TrueTarget};
use image::RgbImage;
use serde::{Deserialize, Serialize};

use background::Background;
use generate::Speaker;
use layout::{Layout, Wish};
use meaning::World;
use random::Draws;

pub use background::BackgroundKind;
pub use evaluate::{ResolveError, resolve, resolve_among};
pub use layout::MIN_VISIBLE;
pub use meaning::{
    BETWEEN_SPAN, CENTRE_MARGIN, CORNER_END, DISTANCE_MARGIN, MIDDLE_REACH, NEXT_TO, NOT_NEXT_TO, REGION_MARGIN,
    SIDE_END,
};
pub use parse::ParseError;
pub use phrase::PhraseKind;
pub use silhouette::{MAX_REACH, Pose, Silhouette};
pub use vocabulary::{Colour, Fill, HELD_OUT, Shape, SizeClass, Split, is_held_out};

/// What scenes are like. Checked by [`Scenes::new`].
#[derive(Debug, Clone, PartialEq)]
pub struct SceneConfig {
    /// Size of every image; each side [`SceneConfig::MIN_SIDE`] to [`SceneConfig::MAX_SIDE`] pixels.
    pub size: ImageSize,
    /// Fewest objects, at least 2.
    pub min_objects: usize,
    /// Most objects, at most [`SceneConfig::MAX_OBJECTS`].
    pub max_objects: usize,
    /// Fewest expressions; 0 for images without phrases.
    pub min_expressions: usize,
    /// Most expressions, at most [`SceneConfig::MAX_EXPRESSIONS`].
    pub max_expressions: usize,
    /// How often a phrase has one, several or no targets.
    pub shares: Shares,
    /// How often one-target phrases are of each kind.
    pub kind_weights: KindWeights,
    /// Whether every second phrase of a scene is the one before it with a word exchanged, and fits something else or nothing: what a
    /// model learns most from. Phrases that fit nothing are second ones, and at most half of all.
    pub paired: bool,
    /// Share of the scenes whose objects have any colours, and whose phrases name none. A model that learns from the ten named colours
    /// alone learns with them which pairs of colour and shape there are, and takes an orange circle for anything but a circle. Here, too, no
    /// object comes near a pair that the split does not allow.
    pub any_colour: f64,
    /// Whether phrases are left out of whose answer the split's missing pairs would tell something: those that name a shape and no colour where an
    /// object has a colour that the split never shows with that shape, and the other way round. With them a model learns that what is orange
    /// is no circle; without, no orange thing is ever there when circles are spoken of. Does nothing in the test split, which misses no pair.
    pub uncoupled: bool,
}

/// Relative frequencies of phrases by the number of their targets. In a file, a number that is not named has none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// One target.
    #[serde(default)]
    pub one: f64,
    /// Two or more.
    #[serde(default)]
    pub many: f64,
    /// None.
    #[serde(default)]
    pub zero: f64,
}

/// Relative frequencies of the kinds of one-target phrases, which near misses are made from as well. A kind that a scene
/// does not allow is replaced by another, so the frequencies found are a little different. In a file, a kind that is not named has none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindWeights {
    /// [`PhraseKind::Attributes`].
    #[serde(default)]
    pub attributes: f64,
    /// [`PhraseKind::Ordinal`].
    #[serde(default)]
    pub ordinal: f64,
    /// [`PhraseKind::Comparative`].
    #[serde(default)]
    pub comparative: f64,
    /// [`PhraseKind::Superlative`].
    #[serde(default)]
    pub superlative: f64,
    /// [`PhraseKind::Relation`].
    #[serde(default)]
    pub relation: f64,
    /// [`PhraseKind::Between`].
    #[serde(default)]
    pub between: f64,
    /// [`PhraseKind::Proximity`].
    #[serde(default)]
    pub proximity: f64,
    /// [`PhraseKind::Region`].
    #[serde(default)]
    pub region: f64,
    /// [`PhraseKind::Negation`].
    #[serde(default)]
    pub negation: f64,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SceneError {
    /// A side of the image is too short or too long.
    #[error(
        "scenes of {size} (width x height) pixels: expected sides of {} to {}",
        SceneConfig::MIN_SIDE,
        SceneConfig::MAX_SIDE
    )]
    Size {
        /// The size given.
        size: ImageSize,
    },
    /// A range of counts is empty or out of bounds.
    #[error("{what}: found {least} to {most}, expected a range within {lowest} to {highest}")]
    Range {
        /// Which counts.
        what: &'static str,
        /// Lower end found.
        least: usize,
        /// Upper end found.
        most: usize,
        /// Smallest lower end.
        lowest: usize,
        /// Largest upper end.
        highest: usize,
    },
    /// A share that is none.
    #[error("{what}: found {found}, expected 0 to 1")]
    Share {
        /// Of what.
        what: &'static str,
        /// Its value.
        found: f64,
    },
    /// Frequencies that are negative, not finite, or all zero.
    #[error("{what}: found {found:?}, expected finite numbers from 0 up, one of them positive")]
    Weights {
        /// Which frequencies.
        what: &'static str,
        /// Their values.
        found: Vec<f64>,
    },
}

/// One split of one generated world.
#[derive(Debug, Clone)]
pub struct Scenes {
    config: SceneConfig,
    split: Split,
    seed: u64,
}

/// An image with everything that is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// `scenes-<split>-<seed>-<index, six digits>`.
    pub id: String,
    /// Its place in the split.
    pub index: u64,
    /// Size of the image.
    pub size: ImageSize,
    /// The pixels, sRGB.
    pub image: RgbImage,
    /// What kind of background it has.
    pub background: BackgroundKind,
    /// The objects, bottom to top: later ones hide earlier ones.
    pub objects: Vec<SceneObject>,
    /// Phrases about the image, pairwise different.
    pub expressions: Vec<SceneExpression>,
}

/// One object of a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneObject {
    /// What it is; also its category.
    pub shape: Shape,
    /// The name of its colour; in scenes of [`SceneConfig::any_colour`] that of the named colour most like it.
    pub colour: Colour,
    /// Its exact colour, sRGB.
    pub rgb: [u8; 3],
    /// How big it is.
    pub size_class: SizeClass,
    /// How it is painted.
    pub fill: Fill,
    /// Clockwise rotation in degrees.
    pub rotation: f64,
    /// Centre of the whole shape as (x, y) in pixels of the image, hidden parts included.
    pub centre: (f64, f64),
    /// Nominal radius in pixels; see [`Pose::radius`].
    pub radius: f64,
    /// Visible pixels: those that the object covers by at least one half and no later object does. The gaps of stripes and
    /// the inside of outlined objects belong to it, the hole of a ring does not.
    pub mask: Rle,
    /// The tight box of `mask`.
    pub bbox: BoxXyxy<Pixels>,
    /// Visible pixels over all pixels of the shape, [`MIN_VISIBLE`] to 1.
    pub visible_share: f64,
}

/// A phrase about a scene.
#[derive(Debug, Clone, PartialEq)]
pub struct SceneExpression {
    /// The words.
    pub phrase: String,
    /// What the phrase asks of its reader; [`PhraseKind::Plural`] and [`PhraseKind::NearMiss`] where it has several or no
    /// targets.
    pub kind: PhraseKind,
    /// The construction whatever the number of targets: any kind but [`PhraseKind::Plural`] and [`PhraseKind::NearMiss`].
    pub form: PhraseKind,
    /// Indices into [`Scene::objects`], ascending; empty if nothing fits.
    pub targets: Vec<usize>,
    /// What its nouns fit.
    pub named: Named,
    /// Whether a target is a held-out pair of colour and shape; for a phrase without targets, whether it names one.
    pub held_out: bool,
}

/// What the nouns of a phrase fit, taken by themselves: steps on the way to what the phrase refers to. Indices into [`Scene::objects`],
/// ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// By the noun that says what is spoken about: in "the star left of the red circle" every star. Of "the star and the ring" by either.
    pub head: Vec<usize>,
    /// By any other noun, the red circles of the example; of "the star that is not red" everything red.
    pub others: Vec<usize>,
}

impl SceneConfig {
    /// Shortest side of an image, pixels.
    pub const MIN_SIDE: u32 = 32;
    /// Longest side of an image, pixels.
    pub const MAX_SIDE: u32 = 4096;
    /// Most objects in an image.
    pub const MAX_OBJECTS: usize = 16;
    /// Most expressions of an image.
    pub const MAX_EXPRESSIONS: usize = 32;

    /// The default world at another size.
    pub fn with_size(size: ImageSize) -> Self {
        let shares = Shares { one: 0.65, many: 0.15, zero: 0.20 };
        let kind_weights = KindWeights::default();
        let (min_objects, max_objects, min_expressions, max_expressions) = (3, 12, 3, 8);
        Self {
            size,
            min_objects,
            max_objects,
            min_expressions,
            max_expressions,
            shares,
            kind_weights,
            paired: false,
            any_colour: 0.0,
            uncoupled: false,
        }
    }

    fn check(&self) -> Result<(), SceneError> {
        if self.size.short_side() < Self::MIN_SIDE || self.size.long_side() > Self::MAX_SIDE {
            return Err(SceneError::Size { size: self.size });
        }
        let range = |what, least: usize, most: usize, lowest, highest| {
            let good = lowest <= least && least <= most && most <= highest;
            if good { Ok(()) } else { Err(SceneError::Range { what, least, most, lowest, highest }) }
        };
        range("objects of a scene", self.min_objects, self.max_objects, 2, Self::MAX_OBJECTS)?;
        range("expressions of a scene", self.min_expressions, self.max_expressions, 0, Self::MAX_EXPRESSIONS)?;
        if !(0.0..=1.0).contains(&self.any_colour) {
            return Err(SceneError::Share { what: "share of scenes with any colours", found: self.any_colour });
        }
        let weights = |what, found: &[f64]| {
            let good = found.iter().all(|w| w.is_finite() && *w >= 0.0) && found.iter().any(|w| *w > 0.0);
            if good { Ok(()) } else { Err(SceneError::Weights { what, found: found.to_vec() }) }
        };
        weights("shares of one, many and zero targets", &self.shares.to_array())?;
        weights("weights of the kinds of phrases", &self.kind_weights.to_array())
    }
}

impl Default for SceneConfig {
    /// 256x256 pixels, 3 to 12 objects, 3 to 8 expressions; 65 % with one target, 15 % with several, 20 % with none.
    fn default() -> Self {
        Self::with_size(ImageSize::square(256).expect("256 is a positive side"))
    }
}

impl Shares {
    pub(crate) fn to_array(self) -> [f64; 3] {
        [self.one, self.many, self.zero]
    }
}

impl KindWeights {
    pub(crate) fn to_array(self) -> [f64; 9] {
        [
            self.attributes,
            self.ordinal,
            self.comparative,
            self.superlative,
            self.relation,
            self.between,
            self.proximity,
            self.region,
            self.negation,
        ]
    }
}

impl Default for KindWeights {
    /// Attributes most often, then relations, regions, extremes and counting.
    fn default() -> Self {
        Self {
            attributes: 0.24,
            ordinal: 0.11,
            comparative: 0.09,
            superlative: 0.12,
            relation: 0.14,
            between: 0.05,
            proximity: 0.08,
            region: 0.11,
            negation: 0.06,
        }
    }
}

impl Scenes {
    /// The scenes of one split. Different splits and seeds share no scene.
    ///
    /// # Errors
    /// [`SceneError`] if the configuration is out of bounds.
    pub fn new(config: SceneConfig, split: Split, seed: u64) -> Result<Self, SceneError> {
        config.check()?;
        Ok(Self { config, split, seed })
    }

    /// The configuration.
    pub fn config(&self) -> &SceneConfig {
        &self.config
    }

    /// The split.
    pub fn split(&self) -> Split {
        self.split
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Makes one scene. There is no end to them; equal arguments give equal scenes.
    ///
    /// A scene has fewer than [`SceneConfig::min_objects`] objects only if none of 32 layouts had room for them, and fewer
    /// expressions than [`SceneConfig::min_expressions`] only if its objects give nothing more to say.
    pub fn scene(&self, index: u64) -> Scene {
        let size = self.config.size;
        let background = Background::draw(&mut self.draws(index, Purpose::Background, 0), size);
        let mut layout = self.layout(index, &background);
        let mut colours = self.draws(index, Purpose::Colours, 0);
        // Nothing is drawn where no scene is to have them: the usual world stays what it was.
        let any_colour = self.config.any_colour > 0.0 && colours.chance(self.config.any_colour);
        if any_colour {
            layout.recolour(&mut colours, self.split, &background);
        }
        let image = paint::paint(size, &background, &layout.items);
        let objects = objects_of(&layout);
        let world = World { size, objects: &objects };
        let draws = self.draws(index, Purpose::Phrases, 0);
        let expressions =
            Speaker { world, config: &self.config, split: self.split, colourless: any_colour, draws }.expressions();
        let id = format!("scenes-{}-{}-{index:06}", self.split, self.seed);
        Scene { id, index, size, image, background: background.kind, objects, expressions }
    }

    fn layout(&self, index: u64, background: &Background) -> Layout {
        let (least, most) = (self.config.min_objects, self.config.max_objects);
        let attempt = |number: u64| {
            let mut draws = self.draws(index, Purpose::Layout, number);
            let count = least + draws.below(most - least + 1);
            Layout::draw(&mut draws, self.config.size, Wish { split: self.split, count, background })
        };
        let mut best = attempt(0);
        for number in 1..32 {
            if best.items.len() >= least {
                break;
            }
            let other = attempt(number);
            if other.items.len() > best.items.len() {
                best = other;
            }
        }
        best
    }

    fn draws(&self, index: u64, purpose: Purpose, attempt: u64) -> Draws {
        Draws::named(&[self.seed, self.split as u64, index, purpose as u64, attempt])
    }
}

#[derive(Debug, Clone, Copy)]
enum Purpose {
    Background,
    Layout,
    Phrases,
    Colours,
}

fn objects_of(layout: &Layout) -> Vec<SceneObject> {
    let object = |(index, item): (usize, &layout::Item)| {
        let mask = layout.mask(index);
        let bbox = mask.bbox().expect("every object keeps a share of its pixels");
        SceneObject {
            shape: item.shape,
            colour: item.colour,
            rgb: item.rgb,
            size_class: item.size_class,
            fill: item.fill,
            rotation: item.pose.rotation,
            centre: item.pose.centre,
            radius: item.pose.radius,
            mask,
            bbox,
            visible_share: f64::from(item.visible_area) / f64::from(item.full_area),
        }
    };
    layout.items.iter().enumerate().map(object).collect()
}

impl SceneObject {
    /// The outline of the whole object, hidden parts included.
    pub fn silhouette(&self) -> Silhouette {
        Silhouette::new(self.shape, Pose { centre: self.centre, radius: self.radius, rotation: self.rotation })
    }

    /// The object as the target of a phrase; its category is [`Shape::category_id`].
    pub fn to_target(&self) -> TrueTarget {
        TrueTarget { bbox: self.bbox, mask: Some(self.mask.clone()), category_id: Some(self.shape.category_id()) }
    }
}

impl SceneExpression {
    /// What the phrase refers to, with boxes and masks. Targets that `scene` does not have are left out, so pass the scene
    /// that the expression belongs to.
    pub fn truth(&self, scene: &Scene) -> GroundTruth {
        let targets = self.targets.iter().filter_map(|&index| scene.objects.get(index)).map(SceneObject::to_target);
        GroundTruth { targets: targets.collect(), merged_mask: None }
    }
}
