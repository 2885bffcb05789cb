//! Groundings on their picture: what a model points at, what the truth is, and "not here".

use groundling_core::{BoxXyxy, GroundTruth, Phrase, Pixels, Prediction, Rle};
use image::RgbImage;

use crate::color::Color;
use crate::font;
use crate::labels::Labels;
use crate::masks::MaskStyle;
use crate::painter::{Painter, Stroke, TextStyle};

/// How groundings look. Sizes are factors on what suits the picture, so one style serves thumbnails and posters.
#[derive(Debug, Clone, PartialEq)]
pub struct Style {
    /// Factor on the thickness of lines.
    pub line_scale: f64,
    /// Factor on the size of letters.
    pub text_scale: f64,
    /// Opacity of the tint of masks, 0 to 1.
    pub mask_tint: f32,
    /// Whether boxes are drawn.
    pub boxes: bool,
    /// Whether masks are drawn.
    pub masks: bool,
    /// Whether labels are drawn.
    pub labels: bool,
    /// Targets drawn at most, the first ones of the prediction.
    pub max_targets: usize,
    /// Whether candidates are drawn although the model says that nothing fits.
    pub candidates_when_absent: bool,
}

impl Default for Style {
    /// Everything on, at most 100 targets, and no candidates under a "not here".
    fn default() -> Self {
        Self {
            line_scale: 1.0,
            text_scale: 1.0,
            mask_tint: 0.4,
            boxes: true,
            masks: true,
            labels: true,
            max_targets: 100,
            candidates_when_absent: false,
        }
    }
}

/// Draws an answer on its picture: solid boxes, masks, labels with phrase and score, or a banner that says "not here".
///
/// A picture of another size than `prediction.image_size` (a thumbnail, say) is fine: boxes and masks are stretched to
/// it. Boxes that are inverted, not finite or outside the picture are left out together with their labels.
pub fn draw_prediction(image: &RgbImage, prediction: &Prediction, style: &Style) -> RgbImage {
    Overlay::default().with_prediction(image, prediction, style).draw(image, style)
}

/// Draws what a phrase really refers to: dashed boxes, masks, and the phrase where it is given. The truth's coordinates
/// must be those of this picture; masks of another size are stretched to it.
pub fn draw_truth(image: &RgbImage, truth: &GroundTruth, phrase: Option<&Phrase>, style: &Style) -> RgbImage {
    Overlay::default().with_truth(truth, phrase, style).draw(image, style)
}

/// Draws truth (dashed, white) and answer (solid, coloured) on one picture. Masks of the truth show as contours only.
pub fn draw_comparison(image: &RgbImage, truth: &GroundTruth, prediction: &Prediction, style: &Style) -> RgbImage {
    let mut overlay = Overlay::default().with_truth(truth, None, style);
    for mark in &mut overlay.marks {
        mark.color = Color::WHITE;
        mark.tint = false;
        mark.label = "truth".to_owned();
    }
    for banner in &mut overlay.banners {
        *banner = format!("truth: {banner}");
    }
    let before = overlay.banners.len();
    overlay = overlay.with_prediction(image, prediction, style);
    for banner in &mut overlay.banners[before..] {
        *banner = format!("answer: {banner}");
    }
    overlay.draw(image, style)
}

/// One thing to point at.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Its box, in pixels of the picture drawn on.
    pub bbox: Option<BoxXyxy<Pixels>>,
    /// Its shape.
    pub mask: Option<Rle>,
    /// What its label says; nothing if empty.
    pub label: String,
    /// Its colour.
    pub color: Color,
    /// Dashed instead of solid lines.
    pub dashed: bool,
    /// Whether the mask is tinted; its contour is drawn in any case.
    pub tint: bool,
}

/// Everything laid over one picture, for combinations that [`draw_prediction`] and [`draw_truth`] do not offer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Overlay {
    /// In order of drawing, the last on top. Labels are placed in the same order, the first ones best.
    pub marks: Vec<Mark>,
    /// Lines of text across the top.
    pub banners: Vec<String>,
}

