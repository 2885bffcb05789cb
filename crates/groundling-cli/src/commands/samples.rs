//! Samples of any data source, generated or read, in the forms that commands need.

use anyhow::Context;
use groundling_core::{GroundTruth, Phrase, TrueTarget};
use groundling_data::examples::{About, ExampleObject, ExampleOptions, Examples};
use groundling_data::{DataSource, MaskRule};
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

/// The truth of every expression of a source, in the order of the source.
pub(crate) fn truths(
    source: &DataSource,
    rule: MaskRule,
    seed: u64,
    bar: &ProgressBar,
) -> anyhow::Result<Vec<TruthRecord>> {
    let options = ExampleOptions { seed, mask_rule: rule, ..ExampleOptions::default() };
    let examples = Examples::open(source, &options)?;
    tracing::info!("{} pictures, {:?} phrases", examples.len(), examples.phrase_count());
    for skipped in examples.skipped() {
        tracing::warn!("left out: {skipped}");
    }
    bar.set_length(examples.len() as u64);
    let of_picture = |index: usize| -> anyhow::Result<Vec<(usize, TruthRecord)>> {
        let about = examples.about(index)?;
        bar.inc(1);
        Ok(records(about))
    };
    let all: anyhow::Result<Vec<_>> = (0..examples.len()).into_par_iter().map(of_picture).collect();
    let mut all: Vec<_> = all?.into_iter().flatten().collect();
    if !matches!(source, DataSource::Scenes { .. }) {
        // Samples of one image need not stand together in a file.
        all.sort_by_key(|(order, _)| *order);
    }
    Ok(all.into_iter().map(|(_, record)| record).collect())
}

fn records(about: About) -> Vec<(usize, TruthRecord)> {
    let About { file_name, size, phrases, .. } = about;
    let record = |phrase: groundling_data::examples::ExamplePhrase| {
        let record = TruthRecord {
            id: phrase.id,
            image: file_name.clone(),
            phrase: phrase.phrase,
            image_size: size,
            source: phrase.truth.count(),
            truth: phrase.truth,
        };
        (phrase.order, record)
    };
    phrases.into_iter().map(record).collect()
}

/// The first `count` pictures of a source, each with one of its phrases; in scenes every kind of phrase gets its turn.
pub(crate) fn shown(source: &DataSource, count: usize, seed: u64) -> anyhow::Result<Vec<Shown>> {
    let examples = Examples::open(source, &ExampleOptions { seed, ..ExampleOptions::default() })?;
    let in_turn = matches!(source, DataSource::Scenes { .. });
    let one = |index: usize| -> anyhow::Result<Shown> {
        let picture = examples.picture(index)?;
        let mut about = picture.about;
        if about.phrases.is_empty() {
            anyhow::ensure!(!in_turn, "a scene without phrases");
            return Ok(Shown { image: picture.image, phrase: None, truth: everything(&about.objects) });
        }
        let turn = if in_turn { index % about.phrases.len() } else { 0 };
        let chosen = about.phrases.swap_remove(turn);
        Ok(Shown { image: picture.image, phrase: Some(chosen.phrase), truth: chosen.truth })
    };
    (0..examples.len().min(count)).map(|index| one(index).with_context(|| format!("picture {index}"))).collect()
}

/// All objects of an image of detection data.
fn everything(objects: &[ExampleObject]) -> GroundTruth {
    let target = |object: &ExampleObject| TrueTarget {
        bbox: object.bbox,
        mask: object.mask.clone(),
        category_id: object.category_id,
    };
    GroundTruth { targets: objects.iter().map(target).collect(), merged_mask: None }
}
