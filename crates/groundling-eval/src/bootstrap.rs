//! How sure a figure is: percentile bootstrap over samples.
//!
//! A resample draws as many samples as there are, with replacement; the interval runs between the percentiles of the
//! statistic over all resamples. Two sets of predictions are compared on the *same* resamples (paired), which removes
//! the difficulty of the samples from the difference.
//!
//! Resample `r` depends on the seed and `r` only: results are the same for any number of threads.
//!
//! Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, ch. 13 (percentile interval) and 16 (tests).

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::RatioFigure;
use crate::figures::ratio;
use crate::rng::Rng;

/// How to resample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BootstrapOptions {
    /// Number of resamples.
    pub resamples: usize,
    /// Share of resamples inside the interval, between 0 and 1.
    pub confidence: f64,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for BootstrapOptions {
    /// 1000 resamples, 95 %, seed 0.
    fn default() -> Self {
        Self { resamples: 1000, confidence: 0.95, seed: 0 }
    }
}

/// Where a figure lies, with the confidence asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// The difference of one figure between two sets of predictions, second minus first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairedDifference {
    /// Over all samples.
    pub difference: f64,
    /// Percentile interval of the difference.
    pub interval: Option<Interval>,
    /// Two-sided p-value of "no difference": the share of resamples in which the difference is at least as far from the
    /// observed one as the observed one is from zero, both ends counted with one added (so it is never 0).
    pub p_value: Option<f64>,
}

/// The statistic on every resample; resamples on which it is not defined are left out. It gets how often each of
/// `samples` was drawn, and must depend on nothing else.
pub fn resampled(
    samples: usize,
    options: &BootstrapOptions,
    statistic: impl Fn(&[u32]) -> Option<f64> + Sync,
) -> Vec<f64> {
    let each = |counts: &[u32]| [statistic(counts)];
    resampled_rows(samples, options, each).into_iter().flatten().flatten().filter(|v| v.is_finite()).collect()
}

/// The percentile interval of values of a statistic; `None` without values. Percentiles are interpolated linearly.
pub fn percentile_interval(mut values: Vec<f64>, confidence: f64) -> Option<Interval> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
    let at = |share: f64| {
        let position = share * last as f64;
        let (below, above) = (values[position.floor() as usize], values[position.ceil() as usize]);
        below + (above - below) * position.fract()
    };
    Some(Interval { low: at(tail), high: at(1.0 - tail) })
}

/// Intervals of several figures over the same samples, drawn together; `None` where a figure is not defined.
///
/// # Panics
/// If the figures are not all of the same samples, which is a bug of the caller.
pub fn intervals(figures: &[RatioFigure], options: &BootstrapOptions) -> Vec<Option<Interval>> {
    let table = Table::new(figures);
    let rows = resampled_rows(table.samples, options, |counts| table.values(counts));
    let column = |index: usize| rows.iter().filter_map(|row| row[index]).collect();
    let interval = |(index, figure): (usize, &RatioFigure)| {
        figure.value()?;
        percentile_interval(column(index), options.confidence)
    };
    figures.iter().enumerate().map(interval).collect()
}

/// Compares figures of two sets of predictions over the same samples; `None` where either is not defined.
///
/// # Panics
/// If the figures do not correspond, which is a bug of the caller.
pub fn paired_differences(
    first: &[RatioFigure],
    second: &[RatioFigure],
    options: &BootstrapOptions,
) -> Vec<Option<PairedDifference>> {
    assert_eq!(first.len(), second.len(), "both sides have the same figures");
    let both: Vec<RatioFigure> = first.iter().chain(second).cloned().collect();
    let table = Table::new(&both);
    let rows = resampled_rows(table.samples, options, |counts| table.values(counts));
    let compare = |index: usize| {
        let difference = second[index].value()? - first[index].value()?;
        let values = rows.iter().filter_map(|row| Some(row[index + first.len()]? - row[index]?));
        Some(PairedDifference::of(difference, values.collect(), options.confidence))
    };
    (0..first.len()).map(compare).collect()
}

impl PairedDifference {
    /// From the difference over all samples and over every resample.
    pub fn of(difference: f64, values: Vec<f64>, confidence: f64) -> Self {
        // Sums in another order differ in the last bits; such a difference is none.
        let slack = 1e-9;
        let far = values.iter().filter(|&&value| (value - difference).abs() >= difference.abs() - slack).count();
        let p_value = (!values.is_empty()).then(|| (far + 1) as f64 / (values.len() + 1) as f64);
        Self { difference, interval: percentile_interval(values, confidence), p_value }
    }
}

