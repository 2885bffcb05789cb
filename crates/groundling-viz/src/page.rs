//! Reports as one HTML file that refers to nothing outside itself.

use std::fmt::Write;

use image::RgbImage;

use crate::chart::Chart;
use crate::png::{WriteError, encode_png};

/// A page, from top to bottom.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// An empty page with a heading.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), body: String::new() }
    }

    /// Adds a heading.
    pub fn heading(&mut self, text: &str) {
        let _ = writeln!(self.body, "<h2>{}</h2>", escaped(text));
    }

    /// Adds a paragraph.
    pub fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.body, "<p>{}</p>", escaped(text));
    }

    /// Adds a table. The first cell of each row names it.
    pub fn table<'a>(&mut self, head: impl IntoIterator<Item = &'a str>, rows: &[Vec<String>]) {
        let head: String = head.into_iter().map(|cell| format!("<th>{}</th>", escaped(cell))).collect();
        let _ = writeln!(self.body, "<table>\n<tr>{head}</tr>");
        for row in rows {
            let cell = |(index, cell): (usize, &String)| {
                let tag = if index == 0 { "th" } else { "td" };
                format!("<{tag}>{}</{tag}>", escaped(cell))
            };
            let _ = writeln!(self.body, "<tr>{}</tr>", row.iter().enumerate().map(cell).collect::<String>());
        }
        self.body.push_str("</table>\n");
    }

    /// Adds a chart.
    pub fn chart(&mut self, chart: &Chart) {
        let _ = writeln!(self.body, "<figure>{}</figure>", chart.to_svg());
    }

    /// Adds a picture with what it shows, for those who cannot see it.
    ///
    /// # Errors
    /// If it has no pixels.
    pub fn picture(&mut self, image: &RgbImage, shows: &str) -> Result<(), WriteError> {
        let data = base64(&encode_png(image)?);
        let _ = writeln!(
            self.body,
            "<figure><img alt=\"{}\" src=\"data:image/png;base64,{data}\"></figure>",
            escaped(shows)
        );
        Ok(())
    }

    /// The whole document.
    pub fn to_html(&self) -> String {
        let title = escaped(&self.title);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{}</body>\n</html>\n",
            self.body
        )
    }
}

const STYLE: &str = "
body { font: 16px/1.5 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif; color: #1c1c1c; background: #fff;
  max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child { text-align: left; }
figure { margin: 1rem 0; overflow-x: auto; }
svg, img { max-width: 100%; height: auto; }
";

/// Text that may stand anywhere in a document or in an attribute. Characters that XML forbids would be no fault here, but nobody can see them.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::chart::{Plot, Series, XyPlot};

    #[test]
    fn base64_of_the_rfc() {
        // RFC 4648, section 10.
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xEF, 0xFF]), "++//");
    }

    #[test]
    fn a_page_stands_alone_and_takes_any_text() {
        let mut page = Page::new("<Attention> & \"boxes\"");
        page.heading("a < b");
        page.paragraph("nothing\u{0}here");
        page.table(["", "rho"], &[vec!["layer <0>".into(), "0.5".into()]]);
        let plot = XyPlot { series: vec![Series::line("rho", vec![(0.0, 1.0), (1.0, 2.0)])], ..XyPlot::default() };
        page.chart(&Chart::new("rho", Plot::Xy(plot)));
        page.picture(&RgbImage::new(2, 2), "two \"pixels\"").unwrap();
        let html = page.to_html();
        assert!(html.contains("<h1>&lt;Attention&gt; &amp; &quot;boxes&quot;</h1>"), "{html}");
        assert!(html.contains("<th>layer &lt;0&gt;</th><td>0.5</td>"));
        assert!(html.contains("alt=\"two &quot;pixels&quot;\" src=\"data:image/png;base64,iVBORw0KGgo"));
        assert!(html.contains("<polyline"));
        // Nothing is fetched: the only addresses are names of XML.
        assert!(!html.replace("xmlns=\"http://www.w3.org/2000/svg\"", "").contains("http"), "{html}");
        assert!(page.picture(&RgbImage::new(0, 0), "").is_err());
    }
}
