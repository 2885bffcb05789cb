//! Pictures of what was found, and of the tokens that were kept.

use std::path::{Path, PathBuf};

use anyhow::Context;
use groundling::{Detected, KeptTokens};
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_file};
use groundling_viz::sheet::Cell;
use groundling_viz::{Color, Grid, Mark, Overlay, PatchStyle, Patches, Sheet, Style, write_atomically, write_png};
use image::RgbImage;
use image::imageops::{self, FilterType};
use serde_json::{Value, json};

use super::super::ground::pictures::{Place, has_ending};
use crate::flags::Detect;

/// Side of a cell of the finest map on an explaining sheet, in pixels; every level doubles it.
const FINEST_CELL: u32 = 8;
/// Longest side of a picture on an explaining sheet.
const SHEET_SIDE: u32 = 480;

/// What is drawn, and where.
pub(super) struct Drawing {
    objects: Option<Place>,
    explain: Option<Place>,
    exif: ExifOrientation,
}

impl Drawing {
    pub(super) fn new(flags: &Detect, pictures: usize) -> anyhow::Result<Self> {
        let exif = if flags.exif { ExifOrientation::Apply } else { ExifOrientation::Ignore };
        let place = |path: &Option<PathBuf>| path.as_deref().map(|path| Place::of(path, pictures)).transpose();
        Ok(Self { objects: place(&flags.draw)?, explain: place(&flags.explain)?, exif })
    }

    pub(super) fn draw(&self, path: &Path, found: &Detected) -> anyhow::Result<()> {
        if self.objects.is_none() && self.explain.is_none() {
            return Ok(());
        }
        let image = decode_file(path, ImageLimits::default(), self.exif)?;
        let name = |ending: &str| format!("{}.{ending}", path.file_stem().unwrap_or_default().to_string_lossy());
        if let Some(place) = &self.objects {
            write_png(&place.path(&name("png")), &overlay(found).draw(&image, &Style::default()))?;
        }
        match &self.explain {
            Some(Place::File(file)) if has_ending(file, "json") => write_json(file, found),
            Some(Place::File(file)) => write_sheet(file, &image, found),
            Some(Place::Folder(folder)) => {
                write_json(&folder.join(name("json")), found)?;
                write_sheet(&folder.join(name("png")), &image, found)
            }
            None => Ok(()),
        }
    }
}

/// Boxes with classes and scores; objects of a class have one colour. The best lie on top.
fn overlay(found: &Detected) -> Overlay {
    let mark = |object: &groundling::FoundObject| Mark {
        bbox: Some(object.bbox),
        mask: None,
        label: format!("{} {:.2}", object.label, object.score),
        color: Color::of_mark(object.class),
        dashed: false,
        tint: false,
    };
    Overlay { marks: found.objects.iter().map(mark).collect(), banners: Vec::new() }
}

fn write_json(path: &Path, found: &Detected) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&kept_json(found))?;
    Ok(write_atomically(path, text.as_bytes())?)
}

/// The kept cells of `groundling.kept/1`: `layers[layer][level]` are cells of `grids[level]`, row by row.
fn kept_json(found: &Detected) -> Value {
    json!({
        "schema": "groundling.kept/1",
        "grids": found.kept.grids,
        "layers": found.kept.layers,
        "keep_ratio": found.keep_ratio,
        "gflops": found.flops as f64 / 1e9,
        "dense_gflops": found.dense_flops as f64 / 1e9,
    })
}

/// A row for each layer, a picture for each level.
fn write_sheet(path: &Path, image: &RgbImage, found: &Detected) -> anyhow::Result<()> {
    let page = sheet(image, found).with_context(|| path.display().to_string())?;
    Ok(write_png(path, &page)?)
}

fn sheet(image: &RgbImage, found: &Detected) -> anyhow::Result<RgbImage> {
    let KeptTokens { grids, layers } = &found.kept;
    let Some([rows, columns]) = grids.first().copied() else { anyhow::bail!("the model has no levels") };
    let (height, width) = (rows as u32 * FINEST_CELL, columns as u32 * FINEST_CELL);
    // The picture fills the finest map: its last cells may reach beyond by less than a cell.
    let image = imageops::resize(image, width, height, FilterType::Triangle);
    let scale = (f64::from(SHEET_SIDE) / f64::from(width.max(height))).min(2.0);
    let mut cells = Vec::new();
    for (layer, levels) in layers.iter().enumerate() {
        for (level, kept) in levels.iter().enumerate() {
            let [rows, columns] = grids[level];
            let mut flags = vec![false; rows * columns];
            kept.iter().for_each(|&cell| flags[cell] = true);
            let patches = Patches::new(FINEST_CELL << level, Grid::new(rows, columns, flags)?)?;
            let caption = format!("layer {layer}, level {level}: {} of {} tokens", kept.len(), rows * columns);
            cells.push(Cell { image: patches.draw(&image, &PatchStyle::default()), captions: vec![caption] });
        }
    }
    let sheet = Sheet {
        title: format!(
            "{:.0} % of {} tokens a layer: {:.3} of {:.3} GFLOPs",
            100.0 * found.kept.share(),
            found.kept.tokens(),
            found.flops as f64 / 1e9,
            found.dense_flops as f64 / 1e9
        ),
        columns: grids.len() as u32,
        cell_width: (f64::from(width) * scale) as u32,
        cell_height: (f64::from(height) * scale) as u32,
        ..Sheet::default()
    };
    Ok(sheet.draw(&cells)?)
}