impl Overlay {
    /// Adds an answer.
    pub fn with_prediction(mut self, image: &RgbImage, prediction: &Prediction, style: &Style) -> Self {
        if prediction.no_target {
            let score = prediction.no_target_score.map_or(String::new(), |score| format!(" {}", score_text(score)));
            self.banners.push(format!("not here{score}: {}", one_line(prediction.phrase.as_str())));
            if !style.candidates_when_absent {
                return self;
            }
        }
        let x_factor = f64::from(image.width()) / f64::from(prediction.image_size.width());
        let y_factor = f64::from(image.height()) / f64::from(prediction.image_size.height());
        for (index, target) in prediction.targets.iter().take(style.max_targets).enumerate() {
            // The phrase once is enough: further targets of it carry their rank.
            let name = match (&target.label, index) {
                (Some(label), _) => one_line(label),
                (None, 0) => one_line(prediction.phrase.as_str()),
                (None, _) => format!("#{}", index + 1),
            };
            self.marks.push(Mark {
                bbox: Some(target.bbox.scaled_into(x_factor, y_factor)),
                mask: target.mask.clone(),
                label: format!("{name} {}", score_text(target.score)),
                color: Color::of_mark(index),
                dashed: false,
                tint: true,
            });
        }
        self
    }

    /// Adds a truth.
    pub fn with_truth(mut self, truth: &GroundTruth, phrase: Option<&Phrase>, style: &Style) -> Self {
        let phrase = phrase.map_or(String::new(), |phrase| one_line(phrase.as_str()));
        if truth.is_absent() {
            let colon = if phrase.is_empty() { "" } else { ": " };
            self.banners.push(format!("not here{colon}{phrase}"));
        }
        if truth.targets.iter().all(|target| target.mask.is_none()) && truth.merged_mask.is_some() {
            let color = Color::of_mark(0);
            let mask = truth.merged_mask.clone();
            self.marks.push(Mark { bbox: None, mask, label: String::new(), color, dashed: true, tint: true });
        }
        for (index, target) in truth.targets.iter().take(style.max_targets).enumerate() {
            self.marks.push(Mark {
                bbox: Some(target.bbox),
                mask: target.mask.clone(),
                label: if index == 0 { phrase.clone() } else { format!("#{}", index + 1) },
                color: Color::of_mark(index),
                dashed: true,
                tint: true,
            });
        }
        self
    }

    /// Draws everything over a copy of the picture: masks below, then boxes, then banners and labels.
    pub fn draw(&self, image: &RgbImage, style: &Style) -> RgbImage {
        let sizes = Sizes::of(image, style);
        let mut painter = Painter::new(image.clone());
        if style.masks {
            self.draw_masks(&mut painter, &sizes, style);
        }
        if style.boxes {
            self.draw_boxes(&mut painter, &sizes);
        }
        let mut labels = Labels::new(painter.width(), painter.height());
        self.draw_banners(&mut painter, &mut labels, &sizes);
        if style.labels {
            self.draw_labels(&mut painter, &mut labels, &sizes);
        }
        painter.finish()
    }

    fn draw_masks(&self, painter: &mut Painter, sizes: &Sizes, style: &Style) {
        for mark in &self.marks {
            let Some(mask) = &mark.mask else { continue };
            let tint = if mark.tint { style.mask_tint } else { 0.0 };
            let halo = Some((Color::BLACK.with_opacity(0.55), sizes.seam));
            painter.rle(mask, &MaskStyle { color: mark.color, tint, contour: sizes.contour, halo });
        }
    }

    fn draw_boxes(&self, painter: &mut Painter, sizes: &Sizes) {
        for mark in &self.marks {
            let Some(bbox) = mark.bbox else { continue };
            let dash = mark.dashed.then_some(sizes.line * 4.0);
            let halo = Some((seam_color(mark.color), sizes.seam));
            painter.frame(bbox, &Stroke { color: mark.color, thickness: sizes.line, dash, halo });
        }
    }

    fn draw_banners(&self, painter: &mut Painter, labels: &mut Labels, sizes: &Sizes) {
        let size = font::measure("", sizes.text);
        let height = size.height() + 2.0 * sizes.padding;
        for (index, banner) in self.banners.iter().enumerate() {
            let top = index as f64 * height;
            if top + height > painter.height() {
                break;
            }
            let strip = BoxXyxy::new(0.0, top, painter.width(), top + height);
            painter.fill_rect(strip, Color::BLACK.with_opacity(0.78));
            let text = font::ellipsised(banner, sizes.text, painter.width() - 2.0 * sizes.padding);
            let style = TextStyle { color: Color::WHITE, font_size: sizes.text, halo: None };
            painter.text(&text, sizes.padding, top + sizes.padding + size.ascent, &style);
            labels.occupy(strip);
        }
    }

