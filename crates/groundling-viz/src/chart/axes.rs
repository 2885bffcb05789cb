//! The page around a plot: heading, legend, axes with grid lines, ticks and labels.

use super::display::{Anchor, DisplayList, Shape};
use super::ticks::{self, Tick};
use super::{Chart, Marker, xy};
use crate::color::Color;
use crate::font;
use crate::theme::ThemeColors;

pub(super) const TITLE: f64 = 16.0;
pub(super) const LABEL: f64 = 13.0;
pub(super) const TICK: f64 = 11.5;
const MARGIN: f64 = 14.0;

/// A numeric axis.
#[derive(Debug, Clone)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    log: bool,
}

impl Axis {
    /// Exactly these ends, which must be drawable; widened where they are equal or too close to tell apart.
    pub(super) fn exact(low: f64, high: f64) -> Self {
        let (low, high) = (low.min(high), low.max(high));
        let size = low.abs().max(high.abs());
        if high - low > size * 1e-9 {
            return Self { low, high, log: false };
        }
        let room = if size > 0.0 { size * 0.1 } else { 1.0 };
        Self { low: low - room, high: high + room, log: false }
    }

    /// These ends and a little room beyond them.
    pub(super) fn roomy(low: f64, high: f64) -> Self {
        let tight = Self::exact(low, high);
        let room = (tight.high - tight.low) * 0.04;
        Self { low: tight.low - room, high: tight.high + room, log: false }
    }

    /// Logarithmic; both ends must be positive and drawable.
    pub(super) fn log(low: f64, high: f64) -> Self {
        let (low, high) = (low.min(high), low.max(high));
        let room = if high / low > 1.0 + 1e-9 { (high / low).powf(0.03) } else { 2.0 };
        Self { low: (low / room).max(f64::MIN_POSITIVE), high: high * room, log: true }
    }

    /// Where a value lies, 0 at the low end and 1 at the high end; NaN for what a logarithmic axis cannot show.
    pub(super) fn share(&self, value: f64) -> f64 {
        if self.log {
            return (value.ln() - self.low.ln()) / (self.high.ln() - self.low.ln());
        }
        (value - self.low) / (self.high - self.low)
    }

    fn ticks(&self, most: usize) -> Vec<Tick> {
        if self.log { ticks::log(self.low, self.high, most) } else { ticks::linear(self.low, self.high, most) }
    }
}

/// What goes below a plot.
pub(super) enum Bottom<'a> {
    Numbers(&'a Axis),
    /// Equally wide slots.
    Categories(&'a [String]),
}

/// One line of the legend.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) color: Color,
    pub(super) key: Key,
}

/// What stands before a name in the legend.
pub(super) enum Key {
    Area,
    Line { line: bool, marker: Option<Marker> },
    Dashes,
}

/// Where the plot itself goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    pub(super) fn x(&self, share: f64) -> f64 {
        self.left + share * (self.right - self.left)
    }

    pub(super) fn y(&self, share: f64) -> f64 {
        self.bottom - share * (self.bottom - self.top)
    }

    pub(super) fn width(&self) -> f64 {
        self.right - self.left
    }

    /// As raster::clip wants it.
    pub(super) fn window(&self) -> [f64; 4] {
        [self.left, self.top, self.right, self.bottom]
    }
}

/// A page in the making.
pub(super) struct Page {
    pub(super) list: DisplayList,
    pub(super) colors: ThemeColors,
    /// First free y below what was drawn at the top.
    top: f64,
}

