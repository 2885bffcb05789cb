//! Renders one of everything: `cargo run --example gallery -p groundling-viz -- <folder> [photo ...]`.
//!
//! Photos are optional; without them the pictures are drawn on a made-up scene.

use std::error::Error;
use std::path::{Path, PathBuf};

use groundling_core::{
    BoxXyxy, GroundTruth, ImageSize, ModelIdentity, Phrase, PredictedTarget, Prediction, Rle, truth::TrueTarget,
};
use groundling_viz::{
    AxisScale, BarPlot, BarSeries, Cell, Chart, Color, ColorMap, Grid, HeatStyle, Marker, Painter, PatchStyle, Patches,
    Plot, ReliabilityBin, ReliabilityPlot, Series, Sheet, Spread, Stroke, Style, TextStyle, Theme, XyPlot,
    draw_comparison, draw_heat, draw_prediction, draw_truth, write_atomically, write_png,
};
use image::RgbImage;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let folder = arguments.next().ok_or("usage: gallery <folder> [photo ...]")?;
    std::fs::create_dir_all(&folder)?;
    let mut pictures = vec![("scene".to_owned(), scene(640, 480))];
    for photo in arguments {
        let name = photo.file_stem().map_or_else(|| "photo".into(), |name| name.to_string_lossy().into_owned());
        pictures.push((name, image::open(&photo)?.to_rgb8()));
    }
    let mut cells = Vec::new();
    for (name, picture) in &pictures {
        for (kind, drawn) in overlays(picture)? {
            write_png(&folder.join(format!("{name}_{kind}.png")), &drawn)?;
            let captions = vec![format!("{name}: {kind}"), format!("{} x {} pixels", drawn.width(), drawn.height())];
            cells.push(Cell { image: drawn, captions });
        }
    }
    for side in [64, 4000] {
        let drawn = draw_prediction(&scene(side, side * 3 / 4), &prediction(side, side * 3 / 4)?, &Style::default());
        write_png(&folder.join(format!("size_{side}.png")), &drawn)?;
    }
    cells[0].captions[0]
        .push_str(", with a caption that is much too long for one line and does not fit into two lines either");
    let sheet = Sheet { title: "Everything — Γειά, Привет, čau".to_owned(), ..Sheet::default() };
    write_png(&folder.join("sheet_light.png"), &sheet.draw(&cells)?)?;
    let sheet = Sheet { theme: Theme::Dark, columns: 3, ..sheet };
    write_png(&folder.join("sheet_dark.png"), &sheet.draw(&cells[..cells.len().min(5)])?)?;
    write_png(&folder.join("primitives.png"), &primitives())?;
    charts(&folder)
}

/// A picture with light and dark, busy and quiet parts.
fn scene(width: u32, height: u32) -> RgbImage {
    let mut painter = Painter::new(RgbImage::from_fn(width, height, |x, y| {
        let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
        let stripes = if u > 0.6 && (x * 60 / width + y * 60 / width).is_multiple_of(2) { 60.0 } else { 0.0 };
        image::Rgb([(40.0 + 200.0 * u) as u8, (230.0 - 180.0 * v) as u8, (120.0 + stripes) as u8])
    }));
    let (w, h) = (f64::from(width), f64::from(height));
    painter.disc((w * 0.28, h * 0.55), w * 0.14, Color::rgb(200, 40, 40));
    painter.disc((w * 0.72, h * 0.35), w * 0.1, Color::rgb(30, 30, 90));
    painter.fill_rect(BoxXyxy::new(w * 0.55, h * 0.65, w * 0.9, h * 0.95), Color::rgb(245, 240, 220));
    painter.finish()
}

