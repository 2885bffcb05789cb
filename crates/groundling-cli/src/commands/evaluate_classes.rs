//! `groundling eval --data` with a classifier: top-1 and top-5, with intervals.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use groundling_data::image::decode::ExifOrientation;
use groundling_data::labelled::ClassExamples;
use groundling_data::scenes::SceneConfig;
use groundling_eval::bootstrap::intervals;
use groundling_eval::{Interval, RatioFigure};
use groundling_train::classes::{ClassAnswer, ClassFigures, ClassScorer};
use groundling_viz::write_atomically;
use serde::Serialize;
use serde_json::json;

use super::eval::options;
use crate::flags::{Eval, Format};
use crate::{Outcome, output};

const SCHEMA: &str = "groundling.classification-evaluation/1";

#[derive(Serialize)]
struct Evaluated {
    schema: &'static str,
    model: Model,
    data: String,
    seed: u64,
    classes: usize,
    device: String,
    threads: usize,
    #[serde(flatten)]
    figures: ClassFigures,
    /// Of the bootstrap over pictures; absent without resamples.
    #[serde(skip_serializing_if = "Option::is_none")]
    top1_interval: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top5_interval: Option<Interval>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    hash: String,
}

pub(super) fn run(flags: &Eval, source: &str, format: Format) -> anyhow::Result<Outcome> {
    if let Some(protocol) = &flags.protocol {
        bail!("protocol {protocol} is not for a classifier; it is scored by top-1 and top-5, which need no --protocol");
    }
    if flags.chart.is_some() || !flags.sweep.is_empty() || !flags.keep_ratio.is_empty() {
        bail!(
            "--chart, --sweep and --keep-ratio are for models that choose what to read; a classifier reads all of a picture"
        );
    }
    let seed = flags.seed.unwrap_or(groundling_data::source::SCENES_SEED);
    let examples = ClassExamples::open(&source.parse()?, seed, &SceneConfig::default())?;
    let classifier = flags.model.open_classifier(ExifOrientation::Ignore)?;
    let scorer = ClassScorer::new(&classifier, &examples)?;
    let start = Instant::now();
    let answers = scorer.answers(flags.limit)?;
    if answers.is_empty() {
        bail!("{source}: there is no picture");
    }
    if let Some(path) = &flags.save {
        save(path, &answers, classifier.classes())?;
    }
    let within = |k: usize| {
        let hit = move |answer: &ClassAnswer| (f64::from(u8::from(answer.rank < k)), 1.0);
        RatioFigure::percent(format!("top-{k}"), true, answers.iter().map(hit))
    };
    let found = options(flags).bootstrap.map(|bootstrap| intervals(&[within(1), within(5)], &bootstrap));
    let interval = |index: usize| found.as_ref().and_then(|found| found.get(index).copied().flatten());
    let identity = classifier.identity();
    let evaluated = Evaluated {
        schema: SCHEMA,
        model: Model { name: identity.name.clone(), hash: identity.hash.clone() },
        data: source.to_owned(),
        seed,
        classes: classifier.classes().len(),
        device: flags.model.device.to_string(),
        threads: rayon::current_num_threads(),
        figures: ClassFigures { secs: start.elapsed().as_secs_f64(), ..scorer.figures(&answers) },
        top1_interval: interval(0),
        top5_interval: interval(1),
    };
    output::result(format, &evaluated, || evaluated.to_table())?;
    Ok(Outcome::Done)
}

/// Keeps what was found, a line for each picture.
fn save(path: &Path, answers: &[ClassAnswer], classes: &[String]) -> anyhow::Result<()> {
    let mut lines = String::new();
    for ClassAnswer { name, class, found, score, rank } in answers {
        let line = json!({
            "image": name, "class": classes[*class], "found": classes[*found], "score": score, "rank": rank,
        });
        lines.push_str(&serde_json::to_string(&line).context("an answer as JSON")?);
        lines.push('\n');
    }
    Ok(write_atomically(path, lines.as_bytes())?)
}

impl Evaluated {
    fn to_table(&self) -> String {
        let line = |name: &str, value: Option<f64>, interval: Option<Interval>| {
            let value = value.map_or("not available".to_owned(), |value| format!("{value:6.2} %"));
            let interval =
                interval.map_or(String::new(), |interval| format!("   {:.2} to {:.2}", interval.low, interval.high));
            format!("  {name}  {value}{interval}\n")
        };
        let ClassFigures { count, top1, top5, flops, secs } = &self.figures;
        format!(
            "{} on {}: {count} pictures, {} classes\n\n{}{}\n{:.3} GFLOPs a picture, {secs:.1} s in all",
            self.model.name,
            self.data,
            self.classes,
            line("top-1", *top1, self.top1_interval),
            line("top-5", *top5, self.top5_interval),
            *flops as f64 / 1e9,
        )
    }
}