impl Page {
    /// The page with the heading on it.
    pub(super) fn new(chart: &Chart, title: &str) -> Self {
        let side =
            |length: f64, least: f64, usual: f64| if length.is_nan() { usual } else { length.clamp(least, 10_000.0) };
        let colors = chart.theme.colors();
        let (width, height) = (side(chart.width, 160.0, 640.0), side(chart.height, 120.0, 400.0));
        let list = DisplayList { width, height, ground: colors.ground, title: title.to_owned(), shapes: Vec::new() };
        let mut page = Self { list, colors, top: MARGIN };
        let lines = if height < 200.0 { 1 } else { 2 };
        for line in font::wrapped(title, TITLE, width - 2.0 * MARGIN, lines) {
            let size = font::measure("", TITLE);
            page.text(&line, (width / 2.0, page.top + size.ascent), TITLE, Anchor::Middle, colors.ink);
            page.top += size.height();
        }
        page
    }

    /// A page that has nothing to show.
    pub(super) fn no_data(mut self) -> DisplayList {
        let centre = (self.list.width / 2.0, (self.top + self.list.height) / 2.0);
        self.text("no data", centre, LABEL, Anchor::Middle, self.colors.faint_ink);
        self.list
    }

    pub(super) fn text(&mut self, text: &str, (x, y): (f64, f64), font_size: f64, anchor: Anchor, color: Color) {
        let text = text.to_owned();
        self.list.shapes.push(Shape::Text { text, x, y, font_size, anchor, color, upwards: false });
    }

    pub(super) fn rule(&mut self, from: (f64, f64), to: (f64, f64), color: Color, thickness: f64) {
        self.list.shapes.push(Shape::Line { points: vec![from, to], color, thickness, dash: None });
    }

    /// Entries with names, in rows below the heading. What does not fit three rows is counted.
    pub(super) fn legend(&mut self, entries: &[Entry]) {
        const KEY: f64 = 26.0;
        const GAP: f64 = 16.0;
        let named: Vec<&Entry> = entries.iter().filter(|entry| !entry.name.trim().is_empty()).collect();
        let room = self.list.width - 2.0 * MARGIN;
        let size = font::measure("", TICK);
        let most_rows = match self.list.height {
            height if height < 150.0 => 1,
            height if height < 240.0 => 2,
            _ => 3,
        };
        // Each row: the width used so far, and entries with their cut names and widths.
        type Item<'a> = (&'a Entry, String, f64);
        let mut rows: Vec<(f64, Vec<Item<'_>>)> = Vec::new();
        let mut left_over = 0;
        for entry in named {
            let name = font::ellipsised(entry.name.trim(), TICK, (room - KEY).min(260.0));
            let width = KEY + font::measure(&name, TICK).width;
            let more = font::measure("+999 more", TICK).width + GAP;
            let last = rows.len() == most_rows;
            let limit = if last { room - more } else { room };
            let goes_on = rows.last().is_some_and(|(used, _)| used + GAP + width <= limit);
            if let Some((used, row)) = rows.last_mut().filter(|_| goes_on && left_over == 0) {
                *used += GAP + width;
                row.push((entry, name, width));
            } else if rows.len() < most_rows {
                rows.push((width, vec![(entry, name, width)]));
            } else {
                left_over += 1;
            }
        }
        let row_height = size.height() * 1.2;
        let count = rows.len();
        self.top += if rows.is_empty() { 0.0 } else { 5.0 };
        for (index, (used, row)) in rows.into_iter().enumerate() {
            let more = if index + 1 == count && left_over > 0 { format!("+{left_over} more") } else { String::new() };
            let extra = if more.is_empty() { 0.0 } else { GAP + font::measure(&more, TICK).width };
            let mut x = (self.list.width - used - extra) / 2.0;
            let baseline = self.top + size.ascent;
            for (entry, name, width) in row {
                self.key(entry, x, baseline - TICK * 0.36);
                self.text(&name, (x + KEY, baseline), TICK, Anchor::Start, self.colors.ink);
                x += width + GAP;
            }
            self.text(&more, (x, baseline), TICK, Anchor::Start, self.colors.faint_ink);
            self.top += row_height;
        }
    }

