//! Bars, grouped by category.

use super::axes::{Area, Axis, Bottom, Entry, Key, Page};
use super::display::{Anchor, DisplayList, Shape};
use super::ticks;
use super::{Chart, drawable, range_of};
use crate::color::Color;
use crate::font;

/// One bar a category.
#[derive(Debug, Clone, PartialEq)]
pub struct BarSeries {
    /// Name in the legend; not listed if empty.
    pub name: String,
    /// Heights, in the order of the categories. Missing or not drawable: no bar.
    pub values: Vec<f64>,
    /// Ends (low, high) of a whisker for each bar; none where missing or not drawable.
    pub errors: Vec<(f64, f64)>,
}

/// Bars in groups.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarPlot {
    /// Names of the groups, left to right.
    pub categories: Vec<String>,
    /// The bars of each group, left to right.
    pub series: Vec<BarSeries>,
    /// Whether each bar carries its value, where it is wide enough.
    pub show_values: bool,
    /// Ends of the vertical axis; from the data and 0 where `None` or not drawable.
    pub y_range: Option<(f64, f64)>,
}

impl BarSeries {
    /// Bars without whiskers.
    pub fn new(name: impl Into<String>, values: Vec<f64>) -> Self {
        Self { name: name.into(), values, errors: Vec::new() }
    }

    /// The same bars with whiskers.
    pub fn with_errors(self, errors: Vec<(f64, f64)>) -> Self {
        Self { errors, ..self }
    }

    fn error(&self, index: usize) -> Option<(f64, f64)> {
        self.errors.get(index).copied().filter(|(low, high)| drawable(*low) && drawable(*high))
    }
}

pub(super) fn lay_out(chart: &Chart, plot: &BarPlot) -> DisplayList {
    let mut page = Page::new(chart, &chart.title);
    let Some(vertical) = axis_of(plot) else { return page.no_data() };
    let color = |index| chart.theme.series(index);
    let entry =
        |(index, series): (usize, &BarSeries)| Entry { name: series.name.clone(), color: color(index), key: Key::Area };
    page.legend(&plot.series.iter().enumerate().map(entry).collect::<Vec<_>>());
    let area = page.axes(chart, &Bottom::Categories(&plot.categories), &vertical, 0.0);

    let slot = area.width() / plot.categories.len() as f64;
    let bar = slot * 0.78 / plot.series.len() as f64;
    for (index, series) in plot.series.iter().enumerate() {
        for category in 0..plot.categories.len() {
            let Some(value) = series.values.get(category).copied().filter(|value| drawable(*value)) else { continue };
            let left = area.left + slot * (category as f64 + 0.11) + bar * index as f64;
            let place = Bar { left, width: bar, value, error: series.error(category) };
            place.draw(&mut page, &area, &vertical, color(index));
            if plot.show_values {
                place.draw_value(&mut page, &area, &vertical);
            }
        }
    }
    let zero = area.y(vertical.share(0.0));
    if (area.top..area.bottom).contains(&zero) {
        page.rule((area.left, zero), (area.right, zero), page.colors.faint_ink, 1.0);
    }
    page.list
}

/// The axis from 0 (or the lowest bar) to the highest whisker; `None` if there is no bar.
fn axis_of(plot: &BarPlot) -> Option<Axis> {
    let bars = plot
        .series
        .iter()
        .flat_map(|series| series.values.iter().take(plot.categories.len()).enumerate().map(move |bar| (series, bar)));
    let ends = bars.filter(|(_, (_, value))| drawable(**value)).flat_map(|(series, (index, &value))| {
        let (low, high) = series.error(index).unwrap_or((value, value));
        [value, low, high]
    });
    let (low, high) = range_of(ends)?;
    if let Some((low, high)) = plot.y_range.filter(|(low, high)| drawable(*low) && drawable(*high) && low < high) {
        return Some(Axis::exact(low, high));
    }
    let (low, high) = (low.min(0.0), high.max(0.0));
    // Room for values above (and below) the bars; a flat zero gets an axis up to 1.
    let room = (high - low) * if plot.show_values { 0.1 } else { 0.05 };
    if low == high {
        return Some(Axis::exact(0.0, 1.0));
    }
    Some(Axis::exact(if low < 0.0 { low - room } else { 0.0 }, if high > 0.0 { high + room } else { 0.0 }))
}

struct Bar {
    left: f64,
    width: f64,
    value: f64,
    error: Option<(f64, f64)>,
}

impl Bar {
    fn draw(&self, page: &mut Page, area: &Area, axis: &Axis, color: Color) {
        let at = |value: f64| area.y(axis.share(value).clamp(0.0, 1.0));
        let (zero, end) = (at(0.0), at(self.value));
        let gap = (self.width * 0.06).min(1.5);
        let (x, width) = (self.left + gap, self.width - 2.0 * gap);
        page.list.shapes.push(Shape::Rect { x, y: zero.min(end), width, height: (zero - end).abs(), fill: color });
        let Some((low, high)) = self.error else { return };
        let (middle, cap) = (self.left + self.width / 2.0, (self.width * 0.25).min(5.0));
        let ink = page.colors.ink;
        page.rule((middle, at(low)), (middle, at(high)), ink, 1.5);
        for end in [low, high] {
            page.rule((middle - cap, at(end)), (middle + cap, at(end)), ink, 1.5);
        }
    }

    /// The value beyond the end of bar and whisker.
    fn draw_value(&self, page: &mut Page, area: &Area, axis: &Axis) {
        const SIZE: f64 = 10.5;
        let text = ticks::compact(self.value);
        if font::measure(&text, SIZE).width > self.width + 2.0 {
            return;
        }
        let (low, high) = self.error.unwrap_or((self.value, self.value));
        let size = font::measure("", SIZE);
        let end = |value: f64| area.y(axis.share(value).clamp(0.0, 1.0));
        let baseline = if self.value >= 0.0 {
            end(high.max(self.value)) - 4.0
        } else {
            end(low.min(self.value)) + size.ascent + 1.0
        };
        let place = (self.left + self.width / 2.0, baseline.max(area.top + SIZE * 0.4));
        page.text(&text, place, SIZE, Anchor::Middle, page.colors.ink);
    }
}