/// Numerators and denominators of all figures, one row a sample, so that a resample is one pass over memory.
struct Table {
    samples: usize,
    columns: usize,
    rows: Vec<f64>,
}

impl Table {
    fn new(figures: &[RatioFigure]) -> Self {
        let samples = figures.first().map_or(0, |figure| figure.numerators.len());
        let columns = 2 * figures.len();
        let mut rows = vec![0.0; samples * columns];
        for (index, figure) in figures.iter().enumerate() {
            let lengths = (figure.numerators.len(), figure.denominators.len());
            assert_eq!(lengths, (samples, samples), "figure {:?} is over the same samples", figure.name);
            for (sample, (&n, &d)) in figure.numerators.iter().zip(&figure.denominators).enumerate() {
                rows[sample * columns + 2 * index] = n;
                rows[sample * columns + 2 * index + 1] = d;
            }
        }
        Self { samples, columns, rows }
    }

    fn values(&self, counts: &[u32]) -> Vec<Option<f64>> {
        let mut sums = vec![0.0; self.columns];
        if self.columns > 0 {
            for (row, &count) in self.rows.chunks_exact(self.columns).zip(counts) {
                let count = f64::from(count);
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += count * value);
            }
        }
        sums.chunks_exact(2).map(|pair| ratio(pair[0], pair[1])).collect()
    }
}

fn resampled_rows<T: Send>(
    samples: usize,
    options: &BootstrapOptions,
    statistic: impl Fn(&[u32]) -> T + Sync,
) -> Vec<T> {
    if samples == 0 {
        return Vec::new();
    }
    (0..options.resamples as u64)
        .into_par_iter()
        .map_init(
            || vec![0u32; samples],
            |counts, resample| {
                counts.fill(0);
                let mut rng = Rng::stream(options.seed, resample);
                (0..samples).for_each(|_| counts[rng.below(samples as u64) as usize] += 1);
                statistic(counts)
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate() {
        let interval = percentile_interval((0..=100).rev().map(f64::from).collect(), 0.9).unwrap();
        assert!((interval.low - 5.0).abs() < 1e-9 && (interval.high - 95.0).abs() < 1e-9, "{interval:?}");
        assert_eq!(percentile_interval(vec![], 0.9), None);
        assert_eq!(percentile_interval(vec![3.0], 0.9), Some(Interval { low: 3.0, high: 3.0 }));
        assert_eq!(percentile_interval(vec![0.0, 1.0], 0.5), Some(Interval { low: 0.25, high: 0.75 }));
    }

    #[test]
    fn the_interval_of_a_share_is_that_of_the_binomial() {
        // 400 samples, half of them right: the standard error is 2.5 points.
        let figure = RatioFigure::percent("x", true, (0..400).map(|i| (f64::from(i % 2), 1.0)));
        let interval = intervals(&[figure], &BootstrapOptions { resamples: 4000, ..Default::default() })[0].unwrap();
        assert!((interval.low - 45.1).abs() < 0.5 && (interval.high - 54.9).abs() < 0.5, "{interval:?}");
    }

    #[test]
    fn the_general_form_agrees_with_the_ratio_form() {
        let figure = RatioFigure::percent("x", true, (0..60).map(|i| (f64::from(i * i % 7), f64::from(i % 5 + 1))));
        let options = BootstrapOptions { resamples: 50, ..Default::default() };
        let values = resampled(60, &options, |counts| {
            let sum = |v: &[f64]| v.iter().zip(counts).map(|(v, &c)| v * f64::from(c)).sum::<f64>();
            ratio(sum(&figure.numerators), sum(&figure.denominators))
        });
        assert_eq!(values.len(), 50);
        assert_eq!(percentile_interval(values, 0.95), intervals(&[figure], &options)[0]);
    }

    #[test]
    fn nothing_gives_nothing() {
        let options = BootstrapOptions::default();
        assert_eq!(intervals(&[RatioFigure::percent("x", true, [])], &options), [None]);
        assert_eq!(intervals(&[RatioFigure::percent("x", true, [(0.0, 0.0)])], &options), [None]);
        assert!(intervals(&[], &options).is_empty());
    }
}