fn disc(size: ImageSize, cx: f64, cy: f64, radius: f64) -> Rle {
    let (w, h) = (f64::from(size.width()), f64::from(size.height()));
    let points: Vec<f64> = (0..60)
        .flat_map(|i| {
            let angle = f64::from(i) / 60.0 * std::f64::consts::TAU;
            let wave = radius * w * (1.0 + 0.08 * (angle * 5.0).sin());
            [cx * w + wave * angle.cos(), cy * h + wave * angle.sin()]
        })
        .collect();
    Rle::from_polygon(size, &points).unwrap_or_else(|_| Rle::empty(size))
}

fn prediction(width: u32, height: u32) -> Result<Prediction, Box<dyn Error>> {
    let size = ImageSize::new(height, width)?;
    let targets = [(0.28, 0.55, 0.14, 0.93), (0.72, 0.35, 0.1, 0.41), (0.72, 0.8, 0.12, 0.2)];
    let targets = targets.into_iter().filter_map(|(cx, cy, radius, score)| {
        let mask = disc(size, cx, cy, radius);
        Some(PredictedTarget { score, bbox: mask.bbox()?, mask: Some(mask), label: None })
    });
    Ok(Prediction {
        phrase: Phrase::parse("the round red thing on the left")?,
        image_size: size,
        targets: targets.collect(),
        no_target: false,
        no_target_score: Some(0.02),
        model: ModelIdentity { name: "gallery".into(), hash: String::new() },
    })
}

fn overlays(picture: &RgbImage) -> Result<Vec<(&'static str, RgbImage)>, Box<dyn Error>> {
    let (width, height) = picture.dimensions();
    let (w, h) = (f64::from(width), f64::from(height));
    let answer = prediction(width, height)?;
    let style = Style::default();
    let truth = GroundTruth {
        targets: vec![TrueTarget {
            bbox: BoxXyxy::new(w * 0.16, h * 0.33, w * 0.44, h * 0.72),
            mask: Some(disc(answer.image_size, 0.3, 0.52, 0.13)),
            category_id: None,
        }],
        merged_mask: None,
    };
    let absent = Prediction { no_target: true, no_target_score: Some(0.97), ..answer.clone() };
    let mut crowd = answer.clone();
    crowd.targets = (0..10)
        .map(|i| {
            let (x, y) = (w * 0.05 * f64::from(i), h * (0.3 + 0.02 * f64::from(i)));
            let bbox = BoxXyxy::new(x, y, x + w * 0.3, y + h * 0.3);
            let label = (i % 3 == 0).then(|| format!("class {i}"));
            PredictedTarget { score: 0.99 - 0.07 * f64::from(i), bbox, mask: None, label }
        })
        .collect();
    crowd.targets.push(PredictedTarget {
        score: 0.11,
        bbox: BoxXyxy::new(-5.0, -5.0, w + 5.0, h + 5.0),
        mask: None,
        label: Some("the whole picture".into()),
    });
    let rows = (height as usize).div_ceil(32);
    let columns = (width as usize).div_ceil(32);
    let cell = |i: usize| ((i % columns) as f32 / columns as f32, (i / columns) as f32 / rows as f32);
    let bump = |(u, v): (f32, f32)| (-((u - 0.3).powi(2) + (v - 0.5).powi(2)) * 12.0).exp();
    let scores: Vec<f32> = (0..rows * columns).map(|i| bump(cell(i))).collect();
    let kept = Grid::new(rows, columns, scores.iter().map(|score| *score > 0.35).collect())?;
    let scores = Grid::new(rows, columns, scores)?;
    let signed = Grid::new(3, 4, vec![-1.0, -0.4, 0.0, 0.6, -0.2, f32::NAN, 0.3, 0.9, 0.0, 0.1, 0.5, 1.4])?;
    let diverging = HeatStyle { colors: ColorMap::Diverging, ..HeatStyle::default() };
    let patches = Patches::new(32, kept)?;
    Ok(vec![
        ("prediction", draw_prediction(picture, &answer, &style)),
        ("truth", draw_truth(picture, &truth, Some(&answer.phrase), &style)),
        ("comparison", draw_comparison(picture, &truth, &answer, &style)),
        ("absent", draw_prediction(picture, &absent, &style)),
        ("both_absent", draw_comparison(picture, &GroundTruth::absent(), &absent, &style)),
        ("crowd", draw_prediction(picture, &crowd, &style)),
        ("patches", patches.draw(picture, &PatchStyle::default())),
        ("patch_values", patches.with_values(scores.clone())?.draw(picture, &PatchStyle::default())),
        ("heat", draw_heat(picture, &scores, &HeatStyle::default())),
        ("heat_signed", draw_heat(picture, &signed, &diverging)),
    ])
}