    fn draw_labels(&self, painter: &mut Painter, labels: &mut Labels, sizes: &Sizes) {
        let widest = (painter.width() - 2.0 * sizes.padding).min(sizes.text * 24.0);
        for mark in self.marks.iter().filter(|mark| !mark.label.is_empty()) {
            let (picture_width, picture_height) = (painter.width(), painter.height());
            let shape = || {
                let mask = mark.mask.as_ref()?;
                let (x, y) = (f64::from(mask.size().width()), f64::from(mask.size().height()));
                Some(mask.bbox()?.scaled_into(picture_width / x, picture_height / y))
            };
            let Some(bbox) = mark.bbox.or_else(shape).filter(|bbox| labels.can_see(*bbox)) else { continue };
            let text = cut_keeping_the_end(&mark.label, sizes.text, widest);
            let size = font::measure(&text, sizes.text);
            let (width, height) = (size.width + 2.0 * sizes.padding, size.height() + sizes.padding);
            let Some(plate) = labels.place(bbox, width, height, sizes.line) else { continue };
            painter.fill_rect(plate, mark.color.with_opacity(0.92));
            let style = TextStyle { color: mark.color.readable_ink(), font_size: sizes.text, halo: None };
            painter.text(&text, plate.x0 + sizes.padding, plate.y0 + sizes.padding / 2.0 + size.ascent, &style);
        }
    }
}

/// What suits a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sizes {
    /// Lines of boxes, a whole number.
    pub(crate) line: f64,
    /// Contours of masks.
    pub(crate) contour: f64,
    /// Seams around lines and contours, a whole number.
    pub(crate) seam: f64,
    /// Letters, pixels an em.
    pub(crate) text: f64,
    /// Room around letters on a plate.
    pub(crate) padding: f64,
}

impl Sizes {
    /// 15-pixel letters and 3-pixel lines at 640x480, in proportion to the geometric mean of the sides elsewhere, with
    /// floors below which letters and seams could not be seen.
    pub(crate) fn of(image: &RgbImage, style: &Style) -> Self {
        let side = (f64::from(image.width()) * f64::from(image.height())).sqrt();
        let factor = |scale: f64| if scale.is_finite() { scale.clamp(0.05, 20.0) } else { 1.0 };
        let line = (side / 220.0 * factor(style.line_scale)).round().max(1.0);
        let text = (side * 0.027 * factor(style.text_scale)).clamp(9.0, 300.0);
        let seam = (line / 3.0).round().max(1.0);
        Self { line, contour: (line * 0.75).max(1.0), seam, text, padding: (text * 0.3).round().max(2.0) }
    }
}

/// A dark seam for light colours and a light one for dark colours.
fn seam_color(color: Color) -> Color {
    color.readable_ink().with_opacity(0.6)
}

fn score_text(score: f64) -> String {
    if score.is_finite() { format!("{score:.2}") } else { "?".to_owned() }
}

/// White space of any kind and length becomes one space.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Cuts the name of a label but keeps the score behind it.
fn cut_keeping_the_end(label: &str, font_size: f64, max_width: f64) -> String {
    let Some((name, score)) = label.rsplit_once(' ').filter(|(_, score)| score.len() <= 5) else {
        return font::ellipsised(label, font_size, max_width);
    };
    let tail = format!(" {score}");
    let room = max_width - font::measure(&tail, font_size).width;
    let name = font::ellipsised(name, font_size, room);
    if name.is_empty() { font::ellipsised(score, font_size, max_width) } else { name + &tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_label_keeps_its_score() {
        let label = format!("{} 0.93", "the cup ".repeat(1000).trim());
        let cut = cut_keeping_the_end(&label, 15.0, 120.0);
        assert!(cut.ends_with("… 0.93"), "{cut}");
        assert!(font::measure(&cut, 15.0).width <= 120.0);
        assert_eq!(cut_keeping_the_end(&label, 15.0, 45.0), "0.93");
        assert_eq!(cut_keeping_the_end(&label, 15.0, 3.0), "");
    }

    #[test]
    fn sizes_follow_the_picture() {
        let of = |width, height| Sizes::of(&RgbImage::new(width, height), &Style::default());
        assert_eq!((of(640, 480).line, of(640, 480).text.round()), (3.0, 15.0));
        assert!(of(64, 64).text == 9.0 && of(64, 64).line == 1.0);
        assert!(of(4000, 3000).text > 90.0 && of(4000, 3000).line > 14.0);
    }
}
