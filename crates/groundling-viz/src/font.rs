//! The embedded typeface: measuring, cutting and wrapping text, and turning it into coverage.
//!
//! One line of text at a time, left to right, letter by letter with kerning: there is no shaping and no bidirectional
//! layout. A character the font lacks is drawn as an empty box. The font covers Latin, Greek, Cyrillic, arrows and some
//! symbols (see `assets/README.md`).

use std::sync::OnceLock;

use ab_glyph::{Font, FontRef, GlyphId, OutlinedGlyph, ScaleFont, point};

/// Smallest and largest text we draw, in pixels an em; other sizes are clamped to these.
pub const FONT_SIZES: std::ops::RangeInclusive<f64> = 1.0..=400.0;

/// What stands for the part of a text that was cut off.
pub const ELLIPSIS: char = '…';

static BYTES: &[u8] = include_bytes!("../assets/DejaVuSans-subset.ttf");

/// Extent of one line of text, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextSize {
    /// Sum of the advances.
    pub width: f64,
    /// From the baseline up to the top of the tallest letters of the font.
    pub ascent: f64,
    /// From the baseline down to the bottom of the lowest letters of the font.
    pub descent: f64,
}

impl TextSize {
    /// Ascent plus descent.
    pub fn height(self) -> f64 {
        self.ascent + self.descent
    }
}

/// Extent of a line at `font_size` pixels an em. Line breaks count as spaces.
pub fn measure(text: &str, font_size: f64) -> TextSize {
    let face = Face::new(font_size);
    TextSize { width: face.placed(text).last().map_or(0.0, |letter| letter.right), ..face.extent() }
}

/// The text itself if it fits `max_width` pixels, else its longest beginning that fits with an ellipsis after it; empty
/// if not even the ellipsis fits.
///
/// Reads no further than the width reaches, so that a text of any length costs the same.
pub fn ellipsised(text: &str, font_size: f64, max_width: f64) -> String {
    let face = Face::new(font_size);
    let room = max_width - face.advance_of(ELLIPSIS);
    let mut cut = 0; // bytes that fit together with an ellipsis
    for letter in face.placed(text) {
        if letter.right > max_width {
            if room < 0.0 {
                return String::new();
            }
            let beginning = text[..cut].trim_end();
            return format!("{beginning}{ELLIPSIS}");
        }
        if letter.right <= room {
            cut = letter.end;
        }
    }
    // `<=` above fails for a NaN width: nothing fits into that.
    if max_width.is_nan() { String::new() } else { text.to_owned() }
}

/// The text broken between words into at most `max_lines` lines of at most `max_width` pixels. A word that is too long for
/// a line is broken inside; the last line ends in an ellipsis if something is left over.
pub fn wrapped(text: &str, font_size: f64, max_width: f64, max_lines: usize) -> Vec<String> {
    let face = Face::new(font_size);
    let mut lines = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() && lines.len() < max_lines {
        if lines.len() + 1 == max_lines {
            lines.push(ellipsised(rest, font_size, max_width));
            break;
        }
        let end = face.line_end(rest, max_width);
        lines.push(rest[..end].trim_end().to_owned());
        rest = rest[end..].trim_start();
    }
    lines.retain(|line| !line.is_empty());
    lines
}

/// The font at one size.
pub(crate) struct Face {
    scaled: ab_glyph::PxScaleFont<&'static FontRef<'static>>,
}

/// One letter on the line.
struct Placed {
    glyph: GlyphId,
    /// Pen position before it.
    left: f64,
    /// Pen position after it.
    right: f64,
    /// Byte after it in the text.
    end: usize,
}

impl Face {
    pub(crate) fn new(font_size: f64) -> Self {
        let size = if font_size.is_nan() { *FONT_SIZES.start() } else { font_size };
        let size = size.clamp(*FONT_SIZES.start(), *FONT_SIZES.end());
        let font = font();
        // ab_glyph scales by ascent minus descent; everybody else, and SVG, by the em.
        let per_em = f64::from(font.height_unscaled()) / f64::from(font.units_per_em().unwrap_or(2048.0));
        Self { scaled: font.into_scaled((size * per_em) as f32) }
    }

    /// Extent of the empty line.
    fn extent(&self) -> TextSize {
        let (ascent, descent) = (f64::from(self.scaled.ascent()), -f64::from(self.scaled.descent()));
        TextSize { width: 0.0, ascent, descent }
    }

    fn advance_of(&self, letter: char) -> f64 {
        f64::from(self.scaled.h_advance(self.scaled.glyph_id(letter)))
    }

