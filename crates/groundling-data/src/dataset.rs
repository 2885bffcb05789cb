//! A data set of any layout: images, annotations, expressions, and the truth of an expression on demand.
//!
//! Every reader of [`crate::readers`] ends here, so that training, evaluation and the linter see one shape of data.
//! Shapes stay in the form the file has them (polygons or run lengths) and become masks only when asked for: drawing all of COCO's
//! would take minutes and gigabytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use groundling_core::{
    BoxXywh, BoxXyxy, GroundTruth, ImageSize, PhraseError, Pixels, PolygonError, Rle, RleError, TargetCount, TrueTarget,
};

use crate::image::decode::{ImageError, ImageLimits, size_of_file};
use crate::pickle::PickleError;

/// Images, annotations and expressions.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// What it is, for people: `refcoco (unc)`.
    pub name: String,
    /// The images, in the order of the file.
    pub images: Vec<ImageRecord>,
    /// Names of the categories by id.
    pub categories: BTreeMap<i64, String>,
    /// Everything that is drawn around in an image.
    pub annotations: Vec<Annotation>,
    /// The expressions. Empty for plain detection data.
    pub samples: Vec<Sample>,
    /// Expressions of published data that are blank or too long to be one: where, and what is wrong. They are left out
    /// rather than make the rest unreadable; the linter lists them. In people's own lines they are errors.
    pub skipped: Vec<String>,
    /// Folders to look for images in, the likeliest first.
    pub image_folders: Vec<PathBuf>,
}

/// One image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRecord {
    /// Id in the data set.
    pub id: i64,
    /// Name of the file below one of the image folders.
    pub file_name: String,
    /// Size the data set states.
    pub size: Option<ImageSize>,
}

/// One object of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Annotation {
    /// Id in the data set.
    pub id: i64,
    /// Index into [`Dataset::images`].
    pub image: usize,
    /// Category id, where the data set has categories.
    pub category_id: Option<i64>,
    /// The box the data set states.
    pub bbox: BoxXywh<Pixels>,
    /// The area the data set states, in pixels.
    pub area: Option<f64>,
    /// Whether it stands for a crowd.
    pub is_crowd: bool,
    /// Its outline.
    pub shape: Shape,
}

/// An outline as the file has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// The data set has boxes only.
    None,
    /// Polygons as `x, y, x, y, ...`, to be united.
    Polygons(Vec<Vec<f64>>),
    /// Run-length codes, to be united.
    Codes(Vec<Rle>),
}

/// One expression about one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Unique in the data set; joins predictions with truths.
    pub id: String,
    /// Index into [`Dataset::images`].
    pub image: usize,
    /// The expression as it was said (`raw` in refer files).
    pub phrase: String,
    /// The expression as the authors of the data set cleaned it (`sent`), where they did.
    pub cleaned: Option<String>,
    /// The split of the file.
    pub split: String,
    /// Indices into [`Dataset::annotations`]; empty if nothing in the image fits.
    pub targets: Vec<usize>,
    /// Groups expressions of the same target (`ref_id`).
    pub group: i64,
    /// Number of the sentence (`sent_id`).
    pub sentence_id: Option<i64>,
    /// What the data set itself calls the kind of expression (Ref-ZOM's `source`).
    pub source: Option<String>,
}

/// How several polygons of one annotation, or several annotations of one expression, become one mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MaskRule {
    /// Any pixel inside any of them (DMMI, gRefCOCO).
    #[default]
    Union,
    /// PARITY: the original `refer` API adds the masks of the polygons and its users (LAVT, ...) keep pixels that are exactly
    /// 1, so that pixels inside two polygons of one object fall out.
    ExactlyOne,
}

