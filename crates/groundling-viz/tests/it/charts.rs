//! Charts: well-formed SVG, the same layout in both renderings, and no data that could break them.

use groundling_viz::{
    AxisScale, BarPlot, BarSeries, Chart, Marker, Plot, ReliabilityBin, ReliabilityPlot, Series, Spread, Theme, XyPlot,
};
use proptest::prelude::*;

fn lines(points: Vec<(f64, f64)>) -> XyPlot {
    XyPlot { series: vec![Series::line("one", points)], ..XyPlot::default() }
}

fn one_of_each() -> Vec<Chart> {
    let curve: Vec<(f64, f64)> = (1..50).map(|i| (f64::from(i), f64::from(i * i % 31) / 31.0)).collect();
    let around: Vec<(f64, f64)> = curve.iter().map(|(_, y)| (y - 0.1, y + 0.1)).collect();
    let mut xy = lines(curve.clone());
    xy.series.push(Series::scatter("two", curve.clone()).spread(Spread::Bars(around.clone())));
    xy.series.push(Series::line("three", curve.clone()).marked(Marker::Square).spread(Spread::Band(around)));
    let log = XyPlot { x_scale: AxisScale::Log, ..xy.clone() };
    let bars = BarPlot {
        categories: vec!["a".into(), "b & <c>".into(), "a longer name".into()],
        series: vec![
            BarSeries::new("x", vec![1.0, -2.0, 3.0]).with_errors(vec![(0.5, 1.5)]),
            BarSeries::new("y", vec![2.0, f64::NAN]),
        ],
        show_values: true,
        y_range: None,
    };
    let bin = |i: u32, count| {
        let lower = f64::from(i) / 5.0;
        ReliabilityBin { lower, upper: lower + 0.2, confidence: lower + 0.1, accuracy: lower, count }
    };
    let bins = (0..5).map(|i| bin(i, u64::from(i) * 100)).collect();
    let reliability = ReliabilityPlot { bins, expected_calibration_error: Some(0.1) };
    [Plot::Xy(xy), Plot::Xy(log), Plot::Bars(bars), Plot::Reliability(reliability)]
        .map(|plot| {
            Chart::new("A title with <brackets> & \"quotes\" 'n' \u{1}controls", plot).labelled("x → <y>", "y & z")
        })
        .to_vec()
}

/// Texts of a chart as an XML parser reads them.
fn texts(chart: &Chart) -> Vec<String> {
    let svg = chart.to_svg();
    let document = roxmltree::Document::parse(&svg).unwrap_or_else(|error| panic!("{error} in\n{svg}"));
    let texts = document.descendants().filter(|node| node.has_tag_name("text"));
    texts.map(|node| node.text().unwrap_or("").to_owned()).collect()
}

#[test]
fn svg_is_well_formed_and_self_contained() {
    for chart in one_of_each() {
        for theme in [Theme::Light, Theme::Dark] {
            let chart = chart.clone().themed(theme);
            let svg = chart.to_svg();
            let shown = texts(&chart).join(" ");
            assert!(shown.contains("A title with <brackets> & \"quotes\" 'n' \u{FFFD}controls"), "{shown}");
            assert!(shown.contains("x → <y>") && shown.contains("y & z"));
            for outside in ["href", "url(", "@import", "<script", "<image", "<style"] {
                assert!(!svg.contains(outside), "{outside}");
            }
            assert_eq!(svg.matches("http").count(), 1, "the namespace alone");
            assert!(!svg.contains("NaN") && !svg.contains("inf"));
        }
    }
}

