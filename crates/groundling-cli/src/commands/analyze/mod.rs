//! `groundling analyze attention`: does a model look where it answers?

mod pages;

use anyhow::Context;
use groundling::attention::{AttentionKind, on_canvas};
use groundling::{Answer, Grounder, Options};
use groundling_core::{BoxXyxy, Pixels, Placement, PredictedTarget};
use groundling_data::DataSource;
use groundling_data::examples::{ExampleOptions, ExamplePhrase, Examples, Targets};
use groundling_data::image::decode::ExifOrientation;
use groundling_eval::attention::{AttentionReport, AttentionSample, LayerSample};
use groundling_eval::rec::RecRule;
use groundling_models::attbalance::MaskRule;
use rayon::prelude::*;
use serde::Serialize;

use crate::flags::{Analyze, AnalyzeAttention, Format};
use crate::{Outcome, output, progress};

/// `groundling.attention/1` with how it came about.
#[derive(Serialize)]
struct Analyzed {
    #[serde(flatten)]
    report: AttentionReport,
    run: Run,
}

#[derive(Serialize)]
struct Run {
    model: Model,
    data: String,
    /// Of generated data.
    seed: u64,
    pictures: usize,
    /// `map` or `weights`.
    attention: AttentionKind,
    /// `overlap` or `center`.
    cells: MaskRule,
    wall_seconds: f64,
}

#[derive(Serialize)]
struct Model {
    name: String,
    hash: String,
}

/// A source without anything to look at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NothingError {
    #[error("{source_name}: there is no picture")]
    Pictures { source_name: String },
    #[error("{source_name}: no phrase about exactly one thing among {pictures} pictures")]
    Phrases { source_name: String, pictures: usize },
}

impl NothingError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Pictures { .. } => "`groundling data check` says what is in a data set; --limit 0 leaves nothing",
            Self::Phrases { .. } => "attention is compared with one box; take a split whose phrases have one",
        }
    }
}

/// A sample, where to find it again, and its order in the source.
struct Looked {
    sample: AttentionSample,
    names: Vec<String>,
    picture: usize,
    order: usize,
}

/// A model and what it is asked about.
struct Analysis<'a> {
    grounder: &'a Grounder,
    examples: &'a Examples,
    options: Options,
    kind: AttentionKind,
    rule: MaskRule,
}

pub(crate) fn run(analyze: &Analyze, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    match analyze {
        Analyze::Attention(flags) => attention(flags, format, quiet),
    }
}

fn attention(flags: &AnalyzeAttention, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    let source: DataSource = flags.data.parse()?;
    let wanted = ExampleOptions { seed: flags.seed, targets: Targets::ONE, masks: false, ..ExampleOptions::default() };
    let examples = Examples::open(&source, &wanted)?;
    for skipped in examples.skipped() {
        tracing::warn!("left out: {skipped}");
    }
    let pictures = examples.len().min(flags.limit.unwrap_or(usize::MAX));
    if pictures == 0 {
        return Err(NothingError::Pictures { source_name: flags.data.clone() }.into());
    }
    let grounder = flags.model.open(ExifOrientation::Ignore)?;
    let analysis = Analysis {
        grounder: &grounder,
        examples: &examples,
        options: flags.how.options(true),
        kind: flags.attention.into(),
        rule: flags.cells.into(),
    };
    let start = std::time::Instant::now();
    let mut looked = analysis.all(pictures, quiet)?;
    if !matches!(source, DataSource::Scenes { .. }) {
        // Phrases about one picture need not stand together in a file.
        looked.sort_by_key(|looked| looked.order);
    }
    let names = match looked.first() {
        Some(first) => first.names.clone(),
        None => return Err(NothingError::Phrases { source_name: flags.data.clone(), pictures }.into()),
    };
    let places: Vec<usize> = looked.iter().map(|looked| looked.picture).collect();
    let samples: Vec<AttentionSample> = looked.into_iter().map(|looked| looked.sample).collect();
    let run = Run {
        model: Model { name: grounder.identity().name.clone(), hash: grounder.identity().hash.clone() },
        data: flags.data.clone(),
        seed: flags.seed,
        pictures,
        attention: analysis.kind,
        cells: analysis.rule,
        wall_seconds: start.elapsed().as_secs_f64(),
    };
    let analyzed = Analyzed { report: AttentionReport::new(&names, &samples)?, run };
    if let Some(folder) = &flags.out {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        pages::write(folder, &analyzed, &analysis, &samples, &places, flags.pictures)?;
    }
    output::result(format, &analyzed, || {
        let Run { model, data, pictures, .. } = &analyzed.run;
        format!("{} on {data}, {pictures} pictures: {}", model.name, analyzed.report.to_table())
    })?;
    Ok(Outcome::Done)
}

impl Analysis<'_> {
    fn all(&self, pictures: usize, quiet: bool) -> anyhow::Result<Vec<Looked>> {
        let bar = progress::bar(quiet, pictures as u64, "pictures");
        let of_picture = |index: usize| {
            let looked = self.picture(index);
            bar.inc(1);
            looked
        };
        let looked: anyhow::Result<Vec<Vec<Looked>>> = (0..pictures).into_par_iter().map(of_picture).collect();
        bar.finish_and_clear();
        Ok(looked?.into_iter().flatten().collect())
    }

    fn picture(&self, index: usize) -> anyhow::Result<Vec<Looked>> {
        let picture = self.examples.picture(index)?;
        let about = picture.about;
        let session = self.grounder.open_image(&picture.image).with_context(|| about.file_name.clone())?;
        let look = |phrase: ExamplePhrase| {
            let answer = session.ground_phrase(&phrase.phrase, &self.options)?;
            let (names, sample) = self.sample(&answer, &about.file_name, &phrase, session.placement())?;
            Ok(Looked { sample, names, picture: index, order: phrase.order })
        };
        let looked: anyhow::Result<Vec<Looked>> = about.phrases.into_iter().map(look).collect();
        looked.with_context(|| about.file_name.clone())
    }

    fn sample(
        &self,
        answer: &Answer,
        image: &str,
        phrase: &ExamplePhrase,
        placement: &Placement,
    ) -> anyhow::Result<(Vec<String>, AttentionSample)> {
        let truth = truth(phrase);
        let target = on_canvas(placement, truth);
        let maps = answer.attention(self.kind)?;
        let iou = |bbox: BoxXyxy<Pixels>| RecRule::Standard.iou(bbox, truth, placement.image());
        let layers = maps.iter().map(|map| LayerSample { inside: map.inside(target, self.rule), iou: iou(map.bbox) });
        let sample = AttentionSample {
            id: phrase.id.clone(),
            image: image.to_owned(),
            phrase: phrase.phrase.as_str().to_owned(),
            iou: answer.prediction.best().map_or(0.0, |best: &PredictedTarget| iou(best.bbox)),
            even: maps.last().map_or(0.0, |map| map.inside_if_even(target, self.rule)),
            layers: layers.collect(),
        };
        Ok((maps.into_iter().map(|map| map.name).collect(), sample))
    }
}

/// The one box that the source was asked for.
fn truth(phrase: &ExamplePhrase) -> BoxXyxy<Pixels> {
    phrase.truth.targets.first().map_or(BoxXyxy::new(0.0, 0.0, 0.0, 0.0), |target| target.bbox)
}
