//! Lines and points over two numeric axes.

use super::axes::{Area, Axis, Bottom, Entry, Key, Page};
use super::display::{DisplayList, Shape};
use super::{Chart, drawable, range_of};
use crate::color::Color;
use crate::raster;

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AxisScale {
    /// Evenly.
    #[default]
    Linear,
    /// By powers of ten; values that are not positive are left out.
    Log,
}

/// Shape of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A disc.
    Disc,
    /// A square.
    Square,
    /// A square on its corner.
    Diamond,
    /// A triangle that points up.
    Triangle,
}

/// How far values spread around their points, as (low, high) on the vertical axis, one pair a point.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Spread {
    /// Not shown.
    #[default]
    None,
    /// A whisker at each point.
    Bars(Vec<(f64, f64)>),
    /// A translucent band.
    Band(Vec<(f64, f64)>),
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in the legend; not listed if empty.
    pub name: String,
    /// (x, y). A point that cannot be drawn interrupts the line.
    pub points: Vec<(f64, f64)>,
    /// Whether the points are joined in their order.
    pub line: bool,
    /// Shape of the points, if they are drawn.
    pub marker: Option<Marker>,
    /// Uncertainty; pairs beyond the number of points are ignored.
    pub spread: Spread,
}

/// Several series over the same axes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct XyPlot {
    /// Drawn in this order, coloured by it.
    pub series: Vec<Series>,
    /// Division of the horizontal axis.
    pub x_scale: AxisScale,
    /// Ends of the horizontal axis; from the data where `None` or not drawable.
    pub x_range: Option<(f64, f64)>,
    /// Ends of the vertical axis; from the data where `None` or not drawable.
    pub y_range: Option<(f64, f64)>,
}

impl Series {
    /// A line without markers.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, line: true, marker: None, spread: Spread::None }
    }

    /// Points without a line.
    pub fn scatter(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, line: false, marker: Some(Marker::Disc), spread: Spread::None }
    }

    /// The same series with points of this shape.
    pub fn marked(self, marker: Marker) -> Self {
        Self { marker: Some(marker), ..self }
    }

    /// The same series with its uncertainty.
    pub fn spread(self, spread: Spread) -> Self {
        Self { spread, ..self }
    }

    fn pairs(&self) -> &[(f64, f64)] {
        match &self.spread {
            Spread::None => &[],
            Spread::Bars(pairs) | Spread::Band(pairs) => pairs,
        }
    }
}

pub(super) fn lay_out(chart: &Chart, plot: &XyPlot) -> DisplayList {
    let mut page = Page::new(chart, &chart.title);
    let Some((horizontal, vertical)) = axes_of(plot) else { return page.no_data() };
    let color = |index| chart.theme.series(index);
    let entries: Vec<Entry> = plot
        .series
        .iter()
        .enumerate()
        .map(|(index, series)| {
            let key = Key::Line { line: series.line, marker: series.marker };
            Entry { name: series.name.clone(), color: color(index), key }
        })
        .collect();
    page.legend(&entries);
    let area = page.axes(chart, &Bottom::Numbers(&horizontal), &vertical, 0.0);
    let frame = Frame { area, horizontal, vertical };
    for (index, series) in plot.series.iter().enumerate() {
        frame.draw_spread(&mut page, series, color(index));
    }
    for (index, series) in plot.series.iter().enumerate() {
        frame.draw_series(&mut page, series, color(index));
    }
    page.list
}

/// Axes that hold everything drawable; `None` if nothing is.
fn axes_of(plot: &XyPlot) -> Option<(Axis, Axis)> {
    let log = plot.x_scale == AxisScale::Log;
    let shown = |x: f64, y: f64| drawable(x) && drawable(y) && (!log || x > 0.0);
    let points = || plot.series.iter().flat_map(|series| &series.points).filter(|(x, y)| shown(*x, *y));
    let (x_low, x_high) = range_of(points().map(|point| point.0))?;
    let spreads = plot.series.iter().flat_map(|series| series.points.iter().zip(series.pairs()));
    let ends = spreads.filter(|((x, y), _)| shown(*x, *y)).flat_map(|(_, (low, high))| [*low, *high]);
    let (y_low, y_high) = range_of(points().map(|point| point.1).chain(ends))?;

    let given = |range: Option<(f64, f64)>| range.filter(|(low, high)| drawable(*low) && drawable(*high) && low < high);
    let horizontal = match given(plot.x_range) {
        Some((low, high)) if log && low > 0.0 => Axis::log(low, high),
        Some((low, high)) if !log => Axis::exact(low, high),
        _ if log => Axis::log(x_low, x_high),
        _ => Axis::roomy(x_low, x_high),
    };
    let vertical = given(plot.y_range).map_or_else(|| Axis::roomy(y_low, y_high), |(low, high)| Axis::exact(low, high));
    Some((horizontal, vertical))
}

struct Frame {
    area: Area,
    horizontal: Axis,
    vertical: Axis,
}

