//! Names of data sources that every command understands.
//!
//! | name | what |
//! |---|---|
//! | `scenes:SPLIT[:COUNT]` | the generated world, `train`, `val` or `test`, 1000 scenes unless said |
//! | `refer:FOLDER:SPLIT_BY:SPLIT` | `refer:data/refcoco:unc:val` |
//! | `refzom:ROOT:SPLIT` | Ref-ZOM, in `ROOT/ref-zom` or `ROOT` itself |
//! | `grefcoco:ROOT:SPLIT` | gRefCOCO, in `ROOT/grefcoco` or `ROOT` itself |
//! | `coco:IMAGES:ANNOTATIONS` | a folder of images and an `instances_*.json` |
//! | `jsonl:FILE` | our own lines |
//! | `flickr:ROOT:IMAGES:SPLIT` | a checkout of Flickr30k Entities and its images |
//! | `resc:FILE:IMAGES` | a split list of ReSC or TransVG (`unc_testB.pth`) and its images |
//! | `folders:FOLDER` | pictures with one class each, a folder for every class |
//! | `imagenet:ROOT:SPLIT` | ImageNet, `train` or `val`, as it was distributed |
//!
//! The last two have classes of whole pictures and no boxes: open them with [`crate::labelled::ClassExamples`], which also takes `scenes:`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::dataset::{Dataset, DatasetError};
use crate::readers::refer::{Flavour, ReferFiles, select_split};
use crate::readers::resc::ListBox;
use crate::readers::{coco, flickr, jsonl, resc};
use crate::scenes::Split;

/// Where samples come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// The generated world.
    Scenes {
        /// Which part of it.
        split: Split,
        /// How many scenes.
        count: u64,
    },
    /// Expressions in the `refer` layout, Ref-ZOM or gRefCOCO.
    Refer {
        /// Folder with `instances.json`.
        folder: PathBuf,
        /// What stands in the brackets of `refs(..)`.
        split_by: String,
        /// Which split.
        split: String,
        /// Which flavour.
        flavour: Flavour,
    },
    /// Detection data.
    Coco {
        /// Folder with images.
        images: PathBuf,
        /// `instances_*.json`.
        annotations: PathBuf,
    },
    /// Our own lines.
    Jsonl {
        /// The file.
        file: PathBuf,
    },
    /// Flickr30k Entities.
    Flickr {
        /// Its checkout.
        root: PathBuf,
        /// Folder with images.
        images: PathBuf,
        /// Which split.
        split: String,
    },
    /// A split list of ReSC or TransVG.
    Resc {
        /// The `.pth` file.
        file: PathBuf,
        /// Folder with images.
        images: PathBuf,
    },
    /// Pictures with one class each, a folder for every class.
    Folders {
        /// The folder with those of the classes.
        root: PathBuf,
    },
    /// ImageNet.
    ImageNet {
        /// Where it lies.
        root: PathBuf,
        /// `train` or `val`.
        split: String,
    },
}

const FORMS: &str = "expected scenes:SPLIT[:COUNT], refer:FOLDER:SPLIT_BY:SPLIT, refzom:ROOT:SPLIT, \
     grefcoco:ROOT:SPLIT, coco:IMAGES:ANNOTATIONS, jsonl:FILE, flickr:ROOT:IMAGES:SPLIT, resc:FILE:IMAGES, folders:FOLDER or imagenet:ROOT:SPLIT";

/// Seed of the scenes of a source; commands may choose another.
pub const SCENES_SEED: u64 = 7;
/// Scenes of a source that states no count.
pub const DEFAULT_SCENES: u64 = 1000;

impl FromStr for DataSource {
    type Err = DatasetError;

    fn from_str(name: &str) -> Result<Self, DatasetError> {
        let bad = |message: String| DatasetError::Source { found: name.to_owned(), message };
        let fields = fields(name);
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        if let Some(position) = fields.iter().skip(1).position(|field| field.is_empty()) {
            return Err(bad(format!("part {} is empty; {FORMS}", position + 2)));
        }
        let refer = |folder: PathBuf, split_by: &str, split: &str, flavour| Self::Refer {
            folder,
            split_by: split_by.to_owned(),
            split: split.to_owned(),
            flavour,
        };
        Ok(match fields.as_slice() {
            ["scenes", split] => Self::Scenes { split: scene_split(split).map_err(bad)?, count: DEFAULT_SCENES },
            ["scenes", split, count] => {
                let number = count.parse().ok().filter(|&count: &u64| count > 0);
                let count = number.ok_or_else(|| bad(format!("count is {count:?}, expected a number above 0")))?;
                Self::Scenes { split: scene_split(split).map_err(bad)?, count }
            }
            ["refer", folder, split_by, split] => refer(folder.into(), split_by, split, Flavour::Refer),
            ["refzom", root, split] => refer(inside(root, "ref-zom"), "final", split, Flavour::RefZom),
            ["grefcoco", root, split] => refer(inside(root, "grefcoco"), "unc", split, Flavour::GRefCoco),
            ["coco", images, annotations] => Self::Coco { images: images.into(), annotations: annotations.into() },
            ["jsonl", file] => Self::Jsonl { file: file.into() },
            ["flickr", root, images, split] => {
                Self::Flickr { root: root.into(), images: images.into(), split: (*split).to_owned() }
            }
            ["resc", file, images] => Self::Resc { file: file.into(), images: images.into() },
            ["folders", root] => Self::Folders { root: root.into() },
            ["imagenet", root, split] => Self::ImageNet { root: root.into(), split: (*split).to_owned() },
            [kind, ..] if KINDS.contains(kind) => {
                return Err(bad(format!("{} parts do not fit {kind:?}; {FORMS}", fields.len())));
            }
            [kind, ..] => return Err(bad(format!("there is no kind {kind:?}; {FORMS}"))),
            [] => return Err(bad(FORMS.to_owned())),
        })
    }
}

