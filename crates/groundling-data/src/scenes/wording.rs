//! From the structure of a phrase to its words. Every choice among synonyms and orders is drawn.

use super::phrase::{Degree, Expression, Noun, Number, Region, Restriction, Side, Trait};
use super::random::Draws;
use super::vocabulary::{Fill, Shape, SizeClass};

/// Says an expression in one of its many ways.
pub(crate) fn speak(expression: &Expression, draws: &mut Draws) -> String {
    let mut phrase = match *expression {
        Expression::Pair(a, b) => {
            let (a, b) = (describe(&a, Form::Singular, draws), describe(&b, Form::Singular, draws));
            format!("the {a} and the {b}")
        }
        Expression::Simple { number: Number::One, noun, restriction } => singular(&noun, restriction, draws),
        Expression::Simple { number, noun, restriction } => plural(number, &noun, restriction, draws),
    };
    if draws.chance(0.04) {
        phrase[..1].make_ascii_uppercase();
    }
    if draws.chance(0.03) {
        phrase.push('.');
    }
    phrase
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Singular,
    Plural,
}

fn singular(noun: &Noun, restriction: Restriction, draws: &mut Draws) -> String {
    let the = if draws.chance(0.75) { "the " } else { "" };
    match restriction {
        Restriction::None => said_of(noun, the, draws),
        Restriction::Nth(rank, side) => {
            let (noun, side) = (describe(noun, Form::Singular, draws), side_word(side));
            match draws.below(5) {
                0 if rank > 1 => format!("{the}{noun} number {} from the {side}", cardinal(rank)),
                1 => format!("{the}{} {noun} counting from the {side}", ordinal(rank)),
                2 => format!("{the}{} {noun} from {side}", ordinal(rank)),
                _ => format!("{the}{} {noun} from the {side}", ordinal(rank)),
            }
        }
        Restriction::Farthest(side) => match draws.below(5) {
            0 if matches!(side, Side::Left | Side::Right) => {
                let far = draws.word(["farthest", "furthest"]);
                format!("{the}{} {far} to the {}", describe(noun, Form::Singular, draws), side_word(side))
            }
            1 => {
                format!("the {} of {}{}", extreme_word(side, draws), of_all(draws), describe(noun, Form::Plural, draws))
            }
            _ => format!("{the}{} {}", extreme_word(side, draws), describe(noun, Form::Singular, draws)),
        },
        Restriction::Most(degree) => {
            let most = match degree {
                Degree::Larger => draws.word(["largest", "biggest"]),
                Degree::Smaller => "smallest",
            };
            match draws.below(4) {
                0 => format!("the {most} of {}{}", of_all(draws), describe(noun, Form::Plural, draws)),
                _ => format!("{the}{most} {}", describe(noun, Form::Singular, draws)),
            }
        }
        Restriction::OfTwo(degree) => {
            let more = degree_word(degree, draws);
            match draws.below(3) {
                0 => format!("{the}{more} {}", describe(noun, Form::Singular, draws)),
                1 => format!("the {more} one of the two {}", describe(noun, Form::Plural, draws)),
                _ => format!("the {more} of the two {}", describe(noun, Form::Plural, draws)),
            }
        }
        Restriction::In(region) => {
            let (noun, region) = (describe(noun, Form::Singular, draws), region_words(region, draws));
            match draws.below(8) {
                0 => format!("{region}, the {noun}"),
                1 => format!("{the}{noun} that is {region}"),
                _ => format!("{the}{noun} {region}"),
            }
        }
        Restriction::Not(Trait::Colour(colour)) if draws.chance(0.2) => {
            format!("{the}non-{colour} {}", describe(noun, Form::Singular, draws))
        }
        _ => {
            let noun = describe(noun, Form::Singular, draws);
            format!("{the}{noun} {}", clause(restriction, Form::Singular, draws))
        }
    }
}

