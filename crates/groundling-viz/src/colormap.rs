//! Colour maps for heat: perceptually even for magnitudes, two-sided for signed values.

use crate::color::Color;

/// A map from `[0, 1]` to colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorMap {
    /// Dark blue over green to yellow, evenly lighter: for magnitudes. Source: matplotlib's viridis (CC0).
    Viridis,
    /// Blue over near-white to orange, 0.5 in the middle: for signed values. Safe for colour-vision deficiencies.
    Diverging,
}

impl ColorMap {
    /// The colour of a value; values outside `[0, 1]` take the colour of the nearer end, NaN that of 0.
    pub fn color(self, value: f32) -> Color {
        let table = self.table();
        let place = value.clamp(0.0, 1.0) * (table.len() - 1) as f32;
        let index = (place as usize).min(table.len() - 2); // NaN becomes 0
        from_hex(table[index]).mixed(from_hex(table[index + 1]), place - index as f32)
    }

    /// Evenly spaced colours as 0xRRGGBB.
    fn table(self) -> &'static [u32] {
        match self {
            ColorMap::Viridis => {
                &[0x440154, 0x482878, 0x3E4989, 0x31688E, 0x26828E, 0x1F9E89, 0x35B779, 0x6ECE58, 0xB5DE2B, 0xFDE725]
            }
            ColorMap::Diverging => {
                &[0x053C66, 0x0072B2, 0x4F9FCC, 0xA3CCE6, 0xF5F5F5, 0xF7C59A, 0xE89450, 0xC65A00, 0x7A3300]
            }
        }
    }
}

fn from_hex(hex: u32) -> Color {
    let [_, red, green, blue] = hex.to_be_bytes();
    Color::rgb(red, green, blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viridis_gets_lighter_and_diverging_is_lightest_in_the_middle() {
        let lights = |map: ColorMap| (0..=100).map(|i| map.color(i as f32 / 100.0).luminance()).collect::<Vec<_>>();
        assert!(lights(ColorMap::Viridis).windows(2).all(|pair| pair[1] > pair[0]));
        let diverging = lights(ColorMap::Diverging);
        assert!(diverging[..=50].windows(2).all(|pair| pair[1] > pair[0]));
        assert!(diverging[50..].windows(2).all(|pair| pair[1] < pair[0]));
    }

    #[test]
    fn every_value_has_a_colour() {
        let map = ColorMap::Viridis;
        assert_eq!(map.color(f32::NAN), map.color(0.0));
        assert_eq!(map.color(f32::INFINITY), map.color(1.0));
        assert_eq!(map.color(-3.0).to_hex(), "#440154");
        assert_eq!(map.color(1.0).to_hex(), "#fde725");
    }
}
