//! What overlays change, and what they leave alone.

use groundling_core::{
    BinaryMask, BoxXyxy, GroundTruth, ImageSize, ModelIdentity, Phrase, Pixels, PredictedTarget, Prediction, Rle,
};
use groundling_viz::{
    Cell, Color, Mark, Overlay, Painter, Sheet, SheetError, Style, TextStyle, draw_comparison, draw_prediction,
    draw_truth, font,
};
use image::{Rgb, RgbImage};
use proptest::prelude::*;

pub(crate) fn ground(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| Rgb([(x % 200) as u8, (y % 200) as u8, 128]))
}

pub(crate) fn prediction(size: ImageSize, targets: Vec<PredictedTarget>) -> Prediction {
    Prediction {
        phrase: Phrase::parse("the cup").unwrap(),
        image_size: size,
        targets,
        no_target: false,
        no_target_score: None,
        model: ModelIdentity { name: "none".into(), hash: String::new() },
    }
}

fn changed<'a>(before: &'a RgbImage, after: &'a RgbImage) -> impl Iterator<Item = (f64, f64)> + 'a {
    assert_eq!(before.dimensions(), after.dimensions());
    let centres = before.enumerate_pixels().zip(after.pixels()).filter(|((_, _, a), b)| a != b);
    centres.map(|((x, y, _), _)| (f64::from(x) + 0.5, f64::from(y) + 0.5))
}

/// Distance of a point to the border of a box.
fn distance_to_edges(bbox: BoxXyxy<Pixels>, (x, y): (f64, f64)) -> f64 {
    let outside = (bbox.x0 - x).max(x - bbox.x1).max(0.0).hypot((bbox.y0 - y).max(y - bbox.y1).max(0.0));
    let inside = (x - bbox.x0).min(bbox.x1 - x).min(y - bbox.y0).min(bbox.y1 - y);
    if outside > 0.0 { outside } else { inside }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: proptest::test_runner::RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn a_box_changes_pixels_near_its_edges_only(x in 0.0..250.0f64, y in 0.0..180.0f64, w in 0.0..60.0f64, h in 0.0..50.0f64, dashed: bool) {
        let bbox = BoxXyxy::new(x, y, x + w, y + h);
        let image = ground(320, 240);
        let mark = Mark { bbox: Some(bbox), mask: None, label: String::new(), color: Color::WHITE, dashed, tint: true };
        let drawn = Overlay { marks: vec![mark], banners: vec![] }.draw(&image, &Style::default());
        let touched: Vec<_> = changed(&image, &drawn).collect();
        // Lines are 1 pixel thick at this size, snapped by up to half a pixel, with a seam of 1 pixel on both sides.
        for &point in &touched {
            prop_assert!(distance_to_edges(bbox, point) <= 3.5, "{point:?} of {bbox:?}");
        }
        let corner_near = touched.iter().any(|(px, py)| (px - x).hypot(py - y) < 4.0);
        prop_assert!(corner_near, "nothing was drawn at the first corner of {bbox:?}");
    }

    #[test]
    fn a_mask_changes_its_pixels_and_a_seam_only(cx in 0u32..100, cy in 0u32..80, radius in 0u32..40) {
        let size = ImageSize::new(80, 100).unwrap();
        let mask = BinaryMask::from_fn(size, |row, column| row.abs_diff(cy).pow(2) + column.abs_diff(cx).pow(2) <= radius * radius);
        let image = ground(100, 80);
        let mark = Mark { bbox: None, mask: Some(Rle::from_mask(&mask)), label: String::new(), color: Color::of_mark(0), dashed: false, tint: true };
        let drawn = Overlay { marks: vec![mark], banners: vec![] }.draw(&image, &Style::default());
        let near = |x: f64, y: f64| {
            let (row, column) = (y as i64, x as i64);
            (row - 1..=row + 1).flat_map(|r| (column - 1..=column + 1).map(move |c| (r, c))).any(|(r, c)| {
                r >= 0 && c >= 0 && mask.get(r as u32, c as u32)
            })
        };
        let touched: Vec<_> = changed(&image, &drawn).collect();
        prop_assert!(touched.iter().all(|&(x, y)| near(x, y)));
        prop_assert!(touched.len() as u64 >= mask.area() * 9 / 10, "{} of {}", touched.len(), mask.area());
    }

    #[test]
    fn ink_stays_in_the_measured_box(text in "[ -~À-ſΑ-ωА-я]{0,24}", font_size in 6.0..40.0f64) {
        let mut painter = Painter::blank(1200, 120, Color::WHITE);
        let style = TextStyle { color: Color::BLACK, font_size, halo: None };
        let bbox = painter.text(&text, 60.3, 60.7, &style);
        prop_assert!((bbox.width() - font::measure(&text, font_size).width).abs() < 1e-9);
        // Letters like j reach past their advance, stacked accents past the ascent, by up to a seventh of an em.
        let room = 1.0 + font_size / 7.0;
        for (x, y) in changed(&RgbImage::from_pixel(1200, 120, Rgb([255; 3])), painter.image()) {
            let inside = x > bbox.x0 - room && x < bbox.x1 + room && y > bbox.y0 - room && y < bbox.y1 + room;
            prop_assert!(inside, "{text:?}: ({x}, {y}) is outside {bbox:?}");
        }
    }

    #[test]
    fn labels_stay_inside_and_apart_from_masks_of_others(x in -300.0..600.0f64, y in -300.0..600.0f64, side in 1.0..300.0f64) {
        // A label has the mark's pure colour; painting over a black picture shows where it is.
        let image = RgbImage::new(320, 240);
        let target = PredictedTarget { score: 0.5, bbox: BoxXyxy::new(x, y, x + side, y + side), mask: None, label: None };
        let answer = prediction(ImageSize::new(240, 320).unwrap(), vec![target]);
        let with = draw_prediction(&image, &answer, &Style::default());
        let without = draw_prediction(&image, &answer, &Style { labels: false, ..Style::default() });
        let plate = changed(&without, &with).count();
        let visible = x <= 320.0 && y <= 240.0 && x + side >= 0.0 && y + side >= 0.0;
        // The plate of "the cup 0.50" at 9 pixels an em is about 60 x 13; parts may fall on the box's own line.
        prop_assert!(if visible { plate > 500 } else { plate == 0 }, "{plate} pixels for a box at {x}, {y}");
    }
}

