//! What the world is made of: shapes, colours, sizes, fills, and which pairs of shape and colour are kept for the test.

use std::fmt;

/// What an object is. Also its category; [`Shape::category_id`] counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Shape {
    Circle,
    Ellipse,
    Square,
    Rectangle,
    Triangle,
    Pentagon,
    Hexagon,
    Star,
    Cross,
    Heart,
    Ring,
    Crescent,
    Arrow,
    Semicircle,
}

/// The colour of an object, or of the foreground of its pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Colour {
    Red,
    Orange,
    Yellow,
    Green,
    Cyan,
    Blue,
    Purple,
    Pink,
    Brown,
    Black,
}

/// How big an object is, relative to the shorter side of the image. The order is the order of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SizeClass {
    /// Radius of 6.2 to 7.0 % of the shorter side.
    Small,
    /// Radius of 10.2 to 11.4 % of the shorter side.
    Medium,
    /// Radius of 16.4 to 18.0 % of the shorter side.
    Large,
}

/// How the inside of an object is painted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fill {
    /// One colour.
    Solid,
    /// Stripes of the colour on a lighter tone of it.
    Striped,
    /// Light dots on the colour.
    Dotted,
    /// A band along the edge; the background shows inside. Circles and rings are never outlined: they would look alike.
    Outlined,
}

/// Which part of the world: the three never share a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by; the same world as [`Split::Train`].
    Val,
    /// To report; holds pairs of colour and shape that the other two never show nor name (see [`HELD_OUT`]).
    Test,
}

/// The pairs that only [`Split::Test`] shows: every shape has at least one, every colour exactly two.
pub const HELD_OUT: [(Colour, Shape); 20] = [
    (Colour::Red, Shape::Star),
    (Colour::Red, Shape::Hexagon),
    (Colour::Orange, Shape::Circle),
    (Colour::Orange, Shape::Arrow),
    (Colour::Yellow, Shape::Square),
    (Colour::Yellow, Shape::Crescent),
    (Colour::Green, Shape::Heart),
    (Colour::Green, Shape::Rectangle),
    (Colour::Cyan, Shape::Triangle),
    (Colour::Cyan, Shape::Circle),
    (Colour::Blue, Shape::Ring),
    (Colour::Blue, Shape::Pentagon),
    (Colour::Purple, Shape::Cross),
    (Colour::Purple, Shape::Ellipse),
    (Colour::Pink, Shape::Semicircle),
    (Colour::Pink, Shape::Star),
    (Colour::Brown, Shape::Hexagon),
    (Colour::Brown, Shape::Ring),
    (Colour::Black, Shape::Heart),
    (Colour::Black, Shape::Triangle),
];

/// Whether a pair is kept for the test split.
pub fn is_held_out(colour: Colour, shape: Shape) -> bool {
    HELD_OUT.contains(&(colour, shape))
}

impl Shape {
    /// Every shape, in category order.
    pub const ALL: [Shape; 14] = [
        Shape::Circle,
        Shape::Ellipse,
        Shape::Square,
        Shape::Rectangle,
        Shape::Triangle,
        Shape::Pentagon,
        Shape::Hexagon,
        Shape::Star,
        Shape::Cross,
        Shape::Heart,
        Shape::Ring,
        Shape::Crescent,
        Shape::Arrow,
        Shape::Semicircle,
    ];

    /// The usual English word, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Circle => "circle",
            Shape::Ellipse => "ellipse",
            Shape::Square => "square",
            Shape::Rectangle => "rectangle",
            Shape::Triangle => "triangle",
            Shape::Pentagon => "pentagon",
            Shape::Hexagon => "hexagon",
            Shape::Star => "star",
            Shape::Cross => "cross",
            Shape::Heart => "heart",
            Shape::Ring => "ring",
            Shape::Crescent => "crescent",
            Shape::Arrow => "arrow",
            Shape::Semicircle => "semicircle",
        }
    }

    /// 1 for [`Shape::Circle`] to 14 for [`Shape::Semicircle`].
    pub fn category_id(self) -> i64 {
        self as i64 + 1
    }

    /// Whether this shape may be painted so.
    pub fn allows(self, fill: Fill) -> bool {
        fill != Fill::Outlined || !matches!(self, Shape::Circle | Shape::Ring)
    }
}

