//! `instances.json`: images, annotations and categories as COCO writes them.

use std::io::Write;
use std::path::Path;

use groundling_core::ImageSize;
use serde_json::{Value, json};

use super::files::WholeFile;
use super::{Annotation, Category, WriteError};

/// An `instances.json` in the making. Annotations go to the file at once; of images only names and sizes are kept.
#[derive(Debug)]
pub(crate) struct Instances {
    file: WholeFile,
    images: Vec<(u64, String, ImageSize)>,
    annotations: u64,
}

impl Instances {
    pub(crate) fn create(path: &Path) -> Result<Self, WriteError> {
        let mut file = WholeFile::create(path)?;
        file.with(|sink| {
            sink.write_all(br#"{"info":{"description":"Groundling Scenes"},"licenses":[],"annotations":["#)
        })?;
        Ok(Self { file, images: Vec::new(), annotations: 0 })
    }

    pub(crate) fn add_image(&mut self, id: u64, file_name: String, size: ImageSize) {
        self.images.push((id, file_name, size));
    }

    pub(crate) fn add_annotation(&mut self, id: u64, image_id: u64, annotation: &Annotation) -> Result<(), WriteError> {
        let separator: &[u8] = if self.annotations == 0 { b"\n" } else { b",\n" };
        self.annotations += 1;
        self.file.with(|sink| sink.write_all(separator))?;
        self.file.json(&json!({
            "id": id,
            "image_id": image_id,
            "category_id": annotation.category_id,
            "bbox": annotation.bbox.to_xywh().to_array(),
            "area": annotation.area,
            "iscrowd": 0,
            "segmentation": rle_object(&annotation.mask),
        }))
    }

    pub(crate) fn finish(mut self, categories: &[Category]) -> Result<(), WriteError> {
        self.file.with(|sink| sink.write_all(b"\n],\"images\":["))?;
        for (position, (id, file_name, size)) in self.images.iter().enumerate() {
            let separator: &[u8] = if position == 0 { b"\n" } else { b",\n" };
            self.file.with(|sink| sink.write_all(separator))?;
            let (height, width) = (size.height(), size.width());
            self.file.json(&json!({ "id": id, "file_name": file_name, "height": height, "width": width }))?;
        }
        self.file.with(|sink| sink.write_all(b"\n],\"categories\":"))?;
        let categories = categories.iter().map(
            |category| json!({ "id": category.id, "name": category.name, "supercategory": category.supercategory }),
        );
        self.file.json(&Value::Array(categories.collect()))?;
        self.file.with(|sink| sink.write_all(b"}\n"))?;
        self.file.finish()
    }
}

/// `{"size": [height, width], "counts": "<compressed>"}`.
pub(crate) fn rle_object(mask: &groundling_core::Rle) -> Value {
    json!({ "size": [mask.size().height(), mask.size().width()], "counts": mask.to_compressed() })
}