fn plural(number: Number, noun: &Noun, restriction: Restriction, draws: &mut Draws) -> String {
    let every = number == Number::All && draws.chance(0.12);
    let form = if every { Form::Singular } else { Form::Plural };
    let quantity = match number {
        _ if every => draws.word(["every ", "each "]).to_owned(),
        Number::Both => draws.word(["both ", "both ", "both of the ", "both the "]).to_owned(),
        Number::Exactly(count @ 3..) => match draws.below(3) {
            0 => format!("all {} ", cardinal(count)),
            1 => format!("{} ", cardinal(count)),
            _ => format!("the {} ", cardinal(count)),
        },
        Number::Exactly(count) => format!("{}{} ", draws.word(["", "the ", "the "]), cardinal(count)),
        Number::All | Number::One => {
            draws.word(["all ", "all ", "all the ", "all of the ", "the ", "the ", ""]).to_owned()
        }
    };
    let words = describe(noun, form, draws);
    match restriction {
        Restriction::None => format!("{quantity}{words}"),
        Restriction::In(region) => format!("{quantity}{words} {}", region_words(region, draws)),
        _ => format!("{quantity}{words} {}", clause(restriction, form, draws)),
    }
}

/// "red circle", or sometimes "circle that is red".
fn said_of(noun: &Noun, the: &str, draws: &mut Draws) -> String {
    match noun.colour {
        Some(colour) if draws.chance(0.12) => {
            let rest = describe(&Noun { colour: None, ..*noun }, Form::Singular, draws);
            format!("{the}{rest} {} is {colour}", draws.word(["that", "which"]))
        }
        _ => format!("{the}{}", describe(noun, Form::Singular, draws)),
    }
}

/// What follows the noun for a restriction that relates it to something else.
fn clause(restriction: Restriction, form: Form, draws: &mut Draws) -> String {
    let be = if form == Form::Plural { "are" } else { "is" };
    let which = draws.word(["that", "that", "which"]);
    let words = match restriction {
        Restriction::Not(quality) => {
            let not = match (form, draws.below(3)) {
                (Form::Singular, 0) => "isn't".to_owned(),
                (Form::Plural, 0) => "aren't".to_owned(),
                _ => format!("{be} not"),
            };
            return match quality {
                Trait::Shape(shape) if draws.chance(0.25) => format!("other than {}", kind_words(shape, form, draws)),
                _ => format!("{which} {not} {}", trait_words(quality, form, draws)),
            };
        }
        Restriction::Neither(a, b) => {
            let (a, b) = (trait_words(a, form, draws), trait_words(b, form, draws));
            return format!("{which} {be} neither {a} nor {b}");
        }
        Restriction::Than(degree, noun) => format!("{} than {}", degree_word(degree, draws), anchor(&noun, draws)),
        Restriction::Beyond(side, noun) => format!("{} {}", relation_words(side, draws), anchor(&noun, draws)),
        Restriction::Between(a, b) => format!("between {} and {}", anchor(&a, draws), anchor(&b, draws)),
        Restriction::Nearest(noun) => {
            format!("{} {}", draws.word(["nearest to", "closest to", "nearest"]), anchor(&noun, draws))
        }
        Restriction::NextTo(noun) => format!("{} {}", draws.word(["next to", "beside"]), anchor(&noun, draws)),
        _ => return String::new(),
    };
    if draws.chance(0.15) { format!("{which} {be} {words}") } else { words }
}

fn anchor(noun: &Noun, draws: &mut Draws) -> String {
    format!("the {}", describe(noun, Form::Singular, draws))
}

/// A noun with its adjectives, without an article.
fn describe(noun: &Noun, form: Form, draws: &mut Draws) -> String {
    let mut words: Vec<&str> = Vec::with_capacity(6);
    let mut after = "";
    let size = noun.size.map(|size| match size {
        SizeClass::Small => draws.word(["small", "small", "little"]),
        SizeClass::Medium => draws.word(["medium", "medium-sized", "mid-sized"]),
        SizeClass::Large => draws.word(["large", "large", "big"]),
    });
    let fill = noun.fill.and_then(|fill| match fill {
        Fill::Striped if draws.chance(0.25) => {
            after = " with stripes";
            None
        }
        Fill::Dotted if draws.chance(0.25) => {
            after = draws.word([" with dots", " with spots"]);
            None
        }
        Fill::Solid => Some("solid"),
        Fill::Striped => Some("striped"),
        Fill::Dotted => Some(draws.word(["dotted", "dotted", "spotted"])),
        Fill::Outlined => Some(draws.word(["outlined", "outlined", "unfilled"])),
    });
    let colour = noun.colour.map(|colour| colour.name());
    match draws.below(8) {
        0 => words.extend([fill, size, colour].into_iter().flatten()),
        1..4 => words.extend([size, colour, fill].into_iter().flatten()),
        _ => words.extend([size, fill, colour].into_iter().flatten()),
    }
    let head = match noun.shape {
        Some(shape) => shape_word(shape, draws),
        None => draws.word(["shape", "shape", "object", "thing"]),
    };
    words.push(head);
    let mut text = words.join(" ");
    if form == Form::Plural {
        text.push_str(if head.ends_with('s') { "es" } else { "s" });
    }
    text + after
}

