//! Pictures of data sets in files.

use std::sync::Arc;

use groundling_core::{ImageSize, Phrase};

use super::{About, ExampleError, ExampleObject, ExampleOptions, ExamplePhrase, Picture};
use crate::image::decode::{ExifOrientation, decode_file};
use crate::{Dataset, DatasetError, Sample};

#[derive(Debug, Clone)]
pub(super) struct FileExamples {
    dataset: Arc<Dataset>,
    /// Pictures in the order in which the samples first mention them.
    pictures: Arc<Vec<Entry>>,
    skipped: Arc<Vec<String>>,
    phrase_count: usize,
}

#[derive(Debug, Default)]
struct Entry {
    image: usize,
    annotations: Vec<usize>,
    /// Indices of samples and their phrases, checked.
    samples: Vec<(usize, Phrase)>,
}

impl FileExamples {
    pub(super) fn new(dataset: Dataset, options: &ExampleOptions) -> Self {
        let mut entries: Vec<Entry> =
            (0..dataset.images.len()).map(|image| Entry { image, ..Entry::default() }).collect();
        for (index, annotation) in dataset.annotations.iter().enumerate() {
            entries[annotation.image].annotations.push(index);
        }
        let mut skipped = dataset.skipped.clone();
        let mut order = Vec::new();
        for (index, sample) in dataset.samples.iter().enumerate() {
            if !options.targets.contains(dataset.target_count(sample)) {
                continue;
            }
            match usable(&dataset, sample, options) {
                Ok(phrase) => {
                    if entries[sample.image].samples.is_empty() {
                        order.push(sample.image);
                    }
                    entries[sample.image].samples.push((index, phrase));
                }
                Err(reason) => skipped.push(format!("{}: {reason}", sample.id)),
            }
        }
        let phrase_count = entries.iter().map(|entry| entry.samples.len()).sum();
        // Detection data have no phrases: there every image counts.
        let pictures = match dataset.samples.is_empty() {
            true => entries,
            false => order.into_iter().map(|image| std::mem::take(&mut entries[image])).collect(),
        };
        Self { dataset: Arc::new(dataset), pictures: Arc::new(pictures), skipped: Arc::new(skipped), phrase_count }
    }

    pub(super) fn len(&self) -> usize {
        self.pictures.len()
    }

    pub(super) fn phrase_count(&self) -> usize {
        self.phrase_count
    }

    pub(super) fn phrase_counts(&self) -> Vec<usize> {
        self.pictures.iter().map(|entry| entry.samples.len()).collect()
    }

    pub(super) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    pub(super) fn picture(&self, index: usize, options: &ExampleOptions) -> Result<Picture, ExampleError> {
        let about = self.about(index, options)?;
        let path = self.dataset.image_path(self.pictures[index].image)?;
        let image = decode_file(&path, options.limits, ExifOrientation::Ignore).map_err(DatasetError::from)?;
        let found = ImageSize::new(image.height(), image.width());
        match found {
            Ok(found) if found != about.size => {
                Err(ExampleError::OtherSize { file_name: about.file_name, stated: about.size, found })
            }
            _ => Ok(Picture { image, about }),
        }
    }

    pub(super) fn about(&self, index: usize, options: &ExampleOptions) -> Result<About, ExampleError> {
        let (dataset, entry) = (&*self.dataset, &self.pictures[index]);
        let phrases = entry.samples.iter().map(|(sample, phrase)| self.phrase(entry, *sample, phrase, options));
        let objects = entry.annotations.iter().map(|&annotation| self.object(annotation, options));
        Ok(About {
            file_name: dataset.images[entry.image].file_name.clone(),
            size: dataset.image_size(entry.image)?,
            phrases: phrases.collect::<Result<_, _>>()?,
            objects: objects.collect::<Result<_, _>>()?,
        })
    }

    fn phrase(
        &self,
        entry: &Entry,
        index: usize,
        phrase: &Phrase,
        options: &ExampleOptions,
    ) -> Result<ExamplePhrase, ExampleError> {
        let dataset = &*self.dataset;
        let sample = &dataset.samples[index];
        let place = |target: &usize| entry.annotations.iter().position(|annotation| annotation == target);
        Ok(ExamplePhrase {
            id: sample.id.clone(),
            order: index,
            phrase: phrase.clone(),
            truth: match options.masks {
                true => dataset.truth(sample, options.mask_rule)?,
                false => dataset.truth_boxes(sample),
            },
            targets: sample.targets.iter().filter_map(place).collect(),
            named: None,
            kind: sample.source.clone(),
            group: Some(sample.group),
        })
    }

    fn object(&self, index: usize, options: &ExampleOptions) -> Result<ExampleObject, ExampleError> {
        let dataset = &*self.dataset;
        let annotation = &dataset.annotations[index];
        let mask = if options.masks { dataset.annotation_mask(index, options.mask_rule)? } else { None };
        let class = annotation.category_id.and_then(|id| dataset.categories.keys().position(|key| *key == id));
        Ok(ExampleObject {
            bbox: annotation.bbox.to_xyxy(),
            area: annotation.area,
            mask,
            class,
            unshown_classes: 0,
            category_id: annotation.category_id,
            is_crowd: annotation.is_crowd,
        })
    }
}

/// The phrase of a sample that can be used, or why it cannot.
fn usable(dataset: &Dataset, sample: &Sample, options: &ExampleOptions) -> Result<Phrase, String> {
    let phrase = Phrase::parse(&sample.phrase).map_err(|error| error.to_string())?;
    let boxes = sample.targets.iter().map(|&index| dataset.annotations[index].bbox);
    match boxes.into_iter().find(|bbox| !(bbox.width > 0.0 && bbox.height > 0.0)) {
        Some(bbox) if options.whole_boxes => Err(format!(
            "the target is {} pixels wide and {} high, expected a box with an area",
            bbox.width, bbox.height
        )),
        _ => Ok(phrase),
    }
}
