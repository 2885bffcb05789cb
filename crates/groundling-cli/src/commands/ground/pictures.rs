//! Pictures of answers: boxes, and what was looked at.

use std::path::{Path, PathBuf};

use anyhow::Context;
use groundling::{Answer, Level};
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_file};
use groundling_viz::{LevelSheet, LevelView, Style, Theme, draw_prediction, write_atomically, write_png};
use image::RgbImage;

use super::questions::Asked;
use crate::flags::Ground;

/// What is drawn, and where.
pub(super) struct Drawing {
    boxes: Option<Place>,
    explain: Option<Place>,
    exif: ExifOrientation,
}

pub(crate) enum Place {
    File(PathBuf),
    Folder(PathBuf),
}

impl Drawing {
    pub(super) fn new(flags: &Ground, pairs: usize) -> anyhow::Result<Self> {
        let exif = if flags.exif { ExifOrientation::Apply } else { ExifOrientation::Ignore };
        let place = |path: &Option<PathBuf>| path.as_deref().map(|path| Place::of(path, pairs)).transpose();
        Ok(Self { boxes: place(&flags.draw)?, explain: place(&flags.explain)?, exif })
    }

    /// Attention costs a little, and only explanations show it.
    pub(super) fn wants_attention(&self) -> bool {
        self.explain.is_some()
    }

    pub(super) fn draw(&self, asked: &Asked, answers: &[Answer], theme: Theme) -> anyhow::Result<()> {
        if self.boxes.is_none() && self.explain.is_none() {
            return Ok(());
        }
        let image = decode_file(&asked.image, ImageLimits::default(), self.exif)?;
        for (phrase, answer) in asked.phrases.iter().zip(answers) {
            let name = |ending: &str| {
                let stem = asked.image.file_stem().unwrap_or_default().to_string_lossy();
                format!("{stem}-{}.{ending}", phrase.id.replace(['/', '\\', ':', '\0'], "_"))
            };
            if let Some(place) = &self.boxes {
                write_png(&place.path(&name("png")), &draw_prediction(&image, &answer.prediction, &Style::default()))?;
            }
            if let Some(place) = &self.explain {
                explain(place, &name, &image, answer, theme)?;
            }
        }
        Ok(())
    }
}

fn explain(
    place: &Place,
    name: &dyn Fn(&str) -> String,
    image: &RgbImage,
    answer: &Answer,
    theme: Theme,
) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(&answer.explain.to_json())?;
    let draw = |path: &Path| -> anyhow::Result<()> {
        let page = sheet(answer, theme).draw(image).with_context(|| path.display().to_string())?;
        Ok(write_png(path, &page)?)
    };
    match place {
        Place::File(path) if has_ending(path, "json") => Ok(write_atomically(path, json.as_bytes())?),
        Place::File(path) => draw(path),
        Place::Folder(folder) => {
            write_atomically(&folder.join(name("json")), json.as_bytes())?;
            draw(&folder.join(name("png")))
        }
    }
}

/// What was looked at, for drawing.
fn sheet(answer: &Answer, theme: Theme) -> LevelSheet {
    let prediction = &answer.prediction;
    let best = prediction.best();
    let percent = 100.0 * answer.flops as f64 / answer.dense_flops.max(1) as f64;
    let phrase = prediction.phrase.as_str();
    LevelSheet {
        title: format!("{phrase:?}: {:.3} GFLOPs, {percent:.0} % of reading everything", answer.flops as f64 / 1e9),
        canvas: answer.explain.canvas,
        content: answer.explain.content,
        levels: answer.explain.levels.iter().enumerate().map(view).collect(),
        answer: best.map(|target| (target.bbox, format!("{phrase} {:.2}", target.score))),
        target: None,
        theme,
    }
}

fn view((number, level): (usize, &Level)) -> LevelView {
    let chance = |value: f32| 1.0 / (1.0 + (-value).exp());
    let attention = level.attention.iter().flat_map(|layers| {
        let mean = |index: usize| {
            let values = layers.iter().filter_map(|layer| layer.get(index));
            values.sum::<f32>() / layers.len().max(1) as f32
        };
        level.kept.iter().enumerate().map(move |(index, &patch)| (patch, mean(index)))
    });
    let threshold = level.threshold.map_or(String::new(), |threshold| format!(", threshold {threshold:.2}"));
    LevelView {
        grid: level.grid,
        side: level.side,
        kept: level.kept.clone(),
        chances: level.candidates.iter().zip(&level.values).map(|(&patch, &value)| (patch, chance(value))).collect(),
        attention: attention.collect(),
        bbox: Some(level.bbox),
        caption: format!(
            "level {number}: {} of {} patches, {:.3} GFLOPs{threshold}",
            level.kept.len(),
            level.valid.len(),
            level.flops as f64 / 1e9
        ),
    }
}

impl Place {
    /// A file for one answer, else a folder, which is made.
    pub(crate) fn of(path: &Path, pairs: usize) -> anyhow::Result<Self> {
        if pairs == 1 && !path.is_dir() && path.extension().is_some() {
            return Ok(Self::File(path.to_owned()));
        }
        std::fs::create_dir_all(path).with_context(|| path.display().to_string())?;
        Ok(Self::Folder(path.to_owned()))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        match self {
            Self::File(path) => path.clone(),
            Self::Folder(folder) => folder.join(name),
        }
    }
}

pub(crate) fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}
