//! Turns a layout into pixels: background, soft shadows, patterns and outlines, bottom to top.

use groundling_core::ImageSize;
use image::RgbImage;

use super::background::{Background, Rgb, mixed};
use super::layout::Item;
use super::silhouette::{Band, coverage_at, sin_cos};
use super::vocabulary::{Colour, Fill};

/// Paints a scene.
pub(crate) fn paint(size: ImageSize, background: &Background, items: &[Item]) -> RgbImage {
    let mut image = RgbImage::new(size.width(), size.height());
    for (column, row, pixel) in image.enumerate_pixels_mut() {
        pixel.0 = background.at(row, column).map(to_byte);
    }
    for item in items {
        cast_shadow(&mut image, size, item);
        paint_item(&mut image, size, background, item);
    }
    image
}

/// Darkens what lies below and to the right of the object.
fn cast_shadow(image: &mut RgbImage, size: ImageSize, item: &Item) {
    const STRENGTH: f64 = 0.30;
    let radius = item.pose.radius;
    let blur = (0.10 * radius).clamp(0.6, 6.0);
    let band = Band { outside: blur, inside: blur, shift: (0.06 * radius, 0.09 * radius) };
    item.silhouette.scan(size, band, |span| {
        let share = ((blur - span.distance) / (2.0 * blur)).clamp(0.0, 1.0);
        let keep = 1.0 - STRENGTH * share * share * (3.0 - 2.0 * share);
        for column in span.start..span.end {
            let pixel = image.get_pixel_mut(column, span.row);
            pixel.0 = pixel.0.map(|channel| to_byte(f64::from(channel) * keep));
        }
    });
}

fn paint_item(image: &mut RgbImage, size: ImageSize, background: &Background, item: &Item) {
    let brush = Brush::new(item, background.is_light());
    let band = Band { outside: 0.5, inside: brush.edge_band(), shift: (0.0, 0.0) };
    item.silhouette.scan(size, band, |span| {
        let coverage = coverage_at(span.distance);
        for column in span.start..span.end {
            let behind = || background.at(span.row, column);
            let colour = brush.colour(column, span.row, span.distance, behind);
            let pixel = image.get_pixel_mut(column, span.row);
            pixel.0 = mixed(pixel.0.map(f64::from), colour, coverage).map(to_byte);
        }
    });
}

/// The colours and pattern of one object.
struct Brush {
    fill: Fill,
    main: Rgb,
    second: Rgb,
    edge: Rgb,
    edge_width: f64,
    /// Width of the band of an outlined object, pixels.
    hollow_width: f64,
    /// Period of the pattern, pixels.
    period: f64,
    direction: (f64, f64),
    origin: (f64, f64),
}

impl Brush {
    fn new(item: &Item, on_light: bool) -> Self {
        let main = item.rgb.map(f64::from);
        let radius = item.pose.radius;
        // Stripes run at an angle of their own, so that a square does not look like a flag.
        let (sin, cos) = sin_cos((item.pose.rotation + 35.0) / 360.0);
        let second = match item.colour {
            Colour::Yellow | Colour::Cyan | Colour::Pink | Colour::Orange => mixed(main, [255.0; 3], 0.78),
            Colour::Black => mixed(main, [255.0; 3], 0.62),
            _ => mixed(main, [255.0; 3], 0.70),
        };
        let edge = if on_light { main.map(|channel| channel * 0.62) } else { mixed(main, [255.0; 3], 0.45) };
        Self {
            fill: item.fill,
            main,
            second,
            edge,
            edge_width: (0.05 * radius).clamp(0.4, 3.0),
            hollow_width: (0.20 * radius).max(1.2),
            period: match item.fill {
                Fill::Dotted => (0.46 * radius).max(3.2),
                _ => (0.40 * radius).max(3.0),
            },
            direction: (cos, sin),
            origin: item.pose.centre,
        }
    }

    /// Deeper inside than this, the distance to the edge no longer matters.
    fn edge_band(&self) -> f64 {
        if self.fill == Fill::Outlined { self.hollow_width + 1.0 } else { self.edge_width + 1.0 }
    }

    fn colour(&self, column: u32, row: u32, distance: f64, behind: impl FnOnce() -> Rgb) -> Rgb {
        let inside = match self.fill {
            Fill::Solid => self.main,
            Fill::Striped => mixed(self.second, self.main, self.stripe(column, row)),
            Fill::Dotted => mixed(self.main, self.second, self.dot(column, row)),
            Fill::Outlined => {
                let depth = distance + self.hollow_width;
                let band = coverage_at(-depth);
                if band < 1.0 { mixed(behind(), self.main, band) } else { self.main }
            }
        };
        mixed(inside, self.edge, coverage_at(-(distance + self.edge_width)))
    }

    /// Place in the turned grid of the pattern, in pixels.
    fn grid(&self, column: u32, row: u32) -> (f64, f64) {
        let (x, y) = (f64::from(column) + 0.5 - self.origin.0, f64::from(row) + 0.5 - self.origin.1);
        (x * self.direction.0 + y * self.direction.1, y * self.direction.0 - x * self.direction.1)
    }

    /// 1 on a stripe, 0 between two.
    fn stripe(&self, column: u32, row: u32) -> f64 {
        let across = self.grid(column, row).0 / self.period;
        let from_middle = ((across - across.floor()) - 0.5).abs() * self.period;
        coverage_at(from_middle - 0.29 * self.period)
    }

    /// 1 on a dot, 0 between dots.
    fn dot(&self, column: u32, row: u32) -> f64 {
        let (u, v) = self.grid(column, row);
        let off = |along: f64| along - (along / self.period).round() * self.period;
        let from_middle = (off(u) * off(u) + off(v) * off(v)).sqrt();
        coverage_at(from_middle - 0.29 * self.period)
    }
}

fn to_byte(channel: f64) -> u8 {
    (channel + 0.5) as u8
}
