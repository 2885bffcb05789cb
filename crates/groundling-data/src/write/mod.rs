//! Writes data sets: the layouts of RefCOCO, Ref-ZOM, gRefCOCO and COCO, and our own JSON lines.
//!
//! [`write_dataset`] takes records one by one and forgets them, so a set may be larger than memory. Every file is written
//! under a temporary name in its own folder and renamed when it is whole.
//!
//! ```
//! use groundling_data::scenes::{SceneConfig, Scenes, Split};
//! use groundling_data::write::{Layout, Record, scene_categories, write_dataset};
//!
//! let root = std::env::temp_dir().join(format!("groundling-write-{}", std::process::id()));
//! let scenes = Scenes::new(SceneConfig::default(), Split::Train, 7)?;
//! let records = (0..3).map(|index| Record::from_scene(scenes.scene(index), Split::Train));
//! let summary = write_dataset(&root, &Layout::Jsonl, &scene_categories(), records)?;
//! assert_eq!(summary.images, 3);
//! assert!(root.join("train.jsonl").is_file());
//! # std::fs::remove_dir_all(&root)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod coco;
mod files;
mod instances;
mod jsonl;
pub mod pickle;
mod refer;

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use groundling_core::{BoxXyxy, ImageSize, Pixels, Rle};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::scenes::{Scene, Shape, Split};
use coco::CocoSet;
use files::checked_name;
use jsonl::JsonlSet;
use refer::{Flavour, ReferSet};

/// How a data set lies on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// `<set>/instances.json`, `<set>/refs(<split_by>).p` and `images/train2014/`: the layout of the `refer` tools. Phrases
    /// with no or several targets are left out.
    Refer {
        /// Name of the set, for instance `refcoco`.
        set: String,
        /// Who made the splits, for instance `unc`.
        split_by: String,
    },
    /// `ref-zom/instances.json`, `ref-zom/refs(final).p` and `images/train2014/`.
    RefZom,
    /// `grefcoco/instances.json`, `grefcoco/grefs(unc).json` and `images/train2014/`.
    Grefcoco,
    /// `annotations/instances_<split>.json` and `<split>/*.png`. Phrases are left out.
    Coco,
    /// `<split>.jsonl`, and images where their records say.
    Jsonl,
}

/// An image and all that is written about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Stem of the names of its phrases, for instance `scenes-train-7-000012`.
    pub id: String,
    /// Where the image goes, relative to the root and with `/`, for instance `train/000012.png`. COCO keeps the last part;
    /// the `refer` layouts number their images. An image of the same name as an earlier one replaces it.
    pub file_name: String,
    /// The pixels.
    pub image: Picture,
    /// Their size.
    pub size: ImageSize,
    /// Which split it belongs to, for instance `train`.
    pub split: String,
    /// The objects. Their ids are given by the writer: from 1, in this order, over the whole set.
    pub annotations: Vec<Annotation>,
    /// The phrases.
    pub expressions: Vec<Expression>,
}

/// Pixels, as they are or encoded already.
#[derive(Debug, Clone, PartialEq)]
pub enum Picture {
    /// Pixels in sRGB.
    Rgb(RgbImage),
    /// The bytes of a PNG file; what [`Record::encoded`] makes, so that encoding can run on many threads.
    Png(Vec<u8>),
}

/// An object of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// Which of the categories.
    pub category_id: i64,
    /// Its box, in pixels of the image.
    pub bbox: BoxXyxy<Pixels>,
    /// Its pixels.
    pub mask: Rle,
    /// Number of its pixels.
    pub area: u64,
}

/// A phrase about an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    /// The words.
    pub phrase: String,
    /// Indices into [`Record::annotations`], ascending; empty if nothing fits.
    pub targets: Vec<usize>,
}

/// A kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Category {
    /// Its number in the files.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What it is a kind of.
    pub supercategory: String,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Images.
    pub images: u64,
    /// Objects.
    pub annotations: u64,
    /// Sets of targets with their phrases; 0 in layouts that do not group phrases.
    pub refs: u64,
    /// Phrases.
    pub phrases: u64,
    /// Phrases that the layout has no place for.
    pub left_out: u64,
}

/// Why a data set could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A file or folder could not be written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// An image could not be encoded.
    #[error("{file_name}: cannot encode the image as PNG: {source}")]
    Png {
        /// The image.
        file_name: String,
        /// What the encoder says.
        source: image::ImageError,
    },
    /// A name that would lead out of the data set's folder.
    #[error("{found:?} cannot be the name of a file, expected a relative path without `..`, `\\` and `:`")]
    BadName {
        /// The name.
        found: String,
    },
    /// Image, mask and stated size disagree.
    #[error("{file_name}: {what} is {found} (width x height), expected {expected}")]
    Size {
        /// The image.
        file_name: String,
        /// `image` or `mask`.
        what: &'static str,
        /// Size found.
        found: String,
        /// The size that the record states.
        expected: ImageSize,
    },
    /// A phrase refers to an object that its record does not have.
    #[error("{file_name}: {phrase:?} refers to object {found}, but there are {count}")]
    UnknownTarget {
        /// The image.
        file_name: String,
        /// The phrase.
        phrase: String,
        /// The index.
        found: usize,
        /// Number of objects.
        count: usize,
    },
    /// An object is of a category that the set does not list.
    #[error("{file_name}: an object has category {found}, which is not among the {count} of the set")]
    UnknownCategory {
        /// The image.
        file_name: String,
        /// The category.
        found: i64,
        /// Number of categories.
        count: usize,
    },
}

