//! Chooses what to say about a scene.
//!
//! Expressions are proposed at random around a chosen target and kept if [`World::truth`] finds them clear and right. A
//! zero-target expression is a true one in which one word was changed so that nothing fits.

use super::meaning::World;
use super::phrase::{Degree, Expression, Noun, Number, PhraseKind, Region, Restriction, Side, Trait};
use super::random::Draws;
use super::vocabulary::{Colour, Fill, Shape, SizeClass, Split, is_held_out};
use super::wording::{MAX_NUMBER, speak};
use super::{SceneConfig, SceneExpression, Shares};

/// Speaks about one scene.
pub(crate) struct Speaker<'a> {
    pub(crate) world: World<'a>,
    pub(crate) config: &'a SceneConfig,
    pub(crate) split: Split,
    /// Whether no colour may be named.
    pub(crate) colourless: bool,
    pub(crate) draws: Draws,
}

/// How many objects a phrase is to fit, in the order of [`super::Shares::to_array`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    One,
    Many,
    Zero,
}

impl Count {
    const ALL: [Self; 3] = [Self::One, Self::Many, Self::Zero];
}

/// The constructions a restriction of the given kind may take, in the order of [`super::KindWeights::to_array`].
const FORMS: &[PhraseKind] = PhraseKind::ALL.split_at(9).0;