    /// Every visible letter with its place on a line that starts at 0.
    fn placed<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Placed> + 'a {
        let mut pen = 0.0;
        let mut previous = None;
        text.char_indices().filter_map(move |(start, letter)| {
            if is_ignorable(letter) {
                return None;
            }
            let shown = if letter.is_whitespace() || letter.is_control() { ' ' } else { letter };
            let glyph = self.scaled.glyph_id(shown);
            let kern = previous.map_or(0.0, |last| f64::from(self.scaled.kern(last, glyph)));
            previous = Some(glyph);
            let left = pen + kern;
            pen = left + f64::from(self.scaled.h_advance(glyph));
            Some(Placed { glyph, left, right: pen, end: start + letter.len_utf8() })
        })
    }

    /// Outlines of the letters with the start of the baseline at (`x`, `y`), up to those that begin right of `until_x`.
    pub(crate) fn outlines(&self, text: &str, x: f64, y: f64, until_x: f64) -> Vec<OutlinedGlyph> {
        self.placed(text)
            .take_while(|letter| x + letter.left <= until_x)
            .filter_map(|letter| {
                let position = point((x + letter.left) as f32, y as f32);
                self.scaled.outline_glyph(letter.glyph.with_scale_and_position(self.scaled.scale(), position))
            })
            .collect()
    }

    /// Byte where a line of `max_width` pixels ends: after a space if there is one, at least one letter on.
    fn line_end(&self, text: &str, max_width: f64) -> usize {
        let mut last_break = 0;
        let mut fits = 0;
        for letter in self.placed(text) {
            let ends_in_space = text[..letter.end].ends_with(char::is_whitespace);
            if letter.right > max_width && !ends_in_space {
                let first = text.chars().next().map_or(0, char::len_utf8);
                return if last_break > 0 { last_break } else { fits.max(first) };
            }
            fits = letter.end;
            if ends_in_space {
                last_break = letter.end;
            }
        }
        text.len()
    }
}

fn font() -> &'static FontRef<'static> {
    static FONT: OnceLock<FontRef<'static>> = OnceLock::new();
    FONT.get_or_init(|| FontRef::try_from_slice(BYTES).expect("the embedded file is a TrueType font, as a test checks"))
}

/// Characters that Unicode says to skip where they have no effect: joiners, direction marks, variation selectors, tags.
fn is_ignorable(letter: char) -> bool {
    matches!(letter, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_the_letters_it_promises() {
        for letter in "Az09ÄßéŁőŽΩλЖя“”–…→≤≥±×²₂€✓✗■▲●".chars() {
            assert_ne!(font().glyph_id(letter), GlyphId(0), "{letter} is missing");
        }
        assert_eq!(font().glyph_id('😀'), GlyphId(0));
        assert!(BYTES.len() < 150_000);
    }

    #[test]
    fn kerning_is_in_use() {
        let apart = measure("A", 100.0).width + measure("V", 100.0).width;
        assert!(measure("AV", 100.0).width < apart - 1.0);
    }

    #[test]
    fn width_grows_with_the_size_and_is_zero_for_nothing() {
        assert_eq!(measure("", 20.0).width, 0.0);
        assert_eq!(measure("\u{FE0F}\u{200D}", 20.0).width, 0.0);
        let (small, large) = (measure("cup", 10.0), measure("cup", 40.0));
        assert!((large.width / small.width - 4.0).abs() < 1e-3 && (large.height() / small.height() - 4.0).abs() < 1e-3);
        // An em of DejaVu Sans is 2048 units, its ascent 1901.
        assert!((large.ascent - 40.0 * 1901.0 / 2048.0).abs() < 1e-2, "{large:?}");
    }

    #[test]
    fn cut_text_fits_and_is_as_long_as_possible() {
        let text = "the yellow cup left of the plate";
        let full = measure(text, 16.0).width;
        assert_eq!(ellipsised(text, 16.0, full + 0.01), text);
        for width in [1.0, 16.0, 20.0, 47.0, 100.0, 200.0] {
            let cut = ellipsised(text, 16.0, width);
            assert!(measure(&cut, 16.0).width <= width, "{cut}");
            assert!(cut.is_empty() || cut.ends_with(ELLIPSIS));
        }
        assert_eq!(ellipsised(text, 16.0, f64::NAN), "");
        assert_eq!(ellipsised("", 16.0, 5.0), "");
    }

    #[test]
    fn wrapped_lines_fit_and_lose_nothing() {
        let text = "the yellow cup left of the plate with donaudampfschifffahrtsgesellschaft written on it";
        for width in [60.0, 100.0, 333.0] {
            let lines = wrapped(text, 16.0, width, 99);
            assert!(lines.iter().all(|line| measure(line, 16.0).width <= width), "{lines:?}");
            let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            assert_eq!(squeezed(&lines.concat()), squeezed(text));
        }
        let two = wrapped(text, 16.0, 100.0, 2);
        assert!(two.len() == 2 && two[1].ends_with(ELLIPSIS), "{two:?}");
        assert!(wrapped(text, 16.0, 0.0, 3).len() <= 3);
        assert!(wrapped("  ", 16.0, 100.0, 3).is_empty() && wrapped(text, 16.0, 100.0, 0).is_empty());
    }
}
