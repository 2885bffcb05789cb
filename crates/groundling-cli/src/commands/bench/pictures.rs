//! Detectors and classifiers: how long a picture takes.

use std::time::Instant;

use anyhow::Context;
use groundling::{Classifier, DetectOptions, Detector, Settings, systems};
use groundling_core::ModelIdentity;
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_bytes};
use image::RgbImage;
use serde::Serialize;

use super::{Setup, Stage, Times, median_of, picture};
use crate::flags::{Bench, Format};
use crate::{Outcome, output};

#[derive(Serialize)]
struct Measured {
    schema: &'static str,
    #[serde(flatten)]
    setup: Setup,
    stages: Vec<Stage>,
    counted_flops: u64,
    /// Had the encoder worked on all tokens; `null` for classifiers, which leave nothing out.
    dense_flops: Option<u64>,
    /// Share of the tokens that the encoder's layers worked on; `null` for classifiers.
    kept_share: Option<f64>,
    /// Counted operations over the median of `answer`.
    gflops_per_second: f64,
}

enum Model {
    Detector(Detector),
    Classifier(Classifier),
}

/// What an answer took.
struct Cost {
    flops: u64,
    dense_flops: Option<u64>,
    kept_share: Option<f64>,
}

pub(super) fn run(flags: &Bench, format: Format) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let model = Model::open(flags)?;
    let open_seconds = start.elapsed().as_secs_f64();
    let (file, image) = picture(flags)?;
    let cost = model.answer(&image, flags)?;
    let mut times = Times::default();
    for _ in 0..flags.repeats {
        let decode = || decode_bytes(&file, ImageLimits::default(), ExifOrientation::Ignore);
        times.measure("decode", decode)?;
        times.measure("answer", || model.answer(&image, flags))?;
        times.measure("all: file to answer", || model.answer(&decode()?, flags))?;
    }
    let stages = times.stages();
    let measured = Measured {
        schema: "groundling.bench-pictures/1",
        setup: Setup::new(flags, model.identity(), &image, open_seconds),
        counted_flops: cost.flops,
        dense_flops: cost.dense_flops,
        kept_share: cost.kept_share,
        gflops_per_second: cost.flops as f64 / 1e6 / median_of(&stages, "answer"),
        stages,
    };
    output::result(format, &measured, || text(&measured))?;
    Ok(Outcome::Done)
}

impl Model {
    fn open(flags: &Bench) -> anyhow::Result<Self> {
        let settings = Settings { device: flags.model.device, ..Settings::default() };
        let (Some(system), Some(preset)) = (&flags.system, &flags.preset) else {
            let system = flags.model.bundle()?.manifest().system.clone();
            return Ok(if systems::CLASSIFIERS.contains(&system.as_str()) {
                Self::Classifier(flags.model.open_classifier(ExifOrientation::Ignore)?)
            } else {
                Self::Detector(flags.model.open_detector(ExifOrientation::Ignore)?)
            });
        };
        flags.model.set_threads()?;
        let config = systems::preset(system, preset).with_context(|| {
            format!("there is no preset {preset:?} of system {system:?}; `groundling models` lists them")
        })?;
        Ok(if systems::CLASSIFIERS.contains(&system.as_str()) {
            Self::Classifier(systems::random_classifier(config, 0, settings)?)
        } else {
            Self::Detector(systems::random_detector(config, 0, settings)?)
        })
    }

    fn answer(&self, image: &RgbImage, flags: &Bench) -> anyhow::Result<Cost> {
        Ok(match self {
            Self::Detector(detector) => {
                let options = DetectOptions { budget_gflops: flags.how.budget_gflops, ..DetectOptions::default() };
                let found = detector.detect(image, &options)?;
                let kept_share = Some(found.kept.share());
                Cost { flops: found.flops, dense_flops: Some(found.dense_flops), kept_share }
            }
            Self::Classifier(classifier) => {
                Cost { flops: classifier.classify(image, 1)?.flops, dense_flops: None, kept_share: None }
            }
        })
    }

    fn identity(&self) -> &ModelIdentity {
        match self {
            Self::Detector(detector) => detector.identity(),
            Self::Classifier(classifier) => classifier.identity(),
        }
    }
}

fn text(measured: &Measured) -> String {
    let mut lines = vec![measured.setup.heading(), Stage::heading()];
    lines.extend(measured.stages.iter().map(Stage::line));
    let gflops = |flops: u64| flops as f64 / 1e9;
    let dense = match (measured.dense_flops, measured.kept_share) {
        (Some(dense), Some(share)) => {
            format!(", {:.3} if the encoder worked on all tokens ({:.0} % kept)", gflops(dense), 100.0 * share)
        }
        _ => String::new(),
    };
    let (counted, rate) = (gflops(measured.counted_flops), measured.gflops_per_second);
    lines.push(format!("{counted:.3} GFLOPs an answer{dense}; {rate:.1} GFLOP/s"));
    lines.push(measured.setup.last_line());
    lines.join("\n")
}
