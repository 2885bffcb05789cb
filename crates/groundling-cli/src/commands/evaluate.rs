//! `groundling eval --data`: a model on data, scored.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use groundling::{Answer, Grounder, Options, systems};
use groundling_core::{PredictedTarget, TargetCount};
use groundling_data::DataSource;
use groundling_data::examples::{ExampleOptions, Examples, Targets};
use groundling_data::image::decode::ExifOrientation;
use groundling_eval::records::{PredictionRecord, Sample, TruthRecord, write_predictions};
use groundling_eval::{EvalOptions, Protocol, Report, evaluate};
use groundling_viz::{Chart, Marker, Plot, Series, Spread, XyPlot, write_atomically};
use rayon::prelude::*;
use serde::Serialize;

use super::charts;
use super::eval::{draw_reliability, options};
use super::usual::{Frame, usual_protocol, usual_targets};
use crate::flags::{Eval, Format, TargetsName};
use crate::{Outcome, output, progress};

/// The report with how it came about; `groundling.report/1` with the field `run`.
#[derive(Serialize)]
struct Evaluated {
    #[serde(flatten)]
    report: Report,
    run: Run,
}

#[derive(Serialize)]
struct Run {
    model: Model,
    data: String,
    /// Of generated data.
    seed: u64,
    targets: &'static str,
    pictures: usize,
    phrases: usize,
    /// Phrases of these pictures that were not asked.
    left_out: usize,
    /// In whose pixels answers are given; the protocol may resize them.
    frame: Frame,
    /// Whether "not here" is said by a calibrated score.
    calibrated: bool,
    device: String,
    threads: usize,
    level: Option<usize>,
    budget_gflops: Option<f64>,
    #[serde(flatten)]
    cost: Cost,
    /// From reading the first picture to the last answer, making or decoding pictures included.
    wall_seconds: f64,
    /// Means of the time of a single thread: a picture read, a phrase answered (the first time it is asked, it is read as well).
    milliseconds: Milliseconds,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sweep: Vec<Point>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    hash: String,
}

#[derive(Serialize)]
struct Milliseconds {
    picture: f64,
    phrase: f64,
}

/// What answers took at one threshold.
#[derive(Serialize)]
struct Cost {
    threshold: Number,
    mean_gflops: f64,
    mean_dense_gflops: f64,
    /// The first over the second, of the sums.
    flops_share: f64,
    /// Patches read of those that touch the picture, of the sums over all levels.
    kept_share: f64,
    levels: Vec<LevelCost>,
}

#[derive(Serialize)]
struct LevelCost {
    level: usize,
    /// Acc@0.5 in percent of this level's box, where the protocol asks for one box.
    #[serde(rename = "acc@0.5", skip_serializing_if = "Option::is_none")]
    accuracy: Option<f64>,
    /// Mean over phrases of the share of patches read.
    mean_kept_share: f64,
    mean_gflops: f64,
}

/// A point of `--sweep`.
#[derive(Serialize)]
struct Point {
    figures: Vec<groundling_eval::report::Figure>,
    #[serde(flatten)]
    cost: Cost,
}

const UNCALIBRATED: &str =
    "\n\"not here\" is said where the mask is empty: the score is not calibrated (`groundling calibrate`)";

/// A threshold; JSON has no infinity, so that those are texts.
struct Number(f32);

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() { serializer.serialize_f32(self.0) } else { serializer.collect_str(&self.0) }
    }
}

/// A phrase with its answers, one for each threshold.
struct Asked {
    order: usize,
    truth: TruthRecord,
    answers: Vec<Answer>,
    seconds: f64,
}

/// What happened with one picture.
struct Looked {
    asked: Vec<Asked>,
    left_out: usize,
    seconds: f64,
}

