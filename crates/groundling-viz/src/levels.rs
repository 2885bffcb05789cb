//! What a model that reads from coarse to fine has looked at: a panel a level, and what it saw in all.

use groundling_core::{BoxXyxy, ContentRect, ImageSize, Pixels};
use image::RgbImage;
use image::imageops::{self, FilterType};

use crate::color::Color;
use crate::colormap::ColorMap;
use crate::grid::{Grid, GridError};
use crate::grounding::{Mark, Overlay, Style};
use crate::heat::ValueRange;
use crate::patches::{PatchStyle, Patches};
use crate::sheet::{Cell, Sheet, SheetError};
use crate::theme::Theme;

/// One level. Patches are numbered in raster order over the canvas, `row * grid + column`.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelView {
    /// Patches a side of the canvas.
    pub grid: usize,
    /// Pixels a side of this level's picture of the canvas.
    pub side: usize,
    /// Patches that were read.
    pub kept: Vec<usize>,
    /// Patches that could be chosen, and the value by which they were, 0 to 1; empty where there was no choice.
    pub chances: Vec<(usize, f32)>,
    /// How much the answer attended to a patch; empty where that is not known.
    pub attention: Vec<(usize, f32)>,
    /// The level's own answer, in pixels of the picture.
    pub bbox: Option<BoxXyxy<Pixels>>,
    /// What is said below it.
    pub caption: String,
}

/// Everything that one answer has looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelSheet {
    /// Heading: the phrase.
    pub title: String,
    /// Size of the network input.
    pub canvas: ImageSize,
    /// Where the picture lies in it.
    pub content: ContentRect,
    /// From the coarsest.
    pub levels: Vec<LevelView>,
    /// The answer with its label, in pixels of the picture.
    pub answer: Option<(BoxXyxy<Pixels>, String)>,
    /// What the phrase really refers to, where that is known, in pixels of the picture.
    pub target: Option<BoxXyxy<Pixels>>,
    /// Light or dark.
    pub theme: Theme,
}

/// Why levels cannot be drawn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelError {
    /// A level has no patches.
    #[error(transparent)]
    Grid(#[from] GridError),
    /// The page would be empty or too large.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// A level cannot be drawn: no patches a side, more than pixels of the canvas, or no pixels.
    #[error("level {level} has {grid} patches and {side} pixels a side, expected 1 to {most} of each")]
    Size {
        /// The level, from 0.
        level: usize,
        /// Patches a side stated.
        grid: usize,
        /// Pixels a side stated.
        side: usize,
        /// Side of the canvas.
        most: usize,
    },
}

impl LevelSheet {
    /// Draws the page. First row: every level as the model saw it (kept patches from that level's own picture, the others dimmed, lines
    /// between patches, its box), then the finest that was read at every place. Second row: the answer, then the patches that could
    /// be chosen, coloured by their value. Third row, where attention is known: what the answer attended to.
    ///
    /// # Errors
    /// [`LevelError`] if a level has no patches or the page would be too large.
    pub fn draw(&self, image: &RgbImage) -> Result<RgbImage, LevelError> {
        let frame = Frame::of(self.canvas, self.content);
        for (level, view) in self.levels.iter().enumerate() {
            let (most, grid, side) = (self.canvas.long_side() as usize, view.grid, view.side);
            if !(1..=most).contains(&grid) || !(1..=most).contains(&side) {
                return Err(LevelError::Size { level, grid, side, most });
            }
        }
        let seen: Vec<RgbImage> = self.levels.iter().map(|level| frame.as_seen(image, level.side)).collect();
        let mut cells = Vec::new();
        for (view, seen) in self.levels.iter().zip(&seen) {
            let drawn = frame.patches(view.grid, &view.kept)?.draw(seen, &PatchStyle::default());
            let bbox = view.bbox.map(|bbox| mark(bbox, Color::of_mark(0), String::new()));
            cells.push(Cell { image: self.marked(&frame, image, &drawn, bbox), captions: vec![view.caption.clone()] });
        }
        let composed = self.composed(&frame, &seen);
        let captions = vec!["the finest that was read at every place".to_owned()];
        cells.push(Cell { image: self.marked(&frame, image, &composed, self.answer_mark(false)), captions });
        self.second_row(&frame, image, &mut cells)?;
        let sheet = Sheet {
            title: self.title.clone(),
            columns: self.levels.len() as u32 + 1,
            cell_width: frame.shown.0,
            cell_height: frame.shown.1,
            max_caption_lines: 3,
            theme: self.theme,
            ..Sheet::default()
        };
        Ok(sheet.draw(&cells)?)
    }

