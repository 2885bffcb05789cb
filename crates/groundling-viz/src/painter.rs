//! Drawing on a picture: filled and framed rectangles, lines, polygons, discs and text, all anti-aliased.
//!
//! Coordinates are continuous pixels of the picture, x to the right and y down; pixel column `j` covers `[j, j + 1)`.
//! Whatever lies outside is cut off, and whatever is not a finite number is not drawn: no call here can fail.

use groundling_core::{BoxXyxy, Pixels};
use image::RgbImage;

use crate::color::Color;
use crate::font::{self, Face};
use crate::raster;

/// Widest seam around letters, in pixels; wider ones are drawn this wide.
pub const MAX_TEXT_SEAM: f64 = 24.0;

/// Coordinates beyond this are outside every picture.
const FAR: f64 = 1e7;

/// A picture being drawn.
///
/// Not called canvas, because `groundling_core::Canvas` is the frame of network inputs.
#[derive(Debug, Clone)]
pub struct Painter {
    image: RgbImage,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Its colour.
    pub color: Color,
    /// Its thickness in pixels.
    pub thickness: f64,
    /// Length of dashes and of the gaps between them, in pixels; `None` for a solid line.
    pub dash: Option<f64>,
    /// A seam on both sides that keeps the line readable on any ground, with its width in pixels.
    pub halo: Option<(Color, f64)>,
}

impl Stroke {
    /// A solid line without a seam.
    pub const fn solid(color: Color, thickness: f64) -> Self {
        Self { color, thickness, dash: None, halo: None }
    }
}

/// How text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextStyle {
    /// Colour of the letters.
    pub color: Color,
    /// Pixels an em.
    pub font_size: f64,
    /// A seam around the letters that keeps them readable on any ground, with its width in pixels.
    pub halo: Option<(Color, f64)>,
}

impl Painter {
    /// Draws on a picture.
    pub fn new(image: RgbImage) -> Self {
        Self { image }
    }

    /// Draws on an empty ground.
    pub fn blank(width: u32, height: u32, ground: Color) -> Self {
        Self { image: RgbImage::from_pixel(width, height, image::Rgb(ground.channels())) }
    }

    /// The picture as it is now.
    pub fn image(&self) -> &RgbImage {
        &self.image
    }

    /// The picture, finished.
    pub fn finish(self) -> RgbImage {
        self.image
    }

    /// Pixel columns.
    pub fn width(&self) -> f64 {
        f64::from(self.image.width())
    }

    /// Pixel rows.
    pub fn height(&self) -> f64 {
        f64::from(self.image.height())
    }

    /// Fills a rectangle. Pixels on its border are covered in proportion.
    pub fn fill_rect(&mut self, rect: BoxXyxy<Pixels>, color: Color) {
        if !rect.is_finite() {
            return;
        }
        let rect = rect.clipped(self.width(), self.height());
        let shares: Vec<f32> = (rect.x0 as u32..rect.x1.ceil() as u32).map(|x| overlap(x, rect.x0, rect.x1)).collect();
        for row in rect.y0 as u32..rect.y1.ceil() as u32 {
            let share = overlap(row, rect.y0, rect.y1);
            self.blend_row(row, rect.x0 as u32, &shares, Color { opacity: color.opacity * share, ..color });
        }
    }