/// What is wrong with a data set, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatasetError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder stands where a file should be.
    #[error("{path}: is a folder, expected a file")]
    IsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A file is too large.
    #[error("{path}: the file is {found} bytes long, expected at most {limit}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// JSON, or the fields in it, are not as expected.
    #[error("{path}:{line}:{column}: {message}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A pickle is damaged or holds code.
    #[error("{path}: {source}")]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PickleError,
    },
    /// XML is not as expected.
    #[error("{path}:{line}: {message}")]
    Xml {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u32,
        /// What is wrong.
        message: String,
    },
    /// A value is missing or of the wrong kind.
    #[error("{path}: {place}: {field} is {found}, expected {expected}")]
    Field {
        /// The file.
        path: PathBuf,
        /// Where in it: `ref 17`, `line 4`, `annotation 500`.
        place: String,
        /// The field.
        field: String,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// An id refers to nothing.
    #[error("{path}: {place}: there is no {kind} with id {id}")]
    UnknownId {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// `image`, `annotation` or `category`.
        kind: &'static str,
        /// The id.
        id: i64,
    },
    /// An id stands twice.
    #[error("{path}: {kind} id {id} stands twice")]
    DuplicateId {
        /// The file.
        path: PathBuf,
        /// `image`, `annotation` or `sample`.
        kind: &'static str,
        /// The id.
        id: String,
    },
    /// A box is NaN, infinite, or has a negative side.
    #[error(
        "{path}: {place}: box {found:?} is none when read as [{format}]; expected finite numbers, no negative side"
    )]
    BadBox {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// The numbers.
        found: [f64; 4],
        /// What they mean in this layout.
        format: &'static str,
    },
    /// A run-length code is damaged.
    #[error("{path}: {place}: {source}")]
    BadCode {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong.
        source: RleError,
    },
    /// A polygon is damaged.
    #[error("{place}: {source}")]
    BadPolygon {
        /// Which annotation.
        place: String,
        /// What is wrong.
        source: PolygonError,
    },
    /// An expression is empty or too long.
    #[error("{path}: {place}: {source}")]
    BadPhrase {
        /// The file.
        path: PathBuf,
        /// Where in it.
        place: String,
        /// What is wrong.
        source: PhraseError,
    },
    /// The split asked for does not exist.
    #[error("{path}: there is no split {found:?}; this file has {known:?}")]
    UnknownSplit {
        /// The file.
        path: PathBuf,
        /// The split asked for.
        found: String,
        /// The splits of the file.
        known: Vec<String>,
    },
    /// An image file is missing.
    #[error("image {file_name:?} is in none of the folders {tried:?}")]
    MissingImage {
        /// Name of the file.
        file_name: String,
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// An image file is damaged.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The name of a data source cannot be read.
    #[error("data source {found:?}: {message}")]
    Source {
        /// The name given.
        found: String,
        /// What is wrong with it.
        message: String,
    },
    /// A folder holds no data set of a layout we know.
    #[error("{path}: no data set found here; {expected}")]
    NothingFound {
        /// The folder.
        path: PathBuf,
        /// What would be one.
        expected: &'static str,
    },
}

impl Shape {
    /// The shape as one mask of an image of this size; `None` if there is no shape.
    ///
    /// Polygons of fewer than three points are left out, as the specification of DMMI, Sec. 15.3, has it.
    ///
    /// # Errors
    /// If a polygon holds absurd numbers.
    pub fn mask(&self, size: ImageSize, rule: MaskRule) -> Result<Option<Rle>, PolygonError> {
        Ok(self.parts(size)?.map(|parts| combined(size, &parts, rule)))
    }

    /// The parts of the shape, each drawn; `None` if there is no shape.
    fn parts(&self, size: ImageSize) -> Result<Option<Vec<Rle>>, PolygonError> {
        match self {
            Shape::None => Ok(None),
            Shape::Polygons(polygons) => {
                let drawable = polygons.iter().filter(|polygon| is_drawable(polygon));
                drawable.map(|polygon| Rle::from_polygon(size, polygon)).collect::<Result<_, _>>().map(Some)
            }
            Shape::Codes(codes) => Ok(Some(codes.clone())),
        }
    }

    /// The box around the shape, without drawing it: around the corners of its polygons, or the pixels of its codes.
    pub fn bounds(&self) -> Option<BoxXyxy<Pixels>> {
        let around = |polygon: &Vec<f64>| {
            polygon.chunks_exact(2).map(|xy| BoxXyxy::new(xy[0], xy[1], xy[0], xy[1])).reduce(BoxXyxy::enclosing)
        };
        match self {
            Shape::None => None,
            Shape::Polygons(polygons) => {
                polygons.iter().filter(|polygon| is_drawable(polygon)).filter_map(around).reduce(BoxXyxy::enclosing)
            }
            Shape::Codes(codes) => codes.iter().filter_map(Rle::bbox).reduce(BoxXyxy::enclosing),
        }
    }
}

/// Whether a polygon has at least three points, and every one both coordinates.
pub(crate) fn is_drawable(polygon: &[f64]) -> bool {
    polygon.len() >= 6 && polygon.len().is_multiple_of(2)
}

/// Parts of one size as one mask.
fn combined(size: ImageSize, parts: &[Rle], rule: MaskRule) -> Rle {
    let drawn = match rule {
        MaskRule::Union => Rle::layered(size, parts, |covering| covering > 0),
        MaskRule::ExactlyOne => Rle::layered(size, parts, |covering| covering == 1),
    };
    // Codes of another size than the image's are refused by the readers.
    drawn.unwrap_or_else(|_| Rle::empty(size))
}

