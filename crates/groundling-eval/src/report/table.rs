//! Reports as text.

use super::{Comparison, Figure, Report};
use crate::Interval;

/// What stands in place of a number that is not defined.
pub(crate) const NOT_AVAILABLE: &str = "not available";

pub(super) fn report(report: &Report) -> String {
    let mut text = format!("{} ({})\n", report.protocol, report.description);
    let counts = &report.counts;
    text += &format!("{} samples", counts.samples);
    if counts.zero + counts.one + counts.many > 0 {
        text += &format!(": {} without a target, {} with one, {} with several", counts.zero, counts.one, counts.many);
    }
    text.push('\n');
    if let Some(method) = &report.intervals {
        let percent = 100.0 * method.confidence;
        text += &format!("{percent}% intervals, {} resamples, seed {}\n", method.resamples, method.seed);
    }
    text.push('\n');
    text += &align(report.figures.iter().map(|figure| vec![figure.name.clone(), value(figure), interval(figure)]));
    for breakdown in &report.breakdowns {
        text += &format!("\nby {}\n", breakdown.name);
        let rows = breakdown.groups.iter().map(|group| {
            let mut row = vec![format!("  {}", group.name), group.count.to_string()];
            row.extend(group.figures.iter().flat_map(|f| [f.name.clone(), value(f), interval(f)]));
            row
        });
        text += &align(rows);
    }
    if let Some(calibration) = &report.calibration {
        text += &format!("\nno-target score ({} samples)\n", calibration.count);
        let number = |value: Option<f64>| value.map_or(NOT_AVAILABLE.to_owned(), |value| format!("{value:.4}"));
        let mut rows = vec![
            vec!["  ECE".to_owned(), number(Some(calibration.ece))],
            vec!["  Brier score".to_owned(), number(Some(calibration.brier))],
            vec!["  AUROC".to_owned(), number(calibration.auroc)],
        ];
        let point = calibration.operating_point.as_ref();
        let wanted = 100.0 * calibration.wanted_false_alarm_rate;
        rows.push(vec![
            format!("  threshold at {wanted}% false alarms"),
            number(point.map(|point| point.threshold)),
            point
                .and_then(|point| point.detection_rate)
                .map_or(String::new(), |rate| format!("finds {:.2}%", 100.0 * rate)),
        ]);
        text += &align(rows);
    }
    for note in &report.notes {
        text += &format!("\nnote: {note}\n");
    }
    text
}

pub(super) fn comparison(comparison: &Comparison) -> String {
    let mut text = format!("{} ({})\n{} samples\n\n", comparison.protocol, comparison.description, comparison.samples);
    let number = |value: Option<f64>| value.map_or(NOT_AVAILABLE.to_owned(), |value| format!("{value:.2}"));
    let head = ["", "first", "second", "difference", "interval", "p"].map(str::to_owned).to_vec();
    let rows = comparison.figures.iter().map(|figure| {
        vec![
            figure.name.clone(),
            number(figure.first),
            number(figure.second),
            figure.difference.map_or(NOT_AVAILABLE.to_owned(), |value| format!("{value:+.2}")),
            figure.interval.map_or(String::new(), |interval| format!("[{:+.2}, {:+.2}]", interval.low, interval.high)),
            figure.p_value.map_or(String::new(), |value| format!("{value:.3}")),
        ]
    });
    text += &align(std::iter::once(head).chain(rows));
    text += &format!("\nright: {}\n", comparison.criterion);
    for (name, changes) in [("gained", &comparison.gained), ("lost", &comparison.lost)] {
        text += &format!("{name}: {}\n", changes.len());
        let shown = changes.iter().take(10).map(|change| vec![format!("  {}", change.id), change.phrase.clone()]);
        text += &align(shown);
    }
    text
}

fn value(figure: &Figure) -> String {
    figure.value.map_or(NOT_AVAILABLE.to_owned(), |value| format!("{value:.2}{}", figure.unit.sign()))
}

fn interval(figure: &Figure) -> String {
    figure.interval.map_or(String::new(), |Interval { low, high }| format!("[{low:.2}, {high:.2}]"))
}

/// Columns of equal width: the first to the left, numbers to the right. No space at the end of a line.
pub(crate) fn align(rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let number = |cell: &str| cell.starts_with(|c: char| c.is_ascii_digit() || "+-[".contains(c));
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column > 0 && number(cell) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
