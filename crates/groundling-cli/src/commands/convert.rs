//! `groundling convert`: a checkpoint of another program as a folder of weights.

use anyhow::{Context, bail};
use groundling::Description;
use groundling::systems::{self, Import, Imported};
use groundling_models::focus_detr::COCO_CLASSES;
use groundling_nn::checkpoint::{Checkpoint, Limits, Precision, Report, Weights};
use serde::Serialize;
use serde_json::Value;

use crate::flags::{Convert, Format, PrecisionName};
use crate::{Outcome, output};

#[derive(Serialize)]
struct Converted {
    schema: &'static str,
    checkpoint: String,
    system: String,
    layout: &'static str,
    /// Whether everything that must fit does.
    fits: bool,
    /// The folder written; `null` for a look beforehand.
    out: Option<String>,
    /// Parameters that got values, and how many numbers they hold.
    loaded: usize,
    loaded_numbers: usize,
    /// Parameters that start from random numbers, and why.
    fresh: Vec<Named>,
    /// Tensors of the checkpoint that nobody needs, and why.
    ignored: Vec<Named>,
    missing: Vec<String>,
    unused: Vec<String>,
    wrong_shape: Vec<Shape>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    why: String,
}

#[derive(Serialize)]
struct Shape {
    name: String,
    tensor: String,
    expected: Vec<usize>,
    found: Vec<usize>,
}

pub(crate) fn run(flags: &Convert, format: Format) -> anyhow::Result<Outcome> {
    check_system(&flags.system)?;
    let take = match flags.take.as_str() {
        "auto" => Weights::Auto,
        "ema" => Weights::Ema,
        "everything" => Weights::Everything,
        name => Weights::Named(name.to_owned()),
    };
    let checkpoint = Checkpoint::open_weights(&flags.checkpoint, &take, &Limits::default())?;
    let (preset, config) = config(flags, &checkpoint)?;
    let layout = (flags.layout != "auto").then_some(flags.layout.as_str());
    let import = Import { system: &flags.system, config: &config, checkpoint: &checkpoint, layout, seed: flags.seed };
    let imported = match &flags.out {
        Some(folder) if !flags.dry_run => {
            let name = flags.name.clone().or_else(|| Some(folder.file_name()?.to_string_lossy().into_owned()));
            let name = name.unwrap_or_else(|| flags.system.clone());
            let precision = match flags.precision {
                PrecisionName::F16 => Precision::F16,
                PrecisionName::F32 => Precision::F32,
            };
            import.write(
                folder,
                &Description { classes: classes(flags, &config)?, ..description(flags, &name, &preset) },
                precision,
            )?
        }
        _ => import.plan()?,
    };
    let fits = imported.report.is_complete();
    output::result(format, &converted(flags, &imported), || text(&imported))?;
    Ok(if fits { Outcome::Done } else { Outcome::Negative })
}

fn check_system(system: &str) -> anyhow::Result<()> {
    if !systems::all_names().contains(&system) {
        bail!("there is no system {system:?}; this version has {}", systems::all_names().join(", "));
    }
    Ok(())
}

/// The name of the preset, empty where there is none, and the configuration: of a file, of a preset, or what the checkpoint says.
fn config(flags: &Convert, checkpoint: &Checkpoint) -> anyhow::Result<(String, Value)> {
    if let Some(file) = &flags.config {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let mut value: Value = serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
        // A whole config.json is as good as its part.
        let config = if value["config"].is_object() { value["config"].take() } else { value };
        return Ok((String::new(), config));
    }
    let Some(preset) = &flags.preset else {
        if let Some(config) = systems::detect(&flags.system, checkpoint)? {
            return Ok((String::new(), config));
        }
        let (preset, config) = systems::deduced(&flags.system, checkpoint).with_context(|| {
            let file = flags.checkpoint.display();
            format!("{file}: its names do not tell the sizes of a {}; say them with --preset or --config", flags.system)
        })?;
        return Ok((preset.to_owned(), config));
    };
    let config = systems::preset(&flags.system, preset).with_context(|| {
        format!("there is no preset {preset:?} of {}; `groundling models` lists them", flags.system)
    })?;
    Ok((preset.clone(), config))
}

/// Names of the classes of a detector or classifier: those of a file, or COCO's for a detector of as many; none for other systems.
fn classes(flags: &Convert, config: &Value) -> anyhow::Result<Vec<String>> {
    let detects = systems::DETECTORS.contains(&flags.system.as_str());
    let expected = match systems::CLASSIFIERS.contains(&flags.system.as_str()) {
        true if config["head"].is_null() => bail!("this checkpoint is a backbone: it gives maps, and names nothing"),
        true => &config["head"]["classes"],
        false if detects => &config["classes"],
        false => return Ok(Vec::new()),
    };
    let expected = expected.as_u64().unwrap_or_default() as usize;
    let names: Vec<String> = match &flags.classes {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        }
        None if detects && expected == COCO_CLASSES.len() => COCO_CLASSES.map(str::to_owned).to_vec(),
        None => bail!("the names of {expected} classes are not known: give a file with --classes, a name a line"),
    };
    if names.len() != expected {
        bail!("{} names of classes, expected {expected}, one for each output of the model", names.len());
    }
    Ok(names)
}

fn description(flags: &Convert, name: &str, preset: &str) -> Description {
    let source = flags.checkpoint.file_name().unwrap_or_default().to_string_lossy();
    let card = format!(
        "# {name}\n\nConverted from `{source}` by `groundling convert` ({}, seed {} for the parts that it lacks). These parts are not \
         trained: fine-tune before use.\n\nLicence of the weights: {}.\n",
        flags.system, flags.seed, flags.licence
    );
    Description {
        name: name.to_owned(),
        preset: preset.to_owned(),
        licence: flags.licence.clone(),
        card: Some(card),
        ..Description::default()
    }
}

fn converted(flags: &Convert, imported: &Imported) -> Converted {
    let report = &imported.report;
    let named = |items: &[(String, &'static str)]| {
        items.iter().map(|(name, why)| Named { name: name.clone(), why: (*why).to_owned() }).collect()
    };
    Converted {
        schema: "groundling.converted/1",
        checkpoint: flags.checkpoint.display().to_string(),
        system: flags.system.clone(),
        layout: imported.layout,
        fits: report.is_complete(),
        out: imported.bundle.as_ref().map(|bundle| bundle.place()),
        loaded: report.loaded,
        loaded_numbers: report.loaded_numbers,
        fresh: named(&report.kept),
        ignored: named(&report.ignored),
        missing: report.missing.iter().map(|(name, _)| name.clone()).collect(),
        unused: report.unused.clone(),
        wrong_shape: report
            .wrong_shape
            .iter()
            .map(|wrong| Shape {
                name: wrong.name.clone(),
                tensor: wrong.tensor.clone(),
                expected: wrong.expected.clone(),
                found: wrong.found.clone(),
            })
            .collect(),
    }
}

fn text(imported: &Imported) -> String {
    let Imported { layout, about, report, bundle } = imported;
    let end = match bundle {
        Some(bundle) => format!("written to {}", bundle.place()),
        None if report.is_complete() => "it fits; nothing was written".to_owned(),
        None => "it does not fit".to_owned(),
    };
    let counts = |Report { kept, ignored, .. }: &Report| {
        format!("{} start fresh, {} of the file are not needed", kept.len(), ignored.len())
    };
    format!("layout {layout}: {about}\n{}\n{}\n{end}", report.to_string().trim_end(), counts(report))
}