    /// Draws the border of a rectangle, on whole pixels so that it is crisp, and inside the picture where the edge lies on
    /// or beyond its border. Rectangles that miss the picture, are inverted or not finite are not drawn.
    pub fn frame(&mut self, rect: BoxXyxy<Pixels>, stroke: &Stroke) {
        let (width, height) = (self.width(), self.height());
        let inverted = rect.x1 < rect.x0 || rect.y1 < rect.y0;
        let misses = rect.x1 < 0.0 || rect.y1 < 0.0 || rect.x0 > width || rect.y0 > height;
        if !rect.is_finite() || inverted || misses || width == 0.0 || height == 0.0 {
            return;
        }
        let thickness = if stroke.thickness.is_nan() { 1.0 } else { stroke.thickness.clamp(1.0, width + height) };
        let half = thickness.round() / 2.0;
        // Centre of each side's line, such that the line covers whole pixels and stays inside.
        let snap = |edge: f64, side: f64| {
            ((edge - half).round() + half).clamp(half.min(side / 2.0), (side - half).max(side / 2.0))
        };
        let (x0, x1) = (snap(rect.x0, width), snap(rect.x1, width));
        let (y0, y1) = (snap(rect.y0, height), snap(rect.y1, height));
        let seam = stroke.halo.map_or(0.0, |(_, seam)| seam.clamp(0.0, FAR));
        let layers = stroke.halo.map(|(color, _)| (color, half + seam)).into_iter().chain([(stroke.color, half)]);
        let Some(dash) = stroke.dash else {
            return layers.for_each(|(color, reach)| self.ring([x0, y0, x1, y1], reach, color));
        };
        let around = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)];
        let pieces = raster::dashes(&around, dash.max(1.0), dash.max(1.0));
        for (color, reach) in layers {
            for segment in pieces.iter().flat_map(|piece| piece.windows(2)) {
                let (a, b) = (segment[0], segment[1]);
                let hull = BoxXyxy::<Pixels>::new(a.0.min(b.0), a.1.min(b.1), a.0.max(b.0), a.1.max(b.1));
                self.fill_rect(grown(hull, reach), color);
            }
        }
    }

    /// Fills what lies within `reach` of the sides of a rectangle, every pixel once.
    fn ring(&mut self, [x0, y0, x1, y1]: [f64; 4], reach: f64, color: Color) {
        let outer = grown(BoxXyxy::new(x0, y0, x1, y1), reach);
        let inner = grown(BoxXyxy::new(x0, y0, x1, y1), -reach);
        if inner.x0 >= inner.x1 || inner.y0 >= inner.y1 {
            return self.fill_rect(outer, color);
        }
        self.fill_rect(BoxXyxy::new(outer.x0, outer.y0, outer.x1, inner.y0), color);
        self.fill_rect(BoxXyxy::new(outer.x0, inner.y1, outer.x1, outer.y1), color);
        self.fill_rect(BoxXyxy::new(outer.x0, inner.y0, inner.x0, inner.y1), color);
        self.fill_rect(BoxXyxy::new(inner.x1, inner.y0, outer.x1, inner.y1), color);
    }

    /// Draws a line through the points, with flat ends and round joints. It is interrupted at points that are not finite.
    pub fn line(&mut self, points: &[(f64, f64)], stroke: &Stroke) {
        // No line need be thicker than the picture; the limit also bounds how many dashes there can be.
        let limit = self.width() + self.height();
        let thickness = stroke.thickness.clamp(0.0, limit);
        if thickness.is_nan() {
            return;
        }
        let reach = thickness + 2.0;
        let window = [-reach, -reach, self.width() + reach, self.height() + reach];
        let mut pieces = visible_pieces(points, window);
        if let Some(dash) = stroke.dash {
            pieces = pieces.iter().flat_map(|piece| raster::dashes(piece, dash.max(0.5), dash.max(0.5))).collect();
        }
        let halo = stroke.halo.map(|(color, seam)| (color, thickness + 2.0 * seam.clamp(0.0, limit)));
        for (color, thickness) in halo.into_iter().chain([(stroke.color, thickness)]) {
            let contours: Vec<_> = pieces.iter().flat_map(|piece| raster::stroke(piece, thickness)).collect();
            self.fill_contours(&contours, color);
        }
    }

    /// Fills a polygon (non-zero winding rule). Nothing is drawn if a corner is not finite.
    pub fn polygon(&mut self, corners: &[(f64, f64)], color: Color) {
        self.fill_contours(&[corners.to_vec()], color);
    }

    /// Fills a disc.
    pub fn disc(&mut self, centre: (f64, f64), radius: f64, color: Color) {
        if radius > 0.0 {
            self.fill_contours(&[raster::disc(centre, radius)], color);
        }
    }

    /// Draws the circumference of a circle.
    pub fn circle(&mut self, centre: (f64, f64), radius: f64, stroke: &Stroke) {
        if radius > 0.0 && radius < FAR {
            let mut around = raster::disc(centre, radius);
            around.extend_from_within(..1);
            self.line(&around, stroke);
        }
    }

    /// Draws one line of text, its baseline starting at `left`, `baseline`. Returns the box that [`font::measure`] gives.
    pub fn text(&mut self, text: &str, left: f64, baseline: f64, style: &TextStyle) -> BoxXyxy<Pixels> {
        let size = font::measure(text, style.font_size);
        let seam = style.halo.map_or(0.0, |(_, seam)| seam + 2.0);
        let window = [-seam, -seam, self.width() + seam, self.height() + seam];
        if let Some(letters) = Coverage::of_text(text, left, baseline, style.font_size, window) {
            self.blend_text(&letters, style);
        }
        BoxXyxy::new(left, baseline - size.ascent, left + size.width, baseline + size.descent)
    }

    /// Draws one line of text upwards, its baseline starting at `x`, `bottom`; letters have their feet to the right.
    pub fn text_upwards(&mut self, text: &str, x: f64, bottom: f64, style: &TextStyle) {
        // In the text's own frame, u runs along the line and v down from the baseline: x_picture = x + v, y = bottom - u.
        let seam = style.halo.map_or(0.0, |(_, seam)| seam) + 2.0;
        let window = [bottom - self.height() - seam, -x - seam, bottom + seam, self.width() - x + seam];
        let fraction = bottom.ceil() - bottom;
        if let Some(letters) = Coverage::of_text(text, fraction, x - x.floor(), style.font_size, window) {
            self.blend_text(&letters.turned_left(x.floor(), bottom.ceil()), style);
        }
    }

    /// Puts another picture on this one, its top left corner at pixel (`left`, `top`).
    pub fn paste(&mut self, picture: &RgbImage, left: u32, top: u32) {
        image::imageops::replace(&mut self.image, picture, i64::from(left), i64::from(top));
    }

    fn blend_text(&mut self, letters: &Coverage, style: &TextStyle) {
        if let Some((color, seam)) = style.halo {
            self.blend(&letters.grown(seam), color);
        }
        self.blend(letters, style.color);
    }

    fn fill_contours(&mut self, contours: &[Vec<(f64, f64)>], color: Color) {
        let (width, height) = self.image.dimensions();
        raster::fill(contours, width, height, |row, left, shares| self.blend_row(row, left as u32, shares, color));
    }

    fn blend(&mut self, coverage: &Coverage, color: Color) {
        let (width, height) = (i64::from(self.image.width()), i64::from(self.image.height()));
        let (from, to) =
            ((-coverage.left).clamp(0, coverage.width as i64), (width - coverage.left).clamp(0, coverage.width as i64));
        if from >= to {
            return;
        }
        for (index, values) in coverage.values.chunks_exact(coverage.width).enumerate() {
            let row = coverage.top + index as i64;
            if (0..height).contains(&row) {
                self.blend_row(row as u32, (coverage.left + from) as u32, &values[from as usize..to as usize], color);
            }
        }
    }

    /// Mixes the colour into a row of pixels from column `left` on, by a share each.
    pub(crate) fn blend_row(&mut self, row: u32, left: u32, shares: &[f32], color: Color) {
        let start = (row as usize * self.image.width() as usize + left as usize) * 3;
        let pixels = &mut self.image.as_mut()[start..start + shares.len() * 3];
        for (pixel, share) in pixels.chunks_exact_mut(3).zip(shares) {
            blend_pixel(pixel, color.channels(), share * color.opacity);
        }
    }

    /// The bytes of one row, three a pixel.
    pub(crate) fn row_mut(&mut self, row: u32) -> &mut [u8] {
        let length = self.image.width() as usize * 3;
        &mut self.image.as_mut()[row as usize * length..(row as usize + 1) * length]
    }
}

