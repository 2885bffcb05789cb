//! Reads phrases back: text to structure, knowing nothing of how the text was made.
//!
//! This is a recursive-descent parser over words with tables of its own. The grammar is in `docs/scenes.md`. It accepts
//! more than the generator says (any mixture of synonyms and articles), in any letter case.

use super::vocabulary::{Colour, Fill, Shape, SizeClass};

/// Why a text is not a phrase of the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// A word that the grammar does not allow at its place.
    #[error("word {position} of {phrase:?}: found {found:?}, expected {expected}")]
    Unexpected {
        /// The whole phrase.
        phrase: String,
        /// Which word, from 0.
        position: usize,
        /// The word, empty at the end of the phrase.
        found: String,
        /// What would have been right.
        expected: &'static str,
    },
}

/// What a phrase asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Query {
    Set { count: Count, class: Class, filters: Vec<Filter> },
    Both(Class, Class),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Singular,
    AtLeastTwo,
    Number(usize),
}

/// Properties that an object must have.
pub(super) type Class = Vec<Property>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    Shape(Shape),
    Colour(Colour),
    Size(SizeClass),
    Fill(Fill),
}

/// Compass directions of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Toward {
    West,
    East,
    North,
    South,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Filter {
    Lacks(Property),
    Rank(usize, Toward),
    Biggest,
    Smallest,
    BiggerOfPair,
    SmallerOfPair,
    BiggerThan(Class),
    SmallerThan(Class),
    Past(Toward, Class),
    Amid(Class, Class),
    ClosestTo(Class),
    Touching(Class),
    Zone(Vec<Toward>),
    Corner(Vec<Toward>),
    SomeCorner,
    Centre,
}

use Filter as F;
use Toward::{East, North, South, West};

pub(super) fn parse(phrase: &str) -> Result<Query, ParseError> {
    let lower = phrase.to_lowercase().replace("non-", "non ").replace('-', " ").replace(',', " , ");
    let words: Vec<&str> = lower.split_whitespace().map(|word| word.trim_end_matches('.')).collect();
    let mut reader = Reader { phrase, words, at: 0 };
    let query = reader.query()?;
    if reader.at < reader.words.len() {
        return Err(reader.fail("the end of the phrase"));
    }
    Ok(query)
}

struct Reader<'a> {
    phrase: &'a str,
    words: Vec<&'a str>,
    at: usize,
}

type Read<T> = Result<T, ParseError>;

