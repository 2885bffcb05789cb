//! How long an overlay takes: `cargo bench -p groundling-viz`.
#![allow(clippy::print_stdout)] // a benchmark prints

use std::hint::black_box;
use std::time::Instant;

use groundling_core::{BoxXyxy, ImageSize, ModelIdentity, Phrase, PredictedTarget, Prediction, Rle};
use groundling_viz::{Chart, Grid, HeatStyle, Plot, Series, Style, XyPlot, draw_heat, draw_prediction};
use image::{Rgb, RgbImage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let size = ImageSize::new(480, 640)?;
    let image = RgbImage::from_fn(640, 480, |x, y| Rgb([x as u8, y as u8, 99]));
    let mut targets = Vec::new();
    for index in 0..10 {
        let (x, y) = (20.0 + 40.0 * f64::from(index), 30.0 + 20.0 * f64::from(index));
        let bbox = BoxXyxy::new(x, y, x + 200.0, y + 160.0);
        let diamond = [x + 100.0, y, x + 200.0, y + 80.0, x + 100.0, y + 160.0, x, y + 80.0];
        let mask = Some(Rle::from_polygon(size, &diamond)?);
        targets.push(PredictedTarget { score: 0.5, bbox, mask, label: Some("a yellow cup".into()) });
    }
    let prediction = Prediction {
        phrase: Phrase::parse("the yellow cup")?,
        image_size: size,
        targets,
        no_target: false,
        no_target_score: None,
        model: ModelIdentity { name: "bench".into(), hash: String::new() },
    };
    let style = Style::default();
    time("10 boxes, masks and labels on 640x480", || draw_prediction(&image, &prediction, &style));
    let boxes = Style { masks: false, ..style.clone() };
    time("10 boxes and labels on 640x480", || draw_prediction(&image, &prediction, &boxes));
    let grid = Grid::new(15, 20, (0..300).map(|i| (i as f32 * 0.37).sin()).collect())?;
    time("heat of 15x20 cells on 640x480", || draw_heat(&image, &grid, &HeatStyle::default()));
    let points = (0..1000).map(|i| (f64::from(i), (f64::from(i) * 0.05).sin())).collect();
    let chart = Chart::new("x", Plot::Xy(XyPlot { series: vec![Series::line("a", points)], ..XyPlot::default() }));
    time("line chart of 1000 points, 640x400 at scale 2", || chart.to_png(2.0));
    Ok(())
}

/// Prints the median of 50 runs.
fn time<T>(what: &str, mut run: impl FnMut() -> T) {
    let mut millis: Vec<f64> = (0..50)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    millis.sort_by(f64::total_cmp);
    println!("{what}: {:.2} ms (median of 50, fastest {:.2})", millis[25], millis[0]);
}
