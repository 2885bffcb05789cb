//! One view of every source of pictures with one class each.
//!
//! ```
//! use groundling_data::labelled::ClassExamples;
//! use groundling_data::scenes::SceneConfig;
//!
//! let examples = ClassExamples::open(&"scenes:val:20".parse()?, 7, &SceneConfig::default())?;
//! assert_eq!((examples.len(), examples.classes().len()), (20, 540));
//! let picture = &examples.pictures(0)?[0];
//! assert_eq!(examples.classes()[picture.class].split(' ').count(), 3, "such as: red striped star");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use image::RgbImage;

use super::{LabelledImages, Look, SceneCrops};
use crate::examples::ExampleError;
use crate::image::decode::ImageLimits;
use crate::scenes::{SceneConfig, Scenes};
use crate::{DataSource, DatasetError};

/// A source of pictures with one class each, opened. Pictures are read or made on demand, on any thread.
#[derive(Debug, Clone)]
pub struct ClassExamples {
    classes: Vec<String>,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Files(LabelledImages),
    Crops(SceneCrops),
}

/// A picture and its class.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassPicture {
    /// Its file, or `train/000012-3` for the fourth object of a scene.
    pub name: String,
    /// The pixels, sRGB.
    pub image: RgbImage,
    /// Its class, as an index into [`ClassExamples::classes`].
    pub class: usize,
}

impl ClassExamples {
    /// Opens `folders:`, `imagenet:` or `scenes:`; `seed` and `scenes` are of the generated world, whose phrases are not made.
    ///
    /// # Errors
    /// If files are missing, the scenes asked for are out of bounds, or the source has no classes of whole pictures.
    pub fn open(source: &DataSource, seed: u64, scenes: &SceneConfig) -> Result<Self, ExampleError> {
        let of_files = |images: LabelledImages| {
            let classes = images.classes.iter().map(|class| class.key.clone()).collect();
            Self { classes, kind: Kind::Files(images) }
        };
        match source {
            DataSource::Folders { root } => Ok(of_files(LabelledImages::open_folders(root)?)),
            DataSource::ImageNet { root, split } => Ok(of_files(LabelledImages::open_imagenet(root, split)?)),
            DataSource::Scenes { split, count } => {
                let config = SceneConfig { min_expressions: 0, max_expressions: 0, ..scenes.clone() };
                let scenes = Scenes::new(config, *split, seed)?;
                // More scenes than can be counted are more than can be asked for.
                let crops = SceneCrops::new(scenes, usize::try_from(*count).unwrap_or(usize::MAX));
                Ok(Self { classes: Look::all().map(Look::name).collect(), kind: Kind::Crops(crops) })
            }
            other => Err(ExampleError::Dataset(DatasetError::Source {
                found: format!("{other:?}"),
                message: "has no classes of whole pictures; expected folders:FOLDER, imagenet:ROOT:SPLIT or \
                          scenes:SPLIT[:COUNT]"
                    .to_owned(),
            })),
        }
    }

    /// How many pictures, or scenes, there are.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Files(files) => files.images.len(),
            Kind::Crops(crops) => crops.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether they are made and not read, several of a scene.
    pub fn is_generated(&self) -> bool {
        matches!(self.kind, Kind::Crops(_))
    }

    /// Names of the classes: of folders, of ImageNet's synsets (`n01440764`), of [`Look`]s.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Reads the picture of this index, or makes those of a scene, which come at the cost of one.
    ///
    /// # Errors
    /// If the file is missing, damaged or over a limit, or there is no such picture.
    pub fn pictures(&self, index: usize) -> Result<Vec<ClassPicture>, ExampleError> {
        let count = self.len();
        if index >= count {
            return Err(ExampleError::NoPicture { index, count });
        }
        match &self.kind {
            Kind::Crops(crops) => Ok(crops.pictures(index)),
            Kind::Files(files) => {
                let file = &files.images[index];
                let image = file.read(ImageLimits::default()).map_err(DatasetError::from)?;
                Ok(vec![ClassPicture { name: file.path.display().to_string(), image, class: file.class }])
            }
        }
    }
}
