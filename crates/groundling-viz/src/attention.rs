//! Attention over a picture, with what is there and what was answered.

use groundling_core::{BoxXyxy, ContentRect, ImageSize, Pixels};
use image::RgbImage;

use crate::color::Color;
use crate::grid::Grid;
use crate::grounding::{Mark, Overlay, Style};
use crate::heat::{HeatStyle, draw_heat};
use crate::levels::Frame;
use crate::sheet::{Cell, Sheet, SheetError};
use crate::theme::Theme;

/// One map.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionView {
    /// Attention to each cell of the canvas; what is not finite is left clear.
    pub map: Grid<f32>,
    /// The box that came of it, in pixels of the picture.
    pub bbox: BoxXyxy<Pixels>,
    /// What is said below it.
    pub caption: String,
}

/// What was asked about one picture, and where the model looked.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionRow {
    /// The picture.
    pub image: RgbImage,
    /// Size of the network input.
    pub canvas: ImageSize,
    /// Where the picture lies in it.
    pub content: ContentRect,
    /// What is said below the picture: the phrase.
    pub caption: String,
    /// What the phrase refers to, in pixels of the picture: dashed, white.
    pub truth: BoxXyxy<Pixels>,
    /// What the model answered.
    pub answer: BoxXyxy<Pixels>,
    /// From the first layer; each is coloured from 0 to its own greatest value.
    pub views: Vec<AttentionView>,
}

/// Draws rows below each other: the picture with truth and answer, then its maps.
///
/// # Errors
/// If the page would be too large.
pub fn draw_attention(title: &str, rows: &[AttentionRow], theme: Theme) -> Result<RgbImage, SheetError> {
    let columns = 1 + rows.iter().map(|row| row.views.len()).max().unwrap_or(0);
    let mut cells = Vec::new();
    for row in rows {
        row.add_to(&mut cells);
        cells.resize(cells.len().next_multiple_of(columns), Cell { image: RgbImage::new(0, 0), captions: Vec::new() });
    }
    let sheet = Sheet {
        title: title.to_owned(),
        columns: columns as u32,
        cell_width: PANEL,
        cell_height: PANEL,
        max_caption_lines: 3,
        theme,
        ..Sheet::default()
    };
    sheet.draw(&cells)
}

/// Pixels a side of a panel.
const PANEL: u32 = 260;

impl AttentionRow {
    fn add_to(&self, cells: &mut Vec<Cell>) {
        let frame = Frame::of(self.canvas, self.content);
        let plain = frame.plain(&self.image);
        let picture = self.marked(frame.cut(&plain), self.answer);
        cells.push(Cell { image: picture, captions: vec![self.caption.clone()] });
        for view in &self.views {
            let most = view.map.range().map_or(0.0, |(_, most)| most);
            let range = crate::heat::ValueRange::new(0.0, most);
            let heat = HeatStyle { range, bar: false, ..HeatStyle::default() };
            let drawn = frame.cut(&draw_heat(&plain, &view.map, &heat));
            cells.push(Cell { image: self.marked(drawn, view.bbox), captions: vec![view.caption.clone()] });
        }
    }

    fn marked(&self, shown: RgbImage, answer: BoxXyxy<Pixels>) -> RgbImage {
        let x_factor = f64::from(shown.width()) / f64::from(self.image.width().max(1));
        let y_factor = f64::from(shown.height()) / f64::from(self.image.height().max(1));
        let mark = |bbox: BoxXyxy<Pixels>, color, dashed| {
            let bbox = Some(bbox.scaled_into(x_factor, y_factor));
            Mark { bbox, mask: None, label: String::new(), color, dashed, tint: false }
        };
        let marks = vec![mark(answer, Color::of_mark(0), false), mark(self.truth, Color::WHITE, true)];
        Overlay { marks, banners: Vec::new() }.draw(&shown, &Style::default())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_where_the_attention_is_and_the_canvas_around_the_picture_is_cut_off() {
        let image = RgbImage::from_pixel(64, 32, image::Rgb([90, 90, 90]));
        let mut values = vec![0.0; 16];
        values[6] = 1.0; // second row, third column: right of the middle, in the picture
        values[0] = f32::NAN;
        let row = AttentionRow {
            image,
            canvas: ImageSize::square(64).unwrap(),
            content: ContentRect { top: 16, left: 0, height: 32, width: 64 },
            caption: "the cup".into(),
            truth: BoxXyxy::new(1.0, 1.0, 9.0, 9.0),
            answer: BoxXyxy::new(f64::NAN, 0.0, 1e300, 5.0),
            views: vec![AttentionView {
                map: Grid::new(4, 4, values).unwrap(),
                bbox: BoxXyxy::new(1.0, 20.0, 9.0, 30.0),
                caption: "layer 0".into(),
            }],
        };
        let mut cells = Vec::new();
        row.add_to(&mut cells);
        let heat = &cells[1].image;
        assert_eq!(heat.width(), 2 * heat.height());
        let at = |x: f64, y: f64| {
            heat.get_pixel((x * f64::from(heat.width())) as u32, (y * f64::from(heat.height())) as u32).0
        };
        // The greatest value is yellow, the least dark blue.
        assert!(at(0.625, 0.25)[1] > at(0.375, 0.75)[1] + 60, "{:?} {:?}", at(0.625, 0.25), at(0.375, 0.75));
        let page = draw_attention("worst", &[row.clone(), AttentionRow { views: Vec::new(), ..row }], Theme::Light);
        assert!(page.unwrap().width() > 2 * PANEL);
        assert!(draw_attention("nothing", &[], Theme::Dark).is_ok());
    }
}