/// Moves a pixel towards a colour.
pub(crate) fn blend_pixel(pixel: &mut [u8], color: [u8; 3], share: f32) {
    for (value, target) in pixel.iter_mut().zip(color) {
        let mixed = f32::from(*value) + (f32::from(target) - f32::from(*value)) * share;
        *value = (mixed + 0.5) as u8; // saturates, and NaN gives 0, which no caller produces
    }
}

/// Every edge moved outwards.
fn grown(rect: BoxXyxy<Pixels>, by: f64) -> BoxXyxy<Pixels> {
    BoxXyxy::new(rect.x0 - by, rect.y0 - by, rect.x1 + by, rect.y1 + by)
}

/// How much of pixel `index` lies in `[from, to]`.
fn overlap(index: u32, from: f64, to: f64) -> f32 {
    let index = f64::from(index);
    (to.min(index + 1.0) - from.max(index)).clamp(0.0, 1.0) as f32
}

/// A line cut at senseless points and to a window.
fn visible_pieces(points: &[(f64, f64)], window: [f64; 4]) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    for segment in points.windows(2) {
        let finite = segment.iter().all(|(x, y)| x.abs() < f64::MAX / 4.0 && y.abs() < f64::MAX / 4.0);
        let Some((a, b)) = finite.then(|| raster::clip(segment[0], segment[1], window)).flatten() else { continue };
        match pieces.last_mut() {
            Some(piece) if piece.last() == Some(&a) => piece.push(b),
            _ => pieces.push(vec![a, b]),
        }
    }
    pieces
}

