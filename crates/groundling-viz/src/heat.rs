//! Heat maps over pictures: attention, scores, differences.

use groundling_core::BoxXyxy;
use image::RgbImage;

use crate::chart::ticks;
use crate::color::Color;
use crate::colormap::ColorMap;
use crate::font;
use crate::grid::Grid;
use crate::grounding::{Sizes, Style};
use crate::painter::{Painter, TextStyle, blend_pixel};

/// Values at the two ends of a colour map, both finite and the first below the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueRange {
    low: f32,
    high: f32,
}

/// How heat looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeatStyle {
    /// Colours of the values.
    pub colors: ColorMap,
    /// Opacity of the heat, 0 to 1.
    pub opacity: f32,
    /// Values at the ends of the colour map. `None` takes those of the grid, made symmetric around 0 for
    /// [`ColorMap::Diverging`].
    pub range: Option<ValueRange>,
    /// Whether a colour bar with ticks is appended on the right; the result is then wider than the picture.
    pub bar: bool,
}

impl Default for HeatStyle {
    fn default() -> Self {
        Self { colors: ColorMap::Viridis, opacity: 0.6, range: None, bar: true }
    }
}

impl ValueRange {
    /// `None` unless both are finite and `low < high`.
    pub fn new(low: f32, high: f32) -> Option<Self> {
        (low.is_finite() && high.is_finite() && low < high).then_some(Self { low, high })
    }

    /// From the least to the greatest finite value of a grid, a little wider if they are equal; `None` if there is none.
    pub fn of(grid: &Grid<f32>) -> Option<Self> {
        let (low, high) = grid.range()?;
        let room = if low < high { 0.0 } else { (low.abs() * 1e-3).max(1e-6) };
        // Halves of the largest numbers, so that their difference is finite.
        let limit = f32::MAX / 4.0;
        Self::new((low - room).clamp(-limit, limit), (high + room).clamp(-limit, limit))
    }

    /// Equally far to both sides of 0.
    pub fn symmetric(self) -> Self {
        let reach = self.low.abs().max(self.high.abs());
        Self { low: -reach, high: reach }
    }

    /// Least value.
    pub fn low(self) -> f32 {
        self.low
    }

    /// Greatest value.
    pub fn high(self) -> f32 {
        self.high
    }

    /// Where a value lies: 0 at `low`, 1 at `high`.
    pub fn share(self, value: f32) -> f32 {
        ((f64::from(value) - f64::from(self.low)) / (f64::from(self.high) - f64::from(self.low))) as f32
    }
}

/// Lays a grid of values over a picture: the grid is stretched to the picture (cell `j` of `n` columns covers
/// `[j, j + 1) / n` of the width), interpolated between the centres of its cells, coloured and blended. Cells that are not
/// finite are left out, and fade at their borders. A grid without a finite value leaves the picture alone.
pub fn draw_heat(image: &RgbImage, values: &Grid<f32>, style: &HeatStyle) -> RgbImage {
    let mut painter = Painter::new(image.clone());
    let own = || {
        let range = ValueRange::of(values)?;
        Some(if style.colors == ColorMap::Diverging { range.symmetric() } else { range })
    };
    let Some(range) = style.range.or_else(own) else { return painter.finish() };
    let palette: Vec<[u8; 3]> = (0..=255u8).map(|i| style.colors.color(f32::from(i) / 255.0).channels()).collect();
    let columns = Samples::new(values.columns(), image.width());
    let rows = Samples::new(values.rows(), image.height());
    // Interpolate along y once a row, then along x: (share along the colour map, weight of finite cells) a column.
    let mut line = vec![(0f32, 0f32); values.columns()];
    for y in 0..image.height() {
        let (upper, lower, weight) = rows.at(y);
        for (column, cell) in line.iter_mut().enumerate() {
            *cell = [(upper, 1.0 - weight), (lower, weight)]
                .into_iter()
                .filter_map(|(row, weight)| Some((values.get(row, column).filter(|v| v.is_finite())?, weight)))
                .fold((0.0, 0.0), |sum, (value, w)| (sum.0 + range.share(value).clamp(0.0, 1.0) * w, sum.1 + w));
        }
        for (x, pixel) in painter.row_mut(y).chunks_exact_mut(3).enumerate() {
            let (left, right, weight) = columns.at(x as u32);
            let (a, b) = (line[left], line[right]);
            let share = a.0 * (1.0 - weight) + b.0 * weight;
            let known = a.1 * (1.0 - weight) + b.1 * weight;
            if known > 1e-3 {
                let color = palette[(((share / known) * 255.0 + 0.5) as usize).min(255)];
                blend_pixel(pixel, color, style.opacity.clamp(0.0, 1.0) * known.min(1.0));
            }
        }
    }
    if style.bar { with_bar(&painter.finish(), range, style.colors) } else { painter.finish() }
}

/// Where the pixels of one axis lie between the centres of cells.
struct Samples {
    places: Vec<(usize, usize, f32)>,
}

