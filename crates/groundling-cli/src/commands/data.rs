//! `groundling data`: make, check, look.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, bail};
use groundling_core::ImageSize;
use groundling_data::check::{CheckReport, DatasetReport, Severity};
use groundling_data::scenes::{SceneConfig, Scenes, Split};
use groundling_data::write::{Layout, Record, Summary, scene_categories, write_dataset};
use groundling_data::{DataSource, check as linter};
use groundling_eval::records::write_truths;
use groundling_viz::sheet::{Cell, Sheet};
use groundling_viz::theme::Theme;
use groundling_viz::{Style, draw_truth, write_atomically, write_png};
use rayon::prelude::*;
use serde::Serialize;

use super::samples;
use crate::flags::{self, Format, LayoutName};
use crate::{Outcome, output, progress};

#[derive(Serialize)]
struct Made {
    schema: &'static str,
    out: String,
    layout: String,
    seed: u64,
    images: u64,
    annotations: u64,
    refs: u64,
    phrases: u64,
    /// Phrases that the layout cannot hold.
    left_out: u64,
}

/// Scenes made ahead of the writer: enough to keep all cores busy, few enough to stay small.
const BATCH: u64 = 64;

pub(crate) fn make(flags: &flags::Make, format: Format, quiet: bool) -> anyhow::Result<Outcome> {
    let &[height, width] = flags.size.as_slice() else { bail!("--size takes height and width") };
    let size = ImageSize::new(height, width)?;
    let mut worlds = Vec::new();
    for name in &flags.sources {
        let DataSource::Scenes { split, count } = name.parse()? else {
            bail!("{name:?} is not generated; `data make` writes scenes:SPLIT[:COUNT]");
        };
        worlds.push((Scenes::new(SceneConfig::with_size(size), split, flags.seed)?, split, count));
    }
    if !flags.out.is_dir() {
        std::fs::create_dir_all(&flags.out).with_context(|| flags.out.display().to_string())?;
    }
    let bar = progress::bar(quiet, worlds.iter().map(|(_, _, count)| count).sum(), "scenes");
    let layout = match flags.layout {
        LayoutName::Jsonl => Layout::Jsonl,
        LayoutName::Refer => Layout::Refer { set: "refcoco".to_owned(), split_by: "unc".to_owned() },
        LayoutName::Refzom => Layout::RefZom,
        LayoutName::Grefcoco => Layout::Grefcoco,
        LayoutName::Coco => Layout::Coco,
    };
    let mut failed = None;
    let records = worlds.iter().flat_map(batches).flat_map(|(scenes, split, range)| {
        let made: Vec<_> = range.into_par_iter().map(|index| record(scenes, split, index)).collect();
        made.into_iter()
    });
    let records = records.map_while(|made| {
        bar.inc(1);
        made.map_err(|error| failed = Some(error)).ok()
    });
    let written = write_dataset(&flags.out, &layout, &scene_categories(), records);
    bar.finish_and_clear();
    if let Some(error) = failed {
        return Err(error);
    }
    let Summary { images, annotations, refs, phrases, left_out, .. } = written?;
    let made = Made {
        schema: "groundling.made/1",
        out: flags.out.display().to_string(),
        layout: format!("{:?}", flags.layout).to_lowercase(),
        seed: flags.seed,
        images,
        annotations,
        refs,
        phrases,
        left_out,
    };
    output::result(format, &made, || {
        let mut text = format!("{images} images, {annotations} objects, {phrases} phrases written to {}", made.out);
        if left_out > 0 {
            let _ = write!(text, "\n{left_out} phrases left out: the layout {} cannot hold them", made.layout);
        }
        text
    })?;
    Ok(Outcome::Done)
}

fn batches(world: &(Scenes, Split, u64)) -> impl Iterator<Item = (&Scenes, Split, std::ops::Range<u64>)> {
    let (scenes, split, count) = world;
    (0..*count).step_by(BATCH as usize).map(move |start| (scenes, *split, start..(start + BATCH).min(*count)))
}

