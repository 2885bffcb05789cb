//! Simple charts, as SVG and as PNG from one description.
//!
//! A [`Chart`] says what is shown; laying it out gives a list of shapes, and both renderings draw exactly these. Numbers
//! that are not finite (or beyond ±1e300, or not positive on a logarithmic axis) are left out; a chart without any says
//! "no data".

mod axes;
mod bars;
mod display;
mod reliability;
pub(crate) mod ticks;
mod xy;

use image::RgbImage;

pub use bars::{BarPlot, BarSeries};
pub use display::MAX_CHART_PIXELS;
pub use reliability::{ReliabilityBin, ReliabilityPlot};
pub use xy::{AxisScale, Marker, Series, Spread, XyPlot};

use crate::theme::Theme;
use display::DisplayList;

/// A chart: words around a plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// What the horizontal axis shows, with its unit.
    pub x_label: String,
    /// What the vertical axis shows, with its unit.
    pub y_label: String,
    /// Width in CSS pixels, 160 to 10 000 (other values are clamped).
    pub width: f64,
    /// Height in CSS pixels, 120 to 10 000 (other values are clamped).
    pub height: f64,
    /// Light or dark.
    pub theme: Theme,
    /// What is shown.
    pub plot: Plot,
}

/// What a chart shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Plot {
    /// Lines and points over two numeric axes.
    Xy(XyPlot),
    /// Bars, grouped by category.
    Bars(BarPlot),
    /// How far confidence can be believed.
    Reliability(ReliabilityPlot),
}

impl Chart {
    /// A light chart of 640x400 without axis labels.
    pub fn new(title: impl Into<String>, plot: Plot) -> Self {
        Self {
            title: title.into(),
            x_label: String::new(),
            y_label: String::new(),
            width: 640.0,
            height: 400.0,
            theme: Theme::Light,
            plot,
        }
    }

    /// The same chart with axis labels.
    pub fn labelled(self, x_label: impl Into<String>, y_label: impl Into<String>) -> Self {
        Self { x_label: x_label.into(), y_label: y_label.into(), ..self }
    }

    /// The same chart in another theme.
    pub fn themed(self, theme: Theme) -> Self {
        Self { theme, ..self }
    }

    /// The same chart at another size in CSS pixels.
    pub fn sized(self, width: f64, height: f64) -> Self {
        Self { width, height, ..self }
    }

    /// A well-formed SVG document that refers to nothing outside itself.
    pub fn to_svg(&self) -> String {
        self.laid_out().to_svg()
    }

    /// A picture with `scale` pixels a CSS pixel (0.1 to 16; less where the picture would pass [`MAX_CHART_PIXELS`]).
    pub fn to_png(&self, scale: f64) -> RgbImage {
        self.laid_out().to_image(scale)
    }

    fn laid_out(&self) -> DisplayList {
        match &self.plot {
            Plot::Xy(plot) => xy::lay_out(self, plot),
            Plot::Bars(plot) => bars::lay_out(self, plot),
            Plot::Reliability(plot) => reliability::lay_out(self, plot),
        }
    }
}

/// Numbers that can be drawn: finite, and so far from the end of `f64` that differences are finite as well.
fn drawable(value: f64) -> bool {
    value.abs() < 1e300
}

/// Least and greatest drawable value, `None` if there is none.
fn range_of(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|value| drawable(*value)).fold(None, |range, value| match range {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}