fn primitives() -> RgbImage {
    let mut painter = Painter::blank(640, 360, Color::WHITE);
    painter.fill_rect(BoxXyxy::new(0.0, 0.0, 320.0, 360.0), Color::grey(25));
    let color = Color::of_mark(1);
    let halo = Some((Color::BLACK, 2.0));
    painter.line(
        &[(40.0, 40.0), (200.0, 90.0), (420.0, 30.0), (600.0, 120.0)],
        &Stroke { halo, ..Stroke::solid(color, 6.0) },
    );
    painter
        .line(&[(40.0, 110.0), (600.0, 150.0)], &Stroke { dash: Some(12.0), ..Stroke::solid(Color::of_mark(5), 3.0) });
    painter.circle((100.0, 220.0), 50.0, &Stroke::solid(Color::of_mark(2), 3.0));
    painter.disc((230.0, 220.0), 40.0, Color::of_mark(0).with_opacity(0.5));
    painter.polygon(&[(320.0, 170.0), (400.0, 270.0), (260.0, 250.0)], Color::of_mark(3).with_opacity(0.7));
    let seam =
        halo.map(|_| Stroke { dash: Some(14.0), halo: Some((Color::BLACK, 1.0)), ..Stroke::solid(Color::WHITE, 3.0) });
    if let Some(stroke) = seam {
        painter.frame(BoxXyxy::new(430.0, 170.0, 600.0, 270.0), &stroke);
    }
    for (index, (text, size)) in
        [("Halo: Äçéß ŁΩλ Жя → ≤ ±0.5 ✓", 22.0), ("no emoji: 😀 漢字", 16.0)].into_iter().enumerate()
    {
        let style = TextStyle { color: Color::WHITE, font_size: size, halo: Some((Color::BLACK, 2.0)) };
        painter.text(text, 150.0, 310.0 + 32.0 * index as f64, &style);
    }
    let style = TextStyle { color: Color::BLACK, font_size: 18.0, halo: None };
    painter.text_upwards("upwards", 625.0, 340.0, &style);
    painter.finish()
}

