//! Pictures of groundings: boxes with labels, masks, "not here", heat maps, patches, contact sheets, charts.
//!
//! Everything is drawn on the CPU into [`image::RgbImage`], with an embedded font, and looks the same everywhere. Nothing
//! here fails on what a model may answer: boxes that are inverted, NaN or far away are left out, text is cut to the room
//! there is, characters without a glyph become empty boxes.
//!
//! ```
//! use groundling_core::{BoxXyxy, ImageSize, ModelIdentity, Phrase, PredictedTarget, Prediction};
//! use groundling_viz::{Style, draw_prediction, encode_png};
//!
//! let image = image::RgbImage::from_pixel(320, 240, image::Rgb([90, 120, 90]));
//! let prediction = Prediction {
//!     phrase: Phrase::parse("the red cup")?,
//!     image_size: ImageSize::new(240, 320)?,
//!     targets: vec![PredictedTarget {
//!         score: 0.93,
//!         bbox: BoxXyxy::new(40.0, 60.0, 140.0, 200.0),
//!         mask: None,
//!         label: None,
//!     }],
//!     no_target: false,
//!     no_target_score: None,
//!     model: ModelIdentity { name: "example".into(), hash: String::new() },
//! };
//! let drawn = draw_prediction(&image, &prediction, &Style::default());
//! assert_eq!(drawn.dimensions(), image.dimensions());
//! assert!(encode_png(&drawn)?.starts_with(b"\x89PNG"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`grounding`] | [`draw_prediction`], [`draw_truth`], [`draw_comparison`]; [`Overlay`] for other combinations |
//! | [`patches`] | [`Patches`]: which patches a model reads, with their values |
//! | [`levels`] | [`LevelSheet`]: what a model that reads from coarse to fine has looked at |
//! | [`attention`] | [`draw_attention`]: attention over pictures, with truth and answer |
//! | [`heat`] | [`draw_heat`]: values on a [`Grid`] over a picture, with a colour bar |
//! | [`sheet`] | [`Sheet`]: many pictures with captions on one page |
//! | [`chart`] | [`Chart`]: lines, scatter, bars, reliability; as SVG and as PNG |
//! | [`page`] | [`Page`]: reports as one HTML file |
//! | [`png`] | [`encode_png`], [`write_png`], [`write_atomically`] |
//! | [`painter`] | [`Painter`]: rectangles, lines, polygons, discs, text |
//! | [`masks`] | masks on a [`Painter`] |
//! | [`font`] | measuring, cutting and wrapping text |
//! | [`color`], [`colormap`], [`theme`] | colours that everybody can tell apart |

pub mod attention;
pub mod chart;
pub mod color;
pub mod colormap;
pub mod font;
pub mod grid;
pub mod grounding;
pub mod heat;
mod labels;
pub mod levels;
pub mod masks;
pub mod page;
pub mod painter;
pub mod patches;
pub mod png;
mod raster;
pub mod sheet;
pub mod theme;

pub use attention::{AttentionRow, AttentionView, draw_attention};
pub use chart::{
    AxisScale, BarPlot, BarSeries, Chart, Marker, Plot, ReliabilityBin, ReliabilityPlot, Series, Spread, XyPlot,
};
pub use color::Color;
pub use colormap::ColorMap;
pub use grid::{Grid, GridError};
pub use grounding::{Mark, Overlay, Style, draw_comparison, draw_prediction, draw_truth};
pub use heat::{HeatStyle, ValueRange, draw_heat};
pub use levels::{LevelError, LevelSheet, LevelView};
pub use masks::MaskStyle;
pub use page::Page;
pub use painter::{Painter, Stroke, TextStyle};
pub use patches::{PatchStyle, Patches};
pub use png::{WriteError, encode_png, write_atomically, write_png};
pub use sheet::{Cell, Sheet, SheetError};
pub use theme::Theme;
