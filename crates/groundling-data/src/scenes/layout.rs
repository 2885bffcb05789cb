//! Where the objects of a scene lie, and which of their pixels can be seen.
//!
//! Objects are put down one after the other, each on top of those before it. A place is refused if it leaves any earlier
//! object less than [`MIN_VISIBLE`] of its pixels; an object that finds no place becomes smaller, then is left out.

use groundling_core::{ImageSize, Rle};

use super::background::{Background, difference};
use super::random::Draws;
use super::silhouette::{Band, MAX_REACH, Pose, Silhouette, Span};
use super::vocabulary::{Colour, Fill, HELD_OUT, Shape, SizeClass, Split};

/// The share of its pixels that every object keeps.
pub const MIN_VISIBLE: f64 = 0.5;

/// An object before it is painted.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) shape: Shape,
    pub(crate) colour: Colour,
    pub(crate) rgb: [u8; 3],
    pub(crate) size_class: SizeClass,
    pub(crate) fill: Fill,
    pub(crate) pose: Pose,
    pub(crate) silhouette: Silhouette,
    /// Pixels covered by at least one half, hidden or not.
    pub(crate) full_area: u32,
    pub(crate) visible_area: u32,
}

/// All objects, and for every pixel the topmost of them.
#[derive(Debug)]
pub(crate) struct Layout {
    size: ImageSize,
    pub(crate) items: Vec<Item>,
    /// Row-major; [`NOBODY`] where the background shows.
    owners: Vec<u8>,
}

const NOBODY: u8 = u8::MAX;

/// An object of any colour is at least so different from colours that its shape may not have; named colours differ by 160 and more.
const FAR_FROM_FORBIDDEN: f64 = 100.0;

/// What a layout is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) split: Split,
    pub(crate) count: usize,
    pub(crate) background: &'a Background,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    shape: Shape,
    colour: Colour,
    fill: Fill,
    size_class: SizeClass,
}

impl Layout {
    /// Places up to `wish.count` objects; fewer if there is no room.
    pub(crate) fn draw(draws: &mut Draws, size: ImageSize, wish: Wish<'_>) -> Self {
        let pixels = size.height() as usize * size.width() as usize;
        let mut layout = Self { size, items: Vec::with_capacity(wish.count), owners: vec![NOBODY; pixels] };
        let colours: Vec<Colour> = Colour::ALL.into_iter().filter(|&colour| wish.background.shows(colour)).collect();
        for number in 0..wish.count {
            let Some(look) = layout.draw_look(draws, wish, &colours, number) else { continue };
            layout.place(draws, look);
        }
        layout
    }

    /// Gives the objects any colours that stand out and come near no pair that the split does not allow. An object for which none is found
    /// in time keeps its own.
    pub(crate) fn recolour(&mut self, draws: &mut Draws, split: Split, background: &Background) {
        for item in &mut self.items {
            let like = |rgb: [u8; 3], colour: Colour| difference(rgb.map(f64::from), colour.rgb().map(f64::from));
            let found = (0..64).find_map(|_| {
                let rgb = [0, 1, 2].map(|_| 10 + draws.below(241) as u8);
                let nearest = Colour::ALL.into_iter().min_by(|&a, &b| like(rgb, a).total_cmp(&like(rgb, b)))?;
                let forbidden = |colour: Colour| !split.allows(colour, item.shape);
                let near = |colour: Colour| forbidden(colour) && like(rgb, colour) < FAR_FROM_FORBIDDEN;
                let allowed = !forbidden(nearest) && !Colour::ALL.into_iter().any(near);
                (allowed && background.shows_rgb(rgb.map(f64::from))).then_some((rgb, nearest))
            });
            if let Some(found) = found {
                (item.rgb, item.colour) = found;
            }
        }
    }

    /// The mask of an object: its visible pixels.
    pub(crate) fn mask(&self, index: usize) -> Rle {
        let owner = index as u8;
        let height = self.size.height();
        let width = self.size.width() as usize;
        let (mut left, mut right, mut top, mut bottom) = (self.size.width(), 0, height, 0);
        self.items[index].silhouette.scan(self.size, BODY, |span| {
            (left, right) = (left.min(span.start), right.max(span.end));
            (top, bottom) = (top.min(span.row), bottom.max(span.row + 1));
        });
        let mut counts = Vec::new();
        let mut run_start = 0;
        let mut inside = false;
        for column in left..right {
            for row in top..bottom {
                let here = self.owners[row as usize * width + column as usize] == owner;
                let position = column * height + row;
                if here != inside {
                    counts.push(position - run_start);
                    (run_start, inside) = (position, here);
                }
            }
            // A run goes on into the next column only where the box spans the whole height.
            if inside && (bottom < height || top > 0 || column + 1 == right) {
                let position = column * height + bottom;
                counts.push(position - run_start);
                (run_start, inside) = (position, false);
            }
        }
        let end = self.size.pixels() as u32;
        if run_start < end {
            counts.push(end - run_start);
        }
        Rle::from_counts(self.size, counts).expect("runs end where the next begins and the last ends with the image")
    }

