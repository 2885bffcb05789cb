//! `groundling models`: what can be run, and what is there.

use std::path::{Path, PathBuf};

use groundling::bundle::MANIFEST_FILE;
use groundling::{Bundle, BundleLimits};
use groundling_models::catalog;
use groundling_models::contract::Trainable;
use groundling_models::focus_detr::FocusDetr;
use serde::Serialize;

use crate::flags::{Format, Models};
use crate::{Outcome, output};

#[derive(Serialize)]
struct Listing {
    schema: &'static str,
    models: Vec<Entry>,
    detectors: Vec<DetectorEntry>,
    weights: Vec<Found>,
}

#[derive(Serialize)]
struct Entry {
    name: &'static str,
    system: &'static str,
    preset: &'static str,
    about: &'static str,
    /// Height and width of the input, pixels.
    input: u32,
    max_pieces: usize,
    parameters: usize,
    dense_gflops: f64,
    paper: String,
    licence: &'static str,
}

#[derive(Serialize)]
struct DetectorEntry {
    name: &'static str,
    system: &'static str,
    preset: &'static str,
    about: &'static str,
    /// Shorter side of the input, pixels, and bound of the longer one.
    input: [u32; 2],
    classes: usize,
    parameters: usize,
    dense_gflops: f64,
    paper: String,
    licence: &'static str,
}

#[derive(Serialize)]
struct Found {
    place: String,
    #[serde(flatten)]
    what: What,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What {
    Model {
        name: String,
        system: String,
        preset: String,
        parameters: u64,
        precision: String,
        licence: String,
        trained_on: Vec<String>,
        /// On what "not here" was calibrated.
        #[serde(skip_serializing_if = "Option::is_none")]
        calibrated_on: Option<String>,
        hash: String,
    },
    Fault {
        error: String,
    },
}

pub(crate) fn run(flags: &Models, format: Format) -> anyhow::Result<Outcome> {
    let listing = Listing {
        schema: "groundling.models/1",
        models: catalog::all().into_iter().map(entry).collect(),
        detectors: catalog::detectors().into_iter().map(detector).collect(),
        weights: found(&flags.folders),
    };
    output::result(format, &listing, || text(&listing))?;
    Ok(Outcome::Done)
}

fn entry(spec: catalog::ModelSpec) -> Entry {
    let input = spec.config.input();
    Entry {
        name: spec.name,
        system: spec.config.system(),
        preset: spec.preset,
        about: spec.about,
        input: input.side,
        max_pieces: input.max_ids,
        parameters: spec.parameters,
        dense_gflops: spec.dense_flops as f64 / 1e9,
        paper: source(&spec.paper),
        licence: spec.paper.licence,
    }
}

fn detector(spec: catalog::DetectorSpec) -> DetectorEntry {
    DetectorEntry {
        name: spec.name,
        system: FocusDetr::NAME,
        preset: spec.preset,
        about: spec.about,
        input: [spec.config.input.short, spec.config.input.longest],
        classes: spec.config.classes,
        parameters: spec.parameters,
        dense_gflops: spec.dense_flops as f64 / 1e9,
        paper: source(&spec.paper),
        licence: spec.paper.licence,
    }
}

fn source(paper: &catalog::Paper) -> String {
    format!("{}, {}, arXiv:{}", paper.title, paper.venue, paper.arxiv)
}

/// The model in the program, the one that the environment names, and every folder of weights in or below the given ones.
fn found(folders: &[PathBuf]) -> Vec<Found> {
    let mut found: Vec<Found> = Bundle::builtin().map(|bundle| describe(&bundle)).into_iter().collect();
    let mut places: Vec<PathBuf> = Vec::new();
    if let Some(folder) = std::env::var_os(groundling::bundle::WEIGHTS_VARIABLE).filter(|folder| !folder.is_empty()) {
        places.push(folder.into());
    }
    for folder in folders.iter().map(PathBuf::as_path).chain([Path::new("weights")]) {
        let mut inside: Vec<PathBuf> =
            std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        inside.sort();
        let all = std::iter::once(folder.to_owned()).chain(inside);
        places.extend(all.filter(|place| place.join(MANIFEST_FILE).is_file()));
        if folders.iter().any(|named| named == folder) && !folder.is_dir() {
            places.push(folder.to_owned());
        }
    }
    places.dedup();
    found.extend(places.iter().map(|place| match Bundle::open(place, &BundleLimits::default()) {
        Ok(bundle) => describe(&bundle),
        Err(error) => Found { place: place.display().to_string(), what: What::Fault { error: error.to_string() } },
    }));
    found
}

fn describe(bundle: &Bundle) -> Found {
    let manifest = bundle.manifest();
    let data = manifest.training.iter().flat_map(|training| &training.data);
    Found {
        place: bundle.place(),
        what: What::Model {
            name: manifest.name.clone(),
            system: manifest.system.clone(),
            preset: manifest.preset.clone(),
            parameters: manifest.weights.parameters,
            precision: manifest.weights.precision.clone(),
            licence: manifest.licence.clone(),
            trained_on: data.map(|data| data.source.clone()).collect(),
            calibrated_on: manifest.calibration.as_ref().map(|calibration| calibration.source.clone()),
            hash: manifest.weights.sha256.clone(),
        },
    }
}

fn text(listing: &Listing) -> String {
    let millions = |count: u64| format!("{:.1} M", count as f64 / 1e6);
    let mut lines =
        vec![format!("{:20} {:>10} {:>7} {:>12}  {}", "model", "parameters", "input", "dense GFLOPs", "about")];
    for Entry { name, parameters, input, dense_gflops, about, .. } in &listing.models {
        let parameters = millions(*parameters as u64);
        lines.push(format!("{name:20} {parameters:>10} {input:>7} {dense_gflops:>12.3}  {about}"));
    }
    lines.push(format!("\n{:20} {:>10} {:>7} {:>12}  {}", "detector", "parameters", "input", "dense GFLOPs", "about"));
    for DetectorEntry { name, parameters, input: [short, _], dense_gflops, about, .. } in &listing.detectors {
        let parameters = millions(*parameters as u64);
        lines.push(format!("{name:20} {parameters:>10} {short:>7} {dense_gflops:>12.3}  {about}"));
    }
    let mut papers: Vec<&String> = listing.models.iter().map(|entry| &entry.paper).collect();
    papers.extend(listing.detectors.iter().map(|entry| &entry.paper));
    papers.dedup();
    lines.extend(papers.into_iter().map(|paper| format!("  {paper}")));
    lines.push(String::new());
    if listing.weights.is_empty() {
        lines.push("no weights found; `groundling train` and `groundling convert` make some".to_owned());
    }
    for Found { place, what } in &listing.weights {
        lines.push(match what {
            What::Fault { error } => format!("{place}\n  not usable: {error}"),
            What::Model { name, parameters, precision, licence, trained_on, calibrated_on, hash, .. } => {
                let data = if trained_on.is_empty() {
                    "no record of training".to_owned()
                } else {
                    format!("trained on {}", trained_on.join(", "))
                };
                let calibrated =
                    calibrated_on.as_ref().map_or(String::new(), |source| format!(", calibrated on {source}"));
                let hash: String = hash.chars().take(12).collect();
                format!(
                    "{place}\n  {name}, {} parameters ({precision}), {data}{calibrated}; licence {licence}; {hash}",
                    millions(*parameters)
                )
            }
        });
    }
    lines.join("\n")
}
