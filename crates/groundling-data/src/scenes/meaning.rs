//! What an expression picks out of a scene, with margins: the generator's own judge.
//!
//! Every question has three answers: yes, no, and "too close to call". An expression with one close call is never
//! spoken, so no truth hangs on a pixel. Positions are centres of the tight boxes of what can be seen.
//!
//! The words of a finished phrase are judged again by [`super::resolve`], which shares no code with this file.

use groundling_core::ImageSize;

use super::phrase::{Degree, Expression, Noun, Number, Region, Restriction, Side, Trait};
use super::{Named, SceneObject};

/// Two centres are left/right or above/below of each other only if they differ by this share of the width or height.
pub const CENTRE_MARGIN: f64 = 0.08;
/// An object is nearest only if the next one is farther away by this share of the longer side.
pub const DISTANCE_MARGIN: f64 = 0.08;
/// Objects are next to each other if their boxes are this share of the shorter side apart or less.
pub const NEXT_TO: f64 = 0.08;
/// Objects are not next to each other if their boxes are this share of the shorter side apart or more.
pub const NOT_NEXT_TO: f64 = 0.16;
/// "On the left" ends here, as a share of the width; the other sides likewise.
pub const SIDE_END: f64 = 0.40;
/// A corner ends here on both axes.
pub const CORNER_END: f64 = 0.30;
/// The middle reaches this far from the centre on both axes.
pub const MIDDLE_REACH: f64 = 0.20;
/// Half the width of the strip around the three borders above in which nobody's place is named.
pub const REGION_MARGIN: f64 = 0.04;
/// The two ends of "between" must be this share of the longer side apart.
pub const BETWEEN_SPAN: f64 = 0.30;

/// A scene as phrases see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct World<'a> {
    pub(crate) size: ImageSize,
    pub(crate) objects: &'a [SceneObject],
}

/// `None`: too close to call, or not well said (two things fit a singular).
type Verdict<T> = Option<T>;

