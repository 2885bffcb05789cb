//! Colours, and palettes that people with colour-vision deficiencies can tell apart.

/// A colour of sRGB with an opacity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Color {
    /// Red, 0 to 255.
    pub red: u8,
    /// Green, 0 to 255.
    pub green: u8,
    /// Blue, 0 to 255.
    pub blue: u8,
    /// Opacity, 0 (nothing) to 1 (covers).
    pub opacity: f32,
}

/// Colours of marks on photographs, in order of use: Okabe and Ito's set, brightest first, without black.
///
/// Source: M. Okabe and K. Ito, "Color Universal Design", 2008.
pub const MARKS: [Color; 7] = [
    Color::rgb(0xE6, 0x9F, 0x00), // orange
    Color::rgb(0x56, 0xB4, 0xE9), // sky blue
    Color::rgb(0x00, 0x9E, 0x73), // bluish green
    Color::rgb(0xCC, 0x79, 0xA7), // reddish purple
    Color::rgb(0xF0, 0xE4, 0x42), // yellow
    Color::rgb(0xD5, 0x5E, 0x00), // vermillion
    Color::rgb(0x00, 0x72, 0xB2), // blue
];

impl Color {
    /// Black, covering.
    pub const BLACK: Self = Self::rgb(0, 0, 0);
    /// White, covering.
    pub const WHITE: Self = Self::rgb(255, 255, 255);

    /// A covering colour.
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Self { red, green, blue, opacity: 1.0 }
    }

    /// A covering grey.
    pub const fn grey(value: u8) -> Self {
        Self::rgb(value, value, value)
    }

    /// The same colour with another opacity, clamped to 0 to 1; NaN becomes 0.
    pub fn with_opacity(self, opacity: f32) -> Self {
        Self { opacity: if opacity.is_nan() { 0.0 } else { opacity.clamp(0.0, 1.0) }, ..self }
    }

    /// Colour of mark number `index`: the same index always has the same colour, repeating after [`MARKS`] is used up.
    pub fn of_mark(index: usize) -> Self {
        MARKS[index % MARKS.len()]
    }

    /// Red, green and blue.
    pub const fn channels(self) -> [u8; 3] {
        [self.red, self.green, self.blue]
    }

    /// Relative luminance, 0 (black) to 1 (white).
    ///
    /// Source: WCAG 2.1, "relative luminance".
    pub fn luminance(self) -> f32 {
        let linear = |channel: u8| {
            let value = f32::from(channel) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue)
    }

    /// Black or white, whichever is easier to read on this colour.
    pub fn readable_ink(self) -> Self {
        // At luminance 0.179 the WCAG contrast ratios to black and to white are equal.
        if self.luminance() > 0.179 { Self::BLACK } else { Self::WHITE }
    }

    /// The colour `weight` of the way from `self` (0) to `other` (1).
    pub fn mixed(self, other: Self, weight: f32) -> Self {
        let weight = if weight.is_nan() { 0.0 } else { weight.clamp(0.0, 1.0) };
        let mix = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * weight).round() as u8;
        Self {
            red: mix(self.red, other.red),
            green: mix(self.green, other.green),
            blue: mix(self.blue, other.blue),
            opacity: self.opacity + (other.opacity - self.opacity) * weight,
        }
    }

    /// `#rrggbb`; the opacity is not part of it.
    pub fn to_hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_contrasts_with_every_mark() {
        for color in MARKS {
            let (plate, ink) = (color.luminance() + 0.05, color.readable_ink().luminance() + 0.05);
            let contrast = plate.max(ink) / plate.min(ink);
            assert!(contrast >= 4.5, "{color:?} has contrast {contrast}, WCAG AA asks for 4.5");
        }
        assert_eq!(Color::of_mark(0), Color::of_mark(MARKS.len()));
    }

    #[test]
    fn mixing_reaches_both_ends() {
        let (a, b) = (Color::rgb(10, 200, 0), Color::WHITE.with_opacity(0.5));
        assert_eq!((a.mixed(b, 0.0), a.mixed(b, 1.0), a.mixed(b, f32::NAN)), (a, b, a));
        assert_eq!(Color::rgb(1, 0xAB, 255).to_hex(), "#01abff");
        assert_eq!(Color::BLACK.with_opacity(f32::NAN).opacity, 0.0);
    }
}
