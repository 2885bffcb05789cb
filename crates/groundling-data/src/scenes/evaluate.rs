//! Answers a phrase on a scene from its words alone.
//!
//! The check on the generator: [`resolve`] parses the text and judges it with plain comparisons, without margins and
//! without any code of the generator. Tests hold the two against each other on thousands of scenes, also after shaking
//! the objects a little.

use groundling_core::ImageSize;

use super::parse::{Class, Count, Filter, ParseError, Property, Query, Toward, parse};
use super::{Scene, SceneObject};

/// Why a phrase has no answer on a scene.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// The text is not a phrase of the grammar.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The phrase speaks of a certain number of objects, and another number fits.
    #[error("{phrase:?} speaks of {expected}, but {found} objects fit")]
    Miscount {
        /// The phrase.
        phrase: String,
        /// What the phrase says.
        expected: &'static str,
        /// How many objects fit.
        found: usize,
    },
    /// Another object that the phrase refers to is not the only one of its kind.
    #[error("{phrase:?} refers to one other object, but {found} fit")]
    AmbiguousOther {
        /// The phrase.
        phrase: String,
        /// How many objects fit.
        found: usize,
    },
}

/// The objects of a scene that a phrase refers to, as ascending indices; empty if nothing fits.
///
/// # Errors
/// [`ResolveError`] if the text is outside the grammar or does not refer clearly.
pub fn resolve(phrase: &str, scene: &Scene) -> Result<Vec<usize>, ResolveError> {
    resolve_among(phrase, scene.size, &scene.objects)
}

/// As [`resolve`], on objects in an image of `size`. Of an object only shape, colour, size class, fill and box matter.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_among(phrase: &str, size: ImageSize, objects: &[SceneObject]) -> Result<Vec<usize>, ResolveError> {
    let view = View { phrase, width: f64::from(size.width()), height: f64::from(size.height()), objects };
    match parse(phrase)? {
        Query::Both(a, b) => {
            let mut found = Vec::new();
            for class in [&a, &b] {
                match view.members(class)[..] {
                    [index] => found.push(index),
                    ref other => return Err(view.miscount("one object of each kind", other.len())),
                }
            }
            found.sort_unstable();
            found.dedup();
            match found.len() {
                2 => Ok(found),
                one => Err(view.miscount("two objects", one)),
            }
        }
        Query::Set { count, class, filters } => {
            let mut found = view.members(&class);
            // Denials narrow the noun, whatever else is said about it.
            let (denials, others): (Vec<_>, Vec<_>) = filters.iter().partition(|f| matches!(f, Filter::Lacks(_)));
            for filter in denials.into_iter().chain(others) {
                found = view.filtered(found, filter)?;
            }
            match (count, found.len()) {
                (_, 0) | (Count::Singular, 1) | (Count::AtLeastTwo, 2..) => {}
                (Count::Number(number), n) if n == number => {}
                (Count::Singular, n) => return Err(view.miscount("one object", n)),
                (Count::AtLeastTwo, n) => return Err(view.miscount("two objects or more", n)),
                (Count::Number(_), n) => return Err(view.miscount("a stated number of objects", n)),
            }
            found.sort_unstable();
            Ok(found)
        }
    }
}

struct View<'a> {
    phrase: &'a str,
    width: f64,
    height: f64,
    objects: &'a [SceneObject],
}

