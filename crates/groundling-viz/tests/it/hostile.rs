//! Input that no honest model gives: nothing may panic, and sizes stay bounded.

use groundling_core::{BoxXyxy, GroundTruth, ImageSize, Phrase, PhraseLimits, PredictedTarget, Rle};
use groundling_viz::{
    Cell, Color, ColorMap, Grid, HeatStyle, Mark, Overlay, Painter, PatchStyle, Patches, Sheet, Stroke, Style,
    TextStyle, ValueRange, draw_heat, draw_prediction, draw_truth,
};
use image::RgbImage;
use proptest::prelude::*;

use crate::pictures::{ground, prediction};

const NUMBERS: [f64; 12] =
    [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 1e18, -1e18, 0.0, -0.0, 1e-300, 7.3, 63.9];
const SIZES: [(u32, u32); 6] = [(0, 0), (1, 1), (1, 400), (400, 1), (5, 3), (64, 48)];

fn labels() -> Vec<String> {
    let long = "x".repeat(10_000);
    let words = "the cup ".repeat(1250);
    let odd = ["", " ", "\n\t", "👩‍👩‍👧‍👦🏳️‍🌈", "漢字", "e\u{301}\u{323}\u{327}", "\u{202E}مرحبا", "\u{0}\u{7F}\u{FFFF}"];
    odd.into_iter().map(String::from).chain([long, words]).collect()
}

#[test]
fn every_box_on_every_picture() {
    for (width, height) in SIZES {
        let image = ground(width, height);
        for (index, &a) in NUMBERS.iter().enumerate() {
            for &b in &NUMBERS {
                let c = NUMBERS[(index * 5 + 1) % NUMBERS.len()];
                for bbox in [BoxXyxy::new(a, b, c, 20.0), BoxXyxy::new(0.0, a, b, c), BoxXyxy::new(a, a, b, b)] {
                    let mark = |dashed| Mark {
                        bbox: Some(bbox),
                        mask: None,
                        label: "cup 0.5".into(),
                        color: Color::WHITE,
                        dashed,
                        tint: false,
                    };
                    let overlay = Overlay { marks: vec![mark(true), mark(false)], banners: vec!["not here".into()] };
                    assert_eq!(overlay.draw(&image, &Style::default()).dimensions(), (width, height));
                }
            }
        }
    }
}

#[test]
fn every_label_on_every_picture() {
    for (width, height) in SIZES.into_iter().chain([(640, 480)]) {
        let image = ground(width, height);
        for label in labels() {
            let size = ImageSize::new(height.max(1), width.max(1)).unwrap();
            let target = PredictedTarget {
                score: f64::NAN,
                bbox: BoxXyxy::new(1.0, 1.0, 9.0, 9.0),
                mask: Some(Rle::empty(size)),
                label: Some(label.clone()),
            };
            let mut answer = prediction(size, vec![target; 3]);
            draw_prediction(&image, &answer, &Style::default());
            answer.no_target = true;
            answer.no_target_score = Some(f64::INFINITY);
            let limits = PhraseLimits { max_bytes: usize::MAX, max_words: usize::MAX };
            answer.phrase = Phrase::parse_within(&format!("a{label}"), limits).unwrap();
            draw_prediction(&image, &answer, &Style { candidates_when_absent: true, ..Style::default() });
            draw_truth(&image, &GroundTruth::absent(), Some(&answer.phrase), &Style::default());
        }
    }
}