impl Reader<'_> {
    fn query(&mut self) -> Read<Query> {
        let mut filters = Vec::new();
        if let Some(zone) = self.zone()? {
            filters.push(zone);
            self.eat(",");
        }
        let count = self.count();
        let count = self.prefix(count, &mut filters)?;
        let (mut class, plural) = self.class()?;
        let count = match count {
            None if plural => Count::AtLeastTwo,
            None => Count::Singular,
            Some(count) => count,
        };
        if self.eat("and") {
            self.article();
            let (other, _) = self.class()?;
            return Ok(Query::Both(class, other));
        }
        self.suffix(&mut class, &mut filters)?;
        Ok(Query::Set { count, class, filters })
    }

    /// "all of the", "both", "the two", "every", "the", nothing.
    fn count(&mut self) -> Option<Count> {
        if self.eat("both") {
            self.eat("of");
            self.article();
            return Some(Count::Number(2));
        }
        if self.eat("every") || self.eat("each") {
            return Some(Count::AtLeastTwo);
        }
        let all = self.eat("all");
        if all {
            self.eat("of");
        }
        self.article();
        if let Some(number) = self.peek().and_then(number_of) {
            // "one of the two" belongs to comparatives and never comes first.
            self.at += 1;
            return Some(Count::Number(number));
        }
        all.then_some(Count::AtLeastTwo)
    }

    /// What may stand between the article and the noun: a rank, an extreme, "larger of the two", "non red".
    fn prefix(&mut self, count: Option<Count>, filters: &mut Vec<Filter>) -> Read<Option<Count>> {
        let Some(word) = self.peek() else { return Err(self.fail("a noun")) };
        if let Some(rank) = rank_of(word) {
            self.at += 1;
            filters.push(F::Rank(rank, West)); // the side follows the noun
            return Ok(count);
        }
        let extreme = match word {
            "leftmost" => F::Rank(1, West),
            "rightmost" => F::Rank(1, East),
            "topmost" | "highest" | "uppermost" => F::Rank(1, North),
            "bottommost" | "lowest" | "lowermost" => F::Rank(1, South),
            "largest" | "biggest" => F::Biggest,
            "smallest" => F::Smallest,
            "larger" | "bigger" => F::BiggerOfPair,
            "smaller" => F::SmallerOfPair,
            "non" => {
                self.at += 1;
                let property = self.adjective().ok_or_else(|| self.fail("a colour"))?;
                filters.push(F::Lacks(property));
                return Ok(count);
            }
            _ => return Ok(count),
        };
        self.at += 1;
        filters.push(extreme);
        self.eat("one");
        if self.eat("of") {
            self.eat("all");
            self.article();
            self.eat("two");
        }
        Ok(Some(Count::Singular))
    }

    /// Adjectives, a noun, and "with stripes"; also whether the noun was plural.
    fn class(&mut self) -> Read<(Class, bool)> {
        let mut class = Vec::new();
        while let Some(property) = self.adjective() {
            class.push(property);
        }
        let Some(word) = self.peek() else { return Err(self.fail("a noun")) };
        let (shape, mut plural) = noun_of(word).ok_or_else(|| self.fail("a noun"))?;
        let sign_follows = word == "plus";
        self.at += 1;
        if sign_follows {
            match self.peek() {
                Some("sign") => {}
                Some("signs") => plural = true,
                _ => return Err(self.fail("sign")),
            }
            self.at += 1;
        }
        class.extend(shape.map(Property::Shape));
        if self.eat("with") {
            let fill = match self.peek() {
                Some("stripes") => Fill::Striped,
                Some("dots" | "spots") => Fill::Dotted,
                _ => return Err(self.fail("stripes, dots or spots")),
            };
            self.at += 1;
            class.push(Property::Fill(fill));
        }
        Ok((class, plural))
    }

    fn suffix(&mut self, class: &mut Class, filters: &mut Vec<Filter>) -> Read<()> {
        if let Some(F::Rank(_, side)) = filters.iter_mut().find(|filter| matches!(filter, F::Rank(..))) {
            // A rank that came with its side ("leftmost") has no "from".
            let counting = self.eat("counting");
            if self.eat("from") {
                self.article();
                *side = self.side()?;
            } else if counting {
                return Err(self.fail("from"));
            }
            return Ok(());
        }
        if self.eat("number") {
            let rank = self.peek().and_then(number_of).ok_or_else(|| self.fail("a number"))?;
            self.at += 1;
            self.expect("from")?;
            self.article();
            filters.push(F::Rank(rank, self.side()?));
            return Ok(());
        }
        if self.at == self.words.len() {
            return Ok(());
        }
        if self.eat_all(&["other", "than"]) {
            let denied = self.quality()?;
            filters.push(F::Lacks(denied));
            return Ok(());
        }
        if self.eat("that") || self.eat("which") {
            if self.eat("isn't") || self.eat("aren't") {
                let denied = self.quality()?;
                filters.push(F::Lacks(denied));
                return Ok(());
            }
            if !self.eat("is") && !self.eat("are") {
                return Err(self.fail("is or are"));
            }
            if self.eat("not") {
                let denied = self.quality()?;
                filters.push(F::Lacks(denied));
                return Ok(());
            }
            if self.eat("neither") {
                let first = self.quality()?;
                self.expect("nor")?;
                let second = self.quality()?;
                filters.extend([F::Lacks(first), F::Lacks(second)]);
                return Ok(());
            }
            if let Some(property) = self.adjective() {
                class.push(property);
                return Ok(());
            }
        }
        let filter = self.relation()?;
        filters.push(filter);
        Ok(())
    }

    fn relation(&mut self) -> Read<Filter> {
        for far in ["farthest", "furthest"] {
            if self.eat_all(&[far, "to", "the"]) {
                return Ok(F::Rank(1, self.side()?));
            }
        }
        if self.eat("between") {
            let first = self.other()?;
            self.expect("and")?;
            return Ok(F::Amid(first, self.other()?));
        }
        if self.eat("nearest") || self.eat("closest") {
            self.eat("to");
            return Ok(F::ClosestTo(self.other()?));
        }
        type Make = fn(Class) -> Filter;
        const RELATIONS: [(&[&str], Make); 17] = [
            (&["to", "the", "left", "of"], |class| F::Past(West, class)),
            (&["on", "the", "left", "of"], |class| F::Past(West, class)),
            (&["left", "of"], |class| F::Past(West, class)),
            (&["to", "the", "right", "of"], |class| F::Past(East, class)),
            (&["on", "the", "right", "of"], |class| F::Past(East, class)),
            (&["right", "of"], |class| F::Past(East, class)),
            (&["above"], |class| F::Past(North, class)),
            (&["higher", "than"], |class| F::Past(North, class)),
            (&["below"], |class| F::Past(South, class)),
            (&["under"], |class| F::Past(South, class)),
            (&["lower", "than"], |class| F::Past(South, class)),
            (&["next", "to"], F::Touching),
            (&["beside"], F::Touching),
            (&["larger", "than"], F::BiggerThan),
            (&["bigger", "than"], F::BiggerThan),
            (&["smaller", "than"], F::SmallerThan),
            (&["near", "to"], F::Touching),
        ];
        for (words, make) in RELATIONS {
            if self.eat_all(words) {
                return Ok(make(self.other()?));
            }
        }
        self.zone()?.ok_or_else(|| self.fail("a relation or a place"))
    }

    /// A place in the picture, if one comes next.
    fn zone(&mut self) -> Read<Option<Filter>> {
        let start = self.at;
        if self.eat_all(&["in", "a", "corner"]) || self.eat_all(&["in", "one", "of", "the", "corners"]) {
            return Ok(Some(F::SomeCorner));
        }
        if !(self.eat("in") || self.eat("on") || self.eat("at") || self.eat("near")) {
            return Ok(None);
        }
        self.article();
        if self.eat("corner") {
            return Ok(Some(F::SomeCorner));
        }
        if self.eat("middle") || self.eat("centre") || self.eat("center") {
            return Ok(Some(F::Centre));
        }
        let mut sides = vec![self.side()?];
        if let Ok(side) = self.side() {
            sides.push(side);
        }
        self.eat("hand");
        self.eat("side");
        if self.peek() == Some("of") {
            self.at = start;
            return Ok(None);
        }
        Ok(Some(if self.eat("corner") { F::Corner(sides) } else { F::Zone(sides) }))
    }

    fn side(&mut self) -> Read<Toward> {
        let side = match self.peek() {
            Some("left") => West,
            Some("right") => East,
            Some("top" | "upper") => North,
            Some("bottom" | "lower") => South,
            _ => return Err(self.fail("a side")),
        };
        self.at += 1;
        Ok(side)
    }

    /// The class of the other object of a relation.
    fn other(&mut self) -> Read<Class> {
        self.expect("the")?;
        Ok(self.class()?.0)
    }

    /// An adjective, or a noun with "a" or in the plural.
    fn quality(&mut self) -> Read<Property> {
        if let Some(property) = self.adjective() {
            return Ok(property);
        }
        if !self.eat("a") {
            self.eat("an");
        }
        match self.class()?.0[..] {
            [only] => Ok(only),
            _ => Err(self.fail("one property")),
        }
    }

    fn adjective(&mut self) -> Option<Property> {
        let property = match self.peek()? {
            "red" => Property::Colour(Colour::Red),
            "orange" => Property::Colour(Colour::Orange),
            "yellow" => Property::Colour(Colour::Yellow),
            "green" => Property::Colour(Colour::Green),
            "cyan" => Property::Colour(Colour::Cyan),
            "blue" => Property::Colour(Colour::Blue),
            "purple" => Property::Colour(Colour::Purple),
            "pink" => Property::Colour(Colour::Pink),
            "brown" => Property::Colour(Colour::Brown),
            "black" => Property::Colour(Colour::Black),
            "small" | "little" => Property::Size(SizeClass::Small),
            "medium" | "mid" => Property::Size(SizeClass::Medium),
            "large" | "big" => Property::Size(SizeClass::Large),
            "solid" => Property::Fill(Fill::Solid),
            "striped" => Property::Fill(Fill::Striped),
            "dotted" | "spotted" => Property::Fill(Fill::Dotted),
            "outlined" | "unfilled" => Property::Fill(Fill::Outlined),
            _ => return None,
        };
        self.at += 1;
        if matches!(property, Property::Size(_)) {
            self.eat("sized");
        }
        Some(property)
    }

    fn article(&mut self) {
        self.eat("the");
    }

    fn peek(&self) -> Option<&str> {
        self.words.get(self.at).copied()
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    fn eat_all(&mut self, words: &[&str]) -> bool {
        let found = self.words.get(self.at..self.at + words.len()) == Some(words);
        if found {
            self.at += words.len();
        }
        found
    }

    fn expect(&mut self, word: &'static str) -> Read<()> {
        if self.eat(word) { Ok(()) } else { Err(self.fail(word)) }
    }

    fn fail(&self, expected: &'static str) -> ParseError {
        let found = self.peek().unwrap_or_default().to_owned();
        ParseError::Unexpected { phrase: self.phrase.to_owned(), position: self.at, found, expected }
    }
}

