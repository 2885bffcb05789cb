//! Pictures with one class each: a folder for every class, ImageNet as it was distributed, or objects cut out of generated scenes.
//!
//! [`ClassExamples`] is one view of them all, [`LabelledImages`] an index of files.
//!
//! | layout | what is there |
//! |---|---|
//! | folders | `ROOT/CLASS/*.jpg`, at any depth below the class |
//! | ImageNet | `ROOT/train/WNID/*.JPEG` (or `ILSVRC2012_img_train`), `ROOT/val/*.JPEG` (or `ILSVRC2012_img_val`) and the development kit `ILSVRC2012_devkit_t12`, or `ROOT/val/WNID/*.JPEG` |
//!
//! Classes are numbered in the order of their folders' names, as every published classifier has them. Files that are no pictures by their
//! name are listed; a picture that cannot be read is an error of its own when it is read, and stops nothing else.

mod crops;
mod examples;
mod mat;

use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::dataset::{DatasetError, read_file};
use crate::image::decode::{ExifOrientation, ImageError, ImageLimits, decode_file};

pub use crops::{CROP_MARGIN, Look, SceneCrops};
pub use examples::{ClassExamples, ClassPicture};
pub use mat::{MatError, MatValue, read_mat};

/// Endings of pictures.
const ENDINGS: [&str; 6] = ["jpg", "jpeg", "png", "webp", "bmp", "jpe"];
/// No list of the development kit is longer.
const MAX_LIST: u64 = 16 << 20;
/// Folders below a class.
const MAX_DEPTH: usize = 8;

/// Pictures of known classes.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledImages {
    /// The classes in order.
    pub classes: Vec<ClassName>,
    /// The pictures, class by class, by name within one; for a development kit in its order.
    pub images: Vec<LabelledImage>,
    /// Files that are no pictures by their name.
    pub ignored: Vec<PathBuf>,
}

/// A class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassName {
    /// The folder's name: `n01440764`, `airplane`.
    pub key: String,
    /// What people call it, where something says so: `tench, Tinca tinca`.
    pub words: Option<String>,
}

/// A picture and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledImage {
    /// The file.
    pub path: PathBuf,
    /// Index of its class.
    pub class: usize,
}

impl LabelledImage {
    /// Reads it.
    ///
    /// # Errors
    /// If it is no picture, damaged or too large.
    pub fn read(&self, limits: ImageLimits) -> Result<RgbImage, ImageError> {
        // Classifiers are trained and scored on pixels as they are stored.
        decode_file(&self.path, limits, ExifOrientation::Ignore)
    }
}

impl LabelledImages {
    /// Opens a folder with a folder for each class.
    ///
    /// # Errors
    /// If it cannot be read, or holds no class with a picture.
    pub fn open_folders(root: &Path) -> Result<Self, DatasetError> {
        let mut names: Vec<(String, PathBuf)> = Vec::new();
        for entry in entries(root)? {
            if entry.is_dir()
                && let Some(name) = entry.file_name().and_then(|name| name.to_str())
                && !name.starts_with('.')
            {
                names.push((name.to_owned(), entry.clone()));
            }
        }
        names.sort();
        let mut this = Self { classes: Vec::new(), images: Vec::new(), ignored: Vec::new() };
        for (class, (name, folder)) in names.into_iter().enumerate() {
            this.classes.push(ClassName { key: name, words: None });
            let mut files = Vec::new();
            collect(&folder, MAX_DEPTH, &mut files)?;
            for path in files {
                match is_picture(&path) {
                    true => this.images.push(LabelledImage { path, class }),
                    false => this.ignored.push(path),
                }
            }
        }
        if this.images.is_empty() {
            let expected = "expected a folder for each class, with pictures in it: ROOT/cat/1.jpg";
            return Err(DatasetError::NothingFound { path: root.to_owned(), expected });
        }
        Ok(this)
    }

    /// Opens a split of ImageNet, `train` or `val`, sorted into folders or with the development kit of 2012.
    ///
    /// # Errors
    /// If the split is another, or something is missing or damaged.
    pub fn open_imagenet(root: &Path, split: &str) -> Result<Self, DatasetError> {
        let known = ["train", "val"];
        if !known.contains(&split) {
            let known = known.map(str::to_owned).to_vec();
            return Err(DatasetError::UnknownSplit { path: root.to_owned(), found: split.to_owned(), known });
        }
        let folder = [split.to_owned(), format!("ILSVRC2012_img_{split}"), format!("Data/CLS-LOC/{split}")];
        let Some(folder) = folder.iter().map(|name| root.join(name)).find(|folder| folder.is_dir()) else {
            let expected = "expected train or val, or ILSVRC2012_img_train or ILSVRC2012_img_val, below it";
            return Err(DatasetError::NothingFound { path: root.to_owned(), expected });
        };
        let kit = Kit::find(root);
        let sorted = entries(&folder)?.iter().any(|entry| entry.is_dir());
        if !sorted {
            let expected =
                "expected a folder for each class, or ILSVRC2012_devkit_t12/data beside it, which says the classes";
            let kit = kit.ok_or_else(|| DatasetError::NothingFound { path: folder.clone(), expected })?;
            return kit.open()?.label(&folder);
        }
        let mut this = Self::open_folders(&folder)?;
        if let Some(kit) = kit {
            let kit = kit.open()?;
            for class in &mut this.classes {
                class.words =
                    kit.classes.iter().find(|known| known.key == class.key).and_then(|known| known.words.clone());
            }
        }
        Ok(this)
    }
}