fn record(scenes: &Scenes, split: Split, index: u64) -> anyhow::Result<Record> {
    // Encoded here, where it runs on all cores; the writer only copies bytes.
    Ok(Record::from_scene(scenes.scene(index), split).encoded()?)
}

pub(crate) fn check(path: &Path, format: Format) -> anyhow::Result<Outcome> {
    let report = linter::check(path)?;
    output::result(format, &report, || check_text(&report))?;
    Ok(if report.worst() == Some(Severity::Error) { Outcome::Negative } else { Outcome::Done })
}

fn check_text(report: &CheckReport) -> String {
    report.datasets.iter().map(dataset_text).collect::<Vec<_>>().join("\n")
}

fn dataset_text(dataset: &DatasetReport) -> String {
    let mut text = format!("{}  {}\n", dataset.name, dataset.path.display());
    let DatasetReport { images, annotations, crowds, categories_used, .. } = dataset;
    let _ = writeln!(
        text,
        "  {images} images, {annotations} annotations ({crowds} crowd), {categories_used} categories used"
    );
    if !dataset.splits.is_empty() {
        let _ = writeln!(text, "  split    images   refs  phrases   zero    one   many");
    }
    for (name, split) in &dataset.splits {
        let _ = writeln!(
            text,
            "  {name:<8} {:>6} {:>6} {:>8} {:>6} {:>6} {:>6}",
            split.images, split.refs, split.expressions, split.zero, split.one, split.many
        );
    }
    for finding in &dataset.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let _ = writeln!(text, "  {severity}: {} [{}, {}]", finding.message, finding.code, finding.count);
        for example in &finding.examples {
            let _ = writeln!(text, "      {example}");
        }
    }
    if dataset.findings.is_empty() {
        text.push_str("  nothing to report\n");
    }
    text
}

#[derive(Serialize)]
struct Drawn {
    schema: &'static str,
    out: String,
    pictures: usize,
    width: u32,
    height: u32,
}

pub(crate) fn sheet(flags: &flags::Sheet, format: Format) -> anyhow::Result<Outcome> {
    let source: DataSource = flags.source.parse()?;
    let shown = samples::shown(&source, flags.count, flags.seed)?;
    // A light tint: phrases name colours, so the colours must stay what they are.
    let style = Style { mask_tint: 0.15, ..Style::default() };
    let cells: Vec<Cell> = shown
        .into_iter()
        .map(|shown| {
            let captions = match (&shown.phrase, shown.truth.targets.len()) {
                (Some(phrase), 0) => vec![format!("{phrase} (not here)")],
                (Some(phrase), _) => vec![phrase.to_string()],
                (None, objects) => vec![format!("{objects} objects")],
            };
            Cell { image: draw_truth(&shown.image, &shown.truth, None, &style), captions }
        })
        .collect();
    let pictures = cells.len();
    let sheet = Sheet {
        title: flags.source.clone(),
        columns: flags.columns,
        cell_width: flags.cell,
        cell_height: flags.cell,
        theme: if flags.dark { Theme::Dark } else { Theme::Light },
        ..Sheet::default()
    };
    let page = sheet.draw(&cells)?;
    write_png(&flags.out, &page)?;
    let out = flags.out.display().to_string();
    let drawn = Drawn { schema: "groundling.sheet/1", out, pictures, width: page.width(), height: page.height() };
    output::result(format, &drawn, || format!("{pictures} pictures drawn to {}", drawn.out))?;
    Ok(Outcome::Done)
}

pub(crate) fn truth(flags: &flags::Truth, quiet: bool) -> anyhow::Result<Outcome> {
    let source: DataSource = flags.source.parse()?;
    let bar = progress::bar(quiet, 0, "phrases");
    let truths = samples::truths(&source, flags.masks.into(), flags.seed, &bar)?;
    bar.finish_and_clear();
    let mut lines = Vec::new();
    write_truths(&mut lines, &flags.out, &truths)?;
    if flags.out == Path::new("-") {
        std::io::Write::write_all(&mut std::io::stdout().lock(), &lines)?;
    } else {
        write_atomically(&flags.out, &lines)?;
        output::say(&format!("{} truths written to {}", truths.len(), flags.out.display()))?;
    }
    Ok(Outcome::Done)
}
