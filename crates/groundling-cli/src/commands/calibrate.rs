//! `groundling calibrate`: from which score on a model says that nothing fits.

use anyhow::{Context, bail};
use groundling::Grounder;
use groundling::bundle::CalibrationRecord;
use groundling_data::DataSource;
use groundling_data::examples::{ExampleOptions, Examples};
use groundling_data::image::decode::ExifOrientation;
use groundling_eval::calibration::{Calibration, Judged, USUAL_BINS};
use groundling_eval::scaling::{Fitted, fit_no_target};
use rayon::prelude::*;
use serde::Serialize;

use super::charts;
use super::usual::seed_of;
use crate::flags::{Calibrate, Format};
use crate::{Outcome, output, progress};

/// What was fitted, and what it changes on the phrases it was fitted on.
#[derive(Serialize)]
struct Calibrated {
    schema: &'static str,
    weights: String,
    /// Whether it was written beside the weights.
    stored: bool,
    calibration: CalibrationRecord,
    false_alarm_rate: f64,
    detection_rate: f64,
    before: Calibration,
    after: Calibration,
}

pub(crate) fn run(flags: &Calibrate, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    let data: DataSource = flags.data.parse()?;
    if let Some(path) = &flags.reliability {
        charts::is_svg(path)?;
    }
    flags.model.set_threads()?;
    let bundle = flags.model.bundle()?;
    let grounder = flags.model.open_bundle(&bundle, ExifOrientation::Ignore)?.with_calibration(None);
    let seed = flags.seed.unwrap_or(groundling_data::source::SCENES_SEED);
    let wanted = ExampleOptions { seed, masks: false, ..ExampleOptions::default() };
    let examples = Examples::open(&data, &wanted)?;
    let judged = ask(&grounder, &examples, flags.limit, quiet)?;
    let fitted = fit_no_target(&judged, USUAL_BINS, flags.false_alarm_rate).with_context(|| flags.data.clone())?;
    let Fitted { scaling, point, before, after } = fitted;
    let absent = judged.iter().filter(|pair| pair.holds).count();
    let calibration = CalibrationRecord {
        temperature: scaling.temperature,
        shift: scaling.shift,
        threshold: point.threshold,
        false_alarm_rate: flags.false_alarm_rate,
        source: flags.data.clone(),
        seed: seed_of(&data, seed),
        present: judged.len() - absent,
        absent,
    };
    if !flags.dry_run {
        bundle.calibrate(Some(calibration.clone()))?;
    }
    if let Some(path) = &flags.reliability {
        charts::draw_reliability(path, &after)?;
    }
    let calibrated = Calibrated {
        schema: "groundling.calibration/1",
        weights: bundle.place(),
        stored: !flags.dry_run,
        calibration,
        false_alarm_rate: point.false_alarm_rate,
        detection_rate: point.detection_rate.unwrap_or_default(),
        before,
        after,
    };
    output::result(format, &calibrated, || calibrated.to_text())?;
    Ok(Outcome::Done)
}

/// The raw no-target score of every phrase, and whether nothing fits it.
fn ask(grounder: &Grounder, examples: &Examples, limit: Option<usize>, quiet: bool) -> anyhow::Result<Vec<Judged>> {
    let count = examples.len().min(limit.unwrap_or(usize::MAX));
    let bar = progress::bar(quiet, count as u64, "pictures");
    let of_picture = |index: usize| -> anyhow::Result<Vec<Judged>> {
        let picture = examples.picture(index)?;
        let about = picture.about;
        let session = grounder.open_image(&picture.image).with_context(|| about.file_name.clone())?;
        let judged = about.phrases.iter().map(|phrase| {
            let answer = session.ground_phrase(&phrase.phrase, &groundling::Options::default())?;
            let Some(score) = answer.prediction.no_target_score else {
                bail!(
                    "{}: this model has no score for \"not here\", expected one that has, such as dmmi",
                    grounder.identity().name
                );
            };
            Ok(Judged { score, holds: phrase.truth.targets.is_empty() })
        });
        bar.inc(1);
        judged.collect()
    };
    let judged: anyhow::Result<Vec<_>> = (0..count).into_par_iter().map(of_picture).collect();
    bar.finish_and_clear();
    Ok(judged?.into_iter().flatten().collect())
}

impl Calibrated {
    fn to_text(&self) -> String {
        let CalibrationRecord { temperature, shift, threshold, false_alarm_rate, source, present, absent, .. } =
            &self.calibration;
        let figures = |name: &str, of: &Calibration| {
            let auroc = of.auroc.map_or("-".to_owned(), |auroc| format!("{auroc:.3}"));
            format!("{name:8}{:>8.4}{:>8.4}{auroc:>8}", of.ece, of.brier)
        };
        [
            format!("{} on {source}: {present} phrases about something, {absent} that nothing fits", self.weights),
            format!("temperature {temperature:.4}, shift {shift:.4}, \"not here\" from {threshold:.4} on"),
            format!(
                "false alarms {:.1} % (at most {:.1} % asked for), absent things noticed {:.1} %",
                100.0 * self.false_alarm_rate,
                100.0 * false_alarm_rate,
                100.0 * self.detection_rate,
            ),
            format!("{:8}{:>8}{:>8}{:>8}", "", "ECE", "Brier", "AUROC"),
            figures("before", &self.before),
            figures("after", &self.after),
            if self.stored { "stored beside the weights".to_owned() } else { "not stored".to_owned() },
        ]
        .join("\n")
    }
}