/// A shape (`None` for "thing") and whether the word is plural.
fn noun_of(word: &str) -> Option<(Option<Shape>, bool)> {
    let singular = |word: &str| {
        Some(match word {
            "circle" | "disc" | "disk" => Some(Shape::Circle),
            "ellipse" | "oval" => Some(Shape::Ellipse),
            "square" => Some(Shape::Square),
            "rectangle" => Some(Shape::Rectangle),
            "triangle" => Some(Shape::Triangle),
            "pentagon" => Some(Shape::Pentagon),
            "hexagon" => Some(Shape::Hexagon),
            "star" => Some(Shape::Star),
            "cross" | "plus" => Some(Shape::Cross),
            "heart" => Some(Shape::Heart),
            "ring" | "donut" => Some(Shape::Ring),
            "crescent" | "moon" => Some(Shape::Crescent),
            "arrow" => Some(Shape::Arrow),
            "semicircle" => Some(Shape::Semicircle),
            "shape" | "object" | "thing" => None,
            _ => return None,
        })
    };
    if word == "crosses" {
        return Some((Some(Shape::Cross), true));
    }
    singular(word)
        .map(|shape| (shape, false))
        .or_else(|| word.strip_suffix('s').and_then(singular).map(|shape| (shape, true)))
}

fn number_of(word: &str) -> Option<usize> {
    let number = match word {
        "one" => 1,
        "two" => 2,
        "three" => 3,
        "four" => 4,
        "five" => 5,
        "six" => 6,
        _ => return None,
    };
    Some(number)
}