#[test]
fn both_renderings_have_one_size_and_every_shape_is_on_the_page() {
    for chart in one_of_each() {
        let image = chart.to_png(2.0);
        assert_eq!(image.dimensions(), (1280, 800));
        let svg = chart.to_svg();
        let document = roxmltree::Document::parse(&svg).unwrap();
        for node in document.descendants().filter(|node| node.is_element()) {
            for (name, limit) in [("x", 640.0), ("y", 400.0), ("cx", 640.0), ("cy", 400.0)] {
                let place = node.attribute(name).map(|value| value.parse::<f64>().unwrap());
                assert!(place.is_none_or(|place| (0.0..=limit).contains(&place)), "{name} = {place:?}");
            }
            for number in node.attribute("points").unwrap_or("").split([' ', ',']).filter(|text| !text.is_empty()) {
                assert!((0.0..=640.0).contains(&number.parse::<f64>().unwrap()), "{number}");
            }
        }
        // The outermost pixels are ground: no text is cut at the edge.
        let ground = image.get_pixel(0, 0);
        assert!(image.enumerate_pixels().all(|(x, y, p)| (x > 1 && y > 1 && x < 1278 && y < 798) || p == ground));
    }
}

#[test]
fn nothing_to_show_is_said() {
    let unsound = ReliabilityBin { lower: 0.5, upper: 0.5, confidence: 0.1, accuracy: 0.1, count: 5 };
    for plot in [
        Plot::Xy(XyPlot::default()),
        Plot::Xy(lines(vec![(f64::NAN, 1.0), (1.0, f64::INFINITY), (1e308, 1e308)])),
        Plot::Xy(XyPlot { x_scale: AxisScale::Log, ..lines(vec![(0.0, 1.0), (-3.0, 2.0)]) }),
        Plot::Bars(BarPlot::default()),
        Plot::Bars(BarPlot { categories: vec!["a".into()], ..BarPlot::default() }),
        Plot::Bars(BarPlot { series: vec![BarSeries::new("x", vec![1.0])], ..BarPlot::default() }),
        Plot::Reliability(ReliabilityPlot { bins: vec![unsound], expected_calibration_error: Some(f64::NAN) }),
    ] {
        let chart = Chart::new("t", plot);
        assert_eq!(texts(&chart), ["t", "no data"]);
        assert!(chart.to_png(1.0).pixels().any(|pixel| pixel.0[0] < 120));
    }
}

#[test]
fn gaps_interrupt_lines() {
    let chart = |points| Chart::new("", Plot::Xy(lines(points))).to_svg().matches("stroke-width=\"2\"").count();
    // One of them is the key of the legend.
    assert_eq!(chart(vec![(0.0, 0.0), (1.0, 1.0), (2.0, 0.0), (3.0, 1.0)]), 2);
    assert_eq!(chart(vec![(0.0, 0.0), (1.0, 1.0), (2.0, f64::NAN), (3.0, 1.0), (4.0, 0.0)]), 3);
}

#[test]
fn the_calibration_error_is_in_the_heading() {
    let chart = one_of_each().pop().unwrap();
    assert!(texts(&chart).concat().contains("(ECE = 0.100)"));
}

#[test]
fn rendering_is_deterministic() {
    for chart in one_of_each() {
        assert_eq!(chart.to_svg(), chart.to_svg());
        assert_eq!(chart.to_png(1.3), chart.to_png(1.3));
    }
}