impl Frame {
    /// Where a point is on the page; `None` if it cannot be drawn.
    fn place(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        let place = (self.area.x(self.horizontal.share(x)), self.area.y(self.vertical.share(y)));
        (drawable(x) && drawable(y) && place.0.abs() < 1e9 && place.1.abs() < 1e9).then_some(place)
    }

    fn holds(&self, (x, y): (f64, f64)) -> bool {
        let [left, top, right, bottom] = self.area.window();
        (left - 0.5..=right + 0.5).contains(&x) && (top - 0.5..=bottom + 0.5).contains(&y)
    }

    fn draw_series(&self, page: &mut Page, series: &Series, color: Color) {
        let places: Vec<Option<(f64, f64)>> = series.points.iter().map(|&(x, y)| self.place(x, y)).collect();
        if series.line {
            for points in self.visible_lines(&places) {
                page.list.shapes.push(Shape::Line { points, color, thickness: 2.0, dash: None });
            }
        }
        // A point between two gaps would vanish without a marker.
        let lonely = |index: usize| {
            let gap = |index: Option<usize>| index.and_then(|index| places.get(index)).is_none_or(Option::is_none);
            series.line && gap(index.checked_sub(1)) && gap(Some(index + 1))
        };
        for (index, place) in places.iter().enumerate() {
            let Some(place) = place.filter(|place| self.holds(*place)) else { continue };
            if let Some(marker) = series.marker.or(lonely(index).then_some(Marker::Disc)) {
                let color = if series.line { color } else { color.with_opacity(0.8) };
                page.list.shapes.push(marker_shape(marker, place, color));
            }
        }
    }

    /// The line cut at gaps and to the plot, without steps too small to see.
    fn visible_lines(&self, places: &[Option<(f64, f64)>]) -> Vec<Vec<(f64, f64)>> {
        const SMALLEST_STEP: f64 = 0.2;
        let mut lines: Vec<Vec<(f64, f64)>> = Vec::new();
        for run in places.split(Option::is_none) {
            let mut kept: Vec<(f64, f64)> = Vec::new();
            for &place in run.iter().flatten() {
                let near = |last: &(f64, f64)| (last.0 - place.0).hypot(last.1 - place.1) < SMALLEST_STEP;
                if !kept.last().is_some_and(near) {
                    kept.push(place);
                }
            }
            let mut open = false; // whether the last line may go on
            for segment in kept.windows(2) {
                match raster::clip(segment[0], segment[1], self.area.window()) {
                    Some((a, b)) => {
                        match lines.last_mut() {
                            Some(line) if open => line.push(b),
                            _ => lines.push(vec![a, b]),
                        }
                        open = b == segment[1];
                    }
                    None => open = false,
                }
            }
        }
        lines
    }

    fn draw_spread(&self, page: &mut Page, series: &Series, color: Color) {
        let inside = |y: f64| y.clamp(self.area.top, self.area.bottom);
        let pairs = series.points.iter().zip(series.pairs());
        let places: Vec<Option<(f64, f64, f64)>> = pairs
            .map(|(&(x, y), &(low, high))| {
                self.place(x, y)?;
                let ((x, low), (_, high)) = (self.place(x, low)?, self.place(x, high)?);
                (self.area.left - 0.5..=self.area.right + 0.5).contains(&x).then_some((x, inside(low), inside(high)))
            })
            .collect();
        if let Spread::Band(_) = series.spread {
            for run in places.split(Option::is_none).filter(|run| run.len() > 1) {
                let upper = run.iter().flatten().map(|&(x, _, high)| (x, high));
                let corners = upper.chain(run.iter().flatten().rev().map(|&(x, low, _)| (x, low))).collect();
                page.list.shapes.push(Shape::Polygon { corners, fill: color.with_opacity(0.2) });
            }
        } else {
            for (x, low, high) in places.into_iter().flatten() {
                page.rule((x, low), (x, high), color, 1.5);
                for y in [low, high] {
                    page.rule((x - 4.0, y), (x + 4.0, y), color, 1.5);
                }
            }
        }
    }
}

/// A point of about 7 pixels.
pub(super) fn marker_shape(marker: Marker, centre: (f64, f64), fill: Color) -> Shape {
    let (x, y) = centre;
    let around = |offsets: &[(f64, f64)]| offsets.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
    match marker {
        Marker::Disc => Shape::Disc { centre, radius: 3.5, fill },
        Marker::Square => Shape::Rect { x: x - 3.2, y: y - 3.2, width: 6.4, height: 6.4, fill },
        Marker::Diamond => {
            Shape::Polygon { corners: around(&[(0.0, -4.6), (4.6, 0.0), (0.0, 4.6), (-4.6, 0.0)]), fill }
        }
        Marker::Triangle => Shape::Polygon { corners: around(&[(0.0, -4.6), (4.3, 3.2), (-4.3, 3.2)]), fill },
    }
}
