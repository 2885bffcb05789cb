//! Light and dark.

use crate::color::Color;

/// Colours of sheets and charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// Dark ink on white.
    #[default]
    Light,
    /// Light ink on near-black.
    Dark,
}

/// What a theme consists of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThemeColors {
    /// The page.
    pub ground: Color,
    /// Titles and labels.
    pub ink: Color,
    /// Tick labels and notes.
    pub faint_ink: Color,
    /// Lines between ticks.
    pub grid: Color,
}

/// Colours of series, in order of use: Okabe and Ito's set, with the ones that are faint on this ground last.
const ON_LIGHT: [Color; 7] = [
    Color::rgb(0x00, 0x72, 0xB2), // blue
    Color::rgb(0xD5, 0x5E, 0x00), // vermillion
    Color::rgb(0x00, 0x9E, 0x73), // bluish green
    Color::rgb(0xCC, 0x79, 0xA7), // reddish purple
    Color::rgb(0xE6, 0x9F, 0x00), // orange
    Color::rgb(0x56, 0xB4, 0xE9), // sky blue
    Color::rgb(0x00, 0x00, 0x00), // black
];
const ON_DARK: [Color; 7] = [
    Color::rgb(0x56, 0xB4, 0xE9), // sky blue
    Color::rgb(0xE6, 0x9F, 0x00), // orange
    Color::rgb(0x00, 0xB8, 0x86), // bluish green, lighter than on white
    Color::rgb(0xCC, 0x79, 0xA7), // reddish purple
    Color::rgb(0xF0, 0xE4, 0x42), // yellow
    Color::rgb(0xE8, 0x6E, 0x10), // vermillion, lighter than on white
    Color::rgb(0xFF, 0xFF, 0xFF), // white
];

impl Theme {
    /// The colours of the page.
    pub const fn colors(self) -> ThemeColors {
        match self {
            Theme::Light => ThemeColors {
                ground: Color::WHITE,
                ink: Color::grey(0x1C),
                faint_ink: Color::grey(0x50),
                grid: Color::grey(0xDD),
            },
            Theme::Dark => ThemeColors {
                ground: Color::rgb(0x17, 0x19, 0x1D),
                ink: Color::grey(0xEC),
                faint_ink: Color::grey(0xB4),
                grid: Color::rgb(0x3A, 0x3D, 0x44),
            },
        }
    }

    /// Colour of series number `index`, the same for the same index, repeating after seven.
    pub fn series(self, index: usize) -> Color {
        let colors = if self == Theme::Light { &ON_LIGHT } else { &ON_DARK };
        colors[index % colors.len()]
    }
}