#[test]
fn every_style() {
    let image = ground(64, 48);
    let size = ImageSize::new(48, 64).unwrap();
    let mask = Rle::from_box(ImageSize::new(7, 900).unwrap(), BoxXyxy::new(0.0, 0.0, 450.0, 7.0)).unwrap();
    let target =
        PredictedTarget { score: 0.5, bbox: BoxXyxy::new(1.0, 1.0, 50.0, 40.0), mask: Some(mask), label: None };
    for scale in NUMBERS {
        let style = Style { line_scale: scale, text_scale: -scale, mask_tint: scale as f32, ..Style::default() };
        let drawn = draw_prediction(&image, &prediction(size, vec![target.clone()]), &style);
        assert_ne!(drawn, image);
        let mut painter = Painter::new(image.clone());
        let halo = Some((Color::BLACK.with_opacity(scale as f32), scale));
        let stroke = Stroke { color: Color::WHITE, thickness: scale, dash: Some(scale), halo };
        painter.frame(BoxXyxy::new(3.0, 3.0, 30.0, 30.0), &stroke);
        painter.line(&[(1.0, 1.0), (scale, 40.0), (60.0, scale)], &stroke);
        painter.circle((scale, 20.0), scale, &stroke);
        painter.disc((20.0, scale), scale, Color::WHITE);
        painter.polygon(&[(scale, 0.0), (0.0, scale), (20.0, 20.0)], Color::WHITE);
        painter.fill_rect(BoxXyxy::new(scale, 0.0, 20.0, scale), Color::WHITE);
        for (x, y) in [(scale, 20.0), (5.0, scale)] {
            painter.text("cup", x, y, &TextStyle { color: Color::WHITE, font_size: 12.0, halo });
            painter.text_upwards("cup", x, y, &TextStyle { color: Color::WHITE, font_size: scale, halo });
        }
    }
}

#[test]
fn every_grid_on_every_picture() {
    for (width, height) in SIZES {
        let image = ground(width, height);
        for values in [[f32::NAN; 6], [f32::MAX, f32::MIN, 0.0, 1.0, f32::INFINITY, f32::NAN], [3.0; 6], [0.0; 6]] {
            let grid = Grid::new(2, 3, values.to_vec()).unwrap();
            for colors in [ColorMap::Viridis, ColorMap::Diverging] {
                for range in [None, ValueRange::new(-1.0, f32::MAX), ValueRange::new(0.0, 1e-40)] {
                    draw_heat(&image, &grid, &HeatStyle { colors, range, ..HeatStyle::default() });
                }
            }
            for side in [1, 4, 16, u32::MAX] {
                let patches = Patches::new(side, Grid::new(2, 3, vec![true, false, true, true, false, false]).unwrap());
                let patches = patches.unwrap().with_values(grid.clone()).unwrap();
                let style = PatchStyle { dimming: values[0], heat: values[1], ..PatchStyle::default() };
                assert_eq!(patches.draw(&image, &style).dimensions(), (width, height));
            }
        }
    }
}

#[test]
fn sheets_of_odd_cells() {
    for font_size in [f64::NAN, 0.0, 14.0, 1e9] {
        let sheet = Sheet {
            title: "😀".repeat(1000),
            columns: 3,
            cell_width: 50,
            cell_height: 9,
            font_size,
            ..Sheet::default()
        };
        let cells: Vec<Cell> =
            SIZES.iter().map(|&(w, h)| Cell { image: RgbImage::new(w, h), captions: labels() }).collect();
        if let Ok(drawn) = sheet.draw(&cells) {
            assert!(u64::from(drawn.width()) * u64::from(drawn.height()) <= groundling_viz::sheet::MAX_SHEET_PIXELS);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: proptest::test_runner::RngSeed::Fixed(11), ..ProptestConfig::default() })]

    #[test]
    fn any_text_anywhere(text in "\\PC{0,40}", x in -500.0..500.0f64, y in -500.0..500.0f64, size in 0.0..90.0f64, seam in 0.0..9.0f64) {
        let style = TextStyle { color: Color::WHITE, font_size: size, halo: Some((Color::BLACK, seam)) };
        let mut painter = Painter::blank(90, 70, Color::BLACK);
        painter.text(&text, x, y, &style);
        painter.text_upwards(&text, x, y, &style);
    }

    #[test]
    fn any_line_anywhere(points in proptest::collection::vec((-2e3..2e3f64, -2e3..2e3f64), 0..12), thickness in 0.0..60.0f64, dash in proptest::option::of(0.0..20.0f64)) {
        let mut painter = Painter::blank(90, 70, Color::BLACK);
        painter.line(&points, &Stroke { dash, ..Stroke::solid(Color::WHITE, thickness) });
        painter.polygon(&points, Color::WHITE.with_opacity(0.3));
    }
}