    fn second_row(&self, frame: &Frame, image: &RgbImage, cells: &mut Vec<Cell>) -> Result<(), LevelError> {
        let plain = frame.plain(image);
        let captions = vec!["the answer".to_owned()];
        cells.push(Cell { image: self.marked(frame, image, &plain, self.answer_mark(true)), captions });
        let row_end = |cells: &mut Vec<Cell>| {
            while !cells.len().is_multiple_of(self.levels.len() + 1) {
                cells.push(Cell { image: RgbImage::new(0, 0), captions: Vec::new() });
            }
        };
        for (number, view) in self.levels.iter().enumerate().filter(|(_, view)| !view.chances.is_empty()) {
            let tinted = frame.tinted(&plain, view.grid, &view.chances, ValueRange::new(0.0, 1.0))?;
            let captions = vec![format!("level {number}: chance of being read")];
            cells.push(Cell { image: frame.cut(&tinted), captions });
        }
        if self.levels.iter().any(|view| !view.attention.is_empty()) {
            row_end(cells);
            for (number, view) in self.levels.iter().enumerate() {
                let tinted = frame.tinted(&plain, view.grid, &view.attention, None)?;
                let captions = vec![format!("level {number}: attention of the answer, mean of all layers")];
                cells.push(Cell { image: frame.cut(&tinted), captions });
            }
        }
        Ok(())
    }

    /// At every place the finest level that was read there.
    fn composed(&self, frame: &Frame, seen: &[RgbImage]) -> RgbImage {
        let mut composed = RgbImage::new(frame.canvas.0, frame.canvas.1);
        for (view, seen) in self.levels.iter().zip(seen) {
            let side = frame.patch_side(view.grid);
            for &patch in &view.kept {
                let (row, column) = ((patch / view.grid) as u32, (patch % view.grid) as u32);
                let (left, top) = (column.saturating_mul(side), row.saturating_mul(side));
                let (right, bottom) = (left.saturating_add(side), top.saturating_add(side));
                for y in top..bottom.min(composed.height()) {
                    for x in left..right.min(composed.width()) {
                        composed.put_pixel(x, y, *seen.get_pixel(x, y));
                    }
                }
            }
        }
        composed
    }

    fn answer_mark(&self, labelled: bool) -> Option<Mark> {
        let (bbox, label) = self.answer.as_ref()?;
        Some(mark(*bbox, Color::of_mark(0), if labelled { label.clone() } else { String::new() }))
    }

    /// The content of a drawn canvas with the target and a box on it.
    fn marked(&self, frame: &Frame, image: &RgbImage, canvas: &RgbImage, bbox: Option<Mark>) -> RgbImage {
        let target = self.target.map(|target| Mark { dashed: true, ..mark(target, Color::WHITE, String::new()) });
        let shown = frame.cut(canvas);
        let x_factor = f64::from(shown.width()) / f64::from(image.width().max(1));
        let y_factor = f64::from(shown.height()) / f64::from(image.height().max(1));
        let mut marks: Vec<Mark> = target.into_iter().chain(bbox).collect();
        for mark in &mut marks {
            mark.bbox = mark.bbox.map(|bbox| bbox.scaled_into(x_factor, y_factor));
        }
        Overlay { marks, banners: Vec::new() }.draw(&shown, &Style::default())
    }
}