fn shape_word(shape: Shape, draws: &mut Draws) -> &'static str {
    match shape {
        Shape::Circle => draws.word(["circle", "circle", "circle", "disc"]),
        Shape::Ellipse => draws.word(["ellipse", "oval"]),
        Shape::Crescent => draws.word(["crescent", "crescent", "moon"]),
        Shape::Cross => draws.word(["cross", "cross", "plus sign"]),
        Shape::Ring => draws.word(["ring", "ring", "donut"]),
        _ => shape.name(),
    }
}

/// "red", "striped", "a star", "stars".
fn trait_words(quality: Trait, form: Form, draws: &mut Draws) -> String {
    match quality {
        Trait::Size(size) => size.name().to_owned(),
        Trait::Fill(fill) => fill.name().to_owned(),
        Trait::Colour(colour) => colour.name().to_owned(),
        Trait::Shape(shape) => kind_words(shape, form, draws),
    }
}

fn kind_words(shape: Shape, form: Form, draws: &mut Draws) -> String {
    let words = describe(&Noun { shape: Some(shape), ..Noun::default() }, form, draws);
    if form == Form::Plural {
        return words;
    }
    let article = if words.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {words}")
}

fn relation_words(side: Side, draws: &mut Draws) -> &'static str {
    match side {
        Side::Left => draws.word(["to the left of", "left of", "on the left of"]),
        Side::Right => draws.word(["to the right of", "right of", "on the right of"]),
        Side::Top => draws.word(["above", "above", "higher than"]),
        Side::Bottom => draws.word(["below", "below", "under", "lower than"]),
    }
}

fn degree_word(degree: Degree, draws: &mut Draws) -> &'static str {
    match degree {
        Degree::Larger => draws.word(["larger", "bigger"]),
        Degree::Smaller => "smaller",
    }
}

fn extreme_word(side: Side, draws: &mut Draws) -> &'static str {
    match side {
        Side::Left => "leftmost",
        Side::Right => "rightmost",
        Side::Top => draws.word(["topmost", "highest", "uppermost"]),
        Side::Bottom => draws.word(["bottommost", "lowest", "lowermost"]),
    }
}

fn of_all(draws: &mut Draws) -> &'static str {
    draws.word(["the ", "all the ", "all "])
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Left => "left",
        Side::Right => "right",
        Side::Top => "top",
        Side::Bottom => "bottom",
    }
}

fn region_words(region: Region, draws: &mut Draws) -> String {
    let vertical = |side: Side, draws: &mut Draws| match side {
        Side::Top => draws.word(["top", "upper"]),
        _ => draws.word(["bottom", "lower"]),
    };
    match region {
        Region::Half(side @ (Side::Left | Side::Right)) => {
            let side = side_word(side);
            match draws.below(5) {
                0 => format!("on the {side} side"),
                1 => format!("at the {side}"),
                2 => format!("on the {side}-hand side"),
                _ => format!("on the {side}"),
            }
        }
        Region::Half(side) => format!("{} the {}", draws.word(["at", "at", "near"]), side_word(side)),
        Region::Quarter(a, b) => {
            let start = draws.word(["in", "in", "at"]);
            format!("{start} the {} {}", vertical(a, draws), side_word(b))
        }
        Region::Corner(a, b) => format!("in the {} {} corner", vertical(a, draws), side_word(b)),
        Region::AnyCorner => draws.word(["in a corner", "in the corner", "in one of the corners"]).to_owned(),
        Region::Middle => draws.word(["in the middle", "in the middle", "in the centre", "in the center"]).to_owned(),
    }
}

fn ordinal(rank: usize) -> &'static str {
    ["first", "second", "third", "fourth", "fifth", "sixth"][rank.clamp(1, 6) - 1]
}

/// The largest number a phrase says, as a rank or a count.
pub(crate) const MAX_NUMBER: usize = 6;

fn cardinal(number: usize) -> &'static str {
    ["one", "two", "three", "four", "five", "six"][number.clamp(1, MAX_NUMBER) - 1]
}
