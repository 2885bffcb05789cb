//! Grounders: how long reading a picture and a phrase and answering take.

use std::time::Instant;

use anyhow::Context;
use groundling::{Answer, Grounder, Level, Options, Session, Settings, systems};
use groundling_core::Phrase;
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_bytes};
use serde::Serialize;
use serde_json::Value;

use super::{Setup, Stage, Times, median_of, picture, quartiles};
use crate::flags::{Bench, Format};
use crate::{Outcome, output};

#[derive(Serialize)]
struct Measured {
    schema: &'static str,
    #[serde(flatten)]
    setup: Setup,
    phrase: String,
    pieces: usize,
    stages: Vec<Stage>,
    /// By the model, for this answer.
    counted_flops: u64,
    dense_flops: u64,
    /// By the formula of the system's specification from sizes and patches alone; must be the same. `null` for a system without one.
    analytic_flops: Option<u64>,
    levels: Vec<LevelLine>,
    /// Counted operations over the median of `answer`.
    gflops_per_second: f64,
    /// How many times faster than reading everything.
    speedup: f64,
}

#[derive(Serialize)]
struct LevelLine {
    level: usize,
    kept: usize,
    valid: usize,
    flops: u64,
    /// Median milliseconds of an answer of this level less that of the one before; of the first, the whole.
    milliseconds: f64,
}

pub(super) fn run(flags: &Bench, format: Format) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let (grounder, config) = open(flags)?;
    let open_seconds = start.elapsed().as_secs_f64();
    let (file, image) = picture(flags)?;
    let phrase = Phrase::parse(&flags.phrase)?;
    let session = grounder.open_image(&image)?;
    let options = chosen(flags, &session, &phrase)?;
    let dense = Options { threshold: f32::NEG_INFINITY, budget_gflops: None, ..options };
    let answer = session.ground_phrase(&phrase, &options)?;
    let count = answer.explain.levels.len();

    // Stages in turn, so that a slow moment of the machine falls on all of them.
    let mut times = Times::default();
    let mut levels = vec![Vec::new(); count];
    for _ in 0..flags.repeats {
        times.measure("decode", || decode_bytes(&file, ImageLimits::default(), ExifOrientation::Ignore))?;
        let session = times.measure("read picture", || grounder.open_image(&image))?;
        // A phrase that was not asked before: the grounder keeps the others.
        grounder.forget_phrases();
        times.measure("read phrase", || -> anyhow::Result<()> {
            grounder.read_phrase(&phrase);
            Ok(())
        })?;
        times.measure("answer", || session.ground_phrase(&phrase, &options))?;
        times.measure("answer, all read", || session.ground_phrase(&phrase, &dense))?;
        for (level, times) in levels.iter_mut().enumerate() {
            let start = Instant::now();
            session.ground_phrase(&phrase, &Options { level: Some(level), ..options })?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        grounder.forget_phrases();
        times.measure("all: file to box", || -> anyhow::Result<Answer> {
            let image = decode_bytes(&file, ImageLimits::default(), ExifOrientation::Ignore)?;
            Ok(grounder.open_image(&image)?.ground_phrase(&phrase, &options)?)
        })?;
    }
    let stages = times.stages();
    let medians: Vec<f64> = levels.into_iter().map(|times| quartiles(times)[1]).collect();
    let before = std::iter::once(0.0).chain(medians.iter().copied());
    let levels: Vec<LevelLine> = answer
        .explain
        .levels
        .iter()
        .zip(medians.iter().zip(before))
        .enumerate()
        .map(|(number, (level, (median, before)))| LevelLine {
            level: number,
            kept: level.kept.len(),
            valid: level.valid.len(),
            flops: level.flops,
            milliseconds: median - before,
        })
        .collect();
    let measured = Measured {
        schema: "groundling.bench/1",
        setup: Setup::new(flags, grounder.identity(), &image, open_seconds),
        pieces: grounder.pieces(&phrase).ids.len(),
        phrase: flags.phrase.clone(),
        counted_flops: answer.flops,
        dense_flops: answer.dense_flops,
        analytic_flops: analytic_flops(&config, grounder.pieces(&phrase).ids.len(), &answer.explain.levels),
        levels,
        gflops_per_second: answer.flops as f64 / 1e6 / median_of(&stages, "answer"),
        speedup: median_of(&stages, "answer, all read") / median_of(&stages, "answer"),
        stages,
    };
    output::result(format, &measured, || text(&measured))?;
    let agrees = measured.analytic_flops.is_none_or(|flops| flops == measured.counted_flops);
    Ok(if agrees { Outcome::Done } else { Outcome::Negative })
}