    fn key(&mut self, entry: &Entry, x: f64, y: f64) {
        match &entry.key {
            Key::Area => {
                let fill = entry.color;
                self.list.shapes.push(Shape::Rect { x: x + 7.0, y: y - 5.5, width: 13.0, height: 11.0, fill });
            }
            Key::Dashes => {
                let points = vec![(x, y), (x + 22.0, y)];
                self.list.shapes.push(Shape::Line { points, color: entry.color, thickness: 1.25, dash: Some(4.4) });
            }
            Key::Line { line, marker } => {
                if *line {
                    self.rule((x, y), (x + 20.0, y), entry.color, 2.0);
                }
                if let Some(marker) = marker {
                    self.list.shapes.push(xy::marker_shape(*marker, (x + 10.0, y), entry.color));
                }
            }
        }
    }

    /// Draws both axes and says where the plot goes. `reserve` is kept free between the plot and what is below it.
    pub(super) fn axes(&mut self, chart: &Chart, bottom: &Bottom<'_>, vertical: &Axis, reserve: f64) -> Area {
        let line = font::measure("", TICK);
        let top = self.top + 8.0;
        let x_label = if chart.x_label.trim().is_empty() { 0.0 } else { font::measure("", LABEL).height() + 3.0 };
        let y_label = if chart.y_label.trim().is_empty() { 0.0 } else { font::measure("", LABEL).height() + 4.0 };

        let rough = (self.list.height - top - x_label - reserve - 2.0 * line.height() - MARGIN).max(20.0);
        let y_ticks = vertical.ticks(((rough / 42.0) as usize + 1).clamp(2, 9));
        let widest = y_ticks.iter().map(|tick| font::measure(&tick.label, TICK).width).fold(0.0, f64::max);
        let left = (MARGIN + y_label + widest + 7.0).min(self.list.width * 0.6);
        let right = self.list.width - MARGIN - 6.0;

        let names = match bottom {
            Bottom::Categories(names) => Some(Names::fit(names, right - left, rough)),
            Bottom::Numbers(_) => None,
        };
        let below = 6.0 + names.as_ref().map_or(line.height(), |names| names.height) + x_label + reserve;
        let area = Area { left, top, right, bottom: (self.list.height - MARGIN * 0.6 - below).max(top + 10.0) };

        self.vertical_ticks(&area, vertical, &y_ticks);
        match (bottom, names) {
            (Bottom::Numbers(axis), _) => self.horizontal_ticks(&area, axis, area.bottom + reserve),
            (Bottom::Categories(_), Some(names)) => names.draw(self, &area, area.bottom + reserve),
            (Bottom::Categories(_), None) => {}
        }
        self.rule((area.left, area.bottom), (area.right, area.bottom), self.colors.faint_ink, 1.0);
        self.rule((area.left, area.top), (area.left, area.bottom), self.colors.faint_ink, 1.0);
        self.axis_labels(chart, &area);
        area
    }

    fn vertical_ticks(&mut self, area: &Area, axis: &Axis, ticks: &[Tick]) {
        for tick in ticks {
            let y = area.y(axis.share(tick.value));
            self.rule((area.left, y), (area.right, y), self.colors.grid, 1.0);
            self.rule((area.left - 4.0, y), (area.left, y), self.colors.faint_ink, 1.0);
            let place = (area.left - 7.0, y + TICK * 0.36);
            self.text(&tick.label, place, TICK, Anchor::End, self.colors.faint_ink);
        }
    }

    fn horizontal_ticks(&mut self, area: &Area, axis: &Axis, below: f64) {
        let most = ((area.width() / 62.0) as usize + 1).clamp(2, 12);
        let mut free_from = f64::NEG_INFINITY;
        for tick in axis.ticks(most) {
            let x = area.x(axis.share(tick.value));
            self.rule((x, area.top), (x, area.bottom), self.colors.grid, 1.0);
            self.rule((x, below), (x, below + 4.0), self.colors.faint_ink, 1.0);
            // A label at the edge is moved in so that it is whole, and left out where it would touch the one before.
            let half = font::measure(&tick.label, TICK).width / 2.0;
            let middle = x.clamp(half + 2.0, (self.list.width - half - 2.0).max(half + 2.0));
            if middle - half >= free_from {
                let place = (middle, below + 6.0 + font::measure("", TICK).ascent);
                self.text(&tick.label, place, TICK, Anchor::Middle, self.colors.faint_ink);
                free_from = middle + half + 4.0;
            }
        }
    }

