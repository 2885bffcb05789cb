//! What the model is shown.

use std::sync::Arc;

use burn::tensor::Device;
use groundling_models::contract::System;
use groundling_train::batches::Batches;
use groundling_train::phrases::{Phrases, to_device};
use groundling_train::sample::HostSample;

use crate::toy::{Config, Toy, recipe};

fn open(overrides: &[&str]) -> Arc<Batches<Phrases<Toy>>> {
    Arc::new(Batches::open(&recipe(overrides), &Config { side: 32, max_ids: 12 }).unwrap())
}

fn ids(samples: &[HostSample]) -> Vec<String> {
    samples.iter().map(|sample| sample.id.clone()).collect()
}

#[test]
fn a_batch_depends_on_nothing_but_its_number() {
    let batches = open(&[]);
    let alone: Vec<_> = [3, 0, 2, 1].map(|pass| batches.batch(pass).unwrap()).into();
    for workers in [1, 2, 3] {
        let mut stream = batches.stream(1, workers);
        for expected in [&alone[3], &alone[2], &alone[0]] {
            assert_eq!(&stream.next().unwrap().unwrap(), expected, "{workers} workers");
        }
    }
    assert!(batches.stream(20, 2).next().is_none(), "the run has 20 steps");
    assert_ne!(alone[0], alone[1]);
    let other = open(&["schedule.seed=2"]);
    assert_ne!(other.batch(0).unwrap(), alone[1], "another seed, other phrases and places");
}

#[test]
fn phrases_of_a_picture_stand_together() {
    let ids = ids(&open(&[]).batch(0).unwrap());
    let pictures: Vec<&str> = ids.iter().map(|id| id.rsplit_once('-').unwrap().0).collect();
    assert_eq!(pictures[..3], ["scenes-train-7-000000"; 3]);
    assert_eq!(pictures[3..], ["scenes-train-7-000001"; 3]);
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), 6, "no phrase twice: {ids:?}");
}

#[test]
fn pictures_turn_grey_where_no_colour_is_named() {
    let still = ["augmentation.mirror=0", "augmentation.jitter=0", "augmentation.placement=fixed", "schedule.batch=60"];
    let batch = |grey: &str| open(&[&still[..], &[grey]].concat()).batch(0).unwrap();
    let (plain, grey) = (batch("augmentation.grey=0"), batch("augmentation.grey=1"));
    let colourless = |sample: &HostSample| {
        let (red, rest) = sample.pixels.split_at(sample.pixels.len() / 3);
        let (green, blue) = rest.split_at(red.len());
        red.iter().zip(green).zip(blue).all(|((r, g), b)| (r - g).abs() < 1e-5 && (g - b).abs() < 1e-5)
    };
    let changed: Vec<bool> = plain.iter().zip(&grey).map(|(one, two)| one.pixels != two.pixels).collect();
    for ((sample, before), changed) in grey.iter().zip(&plain).zip(&changed) {
        assert_eq!((&sample.id, &sample.ids), (&before.id, &before.ids));
        assert!(!colourless(before) && colourless(sample) == *changed, "{}", sample.id);
    }
    let share = changed.iter().filter(|changed| **changed).count();
    assert!((10..50).contains(&share), "{share} of 60 phrases name no colour");
}

#[test]
fn pairs_and_shares_reach_the_generator() {
    let overrides = [
        "data.0.paired=true",
        "data.0.any_colour=0.25",
        "data.0.uncoupled=true",
        "data.0.phrases=[2, 2]",
        "data.0.shares={ one = 0.4, zero = 0.6 }",
    ];
    let config = recipe(&[&overrides[..], &["data.0.targets=[\"one\", \"zero\"]"]].concat()).data[0].scenes(None);
    assert!(
        config.paired
            && config.any_colour == 0.25
            && config.uncoupled
            && (config.shares.one, config.shares.many, config.shares.zero) == (0.4, 0.0, 0.6)
    );
    // What is not wanted is not made.
    let only = recipe(&overrides).data[0].scenes(None);
    assert_eq!((only.shares.one, only.shares.zero), (0.4, 0.0));
}

#[test]
fn boxes_stay_on_the_canvas_and_follow_the_picture() {
    let batches = open(&["augmentation.kind=grounder", "schedule.batch=40"]);
    let mut contents = std::collections::BTreeSet::new();
    for sample in batches.batch(0).unwrap() {
        let bbox = sample.truth.bbox.unwrap().to_xyxy();
        let content = sample.content;
        contents.insert((content.top, content.left, content.height, content.width));
        let inside = |low: f64, high: f64, start: u32, length: u32| {
            let (start, end) = (f64::from(start) / 32.0, f64::from(start + length) / 32.0);
            // The recipe scales boxes by one ratio and rounds the sides of the picture: up to half a pixel.
            let rounding = 0.5 / 32.0;
            low >= start - rounding && high <= end + rounding && high > low
        };
        assert!(inside(bbox.x0, bbox.x1, content.left, content.width), "{bbox:?} {content:?}");
        assert!(inside(bbox.y0, bbox.y1, content.top, content.height), "{bbox:?} {content:?}");
        assert_eq!(sample.truth.objects.iter().filter(|object| object.is_target).count(), 1);
        let target = sample.truth.objects.iter().find(|object| object.is_target).unwrap();
        assert_eq!(target.bbox, sample.truth.bbox.unwrap());
        assert!(target.class.is_some());
        // Outside the content there is nothing.
        for (index, value) in sample.pixels.iter().take(32 * 32).enumerate() {
            let (row, column) = ((index / 32) as u32, (index % 32) as u32);
            let rows = content.top..content.top + content.height;
            if !(rows.contains(&row) && (content.left..content.left + content.width).contains(&column)) {
                assert_eq!(*value, 0.0);
            }
        }
    }
    assert!(contents.len() > 10, "sizes and places vary: {contents:?}");
}