impl World<'_> {
    /// The objects an expression speaks of, in index order.
    pub(crate) fn truth(&self, expression: &Expression) -> Verdict<Vec<usize>> {
        match *expression {
            Expression::Pair(a, b) => {
                let (a, b) = (self.only(&a)??, self.only(&b)??);
                (a != b).then(|| vec![a.min(b), a.max(b)])
            }
            Expression::Simple { number, noun, restriction } => {
                let found = self.restricted(self.fitting(&noun), restriction)?;
                let well_said = match number {
                    Number::One => found.len() <= 1,
                    Number::All => found.len() != 1,
                    Number::Both => found.is_empty() || found.len() == 2,
                    Number::Exactly(count) => found.is_empty() || found.len() == count,
                };
                well_said.then_some(found)
            }
        }
    }

    /// The objects a noun fits.
    pub(crate) fn fitting(&self, noun: &Noun) -> Vec<usize> {
        let all = 0..self.objects.len();
        all.filter(|&index| {
            let object = &self.objects[index];
            noun.size.is_none_or(|size| size == object.size_class)
                && noun.fill.is_none_or(|fill| fill == object.fill)
                && noun.colour.is_none_or(|colour| colour == object.colour)
                && noun.shape.is_none_or(|shape| shape == object.shape)
        })
        .collect()
    }

    /// What the nouns of an expression fit.
    pub(crate) fn named(&self, expression: &Expression) -> Named {
        let (nouns, denied) = (expression.nouns(), expression.denied());
        let heads = if matches!(expression, Expression::Pair(..)) { 2 } else { 1 };
        let (heads, others) = nouns.split_at(heads);
        let any = |nouns: &[Noun], qualities: &[Trait]| -> Vec<usize> {
            let fitting: Vec<usize> = nouns.iter().flat_map(|noun| self.fitting(noun)).collect();
            let fits =
                |index: usize| fitting.contains(&index) || qualities.iter().any(|&quality| self.has(index, quality));
            (0..self.objects.len()).filter(|&index| fits(index)).collect()
        };
        Named { head: any(heads, &[]), others: any(others, &denied) }
    }

    /// The one object a noun fits: `Some(None)` if there is none, `None` if there are several.
    fn only(&self, noun: &Noun) -> Verdict<Option<usize>> {
        match self.fitting(noun)[..] {
            [] => Some(None),
            [index] => Some(Some(index)),
            _ => None,
        }
    }

    fn restricted(&self, candidates: Vec<usize>, restriction: Restriction) -> Verdict<Vec<usize>> {
        match restriction {
            Restriction::None => Some(candidates),
            Restriction::Nth(rank, side) => self.nth(&candidates, rank, side),
            Restriction::Farthest(side) => self.nth(&candidates, 1, side),
            Restriction::Most(degree) => self.most(&candidates, degree),
            Restriction::OfTwo(degree) => match candidates.len() {
                0 | 2 => self.most(&candidates, degree),
                _ => None,
            },
            Restriction::Than(degree, noun) => self.against(&noun, candidates, |object, anchor| {
                let (a, b) = (self.objects[object].size_class, self.objects[anchor].size_class);
                (a != b).then_some((a > b) == (degree == Degree::Larger))
            }),
            Restriction::Beyond(side, noun) => self.against(&noun, candidates, |object, anchor| {
                let ahead = self.toward(side, object) - self.toward(side, anchor);
                decide(ahead, CENTRE_MARGIN, -CENTRE_MARGIN)
            }),
            Restriction::NextTo(noun) => self
                .against(&noun, candidates, |object, anchor| decide(-self.gap(object, anchor), -NEXT_TO, -NOT_NEXT_TO)),
            Restriction::Nearest(noun) => self.nearest(&noun, candidates),
            Restriction::Between(a, b) => {
                let (Some(a), Some(b)) = (self.only(&a)?, self.only(&b)?) else { return Some(Vec::new()) };
                keep(candidates.into_iter().filter(|&index| index != a && index != b), |index| {
                    self.between(index, a, b)
                })
            }
            Restriction::In(region) => keep(candidates.into_iter(), |index| self.lies_in(index, region)),
            Restriction::Not(quality) => keep(candidates.into_iter(), |index| Some(!self.has(index, quality))),
            Restriction::Neither(a, b) => {
                keep(candidates.into_iter(), |index| Some(!self.has(index, a) && !self.has(index, b)))
            }
        }
    }

    /// Those that stand in a relation to the one object `noun` fits; nobody does if there is no such object.
    fn against(
        &self,
        noun: &Noun,
        candidates: Vec<usize>,
        relation: impl Fn(usize, usize) -> Verdict<bool>,
    ) -> Verdict<Vec<usize>> {
        let Some(anchor) = self.only(noun)? else { return Some(Vec::new()) };
        keep(candidates.into_iter().filter(|&index| index != anchor), |index| relation(index, anchor))
    }

    fn nth(&self, candidates: &[usize], rank: usize, side: Side) -> Verdict<Vec<usize>> {
        let mut order: Vec<(f64, usize)> = candidates.iter().map(|&i| (self.toward(side, i), i)).collect();
        order.sort_by(|a, b| b.0.total_cmp(&a.0));
        let Some(&(place, chosen)) = rank.checked_sub(1).and_then(|rank| order.get(rank)) else {
            return Some(Vec::new());
        };
        let clear = order.iter().all(|&(other, i)| i == chosen || (other - place).abs() >= CENTRE_MARGIN);
        clear.then(|| vec![chosen])
    }

    fn most(&self, candidates: &[usize], degree: Degree) -> Verdict<Vec<usize>> {
        let classes = candidates.iter().map(|&index| self.objects[index].size_class);
        let extreme = match degree {
            Degree::Larger => classes.max(),
            Degree::Smaller => classes.min(),
        };
        let Some(extreme) = extreme else { return Some(Vec::new()) };
        let found: Vec<usize> =
            candidates.iter().copied().filter(|&index| self.objects[index].size_class == extreme).collect();
        (found.len() == 1).then_some(found)
    }

    fn nearest(&self, noun: &Noun, candidates: Vec<usize>) -> Verdict<Vec<usize>> {
        let Some(anchor) = self.only(noun)? else { return Some(Vec::new()) };
        let others = candidates.into_iter().filter(|&index| index != anchor);
        let mut order: Vec<(f64, usize)> = others.map(|index| (self.apart(index, anchor), index)).collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        let margin = DISTANCE_MARGIN * f64::from(self.size.long_side());
        match order[..] {
            [] => Some(Vec::new()),
            [(_, only)] => Some(vec![only]),
            [(first, index), (second, _), ..] => (second - first >= margin).then(|| vec![index]),
        }
    }

    /// Whether an object lies between two others.
    pub(crate) fn between(&self, index: usize, a: usize, b: usize) -> Verdict<bool> {
        let (from, to, at) = (self.centre(a), self.centre(b), self.centre(index));
        let (span_x, span_y) = (to.0 - from.0, to.1 - from.1);
        let span = (span_x * span_x + span_y * span_y).sqrt();
        if span < BETWEEN_SPAN * f64::from(self.size.long_side()) {
            return None;
        }
        let (x, y) = ((at.0 - from.0) / span, (at.1 - from.1) / span);
        let along = (x * span_x + y * span_y) / span;
        let beside = ((x * span_y - y * span_x) / span).abs();
        if (0.20..=0.80).contains(&along) && beside <= 0.20 {
            Some(true)
        } else if along <= 0.0 || along >= 1.0 || beside >= 0.40 {
            Some(false)
        } else {
            None
        }
    }

    fn lies_in(&self, index: usize, region: Region) -> Verdict<bool> {
        let near = |side: Side, end: f64| {
            let from_side = 1.0 - self.toward(side, index);
            decide(end - from_side, REGION_MARGIN, -REGION_MARGIN)
        };
        match region {
            Region::Half(side) => near(side, SIDE_END),
            Region::Quarter(a, b) => both(near(a, SIDE_END), near(b, SIDE_END)),
            Region::Corner(a, b) => both(near(a, CORNER_END), near(b, CORNER_END)),
            Region::AnyCorner => {
                let some = |a, b| match (near(a, CORNER_END), near(b, CORNER_END)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                };
                both(some(Side::Left, Side::Right), some(Side::Top, Side::Bottom))
            }
            Region::Middle => {
                let off = |side| (self.toward(side, index) - 0.5).abs();
                let within = |off: f64| decide(MIDDLE_REACH - off, REGION_MARGIN, -REGION_MARGIN);
                both(within(off(Side::Right)), within(off(Side::Bottom)))
            }
        }
    }

    fn has(&self, index: usize, quality: Trait) -> bool {
        let object = &self.objects[index];
        match quality {
            Trait::Size(size) => object.size_class == size,
            Trait::Fill(fill) => object.fill == fill,
            Trait::Colour(colour) => object.colour == colour,
            Trait::Shape(shape) => object.shape == shape,
        }
    }

    fn centre(&self, index: usize) -> (f64, f64) {
        self.objects[index].bbox.centre()
    }

    /// How far toward a side the centre lies: 0 at the opposite side, 1 at the side itself.
    pub(crate) fn toward(&self, side: Side, index: usize) -> f64 {
        let (x, y) = self.centre(index);
        let (x, y) = (x / f64::from(self.size.width()), y / f64::from(self.size.height()));
        match side {
            Side::Left => 1.0 - x,
            Side::Right => x,
            Side::Top => 1.0 - y,
            Side::Bottom => y,
        }
    }

    /// Distance of two centres, pixels.
    fn apart(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (self.centre(a), self.centre(b));
        ((a.0 - b.0) * (a.0 - b.0) + (a.1 - b.1) * (a.1 - b.1)).sqrt()
    }

    /// Distance of two boxes as a share of the shorter side, 0 if they touch.
    fn gap(&self, a: usize, b: usize) -> f64 {
        let (a, b) = (self.objects[a].bbox, self.objects[b].bbox);
        let x = (a.x0 - b.x1).max(b.x0 - a.x1).max(0.0);
        let y = (a.y0 - b.y1).max(b.y0 - a.y1).max(0.0);
        (x * x + y * y).sqrt() / f64::from(self.size.short_side())
    }
}

/// Yes from `yes` up, no from `no` down.
fn decide(value: f64, yes: f64, no: f64) -> Verdict<bool> {
    if value >= yes {
        Some(true)
    } else if value <= no {
        Some(false)
    } else {
        None
    }
}

fn both(a: Verdict<bool>, b: Verdict<bool>) -> Verdict<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// The candidates with a yes; `None` if one of them is too close to call.
fn keep(candidates: impl Iterator<Item = usize>, test: impl Fn(usize) -> Verdict<bool>) -> Verdict<Vec<usize>> {
    let mut kept = Vec::new();
    for index in candidates {
        if test(index)? {
            kept.push(index);
        }
    }
    Some(kept)
}