    fn axis_labels(&mut self, chart: &Chart, area: &Area) {
        let size = font::measure("", LABEL);
        let x_text = font::ellipsised(chart.x_label.trim(), LABEL, self.list.width - 2.0 * MARGIN);
        // Centred below the plot, but never over the edge of the page.
        let half = font::measure(&x_text, LABEL).width / 2.0;
        let middle = area.x(0.5).min(self.list.width - MARGIN - half).max(half + MARGIN);
        let baseline = self.list.height - MARGIN * 0.6 - size.descent;
        self.text(&x_text, (middle, baseline), LABEL, Anchor::Middle, self.colors.ink);

        let text = font::ellipsised(chart.y_label.trim(), LABEL, self.list.height - 2.0 * MARGIN);
        let half = font::measure(&text, LABEL).width / 2.0;
        let middle = area.y(0.5).min(self.list.height - MARGIN - half).max(half + MARGIN);
        let (x, color) = (MARGIN * 0.6 + size.ascent, self.colors.ink);
        let anchor = Anchor::Middle;
        self.list.shapes.push(Shape::Text { text, x, y: middle, font_size: LABEL, anchor, color, upwards: true });
    }
}

/// Names of categories, made to fit.
struct Names {
    lines: Vec<Vec<String>>,
    upright: bool,
    /// Every how many-th name is shown.
    stride: usize,
    height: f64,
}

impl Names {
    /// Level names in up to two lines if that loses nothing, else upright ones, else every n-th.
    fn fit(names: &[String], width: f64, height: f64) -> Self {
        let line = font::measure("", TICK).height();
        let slot = width / names.len().max(1) as f64;
        let level: Vec<Vec<String>> = names.iter().map(|name| font::wrapped(name, TICK, slot - 6.0, 2)).collect();
        let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        let words_fit = |name: &str| name.split_whitespace().all(|word| font::measure(word, TICK).width <= slot - 6.0);
        let whole =
            level.iter().zip(names).all(|(lines, name)| squeezed(&lines.concat()) == squeezed(name) && words_fit(name));
        let rows = level.iter().map(Vec::len).max().unwrap_or(1).max(1);
        if whole || slot >= 90.0 {
            return Self { lines: level, upright: false, stride: 1, height: rows as f64 * line };
        }
        let room = (height * 0.4).max(30.0);
        let stride = (line / slot).ceil().max(1.0) as usize;
        let lines: Vec<Vec<String>> =
            names.iter().map(|name| vec![font::ellipsised(name.trim(), TICK, room)]).collect();
        let longest =
            lines.iter().step_by(stride).flatten().map(|name| font::measure(name, TICK).width).fold(0.0, f64::max);
        Self { lines, upright: true, stride, height: longest + 4.0 }
    }

    fn draw(&self, page: &mut Page, area: &Area, below: f64) {
        let size = font::measure("", TICK);
        let slots = self.lines.len() as f64;
        for (index, lines) in self.lines.iter().enumerate().step_by(self.stride) {
            let x = area.x((index as f64 + 0.5) / slots);
            let color = page.colors.faint_ink;
            for (row, line) in lines.iter().enumerate() {
                if self.upright {
                    let (x, y, anchor) = (x + TICK * 0.36, below + 7.0, Anchor::End);
                    let text = line.clone();
                    page.list.shapes.push(Shape::Text { text, x, y, font_size: TICK, anchor, color, upwards: true });
                } else {
                    let baseline = below + 6.0 + size.ascent + row as f64 * size.height();
                    page.text(line, (x, baseline), TICK, Anchor::Middle, color);
                }
            }
        }
    }
}
