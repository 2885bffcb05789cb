//! `groundling eval`: numbers from prediction files, without any model.

use std::path::Path;

use anyhow::{Context, bail};
use groundling_core::{ImageSize, TargetCount};
use groundling_data::DataSource;
use groundling_eval::coco::{self, CocoOptions, json};
use groundling_eval::records::{
    MissingPolicy, PredictionRecord, ReadLimits, Sample, TruthRecord, join, read_predictions_file, read_truths_file,
};
use groundling_eval::{BootstrapOptions, EvalOptions, MaskSize, Protocol, Report, compare, evaluate};

use super::{charts, samples};
use crate::flags::{Eval, Format, TargetsName};
use crate::{Outcome, output, progress};

pub(crate) fn run(flags: &Eval, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    if let Some(source) = &flags.data {
        return super::evaluate::run(flags, source, format, quiet);
    }
    // The parser demands all three where there is no `--data`.
    let (Some(predictions), Some(truth), Some(name)) = (&flags.predictions, &flags.truth, &flags.protocol) else {
        bail!("`eval` needs --data, or --predictions, --truth and --protocol");
    };
    let protocol: Protocol = name.parse()?;
    if let (Protocol::Coco(kind), true) = (protocol, is_json(predictions) && is_json(Path::new(truth))) {
        let report = coco_report(flags, predictions, Path::new(truth), kind)?;
        output::result(format, &report, || report.to_table())?;
        return Ok(Outcome::Done);
    }
    let truths = truths(flags, truth, protocol)?;
    let policy = if flags.missing_as_wrong { MissingPolicy::CountAsWrong } else { MissingPolicy::Refuse };
    let samples = |path: &Path| -> anyhow::Result<Vec<Sample>> {
        let predictions = read_predictions_file(path, &ReadLimits::default())?;
        let truths = match on_canvas(protocol, &predictions)? {
            Some(canvas) => truths.iter().map(|truth| truth.resized_nearest(canvas)).collect(),
            None => truths.clone(),
        };
        join(truths, predictions, policy).with_context(|| path.display().to_string())
    };
    tracing::info!("{} truths, protocol {protocol}", truths.len());
    let options = options(flags);
    let first = samples(predictions)?;
    if let Some(other) = &flags.compare {
        let comparison = compare(protocol, &first, &samples(other)?, &options)?;
        output::result(format, &comparison, || comparison.to_table())?;
        return Ok(Outcome::Done);
    }
    let report = evaluate(protocol, &first, &options)?;
    if let Some(path) = &flags.reliability {
        draw_reliability(path, &report)?;
    }
    output::result(format, &report, || report.to_table())?;
    Ok(Outcome::Done)
}

/// The canvas, if the predictions were made for it and the protocol compares masks of its size.
fn on_canvas(protocol: Protocol, predictions: &[PredictionRecord]) -> anyhow::Result<Option<ImageSize>> {
    let Some(MaskSize::Resized(side)) = protocol.mask_size() else { return Ok(None) };
    let canvas = ImageSize::square(side)?;
    let whole = !predictions.is_empty() && predictions.iter().all(|record| record.prediction.image_size == canvas);
    Ok(whole.then_some(canvas))
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}

pub(super) fn options(flags: &Eval) -> EvalOptions {
    let bootstrap = BootstrapOptions::default();
    let seed = flags.seed.unwrap_or(bootstrap.seed);
    let bootstrap = BootstrapOptions { resamples: flags.resamples, seed, ..bootstrap };
    EvalOptions { bootstrap: (flags.resamples > 0).then_some(bootstrap), ..EvalOptions::default() }
}

/// A file of truth records if there is one of that name, else a data source.
fn truths(flags: &Eval, truth: &str, protocol: Protocol) -> anyhow::Result<Vec<TruthRecord>> {
    let path = Path::new(truth);
    if path.is_file() {
        return Ok(read_truths_file(path, &ReadLimits::default())?);
    }
    let source: DataSource =
        truth.parse().with_context(|| format!("{truth:?} is neither a file of truth records nor a data source"))?;
    let seed = flags.seed.unwrap_or(groundling_data::source::SCENES_SEED);
    let mut truths = samples::truths(&source, flags.masks.into(), seed, &progress::bar(true, 0, ""))?;
    if flags.targets.unwrap_or(super::usual::usual_targets(protocol)) == TargetsName::One {
        truths.retain(|truth| truth.source == TargetCount::One);
    }
    Ok(truths)
}

fn coco_report(flags: &Eval, predictions: &Path, truth: &Path, kind: coco::IouKind) -> anyhow::Result<Report> {
    if flags.compare.is_some() {
        bail!("--compare works on prediction records, not on COCO results");
    }
    let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
    let truth = json::parse_truth(&read(truth)?, truth, kind)?;
    let results = json::parse_results(&read(predictions)?, predictions, &truth, kind)?;
    let evaluation = coco::evaluate(&truth, &results, CocoOptions::new(kind))?;
    Ok(Report::of_coco(kind, truth.images.len(), &evaluation))
}

pub(super) fn draw_reliability(path: &Path, report: &Report) -> anyhow::Result<()> {
    let Some(calibration) = &report.calibration else {
        bail!("there is no reliability to draw: no prediction has a no-target score, or no sample is without target");
    };
    charts::draw_reliability(path, calibration)
}
