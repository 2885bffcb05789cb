//! One view of every data source: pictures with their phrases and objects, for training, evaluation and drawing.
//!
//! [`Examples`] counts in *pictures*, since decoding or generating one is the expensive part and its phrases share it. Pictures are
//! made on demand, on any thread, in any order; nothing is cached.
//!
//! ```
//! use groundling_data::examples::{ExampleOptions, Examples, Targets};
//!
//! let one_target = ExampleOptions { targets: Targets::ONE, ..ExampleOptions::default() };
//! let examples = Examples::open(&"scenes:val:20".parse()?, &one_target)?;
//! assert_eq!((examples.len(), examples.classes().len()), (20, 14));
//! let picture = examples.picture(3)?;
//! assert_eq!(picture.image.width(), picture.about.size.width());
//! assert!(picture.about.phrases.iter().all(|phrase| phrase.truth.targets.len() == 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod files;
mod generated;

use groundling_core::{BoxXyxy, GroundTruth, ImageSize, Phrase, Pixels, Rle, TargetCount};
use image::RgbImage;

use crate::image::decode::ImageLimits;
use crate::scenes::{Named, SceneConfig, SceneError};
use crate::source::SCENES_SEED;
use crate::{DataSource, DatasetError, MaskRule};
use files::FileExamples;
use generated::GeneratedExamples;

/// What to take from a source, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleOptions {
    /// Seed of the world, for generated sources.
    pub seed: u64,
    /// What generated scenes are like. Ids of phrases are those of `data truth` only for the default.
    pub scenes: SceneConfig,
    /// Which phrases are wanted.
    pub targets: Targets,
    /// Whether masks are drawn; it is slow for files, and training boxes does not need them.
    pub masks: bool,
    /// How several outlines become one mask.
    pub mask_rule: MaskRule,
    /// Whether phrases with a target box of zero width or height are left out. Right for training, where no loss is defined for them;
    /// wrong for scoring, where leaving out samples changes the figure.
    pub whole_boxes: bool,
    /// What an image file may cost.
    pub limits: ImageLimits,
}

impl Default for ExampleOptions {
    /// Every phrase with its masks, as `data truth` lists them.
    fn default() -> Self {
        Self {
            seed: SCENES_SEED,
            scenes: SceneConfig::default(),
            targets: Targets::ALL,
            masks: true,
            mask_rule: MaskRule::Union,
            whole_boxes: false,
            limits: ImageLimits::default(),
        }
    }
}

/// Which phrases are wanted, by the number of things they refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// Phrases that nothing fits.
    pub zero: bool,
    /// Phrases about one thing.
    pub one: bool,
    /// Phrases about several.
    pub many: bool,
}

impl Targets {
    /// Every phrase.
    pub const ALL: Self = Self { zero: true, one: true, many: true };
    /// Phrases about exactly one thing: classic referring expression comprehension.
    pub const ONE: Self = Self { zero: false, one: true, many: false };

    /// Whether phrases with so many targets are wanted.
    pub fn contains(self, count: TargetCount) -> bool {
        match count {
            TargetCount::Zero => self.zero,
            TargetCount::One => self.one,
            TargetCount::Many => self.many,
        }
    }
}

/// A data source, opened.
#[derive(Debug, Clone)]
pub struct Examples {
    options: ExampleOptions,
    classes: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Generated(GeneratedExamples),
    Files(FileExamples),
}

/// A picture and everything that is known about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// The pixels, sRGB, in the frame of all boxes.
    pub image: RgbImage,
    /// What is known.
    pub about: About,
}

/// What is known about a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Its key in truth and prediction records: the name of its file.
    pub file_name: String,
    /// Its size.
    pub size: ImageSize,
    /// The phrases that were wanted.
    pub phrases: Vec<ExamplePhrase>,
    /// The annotated objects, crowds among them.
    pub objects: Vec<ExampleObject>,
}

/// A phrase about a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct ExamplePhrase {
    /// Joins truth and prediction; unique in the source.
    pub id: String,
    /// Its place among all phrases of the picture (generated) or of the source (files), the unwanted counted.
    pub order: usize,
    /// The words.
    pub phrase: Phrase,
    /// What they refer to.
    pub truth: GroundTruth,
    /// The targets as indices into [`About::objects`].
    pub targets: Vec<usize>,
    /// What its nouns fit, as indices into [`About::objects`], where the source knows.
    pub named: Option<Named>,
    /// What the source calls the kind of phrase: `relation` for scenes, Ref-ZOM's `source` for Ref-ZOM.
    pub kind: Option<String>,
    /// Phrases of the same target have the same group, where the source says so.
    pub group: Option<i64>,
}