fn mark(bbox: BoxXyxy<Pixels>, color: Color, label: String) -> Mark {
    Mark { bbox: Some(bbox), mask: None, label, color, dashed: false, tint: false }
}

/// The canvas enlarged by a whole number, so that patches begin on whole pixels.
pub(crate) struct Frame {
    scale: u32,
    /// Width and height of the enlarged canvas.
    canvas: (u32, u32),
    /// Width and height of the part that holds the picture.
    shown: (u32, u32),
    /// Its left and top.
    corner: (u32, u32),
}

impl Frame {
    /// What panels aim for, pixels a side.
    const PANEL: u32 = 420;
    /// Beyond it a canvas is shown as it is.
    const MOST: u32 = 4096;

    pub(crate) fn of(canvas: ImageSize, content: ContentRect) -> Self {
        let ContentRect { top, left, height, width } = content;
        let (rows, columns) = (canvas.height().min(Self::MOST), canvas.width().min(Self::MOST));
        let (height, width) = (height.clamp(1, rows), width.clamp(1, columns));
        let (top, left) = (top.min(rows - height), left.min(columns - width));
        let scale = ((Self::PANEL + rows.max(columns) / 2) / rows.max(columns)).max(1);
        Self {
            scale,
            canvas: (columns * scale, rows * scale),
            shown: (width * scale, height * scale),
            corner: (left * scale, top * scale),
        }
    }

    fn patch_side(&self, grid: usize) -> u32 {
        (self.canvas.0.max(self.canvas.1) / grid as u32).max(1)
    }

    /// The picture in its place on the enlarged canvas.
    pub(crate) fn plain(&self, image: &RgbImage) -> RgbImage {
        self.placed(&stretched(image, self.shown.0, self.shown.1))
    }

    /// The picture in its place as a level has it: means of pixels, smoothly enlarged again.
    fn as_seen(&self, image: &RgbImage, side: usize) -> RgbImage {
        let full = self.canvas.0.max(self.canvas.1) / self.scale;
        let at_level = |shown: u32| {
            let pixels = f64::from(shown / self.scale) * side as f64 / f64::from(full);
            (pixels.round() as u32).max(1)
        };
        let small = stretched(image, at_level(self.shown.0), at_level(self.shown.1));
        self.placed(&imageops::resize(&small, self.shown.0, self.shown.1, FilterType::Triangle))
    }

    fn placed(&self, picture: &RgbImage) -> RgbImage {
        let mut canvas = RgbImage::new(self.canvas.0, self.canvas.1);
        imageops::replace(&mut canvas, picture, i64::from(self.corner.0), i64::from(self.corner.1));
        canvas
    }

    pub(crate) fn cut(&self, canvas: &RgbImage) -> RgbImage {
        imageops::crop_imm(canvas, self.corner.0, self.corner.1, self.shown.0, self.shown.1).to_image()
    }

    fn patches(&self, grid: usize, kept: &[usize]) -> Result<Patches, GridError> {
        Patches::new(self.patch_side(grid), filled(grid, false, kept.iter().map(|&patch| (patch, true)))?)
    }

    /// Patches coloured by values, the rest dimmed.
    fn tinted(
        &self,
        canvas: &RgbImage,
        grid: usize,
        values: &[(usize, f32)],
        range: Option<ValueRange>,
    ) -> Result<RgbImage, GridError> {
        let places: Vec<usize> = values.iter().map(|&(patch, _)| patch).collect();
        let colors = filled(grid, f32::NAN, values.iter().copied())?;
        let style = PatchStyle { heat: 0.6, colors: ColorMap::Viridis, range, ..PatchStyle::default() };
        Ok(self.patches(grid, &places)?.with_values(colors)?.draw(canvas, &style))
    }
}

/// A grid of one value with some others; places beyond it are left out.
fn filled<T: Copy>(grid: usize, value: T, others: impl Iterator<Item = (usize, T)>) -> Result<Grid<T>, GridError> {
    let mut values = vec![value; grid * grid];
    for (place, other) in others {
        if let Some(value) = values.get_mut(place) {
            *value = other;
        }
    }
    Grid::new(grid, grid, values)
}