fn rank_of(word: &str) -> Option<usize> {
    let rank = match word {
        "first" => 1,
        "second" => 2,
        "third" => 3,
        "fourth" => 4,
        "fifth" => 5,
        "sixth" => 6,
        _ => return None,
    };
    Some(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_have_their_structure() {
        let red = Property::Colour(Colour::Red);
        let star = Property::Shape(Shape::Star);
        let set = |class: Class, filters: Vec<Filter>| Query::Set { count: Count::Singular, class, filters };
        for (phrase, expected) in [
            ("The red star.", set(vec![red, star], vec![])),
            ("star that is red", set(vec![star, red], vec![])),
            ("the third star counting from the top", set(vec![star], vec![F::Rank(3, North)])),
            ("star number two from the right", set(vec![star], vec![F::Rank(2, East)])),
            ("the highest of all stars", set(vec![star], vec![F::Rank(1, North)])),
            ("the star on the left", set(vec![star], vec![F::Zone(vec![West])])),
            ("the star on the left of the red thing", set(vec![star], vec![F::Past(West, vec![red])])),
            ("in the upper left corner, the star", set(vec![star], vec![F::Corner(vec![North, West])])),
            ("the bigger one of the two stars", set(vec![star], vec![F::BiggerOfPair])),
            ("the thing that is neither red nor a star", set(vec![], vec![F::Lacks(red), F::Lacks(star)])),
            ("both red stars", Query::Set { count: Count::Number(2), class: vec![red, star], filters: vec![] }),
            ("the red thing and the star", Query::Both(vec![red], vec![star])),
        ] {
            assert_eq!(parse(phrase), Ok(expected), "{phrase}");
        }
    }

    #[test]
    fn other_texts_are_errors() {
        for phrase in
            ["", ".", "the", "a cat", "the red", "the red star the", "the star left of", "the star with hair", "plus"]
        {
            assert!(parse(phrase).is_err(), "{phrase}");
        }
        let error = parse("the red cat").unwrap_err();
        assert_eq!(error.to_string(), "word 2 of \"the red cat\": found \"cat\", expected a noun");
    }
}
