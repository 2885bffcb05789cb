//! Reliability diagrams: how often answers are right, by the confidence they were given with.
//!
//! Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), Fig. 1.

use super::axes::{Area, Axis, Bottom, Entry, Key, Page};
use super::display::{Anchor, DisplayList, Shape};
use super::ticks;
use super::{Chart, drawable};
use crate::color::Color;
use crate::font;

/// Answers whose confidence lies between `lower` and `upper`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityBin {
    /// Least confidence, 0 to 1.
    pub lower: f64,
    /// Greatest confidence, 0 to 1.
    pub upper: f64,
    /// Mean confidence of the answers, 0 to 1.
    pub confidence: f64,
    /// Share of right answers, 0 to 1.
    pub accuracy: f64,
    /// Number of answers; a bin with none is drawn empty.
    pub count: u64,
}

/// Bins over confidence, left to right.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReliabilityPlot {
    /// The bins. Those with numbers that are not finite or an empty interval are left out.
    pub bins: Vec<ReliabilityBin>,
    /// Expected calibration error, 0 to 1, for the heading. Given rather than computed, so that it is the number the
    /// evaluation reports.
    pub expected_calibration_error: Option<f64>,
}

/// Height of the strip of counts, with its gap, in CSS pixels.
const STRIP: f64 = 62.0;

pub(super) fn lay_out(chart: &Chart, plot: &ReliabilityPlot) -> DisplayList {
    let error = plot.expected_calibration_error.filter(|error| error.is_finite());
    let heading = match (error, chart.title.trim()) {
        (Some(error), "") => format!("ECE = {error:.3}"),
        (Some(error), title) => format!("{title} (ECE = {error:.3})"),
        (None, title) => title.to_owned(),
    };
    let mut page = Page::new(chart, &heading);
    let sound = |bin: &&ReliabilityBin| {
        [bin.lower, bin.upper, bin.confidence, bin.accuracy].into_iter().all(drawable) && bin.lower < bin.upper
    };
    let bins: Vec<&ReliabilityBin> = plot.bins.iter().filter(sound).filter(|bin| bin.count > 0).collect();
    if bins.is_empty() {
        return page.no_data();
    }
    let colors = Colors::of(chart, page.colors.ground);
    let entry = |name: &str, color| Entry { name: name.to_owned(), color, key: Key::Area };
    let ideal = Entry { name: "perfect calibration".to_owned(), color: page.colors.ink, key: Key::Dashes };
    let [accuracy, over, under] = [
        entry("accuracy", colors.accuracy),
        entry("overconfident", colors.overconfident),
        entry("underconfident", colors.underconfident),
    ];
    page.legend(&[accuracy, over, under, ideal]);

    let unit = Axis::exact(0.0, 1.0);
    let strip = if page.list.height >= 260.0 { STRIP } else { 0.0 };
    let chart =
        &Chart { x_label: or(&chart.x_label, "confidence"), y_label: or(&chart.y_label, "accuracy"), ..chart.clone() };
    let area = page.axes(chart, &Bottom::Numbers(&unit), &unit, strip);
    draw_bins(&mut page, &area, &bins, colors);
    let points = vec![(area.left, area.bottom), (area.right, area.top)];
    page.list.shapes.push(Shape::Line { points, color: page.colors.ink, thickness: 1.25, dash: Some(5.0) });
    if strip > 0.0 {
        draw_counts(&mut page, &area, &bins);
    }
    page.list
}

#[derive(Clone, Copy)]
struct Colors {
    accuracy: Color,
    /// Between accuracy and a higher mean confidence.
    overconfident: Color,
    /// Between accuracy and a lower mean confidence.
    underconfident: Color,
}

impl Colors {
    fn of(chart: &Chart, ground: Color) -> Self {
        let pale = |index| ground.mixed(chart.theme.series(index), 0.5);
        Self { accuracy: chart.theme.series(0), overconfident: pale(1), underconfident: pale(2) }
    }
}

fn draw_bins(page: &mut Page, area: &Area, bins: &[&ReliabilityBin], colors: Colors) {
    let at = |share: f64| area.y(share.clamp(0.0, 1.0));
    for bin in bins {
        let (x, width) = extent(area, bin);
        let (accuracy, confidence) = (at(bin.accuracy), at(bin.confidence));
        let full = area.bottom - accuracy;
        page.list.shapes.push(Shape::Rect { x, y: accuracy, width, height: full, fill: colors.accuracy });
        let over = bin.confidence > bin.accuracy;
        let fill = if over { colors.overconfident } else { colors.underconfident };
        let (y, height) = (accuracy.min(confidence), (accuracy - confidence).abs());
        page.list.shapes.push(Shape::Rect { x, y, width, height, fill });
        // The top of the bar stays visible where the gap hangs down from it.
        page.rule((x, accuracy), (x + width, accuracy), colors.accuracy, 2.0);
    }
}

/// Bars of the counts below the diagram, each with its number where there is room.
fn draw_counts(page: &mut Page, area: &Area, bins: &[&ReliabilityBin]) {
    const SIZE: f64 = 9.5;
    let (top, bottom) = (area.bottom + 20.0, area.bottom + STRIP);
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(1).max(1) as f64;
    let ink = page.colors.faint_ink;
    page.rule((area.left, bottom), (area.right, bottom), ink, 1.0);
    page.text("count", (area.left - 7.0, bottom - 1.0), SIZE, Anchor::End, ink);
    for bin in bins {
        let (x, width) = extent(area, bin);
        // Half a pixel at least: few is not none.
        let height = ((bottom - top) * bin.count as f64 / most).max(0.5);
        page.list.shapes.push(Shape::Rect { x, y: bottom - height, width, height, fill: ink.with_opacity(0.55) });
        let text = ticks::compact(bin.count as f64);
        if font::measure(&text, SIZE).width <= width + 4.0 {
            page.text(&text, (x + width / 2.0, bottom - height - 3.0), SIZE, Anchor::Middle, ink);
        }
    }
}

/// Left edge and width of a bin on the page.
fn extent(area: &Area, bin: &ReliabilityBin) -> (f64, f64) {
    let (left, right) = (area.x(bin.lower.clamp(0.0, 1.0)), area.x(bin.upper.clamp(0.0, 1.0)));
    let gap = ((right - left) * 0.04).min(1.0);
    (left + gap, (right - left - 2.0 * gap).max(0.0))
}

fn or(text: &str, usual: &str) -> String {
    if text.trim().is_empty() { usual.to_owned() } else { text.to_owned() }
}
