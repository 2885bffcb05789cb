//! From a protocol and joined samples to a report.

mod compare;
mod protocol;
mod score;
pub(crate) mod table;

use serde::{Deserialize, Serialize};

use crate::bootstrap::intervals;
use crate::breakdown::Breakdown;
use crate::calibration::{Calibration, USUAL_BINS, no_target_scores};
use crate::coco::{CocoEvaluation, STAT_NAMES};
use crate::records::Sample;
use crate::{BootstrapOptions, EvalError, FigureUnit, Interval};

pub use compare::{CompareError, ComparedFigure, Comparison, SampleChange, compare};
pub use protocol::{Protocol, ProtocolError};
use score::{Scored, Scoring};

/// Name and version of the form of a [`Report`] in JSON.
pub const REPORT_SCHEMA: &str = "groundling.report/1";

/// How to evaluate, beyond the protocol.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvalOptions {
    /// How to make intervals; `None` for none.
    pub bootstrap: Option<BootstrapOptions>,
    /// Whether to divide samples into groups.
    pub breakdowns: bool,
    /// Protocols on masks leave out predicted targets with a lower score.
    pub mask_min_score: f64,
    /// GREC keeps boxes with at least this score.
    pub grec_min_score: f64,
    /// Bins of the calibration of no-target scores.
    pub calibration_bins: usize,
    /// The false-alarm rate for which the no-target threshold is sought.
    pub false_alarm_rate: f64,
}

impl Default for EvalOptions {
    /// As the protocols say: all masks, GREC at 0.7; 1000 resamples, break-downs, 15 bins, 5 % false alarms.
    fn default() -> Self {
        Self {
            bootstrap: Some(BootstrapOptions::default()),
            breakdowns: true,
            mask_min_score: 0.0,
            grec_min_score: 0.7,
            calibration_bins: USUAL_BINS,
            false_alarm_rate: 0.05,
        }
    }
}

/// The outcome of an evaluation. In JSON no number is ever NaN: what is not defined is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_SCHEMA`].
    pub schema: String,
    /// Name of the protocol, which says every choice.
    pub protocol: String,
    /// The choices in words.
    pub description: String,
    /// The figures, in the protocol's order.
    pub figures: Vec<Figure>,
    /// What the samples were.
    pub counts: Counts,
    /// How the intervals were made; absent if there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<IntervalMethod>,
    /// Headline figures by group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub breakdowns: Vec<BreakdownReport>,
    /// Calibration of the no-target score; absent if no prediction has one or the data has no sample without target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// What a reader of the figures must know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A named number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// As the field calls it.
    pub name: String,
    /// The value; absent where it is not defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// Where it lies; absent where not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Unit of both.
    pub unit: FigureUnit,
}

/// Numbers of samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub samples: usize,
    /// Without a target.
    pub zero: usize,
    /// With one.
    pub one: usize,
    /// With several.
    pub many: usize,
    /// Without a prediction, counted as wrong.
    pub missing_predictions: usize,
}

/// How intervals were made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntervalMethod {
    /// Share of resamples inside.
    pub confidence: f64,
    /// Number of resamples.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

/// The headline figures of every group of a division.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BreakdownReport {
    /// What samples are divided by.
    pub name: String,
    /// The groups that have samples.
    pub groups: Vec<GroupReport>,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Its name.
    pub name: String,
    /// Samples in it.
    pub count: usize,
    /// The protocol's headline figures over them.
    pub figures: Vec<Figure>,
}

/// Scores samples under a protocol.
///
/// # Errors
/// [`EvalError`] if the samples do not suit the protocol: no masks, not one box each.
pub fn evaluate(protocol: Protocol, samples: &[Sample], options: &EvalOptions) -> Result<Report, EvalError> {
    let scored = Scored::of(protocol, samples, options)?;
    let counts = Counts::of(samples);
    let mut notes = scored.notes(protocol, &counts);
    if counts.missing_predictions > 0 {
        notes.push(format!("{} samples have no prediction and count as wrong", counts.missing_predictions));
    }
    let figures = scored.figures(options.bootstrap.as_ref());
    let has_intervals = figures.iter().any(|figure| figure.interval.is_some());
    let breakdowns = if options.breakdowns { breakdowns(protocol, samples, &scored, options)? } else { Vec::new() };
    let calibration = (counts.zero > 0)
        .then(|| Calibration::of(&no_target_scores(samples), options.calibration_bins, options.false_alarm_rate))
        .flatten();
    Ok(Report {
        schema: REPORT_SCHEMA.to_owned(),
        protocol: protocol.to_string(),
        description: protocol.description(),
        figures,
        counts,
        intervals: options.bootstrap.filter(|_| has_intervals).map(IntervalMethod::of),
        breakdowns,
        calibration,
        notes,
    })
}

