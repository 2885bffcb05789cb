//! Which patches of a picture a model reads: the others are dimmed.

use groundling_core::BoxXyxy;
use image::RgbImage;

use crate::color::Color;
use crate::colormap::ColorMap;
use crate::grid::{Grid, GridError};
use crate::grounding::{Sizes, Style};
use crate::heat::ValueRange;
use crate::painter::{Painter, blend_pixel};

/// Patches of a picture, from its top left corner, `patch_side` x `patch_side` pixels each.
#[derive(Debug, Clone, PartialEq)]
pub struct Patches {
    patch_side: u32,
    kept: Grid<bool>,
    values: Option<Grid<f32>>,
}

/// How patches look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatchStyle {
    /// How dark patches that were left out are, 0 (as they are) to 1 (black).
    pub dimming: f32,
    /// Whether lines are drawn between patches. Patches narrower than 4 pixels have none in any case.
    pub lines: bool,
    /// Colours of the values, where there are any.
    pub colors: ColorMap,
    /// Opacity of these colours, 0 to 1.
    pub heat: f32,
    /// Values at the ends of the colour map; `None` takes those of the grid.
    pub range: Option<ValueRange>,
}

impl Default for PatchStyle {
    fn default() -> Self {
        Self { dimming: 0.75, lines: true, colors: ColorMap::Viridis, heat: 0.45, range: None }
    }
}

impl Patches {
    /// Patches of `patch_side` pixels, `true` = kept.
    ///
    /// # Errors
    /// If the side is 0.
    pub fn new(patch_side: u32, kept: Grid<bool>) -> Result<Self, GridError> {
        if patch_side == 0 {
            return Err(GridError::PatchSide);
        }
        Ok(Self { patch_side, kept, values: None })
    }

    /// Gives each patch a value, its selection score for example. Values that are not finite are not drawn.
    ///
    /// # Errors
    /// If there is not one value a patch.
    pub fn with_values(mut self, values: Grid<f32>) -> Result<Self, GridError> {
        let (rows, columns) = (self.kept.rows(), self.kept.columns());
        let (found_rows, found_columns) = (values.rows(), values.columns());
        if (rows, columns) != (found_rows, found_columns) {
            return Err(GridError::Mismatch { rows, columns, found_rows, found_columns });
        }
        self.values = Some(values);
        Ok(self)
    }

    /// Draws the picture with the kept patches as they are (or tinted by their values) and everything else dimmed,
    /// including what lies beyond the grid. The grid may reach beyond the picture.
    pub fn draw(&self, image: &RgbImage, style: &PatchStyle) -> RgbImage {
        let mut painter = Painter::new(image.clone());
        let range = style.range.or_else(|| self.values.as_ref().and_then(ValueRange::of));
        let width = image.width() as usize;
        for y in 0..image.height() {
            let row = (y / self.patch_side) as usize;
            let pixels = painter.row_mut(y);
            for (column, left) in (0..width).step_by(self.patch_side as usize).enumerate() {
                let right = left.saturating_add(self.patch_side as usize).min(width);
                let kept = self.kept.get(row, column).unwrap_or(false);
                let heat = self.heat_of(row, column, range, style);
                for pixel in pixels[left * 3..right * 3].chunks_exact_mut(3) {
                    if let Some(color) = heat {
                        blend_pixel(pixel, color.channels(), color.opacity);
                    }
                    if !kept {
                        blend_pixel(pixel, [0; 3], style.dimming.clamp(0.0, 1.0));
                    }
                }
            }
        }
        if style.lines && self.patch_side >= 4 {
            self.draw_lines(&mut painter);
        }
        painter.finish()
    }

    fn heat_of(&self, row: usize, column: usize, range: Option<ValueRange>, style: &PatchStyle) -> Option<Color> {
        let value = self.values.as_ref()?.get(row, column).filter(|value| value.is_finite())?;
        Some(style.colors.color(range?.share(value)).with_opacity(style.heat))
    }

    fn draw_lines(&self, painter: &mut Painter) {
        let sizes = Sizes::of(painter.image(), &Style::default());
        let thickness = (sizes.line / 3.0).round().clamp(1.0, (f64::from(self.patch_side) / 6.0).max(1.0));
        let side = f64::from(self.patch_side);
        let right = (self.kept.columns() as f64 * side).min(painter.width());
        let bottom = (self.kept.rows() as f64 * side).min(painter.height());
        let color = Color::WHITE.with_opacity(0.25);
        // Only lines between patches: one on the border of the picture would say nothing.
        let places = |count: usize, end: f64| (1..=count).map(move |i| i as f64 * side).take_while(move |&at| at < end);
        for x in places(self.kept.columns(), painter.width()) {
            painter.fill_rect(BoxXyxy::new(x - thickness, 0.0, x, bottom), color);
        }
        for y in places(self.kept.rows(), painter.height()) {
            painter.fill_rect(BoxXyxy::new(0.0, y - thickness, right, y), color);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_patches_stay_and_others_darken() {
        let kept = Grid::new(2, 2, vec![true, false, false, true]).unwrap();
        let image = RgbImage::from_pixel(21, 20, image::Rgb([200; 3]));
        let style = PatchStyle { lines: false, dimming: 0.5, ..PatchStyle::default() };
        let drawn = Patches::new(10, kept).unwrap().draw(&image, &style);
        assert_eq!(drawn.get_pixel(3, 3).0, [200; 3]);
        assert_eq!(drawn.get_pixel(13, 3).0, [100; 3]);
        assert_eq!(drawn.get_pixel(20, 12).0, [100; 3], "beyond the grid");
    }

    #[test]
    fn values_must_match_and_may_be_nan() {
        let kept = || Patches::new(8, Grid::new(1, 2, vec![true, true]).unwrap()).unwrap();
        let error = kept().with_values(Grid::new(2, 1, vec![0.0; 2]).unwrap()).unwrap_err();
        assert!(matches!(error, GridError::Mismatch { found_rows: 2, .. }), "{error}");
        assert_eq!(Patches::new(0, Grid::new(1, 1, vec![true]).unwrap()), Err(GridError::PatchSide));
        let image = RgbImage::from_pixel(16, 8, image::Rgb([200; 3]));
        let patches = kept().with_values(Grid::new(1, 2, vec![f32::NAN, 1.0]).unwrap()).unwrap();
        let drawn = patches.draw(&image, &PatchStyle { lines: false, ..PatchStyle::default() });
        assert_eq!(drawn.get_pixel(2, 2).0, [200; 3]);
        assert_ne!(drawn.get_pixel(12, 2).0, [200; 3]);
    }
}