impl Colour {
    /// Every colour.
    pub const ALL: [Colour; 10] = [
        Colour::Red,
        Colour::Orange,
        Colour::Yellow,
        Colour::Green,
        Colour::Cyan,
        Colour::Blue,
        Colour::Purple,
        Colour::Pink,
        Colour::Brown,
        Colour::Black,
    ];

    /// The usual English word, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Colour::Red => "red",
            Colour::Orange => "orange",
            Colour::Yellow => "yellow",
            Colour::Green => "green",
            Colour::Cyan => "cyan",
            Colour::Blue => "blue",
            Colour::Purple => "purple",
            Colour::Pink => "pink",
            Colour::Brown => "brown",
            Colour::Black => "black",
        }
    }

    /// The middle of the colour in sRGB; objects differ from it by up to 9 steps a channel.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Colour::Red => [216, 32, 38],
            Colour::Orange => [250, 132, 20],
            Colour::Yellow => [250, 220, 40],
            Colour::Green => [38, 156, 58],
            Colour::Cyan => [40, 206, 218],
            Colour::Blue => [30, 78, 208],
            Colour::Purple => [128, 44, 170],
            Colour::Pink => [250, 142, 192],
            Colour::Brown => [118, 70, 32],
            Colour::Black => [26, 26, 30],
        }
    }
}

impl SizeClass {
    /// Small to large.
    pub const ALL: [SizeClass; 3] = [SizeClass::Small, SizeClass::Medium, SizeClass::Large];

    /// The usual English word, lower case.
    pub fn name(self) -> &'static str {
        match self {
            SizeClass::Small => "small",
            SizeClass::Medium => "medium",
            SizeClass::Large => "large",
        }
    }

    /// Smallest and largest radius as a fraction of the shorter side of the image.
    pub fn radius_range(self) -> (f64, f64) {
        match self {
            SizeClass::Small => (0.062, 0.070),
            SizeClass::Medium => (0.102, 0.114),
            SizeClass::Large => (0.164, 0.180),
        }
    }
}

impl Fill {
    /// Every fill.
    pub const ALL: [Fill; 4] = [Fill::Solid, Fill::Striped, Fill::Dotted, Fill::Outlined];

    /// The usual English word, lower case.
    pub fn name(self) -> &'static str {
        match self {
            Fill::Solid => "solid",
            Fill::Striped => "striped",
            Fill::Dotted => "dotted",
            Fill::Outlined => "outlined",
        }
    }
}

impl Split {
    /// Train, val, test.
    pub const ALL: [Split; 3] = [Split::Train, Split::Val, Split::Test];

    /// `train`, `val` or `test`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
        }
    }

    /// Whether scenes of this split may show the pair.
    pub fn allows(self, colour: Colour, shape: Shape) -> bool {
        self == Split::Test || !is_held_out(colour, shape)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_held_out_pairs_are_spread() {
        for colour in Colour::ALL {
            assert_eq!(HELD_OUT.iter().filter(|pair| pair.0 == colour).count(), 2, "{colour}");
        }
        for shape in Shape::ALL {
            let count = HELD_OUT.iter().filter(|pair| pair.1 == shape).count();
            assert!((1..=2).contains(&count), "{shape} is held out with {count} colours");
        }
        let mut pairs = HELD_OUT.to_vec();
        pairs.sort();
        pairs.dedup();
        assert_eq!(pairs.len(), 20);
    }

    #[test]
    fn colours_are_well_apart() {
        for (i, a) in Colour::ALL.iter().enumerate() {
            for b in &Colour::ALL[i + 1..] {
                let squared: i32 =
                    a.rgb().iter().zip(b.rgb()).map(|(&p, q)| (i32::from(p) - i32::from(q)).pow(2)).sum();
                // Jitter moves each of the two by at most 9 * sqrt(3) = 15.6.
                assert!(squared > 80 * 80, "{a} and {b} are {} apart", f64::from(squared).sqrt());
            }
        }
    }

    #[test]
    fn size_classes_leave_gaps() {
        for pair in SizeClass::ALL.windows(2) {
            assert!(pair[1].radius_range().0 / pair[0].radius_range().1 > 1.4);
        }
    }
}