fn breakdowns(
    protocol: Protocol,
    samples: &[Sample],
    scored: &Scored,
    options: &EvalOptions,
) -> Result<Vec<BreakdownReport>, EvalError> {
    let mut reports = Vec::with_capacity(Breakdown::ALL.len());
    for breakdown in Breakdown::ALL {
        let mut groups = Vec::new();
        for (name, places) in breakdown.groups().iter().zip(breakdown.divide(samples)) {
            if places.is_empty() {
                continue;
            }
            let part = scored.headlines_of(protocol, samples, &places)?;
            let figures = part.figures(options.bootstrap.as_ref());
            groups.push(GroupReport { name: (*name).to_owned(), count: places.len(), figures });
        }
        reports.push(BreakdownReport { name: breakdown.name().to_owned(), groups });
    }
    Ok(reports)
}

impl Scored {
    fn figures(&self, bootstrap: Option<&BootstrapOptions>) -> Vec<Figure> {
        match &self.scoring {
            Scoring::Ratios(ratios) => {
                let intervals =
                    bootstrap.map_or_else(|| vec![None; ratios.len()], |options| intervals(ratios, options));
                let figure = |(ratio, interval): (&crate::RatioFigure, Option<Interval>)| {
                    Figure::new(ratio.name.clone(), ratio.value(), interval)
                };
                ratios.iter().zip(intervals).map(figure).collect()
            }
            Scoring::Ranked(ranked) => {
                let headline = bootstrap.and_then(|options| ranked.interval(options));
                let intervals = std::iter::once(headline).chain(std::iter::repeat(None));
                let figure = |((name, value), interval): (&(&str, Option<f64>), Option<Interval>)| {
                    Figure::new((*name).to_owned(), *value, interval)
                };
                ranked.values.iter().zip(intervals).map(figure).collect()
            }
        }
    }
}

impl Report {
    /// A report on an evaluation of COCO files.
    pub fn of_coco(kind: crate::coco::IouKind, images: usize, evaluation: &CocoEvaluation) -> Self {
        let protocol = Protocol::Coco(kind);
        let stats = STAT_NAMES.iter().zip(evaluation.stats());
        Self {
            schema: REPORT_SCHEMA.to_owned(),
            protocol: protocol.to_string(),
            description: format!("AP over {images} images and {} categories", evaluation.category_ids().len()),
            figures: stats
                .map(|(name, value)| Figure::new((*name).to_owned(), value.map(|v| 100.0 * v), None))
                .collect(),
            counts: Counts { samples: images, ..Counts::default() },
            intervals: None,
            breakdowns: Vec::new(),
            calibration: None,
            notes: Vec::new(),
        }
    }

    /// The figure of a name.
    pub fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    /// The report as JSON, indented.
    pub fn to_json(&self) -> String {
        // Only texts, finite numbers and lists: nothing in it can fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The report as text in aligned columns.
    pub fn to_table(&self) -> String {
        table::report(self)
    }
}

impl Figure {
    /// A figure in percent. Numbers that are not finite become "not available".
    fn new(name: String, value: Option<f64>, interval: Option<Interval>) -> Self {
        let finite = |interval: &Interval| interval.low.is_finite() && interval.high.is_finite();
        Self {
            name,
            value: value.filter(|value| value.is_finite()),
            interval: interval.filter(finite),
            unit: FigureUnit::Percent,
        }
    }
}

impl Counts {
    fn of(samples: &[Sample]) -> Self {
        use groundling_core::TargetCount;
        let count = |f: &dyn Fn(&Sample) -> bool| samples.iter().filter(|sample| f(sample)).count();
        Self {
            samples: samples.len(),
            zero: count(&|sample| sample.truth.source == TargetCount::Zero),
            one: count(&|sample| sample.truth.source == TargetCount::One),
            many: count(&|sample| sample.truth.source == TargetCount::Many),
            missing_predictions: count(&|sample| sample.prediction.is_none()),
        }
    }
}

impl IntervalMethod {
    fn of(options: BootstrapOptions) -> Self {
        Self { confidence: options.confidence, resamples: options.resamples, seed: options.seed }
    }
}
