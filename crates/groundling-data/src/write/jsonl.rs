//! Our own layout: `<split>.jsonl`, one phrase a line, with boxes and masks.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::files::{WholeFile, checked_name, write_whole};
use super::instances::rle_object;
use super::{Annotation, Category, DatasetWriter, Record, Summary, WriteError};

/// A JSONL set in the making.
#[derive(Debug)]
pub(super) struct JsonlSet {
    root: PathBuf,
    names: BTreeMap<i64, String>,
    splits: BTreeMap<String, WholeFile>,
    summary: Summary,
}

impl JsonlSet {
    pub(super) fn create(root: &Path, categories: &[Category]) -> Self {
        let names = categories.iter().map(|category| (category.id, category.name.clone())).collect();
        Self { root: root.to_owned(), names, splits: BTreeMap::new(), summary: Summary::default() }
    }

    fn target(&self, annotation: &Annotation) -> Value {
        json!({
            "bbox": annotation.bbox.to_array(),
            "mask": rle_object(&annotation.mask),
            "category": self.names.get(&annotation.category_id),
        })
    }
}

impl DatasetWriter for JsonlSet {
    fn add(&mut self, record: &Record, png: &[u8]) -> Result<(), WriteError> {
        let split = checked_name(&record.split)?;
        if !self.splits.contains_key(split) {
            let file = WholeFile::create(&self.root.join(format!("{split}.jsonl")))?;
            self.splits.insert(split.to_owned(), file);
        }
        write_whole(&self.root.join(&record.file_name), png)?;
        self.summary.images += 1;
        self.summary.annotations += record.annotations.len() as u64;
        for (position, expression) in record.expressions.iter().enumerate() {
            let targets = expression.targets.iter().map(|&index| self.target(&record.annotations[index]));
            let line = json!({
                "id": format!("{}-{position}", record.id),
                "image": record.file_name,
                "width": record.size.width(),
                "height": record.size.height(),
                "split": record.split,
                "phrase": expression.phrase,
                "targets": targets.collect::<Vec<_>>(),
            });
            let file = self.splits.get_mut(split).expect("inserted above");
            file.json(&line)?;
            file.with(|sink| sink.write_all(b"\n"))?;
            self.summary.phrases += 1;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _categories: &[Category]) -> Result<Summary, WriteError> {
        self.splits.into_values().try_for_each(WholeFile::finish)?;
        Ok(self.summary)
    }
}