impl Dataset {
    /// Path of an image, in the first of the folders that has it.
    ///
    /// # Errors
    /// [`DatasetError::MissingImage`] with every folder tried.
    pub fn image_path(&self, image: usize) -> Result<PathBuf, DatasetError> {
        let file_name = &self.images[image].file_name;
        let found = self.image_folders.iter().map(|folder| folder.join(file_name)).find(|path| path.is_file());
        found.ok_or_else(|| DatasetError::MissingImage {
            file_name: file_name.clone(),
            tried: self.image_folders.clone(),
        })
    }

    /// Size of an image: as stated, else from the header of its file.
    ///
    /// # Errors
    /// If neither is to be had.
    pub fn image_size(&self, image: usize) -> Result<ImageSize, DatasetError> {
        match self.images[image].size {
            Some(size) => Ok(size),
            None => Ok(size_of_file(&self.image_path(image)?, ImageLimits::default())?),
        }
    }

    /// The mask of one annotation; `None` if the data set has boxes only.
    ///
    /// # Errors
    /// If the outline is damaged or the size of the image unknown.
    pub fn annotation_mask(&self, annotation: usize, rule: MaskRule) -> Result<Option<Rle>, DatasetError> {
        let annotation = &self.annotations[annotation];
        if annotation.shape == Shape::None {
            return Ok(None);
        }
        let size = self.image_size(annotation.image)?;
        annotation.shape.mask(size, rule).map_err(|source| bad_polygon(annotation, source))
    }

    fn annotation_parts(&self, annotation: usize, size: ImageSize) -> Result<Vec<Rle>, DatasetError> {
        let annotation = &self.annotations[annotation];
        let parts = annotation.shape.parts(size).map_err(|source| bad_polygon(annotation, source))?;
        Ok(parts.unwrap_or_default())
    }

    /// What an expression refers to. Masks are drawn here, so this is the slow part.
    ///
    /// # Errors
    /// If an outline is damaged or the size of the image unknown.
    pub fn truth(&self, sample: &Sample, rule: MaskRule) -> Result<GroundTruth, DatasetError> {
        let target = |&index: &usize| {
            let annotation = &self.annotations[index];
            Ok(TrueTarget {
                bbox: annotation.bbox.to_xyxy(),
                mask: self.annotation_mask(index, rule)?,
                category_id: annotation.category_id,
            })
        };
        let targets = sample.targets.iter().map(target).collect::<Result<Vec<_>, DatasetError>>()?;
        let merged_mask = match (rule, targets.len()) {
            // The original API adds up the polygons of all annotations at once.
            (MaskRule::ExactlyOne, 2..) if targets.iter().all(|target| target.mask.is_some()) => {
                let size = self.image_size(sample.image)?;
                let parts = sample.targets.iter().map(|&index| self.annotation_parts(index, size));
                let parts = parts.collect::<Result<Vec<_>, _>>()?.concat();
                Some(combined(size, &parts, rule))
            }
            _ => None,
        };
        Ok(GroundTruth { targets, merged_mask })
    }

    /// The boxes an expression refers to, without drawing masks.
    pub fn truth_boxes(&self, sample: &Sample) -> GroundTruth {
        let target = |&index: &usize| TrueTarget {
            bbox: self.annotations[index].bbox.to_xyxy(),
            mask: None,
            category_id: self.annotations[index].category_id,
        };
        GroundTruth { targets: sample.targets.iter().map(target).collect(), merged_mask: None }
    }

    /// Zero, one or many, by the number of targets.
    pub fn target_count(&self, sample: &Sample) -> TargetCount {
        match sample.targets.len() {
            0 => TargetCount::Zero,
            1 => TargetCount::One,
            _ => TargetCount::Many,
        }
    }

    /// The splits of the samples with their numbers of samples.
    pub fn splits(&self) -> BTreeMap<String, usize> {
        let mut splits = BTreeMap::new();
        for sample in &self.samples {
            *splits.entry(sample.split.clone()).or_insert(0) += 1;
        }
        splits
    }

    /// Only the samples a rule accepts.
    pub fn keep_samples(&mut self, keep: impl Fn(&Sample) -> bool) {
        self.samples.retain(keep);
    }

    /// Only images that a sample is about, with their annotations.
    pub fn drop_unused_images(&mut self) {
        let mut used = vec![false; self.images.len()];
        self.samples.iter().for_each(|sample| used[sample.image] = true);
        let mut index = 0..;
        let mut new_image = vec![usize::MAX; self.images.len()];
        for (old, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            new_image[old] = index.next().unwrap_or(usize::MAX);
        }
        let mut new_annotation = vec![usize::MAX; self.annotations.len()];
        let mut kept = 0;
        for (old, annotation) in self.annotations.iter_mut().enumerate() {
            if used[annotation.image] {
                new_annotation[old] = kept;
                kept += 1;
            }
        }
        let mut flags = used.iter();
        self.images.retain(|_| flags.next() == Some(&true));
        self.annotations.retain(|annotation| used[annotation.image]);
        self.annotations.iter_mut().for_each(|annotation| annotation.image = new_image[annotation.image]);
        for sample in &mut self.samples {
            sample.image = new_image[sample.image];
            sample.targets.iter_mut().for_each(|target| *target = new_annotation[*target]);
        }
    }
}

