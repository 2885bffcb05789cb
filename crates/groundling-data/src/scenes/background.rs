//! What lies behind the objects: two related, quiet colours and a texture that mixes them.

use groundling_core::ImageSize;

use super::random::{Draws, noise_at};
use super::vocabulary::Colour;

/// The kinds of texture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BackgroundKind {
    /// One colour.
    Plain,
    /// From one colour to the other, in some direction.
    Gradient,
    /// Soft clouds.
    Noise,
    /// A chess board.
    Checker,
    /// Wavy lines like a wooden board.
    Wood,
    /// Fine threads, across and down.
    Linen,
}

impl BackgroundKind {
    /// Every kind.
    pub const ALL: [BackgroundKind; 6] = [
        BackgroundKind::Plain,
        BackgroundKind::Gradient,
        BackgroundKind::Noise,
        BackgroundKind::Checker,
        BackgroundKind::Wood,
        BackgroundKind::Linen,
    ];
}

pub(crate) type Rgb = [f64; 3];

/// A texture that can be asked for any pixel.
#[derive(Debug, Clone)]
pub(crate) struct Background {
    pub(crate) kind: BackgroundKind,
    first: Rgb,
    second: Rgb,
    key: u64,
    /// Texture steps per pixel.
    frequency: f64,
    /// Direction of a gradient; x and y weights that stay in `[0, 1]` over the image.
    slope: (f64, f64),
    grain: f64,
}

/// An object is visible on a background if their colours differ by at least this, in [`difference`].
const VISIBLE: f64 = 150.0;

impl Background {
    /// Draws a background on which at least six colours can be seen.
    pub(crate) fn draw(draws: &mut Draws, size: ImageSize) -> Self {
        let kind = BackgroundKind::ALL[draws.below(BackgroundKind::ALL.len())];
        // Light, middle and dark; a middle tone is nobody's named colour as long as it is nearly grey.
        let (low, high) = [(205.0, 246.0), (150.0, 185.0), (48.0, 68.0)][draws.weighted(&[0.62, 0.20, 0.18])];
        let level = draws.between(low, high);
        let tint: Rgb = [draws.between(-9.0, 9.0), draws.between(-6.0, 6.0), draws.between(-9.0, 9.0)];
        let change = draws.between(9.0, 22.0) * if level > 128.0 { -1.0 } else { 1.0 };
        let first = tint.map(|t| (level + t).clamp(0.0, 255.0));
        let second = tint.map(|t| (level + change + 0.4 * t).clamp(0.0, 255.0));
        let steps = match kind {
            BackgroundKind::Noise => draws.between(3.0, 9.0),
            BackgroundKind::Checker => draws.between(5.0, 13.0),
            BackgroundKind::Wood => draws.between(7.0, 15.0),
            _ => draws.between(40.0, 60.0),
        };
        let across = draws.unit();
        Self {
            kind,
            first,
            second,
            key: draws.bits(),
            frequency: (steps / f64::from(size.short_side())).min(0.34),
            slope: (across / f64::from(size.width()), (1.0 - across) / f64::from(size.height())),
            grain: draws.between(0.0, 5.0),
        }
    }

    /// Whether an object of this colour stands out.
    pub(crate) fn shows(&self, colour: Colour) -> bool {
        self.shows_rgb(colour.rgb().map(f64::from))
    }

    /// The same for any colour.
    pub(crate) fn shows_rgb(&self, rgb: Rgb) -> bool {
        difference(rgb, self.first) >= VISIBLE && difference(rgb, self.second) >= VISIBLE
    }

    /// Whether the background is light, so that outlines on it should be dark.
    pub(crate) fn is_light(&self) -> bool {
        self.first[1] > 128.0
    }

    /// The colour of a pixel, 0 to 255 a channel.
    pub(crate) fn at(&self, row: u32, column: u32) -> Rgb {
        let (x, y) = (f64::from(column) + 0.5, f64::from(row) + 0.5);
        let share = match self.kind {
            BackgroundKind::Plain => 0.0,
            BackgroundKind::Gradient => x * self.slope.0 + y * self.slope.1,
            BackgroundKind::Noise => self.cloud(x * self.frequency, y * self.frequency),
            BackgroundKind::Checker => {
                f64::from(((x * self.frequency) as i64 + (y * self.frequency) as i64).rem_euclid(2) as u8)
            }
            BackgroundKind::Wood => {
                let bend = 2.2 * self.cloud(x * self.frequency * 0.16, y * self.frequency * 0.42);
                wave(y * self.frequency + bend)
            }
            BackgroundKind::Linen => 0.5 * (wave(x * self.frequency) + wave(y * self.frequency)),
        };
        let grain = (noise_at(self.key, i64::from(column), i64::from(row)) - 0.5) * self.grain;
        mixed(self.first, self.second, share).map(|channel| channel + grain)
    }

    /// Smooth noise with one random value per unit square, in `[0, 1]`.
    fn cloud(&self, x: f64, y: f64) -> f64 {
        let (left, top) = (x.floor(), y.floor());
        let corner = |dx: i64, dy: i64| noise_at(self.key ^ 0x5bd1, left as i64 + dx, top as i64 + dy);
        let ease = |t: f64| t * t * (3.0 - 2.0 * t);
        let (right_share, low_share) = (ease(x - left), ease(y - top));
        let upper = corner(0, 0) + (corner(1, 0) - corner(0, 0)) * right_share;
        let lower = corner(0, 1) + (corner(1, 1) - corner(0, 1)) * right_share;
        upper + (lower - upper) * low_share
    }
}

/// `from` with this share of `to`.
pub(crate) fn mixed(from: Rgb, to: Rgb, share: f64) -> Rgb {
    [0, 1, 2].map(|channel| from[channel] + (to[channel] - from[channel]) * share)
}

/// How different two colours look, roughly: 0 for equal ones, 765 for black and white. The usual "redmean" weights.
pub(crate) fn difference(a: Rgb, b: Rgb) -> f64 {
    let red_mean = (a[0] + b[0]) / 2.0;
    let [red, green, blue] = [0, 1, 2].map(|channel| (a[channel] - b[channel]) * (a[channel] - b[channel]));
    ((2.0 + red_mean / 256.0) * red + 4.0 * green + (2.0 + (255.0 - red_mean) / 256.0) * blue).sqrt()
}

/// A triangle wave of period 1 between 0 and 1.
fn wave(phase: f64) -> f64 {
    2.0 * ((phase - phase.floor()) - 0.5).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_colours_show_on_every_background() {
        let size = ImageSize::square(64).unwrap();
        let mut kinds = std::collections::HashSet::new();
        for number in 0..2000 {
            let background = Background::draw(&mut Draws::named(&[number]), size);
            let shown = Colour::ALL.iter().filter(|&&colour| background.shows(colour)).count();
            assert!(shown >= 7, "only {shown} colours show on {background:?}");
            kinds.insert(background.kind);
        }
        assert_eq!(kinds.len(), BackgroundKind::ALL.len());
    }

    #[test]
    fn textures_stay_between_their_colours() {
        let size = ImageSize::new(40, 70).unwrap();
        for number in 0..60 {
            let background = Background::draw(&mut Draws::named(&[number, 1]), size);
            for row in 0..40 {
                for column in 0..70 {
                    let colour = background.at(row, column);
                    for (value, (a, b)) in colour.into_iter().zip(background.first.into_iter().zip(background.second)) {
                        assert!(value >= a.min(b) - 2.6 && value <= a.max(b) + 2.6, "{background:?}");
                    }
                }
            }
        }
    }
}
