//! The layout of COCO detection sets: `annotations/instances_<split>.json` and a folder of images a split.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::files::{checked_name, write_whole};
use super::instances::Instances;
use super::{Category, DatasetWriter, Record, Summary, WriteError};

/// A COCO set in the making. Image and annotation ids count from 1 over all splits.
#[derive(Debug)]
pub(super) struct CocoSet {
    root: PathBuf,
    splits: BTreeMap<String, Instances>,
    summary: Summary,
}

impl CocoSet {
    pub(super) fn create(root: &Path) -> Self {
        Self { root: root.to_owned(), splits: BTreeMap::new(), summary: Summary::default() }
    }
}

impl DatasetWriter for CocoSet {
    fn add(&mut self, record: &Record, png: &[u8]) -> Result<(), WriteError> {
        let split = checked_name(&record.split)?;
        if !self.splits.contains_key(split) {
            let path = self.root.join("annotations").join(format!("instances_{split}.json"));
            self.splits.insert(split.to_owned(), Instances::create(&path)?);
        }
        let instances = self.splits.get_mut(split).expect("inserted above");
        let name = record.file_name.rsplit('/').next().unwrap_or(&record.file_name);
        write_whole(&self.root.join(split).join(name), png)?;
        self.summary.images += 1;
        let image_id = self.summary.images;
        instances.add_image(image_id, name.to_owned(), record.size);
        for annotation in &record.annotations {
            self.summary.annotations += 1;
            instances.add_annotation(self.summary.annotations, image_id, annotation)?;
        }
        self.summary.left_out += record.expressions.len() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>, categories: &[Category]) -> Result<Summary, WriteError> {
        self.splits.into_values().try_for_each(|instances| instances.finish(categories))?;
        Ok(self.summary)
    }
}
