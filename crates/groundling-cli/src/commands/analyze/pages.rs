//! The folder of an analysis: numbers, charts, pictures and a page with all of them.

use std::path::Path;

use anyhow::{Context, bail};
use groundling::attention::{AttentionKind, AttentionMap};
use groundling_eval::attention::{AttentionReport, AttentionSample, LayerReport, to_csv};
use groundling_viz::sheet::{Cell, Sheet};
use groundling_viz::{
    AttentionRow, AttentionView, BarPlot, BarSeries, Chart, Grid, Page, Plot, Series, Theme, XyPlot, draw_attention,
    write_atomically, write_png,
};
use image::RgbImage;

use super::{Analysis, Analyzed, truth};

/// Most layers that pictures and scatter plots show.
const MOST_LAYERS: usize = 6;
/// Charts in a row.
const COLUMNS: u32 = 3;

/// `places` are the pictures of the samples, as indices of the source.
pub(super) fn write(
    folder: &Path,
    analyzed: &Analyzed,
    analysis: &Analysis<'_>,
    samples: &[AttentionSample],
    places: &[usize],
    pictures: usize,
) -> anyhow::Result<()> {
    let names: Vec<String> = analyzed.report.layers.iter().map(|layer| layer.name.clone()).collect();
    let shown = shown_layers(names.len());
    let layers = layer_chart(&analyzed.report);
    let scatter = scatter_sheet(&analyzed.report, samples, &shown)?;
    let mut order: Vec<usize> = (0..samples.len()).collect();
    order.sort_by(|&one, &other| rank(&samples[other]).total_cmp(&rank(&samples[one])));
    let count = pictures.min(samples.len());
    let draw = |title: &str, chosen: &[usize]| -> anyhow::Result<RgbImage> {
        let rows = chosen.iter().map(|&index| row(analysis, &samples[index], places[index], &shown));
        Ok(draw_attention(title, &rows.collect::<anyhow::Result<Vec<_>>>()?, Theme::Light)?)
    };
    let best = draw("best answers", &order[..count])?;
    order.reverse();
    let worst = draw("worst answers", &order[..count])?;

    let page = page(analyzed, &layers, &scatter, [&best, &worst])?;
    write_atomically(&folder.join("report.json"), serde_json::to_string_pretty(analyzed)?.as_bytes())?;
    write_atomically(&folder.join("samples.csv"), to_csv(&names, samples).as_bytes())?;
    write_png(&folder.join("layers.png"), &layers.to_png(2.0))?;
    for (name, picture) in [("scatter", &scatter), ("best", &best), ("worst", &worst)] {
        write_png(&folder.join(format!("{name}.png")), picture)?;
    }
    // Last: whoever sees it finds the rest.
    Ok(write_atomically(&folder.join("report.html"), page.to_html().as_bytes())?)
}

/// Better answers are higher; those of one IoU by where the model looked.
fn rank(sample: &AttentionSample) -> f64 {
    let inside = sample.layers.iter().map(|layer| layer.inside).sum::<f64>() / sample.layers.len().max(1) as f64;
    sample.iou + 1e-6 * inside
}

/// At most [`MOST_LAYERS`] of so many, evenly, the last among them.
fn shown_layers(count: usize) -> Vec<usize> {
    let shown = count.min(MOST_LAYERS);
    (1..=shown).map(|place| place * count / shown - 1).collect()
}

/// A group of bars for each layer, and one for even attention.
fn layer_chart(report: &AttentionReport) -> Chart {
    let rows = || report.layers.iter().chain([&report.even]);
    let bars = |name: &str, of: fn(&LayerReport) -> Option<f64>| {
        BarSeries::new(name, rows().map(|row| of(row).unwrap_or(f64::NAN)).collect())
    };
    let plot = BarPlot {
        categories: rows().map(|row| row.name.clone()).collect(),
        series: vec![
            bars("rho with IoU", |row| row.rho),
            bars("mean attention in the true box", |row| row.mean_inside),
        ],
        show_values: true,
        y_range: None,
    };
    let width = (90.0 * rows().count() as f64).clamp(640.0, 4000.0);
    Chart::new("Attention in the true box, by layer", Plot::Bars(plot))
        .labelled("", "correlation; share of attention")
        .sized(width, 420.0)
}