/// The model and its configuration.
fn open(flags: &Bench) -> anyhow::Result<(Grounder, Value)> {
    let (Some(system), Some(preset)) = (&flags.system, &flags.preset) else {
        let config = flags.model.bundle()?.manifest().config.clone();
        return Ok((flags.model.open(ExifOrientation::Ignore)?, config));
    };
    flags.model.set_threads()?;
    let config = systems::preset(system, preset).with_context(|| {
        format!("there is no preset {preset:?} of system {system:?}; `groundling models` lists them")
    })?;
    let settings = Settings { device: flags.model.device, ..Settings::default() };
    Ok((systems::random(system, config.clone(), 0, settings)?, config))
}

/// ScanFormer's operations by section 9 of its description, written a second time so that the model's own count can be checked.
fn analytic_flops(config: &Value, pieces: usize, levels: &[Level]) -> Option<u64> {
    let size = |name: &str| config[name].as_u64();
    let (d, hidden, layers) = (size("dim")?, size("mlp_hidden")?, size("layers")?);
    let (patch, all, nested) = (size("patch")?, size("levels")?, config["nested"].as_bool()?);
    let layer = |n: u64, m: u64| 6 * n * d * d + 4 * n * m * d + 2 * n * d * d + 4 * n * d * hidden;
    let mut keys = pieces as u64;
    let mut flops = layers * layer(keys, keys);
    for (number, level) in levels.iter().enumerate() {
        let (kept, merged) = (level.kept.len() as u64, u64::from(level.constants > 0));
        let tokens = 1 + kept + merged;
        keys += tokens;
        let chooses = number as u64 + 1 < all && number + 1 < levels.len();
        let voters = if chooses { kept + if nested { 0 } else { merged } } else { 0 };
        flops += layers * layer(tokens, keys) + 2 * kept * 3 * patch * patch * d;
        flops += 2 * (2 * d * d + 4 * d) + 2 * voters * (d * d + 4 * d);
    }
    Some(flops)
}

/// The options asked for; with `--keep`, those that read as many patches as that.
fn chosen(flags: &Bench, session: &Session, phrase: &Phrase) -> anyhow::Result<Options> {
    let options = flags.how.options(false);
    let Some(keep) = &flags.keep else { return Ok(options) };
    let wanted: usize = keep.iter().sum();
    // What is read grows as the threshold falls: halving finds the place.
    let read = |threshold: f32| -> anyhow::Result<usize> {
        let answer = session.ground_phrase(phrase, &Options { threshold, ..options })?;
        Ok(answer.explain.levels.iter().skip(1).map(|level| level.kept.len()).sum())
    };
    let (mut low, mut high) = (-64.0f32, 64.0f32);
    for _ in 0..48 {
        let middle = (low + high) / 2.0;
        if read(middle)? > wanted { low = middle } else { high = middle }
    }
    Ok(Options { threshold: high, ..options })
}

fn text(measured: &Measured) -> String {
    let heading = format!("{}, {} pieces", measured.setup.heading(), measured.pieces);
    let mut lines = vec![heading, Stage::heading()];
    lines.extend(measured.stages.iter().map(Stage::line));
    for LevelLine { level, kept, valid, flops, milliseconds } in &measured.levels {
        let gflops = *flops as f64 / 1e9;
        lines.push(format!("  level {level:<10} {milliseconds:9.2}  {kept} of {valid} patches, {gflops:.3} GFLOPs"));
    }
    let gflops = |flops: u64| flops as f64 / 1e9;
    lines.push(format!(
        "{:.3} GFLOPs an answer, {:.3} if everything is read; {:.1} GFLOP/s; {:.2} times faster than reading everything",
        gflops(measured.counted_flops),
        gflops(measured.dense_flops),
        measured.gflops_per_second,
        measured.speedup,
    ));
    match measured.analytic_flops {
        Some(flops) if flops == measured.counted_flops => lines.push("the count is that of the formula".to_owned()),
        Some(flops) => lines
            .push(format!("WRONG: the formula gives {flops} operations, the model counted {}", measured.counted_flops)),
        None => {}
    }
    lines.push(measured.setup.last_line());
    lines.join("\n")
}