fn bad_polygon(annotation: &Annotation, source: PolygonError) -> DatasetError {
    DatasetError::BadPolygon { place: format!("annotation {}", annotation.id), source }
}

/// A size that a data set states. One that no image we decode can have is refused: a few bytes of text must not make a
/// mask of gigabytes.
pub(crate) fn stated_size(
    height: u32,
    width: u32,
    path: &Path,
    place: &str,
    field: &str,
) -> Result<ImageSize, DatasetError> {
    let limits = ImageLimits::default();
    let fits = |size: &ImageSize| {
        size.height() <= limits.max_height && size.width() <= limits.max_width && size.pixels() <= limits.max_pixels
    };
    ImageSize::new(height, width).ok().filter(fits).ok_or_else(|| DatasetError::Field {
        path: path.to_owned(),
        place: place.to_owned(),
        field: field.to_owned(),
        found: format!("[{height}, {width}]"),
        expected: "1 to 16384 pixels a side and at most 100 million in all",
    })
}

/// Whether the name of a file leads to a place below the image folders, never above or beside them.
pub(crate) fn stays_below(file_name: &str) -> bool {
    let normal = |part| matches!(part, std::path::Component::Normal(_));
    !file_name.is_empty() && Path::new(file_name).components().all(normal)
}

/// Reads a file up to a limit; a folder or a larger file is an error.
pub(crate) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, DatasetError> {
    let io = |source| DatasetError::Io { path: path.to_owned(), source };
    let meta = std::fs::metadata(path).map_err(io)?;
    if meta.is_dir() {
        return Err(DatasetError::IsFolder { path: path.to_owned() });
    }
    if meta.len() > limit {
        return Err(DatasetError::TooLarge { path: path.to_owned(), found: meta.len(), limit });
    }
    std::fs::read(path).map_err(io)
}

/// Reads JSON of a known form.
pub(crate) fn parse_json<T: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, DatasetError> {
    serde_json::from_slice(bytes).map_err(|error| DatasetError::Json {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        message: json_message(&error),
    })
}

/// What serde_json says, without the place: errors name it themselves, and a line of a file is not line 1.
pub(crate) fn json_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).map(str::to_owned).unwrap_or(message)
}

/// 4 GiB: the largest public annotation file, instances_train2017.json, has 0.45.
pub(crate) const MAX_ANNOTATION_BYTES: u64 = 4 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of 10 x 10 with the given annotations, all meant by one phrase.
    fn dataset(shapes: Vec<Vec<Vec<f64>>>) -> Dataset {
        let size = ImageSize::new(10, 10).ok();
        let annotation = |(index, polygons): (usize, Vec<Vec<f64>>)| Annotation {
            id: index as i64,
            image: 0,
            category_id: None,
            bbox: BoxXywh::new(0.0, 0.0, 10.0, 10.0),
            area: None,
            is_crowd: false,
            shape: Shape::Polygons(polygons),
        };
        let targets = (0..shapes.len()).collect();
        let sample = Sample {
            id: "1".into(),
            image: 0,
            phrase: "cups".into(),
            cleaned: None,
            split: "all".into(),
            targets,
            group: 1,
            sentence_id: None,
            source: None,
        };
        Dataset {
            images: vec![ImageRecord { id: 1, file_name: "a.jpg".into(), size }],
            annotations: shapes.into_iter().enumerate().map(annotation).collect(),
            samples: vec![sample],
            ..Dataset::default()
        }
    }

    fn square(x: f64, y: f64, side: f64) -> Vec<f64> {
        vec![x, y, x + side, y, x + side, y + side, x, y + side]
    }

    #[test]
    fn rules_count_the_polygons_of_all_annotations() {
        // One object of two polygons that share 4 pixels; the other covers those 4 once more.
        let dataset = dataset(vec![vec![square(0.0, 0.0, 4.0), square(2.0, 2.0, 4.0)], vec![square(2.0, 2.0, 2.0)]]);
        let area = |rule| dataset.truth(&dataset.samples[0], rule).unwrap().union_mask().unwrap().area();
        assert_eq!(area(MaskRule::Union), 28);
        assert_eq!(area(MaskRule::ExactlyOne), 24, "pixels inside three polygons are in none");
    }

    #[test]
    fn bounds_leave_out_what_is_not_drawn() {
        let shape = Shape::Polygons(vec![square(1.0, 2.0, 3.0), vec![90.0, 90.0, 95.0, 95.0]]);
        assert_eq!(shape.bounds().unwrap().to_array(), [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(Shape::None.bounds(), None);
    }
}