impl Speaker<'_> {
    /// Draws the expressions of the scene; texts are pairwise different.
    pub(crate) fn expressions(&mut self) -> Vec<SceneExpression> {
        let (least, most) = (self.config.min_expressions, self.config.max_expressions);
        let wanted = least + self.draws.below(most - least + 1);
        if self.config.paired {
            return self.pairs(wanted);
        }
        let mut spoken: Vec<SceneExpression> = Vec::with_capacity(wanted);
        for _ in 0..wanted {
            // The kind of count is drawn once and kept over retries, or hard kinds would lose their share to easy ones.
            let count = Count::ALL[self.draws.weighted(&self.config.shares.to_array())];
            let new = (0..24).find_map(|_| {
                let expression = self.about(count)?;
                self.said(expression, &spoken)
            });
            spoken.extend(new);
        }
        spoken
    }

    /// Phrases of which every second is the one before it with a word exchanged, and true of something else or of nothing, wherever that
    /// can be had.
    fn pairs(&mut self, wanted: usize) -> Vec<SceneExpression> {
        let Shares { one, many, zero } = self.config.shares;
        let all = one + many + zero;
        // As many fit nothing as the shares say; all of them come second, and what comes first is there.
        let firsts = if one + many > 0.0 { [one, many, 0.0] } else { [0.0, 0.0, 1.0] };
        let seconds = [one, many, (2.0 * zero).min(all) * (one + many) / (all - (2.0 * zero).min(all)).max(1e-9)];
        let seconds = if one + many > 0.0 { seconds } else { firsts };
        let mut spoken: Vec<SceneExpression> = Vec::with_capacity(wanted);
        for _ in 0..wanted.div_ceil(2) {
            let count = Count::ALL[self.draws.weighted(&firsts)];
            let first = (0..24).find_map(|_| {
                let expression = self.about(count)?;
                Some((expression, self.said(expression, &spoken)?))
            });
            let Some((first, said)) = first else { continue };
            spoken.push(said);
            if spoken.len() == wanted {
                break;
            }
            let count = Count::ALL[self.draws.weighted(&seconds)];
            let second = (0..48).find_map(|attempt| {
                let expression = if attempt < 24 { self.otherwise(first, count) } else { self.about(count) }?;
                self.said(expression, &spoken)
            });
            spoken.extend(second);
        }
        spoken
    }

    fn about(&mut self, count: Count) -> Option<Expression> {
        match count {
            Count::One => self.one(),
            Count::Many => self.many(),
            Count::Zero => self.zero(),
        }
    }

    /// The expression in words that were not said yet.
    fn said(&mut self, expression: Expression, spoken: &[SceneExpression]) -> Option<SceneExpression> {
        let phrase = speak(&expression, &mut self.draws);
        let known = spoken.iter().any(|old| old.phrase.eq_ignore_ascii_case(&phrase));
        if known { None } else { self.labelled(expression, phrase) }
    }

    /// The expression with one word exchanged, so that it fits so many objects, and not those that it fitted.
    fn otherwise(&mut self, expression: Expression, count: Count) -> Option<Expression> {
        let changed = match self.opposite(expression) {
            Some(opposite) if count != Count::Zero && self.draws.chance(0.5) => opposite,
            _ => self.changed(expression)?,
        };
        let targets = self.world.truth(&changed)?;
        let fitting = match count {
            Count::Zero => targets.is_empty(),
            Count::One => targets.len() == 1,
            Count::Many => targets.len() > 1,
        };
        let other = self.world.truth(&expression).is_some_and(|old| old != targets);
        (fitting && other && self.may_say(&changed)).then_some(changed)
    }

    /// The expression at the other end of its scale, where it has one.
    fn opposite(&self, expression: Expression) -> Option<Expression> {
        let Expression::Simple { number, noun, restriction } = expression else { return None };
        let restriction = match restriction {
            Restriction::Nth(rank, side) => Restriction::Nth(rank, side.opposite()),
            Restriction::Farthest(side) => Restriction::Farthest(side.opposite()),
            Restriction::Most(degree) => Restriction::Most(degree.opposite()),
            Restriction::OfTwo(degree) => Restriction::OfTwo(degree.opposite()),
            Restriction::Than(degree, noun) => Restriction::Than(degree.opposite(), noun),
            Restriction::Beyond(side, noun) => Restriction::Beyond(side.opposite(), noun),
            _ => return None,
        };
        Some(Expression::Simple { number, noun, restriction })
    }

    fn labelled(&self, expression: Expression, phrase: String) -> Option<SceneExpression> {
        let targets = self.world.truth(&expression)?;
        let form = expression.form();
        let kind = match targets.len() {
            0 => PhraseKind::NearMiss,
            1 => form,
            _ => PhraseKind::Plural,
        };
        let held_out = match targets.is_empty() {
            true => expression.names_held_out(),
            false => targets.iter().any(|&index| self.is_held_out(index)),
        };
        let named = self.world.named(&expression);
        Some(SceneExpression { phrase, kind, form, targets, named, held_out })
    }

    /// A phrase with one target; in the test split that target is a held-out pair.
    fn one(&mut self) -> Option<Expression> {
        let targets: Vec<usize> = (0..self.world.objects.len())
            .filter(|&index| self.split != Split::Test || self.is_held_out(index))
            .collect();
        for _ in 0..8 {
            let target = self.draws.pick(&targets)?;
            let form = FORMS[self.draws.weighted(&self.config.kind_weights.to_array())];
            for attempt in 0..40 {
                let Some((noun, restriction)) = self.propose(form, target) else { continue };
                // A restriction is worth saying only if the noun alone leaves a choice.
                let needed = form == PhraseKind::Attributes || self.world.fitting(&noun).len() > 1;
                let expression = Expression::Simple { number: Number::One, noun, restriction };
                if (needed || attempt >= 30) && self.may_say(&expression) && self.means(&expression, &[target]) {
                    return Some(expression);
                }
            }
        }
        None
    }

    /// A phrase with two or more targets; in the test split one of them is a held-out pair if that can be had.
    fn many(&mut self) -> Option<Expression> {
        const WEIGHTS: [f64; 7] = [0.32, 0.10, 0.18, 0.12, 0.08, 0.08, 0.12];
        for attempt in 0..160 {
            let about = self.draws.below(self.world.objects.len());
            let form = self.draws.weighted(&WEIGHTS);
            if form == 6 {
                let other = self.draws.below(self.world.objects.len());
                let (Some(a), Some(b)) = (self.name(about), self.name(other)) else { continue };
                let pair = Expression::Pair(a, b);
                if self.may_say(&pair) && self.acceptable_many(&pair, attempt).is_some() {
                    return Some(pair);
                }
                continue;
            }
            let form = [
                PhraseKind::Attributes,
                PhraseKind::Comparative,
                PhraseKind::Region,
                PhraseKind::Relation,
                PhraseKind::Proximity,
                PhraseKind::Negation,
            ][form];
            let Some((noun, restriction)) = self.propose(form, about) else { continue };
            if matches!(restriction, Restriction::OfTwo(_) | Restriction::Nearest(_)) {
                continue;
            }
            let all = Expression::Simple { number: Number::All, noun, restriction };
            let Some(count) = self.may_say(&all).then(|| self.acceptable_many(&all, attempt)).flatten() else {
                continue;
            };
            let number = match (count, self.draws.below(3)) {
                (2, 0) => Number::Both,
                (..=MAX_NUMBER, 1) => Number::Exactly(count),
                _ => Number::All,
            };
            return Some(Expression::Simple { number, noun, restriction });
        }
        None
    }

    /// How many targets a plural has, if it is one we want.
    fn acceptable_many(&self, expression: &Expression, attempt: usize) -> Option<usize> {
        let targets = self.world.truth(expression)?;
        let everything = targets.len() == self.world.objects.len();
        let new_pair = self.split != Split::Test || targets.iter().any(|&index| self.is_held_out(index));
        let wanted = targets.len() >= 2 && (!everything || attempt >= 120) && (new_pair || attempt >= 120);
        wanted.then_some(targets.len())
    }

    /// A true phrase with one thing changed so that nothing fits.
    fn zero(&mut self) -> Option<Expression> {
        for attempt in 0..60 {
            let base = if self.draws.chance(0.8) { self.one() } else { self.many() };
            let Some(base) = base else { continue };
            for _ in 0..6 {
                let Some(changed) = self.changed(base) else { continue };
                // In the test split a pair that is named should be a new one, as it is for phrases with a target.
                let fitting =
                    self.split != Split::Test || attempt >= 40 || !names_a_pair(&changed) || changed.names_held_out();
                if fitting && self.may_say(&changed) && self.means(&changed, &[]) {
                    return Some(changed);
                }
            }
        }
        None
    }

    fn is_held_out(&self, index: usize) -> bool {
        let object = &self.world.objects[index];
        is_held_out(object.colour, object.shape)
    }

    /// Whether a noun names a shape and no colour, or a colour and no shape, and some object is of the other half of a pair that the split does
    /// not show.
    fn is_coupled(&self, expression: &Expression) -> bool {
        let objects = self.world.objects;
        let missing = |colour, shape| !self.split.allows(colour, shape);
        expression.named_pairs().any(|(colours, shapes)| match (&colours[..], &shapes[..]) {
            ([], shapes) => objects.iter().any(|object| shapes.iter().any(|&shape| missing(object.colour, shape))),
            (colours, []) => objects.iter().any(|object| colours.iter().any(|&colour| missing(colour, object.shape))),
            _ => false,
        })
    }

    fn means(&self, expression: &Expression, targets: &[usize]) -> bool {
        self.world.truth(expression).is_some_and(|truth| truth == targets)
    }

    /// Whether the phrase is one that people would say, in this split.
    fn may_say(&self, expression: &Expression) -> bool {
        if self.split != Split::Test && expression.names_held_out() {
            return false;
        }
        if self.colourless && expression.names_a_colour() {
            return false;
        }
        if self.config.uncoupled && self.is_coupled(expression) {
            return false;
        }
        let nouns = expression.nouns();
        // "the large ring left of the ring": what fits the first noun would be the other object itself.
        let alike = nouns.iter().enumerate().any(|(i, first)| nouns[i + 1..].iter().any(|other| other.covers(first)));
        let possible = nouns.iter().all(|noun| match (noun.shape, noun.fill) {
            (Some(shape), Some(fill)) => shape.allows(fill),
            _ => true,
        });
        let denied = match expression {
            Expression::Simple { noun, restriction: Restriction::Not(a), .. } => deniable(noun, &[*a]),
            Expression::Simple { noun, restriction: Restriction::Neither(a, b), .. } => {
                a != b && deniable(noun, &[*a, *b])
            }
            _ => true,
        };
        !alike && possible && denied
    }

    /// A noun and a restriction that might single out (or include) the target.
    fn propose(&mut self, form: PhraseKind, target: usize) -> Option<(Noun, Restriction)> {
        let mut noun = self.partial_noun(target);
        let restriction = match form {
            PhraseKind::Ordinal => {
                let side = Side::ALL[self.draws.weighted(&[0.38, 0.34, 0.16, 0.12])];
                let rank = self.rank(&noun, target, side)?;
                Restriction::Nth(rank, side)
            }
            PhraseKind::Superlative => match self.draws.below(2) {
                0 => Restriction::Farthest(Side::ALL[self.draws.below(4)]),
                _ => {
                    noun.size = None;
                    Restriction::Most(self.degree())
                }
            },
            PhraseKind::Comparative => {
                noun.size = None;
                match self.draws.below(5) {
                    0 | 1 => Restriction::OfTwo(self.degree()),
                    _ => Restriction::Than(self.degree(), self.anchor(target)?),
                }
            }
            PhraseKind::Relation => Restriction::Beyond(Side::ALL[self.draws.below(4)], self.anchor(target)?),
            PhraseKind::Between => {
                let (a, b) = self.ends_around(target)?;
                Restriction::Between(self.name(a)?, self.name(b)?)
            }
            PhraseKind::Proximity => match self.draws.below(2) {
                0 => Restriction::Nearest(self.anchor(target)?),
                _ => Restriction::NextTo(self.anchor(target)?),
            },
            PhraseKind::Region => Restriction::In(self.region()),
            PhraseKind::Negation => self.denial(&mut noun),
            _ => {
                // A bare "the shape" says nothing.
                if noun == Noun::default() {
                    noun.shape = Some(self.world.objects[target].shape);
                }
                Restriction::None
            }
        };
        Some((noun, restriction))
    }

    /// Some of the attributes of an object.
    fn partial_noun(&mut self, index: usize) -> Noun {
        let object = &self.world.objects[index];
        let draws = &mut self.draws;
        Noun {
            shape: draws.chance(0.74).then_some(object.shape),
            colour: draws.chance(0.46).then_some(object.colour).filter(|_| !self.colourless),
            size: draws.chance(0.16).then_some(object.size_class),
            fill: draws.chance(0.16).then_some(object.fill),
        }
    }

    /// A noun that fits this object only.
    fn name(&mut self, index: usize) -> Option<Noun> {
        (0..8).find_map(|_| {
            let object = &self.world.objects[index];
            let draws = &mut self.draws;
            let noun = Noun {
                shape: draws.chance(0.9).then_some(object.shape),
                colour: draws.chance(0.65).then_some(object.colour).filter(|_| !self.colourless),
                size: draws.chance(0.15).then_some(object.size_class),
                fill: draws.chance(0.12).then_some(object.fill),
            };
            let named = noun.shape.is_some() || noun.colour.is_some();
            (named && self.world.fitting(&noun).len() == 1).then_some(noun)
        })
    }

    /// The name of some object other than the target.
    fn anchor(&mut self, target: usize) -> Option<Noun> {
        let others = self.world.objects.len().checked_sub(1)?;
        let index = self.draws.below(others);
        self.name(if index >= target { index + 1 } else { index })
    }

    /// Two objects that the target clearly lies between.
    fn ends_around(&mut self, target: usize) -> Option<(usize, usize)> {
        let others = |index: &usize| *index != target;
        let count = self.world.objects.len();
        let firsts = (0..count).filter(others);
        let pairs: Vec<(usize, usize)> = firsts
            .flat_map(|a| (0..count).filter(others).filter(move |&b| b != a).map(move |b| (a, b)))
            .filter(|&(a, b)| self.world.between(target, a, b) == Some(true))
            .collect();
        self.draws.pick(&pairs)
    }

    fn rank(&self, noun: &Noun, target: usize, side: Side) -> Option<usize> {
        let place = self.world.toward(side, target);
        let fitting = self.world.fitting(noun);
        let ahead = fitting.iter().filter(|&&index| self.world.toward(side, index) > place).count();
        (fitting.len() >= 2 && ahead < MAX_NUMBER).then_some(ahead + 1)
    }

    fn degree(&mut self) -> Degree {
        if self.draws.chance(0.5) { Degree::Larger } else { Degree::Smaller }
    }

    fn region(&mut self) -> Region {
        let vertical = Side::ALL[2 + self.draws.below(2)];
        let horizontal = Side::ALL[self.draws.below(2)];
        match self.draws.weighted(&[0.45, 0.2, 0.2, 0.05, 0.1]) {
            0 => Region::Half(Side::ALL[self.draws.weighted(&[0.3, 0.3, 0.2, 0.2])]),
            1 => Region::Quarter(vertical, horizontal),
            2 => Region::Corner(vertical, horizontal),
            3 => Region::AnyCorner,
            _ => Region::Middle,
        }
    }

    /// Another region of the same kind.
    fn other_region(&mut self, region: Region) -> Region {
        let flips = 1 + self.draws.below(3);
        let flipped = |side: Side, bit: usize| if flips & bit == 0 { side } else { side.opposite() };
        match region {
            Region::Half(side) => Region::Half(side.opposite()),
            Region::Quarter(a, b) => Region::Quarter(flipped(a, 1), flipped(b, 2)),
            Region::Corner(a, b) => Region::Corner(flipped(a, 1), flipped(b, 2)),
            Region::AnyCorner => Region::Middle,
            Region::Middle => Region::AnyCorner,
        }
    }

    /// Denies one or two properties that others in the scene have, and takes them off the noun.
    fn denial(&mut self, noun: &mut Noun) -> Restriction {
        let first = self.some_trait();
        let second = self.some_trait();
        let two = std::mem::discriminant(&first) == std::mem::discriminant(&second) && self.draws.chance(0.6);
        match first {
            Trait::Size(_) => noun.size = None,
            Trait::Fill(_) => noun.fill = None,
            Trait::Colour(_) => noun.colour = None,
            Trait::Shape(_) => noun.shape = None,
        }
        if two { Restriction::Neither(first, second) } else { Restriction::Not(first) }
    }

    /// A property of some object of the scene.
    fn some_trait(&mut self) -> Trait {
        let object = &self.world.objects[self.draws.below(self.world.objects.len())];
        match self.draws.weighted(&[0.58, 0.22, 0.10, 0.10]) {
            0 => Trait::Colour(object.colour),
            1 => Trait::Shape(object.shape),
            2 => Trait::Fill(object.fill),
            _ => Trait::Size(object.size_class),
        }
    }

    /// The expression with one word exchanged.
    fn changed(&mut self, expression: Expression) -> Option<Expression> {
        let Expression::Simple { number, noun, restriction } = expression else { return None };
        // The share of changes to the noun is such that the words that are left say little about whether they are true:
        // high ranks, for instance, are seldom true and must not be made up often.
        let noun_share = match restriction {
            Restriction::None => 1.0,
            Restriction::Nth(..) => 0.85,
            _ => 0.45,
        };
        if self.draws.chance(noun_share) {
            let noun = self.changed_noun(noun)?;
            return Some(Expression::Simple { number, noun, restriction });
        }
        let restriction = match restriction {
            Restriction::Nth(rank, side) => {
                let more = self.world.fitting(&noun).len().max(rank) + 1;
                (more <= MAX_NUMBER).then_some(Restriction::Nth(more, side))?
            }
            Restriction::Than(degree, noun) => match self.draws.below(2) {
                0 => Restriction::Than(degree.opposite(), noun),
                _ => Restriction::Than(degree, self.changed_noun(noun)?),
            },
            Restriction::Beyond(side, noun) => match self.draws.below(3) {
                0 => Restriction::Beyond(side, self.changed_noun(noun)?),
                _ => Restriction::Beyond(side.opposite(), noun),
            },
            Restriction::Between(a, b) => match self.draws.below(2) {
                0 => Restriction::Between(self.changed_noun(a)?, b),
                _ => Restriction::Between(a, self.changed_noun(b)?),
            },
            Restriction::Nearest(noun) => Restriction::Nearest(self.changed_noun(noun)?),
            Restriction::NextTo(noun) => match self.draws.below(2) {
                0 => Restriction::NextTo(self.changed_noun(noun)?),
                _ => {
                    let other = self.draws.below(self.world.objects.len());
                    Restriction::NextTo(self.name(other)?)
                }
            },
            Restriction::In(region) => Restriction::In(self.other_region(region)),
            Restriction::Not(_) => Restriction::Not(self.some_trait()),
            Restriction::Neither(a, _) => Restriction::Neither(a, self.some_trait()),
            Restriction::None | Restriction::Farthest(_) | Restriction::Most(_) | Restriction::OfTwo(_) => return None,
        };
        Some(Expression::Simple { number, noun, restriction })
    }

    /// The noun with one attribute exchanged, mostly for one that the scene shows elsewhere.
    fn changed_noun(&mut self, noun: Noun) -> Option<Noun> {
        let mut changed = noun;
        let donor = &self.world.objects[self.draws.below(self.world.objects.len())];
        let foreign = self.draws.chance(0.3);
        let draws = &mut self.draws;
        match draws.weighted(&[0.40, 0.40, 0.10, 0.10]) {
            0 => {
                noun.shape?;
                changed.shape = Some(if foreign { draws.pick(&Shape::ALL)? } else { donor.shape });
            }
            1 => {
                noun.colour?;
                changed.colour = Some(if foreign { draws.pick(&Colour::ALL)? } else { donor.colour });
            }
            2 => {
                noun.size?;
                changed.size = draws.pick(&SizeClass::ALL);
            }
            _ => {
                noun.fill?;
                changed.fill = draws.pick(&Fill::ALL);
            }
        }
        (changed != noun).then_some(changed)
    }
}

/// Denied properties must be of a kind that the noun leaves open, and of one kind.
fn deniable(noun: &Noun, denied: &[Trait]) -> bool {
    let one_kind = denied.windows(2).all(|pair| std::mem::discriminant(&pair[0]) == std::mem::discriminant(&pair[1]));
    one_kind
        && denied.iter().all(|quality| match quality {
            Trait::Size(_) => noun.size.is_none(),
            Trait::Fill(fill) => noun.fill.is_none() && noun.shape.is_none_or(|shape| shape.allows(*fill)),
            Trait::Colour(_) => noun.colour.is_none(),
            Trait::Shape(_) => noun.shape.is_none(),
        })
}

fn names_a_pair(expression: &Expression) -> bool {
    expression.nouns().iter().any(|noun| noun.shape.is_some() && noun.colour.is_some())
}
