//! The structure of a phrase, and the names of its kinds.

use super::vocabulary::{Colour, Fill, Shape, SizeClass, is_held_out};

/// What a phrase asks of its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PhraseKind {
    /// Colour, shape, size and fill: "the small red circle".
    Attributes,
    /// Counting: "the second star from the left".
    Ordinal,
    /// Size against another object: "the square larger than the red star", "the smaller of the two hearts".
    Comparative,
    /// An extreme: "the largest blue shape", "the leftmost star".
    Superlative,
    /// Left of, right of, above, below another object.
    Relation,
    /// Between two others.
    Between,
    /// Nearest to, or next to, another object.
    Proximity,
    /// A part of the image: "the star in the top left corner".
    Region,
    /// "the circle that is not red", "the shape that is neither red nor blue".
    Negation,
    /// Several targets: "all red circles", "both hearts", "the red circle and the blue star".
    Plural,
    /// No target: a phrase that was true until one thing in it was changed.
    NearMiss,
}

impl PhraseKind {
    /// Every kind.
    pub const ALL: [PhraseKind; 11] = [
        PhraseKind::Attributes,
        PhraseKind::Ordinal,
        PhraseKind::Comparative,
        PhraseKind::Superlative,
        PhraseKind::Relation,
        PhraseKind::Between,
        PhraseKind::Proximity,
        PhraseKind::Region,
        PhraseKind::Negation,
        PhraseKind::Plural,
        PhraseKind::NearMiss,
    ];

    /// Snake-case name for tables and files.
    pub fn name(self) -> &'static str {
        match self {
            PhraseKind::Attributes => "attributes",
            PhraseKind::Ordinal => "ordinal",
            PhraseKind::Comparative => "comparative",
            PhraseKind::Superlative => "superlative",
            PhraseKind::Relation => "relation",
            PhraseKind::Between => "between",
            PhraseKind::Proximity => "proximity",
            PhraseKind::Region => "region",
            PhraseKind::Negation => "negation",
            PhraseKind::Plural => "plural",
            PhraseKind::NearMiss => "near_miss",
        }
    }
}

/// A noun with adjectives; what is not said is `None`. Without a shape it reads "shape", "object" or "thing".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Noun {
    pub(crate) size: Option<SizeClass>,
    pub(crate) fill: Option<Fill>,
    pub(crate) colour: Option<Colour>,
    pub(crate) shape: Option<Shape>,
}

impl Noun {
    /// Whether everything that `other` fits is fitted by this noun too.
    pub(crate) fn covers(&self, other: &Noun) -> bool {
        fn open<T: PartialEq>(mine: Option<T>, other: Option<T>) -> bool {
            mine.is_none() || mine == other
        }
        open(self.size, other.size)
            && open(self.fill, other.fill)
            && open(self.colour, other.colour)
            && open(self.shape, other.shape)
    }
}

/// A property that can be denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Trait {
    Size(SizeClass),
    Fill(Fill),
    Colour(Colour),
    Shape(Shape),
}

/// A side of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Left,
    Right,
    Top,
    Bottom,
}

impl Side {
    pub(crate) const ALL: [Side; 4] = [Side::Left, Side::Right, Side::Top, Side::Bottom];

    pub(crate) fn opposite(self) -> Self {
        match self {
            Side::Left => Side::Right,
            Side::Right => Side::Left,
            Side::Top => Side::Bottom,
            Side::Bottom => Side::Top,
        }
    }
}

/// A part of the image. Quarters and corners name a vertical side first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Region {
    Half(Side),
    Quarter(Side, Side),
    Corner(Side, Side),
    AnyCorner,
    Middle,
}

/// Larger or smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Degree {
    Larger,
    Smaller,
}

impl Degree {
    pub(crate) fn opposite(self) -> Self {
        match self {
            Degree::Larger => Degree::Smaller,
            Degree::Smaller => Degree::Larger,
        }
    }
}

