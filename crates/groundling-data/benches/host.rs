//! Time of what every sample pays before a model sees it. `cargo bench -p groundling-data --bench host`.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // a program for people

use std::hint::black_box;
use std::time::Instant;

use groundling_core::{BinaryMask, ImageSize, Rle};
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_bytes};
use groundling_data::image::preprocess::Preprocessor;
use groundling_data::image::resize::{Filter, resize};
use groundling_data::text::wordpiece::WordPiece;
use image::RgbImage;

/// Median milliseconds of a run.
fn median_ms(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..25)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let photo = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/photos/coffee.jpg")).unwrap();
    let decode = || decode_bytes(&photo, ImageLimits::default(), ExifOrientation::Ignore).unwrap();
    let image = RgbImage::from_fn(640, 480, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    let side = |side| ImageSize::square(side).unwrap();
    let mask = BinaryMask::from_fn(ImageSize::new(480, 640).unwrap(), |row, column| (row / 9 + column / 7) % 3 == 0);
    let code = Rle::from_mask(&mask);
    let outline: Vec<f64> = (0..80)
        .flat_map(|i| {
            let angle = f64::from(i) / 80.0 * std::f64::consts::TAU;
            let radius = 150.0 + 40.0 * (5.0 * angle).sin();
            [320.0 + radius * angle.cos(), 240.0 + radius * angle.sin()]
        })
        .collect();
    let words = WordPiece::bert_base_uncased();
    let phrase = "the person who is standing behind the other person and holding a blue and white striped umbrella";

    println!("{:<52} {:>9}", "what", "ms");
    let row = |what: &str, ms: f64| println!("{what:<52} {ms:>9.3}");
    row("decode a 600x400 JPEG", median_ms(|| drop(black_box(decode()))));
    row("bilinear 640x480 to 480x480", median_ms(|| drop(black_box(resize(&image, side(480), Filter::Bilinear)))));
    row("bicubic 640x480 to 384x384", median_ms(|| drop(black_box(resize(&image, side(384), Filter::Bicubic)))));
    row("DMMI input of 640x480", median_ms(|| drop(black_box(Preprocessor::dmmi(480).prepare(&image).unwrap()))));
    row("ScanFormer input of 640x480", {
        median_ms(|| drop(black_box(Preprocessor::scanformer(640).prepare(&image).unwrap())))
    });
    row(
        &format!("encode a 640x480 mask of {} runs", code.counts().len()),
        median_ms(|| drop(black_box(Rle::from_mask(&mask)))),
    );
    row("decode it", median_ms(|| drop(black_box(code.to_mask()))));
    row("intersection of two such codes", {
        median_ms(|| {
            black_box(code.intersection(&code).unwrap());
        })
    });
    row("draw a polygon of 80 corners", {
        median_ms(|| drop(black_box(Rle::from_polygon(mask.size(), &outline).unwrap())))
    });
    row("1000 phrases of 17 words to ids", {
        median_ms(|| (0..1000).for_each(|_| drop(black_box(words.encode(black_box(phrase))))))
    });
}
