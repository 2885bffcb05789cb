//! `groundling eval --data` with a detector: COCO's twelve figures, and what they cost.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use groundling::{DetectOptions, Detector};
use groundling_data::examples::{ExampleOptions, Examples};
use groundling_data::image::decode::ExifOrientation;
use groundling_data::scenes::SceneConfig;
use groundling_eval::Protocol;
use groundling_eval::coco::{IouKind, STAT_NAMES};
use groundling_train::objects::{ObjectFigures, ObjectScorer};
use groundling_viz::chart::{Chart, Marker, Plot, Series, Spread, XyPlot};
use groundling_viz::write_atomically;
use serde::{Deserialize, Serialize};

use super::charts;
use super::detect::report::{category_ids, coco_results, image_id};
use crate::flags::{Eval, Format};
use crate::{Outcome, output};

const SCHEMA: &str = "groundling.detection-evaluation/1";

#[derive(Serialize)]
struct Evaluated {
    schema: &'static str,
    /// Says every choice that changes a number.
    protocol: String,
    model: Model,
    data: String,
    seed: u64,
    device: String,
    threads: usize,
    /// One for each keep ratio, in the order they were asked for.
    points: Vec<Point>,
    wall_seconds: f64,
}

/// What a chart shows of an evaluation that was saved.
#[derive(Deserialize)]
struct Saved {
    schema: String,
    model: Model,
    data: String,
    seed: u64,
    points: Vec<SavedPoint>,
}

#[derive(Deserialize)]
struct SavedPoint {
    mean_encoder_flops: f64,
    ap: Option<f64>,
}

#[derive(Serialize, Deserialize)]
struct Model {
    name: String,
    hash: String,
}

#[derive(Serialize)]
struct Point {
    /// The ratio asked for; `null` for the configuration's.
    keep_ratio: Option<f32>,
    #[serde(flatten)]
    figures: ObjectFigures,
}

pub(super) fn run(flags: &Eval, source: &str, format: Format) -> anyhow::Result<Outcome> {
    let boxes = Protocol::Coco(IouKind::Box);
    let protocol = flags.protocol.as_deref().map_or(Ok(boxes), str::parse::<Protocol>)?;
    if protocol != boxes {
        bail!("protocol {protocol} is not for a detector; it is scored by {boxes}");
    }
    if let Some(chart) = &flags.chart {
        charts::is_svg(chart)?;
    }
    let seed = flags.seed.unwrap_or(groundling_data::source::SCENES_SEED);
    let others = flags.beside.iter().map(|path| beside(path, source, seed)).collect::<anyhow::Result<Vec<Series>>>()?;
    let scenes = SceneConfig { min_expressions: 0, max_expressions: 0, ..SceneConfig::default() };
    let options = ExampleOptions { seed, scenes, masks: false, ..ExampleOptions::default() };
    let examples = Examples::open(&source.parse()?, &options)?;
    let detector = flags.model.open_detector(ExifOrientation::Ignore)?;
    let scorer = ObjectScorer::new(&detector, &examples)?;
    let ratios: Vec<Option<f32>> = match flags.keep_ratio.as_slice() {
        [] => vec![None],
        ratios => ratios.iter().copied().map(Some).collect(),
    };
    let start = Instant::now();
    let mut points = Vec::new();
    for &keep_ratio in &ratios {
        let options = DetectOptions { keep_ratio, budget_gflops: flags.how.budget_gflops, ..DetectOptions::default() };
        let found = scorer.detect(flags.limit, &options)?;
        if found.is_empty() {
            bail!("{source}: there is no picture");
        }
        if let (Some(path), true) = (&flags.save, points.is_empty()) {
            save(path, &detector, &found)?;
        }
        points.push(Point { keep_ratio, figures: scorer.figures(&found)? });
    }
    let evaluated = Evaluated {
        schema: SCHEMA,
        protocol: protocol.to_string(),
        model: Model { name: detector.identity().name.clone(), hash: detector.identity().hash.clone() },
        data: source.to_owned(),
        seed,
        device: flags.model.device.to_string(),
        threads: rayon::current_num_threads(),
        points,
        wall_seconds: start.elapsed().as_secs_f64(),
    };
    if let Some(path) = &flags.chart {
        draw(path, &evaluated, others)?;
    }
    output::result(format, &evaluated, || evaluated.to_table())?;
    Ok(Outcome::Done)
}