/// How much of each pixel of a small window letters cover.
struct Coverage {
    left: i64,
    top: i64,
    width: usize,
    values: Vec<f32>,
}

impl Coverage {
    /// `None` where nothing is visible in the window `[x0, y0, x1, y1]`.
    fn of_text(text: &str, x: f64, y: f64, font_size: f64, window: [f64; 4]) -> Option<Self> {
        if !(x.abs() < FAR && y.abs() < FAR && window.iter().all(|edge| edge.abs() < 2.0 * FAR)) {
            return None;
        }
        let outlines = Face::new(font_size).outlines(text, x, y, window[2]);
        let seen = |bounds: &ab_glyph::Rect| {
            let [x0, y0, x1, y1] = window.map(|edge| edge as f32);
            bounds.max.x > x0 && bounds.min.x < x1 && bounds.max.y > y0 && bounds.min.y < y1
        };
        let visible: Vec<_> =
            outlines.iter().map(|glyph| (glyph, glyph.px_bounds())).filter(|(_, b)| seen(b)).collect();
        let hull = visible.iter().map(|(_, bounds)| *bounds).reduce(|a, b| ab_glyph::Rect {
            min: ab_glyph::point(a.min.x.min(b.min.x), a.min.y.min(b.min.y)),
            max: ab_glyph::point(a.max.x.max(b.max.x), a.max.y.max(b.max.y)),
        })?;
        let (left, top) = (hull.min.x as i64, hull.min.y as i64);
        let (width, height) = ((hull.max.x as i64 - left) as usize, (hull.max.y as i64 - top) as usize);
        let mut values = vec![0f32; width * height];
        for (glyph, bounds) in visible {
            let (dx, dy) = ((bounds.min.x as i64 - left) as usize, (bounds.min.y as i64 - top) as usize);
            glyph.draw(|x, y, share| {
                // Letters that touch add up; `get_mut` because a rounded outline may reach past its bounds.
                let (column, row) = (dx + x as usize, dy + y as usize);
                if let Some(value) = (column < width).then(|| values.get_mut(row * width + column)).flatten() {
                    *value = (*value + share).min(1.0);
                }
            });
        }
        Some(Self { left, top, width, values })
    }