impl Samples {
    fn new(cells: usize, pixels: u32) -> Self {
        let last = cells - 1; // a grid has at least one row and one column
        let place = |pixel: u32| {
            let at = ((f64::from(pixel) + 0.5) * cells as f64 / f64::from(pixels) - 0.5).clamp(0.0, last as f64);
            let cell = at as usize;
            (cell, (cell + 1).min(last), (at - cell as f64) as f32)
        };
        Self { places: (0..pixels).map(place).collect() }
    }

    /// Cell before, cell after, weight of the latter.
    fn at(&self, pixel: u32) -> (usize, usize, f32) {
        self.places[pixel as usize]
    }
}

/// The picture with a colour bar on its right.
fn with_bar(image: &RgbImage, range: ValueRange, colors: ColorMap) -> RgbImage {
    let sizes = Sizes::of(image, &Style::default());
    let (low, high) = (f64::from(range.low), f64::from(range.high));
    let text = sizes.text.min(f64::from(image.height()) / 3.0).max(5.0);
    let line = font::measure("0", text);
    let (gap, bar) = ((text * 0.6).ceil(), (text * 1.2).ceil());
    let bottom = f64::from(image.height());
    let most = (bottom / (line.height() * 1.6)).clamp(2.0, 9.0) as usize;
    let ticks = ticks::linear(low, high, most);
    let widest = ticks.iter().map(|tick| font::measure(&tick.label, text).width).fold(0.0, f64::max);
    let width = f64::from(image.width()) + gap * 2.5 + bar + widest.ceil();

    let mut painter = Painter::blank(width as u32, image.height(), Color::WHITE);
    painter.paste(image, 0, 0);
    let left = f64::from(image.width()) + gap;
    for y in 0..image.height() {
        let share = 1.0 - (y as f32 + 0.5) / image.height() as f32;
        let y = f64::from(y);
        painter.fill_rect(BoxXyxy::new(left, y, left + bar, y + 1.0), colors.color(share));
    }
    let style = TextStyle { color: Color::grey(30), font_size: text, halo: None };
    for tick in ticks {
        let y = bottom * (high - tick.value) / (high - low);
        painter.fill_rect(BoxXyxy::new(left + bar, y - 0.5, left + bar + gap / 3.0, y + 0.5), style.color);
        // The labels of the ends are moved in so far that they are whole; capitals are 0.73 em high.
        let baseline = (y + text * 0.36).clamp(text * 0.76, (bottom - 1.0).max(text * 0.76));
        painter.text(&tick.label, left + bar + gap / 2.0, baseline, &style);
    }
    painter.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(colors: ColorMap) -> HeatStyle {
        HeatStyle { colors, opacity: 1.0, range: None, bar: false }
    }

    #[test]
    fn cell_centres_have_the_colour_of_their_value() {
        let grid = Grid::new(1, 2, vec![-1.0, 3.0]).unwrap();
        let image = RgbImage::new(40, 10);
        let drawn = draw_heat(&image, &grid, &bare(ColorMap::Viridis));
        assert_eq!(drawn.get_pixel(5, 5).0, ColorMap::Viridis.color(0.0).channels());
        assert_eq!(drawn.get_pixel(35, 5).0, ColorMap::Viridis.color(1.0).channels());
        let two_sided = draw_heat(&image, &grid, &bare(ColorMap::Diverging));
        assert_eq!(two_sided.get_pixel(35, 5).0, ColorMap::Diverging.color(1.0).channels());
        let expected = ColorMap::Diverging.color(1.0 / 3.0);
        assert!(two_sided.get_pixel(5, 5).0.iter().zip(expected.channels()).all(|(a, b)| a.abs_diff(b) <= 1));
    }

    #[test]
    fn unknown_cells_show_the_picture() {
        let image = RgbImage::from_pixel(30, 6, image::Rgb([9, 8, 7]));
        let grid = Grid::new(1, 3, vec![f32::NAN, f32::INFINITY, 1.0]).unwrap();
        let drawn = draw_heat(&image, &grid, &bare(ColorMap::Viridis));
        assert_eq!(drawn.get_pixel(3, 3).0, [9, 8, 7]);
        assert_ne!(drawn.get_pixel(27, 3).0, [9, 8, 7]);
        let nothing = Grid::new(1, 1, vec![f32::NAN]).unwrap();
        assert_eq!(draw_heat(&image, &nothing, &HeatStyle::default()), image);
    }

    #[test]
    fn the_bar_leaves_the_picture_alone() {
        let image = RgbImage::from_pixel(200, 120, image::Rgb([9, 8, 7]));
        let grid = Grid::new(2, 2, vec![0.0, 0.25, 0.5, 1.0]).unwrap();
        let drawn = draw_heat(&image, &grid, &HeatStyle { opacity: 0.0, ..HeatStyle::default() });
        assert!(drawn.width() > 200 && drawn.height() == 120);
        assert_eq!(image::imageops::crop_imm(&drawn, 0, 0, 200, 120).to_image(), image);
    }

    #[test]
    fn extreme_values_are_drawn() {
        let image = RgbImage::new(5, 4);
        for values in [[f32::MAX, f32::MIN], [1e-45, 0.0], [7.0, 7.0], [-0.0, 0.0]] {
            draw_heat(&image, &Grid::new(1, 2, values.to_vec()).unwrap(), &HeatStyle::default());
        }
    }
}