/// Keeps what was found as a results file of COCO, which other programs score too.
fn save(
    path: &Path,
    detector: &Detector,
    found: &[(groundling_data::examples::About, groundling::Detected)],
) -> anyhow::Result<()> {
    let categories = category_ids(detector.classes());
    let results: Vec<_> = found
        .iter()
        .enumerate()
        .flat_map(|(index, (about, detected))| {
            coco_results(detected, image_id(&about.file_name, index + 1), &categories)
        })
        .collect();
    let text = serde_json::to_string(&results).context("the results as JSON")?;
    Ok(write_atomically(path, text.as_bytes())?)
}

/// The curve of an evaluation that was saved.
///
/// # Errors
/// If the file is none, or of other data.
fn beside(path: &Path, data: &str, seed: u64) -> anyhow::Result<Series> {
    let place = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(place)?;
    let saved: Saved = serde_json::from_str(&text)
        .with_context(|| format!("{}: no evaluation of a detector, as `eval --json` prints it", place()))?;
    if saved.schema != SCHEMA {
        bail!("{}: schema is {:?}, expected {SCHEMA:?}", place(), saved.schema);
    }
    if (saved.data.as_str(), saved.seed) != (data, seed) {
        bail!("{}: it is of {} with seed {}, expected {data} with seed {seed}", place(), saved.data, saved.seed);
    }
    let points = saved.points.iter().map(|point| (point.mean_encoder_flops, point.ap));
    Ok(curve(saved.model.name, points))
}

/// AP over operations of the encoder: `points` are operations and AP.
fn curve(name: String, points: impl Iterator<Item = (f64, Option<f64>)>) -> Series {
    let mut points: Vec<(f64, f64)> = points.filter_map(|(flops, ap)| Some((flops / 1e9, ap?))).collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    Series { name, points, line: true, marker: Some(Marker::Disc), spread: Spread::None }
}

fn draw(path: &Path, evaluated: &Evaluated, others: Vec<Series>) -> anyhow::Result<()> {
    let points = evaluated.points.iter().map(|point| (point.figures.mean_encoder_flops, point.figures.ap));
    let own = curve(evaluated.model.name.clone(), points);
    let plot = XyPlot { series: std::iter::once(own).chain(others).collect(), ..XyPlot::default() };
    let chart = Chart::new(format!("AP against what the encoder takes, {}", evaluated.data), Plot::Xy(plot))
        .labelled("GFLOPs of the encoder's layers, a picture", "AP, %");
    charts::write(path, &chart)
}

impl Evaluated {
    fn to_table(&self) -> String {
        let Some(first) = self.points.first() else { return String::new() };
        let mut text = format!(
            "{} on {}: {} objects in {} pictures, {}\n\n{:>10}",
            self.model.name, self.data, first.figures.objects, first.figures.count, self.protocol, "keep"
        );
        STAT_NAMES.iter().for_each(|name| text.push_str(&format!(" {name:>6}")));
        text.push_str("   kept %  encoder   GFLOPs    dense\n");
        for Point { keep_ratio, figures } in &self.points {
            let ratio = keep_ratio.map_or("as trained".to_owned(), |ratio| ratio.to_string());
            text.push_str(&format!("{ratio:>10}"));
            for value in figures.twelve() {
                text.push_str(&value.map_or(format!(" {:>6}", "-"), |value| format!(" {value:6.2}")));
            }
            text.push_str(&format!(
                "   {:6.1}   {:6.3}   {:6.3}   {:6.3}\n",
                100.0 * figures.kept,
                figures.mean_encoder_flops / 1e9,
                figures.mean_flops / 1e9,
                figures.mean_dense_flops / 1e9
            ));
        }
        let best = |(name, ap): (&String, &Option<f64>)| ap.map(|ap| format!("{name} {ap:.1}"));
        let classes: Vec<String> = first.figures.classes.iter().filter_map(best).collect();
        text.push_str(&format!("\nAP by class: {}\n{:.1} s in all\n", classes.join(", "), self.wall_seconds));
        text
    }
}