pub(crate) fn run(flags: &Eval, source: &str, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    let bundle = flags.model.bundle()?;
    let system = bundle.manifest().system.as_str();
    if systems::DETECTORS.contains(&system) {
        return super::evaluate_objects::run(flags, source, format);
    }
    if systems::CLASSIFIERS.contains(&system) {
        return super::evaluate_classes::run(flags, source, format);
    }
    if !flags.keep_ratio.is_empty() {
        bail!("--keep-ratio is for detectors; what these weights read is chosen by --threshold and --sweep");
    }
    if !flags.beside.is_empty() {
        bail!("--beside is for detectors");
    }
    if flags.chart.is_some() && flags.sweep.is_empty() {
        bail!("--chart draws a sweep: give --sweep as well");
    }
    let data: DataSource = source.parse()?;
    let named: Option<Protocol> = flags.protocol.as_deref().map(str::parse).transpose()?;
    for chart in flags.chart.iter().chain(&flags.reliability) {
        charts::is_svg(chart)?;
    }
    let grounder = flags.model.open(ExifOrientation::Ignore)?;
    let protocol = named.unwrap_or_else(|| usual_protocol(&data, grounder.segments()));
    if protocol.needs_masks() && !grounder.segments() {
        let name = &grounder.identity().name;
        bail!("protocol {protocol} compares masks, and {name} makes none; rec, grec and coco-box compare boxes");
    }
    let frame = Frame::of(protocol, &grounder);
    let seed = flags.seed.unwrap_or(groundling_data::source::SCENES_SEED);
    let targets = flags.targets.unwrap_or(usual_targets(protocol));
    let wanted = ExampleOptions {
        seed,
        targets: if targets == TargetsName::One { Targets::ONE } else { Targets::ALL },
        masks: protocol.needs_masks(),
        mask_rule: flags.masks.into(),
        ..ExampleOptions::default()
    };
    let examples = Examples::open(&data, &wanted)?;
    for skipped in examples.skipped() {
        tracing::warn!("left out: {skipped}");
    }
    let thresholds = if flags.sweep.is_empty() { vec![flags.how.threshold] } else { flags.sweep.clone() };
    let count = examples.len().min(flags.limit.unwrap_or(usize::MAX));
    if count == 0 {
        bail!("{source}: there is no picture");
    }
    let bar = progress::bar(quiet, count as u64, "pictures");
    let start = Instant::now();
    let looked: Vec<Looked> = (0..count)
        .into_par_iter()
        .map(|index| {
            let looked = look(&grounder, &examples, index, flags, &thresholds, frame);
            bar.inc(1);
            looked
        })
        .collect::<anyhow::Result<_>>()?;
    let wall_seconds = start.elapsed().as_secs_f64();
    bar.finish_and_clear();

    let left_out = looked.iter().map(|looked| looked.left_out).sum();
    let picture_seconds: f64 = looked.iter().map(|looked| looked.seconds).sum();
    let mut asked: Vec<Asked> = looked.into_iter().flat_map(|looked| looked.asked).collect();
    if !matches!(data, DataSource::Scenes { .. }) {
        // Phrases about one picture need not stand together in a file; predictions follow the source.
        asked.sort_by_key(|asked| asked.order);
    }
    if asked.is_empty() {
        bail!("{source}: no phrase of the kind that {protocol} scores; --targets all takes every phrase");
    }
    if let Some(path) = &flags.save {
        save(path, &asked)?;
    }
    let phrase_seconds: f64 = asked.iter().map(|asked| asked.seconds).sum();
    let points: Vec<Point> = (0..thresholds.len())
        .map(|index| point(protocol, &asked, index, thresholds[index], &options(flags)))
        .collect::<anyhow::Result<_>>()?;
    if let Some(path) = &flags.chart {
        draw(path, &points, source)?;
    }
    let report = evaluate(protocol, &samples(&asked, 0), &options(flags))?;
    if let Some(path) = &flags.reliability {
        draw_reliability(path, &report)?;
    }
    let phrases = asked.len();
    let run = Run {
        model: Model { name: grounder.identity().name.clone(), hash: grounder.identity().hash.clone() },
        data: source.to_owned(),
        seed,
        targets: if targets == TargetsName::One { "one" } else { "all" },
        pictures: count,
        phrases,
        left_out,
        frame,
        calibrated: grounder.calibration().is_some(),
        device: flags.model.device.to_string(),
        threads: rayon::current_num_threads(),
        level: flags.how.level,
        budget_gflops: flags.how.budget_gflops,
        cost: cost(protocol, &asked, 0, thresholds[0])?,
        wall_seconds,
        milliseconds: Milliseconds {
            picture: 1e3 * picture_seconds / count as f64,
            phrase: 1e3 * phrase_seconds / (phrases * thresholds.len()) as f64,
        },
        sweep: if flags.sweep.is_empty() { Vec::new() } else { points },
    };
    let evaluated = Evaluated { report, run };
    output::result(format, &evaluated, || evaluated.to_table())?;
    Ok(Outcome::Done)
}

