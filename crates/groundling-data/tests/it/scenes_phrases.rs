//! Phrases of the generated world against the independent reader.

use std::collections::{BTreeMap, HashSet};

use groundling_core::{BoxXyxy, ImageSize, Phrase};
use groundling_data::scenes::{
    Colour, Fill, HELD_OUT, PhraseKind, ResolveError, SceneConfig, SceneError, SceneObject, Scenes, Shape, Shares,
    SizeClass, Split, resolve, resolve_among,
};
use rayon::prelude::*;

const SCENES: u64 = 1500;

fn world(height: u32, width: u32, split: Split) -> Scenes {
    Scenes::new(SceneConfig::with_size(ImageSize::new(height, width).unwrap()), split, 21).unwrap()
}

#[test]
fn the_reader_agrees_with_every_phrase() {
    for (split, height, width) in [(Split::Train, 64, 64), (Split::Val, 48, 90), (Split::Test, 80, 64)] {
        let scenes = world(height, width, split);
        let wrong: Vec<String> = (0..SCENES)
            .into_par_iter()
            .flat_map_iter(|index| {
                let scene = scenes.scene(index);
                let check = |expression: &groundling_data::scenes::SceneExpression| {
                    let found = resolve(&expression.phrase, &scene);
                    let agrees = found.as_ref() == Ok(&expression.targets);
                    (!agrees).then(|| {
                        format!("{}: {:?} is {:?}, read {found:?}", scene.id, expression.phrase, expression.targets)
                    })
                };
                scene.expressions.iter().filter_map(check).collect::<Vec<_>>()
            })
            .collect();
        assert!(wrong.is_empty(), "{} phrases:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
    }
}

#[test]
fn truth_survives_moving_every_object_by_a_hundredth_of_the_side() {
    // The margins promise it; see docs/scenes.md.
    let (height, width) = (72, 96);
    let scenes = world(height, width, Split::Train);
    let phrases: usize = (0..SCENES)
        .into_par_iter()
        .map(|index| {
            let mut scene = scenes.scene(index);
            for (number, object) in scene.objects.iter_mut().enumerate() {
                // Every object goes to one of the four corners of its little square, differently for each scene.
                let corner = (index as usize).wrapping_mul(31).wrapping_add(number * 7) / 3;
                let sign = |bit: usize| if corner >> bit & 1 == 0 { -0.01 } else { 0.01 };
                object.bbox = object.bbox.shifted(sign(0) * f64::from(width), sign(1) * f64::from(height));
            }
            for expression in &scene.expressions {
                let found = resolve(&expression.phrase, &scene);
                assert_eq!(found.as_ref(), Ok(&expression.targets), "{}: {}", scene.id, expression.phrase);
            }
            scene.expressions.len()
        })
        .sum();
    assert!(phrases > 7000);
}

#[test]
fn shares_are_as_configured_and_every_kind_occurs() {
    let scenes = world(64, 64, Split::Train);
    let (mut counts, mut kinds, mut total) = ([0u32; 3], BTreeMap::new(), 0);
    let (mut capitals, mut words) = (0, HashSet::new());
    for index in 0..SCENES {
        let scene = scenes.scene(index);
        let mut texts = HashSet::new();
        for expression in &scene.expressions {
            total += 1;
            counts[expression.targets.len().min(2)] += 1;
            *kinds.entry(expression.kind).or_insert(0) += 1;
            let phrase = Phrase::parse(&expression.phrase).unwrap();
            assert!(!phrase.as_str().contains("  ") && phrase.as_str().trim() == phrase.as_str(), "{phrase}");
            assert!(texts.insert(expression.phrase.to_lowercase()), "{}: {phrase} is said twice", scene.id);
            capitals += u32::from(expression.phrase.starts_with(|c: char| c.is_uppercase()));
            words.extend(
                expression.phrase.to_lowercase().split(' ').map(|word| word.trim_matches(['.', ',']).to_owned()),
            );
            let by_count = match expression.targets.len() {
                0 => expression.kind == PhraseKind::NearMiss,
                1 => expression.kind == expression.form,
                _ => expression.kind == PhraseKind::Plural,
            };
            assert!(by_count, "{phrase}: {:?}", expression.kind);
        }
    }
    let share = |count: u32| f64::from(count) / f64::from(total);
    for (count, expected) in counts.into_iter().zip([0.20, 0.65, 0.15]) {
        assert!((share(count) - expected).abs() < 0.02, "{counts:?} of {total}");
    }
    for kind in PhraseKind::ALL {
        let count = kinds.get(&kind).copied().unwrap_or(0);
        assert!(share(count) > 0.01, "{} occurs {count} times among {total}: {kinds:?}", kind.name());
    }
    assert!((0.01..0.08).contains(&share(capitals)));
    assert!(words.len() > 100, "{} words", words.len());
}

#[test]
fn other_shares_are_kept_too() {
    let shares = Shares { one: 0.0, many: 1.0, zero: 1.0 };
    let config = SceneConfig { shares, ..SceneConfig::with_size(ImageSize::square(64).unwrap()) };
    let scenes = Scenes::new(config, Split::Train, 2).unwrap();
    let expressions = (0..300).flat_map(|index| scenes.scene(index).expressions);
    let targets: Vec<usize> = expressions.map(|expression| expression.targets.len()).collect();
    assert!(!targets.contains(&1));
    let zero = targets.iter().filter(|&&count| count == 0).count() as f64 / targets.len() as f64;
    assert!((0.45..0.57).contains(&zero), "{zero}");
}

#[test]
fn second_phrases_of_pairs_are_first_ones_with_a_word_exchanged() {
    let size = ImageSize::square(64).unwrap();
    for split in [Split::Train, Split::Test] {
        let usual = SceneConfig { min_expressions: 2, max_expressions: 2, ..SceneConfig::with_size(size) };
        let paired = Scenes::new(SceneConfig { paired: true, ..usual.clone() }, split, 4).unwrap();
        let (mut counts, mut near, mut all) = ([0u32; 3], 0, 0);
        for index in 0..400 {
            let scene = paired.scene(index);
            let [first, second] = &scene.expressions[..] else { continue };
            assert!(!first.targets.is_empty(), "{}: {} comes first", scene.id, first.phrase);
            assert_ne!(first.phrase.to_lowercase(), second.phrase.to_lowercase());
            for expression in [first, second] {
                counts[expression.targets.len().min(2)] += 1;
            }
            all += 1;
            near += u32::from(first.form == second.form && first.targets != second.targets);
        }
        assert!(all > 390, "{all} pictures have two phrases");
        // Plurals and some others have no such partner, and get a phrase of their own.
        assert!(f64::from(near) > 0.6 * f64::from(all), "{near} of {all}");
        for (count, expected) in counts.into_iter().zip([0.20, 0.65, 0.15]) {
            let share = f64::from(count) / f64::from(2 * all);
            assert!((share - expected).abs() < 0.06, "{counts:?} of {all} pairs");
        }
    }
    // An odd number of phrases, and shares without a phrase that could come first.
    let odd = SceneConfig { min_expressions: 3, max_expressions: 3, paired: true, ..SceneConfig::with_size(size) };
    let three = Scenes::new(odd.clone(), Split::Val, 4).unwrap();
    assert!((0..50).filter(|&index| three.scene(index).expressions.len() == 3).count() > 45);
    let shares = Shares { one: 0.0, many: 0.0, zero: 1.0 };
    let none = Scenes::new(SceneConfig { shares, ..odd }, Split::Val, 4).unwrap();
    assert!((0..50).flat_map(|index| none.scene(index).expressions).all(|expression| expression.targets.is_empty()));
}

#[test]
fn what_nouns_fit_is_known_apart_from_what_the_phrase_refers_to() {
    let mut seen = BTreeMap::<PhraseKind, u32>::new();
    for split in [Split::Train, Split::Test] {
        let scenes = world(64, 64, split);
        for expression in (0..400).flat_map(|index| scenes.scene(index).expressions) {
            let (named, phrase) = (&expression.named, &expression.phrase);
            assert!(expression.targets.iter().all(|target| named.head.contains(target)), "{phrase}: {named:?}");
            for list in [&named.head, &named.others] {
                assert!(list.is_sorted_by(|a, b| a < b), "{phrase}: {list:?}");
            }
            match expression.form {
                PhraseKind::Attributes => assert_eq!(named.head, expression.targets, "{phrase}"),
                PhraseKind::Ordinal | PhraseKind::Superlative | PhraseKind::Region => {
                    assert!(named.others.is_empty(), "{phrase}");
                }
                PhraseKind::Negation => {
                    let denied = |index: &usize| named.others.contains(index);
                    let left: Vec<usize> = named.head.iter().copied().filter(|index| !denied(index)).collect();
                    assert_eq!(left, expression.targets, "{phrase}");
                }
                // What a phrase with targets relates them to is there, and is not what they are.
                PhraseKind::Relation | PhraseKind::Proximity | PhraseKind::Between
                    if !expression.targets.is_empty() =>
                {
                    let least = if expression.form == PhraseKind::Between { 2 } else { 1 };
                    assert_eq!(named.others.len(), least, "{phrase}");
                    assert!(expression.targets.iter().all(|target| !named.others.contains(target)), "{phrase}");
                }
                _ => {}
            }
            *seen.entry(expression.form).or_default() += 1;
        }
    }
    assert!(seen.len() == 9 && seen.values().all(|&count| count > 20), "{seen:?}");
}

#[test]
fn scenes_of_any_colours_name_none_and_come_near_no_forbidden_pair() {
    let size = ImageSize::square(64).unwrap();
    let usual = Scenes::new(SceneConfig::with_size(size), Split::Train, 5).unwrap();
    let any = Scenes::new(SceneConfig { any_colour: 1.0, ..SceneConfig::with_size(size) }, Split::Train, 5).unwrap();
    let (mut phrases, mut apart) = (0, 0);
    for index in 0..200 {
        let (before, scene) = (usual.scene(index), any.scene(index));
        assert_eq!(before.objects.len(), scene.objects.len());
        for (old, new) in before.objects.iter().zip(&scene.objects) {
            assert_eq!((&old.mask, old.shape, old.fill), (&new.mask, new.shape, new.fill), "only colours differ");
            assert!(!HELD_OUT.contains(&(new.colour, new.shape)), "{}: a {} {}", scene.id, new.colour, new.shape);
            let off = new.rgb.iter().zip(new.colour.rgb()).map(|(a, b)| a.abs_diff(b)).max().unwrap();
            apart += u32::from(off > 9);
            for (colour, shape) in HELD_OUT {
                let near = new.rgb.iter().zip(colour.rgb()).all(|(a, b)| a.abs_diff(b) <= 15);
                assert!(!(shape == new.shape && near), "{}: {:?} is nearly {colour}", scene.id, new.rgb);
            }
        }
        for expression in &scene.expressions {
            let lower = expression.phrase.to_lowercase();
            assert!(!Colour::ALL.iter().any(|colour| lower.contains(colour.name())), "{lower}");
            assert_eq!(resolve(&expression.phrase, &scene).as_ref(), Ok(&expression.targets), "{lower}");
            phrases += 1;
        }
    }
    assert!(phrases > 800 && apart > 1000, "{phrases} phrases, {apart} objects of other colours");
    // A share of the scenes; the others are what they were.
    let some = Scenes::new(SceneConfig { any_colour: 0.4, ..SceneConfig::with_size(size) }, Split::Train, 5).unwrap();
    let same = (0..300).filter(|&index| some.scene(index) == usual.scene(index)).count();
    assert!((150..210).contains(&same), "{same} of 300 scenes");
    let bad = SceneConfig { any_colour: 1.5, ..SceneConfig::with_size(size) };
    assert!(matches!(Scenes::new(bad, Split::Train, 5), Err(SceneError::Share { .. })));
}

/// Colours and shapes between "the" and "and": a reading even simpler than the parser's.
fn named_pairs(phrase: &str) -> Vec<(Vec<Colour>, Vec<Shape>)> {
    let is_shape = |word: &str, shape: Shape| {
        let other = match shape {
            Shape::Circle => "disc",
            Shape::Ellipse => "oval",
            Shape::Crescent => "moon",
            Shape::Cross => "plus",
            Shape::Ring => "donut",
            _ => shape.name(),
        };
        word.starts_with(shape.name()) || word.starts_with(other)
    };
    let lower = phrase.to_lowercase().replace('-', " ");
    let words: Vec<&str> = lower.split([' ', '.']).collect();
    let part = |part: &[&str]| {
        let colours = Colour::ALL.into_iter().filter(|colour| part.contains(&colour.name()));
        let shapes = Shape::ALL.into_iter().filter(|&shape| part.iter().any(|word| is_shape(word, shape)));
        (colours.collect(), shapes.collect())
    };
    words.split(|word| ["the", "and"].contains(word)).map(part).collect()
}

#[test]
fn no_phrase_of_training_names_a_held_out_pair() {
    let names = |phrase: &str| {
        named_pairs(phrase).iter().any(|(colours, shapes)| {
            HELD_OUT.iter().any(|(colour, shape)| colours.contains(colour) && shapes.contains(shape))
        })
    };
    assert!(names("the star that is red") && names("Orange discs.") && !names("the red circle and the blue star"));
    for split in [Split::Train, Split::Val] {
        let scenes = world(64, 64, split);
        for expression in (0..600).flat_map(|index| scenes.scene(index).expressions) {
            assert!(!names(&expression.phrase), "{}", expression.phrase);
        }
    }
    let scenes = world(64, 64, Split::Test);
    let test = (0..200).flat_map(|index| scenes.scene(index).expressions);
    let (named, pairs) = test.fold((0, 0), |(named, total), e| (named + u32::from(names(&e.phrase)), total + 1));
    assert!(named * 4 > pairs, "only {named} of {pairs} test phrases name a held-out pair");
}

/// Where circles are spoken of, nothing is orange: or else training could learn that orange things are no circles.
#[test]
fn uncoupled_phrases_are_no_knowledge_about_held_out_pairs() {
    let tells = |phrase: &str, objects: &[SceneObject]| {
        named_pairs(phrase).iter().any(|(colours, shapes)| {
            HELD_OUT.iter().any(|(colour, shape)| {
                let by_shape = colours.is_empty() && shapes.contains(shape);
                let by_colour = shapes.is_empty() && colours.contains(colour);
                objects.iter().any(|o| by_shape && o.colour == *colour || by_colour && o.shape == *shape)
            })
        })
    };
    let count = |split, uncoupled, paired| {
        let size = ImageSize::square(64).unwrap();
        let config = SceneConfig { uncoupled, paired, ..SceneConfig::with_size(size) };
        let scenes = Scenes::new(config, split, 21).unwrap();
        let (mut all, mut shape_alone, mut telling) = (0, 0, 0);
        for scene in (0..400).map(|index| scenes.scene(index)) {
            for expression in &scene.expressions {
                let pairs = named_pairs(&expression.phrase);
                all += 1;
                shape_alone += u32::from(pairs.iter().any(|(c, s)| c.is_empty() && !s.is_empty()));
                telling += u32::from(tells(&expression.phrase, &scene.objects));
            }
        }
        (all, shape_alone, telling)
    };
    for paired in [false, true] {
        let (all, shape_alone, telling) = count(Split::Train, true, paired);
        assert!(all > 1500 && shape_alone * 8 > all && telling == 0, "{all} {shape_alone} {telling}");
        let (all, _, telling) = count(Split::Train, false, paired);
        assert!(telling * 8 > all, "{telling} of {all}: usually there are many");
    }
    assert_eq!(count(Split::Test, true, false), count(Split::Test, false, false), "the test split misses no pair");
}

/// A picture of 100x100 made by hand; every answer below is the author's, not the program's.
#[test]
fn known_phrases_have_known_answers() {
    let size = ImageSize::square(100).unwrap();
    let model = world(100, 100, Split::Train).scene(0).objects[0].clone();
    let object = |shape, colour, size_class, fill, x: f64, y: f64, half: f64| SceneObject {
        shape,
        colour,
        size_class,
        fill,
        bbox: BoxXyxy::new(x - half, y - half, x + half, y + half),
        ..model.clone()
    };
    use {Colour::*, Fill::*, Shape::*, SizeClass::*};
    let objects = [
        object(Circle, Red, Small, Solid, 10.0, 10.0, 6.0),
        object(Circle, Blue, Large, Striped, 50.0, 52.0, 17.0),
        object(Square, Red, Medium, Solid, 85.0, 50.0, 10.0),
        object(Star, Green, Small, Dotted, 15.0, 90.0, 6.0),
        object(Circle, Red, Medium, Outlined, 88.0, 90.0, 10.0),
        object(Star, Yellow, Medium, Solid, 50.0, 15.0, 10.0),
    ];
    let cases: &[(&str, &[usize])] = &[
        ("the square", &[2]),
        ("The small red circle.", &[0]),
        ("disc with stripes", &[1]),
        ("the star that is green", &[3]),
        ("the second circle from the left", &[1]),
        ("circle number three from the left", &[4]),
        ("the fourth circle from left", &[]),
        ("the first circle counting from the bottom", &[4]),
        ("the leftmost star", &[3]),
        ("the circle furthest to the right", &[4]),
        ("the highest of all the stars", &[5]),
        ("the biggest disc", &[1]),
        ("the smallest of the circles", &[0]),
        ("the larger of the two stars", &[5]),
        ("the smaller star", &[3]),
        ("the red circle larger than the green star", &[4]),
        ("the star bigger than the blue circle", &[]),
        ("all things smaller than the red square", &[0, 3]),
        ("the star left of the blue disc", &[3]),
        ("the red shapes to the right of the blue circle", &[2, 4]),
        ("both circles below the yellow star", &[1, 4]),
        ("the square under the yellow star", &[2]),
        ("the blue circle between the small red circle and the medium red circle", &[1]),
        ("the square between the green star and the yellow star", &[]),
        ("the star nearest to the small red circle", &[5]),
        ("all things next to the blue circle", &[2, 5]),
        ("the star beside the red square", &[]),
        ("the red circle in the bottom right corner", &[4]),
        ("in the upper left, the circle", &[0]),
        ("the shape in the middle", &[1]),
        ("all three objects in a corner", &[0, 3, 4]),
        ("the two things at the left", &[0, 3]),
        ("circle that is not red", &[1]),
        ("the non-red circle", &[1]),
        ("all shapes that are neither red nor blue", &[3, 5]),
        ("the red thing other than a circle", &[2]),
        ("every circle that isn't solid", &[1, 4]),
        ("both stars", &[3, 5]),
        ("all hearts", &[]),
        ("the red square and the green star", &[2, 3]),
    ];
    for (phrase, expected) in cases {
        assert_eq!(resolve_among(phrase, size, &objects).as_deref(), Ok(*expected), "{phrase}");
    }
    let miscounted = ["the red circle", "both circles", "all squares", "the larger circle", "the cross and the square"];
    for phrase in miscounted {
        assert!(matches!(resolve_among(phrase, size, &objects), Err(ResolveError::Miscount { .. })), "{phrase}");
    }
    let ambiguous = resolve_among("the star left of the circle", size, &objects).unwrap_err();
    assert_eq!(ambiguous.to_string(), "\"the star left of the circle\" refers to one other object, but 3 fit");
    assert!(matches!(resolve_among("the dog", size, &objects), Err(ResolveError::Parse(_))));
}
