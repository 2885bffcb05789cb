//! Contact sheets: many pictures with captions on one page.

use image::RgbImage;
use image::imageops::{self, FilterType};

use crate::font;
use crate::painter::{Painter, TextStyle};
use crate::theme::Theme;

/// Longest side of a sheet, in pixels.
pub const MAX_SHEET_SIDE: u32 = 30_000;
/// Most pixels of a sheet.
pub const MAX_SHEET_PIXELS: u64 = 120_000_000;

/// One picture and what is said below it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The picture; it is shrunk to fit its cell, never enlarged beyond twice its size.
    pub image: RgbImage,
    /// Captions, each wrapped to the width of the cell.
    pub captions: Vec<String>,
}

/// A page of pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// Heading; none if empty.
    pub title: String,
    /// Cells in a row.
    pub columns: u32,
    /// Width of a cell's picture, in pixels.
    pub cell_width: u32,
    /// Height of a cell's picture, in pixels.
    pub cell_height: u32,
    /// Letters of captions, pixels an em.
    pub font_size: f64,
    /// Lines a caption may take.
    pub max_caption_lines: usize,
    /// Light or dark.
    pub theme: Theme,
}

/// Why a sheet cannot be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SheetError {
    /// No columns or cells without extent.
    #[error(
        "sheet has {columns} columns of {cell_width}x{cell_height} pixels (width x height), expected at least 1 of each"
    )]
    Empty {
        /// Columns stated.
        columns: u32,
        /// Cell width stated.
        cell_width: u32,
        /// Cell height stated.
        cell_height: u32,
    },
    /// More than anybody can look at or memory may hold.
    #[error(
        "sheet would be {width}x{height} pixels (width x height), expected sides up to {MAX_SHEET_SIDE} and up to {MAX_SHEET_PIXELS} pixels"
    )]
    TooLarge {
        /// Width it would have.
        width: u64,
        /// Height it would have.
        height: u64,
    },
}

impl Default for Sheet {
    /// Four cells of 320x240 in a row, captions of two lines, light.
    fn default() -> Self {
        Self {
            title: String::new(),
            columns: 4,
            cell_width: 320,
            cell_height: 240,
            font_size: 14.0,
            max_caption_lines: 2,
            theme: Theme::Light,
        }
    }
}

impl Sheet {
    /// Draws the cells row by row. Every row is as high as its longest captions need. A sheet without cells says so.
    ///
    /// # Errors
    /// [`SheetError`] if it has no columns or would be too large.
    pub fn draw(&self, cells: &[Cell]) -> Result<RgbImage, SheetError> {
        let layout = Layout::of(self, cells)?;
        let colors = self.theme.colors();
        let mut painter = Painter::blank(layout.width, layout.height, colors.ground);
        let margin = f64::from(layout.margin);
        let title = TextStyle { color: colors.ink, font_size: self.title_size(), halo: None };
        let text = font::ellipsised(&self.title, title.font_size, f64::from(layout.width) - 2.0 * margin);
        painter.text(&text, margin, margin + font::measure("", title.font_size).ascent, &title);
        if cells.is_empty() {
            let style = TextStyle { color: colors.faint_ink, font_size: self.font_size, halo: None };
            painter.text("no pictures", margin, f64::from(layout.height) - margin, &style);
        }
        for (cells, row) in cells.chunks(self.columns as usize).zip(&layout.rows) {
            for (column, (cell, lines)) in (0u32..).zip(cells.iter().zip(&row.captions)) {
                let left = layout.margin + column * (self.cell_width + layout.margin);
                self.draw_cell(&mut painter, cell, lines, (left, row.top, row.picture_height));
            }
        }
        Ok(painter.finish())
    }