fn scatter_sheet(report: &AttentionReport, samples: &[AttentionSample], shown: &[usize]) -> anyhow::Result<RgbImage> {
    let cell = |&layer: &usize| {
        let points = samples.iter().map(|sample| (sample.layers[layer].inside, sample.layers[layer].iou)).collect();
        let plot = XyPlot {
            series: vec![Series::scatter("", points)],
            x_range: Some((0.0, 1.0)),
            y_range: Some((0.0, 1.0)),
            ..XyPlot::default()
        };
        let LayerReport { name, rho, .. } = &report.layers[layer];
        let rho = rho.map_or("not defined".to_owned(), |rho| format!("{rho:.3}"));
        let chart = Chart::new(format!("{name}, rho {rho}"), Plot::Xy(plot)).labelled("attention in the box", "IoU");
        Cell { image: chart.sized(400.0, 340.0).to_png(1.5), captions: Vec::new() }
    };
    let cells: Vec<Cell> = shown.iter().map(cell).collect();
    let (cell_width, cell_height) = cells.first().map_or((1, 1), |cell| cell.image.dimensions());
    Ok(Sheet { columns: COLUMNS, cell_width, cell_height, ..Sheet::default() }.draw(&cells)?)
}

/// Asks about a sample again, which is cheaper than keeping the maps of all.
fn row(
    analysis: &Analysis<'_>,
    sample: &AttentionSample,
    picture: usize,
    shown: &[usize],
) -> anyhow::Result<AttentionRow> {
    let picture = analysis.examples.picture(picture)?;
    let Some(phrase) = picture.about.phrases.iter().find(|phrase| phrase.id == sample.id) else {
        bail!("{}: phrase {:?} was there a moment ago", sample.image, sample.id);
    };
    let session = analysis.grounder.open_image(&picture.image)?;
    let answer = session.ground_phrase(&phrase.phrase, &analysis.options)?;
    let maps = answer.attention(analysis.kind)?;
    let best = answer.prediction.best().with_context(|| format!("{}: no answer", sample.id))?;
    let view = |&layer: &usize| view(&maps[layer], sample.layers[layer].inside);
    Ok(AttentionRow {
        canvas: session.placement().canvas(),
        content: session.placement().content(),
        caption: format!("{}, IoU {:.2}", sample.phrase, sample.iou),
        truth: truth(phrase),
        answer: best.bbox,
        views: shown.iter().map(view).collect::<anyhow::Result<_>>()?,
        image: picture.image,
    })
}

fn view(map: &AttentionMap, inside: f64) -> anyhow::Result<AttentionView> {
    let ([rows, columns], values) = map.on_finest();
    let caption = format!("{}: {:.0} % in the box", map.name, 100.0 * inside);
    Ok(AttentionView { map: Grid::new(rows, columns, values)?, bbox: map.bbox, caption })
}

fn page(
    analyzed: &Analyzed,
    layers: &Chart,
    scatter: &RgbImage,
    [best, worst]: [&RgbImage; 2],
) -> anyhow::Result<Page> {
    let Analyzed { report, run } = analyzed;
    let mut page = Page::new(format!("Attention of {}", run.model.name));
    let figure = |value: Option<f64>| value.map_or("not available".to_owned(), |value| format!("{value:.2} %"));
    let (accuracy, iou) = (figure(report.accuracy), figure(report.mean_iou));
    page.paragraph(&format!(
        "{} phrases about {} pictures of {} (seed {}). Acc@0.5 {accuracy}, mean IoU {iou}. Weights {}.",
        report.count, run.pictures, run.data, run.seed, run.model.hash
    ));
    page.heading("By layer");
    page.paragraph(match run.attention {
        AttentionKind::Map => "Attention is the softmax over visual tokens of the logits' mean over heads.",
        AttentionKind::Weights => "Attention is the mean over heads of the model's weights on visual tokens.",
    });
    page.paragraph(
        "rho is Spearman's correlation of the attention inside the true box with the IoU of the answer, p the \
         probability of one so far from 0 were there none. The last row is what attention that is the same everywhere \
         would give: large boxes catch more of it and are easier to hit.",
    );
    page.table(AttentionReport::HEAD, &report.rows());
    page.chart(layers);
    page.heading("Every phrase");
    page.picture(scatter, "IoU of each phrase against the attention inside its true box, by layer")?;
    page.heading("Best answers");
    page.paragraph("Dashed: the truth. Solid: the answer. Colours of a map go from 0 to its own greatest value.");
    page.picture(best, "Pictures of the best answers with attention of each layer")?;
    page.heading("Worst answers");
    page.picture(worst, "Pictures of the worst answers with attention of each layer")?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_layers_are_spread_and_end_with_the_last() {
        assert_eq!(shown_layers(2), [0, 1]);
        assert_eq!(shown_layers(6), [0, 1, 2, 3, 4, 5]);
        assert_eq!(shown_layers(12), [1, 3, 5, 7, 9, 11]);
        assert_eq!(shown_layers(0), [0usize; 0]);
    }
}