    fn height(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Turned a quarter to the left around the origin, then moved by (`x`, `y`).
    fn turned_left(&self, x: f64, y: f64) -> Self {
        let height = self.height();
        let mut values = vec![0f32; self.values.len()];
        for row in 0..height {
            for column in 0..self.width {
                values[(self.width - 1 - column) * height + row] = self.values[row * self.width + column];
            }
        }
        Self { left: x as i64 + self.top, top: y as i64 - self.left - self.width as i64, width: height, values }
    }

    /// Every covered place widened to a disc.
    fn grown(&self, radius: f64) -> Self {
        // One pixel more than the radius, so that the half-covered rims of thin strokes are surrounded in full.
        let reach = (radius.clamp(0.0, MAX_TEXT_SEAM) + 1.0).ceil() as usize;
        let (width, height) = (self.width + 2 * reach, self.height() + 2 * reach);
        let mut values = vec![0f32; width * height];
        for dy in 0..=2 * reach {
            for dx in 0..=2 * reach {
                let distance = (dx as f64 - reach as f64).hypot(dy as f64 - reach as f64);
                let weight = (radius + 1.0 - distance).clamp(0.0, 1.0) as f32;
                if weight == 0.0 {
                    continue;
                }
                for (row, source) in self.values.chunks_exact(self.width).enumerate() {
                    let start = (row + dy) * width + dx;
                    for (value, share) in values[start..start + self.width].iter_mut().zip(source) {
                        *value = value.max(share * weight);
                    }
                }
            }
        }
        Self { left: self.left - reach as i64, top: self.top - reach as i64, width, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dark(painter: &Painter) -> Vec<(u32, u32)> {
        painter.image().enumerate_pixels().filter(|(_, _, p)| p.0[0] < 200).map(|(x, y, _)| (x, y)).collect()
    }

    #[test]
    fn a_filled_rectangle_covers_its_area() {
        let mut painter = Painter::blank(10, 10, Color::WHITE);
        painter.fill_rect(BoxXyxy::new(2.0, 3.0, 5.0, 4.5), Color::BLACK);
        assert_eq!(painter.image().get_pixel(2, 3).0, [0; 3]);
        assert_eq!(painter.image().get_pixel(4, 4).0, [128; 3]);
        assert_eq!(painter.image().get_pixel(5, 3).0, [255; 3]);
        let darkness: u32 = painter.image().pixels().map(|p| 255 - u32::from(p.0[0])).sum();
        assert!(darkness.abs_diff((255.0 * 4.5) as u32) <= 3);
    }

    #[test]
    fn a_frame_is_crisp_and_stays_inside() {
        let mut painter = Painter::blank(20, 20, Color::WHITE);
        painter.frame(BoxXyxy::new(-5.0, 4.3, 12.0, 30.0), &Stroke::solid(Color::BLACK, 2.0));
        let levels: std::collections::BTreeSet<u8> = painter.image().pixels().map(|p| p.0[0]).collect();
        assert_eq!(levels.into_iter().collect::<Vec<_>>(), [0, 255], "no half-covered pixels");
        assert_eq!(painter.image().get_pixel(0, 10).0, [0; 3], "the left edge is pulled onto the border");
        assert_eq!(painter.image().get_pixel(5, 19).0, [0; 3]);
        assert_eq!(painter.image().get_pixel(5, 10).0, [255; 3]);
    }

    #[test]
    fn upward_text_is_the_same_ink_turned() {
        let style = TextStyle { color: Color::BLACK, font_size: 20.0, halo: None };
        let (mut level, mut turned) = (Painter::blank(80, 80, Color::WHITE), Painter::blank(80, 80, Color::WHITE));
        level.text("Fig", 10.0, 40.0, &style);
        turned.text_upwards("Fig", 40.0, 70.0, &style);
        let moved = image::imageops::rotate270(level.image());
        assert!(!dark(&level).is_empty());
        assert_eq!(&moved, turned.image());
    }

    #[test]
    fn a_halo_surrounds_the_letters() {
        let halo = Some((Color::BLACK, 2.0));
        let mut painter = Painter::blank(60, 40, Color::rgb(255, 0, 0));
        painter.text("I", 20.0, 38.0, &TextStyle { color: Color::WHITE, font_size: 44.0, halo });
        let row: Vec<[u8; 3]> = (0..60).map(|x| painter.image().get_pixel(x, 22).0).collect();
        let black = row.iter().position(|p| p[0] < 40).unwrap();
        let white = row.iter().position(|p| p[1] > 220).unwrap();
        assert!(black < white && white - black <= 3, "{row:?}");
    }

    #[test]
    fn lines_with_senseless_points_are_drawn_in_pieces() {
        let mut painter = Painter::blank(20, 20, Color::WHITE);
        let points = [(0.0, 5.5), (20.0, 5.5), (f64::NAN, 0.0), (0.0, 15.5), (1e12, 15.5), (f64::MAX, f64::MIN)];
        painter.line(&points, &Stroke { dash: Some(0.0), ..Stroke::solid(Color::BLACK, 1.0) });
        painter.line(&points, &Stroke::solid(Color::BLACK, 1.0));
        assert_eq!(dark(&painter).len(), 40);
    }
}