#[test]
fn absent_answers_carry_a_banner_and_no_box() {
    let image = ground(320, 240);
    let target = PredictedTarget { score: 0.2, bbox: BoxXyxy::new(50.0, 100.0, 150.0, 200.0), mask: None, label: None };
    let mut answer = prediction(ImageSize::new(240, 320).unwrap(), vec![target]);
    answer.no_target = true;
    let drawn = draw_prediction(&image, &answer, &Style::default());
    assert!(changed(&image, &drawn).count() > 320 * 5);
    assert!(changed(&image, &drawn).all(|(_, y)| y < 30.0), "only the banner at the top");
    let both = draw_prediction(&image, &answer, &Style { candidates_when_absent: true, ..Style::default() });
    assert!(changed(&image, &both).any(|(_, y)| y > 150.0));
    let truth = draw_truth(&image, &GroundTruth::absent(), Some(&answer.phrase), &Style::default());
    assert!(changed(&image, &truth).count() > 320 * 5);
}

#[test]
fn a_thumbnail_shows_the_same_answer() {
    let full = ImageSize::new(480, 640).unwrap();
    let mask = Rle::from_box(full, BoxXyxy::new(320.0, 240.0, 640.0, 480.0)).unwrap();
    let bbox = BoxXyxy::new(320.0, 240.0, 640.0, 480.0);
    let answer = prediction(full, vec![PredictedTarget { score: 0.9, bbox, mask: Some(mask), label: None }]);
    let image = ground(160, 120);
    let drawn = draw_prediction(&image, &answer, &Style { labels: false, ..Style::default() });
    assert!(changed(&image, &drawn).all(|(x, y)| x > 77.0 && y > 57.0));
    assert!(changed(&image, &drawn).count() >= 80 * 60);
}

#[test]
fn truth_is_dashed_and_answers_are_solid() {
    let image = RgbImage::new(320, 240);
    let size = ImageSize::new(240, 320).unwrap();
    let bbox = BoxXyxy::new(40.0, 60.0, 280.0, 200.0);
    let answer = prediction(size, vec![PredictedTarget { score: 0.9, bbox, mask: None, label: None }]);
    let target = groundling_core::truth::TrueTarget { bbox, mask: None, category_id: None };
    let truth = GroundTruth { targets: vec![target], merged_mask: None };
    let style = Style { labels: false, ..Style::default() };
    let (solid, dashed) = (draw_prediction(&image, &answer, &style), draw_truth(&image, &truth, None, &style));
    let along = |drawn: &RgbImage| (45..275).filter(|&x| (197..203).any(|y| drawn.get_pixel(x, y).0[0] > 100)).count();
    assert_eq!(along(&solid), 230);
    assert!((90..=170).contains(&along(&dashed)), "{}", along(&dashed));
    let both = draw_comparison(&image, &truth, &answer, &style);
    assert_eq!(along(&both), 230);
}

#[test]
fn sheets_hold_every_cell_and_refuse_senseless_sizes() {
    let colors = [[250, 0, 0], [0, 250, 0], [0, 0, 250], [250, 250, 0], [0, 250, 250]];
    let cell = |color| Cell {
        image: RgbImage::from_pixel(40, 30, Rgb(color)),
        captions: vec!["a caption".into(), String::new()],
    };
    let cells: Vec<Cell> = colors.into_iter().map(cell).collect();
    let sheet = Sheet { title: "Five".into(), columns: 2, cell_width: 80, cell_height: 80, ..Sheet::default() };
    let drawn = sheet.draw(&cells).unwrap();
    for color in colors {
        assert_eq!(drawn.pixels().filter(|pixel| pixel.0 == color).count(), 80 * 60, "doubled to fit 80 x 80");
    }
    assert!(matches!(Sheet { columns: 0, ..sheet.clone() }.draw(&cells), Err(SheetError::Empty { columns: 0, .. })));
    let huge = Sheet { cell_width: 20_000, ..sheet.clone() };
    assert!(matches!(huge.draw(&cells), Err(SheetError::TooLarge { .. })));
    assert!(sheet.draw(&[]).unwrap().pixels().any(|pixel| pixel.0[0] < 100), "says that there are no pictures");
}