    fn draw_cell(&self, painter: &mut Painter, cell: &Cell, lines: &[String], place: (u32, u32, u32)) {
        let (left, top, picture_height) = place;
        let picture = fitted(&cell.image, self.cell_width, self.cell_height);
        let (width, height) = picture.dimensions();
        painter.paste(&picture, left + (self.cell_width - width) / 2, top + (picture_height - height) / 2);
        let size = font::measure("", self.font_size);
        let style = TextStyle { color: self.theme.colors().ink, font_size: self.font_size, halo: None };
        let mut baseline = f64::from(top + picture_height) + size.descent + size.ascent;
        for line in lines {
            painter.text(line, f64::from(left), baseline, &style);
            baseline += size.height();
        }
    }

    fn title_size(&self) -> f64 {
        self.font_size * 1.5
    }
}

struct Layout {
    width: u32,
    height: u32,
    margin: u32,
    rows: Vec<Row>,
}

struct Row {
    top: u32,
    /// Height of its highest picture once fitted.
    picture_height: u32,
    /// Lines below each cell.
    captions: Vec<Vec<String>>,
}

impl Layout {
    fn of(sheet: &Sheet, cells: &[Cell]) -> Result<Self, SheetError> {
        let &Sheet { columns, cell_width, cell_height, .. } = sheet;
        if columns == 0 || cell_width == 0 || cell_height == 0 {
            return Err(SheetError::Empty { columns, cell_width, cell_height });
        }
        let line = font::measure("", sheet.font_size);
        let margin = line.ascent.ceil() as u32;
        let used = u64::from(columns).min(cells.len().max(1) as u64);
        let width = u64::from(margin) + used * (u64::from(cell_width) + u64::from(margin));
        let title = if sheet.title.is_empty() { 0.0 } else { font::measure("", sheet.title_size()).height() };
        let mut top = u64::from(margin) + title.ceil() as u64 + if title > 0.0 { u64::from(margin) / 2 } else { 0 };
        // The pictures alone, before any caption is laid out: a million cells must fail fast.
        let rows = cells.len().div_ceil(columns as usize) as u64;
        check(width, top + rows * u64::from(cell_height))?;

        let mut laid_out = Vec::new();
        for row in cells.chunks(columns as usize) {
            let wrap = |caption: &String| {
                font::wrapped(caption, sheet.font_size, f64::from(cell_width), sheet.max_caption_lines)
            };
            let captions: Vec<Vec<String>> =
                row.iter().map(|cell| cell.captions.iter().flat_map(wrap).collect()).collect();
            let lines = captions.iter().map(Vec::len).max().unwrap_or(0);
            let heights = row.iter().map(|cell| fitted_size(&cell.image, cell_width, cell_height).1);
            let picture_height = heights.max().unwrap_or(0);
            laid_out.push(Row { top: top as u32, picture_height, captions });
            let text = if lines > 0 { lines as f64 * line.height() + line.descent } else { 0.0 };
            top += u64::from(picture_height) + text.ceil() as u64 + u64::from(margin);
            check(width, top)?;
        }
        let height = if cells.is_empty() { top + line.height().ceil() as u64 + u64::from(margin) } else { top };
        Ok(Self { width: width as u32, height: height as u32, margin, rows: laid_out })
    }
}

fn check(width: u64, height: u64) -> Result<(), SheetError> {
    let side = u64::from(MAX_SHEET_SIDE);
    if width > side || height > side || width * height > MAX_SHEET_PIXELS {
        return Err(SheetError::TooLarge { width, height });
    }
    Ok(())
}

/// The largest size (width, height) within the cell that keeps the picture's proportions, at most doubled.
fn fitted_size(image: &RgbImage, cell_width: u32, cell_height: u32) -> (u32, u32) {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return (0, 0);
    }
    let factor = (f64::from(cell_width) / f64::from(width)).min(f64::from(cell_height) / f64::from(height)).min(2.0);
    let to = |side: u32, limit: u32| ((f64::from(side) * factor).round() as u32).clamp(1, limit);
    (to(width, cell_width), to(height, cell_height))
}

/// The picture at that size.
fn fitted(image: &RgbImage, cell_width: u32, cell_height: u32) -> RgbImage {
    let (width, height) = fitted_size(image, cell_width, cell_height);
    if (width, height) == image.dimensions() {
        return image.clone();
    }
    imageops::resize(image, width, height, FilterType::Triangle)
}
