//! Samples of any data source, generated or read, in the forms that commands need.

use anyhow::Context;
use groundling_core::{GroundTruth, Phrase};
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_file};
use groundling_data::scenes::{SceneConfig, Scenes};
use groundling_data::{DataSource, Dataset, MaskRule};
use groundling_eval::records::TruthRecord;
use image::RgbImage;
use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::flags::MaskRuleName;

impl From<MaskRuleName> for MaskRule {
    fn from(name: MaskRuleName) -> Self {
        match name {
            MaskRuleName::Union => MaskRule::Union,
            MaskRuleName::ExactlyOne => MaskRule::ExactlyOne,
        }
    }
}

/// A picture with one phrase about it and what that refers to.
pub(crate) struct Shown {
    pub(crate) image: RgbImage,
    pub(crate) phrase: Option<Phrase>,
    pub(crate) truth: GroundTruth,
}

/// The truth of every expression of a source.
pub(crate) fn truths(
    source: &DataSource,
    rule: MaskRule,
    seed: u64,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<TruthRecord>> {
    let DataSource::Scenes { split, count } = source else {
        let dataset = source.read()?;
        tracing::info!("{}: {} images, {} phrases", dataset.name, dataset.images.len(), dataset.samples.len());
        for skipped in &dataset.skipped {
            tracing::warn!("left out: {skipped}");
        }
        bar.set_length(dataset.samples.len() as u64);
        return dataset.samples.par_iter().map(|sample| dataset_truth(&dataset, sample, rule, bar)).collect();
    };
    let scenes = Scenes::new(SceneConfig::default(), *split, seed)?;
    bar.set_length(*count);
    let of_scene = |index: u64| -> anyhow::Result<Vec<TruthRecord>> {
        let scene = scenes.scene(index);
        bar.inc(1);
        let record = |(number, expression): (usize, &groundling_data::scenes::SceneExpression)| {
            let truth = expression.truth(&scene);
            Ok(TruthRecord {
                id: format!("{}-{number}", scene.id),
                image: format!("{split}/{index:06}.png"),
                phrase: Phrase::parse(&expression.phrase)?,
                image_size: scene.size,
                source: truth.count(),
                truth,
            })
        };
        scene.expressions.iter().enumerate().map(record).collect()
    };
    let all: anyhow::Result<Vec<_>> = (0..*count).into_par_iter().map(of_scene).collect();
    Ok(all?.into_iter().flatten().collect())
}

fn dataset_truth(
    dataset: &Dataset,
    sample: &groundling_data::Sample,
    rule: MaskRule,
    bar: &ProgressBar,
) -> anyhow::Result<TruthRecord> {
    let truth = dataset.truth(sample, rule)?;
    bar.inc(1);
    Ok(TruthRecord {
        id: sample.id.clone(),
        image: dataset.images[sample.image].file_name.clone(),
        phrase: Phrase::parse(&sample.phrase)?,
        image_size: dataset.image_size(sample.image)?,
        source: truth.count(),
        truth,
    })
}

/// The first `count` pictures of a source, each with one of its phrases; every kind of phrase gets its turn.
pub(crate) fn shown(source: &DataSource, count: usize, seed: u64) -> anyhow::Result<Vec<Shown>> {
    if let DataSource::Scenes { split, count: available } = source {
        let scenes = Scenes::new(SceneConfig::default(), *split, seed)?;
        let pictures = (0..*available).take(count);
        return pictures.map(|index| scene_shown(&scenes, index)).collect();
    }
    let dataset = source.read()?;
    if dataset.samples.is_empty() {
        return (0..dataset.images.len()).take(count).map(|image| image_shown(&dataset, image)).collect();
    }
    let mut seen = std::collections::HashSet::new();
    let fresh = dataset.samples.iter().filter(|sample| seen.insert(sample.image)).take(count);
    fresh.map(|sample| sample_shown(&dataset, sample)).collect()
}

fn scene_shown(scenes: &Scenes, index: u64) -> anyhow::Result<Shown> {
    let scene = scenes.scene(index);
    let expressions = &scene.expressions;
    let expression = expressions.get(index as usize % expressions.len().max(1)).context("a scene without phrases")?;
    let truth = expression.truth(&scene);
    Ok(Shown { phrase: Some(Phrase::parse(&expression.phrase)?), truth, image: scene.image })
}

fn picture(dataset: &Dataset, image: usize) -> anyhow::Result<RgbImage> {
    Ok(decode_file(&dataset.image_path(image)?, ImageLimits::default(), ExifOrientation::Ignore)?)
}

fn sample_shown(dataset: &Dataset, sample: &groundling_data::Sample) -> anyhow::Result<Shown> {
    let truth = dataset.truth(sample, MaskRule::Union)?;
    Ok(Shown { image: picture(dataset, sample.image)?, phrase: Some(Phrase::parse(&sample.phrase)?), truth })
}

/// All objects of one image of detection data.
fn image_shown(dataset: &Dataset, image: usize) -> anyhow::Result<Shown> {
    let targets = (0..dataset.annotations.len()).filter(|&index| dataset.annotations[index].image == image).collect();
    let all = groundling_data::Sample {
        id: String::new(),
        image,
        phrase: String::new(),
        cleaned: None,
        split: String::new(),
        targets,
        group: 0,
        sentence_id: None,
        source: None,
    };
    Ok(Shown { image: picture(dataset, image)?, phrase: None, truth: dataset.truth(&all, MaskRule::Union)? })
}
