//! What a chart consists of once it is laid out, and its two renderings. Both draw the same shapes at the same places.

use std::fmt::Write;

use groundling_core::{BoxXyxy, Pixels};
use image::RgbImage;

use crate::color::Color;
use crate::font;
use crate::painter::{Painter, Stroke, TextStyle};

/// Most pixels of a rendered chart; the scale is lowered to stay below.
pub const MAX_CHART_PIXELS: f64 = 100_000_000.0;

/// Families that look like the embedded font where it is not installed; Verdana has its widths.
const FONT_FAMILY: &str = "'DejaVu Sans', Verdana, 'Bitstream Vera Sans', Geneva, Helvetica, Arial, sans-serif";

/// Shapes on a page, in order of drawing. Units are CSS pixels, x to the right and y down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DisplayList {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) ground: Color,
    /// What the picture is called, for readers who cannot see it.
    pub(crate) title: String,
    pub(crate) shapes: Vec<Shape>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Rect {
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        fill: Color,
    },
    Line {
        points: Vec<(f64, f64)>,
        color: Color,
        thickness: f64,
        dash: Option<f64>,
    },
    Polygon {
        corners: Vec<(f64, f64)>,
        fill: Color,
    },
    Disc {
        centre: (f64, f64),
        radius: f64,
        fill: Color,
    },
    /// `y` is the baseline.
    Text {
        text: String,
        x: f64,
        y: f64,
        font_size: f64,
        anchor: Anchor,
        color: Color,
        upwards: bool,
    },
}

/// Which part of a text lies at its x (at its y for upward text).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    /// Share of the width before the anchor.
    fn share(self) -> f64 {
        match self {
            Anchor::Start => 0.0,
            Anchor::Middle => 0.5,
            Anchor::End => 1.0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        }
    }
}

impl DisplayList {
    /// A self-contained SVG document.
    pub(crate) fn to_svg(&self) -> String {
        let (width, height) = (number(self.width), number(self.height));
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{FONT_FAMILY}\">\n"
        );
        // Writing to a string cannot fail.
        let _ = writeln!(svg, "<title>{}</title>", escaped(&self.title));
        let _ = writeln!(svg, "<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>", self.ground.to_hex());
        for shape in &self.shapes {
            shape.write_svg(&mut svg);
            svg.push('\n');
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// A picture with `scale` pixels a unit.
    pub(crate) fn to_image(&self, scale: f64) -> RgbImage {
        let scale = if scale.is_finite() { scale.clamp(0.1, 16.0) } else { 1.0 };
        let scale = scale.min((MAX_CHART_PIXELS / (self.width * self.height)).sqrt());
        let side = |length: f64| (length * scale).round().max(1.0) as u32;
        let mut painter = Painter::blank(side(self.width), side(self.height), self.ground);
        for shape in &self.shapes {
            shape.paint(&mut painter, scale);
        }
        painter.finish()
    }
}

impl Shape {
    fn write_svg(&self, svg: &mut String) {
        let _ = match self {
            Shape::Rect { x, y, width, height, fill } => {
                let [x, y, width, height] = [*x, *y, *width, *height].map(number);
                write!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" {}/>",
                    paint("fill", *fill)
                )
            }
            Shape::Line { points, color, thickness, dash } => {
                let dash = dash.map_or(String::new(), |dash| format!(" stroke-dasharray=\"{}\"", number(dash)));
                let (points, thickness) = (list(points), number(*thickness));
                let stroke = paint("stroke", *color);
                let rest = format!("stroke-width=\"{thickness}\" stroke-linejoin=\"round\"{dash}");
                write!(svg, "<polyline points=\"{points}\" fill=\"none\" {stroke} {rest}/>")
            }
            Shape::Polygon { corners, fill } => {
                write!(svg, "<polygon points=\"{}\" {}/>", list(corners), paint("fill", *fill))
            }
            Shape::Disc { centre, radius, fill } => {
                let [x, y, radius] = [centre.0, centre.1, *radius].map(number);
                write!(svg, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\" {}/>", paint("fill", *fill))
            }
            Shape::Text { text, x, y, font_size, anchor, color, upwards } => {
                let [x, y, size] = [*x, *y, *font_size].map(number);
                let turn = if *upwards { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
                let (anchor, fill, text) = (anchor.name(), paint("fill", *color), escaped(text));
                write!(
                    svg,
                    "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\" {fill}{turn}>{text}</text>"
                )
            }
        };
    }

    fn paint(&self, painter: &mut Painter, scale: f64) {
        let scaled = |points: &[(f64, f64)]| points.iter().map(|(x, y)| (x * scale, y * scale)).collect::<Vec<_>>();
        match self {
            Shape::Rect { x, y, width, height, fill } => {
                let rect = BoxXyxy::<Pixels>::new(*x, *y, x + width, y + height);
                painter.fill_rect(rect.scaled_into(scale, scale), *fill);
            }
            Shape::Line { points, color, thickness, dash } => {
                let dash = dash.map(|dash| dash * scale);
                painter.line(&scaled(points), &Stroke { dash, ..Stroke::solid(*color, thickness * scale) });
            }
            Shape::Polygon { corners, fill } => painter.polygon(&scaled(corners), *fill),
            Shape::Disc { centre, radius, fill } => {
                painter.disc((centre.0 * scale, centre.1 * scale), radius * scale, *fill);
            }
            Shape::Text { text, x, y, font_size, anchor, color, upwards } => {
                let style = TextStyle { color: *color, font_size: font_size * scale, halo: None };
                let before = font::measure(text, style.font_size).width * anchor.share();
                if *upwards {
                    painter.text_upwards(text, x * scale, y * scale + before, &style);
                } else {
                    painter.text(text, x * scale - before, y * scale, &style);
                }
            }
        }
    }
}

fn paint(attribute: &str, color: Color) -> String {
    let hex = color.to_hex();
    if color.opacity >= 1.0 {
        return format!("{attribute}=\"{hex}\"");
    }
    format!("{attribute}=\"{hex}\" {attribute}-opacity=\"{}\"", number(f64::from(color.opacity)))
}

fn list(points: &[(f64, f64)]) -> String {
    points.iter().map(|(x, y)| format!("{},{}", number(*x), number(*y))).collect::<Vec<_>>().join(" ")
}

/// Hundredths of a unit are finer than anybody sees.
fn number(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    if rounded == 0.0 { "0".to_owned() } else { rounded.to_string() }
}

/// Text for XML 1.0: the five special characters escaped, characters that XML forbids replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(' '),
            '\u{0}'..='\u{1F}' | '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_numbers_are_short() {
        assert_eq!(escaped("a<b & \"c\"\u{1}'\n"), "a&lt;b &amp; &quot;c&quot;\u{FFFD}&#39; ");
        assert_eq!([number(1.0), number(-0.001), number(2.345678)], ["1", "0", "2.35"]);
    }
}