/// Reads a picture and answers its phrases at every threshold.
fn look(
    grounder: &Grounder,
    examples: &Examples,
    index: usize,
    flags: &Eval,
    thresholds: &[f32],
    frame: Frame,
) -> anyhow::Result<Looked> {
    let picture = examples.picture(index)?;
    let about = picture.about;
    let start = Instant::now();
    let session = grounder.open_image(&picture.image).with_context(|| about.file_name.clone())?;
    let seconds = start.elapsed().as_secs_f64();
    let mut looked = Looked { asked: Vec::new(), left_out: 0, seconds };
    for phrase in about.phrases {
        let start = Instant::now();
        let answers = thresholds.iter().map(|&threshold| {
            let options = Options { threshold, ..flags.how.options(false) };
            match frame {
                Frame::Original => session.ground_phrase(&phrase.phrase, &options),
                Frame::Canvas(_) => session.ground_on_canvas(&phrase.phrase, &options),
            }
        });
        let answers =
            answers.collect::<Result<_, _>>().with_context(|| format!("{}, id {}", about.file_name, phrase.id))?;
        let truth = TruthRecord {
            id: phrase.id,
            image: about.file_name.clone(),
            phrase: phrase.phrase,
            image_size: about.size,
            source: phrase.truth.count(),
            truth: phrase.truth,
        };
        let truth = match frame {
            Frame::Original => truth,
            Frame::Canvas(size) => truth.resized_nearest(size),
        };
        looked.asked.push(Asked { order: phrase.order, truth, answers, seconds: start.elapsed().as_secs_f64() });
    }
    Ok(looked)
}

fn record(asked: &Asked, answer: &Answer) -> PredictionRecord {
    let (id, image) = (asked.truth.id.clone(), asked.truth.image.clone());
    PredictionRecord { id, image, prediction: answer.prediction.clone() }
}

fn samples(asked: &[Asked], index: usize) -> Vec<Sample> {
    let sample = |asked: &Asked| {
        let prediction = asked.answers.get(index).map(|answer| record(asked, answer));
        Sample { truth: asked.truth.clone(), prediction }
    };
    asked.iter().map(sample).collect()
}

fn save(path: &Path, asked: &[Asked]) -> anyhow::Result<()> {
    let records: Vec<PredictionRecord> =
        asked.iter().filter_map(|asked| Some(record(asked, asked.answers.first()?))).collect();
    let mut lines = Vec::new();
    write_predictions(&mut lines, path, &records)?;
    Ok(write_atomically(path, &lines)?)
}

fn point(
    protocol: Protocol,
    asked: &[Asked],
    index: usize,
    threshold: f32,
    options: &EvalOptions,
) -> anyhow::Result<Point> {
    let options = EvalOptions { breakdowns: false, ..*options };
    let figures = evaluate(protocol, &samples(asked, index), &options)?.figures;
    Ok(Point { figures, cost: cost(protocol, asked, index, threshold)? })
}

fn cost(protocol: Protocol, asked: &[Asked], index: usize, threshold: f32) -> anyhow::Result<Cost> {
    let answers: Vec<&Answer> = asked.iter().filter_map(|asked| asked.answers.get(index)).collect();
    let mean = |sum: u64| sum as f64 / answers.len().max(1) as f64 / 1e9;
    let flops = answers.iter().map(|answer| answer.flops).sum();
    let dense_flops = answers.iter().map(|answer| answer.dense_flops).sum();
    let read =
        answers.iter().map(|answer| answer.explain.read()).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let mut levels: BTreeMap<usize, (usize, f64, u64)> = BTreeMap::new();
    for answer in &answers {
        for (number, level) in answer.explain.levels.iter().enumerate() {
            let (count, kept, flops) = levels.entry(number).or_default();
            *count += 1;
            *kept += level.kept_share();
            *flops += level.flops;
        }
    }
    let level = |(level, (count, kept, flops)): (usize, (usize, f64, u64))| {
        Ok(LevelCost {
            level,
            accuracy: level_accuracy(protocol, asked, index, level)?,
            mean_kept_share: kept / count as f64,
            mean_gflops: flops as f64 / count as f64 / 1e9,
        })
    };
    Ok(Cost {
        threshold: Number(threshold),
        mean_gflops: mean(flops),
        mean_dense_gflops: mean(dense_flops),
        flops_share: flops as f64 / (dense_flops as f64).max(1.0),
        kept_share: read.0 as f64 / read.1.max(1) as f64,
        levels: levels.into_iter().map(level).collect::<anyhow::Result<_>>()?,
    })
}