/// What picks among the objects that the noun fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Restriction {
    None,
    /// The n-th, from 1, counted from a side.
    Nth(usize, Side),
    /// The one farthest to a side.
    Farthest(Side),
    /// The largest or smallest of all.
    Most(Degree),
    /// The larger or smaller of exactly two.
    OfTwo(Degree),
    Than(Degree, Noun),
    /// On that side of another object.
    Beyond(Side, Noun),
    Between(Noun, Noun),
    Nearest(Noun),
    NextTo(Noun),
    In(Region),
    Not(Trait),
    Neither(Trait, Trait),
}

/// How many the phrase speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Number {
    /// Singular: exactly one fits.
    One,
    /// All that fit.
    All,
    /// Two fit, and the phrase says "both".
    Both,
    /// The phrase says how many fit.
    Exactly(usize),
}

/// A whole phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Expression {
    Simple {
        number: Number,
        noun: Noun,
        restriction: Restriction,
    },
    /// "the red circle and the blue star".
    Pair(Noun, Noun),
}

impl Expression {
    /// What the construction is, not counting how many targets there are.
    pub(crate) fn form(&self) -> PhraseKind {
        let Expression::Simple { restriction, .. } = self else { return PhraseKind::Attributes };
        match restriction {
            Restriction::None => PhraseKind::Attributes,
            Restriction::Nth(..) => PhraseKind::Ordinal,
            Restriction::Farthest(_) | Restriction::Most(_) => PhraseKind::Superlative,
            Restriction::OfTwo(_) | Restriction::Than(..) => PhraseKind::Comparative,
            Restriction::Beyond(..) => PhraseKind::Relation,
            Restriction::Between(..) => PhraseKind::Between,
            Restriction::Nearest(_) | Restriction::NextTo(_) => PhraseKind::Proximity,
            Restriction::In(_) => PhraseKind::Region,
            Restriction::Not(_) | Restriction::Neither(..) => PhraseKind::Negation,
        }
    }

    /// Its nouns; what is spoken about comes first.
    pub(crate) fn nouns(&self) -> Vec<Noun> {
        match *self {
            Expression::Pair(a, b) => vec![a, b],
            Expression::Simple { noun, restriction, .. } => match restriction {
                Restriction::Between(a, b) => vec![noun, a, b],
                Restriction::Than(_, a)
                | Restriction::Beyond(_, a)
                | Restriction::Nearest(a)
                | Restriction::NextTo(a) => vec![noun, a],
                _ => vec![noun],
            },
        }
    }

    /// The properties that it denies.
    pub(crate) fn denied(&self) -> Vec<Trait> {
        match *self {
            Expression::Simple { restriction: Restriction::Not(a), .. } => vec![a],
            Expression::Simple { restriction: Restriction::Neither(a, b), .. } => vec![a, b],
            _ => Vec::new(),
        }
    }

    /// Whether the phrase names a colour anywhere, if only to deny it.
    pub(crate) fn names_a_colour(&self) -> bool {
        let denied = |quality: &Trait| matches!(quality, Trait::Colour(_));
        self.nouns().iter().any(|noun| noun.colour.is_some()) || self.denied().iter().any(denied)
    }

    /// Whether the phrase names a held-out pair anywhere. A denied colour or shape counts as named together with the noun
    /// it belongs to: "the circle that is not orange" names the orange circle.
    pub(crate) fn names_held_out(&self) -> bool {
        self.named_pairs().any(|(colours, shapes)| {
            colours.iter().any(|&colour| shapes.iter().any(|&shape| is_held_out(colour, shape)))
        })
    }

    /// The colours and shapes that each noun names, with those that it denies.
    pub(crate) fn named_pairs(&self) -> impl Iterator<Item = (Vec<Colour>, Vec<Shape>)> {
        let denied = self.denied();
        self.nouns().into_iter().enumerate().map(move |(place, noun)| {
            let mut colours: Vec<Colour> = noun.colour.into_iter().collect();
            let mut shapes: Vec<Shape> = noun.shape.into_iter().collect();
            for quality in denied.iter().filter(|_| place == 0) {
                match *quality {
                    Trait::Colour(colour) => colours.push(colour),
                    Trait::Shape(shape) => shapes.push(shape),
                    Trait::Size(_) | Trait::Fill(_) => {}
                }
            }
            (colours, shapes)
        })
    }
}