fn charts(folder: &Path) -> Result<(), Box<dyn Error>> {
    let curve = |rate: f64, noise: f64| -> Vec<(f64, f64)> {
        (1..=60)
            .map(|i| {
                (f64::from(i) * 500.0, 0.85 - 0.6 * (-f64::from(i) * rate).exp() + noise * (f64::from(i) * 1.7).sin())
            })
            .collect()
    };
    let band = |points: &[(f64, f64)], reach: f64| points.iter().map(|(_, y)| (y - reach, y + reach)).collect();
    let first = curve(0.08, 0.01);
    let mut second = curve(0.04, 0.02);
    second[20].1 = f64::NAN;
    let lines = XyPlot {
        series: vec![
            Series::line("ScanFormer, all patches", first.clone()).spread(Spread::Band(band(&first, 0.03))),
            Series::line("TransVG + AttBalance", second),
            Series::line("QRNet", curve(0.02, 0.0).into_iter().step_by(6).collect())
                .marked(Marker::Square)
                .spread(Spread::Bars(band(&curve(0.02, 0.0).into_iter().step_by(6).collect::<Vec<_>>(), 0.04))),
        ],
        ..XyPlot::default()
    };
    let log = XyPlot {
        series: [("flex", 1.0), ("fused kernels", 3.4), ("GPU", 40.0)]
            .iter()
            .zip([Marker::Disc, Marker::Diamond, Marker::Triangle])
            .map(|((name, speed), marker)| {
                let points =
                    (0..8).map(|i| (2f64.powi(i), speed * 10.0 * (1.0 - (-f64::from(i + 1) * 0.5).exp()))).collect();
                Series::line(*name, points).marked(marker)
            })
            .collect(),
        x_scale: AxisScale::Log,
        ..XyPlot::default()
    };
    let cloud =
        |shift: f64| (0..80).map(|i| (f64::from(i * 37 % 80) / 80.0, (f64::from(i) * 0.61 + shift).fract())).collect();
    let scatter = XyPlot {
        series: vec![
            Series::scatter("small targets", cloud(0.0)),
            Series::scatter("large targets", cloud(0.3)).marked(Marker::Triangle),
        ],
        x_range: Some((0.0, 1.0)),
        y_range: Some((0.0, 1.0)),
        ..XyPlot::default()
    };
    let bars = BarPlot {
        categories: ["val", "testA", "testB", "RefCOCO+ val", "RefCOCOg umd-test"].map(String::from).to_vec(),
        series: vec![
            BarSeries::new("TransVG", vec![0.8102, 0.8272, 0.7835, 0.6482, 0.6773]).with_errors(vec![
                (0.80, 0.82),
                (0.81, 0.84),
                (0.77, 0.79),
                (0.63, 0.66),
                (0.66, 0.69),
            ]),
            BarSeries::new("+ AttBalance", vec![0.8312, 0.8472, 0.7935, f64::NAN, 0.6973]),
            BarSeries::new("QRNet", vec![0.8401, 0.8585, 0.8234, 0.7294, 0.7252]),
        ],
        show_values: true,
        y_range: None,
    };
    let many = BarPlot {
        categories: (0..26).map(|i| format!("category number {i}")).collect(),
        series: vec![BarSeries::new("", (0..26).map(|i| (f64::from(i) * 0.7).sin() * 1200.0).collect())],
        ..BarPlot::default()
    };
    let bins = (0..10).map(|i| {
        let lower = f64::from(i) / 10.0;
        ReliabilityBin {
            lower,
            upper: lower + 0.1,
            confidence: lower + 0.055,
            accuracy: (lower * 0.8 + 0.02).max(0.0),
            count: 40 + 23 * i as u64 * i as u64,
        }
    });
    let reliability = ReliabilityPlot { bins: bins.collect(), expected_calibration_error: Some(0.1043) };
    let all = [
        (
            "lines",
            Chart::new("Accuracy while training <tiny> & \"small\"", Plot::Xy(lines)).labelled("step", "Acc@0.5"),
        ),
        ("log", Chart::new("Throughput", Plot::Xy(log)).labelled("batch size", "images / s")),
        ("scatter", Chart::new("Confidence and overlap", Plot::Xy(scatter)).labelled("score", "IoU")),
        (
            "bars",
            Chart::new(
                "Comprehension on RefCOCO, RefCOCO+ and RefCOCOg with a heading that needs two lines to be read",
                Plot::Bars(bars),
            )
            .labelled("split", "Acc@0.5"),
        ),
        ("many_bars", Chart::new("Many categories", Plot::Bars(many)).labelled("", "difference")),
        ("reliability", Chart::new("DMMI, no-target head", Plot::Reliability(reliability)).sized(480.0, 480.0)),
        ("empty", Chart::new("Nothing yet", Plot::Xy(XyPlot::default()))),
    ];
    for (name, chart) in all {
        for (theme, suffix) in [(Theme::Light, "light"), (Theme::Dark, "dark")] {
            let chart = chart.clone().themed(theme);
            write_png(&folder.join(format!("chart_{name}_{suffix}.png")), &chart.to_png(1.5))?;
            write_atomically(&folder.join(format!("chart_{name}_{suffix}.svg")), chart.to_svg().as_bytes())?;
        }
    }
    Ok(())
}
