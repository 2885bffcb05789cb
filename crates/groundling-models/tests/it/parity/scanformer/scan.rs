//! Inference: what was read, boxes, tokens inside, counts of operations.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use groundling_core::ContentRect;
use groundling_models::contract::{GroundOptions, Grounded, System, Trainable};
use groundling_models::scanformer::{LevelLoad, ScanFormer, Seen};
use groundling_testkit::{Array, Case, Folder, Report};

use crate::support;

/// A run with everything that was seen inside.
pub(super) struct Run {
    pub(super) grounded: Grounded,
    seen: BTreeMap<String, Array>,
    tokens: usize,
}

/// Runs the model on the inputs of a case.
pub(super) fn run(model: &ScanFormer, case: &Case) -> Run {
    let config = model.config();
    let image = case.input("image");
    let canvas: Tensor<4> = support::tensor::<3>(&image, &Device::flex()).unsqueeze();
    let content: ContentRect = support::rect(&case.input("rect").data);
    let ids: Vec<u32> = case.input("ids").data.iter().map(|&id| id as u32).collect();
    let mut seen = BTreeMap::new();
    let mut look = |event: Seen| {
        let (name, value) = match event {
            Seen::Bias { level, bias } => (format!("level{level}.bias"), support::array(bias)),
            Seen::Tokens { level, layers, tokens } => {
                let stages = [("input", 0), ("first", 1), ("mid", config.select_layer), ("last", config.layers)];
                let value = support::array(tokens);
                let block = level.map_or("text".to_owned(), |level| format!("level{level}"));
                for (stage, _) in stages.into_iter().filter(|&(_, of)| of == layers) {
                    let hidden = if stage == "input" { "" } else { "hidden." };
                    seen.insert(format!("{block}.{hidden}{stage}"), without_batch(value.clone()));
                }
                return;
            }
            Seen::Answers { tokens } => {
                let answers = support::array(tokens);
                let width = config.dim;
                for (level, row) in answers.data.chunks(width).enumerate() {
                    seen.insert(format!("level{level}.reg"), Array::new([width], row.to_vec()));
                }
                return;
            }
        };
        seen.insert(name, without_batch(value));
    };
    let phrase = model.read_phrase_observed(&ids, Some(&mut look));
    let view = model.read_canvas(canvas, content);
    let options = GroundOptions { threshold: case.input("threshold").data[0] as f32, ..GroundOptions::default() };
    let grounded = model.ground_observed(&[(&phrase, &view)], &options, Some(&mut look)).unwrap().remove(0);
    // Without an observer the last layer is shortened, and nothing is different.
    let short = model.ground(&model.read_phrase(&ids), &view, &options).unwrap();
    for (one, two) in grounded.levels.iter().zip(&short.levels) {
        assert_eq!(one.kept, two.kept);
        let (one, two) = (one.bbox.to_array(), two.bbox.to_array());
        assert!(one.iter().zip(two).all(|(a, b)| (a - b).abs() < 1e-5), "{one:?} {two:?}");
    }
    Run { grounded, seen, tokens: ids.len() }
}

fn without_batch(array: Array) -> Array {
    Array::new(array.shape[1..].to_vec(), array.data)
}

/// Checks every output of a scan.
pub(super) fn check(run: &Run, report: &mut Report<'_>) {
    for (name, value) in &run.seen {
        if report.wants(name) {
            report.check(name, value);
        }
    }
    let levels = &run.grounded.levels;
    let row = |values: &mut dyn Iterator<Item = f64>| {
        let data: Vec<f64> = values.collect();
        Array::new([data.len()], data)
    };
    let boxes: Vec<f64> = levels.iter().flat_map(|level| level.bbox.to_array()).collect();
    let mut values: Vec<(String, Array)> = vec![
        ("boxes".into(), Array::new([levels.len(), 4], boxes)),
        ("kept".into(), row(&mut levels.iter().map(|level| level.kept.len() as f64))),
        ("consts".into(), row(&mut levels.iter().map(|level| level.constants as f64))),
    ];
    for (index, level) in levels.iter().enumerate() {
        let mut add = |name: &str, value: Array| values.push((format!("level{index}.{name}"), value));
        let count = level.grid * level.grid;
        let mask = |patches: &[usize]| {
            let mut mask = vec![0.0; count];
            patches.iter().for_each(|&patch| mask[patch] = 1.0);
            Array::new([count], mask)
        };
        let mut r = vec![0.0; count];
        for (&patch, &value) in level.candidates.iter().zip(&level.values) {
            r[patch] = f64::from(value);
        }
        add("valid", mask(&level.valid));
        add("cand", mask(&level.candidates));
        add("keep", mask(&level.kept));
        add("r", Array::new([count], r));
        add("kept_idx", row(&mut level.kept.iter().map(|&patch| patch as f64)));
        add("n_const", Array::new([1], vec![level.constants as f64]));
        add("box", row(&mut level.bbox.to_array().into_iter()));
    }
    for (name, value) in values.into_iter().filter(|(name, _)| report.wants(name)).collect::<Vec<_>>() {
        report.check(&name, &value);
    }
}

/// Checks the operation counts, part by part.
fn check_flops(model: &ScanFormer, run: &Run, case: &Case) {
    let Some(expected) = case.json.get("expect").and_then(|expect| expect.get("flops")) else { return };
    let config = model.config();
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    assert_eq!(config.language_flops(run.tokens), number(&expected["text"]), "{}", case.name());
    assert_eq!(run.grounded.flops, number(&expected["total"]), "{}", case.name());
    let mut keys = run.tokens;
    for (index, (level, expected)) in run.grounded.levels.iter().zip(expected["levels"].as_array().unwrap()).enumerate()
    {
        let chooses = index + 1 < config.levels;
        let load = LevelLoad { kept: level.kept.len(), constants: level.constants, merge: true, chooses };
        let flops = config.level_flops(load, keys);
        keys = flops.keys;
        let found = [flops.tokens as u64, flops.keys as u64, flops.encoder, flops.patch, flops.bbox, flops.select];
        let names = ["tokens", "keys", "encoder", "patch", "box", "select"];
        assert_eq!(found, names.map(|name| number(&expected[name])), "{} level {index}", case.name());
        assert_eq!(level.flops, flops.total());
    }
}

/// The module of a case and, for cases of the same file, always the same one: filling the large one takes seconds.
fn check_case(model: &ScanFormer, case: &Case) {
    let run = run(model, case);
    let mut report = case.report();
    if report.wants("input:image") {
        report.check("input:image", &case.input("image"));
    }
    let weight = "layers.0.attn.qkv.weight";
    if report.wants(&format!("param:{weight}")) {
        let shape = [3 * model.config().dim, model.config().dim];
        report.check(&format!("param:{weight}"), &case.parameter(weight, &shape).unwrap());
    }
    check(&run, &mut report);
    check_flops(model, &run, case);
    report.finish();
}

#[test]
fn scan() {
    use groundling_nn::layers::PrepareInference;

    let folder = Folder::open("scanformer");
    let mut models: BTreeMap<String, ScanFormer> = BTreeMap::new();
    for case in folder.of_kinds(&["scan"], 11) {
        let file = case.file().display().to_string();
        let model = models.entry(file).or_insert_with(|| {
            let model = ScanFormer::new(&super::config(case), &Device::flex()).unwrap();
            let mut model = support::filled(model, case);
            model.prepare_inference();
            model
        });
        check_case(model, case);
    }
}
