//! Figures: named numbers that know the samples they are made of.

use serde::{Deserialize, Serialize};

/// What a figure counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FigureUnit {
    /// 0 to 100.
    Percent,
}

impl FigureUnit {
    /// The sign behind a number.
    pub fn sign(self) -> &'static str {
        match self {
            FigureUnit::Percent => "%",
        }
    }
}

/// A figure that is a ratio of two sums over samples: `100 * sum(numerators) / sum(denominators)`.
///
/// Accuracies and means have denominators of 1; oIoU has the pixels of both; a figure over some of the samples has
/// denominators of 0 for the others.
#[derive(Debug, Clone, PartialEq)]
pub struct RatioFigure {
    /// The name by which the field knows it.
    pub name: String,
    /// Unit of [`RatioFigure::value`].
    pub unit: FigureUnit,
    /// Whether it is one of the figures that stand for the whole protocol.
    pub headline: bool,
    /// One number a sample.
    pub numerators: Vec<f64>,
    /// One number a sample.
    pub denominators: Vec<f64>,
}

impl RatioFigure {
    /// A figure in percent from (numerator, denominator) of every sample.
    pub fn percent(name: impl Into<String>, headline: bool, terms: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let (numerators, denominators) = terms.into_iter().unzip();
        Self { name: name.into(), unit: FigureUnit::Percent, headline, numerators, denominators }
    }

    /// The value; `None` if the denominators add up to nothing.
    pub fn value(&self) -> Option<f64> {
        ratio(self.numerators.iter().sum(), self.denominators.iter().sum())
    }

    /// The figure over some of the samples.
    ///
    /// # Panics
    /// If an index is not below the number of samples.
    pub fn of_samples(&self, samples: &[usize]) -> Self {
        let pick = |values: &[f64]| samples.iter().map(|&sample| values[sample]).collect();
        Self {
            name: self.name.clone(),
            unit: self.unit,
            headline: self.headline,
            numerators: pick(&self.numerators),
            denominators: pick(&self.denominators),
        }
    }
}

pub(crate) fn ratio(numerator: f64, denominator: f64) -> Option<f64> {
    (denominator > 0.0).then(|| 100.0 * numerator / denominator)
}

/// Percent of a count; `None` of nothing.
pub(crate) fn percent(part: f64, whole: usize) -> Option<f64> {
    ratio(part, whole as f64)
}

/// A condition as a number to add up.
pub(crate) fn one_if(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}