/// Where the development kit lies.
struct Kit {
    meta: PathBuf,
    truth: PathBuf,
}

/// What it says.
struct OpenKit {
    truth_path: PathBuf,
    classes: Vec<ClassName>,
    /// Index of the class of each validation picture.
    truth: Vec<usize>,
}

impl Kit {
    fn find(root: &Path) -> Option<Self> {
        let folders = ["ILSVRC2012_devkit_t12/data", "devkit/data", "data"];
        let folder = folders.iter().map(|name| root.join(name)).find(|folder| folder.join("meta.mat").is_file())?;
        Some(Self { meta: folder.join("meta.mat"), truth: folder.join("ILSVRC2012_validation_ground_truth.txt") })
    }

    fn open(self) -> Result<OpenKit, DatasetError> {
        let bytes = read_file(&self.meta, MAX_LIST)?;
        let synsets = synsets(&self.meta, &bytes)?;
        let mut classes: Vec<ClassName> = synsets.iter().map(|(_, class)| class.clone()).collect();
        classes.sort();
        let text = read_file(&self.truth, MAX_LIST)?;
        let text = String::from_utf8_lossy(&text);
        let mut truth = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let id = line.trim().parse::<u32>().ok();
            let class = id.and_then(|id| synsets.iter().find(|(known, _)| *known == id));
            let Some((_, class)) = class else {
                return Err(DatasetError::Field {
                    path: self.truth.clone(),
                    place: format!("line {}", index + 1),
                    field: "class".to_owned(),
                    found: line.trim().chars().take(40).collect(),
                    expected: "an ILSVRC2012_ID of a class without children in meta.mat",
                });
            };
            truth.push(classes.binary_search(class).expect("it is one of them"));
        }
        Ok(OpenKit { truth_path: self.truth, classes, truth })
    }
}

impl OpenKit {
    /// Pictures by number: `ILSVRC2012_val_00000001.JPEG` is the first line of the truth.
    fn label(self, folder: &Path) -> Result<LabelledImages, DatasetError> {
        let mut this = LabelledImages { classes: self.classes, images: Vec::new(), ignored: Vec::new() };
        let mut files = entries(folder)?;
        files.sort();
        for path in files {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let number = stem.rsplit_once('_').and_then(|(_, digits)| digits.parse::<usize>().ok());
            let (true, Some(number)) = (is_picture(&path), number) else {
                this.ignored.push(path);
                continue;
            };
            let Some(&class) = number.checked_sub(1).and_then(|index| self.truth.get(index)) else {
                return Err(DatasetError::Field {
                    path,
                    place: "its name".to_owned(),
                    field: "number".to_owned(),
                    found: format!("{number}, while {} has {} lines", self.truth_path.display(), self.truth.len()),
                    expected: "the number of a line of the truth",
                });
            };
            this.images.push(LabelledImage { path, class });
        }
        if this.images.is_empty() {
            let expected = "expected pictures named ILSVRC2012_val_00000001.JPEG";
            return Err(DatasetError::NothingFound { path: folder.to_owned(), expected });
        }
        Ok(this)
    }
}

/// The classes without children of a development kit, by their number.
fn synsets(path: &Path, bytes: &[u8]) -> Result<Vec<(u32, ClassName)>, DatasetError> {
    let field = |place: String, field: &str, found: String, expected| DatasetError::Field {
        path: path.to_owned(),
        place,
        field: field.to_owned(),
        found,
        expected,
    };
    let variables = read_mat(bytes)
        .map_err(|error| field("the file".to_owned(), "contents", error.to_string(), "a MATLAB file of version 5"))?;
    let Some(MatValue::Structs(rows)) = variables.get("synsets") else {
        let found = format!("{:?}", variables.keys().collect::<Vec<_>>());
        return Err(field("the file".to_owned(), "variables", found, "an array of structures called synsets"));
    };
    let mut found = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let place = || format!("synset {}", index + 1);
        let number = |name: &str| match row.get(name) {
            Some(MatValue::Numbers(values)) if values.len() == 1 => Ok(values[0]),
            other => Err(field(place(), name, format!("{other:?}").chars().take(80).collect(), "one number")),
        };
        let text = |name: &str| match row.get(name) {
            Some(MatValue::Text(text)) => Ok(text.clone()),
            other => Err(field(place(), name, format!("{other:?}").chars().take(80).collect(), "a text")),
        };
        if number("num_children")? > 0.0 {
            continue;
        }
        let words = text("words").ok().filter(|words| !words.is_empty());
        found.push((number("ILSVRC2012_ID")? as u32, ClassName { key: text("WNID")?, words }));
    }
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let io = |source| DatasetError::Io { path: folder.to_owned(), source };
    std::fs::read_dir(folder).map_err(io)?.map(|entry| Ok(entry.map_err(io)?.path())).collect()
}

/// Files below a folder in the order of their names.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), DatasetError> {
    let mut found = entries(folder)?;
    found.sort();
    for path in found {
        if !path.is_dir() {
            files.push(path);
        } else if depth > 0 {
            collect(&path, depth - 1, files)?;
        }
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}