impl View<'_> {
    fn members(&self, class: &Class) -> Vec<usize> {
        (0..self.objects.len()).filter(|&i| class.iter().all(|&property| self.is(i, property))).collect()
    }

    fn is(&self, index: usize, property: Property) -> bool {
        let object = &self.objects[index];
        match property {
            Property::Shape(shape) => shape == object.shape,
            Property::Colour(colour) => colour == object.colour,
            Property::Size(size) => size == object.size_class,
            Property::Fill(fill) => fill == object.fill,
        }
    }

    fn filtered(&self, mut found: Vec<usize>, filter: &Filter) -> Result<Vec<usize>, ResolveError> {
        match filter {
            Filter::Lacks(property) => found.retain(|&i| !self.is(i, *property)),
            Filter::Rank(rank, side) => {
                found.sort_by(|&a, &b| self.to_side(a, *side).total_cmp(&self.to_side(b, *side)));
                found = found.get(rank - 1).copied().into_iter().collect();
            }
            Filter::Biggest | Filter::BiggerOfPair => {
                self.pair_only(filter, &found)?;
                let most = found.iter().map(|&i| self.rank_of_size(i)).max();
                found.retain(|&i| Some(self.rank_of_size(i)) == most);
            }
            Filter::Smallest | Filter::SmallerOfPair => {
                self.pair_only(filter, &found)?;
                let least = found.iter().map(|&i| self.rank_of_size(i)).min();
                found.retain(|&i| Some(self.rank_of_size(i)) == least);
            }
            Filter::BiggerThan(class) => {
                self.relate(&mut found, class, |i, o| self.rank_of_size(i) > self.rank_of_size(o))?
            }
            Filter::SmallerThan(class) => {
                self.relate(&mut found, class, |i, o| self.rank_of_size(i) < self.rank_of_size(o))?
            }
            Filter::Past(side, class) => {
                self.relate(&mut found, class, |i, o| self.to_side(i, *side) < self.to_side(o, *side))?;
            }
            Filter::Touching(class) => self.relate(&mut found, class, |i, o| self.clearance(i, o) < 0.12)?,
            Filter::ClosestTo(class) => match self.other(class)? {
                None => found.clear(),
                Some(other) => {
                    found.retain(|&i| i != other);
                    let distance = |i: usize| {
                        let ((x, y), (u, v)) = (self.middle(i), self.middle(other));
                        (x - u).hypot(y - v)
                    };
                    found =
                        found.into_iter().min_by(|&a, &b| distance(a).total_cmp(&distance(b))).into_iter().collect();
                }
            },
            Filter::Amid(a, b) => match (self.other(a)?, self.other(b)?) {
                (Some(a), Some(b)) => found.retain(|&i| i != a && i != b && self.amid(i, a, b)),
                _ => found.clear(),
            },
            Filter::Zone(sides) => found.retain(|&i| sides.iter().all(|&side| self.share_to(i, side) < 0.40)),
            Filter::Corner(sides) => found.retain(|&i| sides.iter().all(|&side| self.share_to(i, side) < 0.30)),
            Filter::SomeCorner => found.retain(|&i| {
                let near = |side| self.share_to(i, side) < 0.30;
                (near(Toward::West) || near(Toward::East)) && (near(Toward::North) || near(Toward::South))
            }),
            Filter::Centre => found.retain(|&i| {
                [Toward::West, Toward::East, Toward::North, Toward::South]
                    .iter()
                    .all(|&side| self.share_to(i, side) > 0.30)
            }),
        }
        Ok(found)
    }

    fn pair_only(&self, filter: &Filter, found: &[usize]) -> Result<(), ResolveError> {
        let pair = matches!(filter, Filter::BiggerOfPair | Filter::SmallerOfPair);
        if pair && !matches!(found.len(), 0 | 2) { Err(self.miscount("two objects", found.len())) } else { Ok(()) }
    }

    fn relate(
        &self,
        found: &mut Vec<usize>,
        class: &Class,
        holds: impl Fn(usize, usize) -> bool,
    ) -> Result<(), ResolveError> {
        match self.other(class)? {
            None => found.clear(),
            Some(other) => found.retain(|&i| i != other && holds(i, other)),
        }
        Ok(())
    }

    fn other(&self, class: &Class) -> Result<Option<usize>, ResolveError> {
        match self.members(class)[..] {
            [] => Ok(None),
            [one] => Ok(Some(one)),
            ref several => Err(ResolveError::AmbiguousOther { phrase: self.phrase.to_owned(), found: several.len() }),
        }
    }

    fn miscount(&self, expected: &'static str, found: usize) -> ResolveError {
        ResolveError::Miscount { phrase: self.phrase.to_owned(), expected, found }
    }

    fn rank_of_size(&self, index: usize) -> u8 {
        use super::SizeClass::{Large, Medium, Small};
        match self.objects[index].size_class {
            Small => 1,
            Medium => 2,
            Large => 3,
        }
    }

    fn middle(&self, index: usize) -> (f64, f64) {
        let b = self.objects[index].bbox;
        (0.5 * (b.x0 + b.x1), 0.5 * (b.y0 + b.y1))
    }

    /// Pixels from a side of the picture.
    fn to_side(&self, index: usize, side: Toward) -> f64 {
        let (x, y) = self.middle(index);
        match side {
            Toward::West => x,
            Toward::East => self.width - x,
            Toward::North => y,
            Toward::South => self.height - y,
        }
    }

    fn share_to(&self, index: usize, side: Toward) -> f64 {
        let length = match side {
            Toward::West | Toward::East => self.width,
            Toward::North | Toward::South => self.height,
        };
        self.to_side(index, side) / length
    }

    /// Gap between two boxes over the shorter side of the picture.
    fn clearance(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (self.objects[a].bbox, self.objects[b].bbox);
        let apart = |low_a: f64, high_a: f64, low_b: f64, high_b: f64| {
            if high_a < low_b {
                low_b - high_a
            } else if high_b < low_a {
                low_a - high_b
            } else {
                0.0
            }
        };
        apart(a.x0, a.x1, b.x0, b.x1).hypot(apart(a.y0, a.y1, b.y0, b.y1)) / self.width.min(self.height)
    }

    /// Whether the centre lies in the slab along the line from `a` to `b`: 0.1 to 0.9 of the way, 0.3 of its length beside.
    fn amid(&self, index: usize, a: usize, b: usize) -> bool {
        let (p, a, b) = (self.middle(index), self.middle(a), self.middle(b));
        let line = (b.0 - a.0, b.1 - a.1);
        let squared = line.0 * line.0 + line.1 * line.1;
        let along = ((p.0 - a.0) * line.0 + (p.1 - a.1) * line.1) / squared;
        let beside = ((p.0 - a.0) * line.1 - (p.1 - a.1) * line.0).abs() / squared;
        (0.1..0.9).contains(&along) && beside < 0.3
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes::{SceneConfig, Scenes, Split};

    #[test]
    fn two_words_for_one_object_are_not_two_objects() {
        let scenes = Scenes::new(SceneConfig::default(), Split::Test, 1).unwrap();
        let mut checked = 0;
        for index in 0..20 {
            let scene = scenes.scene(index);
            for phrase in ["ring and ring", "the ring and the donut"] {
                match resolve("the ring", &scene) {
                    Ok(found) if found.len() == 1 => {
                        let error = resolve(phrase, &scene).unwrap_err().to_string();
                        assert_eq!(error, format!("{phrase:?} speaks of two objects, but 1 objects fit"));
                        checked += 1;
                    }
                    _ => assert!(resolve(phrase, &scene).is_err()),
                }
            }
        }
        assert!(checked >= 4, "only {checked} phrases about a single ring");
    }
}