    fn draw_look(&self, draws: &mut Draws, wish: Wish<'_>, colours: &[Colour], number: usize) -> Option<Look> {
        let (colour, shape) = self.draw_pair(draws, wish.split, colours, number)?;
        let fill = loop {
            let fill = Fill::ALL[draws.weighted(&[0.52, 0.18, 0.15, 0.15])];
            if shape.allows(fill) {
                break fill;
            }
        };
        let weights = if wish.count <= 6 { [0.30, 0.40, 0.30] } else { [0.42, 0.42, 0.16] };
        Some(Look { shape, colour, fill, size_class: SizeClass::ALL[draws.weighted(&weights)] })
    }

    /// Every other object repeats something of an earlier one: without doubles no phrase would need more than a noun.
    fn draw_pair(&self, draws: &mut Draws, split: Split, colours: &[Colour], number: usize) -> Option<(Colour, Shape)> {
        if split == Split::Test && (number == 0 || draws.chance(0.45)) {
            let shown: Vec<_> = HELD_OUT.into_iter().filter(|pair| colours.contains(&pair.0)).collect();
            return draws.pick(&shown);
        }
        for _ in 0..64 {
            let mut pair = (draws.pick(colours)?, draws.pick(&Shape::ALL)?);
            if let Some(model) = self.items.get(draws.below(self.items.len().max(1))) {
                match draws.weighted(&[0.40, 0.28, 0.17, 0.15]) {
                    0 => {}
                    1 => pair.1 = model.shape,
                    2 => pair.0 = model.colour,
                    _ => pair = (model.colour, model.shape),
                }
            }
            if split.allows(pair.0, pair.1) {
                return Some(pair);
            }
        }
        None
    }

    fn place(&mut self, draws: &mut Draws, look: Look) {
        let rotation = draw_rotation(draws, look.shape);
        let rgb = look.colour.rgb().map(|channel| {
            let jitter = draws.below(19) as i32 - 9;
            (i32::from(channel) + jitter).clamp(0, 255) as u8
        });
        let smaller = SizeClass::ALL.into_iter().rev().skip_while(|&class| class > look.size_class);
        for size_class in smaller {
            for attempt in 0..48 {
                let (low, high) = size_class.radius_range();
                let radius = draws.between(low, high) * f64::from(self.size.short_side());
                let reach = MAX_REACH * radius;
                let centre = (
                    draws.between(reach, f64::from(self.size.width()) - reach),
                    draws.between(reach, f64::from(self.size.height()) - reach),
                );
                let pose = Pose { centre, radius, rotation };
                let overlap_wanted = attempt % 3 == 2;
                if self.crowded(&pose, if overlap_wanted { 0.72 } else { 1.18 }) {
                    continue;
                }
                let silhouette = Silhouette::new(look.shape, pose);
                if self.put(look, size_class, rgb, pose, silhouette) {
                    return;
                }
            }
        }
    }

    /// Whether a centre is nearer to another one than this share of their radii.
    fn crowded(&self, pose: &Pose, share: f64) -> bool {
        self.items.iter().any(|item| {
            let (dx, dy) = (item.pose.centre.0 - pose.centre.0, item.pose.centre.1 - pose.centre.1);
            let least = share * (item.pose.radius + pose.radius);
            dx * dx + dy * dy < least * least
        })
    }

    fn put(&mut self, look: Look, size_class: SizeClass, rgb: [u8; 3], pose: Pose, silhouette: Silhouette) -> bool {
        let width = self.size.width() as usize;
        let pixels = |span: &Span| {
            let start = span.row as usize * width;
            start + span.start as usize..start + span.end as usize
        };
        let mut spans = Vec::with_capacity(256);
        silhouette.scan(self.size, BODY, |span| {
            if owns(span) {
                spans.push(span);
            }
        });
        let mut hidden = vec![0u32; self.items.len()];
        let mut full_area = 0;
        for span in &spans {
            full_area += span.end - span.start;
            for &owner in &self.owners[pixels(span)] {
                if owner != NOBODY {
                    hidden[usize::from(owner)] += 1;
                }
            }
        }
        let kept = |(item, hidden): (&Item, &u32)| {
            f64::from(item.visible_area - hidden) >= MIN_VISIBLE * f64::from(item.full_area)
        };
        if full_area < 4 || !self.items.iter().zip(&hidden).all(kept) {
            return false;
        }
        for (item, hidden) in self.items.iter_mut().zip(&hidden) {
            item.visible_area -= hidden;
        }
        let owner = self.items.len() as u8;
        for span in &spans {
            self.owners[pixels(span)].fill(owner);
        }
        let Look { shape, colour, fill, .. } = look;
        let visible_area = full_area;
        self.items.push(Item { shape, colour, rgb, size_class, fill, pose, silhouette, full_area, visible_area });
        true
    }
}

/// Every pixel that may count as the object's; [`owns`] decides.
const BODY: Band = Band { outside: 0.25, inside: 0.25, shift: (0.0, 0.0) };

fn owns(span: Span) -> bool {
    super::silhouette::coverage_at(span.distance) >= 0.5
}

/// Squares and crosses stay nearly upright, or they would be diamonds and saltires; hearts hang a little.
fn draw_rotation(draws: &mut Draws, shape: Shape) -> f64 {
    let free = draws.between(0.0, 360.0);
    match shape {
        Shape::Square | Shape::Cross => (free - 180.0) / 9.0,
        Shape::Heart => (free - 180.0) / 6.0,
        Shape::Circle | Shape::Ring => 0.0,
        _ => free,
    }
}
