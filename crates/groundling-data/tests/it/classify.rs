//! Pictures for classifiers, beside Pillow's.

use groundling_core::ImageSize;
use groundling_data::image::classify::{
    Change, Mixing, RandAugment, RandomErasing, RandomResizedCrop, normalised, scored,
};
use groundling_data::image::resize::Filter;
use groundling_data::rng::Rng;
use groundling_testkit::fixtures;
use image::{Rgb, RgbImage};
use serde::Deserialize;

#[derive(Deserialize)]
struct Changes {
    height: u32,
    width: u32,
    image: Vec<u8>,
    fill: [u8; 3],
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    change: String,
    argument: f64,
    filter: String,
    pixels: Vec<u8>,
}

#[test]
fn every_change_is_pillows_to_the_byte() {
    let bytes = std::fs::read(fixtures().join("pillow/changes.json")).unwrap();
    let changes: Changes = serde_json::from_slice(&bytes).unwrap();
    let image = RgbImage::from_raw(changes.width, changes.height, changes.image).unwrap();
    assert!(changes.cases.len() >= 60, "{}", changes.cases.len());
    let mut wrong = Vec::new();
    for case in changes.cases {
        let x = case.argument;
        let change = match case.change.as_str() {
            "auto_contrast" => Change::AutoContrast,
            "equalize" => Change::Equalize,
            "invert" => Change::Invert,
            "posterize" => Change::Posterize(x as u8),
            "solarize" => Change::Solarize(x as u16),
            "solarize_add" => Change::SolarizeAdd(x as u8),
            "colour" => Change::Colour(x as f32),
            "contrast" => Change::Contrast(x as f32),
            "brightness" => Change::Brightness(x as f32),
            "sharpness" => Change::Sharpness(x as f32),
            "rotate" => Change::Rotate(x),
            "shear_x" => Change::ShearX(x),
            "shear_y" => Change::ShearY(x),
            "translate_x" => Change::TranslateX(x),
            "translate_y" => Change::TranslateY(x),
            other => panic!("unknown change {other}"),
        };
        let filter = match case.filter.as_str() {
            "bilinear" => Filter::Bilinear,
            "bicubic" => Filter::Bicubic,
            "nearest" => Filter::Nearest,
            other => panic!("unknown filter {other}"),
        };
        let found = change.apply(&image, filter, changes.fill).into_raw();
        let off: Vec<i16> = found.iter().zip(&case.pixels).map(|(a, b)| i16::from(*a) - i16::from(*b)).collect();
        let most = off.iter().map(|value| value.abs()).max().unwrap();
        if most > 0 {
            let count = off.iter().filter(|value| **value != 0).count();
            wrong.push(format!("{change:?} {filter:?}: {count} of {} values, most {most}", off.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn gradient(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x * 5) as u8, (y * 7) as u8, (x + y) as u8]))
}

#[test]
fn the_published_changes_keep_the_size_and_repeat_for_a_seed() {
    let image = gradient(40, 30);
    let make = |seed| RandAugment::PUBLISHED.apply(image.clone(), &mut Rng::new(seed));
    let all: Vec<RgbImage> = (0..60).map(make).collect();
    assert!(all.iter().all(|changed| changed.dimensions() == (40, 30)));
    assert_eq!(make(7), all[7]);
    let untouched = all.iter().filter(|changed| **changed == image).count();
    // Both draws rest in a quarter of the pictures.
    assert!((5..30).contains(&untouched), "{untouched}");
}

#[test]
fn crops_lie_inside_and_have_the_wanted_shapes() {
    let crop = RandomResizedCrop::for_side(24);
    let mut rng = Rng::new(2);
    for (width, height) in [(100, 80), (31, 97), (4000, 40), (1, 1), (7, 500)] {
        let size = ImageSize::new(height, width).unwrap();
        for _ in 0..200 {
            let [left, top, w, h] = crop.draw(size, &mut rng);
            assert!(w >= 1 && h >= 1 && left + w <= width && top + h <= height);
            let (area, aspect) = (f64::from(w * h) / f64::from(width * height), f64::from(w) / f64::from(h));
            if (width, height) == (100, 80) {
                assert!(area > 0.07 && area <= 1.0 && (0.7..1.4).contains(&aspect), "{area} {aspect}");
            }
        }
    }
    assert_eq!(crop.apply(&gradient(50, 20), &mut rng).dimensions(), (24, 24));
    // Scored: 224 of 256, as torchvision cuts.
    for (width, height) in [(640, 480), (1, 1), (31, 97), (4000, 40)] {
        assert_eq!(scored(&gradient(width, height), 28).dimensions(), (28, 28));
    }
    let middle = scored(&gradient(32, 32), 28);
    assert_eq!(*middle.get_pixel(0, 0), *gradient(32, 32).get_pixel(2, 2));
}

#[test]
fn erasing_and_mixing() {
    let (height, width) = (12, 10);
    let mut erased = 0;
    for seed in 0..400 {
        let mut pixels = vec![9.0f32; 3 * height * width];
        RandomErasing::PUBLISHED.apply(&mut pixels, height, width, &mut Rng::new(seed));
        let changed = pixels.iter().filter(|value| **value != 9.0).count();
        assert!(changed % 3 == 0 && changed <= 3 * height * width / 2);
        erased += usize::from(changed > 0);
    }
    assert!((60..140).contains(&erased), "{erased}");

    let one = 3 * height * width;
    let batch: Vec<f32> = (0..4).flat_map(|index| vec![index as f32; one]).collect();
    let mut mixed = batch.clone();
    Mixing::Mixup(0.75).apply(&mut mixed, height, width);
    assert_eq!([0, 1, 2, 3].map(|index| mixed[index * one]), [0.75, 1.25, 1.75, 2.25]);
    let mut cut = batch.clone();
    let mixing = Mixing::Cutmix { part: [2, 3, 4, 6], share: 0.8 };
    mixing.apply(&mut cut, height, width);
    assert_eq!(cut[..one].iter().filter(|value| **value == 3.0).count(), 3 * 24);
    assert_eq!(cut[3 * width + 2], 3.0);
    assert_eq!(cut[3 * width + 1], 0.0);
    let mut alone = batch.clone();
    Mixing::Alone.apply(&mut alone, height, width);
    assert_eq!(alone, batch);
    let targets = mixing.targets(&[0, 1, 1, 2], 4, 0.1);
    let expected = [0.9 * 0.8 + 0.025, 0.025, 0.9 * 0.2 + 0.025, 0.025];
    assert!(targets[..4].iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{targets:?}");
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let mixing = Mixing::draw(height, width, &mut rng);
        assert!((0.0..=1.0).contains(&mixing.share()));
        if let Mixing::Cutmix { part: [left, top, w, h], share } = mixing {
            assert!(left + w <= width && top + h <= height);
            assert!((share - (1.0 - (w * h) as f64 / 120.0)).abs() < 1e-9);
        }
        let targets = mixing.targets(&[0, 1], 3, 0.1);
        assert!((targets.iter().sum::<f32>() - 2.0).abs() < 1e-5);
        let mut pixels = batch[..2 * one].to_vec();
        mixing.apply(&mut pixels, height, width);
    }
}

#[test]
fn odd_pictures_become_squares() {
    for (width, height) in [(1, 1), (31, 97), (4000, 40), (40, 4000), (16_384, 1)] {
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([(x % 251) as u8, (y % 251) as u8, 9]));
        let square = scored(&image, 64);
        assert_eq!(square.dimensions(), (64, 64), "{width} x {height}");
        assert_eq!(square.get_pixel(32, 32).0[2], 9);
        let pixels = normalised(&square);
        assert_eq!(pixels.len(), 3 * 64 * 64);
        assert!((pixels[2 * 64 * 64] - (9.0 / 255.0 - 0.406) / 0.225).abs() < 1e-5, "the last channel");
    }
    // A strip is cut to its middle first: what is scored is where it was.
    let half = RgbImage::from_fn(3000, 30, |x, _| Rgb([if x < 1500 { 0 } else { 255 }; 3]));
    let square = scored(&half, 32);
    assert!(square.get_pixel(12, 16).0[0] < 20 && square.get_pixel(20, 16).0[0] > 235);
}