#[test]
fn odd_pages_are_drawn() {
    for chart in one_of_each() {
        for side in [f64::NAN, -5.0, 0.0, 161.0, 10_001.0, f64::INFINITY] {
            let mut odd = chart.clone().sized(side, 300.0);
            odd.title = "word ".repeat(2000);
            odd.x_label = "x".repeat(10_000);
            odd.y_label = "😀".repeat(500);
            texts(&odd);
            odd.to_png(if side.is_finite() { 0.2 } else { side });
        }
        texts(&chart.sized(160.0, f64::MIN));
    }
    let many = (0..300).map(|i| Series::line(format!("series number {i}"), vec![(0.0, f64::from(i)), (1.0, 0.0)]));
    let shown = texts(&Chart::new("", Plot::Xy(XyPlot { series: many.collect(), ..XyPlot::default() })));
    assert!(shown.iter().any(|text| text.starts_with('+') && text.ends_with(" more")), "{shown:?}");
    let categories: Vec<String> = (0..5000).map(|i| format!("category {i}")).collect();
    let bars = BarPlot { series: vec![BarSeries::new("", vec![1.0; 5000])], categories, ..BarPlot::default() };
    assert!(texts(&Chart::new("", Plot::Bars(bars))).len() < 200, "names are thinned out");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, rng_seed: proptest::test_runner::RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn any_numbers_are_drawn(points in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..8), spread in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..8), log: bool, range in proptest::option::of((any::<f64>(), any::<f64>()))) {
        let series = vec![
            Series::line("a", points.clone()).spread(Spread::Band(spread.clone())),
            Series::scatter("b", points.clone()).spread(Spread::Bars(spread.clone())),
        ];
        let x_scale = if log { AxisScale::Log } else { AxisScale::Linear };
        let xy = XyPlot { series, x_scale, x_range: range, y_range: range };
        let values: Vec<f64> = points.iter().map(|point| point.0).collect();
        let series = BarSeries::new("a", values.clone()).with_errors(spread.clone());
        let categories = vec!["c".to_owned(); values.len()];
        let bars = BarPlot { categories, series: vec![series], show_values: true, y_range: range };
        let bin = |(a, b): (&(f64, f64), &(f64, f64))| ReliabilityBin { lower: a.0, upper: a.1, confidence: b.0, accuracy: b.1, count: 3 };
        let bins = points.iter().zip(&spread).map(bin).collect();
        let reliability = ReliabilityPlot { bins, expected_calibration_error: values.first().copied() };
        for plot in [Plot::Xy(xy), Plot::Bars(bars), Plot::Reliability(reliability)] {
            let chart = Chart::new("any", plot);
            let svg = chart.to_svg();
            prop_assert!(roxmltree::Document::parse(&svg).is_ok());
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
            chart.to_png(0.5);
        }
    }

    #[test]
    fn any_words_are_escaped(title in "\\PC{0,30}", name in any::<String>()) {
        let plot = XyPlot { series: vec![Series::line(name, vec![(0.0, 0.0), (1.0, 1.0)])], ..XyPlot::default() };
        let svg = Chart::new(title, Plot::Xy(plot)).to_svg();
        prop_assert!(roxmltree::Document::parse(&svg).is_ok(), "{}", svg);
    }
}

#[test]
fn no_text_leaves_the_page() {
    let wide_ticks = |x_range| {
        let xy = XyPlot { x_range: Some(x_range), y_range: Some((-0.001, 123_456.0)), ..lines(vec![(0.0, 0.0)]) };
        Chart::new("a heading of several words", Plot::Xy(xy))
            .labelled("a long label of the axis", "another long label")
    };
    let mut charts = one_of_each();
    charts.extend([wide_ticks((0.0, 1.000_05)), wide_ticks((-1e-7, 1e-7)), wide_ticks((0.0, 8e14))]);
    for chart in charts {
        for (width, height) in [(640.0, 400.0), (240.0, 180.0), (160.0, 120.0)] {
            let svg = chart.clone().sized(width, height).to_svg();
            let document = roxmltree::Document::parse(&svg).unwrap();
            let mut seen = 0;
            for node in document.descendants().filter(|node| node.has_tag_name("text") && node.text().is_some()) {
                let number = |name| node.attribute(name).unwrap().parse::<f64>().unwrap();
                let long = groundling_viz::font::measure(node.text().unwrap(), number("font-size")).width;
                let before = match node.attribute("text-anchor") {
                    Some("middle") => long / 2.0,
                    Some("end") => long,
                    _ => 0.0,
                };
                let (start, end, limit) = match node.attribute("transform") {
                    None => (number("x") - before, number("x") - before + long, width),
                    Some(_) => (number("y") + before - long, number("y") + before, height),
                };
                assert!(start >= 0.0 && end <= limit, "{:?} spans {start} to {end} of {limit}", node.text());
                seen += 1;
            }
            assert!(seen > 5, "{seen} texts");
        }
    }
}