/// Writes a data set below `root`, which is made if there is none; files of the same names are replaced.
///
/// # Errors
/// [`WriteError`] at the first record that is wrong or cannot be written. Images written before it stay, lists of
/// annotations and phrases do not appear.
pub fn write_dataset(
    root: &Path,
    layout: &Layout,
    categories: &[Category],
    records: impl IntoIterator<Item = Record>,
) -> Result<Summary, WriteError> {
    let mut writer: Box<dyn DatasetWriter> = match layout {
        Layout::Refer { set, split_by } => Box::new(ReferSet::create(root, Flavour::Refer, set, split_by)?),
        Layout::RefZom => Box::new(ReferSet::create(root, Flavour::RefZom, "ref-zom", "final")?),
        Layout::Grefcoco => Box::new(ReferSet::create(root, Flavour::Grefcoco, "grefcoco", "unc")?),
        Layout::Coco => Box::new(CocoSet::create(root)),
        Layout::Jsonl => Box::new(JsonlSet::create(root, categories)),
    };
    for record in records {
        record.check(categories)?;
        writer.add(&record, &record.png()?)?;
    }
    writer.finish(categories)
}

/// The categories of [`crate::scenes`]: one a shape.
pub fn scene_categories() -> Vec<Category> {
    let category = |shape: &Shape| Category {
        id: shape.category_id(),
        name: shape.name().to_owned(),
        supercategory: "shape".to_owned(),
    };
    Shape::ALL.iter().map(category).collect()
}

/// Something that takes the records of one layout. Records are checked before they come.
trait DatasetWriter {
    fn add(&mut self, record: &Record, png: &[u8]) -> Result<(), WriteError>;
    fn finish(self: Box<Self>, categories: &[Category]) -> Result<Summary, WriteError>;
}

impl Record {
    /// A scene as a record: file `<split>/<index, six digits>.png`, category = shape.
    pub fn from_scene(scene: Scene, split: Split) -> Self {
        let annotation = |object: crate::scenes::SceneObject| Annotation {
            category_id: object.shape.category_id(),
            bbox: object.bbox,
            area: object.mask.area(),
            mask: object.mask,
        };
        let expressions = scene.expressions.into_iter();
        Self {
            id: scene.id,
            file_name: format!("{split}/{:06}.png", scene.index),
            image: Picture::Rgb(scene.image),
            size: scene.size,
            split: split.name().to_owned(),
            annotations: scene.objects.into_iter().map(annotation).collect(),
            expressions: expressions.map(|e| Expression { phrase: e.phrase, targets: e.targets }).collect(),
        }
    }

    /// The record with its picture as PNG, the slow part of writing: call it where there are threads to spare.
    ///
    /// # Errors
    /// If image and size disagree, or the image cannot be encoded.
    pub fn encoded(mut self) -> Result<Self, WriteError> {
        let png = self.png()?.into_owned();
        self.image = Picture::Png(png);
        Ok(self)
    }

    fn png(&self) -> Result<Cow<'_, [u8]>, WriteError> {
        let image = match &self.image {
            Picture::Png(bytes) => return Ok(Cow::Borrowed(bytes)),
            Picture::Rgb(image) => image,
        };
        let (width, height) = image.dimensions();
        if (height, width) != (self.size.height(), self.size.width()) {
            return Err(self.wrong_size("image", format!("{width}x{height}")));
        }
        let mut bytes = Vec::new();
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
            .write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8)
            .map_err(|source| WriteError::Png { file_name: self.file_name.clone(), source })?;
        Ok(Cow::Owned(bytes))
    }

    fn check(&self, categories: &[Category]) -> Result<(), WriteError> {
        checked_name(&self.file_name)?;
        checked_name(&self.split)?;
        for annotation in &self.annotations {
            if annotation.mask.size() != self.size {
                return Err(self.wrong_size("mask", annotation.mask.size().to_string()));
            }
            let found = annotation.category_id;
            if categories.iter().all(|category| category.id != found) {
                let (file_name, count) = (self.file_name.clone(), categories.len());
                return Err(WriteError::UnknownCategory { file_name, found, count });
            }
        }
        let count = self.annotations.len();
        for expression in &self.expressions {
            if let Some(&found) = expression.targets.iter().find(|&&index| index >= count) {
                let (file_name, phrase) = (self.file_name.clone(), expression.phrase.clone());
                return Err(WriteError::UnknownTarget { file_name, phrase, found, count });
            }
        }
        Ok(())
    }

    fn wrong_size(&self, what: &'static str, found: String) -> WriteError {
        WriteError::Size { file_name: self.file_name.clone(), what, found, expected: self.size }
    }
}
