//! Two sets of predictions over the same truths.

use serde::{Deserialize, Serialize};

use super::score::{Scored, Scoring};
use super::{EvalOptions, Protocol, table};
use crate::bootstrap::{PairedDifference, paired_differences};
use crate::records::Sample;
use crate::{EvalError, Interval};

/// How the second set of predictions differs from the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Name of the protocol, which says every choice.
    pub protocol: String,
    /// The choices in words.
    pub description: String,
    /// Number of samples.
    pub samples: usize,
    /// The figures, in the protocol's order.
    pub figures: Vec<ComparedFigure>,
    /// What makes a sample right.
    pub criterion: String,
    /// Samples that only the second set has right.
    pub gained: Vec<SampleChange>,
    /// Samples that only the first set has right.
    pub lost: Vec<SampleChange>,
}

/// One figure of both sets, in percent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparedFigure {
    /// As the field calls it.
    pub name: String,
    /// Of the first set; absent where not defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<f64>,
    /// Of the second set; absent where not defined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<f64>,
    /// Second minus first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<f64>,
    /// Where the difference lies, by the paired bootstrap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Of "no difference", see [`PairedDifference::p_value`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
}

/// A sample that became right or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleChange {
    /// Its id.
    pub id: String,
    /// Its image.
    pub image: String,
    /// Its phrase.
    pub phrase: String,
}

/// Why two sets of samples cannot be compared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// Different numbers of samples.
    #[error("{first} and {second} samples, expected the same truths on both sides")]
    Length {
        /// Samples of the first set.
        first: usize,
        /// Samples of the second.
        second: usize,
    },
    /// A sample with another truth.
    #[error(
        "sample {place} is {first:?} on one side and {second:?} on the other, expected the same truths on both sides"
    )]
    Truth {
        /// Which sample, from 0.
        place: usize,
        /// Id in the first set.
        first: String,
        /// Id in the second.
        second: String,
    },
    /// One of the sets does not suit the protocol.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// Compares two sets of predictions that were joined to the same truths.
///
/// # Errors
/// If the truths are not the same in the same order, or do not suit the protocol.
pub fn compare(
    protocol: Protocol,
    first: &[Sample],
    second: &[Sample],
    options: &EvalOptions,
) -> Result<Comparison, CompareError> {
    if first.len() != second.len() {
        return Err(CompareError::Length { first: first.len(), second: second.len() });
    }
    if let Some(place) = first.iter().zip(second).position(|(a, b)| a.truth != b.truth) {
        let id = |samples: &[Sample]| samples[place].truth.id.clone();
        return Err(CompareError::Truth { place, first: id(first), second: id(second) });
    }
    let (one, two) = (Scored::of(protocol, first, options)?, Scored::of(protocol, second, options)?);
    let changed = |from: &Scored, to: &Scored| -> Vec<SampleChange> {
        let places = from.right.iter().zip(&to.right).enumerate().filter(|(_, (before, after))| !**before && **after);
        places.map(|(place, _)| SampleChange::of(&first[place])).collect()
    };
    let (gained, lost) = (changed(&one, &two), changed(&two, &one));
    Ok(Comparison {
        protocol: protocol.to_string(),
        description: protocol.description(),
        samples: first.len(),
        figures: compared(&one.scoring, &two.scoring, options),
        criterion: Scored::criterion(protocol).to_owned(),
        gained,
        lost,
    })
}

fn compared(first: &Scoring, second: &Scoring, options: &EvalOptions) -> Vec<ComparedFigure> {
    match (first, second) {
        (Scoring::Ratios(first), Scoring::Ratios(second)) => {
            let pairs = first.iter().zip(second);
            let differences: Vec<Option<PairedDifference>> = match &options.bootstrap {
                Some(options) => paired_differences(first, second, options),
                None => vec![None; first.len()],
            };
            let figures = pairs.zip(differences).map(|((a, b), difference)| {
                let figure = ComparedFigure::of(&a.name, a.value(), b.value());
                ComparedFigure {
                    interval: difference.and_then(|d| d.interval),
                    p_value: difference.and_then(|d| d.p_value),
                    ..figure
                }
            });
            figures.collect()
        }
        (Scoring::Ranked(first), Scoring::Ranked(second)) => {
            let pairs = first.values.iter().zip(&second.values);
            let mut figures: Vec<_> = pairs.map(|((name, a), (_, b))| ComparedFigure::of(name, *a, *b)).collect();
            let headline = options.bootstrap.as_ref().and_then(|options| first.difference(second, options));
            if let (Some(figure), Some(difference)) = (figures.first_mut(), headline) {
                (figure.interval, figure.p_value) = (difference.interval, difference.p_value);
            }
            figures
        }
        // Both sides come from one protocol, which decides the form.
        _ => Vec::new(),
    }
}

impl ComparedFigure {
    fn of(name: &str, first: Option<f64>, second: Option<f64>) -> Self {
        let difference = first.zip(second).map(|(first, second)| second - first);
        Self { name: name.to_owned(), first, second, difference, interval: None, p_value: None }
    }
}

impl SampleChange {
    fn of(sample: &Sample) -> Self {
        let truth = &sample.truth;
        Self { id: truth.id.clone(), image: truth.image.clone(), phrase: truth.phrase.as_str().to_owned() }
    }
}

impl Comparison {
    /// The comparison as JSON, indented.
    pub fn to_json(&self) -> String {
        // Only texts, finite numbers and lists: nothing in it can fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The comparison as text in aligned columns, with the first ten gained and lost samples.
    pub fn to_table(&self) -> String {
        table::comparison(self)
    }
}