/// The headline of the protocol had this level answered; only for protocols of one box.
fn level_accuracy(protocol: Protocol, asked: &[Asked], index: usize, level: usize) -> anyhow::Result<Option<f64>> {
    if !matches!(protocol, Protocol::Rec(_)) || asked.iter().any(|asked| asked.truth.source != TargetCount::One) {
        return Ok(None);
    }
    let of_level = |asked: &Asked| {
        let answer = asked.answers.get(index)?;
        let bbox = answer.explain.levels.get(level)?.bbox;
        let mut record = record(asked, answer);
        record.prediction.targets = vec![PredictedTarget { score: 1.0, bbox, mask: None, label: None }];
        Some(Sample { truth: asked.truth.clone(), prediction: Some(record) })
    };
    let samples: Vec<Sample> = asked.iter().filter_map(of_level).collect();
    let plain = EvalOptions { bootstrap: None, breakdowns: false, ..EvalOptions::default() };
    Ok(evaluate(protocol, &samples, &plain)?.figures.first().and_then(|figure| figure.value))
}

fn draw(path: &Path, points: &[Point], source: &str) -> anyhow::Result<()> {
    let name = points.first().and_then(|point| point.figures.first()).map(|figure| figure.name.clone());
    let mut shown: Vec<(f64, f64, (f64, f64))> = points
        .iter()
        .filter_map(|point| {
            let figure = point.figures.first()?;
            let value = figure.value?;
            let spread = figure.interval.map_or((value, value), |interval| (interval.low, interval.high));
            Some((100.0 * point.cost.kept_share, value, spread))
        })
        .collect();
    shown.sort_by(|one, other| one.0.total_cmp(&other.0));
    let series = Series {
        name: String::new(),
        points: shown.iter().map(|&(x, y, _)| (x, y)).collect(),
        line: true,
        marker: Some(Marker::Disc),
        spread: Spread::Bars(shown.iter().map(|&(.., spread)| spread).collect()),
    };
    let plot = XyPlot { series: vec![series], ..XyPlot::default() };
    let title = format!("Accuracy against what is read, {source}");
    let chart = Chart::new(title, Plot::Xy(plot))
        .labelled("patches read, % of those that touch the picture", format!("{}, %", name.unwrap_or_default()));
    charts::write(path, &chart)
}

impl Evaluated {
    fn to_table(&self) -> String {
        let Run { model, data, pictures, phrases, left_out, cost, wall_seconds, milliseconds, .. } = &self.run;
        let mut text = format!("{} on {data}: {phrases} phrases about {pictures} pictures", model.name);
        if *left_out > 0 {
            text.push_str(&format!(" ({left_out} phrases left out)"));
        }
        if let Frame::Canvas(size) = self.run.frame {
            text.push_str(&format!("\nanswers as the network gives them, truths resized to its canvas of {size}"));
        }
        if self.report.calibration.is_some() {
            text.push_str(if self.run.calibrated {
                "\n\"not here\" is said by a calibrated score"
            } else {
                UNCALIBRATED
            });
        }
        text.push_str(&format!("\n\n{}\n", self.report.to_table().trim_end()));
        text.push_str(&format!(
            "\n{:.3} of {:.3} GFLOPs ({:.1} %), {:.1} % of the patches read; {wall_seconds:.1} s in all, {:.1} ms a picture and {:.1} ms a phrase\n",
            cost.mean_gflops,
            cost.mean_dense_gflops,
            100.0 * cost.flops_share,
            100.0 * cost.kept_share,
            milliseconds.picture,
            milliseconds.phrase,
        ));
        for level in &cost.levels {
            let accuracy = level.accuracy.map_or(String::new(), |accuracy| format!("  Acc@0.5 {accuracy:6.2}"));
            text.push_str(&format!(
                "level {}{accuracy}  read {:5.1} %  {:.3} GFLOPs\n",
                level.level,
                100.0 * level.mean_kept_share,
                level.mean_gflops
            ));
        }
        if !self.run.sweep.is_empty() {
            text.push_str("\nthreshold   read %  GFLOPs %  figure\n");
        }
        for point in &self.run.sweep {
            let figure = point.figures.first();
            let value = figure.and_then(|figure| figure.value).map_or("-".to_owned(), |value| format!("{value:.2}"));
            text.push_str(&format!(
                "{:>9}  {:7.1}  {:8.1}  {} {value}\n",
                point.cost.threshold.0,
                100.0 * point.cost.kept_share,
                100.0 * point.cost.flops_share,
                figure.map_or("", |figure| figure.name.as_str()),
            ));
        }
        text
    }
}