const KINDS: [&str; 10] =
    ["scenes", "refer", "refzom", "grefcoco", "coco", "jsonl", "flickr", "resc", "folders", "imagenet"];

/// Parts between colons. The colon of a drive letter (`C:\data`) divides nothing.
fn fields(name: &str) -> Vec<String> {
    let mut fields: Vec<String> = Vec::new();
    let mut after_drive = false;
    for part in name.split(':') {
        match fields.last_mut() {
            Some(drive) if after_drive && part.starts_with(['\\', '/']) => {
                drive.push(':');
                drive.push_str(part);
                after_drive = false;
            }
            _ => {
                after_drive = !fields.is_empty() && part.len() == 1 && part.as_bytes()[0].is_ascii_alphabetic();
                fields.push(part.to_owned());
            }
        }
    }
    fields
}

fn scene_split(name: &str) -> Result<Split, String> {
    match name {
        "train" => Ok(Split::Train),
        "val" => Ok(Split::Val),
        "test" => Ok(Split::Test),
        _ => Err(format!("there is no split {name:?} of scenes, expected train, val or test")),
    }
}

/// The usual sub-folder if it exists, else the folder itself.
fn inside(root: &str, set: &str) -> PathBuf {
    let folder = Path::new(root).join(set);
    if folder.is_dir() { folder } else { root.into() }
}

impl DataSource {
    /// Reads a source of files. Scenes are not files: make them with [`crate::scenes::Scenes`].
    ///
    /// # Errors
    /// [`DatasetError`] naming file and place; for [`DataSource::Scenes`] that it has no files, for sources of classes that they have no
    /// boxes.
    pub fn read(&self) -> Result<Dataset, DatasetError> {
        match self {
            Self::Scenes { .. } => Err(DatasetError::Source {
                found: "scenes".to_owned(),
                message: "is generated, not read from files".to_owned(),
            }),
            Self::Refer { folder, split_by, split, flavour } => {
                let files = ReferFiles::find(folder, split_by, *flavour)?;
                let mut dataset = files.read()?;
                select_split(&mut dataset, split, &files)?;
                dataset.drop_unused_images();
                dataset.name = format!("{} {split}", dataset.name);
                Ok(dataset)
            }
            Self::Coco { images, annotations } => coco::read(annotations, vec![images.clone()]),
            Self::Jsonl { file } => jsonl::read(file),
            Self::Flickr { root, images, split } => flickr::read(root, split, vec![images.clone()]),
            Self::Resc { file, images } => resc::read(file, ListBox::of_file(file), vec![images.clone()]),
            Self::Folders { root } | Self::ImageNet { root, .. } => Err(DatasetError::Source {
                found: root.display().to_string(),
                message: "has a class for each picture, and neither boxes nor phrases: it is for classifiers"
                    .to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let parse = |name: &str| name.parse::<DataSource>().unwrap();
        assert_eq!(parse("scenes:val:20"), DataSource::Scenes { split: Split::Val, count: 20 });
        assert_eq!(parse("scenes:test"), DataSource::Scenes { split: Split::Test, count: DEFAULT_SCENES });
        assert_eq!(parse("jsonl:C:\\my\\data.jsonl"), DataSource::Jsonl { file: "C:\\my\\data.jsonl".into() });
        let refer = DataSource::Refer {
            folder: "data/refcoco+".into(),
            split_by: "unc".into(),
            split: "testA".into(),
            flavour: Flavour::Refer,
        };
        assert_eq!(parse("refer:data/refcoco+:unc:testA"), refer);
        let coco = DataSource::Coco { images: "D:/i".into(), annotations: "D:/a.json".into() };
        assert_eq!(parse("coco:D:/i:D:/a.json"), coco);
        assert_eq!(parse("folders:data/cifar"), DataSource::Folders { root: "data/cifar".into() });
        let imagenet = DataSource::ImageNet { root: "D:\\imagenet".into(), split: "val".into() };
        assert_eq!(parse("imagenet:D:\\imagenet:val"), imagenet);
    }

    #[test]
    fn broken_names_say_what_is_expected() {
        for (name, message) in [
            ("", "there is no kind \"\""),
            ("refcoco:val", "there is no kind \"refcoco\""),
            ("refer:data:val", "3 parts do not fit \"refer\""),
            ("scenes:dev", "there is no split \"dev\" of scenes"),
            ("scenes:val:0", "count is \"0\""),
            ("jsonl:", "part 2 is empty"),
            ("imagenet:data", "2 parts do not fit \"imagenet\""),
        ] {
            let error = name.parse::<DataSource>().unwrap_err().to_string();
            assert!(error.contains(message), "{name}: {error}");
        }
    }
}