/// Means of pixels where it shrinks, between pixels where it grows.
fn stretched(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    match image.dimensions() {
        (0, _) | (_, 0) => RgbImage::new(width, height),
        (columns, rows) if width <= columns && height <= rows => imageops::thumbnail(image, width, height),
        _ => imageops::resize(image, width, height, FilterType::Triangle),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sheet() -> LevelSheet {
        let level = |grid: usize, kept: Vec<usize>| LevelView {
            grid,
            side: 16 * grid,
            chances: if grid > 2 { kept.iter().map(|&patch| (patch, 0.75)).collect() } else { Vec::new() },
            attention: Vec::new(),
            kept,
            bbox: Some(BoxXyxy::new(10.0, 10.0, 60.0, 40.0)),
            caption: "a level".into(),
        };
        LevelSheet {
            title: "the left cup".into(),
            canvas: ImageSize::square(64).unwrap(),
            content: ContentRect { top: 0, left: 0, height: 32, width: 64 },
            levels: vec![level(2, vec![0, 1]), level(4, vec![0, 7])],
            answer: Some((BoxXyxy::new(10.0, 10.0, 60.0, 40.0), "the left cup 0.9".into())),
            target: None,
            theme: Theme::Light,
        }
    }

    #[test]
    fn what_was_not_read_is_dark_and_the_finest_view_is_sharp() {
        // One bright column in every sixteenth place: blurred on level 0, sharp on level 1.
        let image = RgbImage::from_fn(128, 64, |x, _| image::Rgb([if x % 16 < 2 { 255 } else { 100 }; 3]));
        let sheet = sheet();
        let frame = Frame::of(sheet.canvas, sheet.content);
        assert_eq!((frame.canvas, frame.shown), ((448, 448), (448, 224)));
        let seen: Vec<RgbImage> = [32, 64].map(|side| frame.as_seen(&image, side)).into();
        let contrast = |image: &RgbImage, from: u32| {
            let row = (from..from + 100).map(|x| image.get_pixel(x, 40).0[0]);
            row.clone().max().unwrap() - row.min().unwrap()
        };
        let composed = sheet.composed(&frame, &seen);
        // Patch 0 of level 1 covers the first 112 pixels; its right neighbour was read on level 0 only.
        assert!(
            contrast(&composed, 4) > contrast(&composed, 116) + 20,
            "{} {}",
            contrast(&composed, 4),
            contrast(&composed, 116)
        );
        let drawn = frame.patches(4, &[0, 7]).unwrap().draw(&seen[1], &PatchStyle::default());
        assert!(drawn.get_pixel(50, 50).0[0] > 90 && drawn.get_pixel(170, 50).0[0] < 70);
    }

    #[test]
    fn nothing_that_a_model_says_makes_it_fail() {
        let image = RgbImage::from_pixel(30, 15, image::Rgb([90, 90, 90]));
        let page = sheet().draw(&image).unwrap();
        assert!(page.width() > 3 * 400 && page.height() > 2 * 200);
        let mut odd = sheet();
        odd.levels[0].kept = vec![900];
        odd.levels[1].chances = vec![(3, f32::NAN), (usize::MAX, 1.0)];
        odd.levels[1].attention = vec![(0, 0.1), (1, 0.9)];
        odd.levels[1].bbox = Some(BoxXyxy::new(f64::NAN, 0.0, -5.0, 1e300));
        odd.content = ContentRect { top: 60, left: 0, height: 900, width: 1 };
        assert!(odd.draw(&image).is_ok());
        assert!(odd.draw(&RgbImage::new(0, 0)).is_ok());
        odd.levels[1].grid = 0;
        assert!(matches!(odd.draw(&image), Err(LevelError::Size { level: 1, grid: 0, .. })));
        odd.levels.clear();
        assert!(odd.draw(&image).is_ok(), "an answer without levels is a picture with a box");
    }
}