#[test]
fn phrases_are_padded_to_the_longest_of_the_batch() {
    let host = open(&[]).batch(5).unwrap();
    let (batch, truths) = to_device(&host, 32, &Device::flex());
    let lengths: Vec<usize> = host.iter().map(|sample| sample.ids.len()).collect();
    assert_eq!(batch.canvases.dims(), [6, 3, 32, 32]);
    assert_eq!(batch.ids.dims(), [6, *lengths.iter().max().unwrap()]);
    assert_eq!((batch.lengths.clone(), truths.len()), (lengths.clone(), 6));
    assert!(lengths.iter().all(|&length| (3..=12).contains(&length)), "{lengths:?}");
    let ids: Vec<i64> = batch.ids.into_data().iter::<i64>().collect();
    for (row, sample) in ids.chunks(ids.len() / 6).zip(&host) {
        assert_eq!((row[0], row[sample.ids.len() - 1]), (101, 102));
        assert!(row[sample.ids.len()..].iter().all(|&id| id == 0));
    }
}

#[test]
fn neighbours_with_one_canvas_are_known() {
    let mut host = open(&[]).batch(5).unwrap();
    for (sample, value) in host.iter_mut().zip([1.0, 1.0, 2.0, 2.0, 2.0, 1.0]) {
        sample.pixels.fill(value);
    }
    let same = |host: &[_]| to_device(host, 32, &Device::flex()).0.same_canvas;
    // The last is as the first, but not beside it.
    assert_eq!(same(&host), [0, 0, 2, 2, 2, 5]);
    host[3].pixels[7] += 1.0;
    assert_eq!(same(&host), [0, 0, 2, 3, 4, 5]);
}

#[test]
fn stages_choose_the_kinds_of_phrases() {
    let mut recipe = recipe(&["schedule.batch=12"]);
    let stage = "until = 0.5\nkinds = { attributes = 1 }";
    recipe.stage.push(toml::from_str(stage).unwrap());
    recipe.data[0].kinds = Some(toml::from_str("relation = 1").unwrap());
    let batches = Batches::<Phrases<Toy>>::open(&recipe, &Config { side: 32, max_ids: 30 }).unwrap();
    let words = groundling_data::text::wordpiece::WordPiece::bert_base_uncased();
    let says = |pass: u64, word: &str| -> usize {
        let id = words.encode(word).ids[1];
        batches.batch(pass).unwrap().iter().filter(|sample| sample.ids.contains(&id)).count()
    };
    let places = |pass| ["of", "above", "below", "under", "over"].iter().map(|word| says(pass, word)).sum::<usize>();
    assert_eq!(places(9), 0, "the last step of the first stage: attributes only");
    assert!(places(10) >= 9, "then relations only: {}", places(10));
}

#[test]
fn masks_and_erased_phrases_come_where_they_are_wanted() {
    let recipe = recipe(&["schedule.batch=12"]);
    let mut input = Toy::input(&Config { side: 32, max_ids: 20 });
    let open = |input, masks| {
        let task = Phrases::<Toy>::open_with(&recipe, input, masks).unwrap();
        Batches::of(task, &recipe).unwrap().batch(0).unwrap()
    };
    let plain = open(input, false);
    assert!(plain.iter().all(|sample| sample.erased.is_none() && sample.truth.mask.is_none()));
    assert!(to_device(&plain, 32, &Device::flex()).0.erased.is_none());
    for fit in [input.fit, groundling_models::contract::Fit::Square] {
        input.fit = fit;
        let batch = open(input, true);
        let mut holes = 0;
        for sample in &batch {
            let (mask, bbox) = (sample.truth.mask.as_ref().unwrap(), sample.truth.bbox.unwrap().to_xyxy());
            assert_eq!((mask.size().height(), mask.size().width()), (32, 32));
            let found = mask.bbox().unwrap();
            // The mask lies in the box, but for the rounding of one pixel.
            let near = |a: f64, b: f64| (a - 32.0 * b).abs() < 1.6;
            let sides = [(found.x0, bbox.x0), (found.y0, bbox.y0), (found.x1, bbox.x1), (found.y1, bbox.y1)];
            assert!(sides.into_iter().all(|(a, b)| near(a, b)), "{fit:?}: {found:?} {bbox:?}");
            let erased = sample.erased.as_ref().unwrap();
            assert_eq!(erased.len(), sample.ids.len());
            assert!(erased.iter().zip(&sample.ids).all(|(hole, id)| hole == id || *hole == 0));
            holes += usize::from(erased != &sample.ids);
        }
        assert!(holes >= 9, "phrases about things have nouns: {holes}");
        let (batch, _) = to_device(&batch, 32, &Device::flex());
        assert_eq!(batch.erased.unwrap().dims(), batch.ids.dims());
    }
}
