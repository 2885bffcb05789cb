//! `groundling bench`: how long each stage of an answer takes.

mod phrases;
mod pictures;

use std::io::Cursor;
use std::time::Instant;

use anyhow::{Context, bail};
use groundling::systems;
use groundling_core::ModelIdentity;
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_bytes};
use groundling_data::rng::Rng;
use groundling_kernels::Isa;
use image::RgbImage;
use serde::Serialize;

use crate::flags::{Bench, Format};
use crate::{Outcome, memory};

pub(crate) fn run(flags: &Bench, format: Format) -> anyhow::Result<Outcome> {
    if flags.repeats == 0 {
        bail!("--repeats is 0, expected at least 1");
    }
    let system = match &flags.system {
        Some(system) => system.clone(),
        None => flags.model.bundle()?.manifest().system.clone(),
    };
    if systems::NAMES.contains(&system.as_str()) { phrases::run(flags, format) } else { pictures::run(flags, format) }
}

/// What was measured, and on what.
#[derive(Serialize)]
struct Setup {
    model: String,
    device: String,
    instructions: String,
    threads: usize,
    /// Height and width.
    image: [u32; 2],
    repeats: usize,
    /// Seconds to open the weights once.
    open_seconds: f64,
    peak_bytes: Option<u64>,
}

impl Setup {
    /// Taken after everything was measured.
    fn new(flags: &Bench, model: &ModelIdentity, image: &RgbImage, open_seconds: f64) -> Self {
        Self {
            model: model.name.clone(),
            device: flags.model.device.to_string(),
            instructions: format!("{:?}", Isa::detect()).to_lowercase(),
            threads: rayon::current_num_threads(),
            image: [image.height(), image.width()],
            repeats: flags.repeats,
            open_seconds,
            peak_bytes: memory::peak_bytes(),
        }
    }

    fn heading(&self) -> String {
        let Self { model, device, instructions, threads, image: [height, width], repeats, .. } = self;
        format!(
            "{model}, device {device}, {instructions}, {threads} threads; {width}x{height} pixels, median of {repeats}"
        )
    }

    fn last_line(&self) -> String {
        let mebibytes = |bytes: u64| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20));
        let peak = self.peak_bytes.map_or("unknown".to_owned(), mebibytes);
        format!("opened in {:.0} ms; peak memory {peak}", self.open_seconds * 1e3)
    }
}

/// Times of one stage, in milliseconds.
#[derive(Serialize)]
struct Stage {
    name: &'static str,
    median: f64,
    /// A quarter of the runs is faster, a quarter slower.
    quartiles: [f64; 2],
}

impl Stage {
    fn heading() -> String {
        format!("{:18} {:>9}  quartiles, ms", "stage", "ms")
    }

    fn line(&self) -> String {
        let Self { name, median, quartiles: [low, high] } = self;
        format!("{name:18} {median:9.2}  {low:.2} to {high:.2}")
    }
}

/// The file and its pixels.
fn picture(flags: &Bench) -> anyhow::Result<(Vec<u8>, RgbImage)> {
    let file = match &flags.image {
        Some(path) => std::fs::read(path).with_context(|| path.display().to_string())?,
        None => {
            let &[height, width] = flags.size.as_slice() else { bail!("--size takes height and width") };
            let limits = ImageLimits::default();
            if height == 0 || width == 0 || height > limits.max_height || width > limits.max_width {
                bail!("--size is {height} {width}, expected 1 to {} and {}", limits.max_height, limits.max_width);
            }
            let mut random = Rng::new(0);
            // Squares of colours: a JPEG as large as that of a photograph.
            let mut colours = vec![[0u8; 3]; 4096];
            colours.iter_mut().flatten().for_each(|value| *value = (random.unit() * 255.0) as u8);
            let place = |x: u32, y: u32| (x / 7 + 61 * (y / 7)) as usize % colours.len();
            let image = RgbImage::from_fn(width, height, |x, y| image::Rgb(colours[place(x, y)]));
            let mut bytes = Cursor::new(Vec::new());
            image.write_to(&mut bytes, image::ImageFormat::Jpeg)?;
            bytes.into_inner()
        }
    };
    let image = decode_bytes(&file, ImageLimits::default(), ExifOrientation::Ignore)?;
    Ok((file, image))
}

/// Times by stage, in the order of their first measurement.
#[derive(Default)]
struct Times(Vec<(&'static str, Vec<f64>)>);

impl Times {
    fn measure<T, E>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let start = Instant::now();
        let result = std::hint::black_box(work())?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, times)) => times.push(milliseconds),
            None => self.0.push((name, vec![milliseconds])),
        }
        Ok(result)
    }

    fn stages(&self) -> Vec<Stage> {
        let stage = |(name, times): &(&'static str, Vec<f64>)| {
            let [low, median, high] = quartiles(times.clone());
            Stage { name, median, quartiles: [low, high] }
        };
        self.0.iter().map(stage).collect()
    }
}

/// A quarter, half and three quarters of the way through.
fn quartiles(mut times: Vec<f64>) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    let last = times.len().saturating_sub(1);
    [1, 2, 3].map(|quarter| times.get((last * quarter + 2) / 4).copied().unwrap_or(f64::NAN))
}

fn median_of(stages: &[Stage], name: &str) -> f64 {
    stages.iter().find(|stage| stage.name == name).map_or(f64::NAN, |stage| stage.median)
}
