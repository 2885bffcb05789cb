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
    /// Whether each bar carries its value, where bars are wide enough for that.
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
    let width = slot * 0.78 / plot.series.len() as f64;
    let mut bars = Vec::new();
    for (index, series) in plot.series.iter().enumerate() {
        for (category, &value) in series.values.iter().enumerate().take(plot.categories.len()) {
            let left = area.left + slot * (category as f64 + 0.11) + width * index as f64;
            if drawable(value) {
                bars.push(Bar { left, width, value, error: series.error(category), color: color(index) });
            }
        }
    }
    bars.iter().for_each(|bar| bar.draw(&mut page, &area, &vertical));
    if plot.show_values {
        draw_values(&mut page, &area, &vertical, &bars);
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
    color: Color,
}

impl Bar {
    fn draw(&self, page: &mut Page, area: &Area, axis: &Axis) {
        let at = |value: f64| area.y(axis.share(value).clamp(0.0, 1.0));
        let (zero, end) = (at(0.0), at(self.value));
        let gap = (self.width * 0.06).min(1.5);
        let (x, width) = (self.left + gap, self.width - 2.0 * gap);
        page.list.shapes.push(Shape::Rect { x, y: zero.min(end), width, height: (zero - end).abs(), fill: self.color });
        let Some((low, high)) = self.error else { return };
        let (middle, cap) = (self.left + self.width / 2.0, (self.width * 0.25).min(5.0));
        let ink = page.colors.ink;
        page.rule((middle, at(low)), (middle, at(high)), ink, 1.5);
        for end in [low, high] {
            page.rule((middle - cap, at(end)), (middle + cap, at(end)), ink, 1.5);
        }
    }

    /// Baseline of a value beyond the end of bar and whisker.
    fn baseline(&self, area: &Area, axis: &Axis, font_size: f64) -> f64 {
        let (low, high) = self.error.unwrap_or((self.value, self.value));
        let end = |value: f64| area.y(axis.share(value).clamp(0.0, 1.0));
        if self.value >= 0.0 {
            return (end(high.max(self.value)) - 4.0).max(area.top + font_size * 0.4);
        }
        end(low.min(self.value)) + font::measure("", font_size).ascent + 1.0
    }
}

/// The values of all bars in one size of letters, or none of them if bars are too narrow for readable ones.
fn draw_values(page: &mut Page, area: &Area, axis: &Axis, bars: &[Bar]) {
    let texts = ticks::alike(&bars.iter().map(|bar| bar.value).collect::<Vec<_>>());
    let widest = texts.iter().map(|text| font::measure(text, 10.5).width).fold(1.0, f64::max);
    let room = bars.first().map_or(0.0, |bar| bar.width) - 3.0;
    let font_size = (10.5 * room / widest).min(10.5);
    if font_size < 7.5 {
        return;
    }
    for (bar, text) in bars.iter().zip(texts) {
        let place = (bar.left + bar.width / 2.0, bar.baseline(area, axis, font_size));
        page.text(&text, place, font_size, Anchor::Middle, page.colors.ink);
    }
}