/// An annotated object.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleObject {
    /// Where it is.
    pub bbox: BoxXyxy<Pixels>,
    /// Its area in pixels as the source states it: that of its shape, which may be less than that of its box.
    pub area: Option<f64>,
    /// Its exact shape, if masks were asked for and the source has it.
    pub mask: Option<Rle>,
    /// Its class as an index into [`Examples::classes`].
    pub class: Option<usize>,
    /// Classes from 0 to 63, a bit each, of which the source shows nothing that is otherwise like this object: that it is none of them is no
    /// knowledge to be learned. 0 unless scenes are [`uncoupled`](crate::scenes::SceneConfig::uncoupled).
    pub unshown_classes: u64,
    /// Its category as the source numbers it.
    pub category_id: Option<i64>,
    /// Whether it stands for a crowd: no single thing, and no target for detection.
    pub is_crowd: bool,
}

/// Why a source gives no examples.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExampleError {
    /// A file is missing or damaged.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The scenes asked for cannot be.
    #[error(transparent)]
    Scene(#[from] SceneError),
    /// A picture is not of the size that its boxes assume.
    #[error("{file_name}: the image is {found} (width x height), its data set states {stated}")]
    OtherSize {
        /// The image.
        file_name: String,
        /// Size the data set states.
        stated: ImageSize,
        /// Size of the file.
        found: ImageSize,
    },
    /// There is no such picture.
    #[error("picture {index} of {count}")]
    NoPicture {
        /// The index asked for, from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

impl Examples {
    /// Opens a source. Files are indexed here, pictures are read later.
    ///
    /// # Errors
    /// If files are missing or damaged, or the scenes asked for are out of bounds.
    pub fn open(source: &DataSource, options: &ExampleOptions) -> Result<Self, ExampleError> {
        let (classes, kind) = match source {
            DataSource::Scenes { split, count } => {
                (generated::classes(), Kind::Generated(GeneratedExamples::new(*split, *count, options)?))
            }
            files => {
                let dataset = files.read()?;
                let classes = dataset.categories.values().cloned().collect();
                (classes, Kind::Files(FileExamples::new(dataset, options)))
            }
        };
        Ok(Self { options: options.clone(), classes, kind })
    }

    /// The same pictures with other phrases, for a curriculum; `self` as it is where phrases come from files.
    ///
    /// # Errors
    /// If the scenes asked for are out of bounds.
    pub fn with_scenes(&self, scenes: SceneConfig) -> Result<Self, ExampleError> {
        let Kind::Generated(old) = &self.kind else { return Ok(self.clone()) };
        let options = ExampleOptions { scenes, ..self.options.clone() };
        let kind = Kind::Generated(GeneratedExamples::new(old.split(), old.len() as u64, &options)?);
        Ok(Self { options, classes: self.classes.clone(), kind })
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Generated(generated) => generated.len(),
            Kind::Files(files) => files.len(),
        }
    }

    /// Whether there is no picture.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many phrases there are; `None` if that is known only after generating them.
    pub fn phrase_count(&self) -> Option<usize> {
        match &self.kind {
            Kind::Generated(_) => None,
            Kind::Files(files) => Some(files.phrase_count()),
        }
    }

    /// How many phrases each picture has; `None` if that is known only after generating them.
    pub fn phrase_counts(&self) -> Option<Vec<usize>> {
        match &self.kind {
            Kind::Generated(_) => None,
            Kind::Files(files) => Some(files.phrase_counts()),
        }
    }

    /// Names of the classes of objects, in the order of the source's category ids.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// What it was opened with.
    pub fn options(&self) -> &ExampleOptions {
        &self.options
    }

    /// Phrases that were left out because something is wrong with them: which, and what.
    pub fn skipped(&self) -> &[String] {
        match &self.kind {
            Kind::Generated(_) => &[],
            Kind::Files(files) => files.skipped(),
        }
    }

    /// Reads or makes a picture.
    ///
    /// # Errors
    /// If the file is missing, damaged, over a limit or of another size than stated, or there is no such picture.
    pub fn picture(&self, index: usize) -> Result<Picture, ExampleError> {
        self.check(index)?;
        match &self.kind {
            Kind::Generated(generated) => Ok(generated.picture(index, &self.options)),
            Kind::Files(files) => files.picture(index, &self.options),
        }
    }

    /// What is known about a picture, without its pixels. Much cheaper for files; for scenes it is the same work.
    ///
    /// # Errors
    /// If an outline is damaged, the size of the image is not to be had, or there is no such picture.
    pub fn about(&self, index: usize) -> Result<About, ExampleError> {
        self.check(index)?;
        match &self.kind {
            Kind::Generated(generated) => Ok(generated.picture(index, &self.options).about),
            Kind::Files(files) => files.about(index, &self.options),
        }
    }

    fn check(&self, index: usize) -> Result<(), ExampleError> {
        let count = self.len();
        if index < count { Ok(()) } else { Err(ExampleError::NoPicture { index, count }) }
    }
}
