//! The commands on a model that answers with masks, with random weights.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::tensor::Device;
use groundling::{Bundle, BundleLimits, Description};
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_nn::checkpoint::{Precision, initialise};
use groundling_testkit::{fixtures, scratch};
use serde_json::{Value, json};

use crate::model::{path, said};

/// Weights of the tiny preset, written once. With this seed some answers are empty and some are not.
fn weights() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| write_weights(&scratch("cli-masks").join("weights")))
}

fn write_weights(folder: &Path) -> PathBuf {
    let device = Device::flex();
    let _alone = crate::alone();
    device.seed(5);
    let model = Dmmi::new(&DmmiConfig::tiny(), &device).unwrap();
    initialise(&model);
    let description = Description { name: "tiny-masks".into(), preset: "tiny".into(), ..Description::default() };
    Bundle::write(folder, &model, &description, Precision::F32).unwrap();
    folder.to_owned()
}

fn json_with(weights: &Path, arguments: &[&str]) -> Value {
    let (code, out, err) = said(&[arguments, &["--weights", path(weights), "--json", "-q"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}"))
}

fn value(report: &Value, name: &str) -> f64 {
    let figures = report["figures"].as_array().unwrap();
    let figure = figures.iter().find(|figure| figure["name"] == name);
    figure.unwrap_or_else(|| panic!("no {name} in {report}"))["value"].as_f64().unwrap()
}

/// Pixels of a mask in a record, column by column.
fn pixels(mask: &Value) -> Vec<bool> {
    let size: Vec<usize> =
        mask["size"].as_array().unwrap().iter().map(|side| side.as_u64().unwrap() as usize).collect();
    let rle = groundling_core::Rle::from_compressed(
        groundling_core::ImageSize::new(size[0] as u32, size[1] as u32).unwrap(),
        mask["counts"].as_str().unwrap(),
    );
    let mut inside = false;
    let mut pixels = Vec::new();
    for &run in rle.unwrap().counts() {
        pixels.extend(std::iter::repeat_n(inside, run as usize));
        inside = !inside;
    }
    assert_eq!(pixels.len(), size[0] * size[1]);
    pixels
}

/// The union of the masks of a record's targets, all false if there are none.
fn union(record: &Value) -> Vec<bool> {
    let count = (record["width"].as_u64().unwrap() * record["height"].as_u64().unwrap()) as usize;
    record["targets"].as_array().unwrap().iter().fold(vec![false; count], |union, target| {
        union.iter().zip(pixels(&target["mask"])).map(|(&a, b)| a || b).collect()
    })
}

fn lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_layout_is_scored_and_saved_masks_give_the_same_numbers() {
    let folder = scratch("cli-masks-eval");
    let saved = folder.join("saved.jsonl");
    for layout in ["refer", "refzom", "grefcoco"] {
        let out = folder.join(layout);
        assert_eq!(said(&["data", "make", "scenes:test:4", "-o", path(&out), "--layout", layout, "-q"]).0, 0);
    }
    let inside = |layout: &str| path(&folder.join(layout)).to_owned();
    for (source, usual, others) in [
        (format!("refer:{}/refcoco:unc:test", inside("refer")), "res", ["res-64", "res-96"]),
        (format!("refzom:{}:test", inside("refzom")), "ref-zom", ["ref-zom-64", "gres-empty-mask"]),
        (format!("grefcoco:{}:test", inside("grefcoco")), "gres", ["gres-64", "gres-area50"]),
        ("scenes:test:4".to_owned(), "ref-zom", ["gres", "coco-mask"]),
    ] {
        for protocol in [None, Some(others[0]), Some(others[1])] {
            let named: Vec<&str> = protocol.iter().flat_map(|name| ["--protocol", *name]).collect();
            let ask = ["eval", "--data", &source, "--save", path(&saved), "--resamples", "20"];
            let report = json_with(weights(), &[&ask[..], &named].concat());
            let protocol = protocol.unwrap_or(usual);
            assert_eq!(report["protocol"], protocol, "{source}");
            let frame = if protocol.ends_with("-64") { "canvas 64x64" } else { "original" };
            assert_eq!((&report["run"]["frame"], &report["run"]["calibrated"]), (&json!(frame), &json!(false)));
            let again =
                ["eval", "-p", path(&saved), "-t", &source, "--protocol", protocol, "--resamples", "20", "--json"];
            let (code, out, err) = said(&again);
            assert_eq!(code, 0, "{source} {protocol}: {err}");
            let again: Value = serde_json::from_str(&out).unwrap();
            for field in ["figures", "counts", "breakdowns", "calibration"] {
                assert_eq!(again[field], report[field], "{source} {protocol}: {field}");
            }
        }
    }
}

#[test]
fn figures_are_those_counted_pixel_by_pixel() {
    let folder = scratch("cli-masks-count");
    let (saved, truth) = (folder.join("saved.jsonl"), folder.join("truth.jsonl"));
    let weights = write_weights(&folder.join("weights"));
    assert_eq!(said(&["data", "truth", "scenes:val:5", "-o", path(&truth), "-q"]).0, 0);
    let eval = ["eval", "--data", "scenes:val:5", "--save", path(&saved), "--resamples", "0"];
    let (report, counted) = (json_with(&weights, &eval), Counted::of(&lines(&saved), &lines(&truth)));
    counted.compare(&report);
    assert!(counted.absent > counted.right && counted.ious.len() > 5, "{counted:?}");
    // A rule that never says "not here": every mask has pixels.
    let rule = groundling::bundle::CalibrationRecord {
        temperature: 1.0,
        shift: 0.0,
        threshold: 2.0,
        false_alarm_rate: 0.1,
        source: "by hand".into(),
        seed: None,
        present: 1,
        absent: 1,
    };
    Bundle::open(&weights, &BundleLimits::default()).unwrap().calibrate(Some(rule)).unwrap();
    let (report, counted) = (json_with(&weights, &eval), Counted::of(&lines(&saved), &lines(&truth)));
    counted.compare(&report);
    assert!(counted.right == 0 && counted.intersection > 0, "{counted:?}");
}

/// Figures of the Ref-ZOM protocol, from decoded pixels.
#[derive(Debug, Default)]
struct Counted {
    intersection: usize,
    union: usize,
    ious: Vec<f64>,
    right: usize,
    absent: usize,
}

impl Counted {
    fn of(found: &[Value], truths: &[Value]) -> Self {
        assert_eq!(found.len(), truths.len());
        let mut counted = Self::default();
        for (found, truth) in found.iter().zip(truths) {
            assert_eq!(found["id"], truth["id"]);
            let (found, truth_mask) = (union(found), union(truth));
            if truth["source"] == "zero" {
                counted.absent += 1;
                counted.right += usize::from(!found.contains(&true));
                continue;
            }
            let count =
                |of: &dyn Fn(bool, bool) -> bool| found.iter().zip(&truth_mask).filter(|(a, b)| of(**a, **b)).count();
            let (i, u) = (count(&|a, b| a && b), count(&|a, b| a || b));
            (counted.intersection, counted.union) = (counted.intersection + i, counted.union + u);
            counted.ious.push(i as f64 / u as f64);
        }
        counted
    }

    fn compare(&self, report: &Value) {
        let near = |name: &str, expected: f64| {
            let found = value(report, name);
            assert!((found - expected).abs() < 1e-9, "{name}: {found}, counted {expected}");
        };
        near("oIoU", 100.0 * self.intersection as f64 / self.union as f64);
        near("mIoU", 100.0 * self.ious.iter().sum::<f64>() / self.ious.len() as f64);
        near("Acc", 100.0 * self.right as f64 / self.absent as f64);
    }
}

const RECIPE: &str = "
    [model]
    system = \"dmmi\"
    preset = \"tiny\"
    [[data]]
    source = \"scenes:train:100\"
    size = [64, 64]
    phrases = [2, 2]
    targets = [\"zero\", \"one\", \"many\"]
    [validation]
    source = \"scenes:val:4\"
    every = 2
    targets = [\"zero\", \"one\", \"many\"]
    [schedule]
    steps = 4
    batch = 3
    [criterion]
    class_weights = [0.1, 10.0]
    [output]
    precision = \"f32\"
";

/// Weights are kept by the overall IoU of masks, and the figures of training are those of `eval`.
#[test]
fn training_keeps_the_best_masks() {
    let folder = scratch("cli-masks-train");
    let (recipe, out) = (folder.join("recipe.toml"), folder.join("out"));
    std::fs::write(&recipe, RECIPE).unwrap();
    let (code, printed, err) = said(&["train", path(&recipe), "--out", path(&out), "--threads", "1", "-q"]);
    assert_eq!(code, 0, "{err}");
    let log = lines(&out.join("log.jsonl"));
    let step = log.iter().find(|line| line["type"] == "step").unwrap();
    for term in ["segmentation", "recovery", "contrast"] {
        assert!(step["terms"][term].as_f64().is_some_and(f64::is_finite), "{term}: {step}");
    }
    let evaluations: Vec<&Value> = log.iter().filter(|line| line["type"] == "evaluation").collect();
    assert_eq!(evaluations.len(), 2);
    let overall = |line: &Value| line["masks"]["overall_iou"].as_f64().unwrap();
    let best = evaluations.iter().map(|line| overall(line)).fold(0.0, f64::max);
    assert!(best > 0.0 && printed.contains(&format!("best oIoU {best:.2} at step ")), "{printed}");
    let last = evaluations[1];
    let eval = |protocol| {
        json_with(&out.join("last"), &["eval", "--data", "scenes:val:4", "--protocol", protocol, "--resamples", "0"])
    };
    let (zom, gres) = (eval("ref-zom"), eval("gres-empty-mask"));
    for (report, name, key) in [
        (&zom, "oIoU", "overall_iou"),
        (&zom, "mIoU", "mean_iou"),
        (&zom, "Acc", "absent_accuracy"),
        (&gres, "T-acc", "answered"),
    ] {
        let trained = last["masks"][key].as_f64().unwrap();
        assert!((value(report, name) - trained).abs() < 1e-9, "{name}: {trained} while training, {report}");
    }
    let auroc = zom["calibration"]["auroc"].as_f64().unwrap();
    assert!((auroc - last["masks"]["no_target_auroc"].as_f64().unwrap()).abs() < 1e-9);
    assert_eq!(last["masks"]["absent"], zom["counts"]["zero"]);
    assert!(std::fs::read_to_string(out.join("accuracy.svg")).unwrap().contains("oIoU"));
}

/// Plain cross-attention, as the ablation has it: words ask nothing, and what they would ask with has no parameters.
#[test]
fn words_that_do_not_ask_are_trained_too() {
    let folder = scratch("cli-masks-plain");
    let (recipe, out) = (folder.join("recipe.toml"), folder.join("out"));
    let plain = "preset = \"tiny\"\n    config = { regions = [1], spans = [] }";
    let optimizer =
        "[optimizer]\n    ema = { decay = 0.5 }\n    muon = { names = [\"network.\"], lr = 1e-3 }\n    [output]";
    std::fs::write(&recipe, RECIPE.replace("preset = \"tiny\"", plain).replace("[output]", optimizer)).unwrap();
    let train = ["train", path(&recipe), "--out", path(&out), "--threads", "1", "-q"];
    let (code, _, err) = said(&train);
    assert_eq!(code, 0, "{err}");
    let report = json_with(&out.join("last"), &["eval", "--data", "scenes:val:2", "--resamples", "0"]);
    assert!((0.0..=100.0).contains(&value(&report, "oIoU")), "{report}");
}

/// Data as others publish it, alone and mixed, phrases about nothing and about several among it.
#[test]
fn training_reads_every_layout() {
    let folder = scratch("cli-masks-layouts");
    let inside = |layout: &str| path(&folder.join(layout)).to_owned();
    for layout in ["jsonl", "refer", "refzom", "grefcoco"] {
        let made = ["data", "make", "scenes:train:6", "scenes:val:6", "-o", &inside(layout), "--layout", layout, "-q"];
        assert_eq!(said(&made).0, 0, "{layout}");
    }
    // Ref-ZOM has no split for validation.
    let pairs = [
        (format!("refer:{}/refcoco:unc:train", inside("refer")), format!("refer:{}/refcoco:unc:val", inside("refer"))),
        (format!("refzom:{}:train", inside("refzom")), format!("grefcoco:{}:val", inside("grefcoco"))),
        (format!("grefcoco:{}:train", inside("grefcoco")), format!("grefcoco:{}:val", inside("grefcoco"))),
        (format!("jsonl:{}/train.jsonl", inside("jsonl")), format!("jsonl:{}/val.jsonl", inside("jsonl"))),
    ];
    let mixed: Vec<&str> = pairs.iter().map(|(train, _)| train.as_str()).collect();
    let runs = pairs.iter().map(|(train, val)| (vec![train.as_str()], val)).chain([(mixed, &pairs[1].1)]);
    // RefCOCO has a target for every phrase.
    let kinds = |source: &str| if source.starts_with("refer:") { "[\"one\"]" } else { "[\"zero\", \"one\", \"many\"]" };
    for (index, (sources, val)) in runs.enumerate() {
        let (recipe, out) = (folder.join(format!("{index}.toml")), folder.join(format!("out-{index}")));
        let data = |source: &&str| format!("[[data]]\nsource = {source:?}\ntargets = {}\n", kinds(source));
        let data: String = sources.iter().map(data).collect();
        let text = format!(
            "[model]\nsystem = \"dmmi\"\npreset = \"tiny\"\n{data}
            [validation]\nsource = {val:?}\nevery = 4\ntargets = {}
            [schedule]\nsteps = 4\nbatch = 3\n",
            kinds(val)
        );
        std::fs::write(&recipe, text).unwrap();
        let (code, _, err) = said(&["train", path(&recipe), "--out", path(&out), "--threads", "1", "-q"]);
        assert_eq!(code, 0, "{sources:?}: {err}");
        let log = lines(&out.join("log.jsonl"));
        let steps: Vec<&Value> = log.iter().filter(|line| line["type"] == "step").collect();
        assert!(steps.iter().all(|step| step["loss"].as_f64().is_some_and(f64::is_finite)), "{sources:?}: {steps:?}");
        assert_eq!(steps.last().unwrap()["samples"], 12, "{sources:?}");
        let last = log.iter().rfind(|line| line["type"] == "evaluation").unwrap();
        assert!(last["count"].as_u64().unwrap() > 0, "{last}");
        assert_eq!(last["masks"]["absent"].as_u64().unwrap() > 0, !val.starts_with("refer:"), "{last}");
    }
}

#[test]
fn answers_have_masks_in_every_form() {
    let photo = fixtures().join("photos/coffee.jpg");
    let drawn = scratch("cli-masks-draw").join("found.png");
    let phrase = some_phrase(&photo);
    let found = json_with(weights(), &["ground", path(&photo), &phrase, "--draw", path(&drawn)]);
    assert_eq!(found["model"]["calibration"], Value::Null);
    let prediction = &found["answers"][0]["prediction"];
    assert!(prediction["no_target_score"].as_f64().is_some_and(|score| (0.0..0.5).contains(&score)));
    let targets = prediction["targets"].as_array().unwrap();
    for target in targets {
        assert_eq!(target["mask"]["size"], json!([400, 600]));
        let area = pixels(&target["mask"]).iter().filter(|inside| **inside).count() as f64;
        let corners: Vec<f64> = target["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        assert!(area > 0.0 && area <= (corners[2] - corners[0]) * (corners[3] - corners[1]), "{area} in {corners:?}");
    }
    assert_eq!(image::image_dimensions(&drawn).unwrap(), (600, 400));
    let plain = image::open(&photo).unwrap().to_rgb8();
    let inside = union(prediction);
    let tinted = image::open(&drawn).unwrap().to_rgb8();
    let changed = tinted
        .enumerate_pixels()
        .filter(|(x, y, pixel)| inside[*x as usize * 400 + *y as usize] && **pixel != *plain.get_pixel(*x, *y));
    let area = inside.iter().filter(|inside| **inside).count();
    assert!(changed.count() * 2 > area, "most of the {area} pixels of the mask are tinted");

    let (code, out, err) = said(&["ground", path(&photo), &phrase, "--format", "coco", "--weights", path(weights())]);
    assert_eq!(code, 0, "{err}");
    let results: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(results.as_array().unwrap().len(), targets.len());
    assert_eq!(results[0]["segmentation"], targets[0]["mask"]);
    let (_, out, _) = said(&["ground", path(&photo), &phrase, "--weights", path(weights())]);
    assert!(out.contains("   mask of "), "{out}");
}

/// A phrase that the random model finds something for.
fn some_phrase(photo: &Path) -> String {
    let phrases = ["the cup", "a spoon", "two red circles", "table", "the left one", "coffee", "everything blue"];
    let found = |phrase: &&str| {
        let found = json_with(weights(), &["ground", path(photo), phrase]);
        found["answers"][0]["prediction"]["targets"].as_array().is_some_and(|targets| !targets.is_empty())
    };
    phrases.into_iter().find(found).expect("with these weights").to_owned()
}

/// Outlines that cannot be drawn are left out or named, masks of another size are named: never a wrong figure.
#[test]
fn damaged_outlines_and_masks_are_said() {
    let folder = scratch("cli-masks-damaged");
    let make = |layout: &str| said(&["data", "make", "scenes:val:2", "-o", path(&folder), "--layout", layout, "-q"]).0;
    assert_eq!((make("grefcoco"), make("jsonl")), (0, 0));
    let file = folder.join("grefcoco/instances.json");
    let mut instances: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let source = format!("grefcoco:{}:val", path(&folder));
    let mut score = |outline: Value| {
        instances["annotations"][0]["segmentation"] = outline;
        std::fs::write(&file, instances.to_string()).unwrap();
        said(&["eval", "--data", &source, "--weights", path(weights()), "--resamples", "0", "-q", "--json"])
    };
    for outline in [json!([[1, 2, 3]]), json!([[1, 2, 3, 4, 5]]), json!([]), json!([[4, 4, 4, 4, 4, 4]])] {
        let (code, out, err) = score(outline.clone());
        assert_eq!(code, 0, "{outline}: {err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(report["counts"]["samples"], 15, "{outline}: no phrase is lost");
    }
    for outline in [json!([[1e9, 0, 5, 5, 9, 9]]), json!({"size": [9, 9], "counts": "!!"}), json!("circle")] {
        let (code, out, err) = score(outline.clone());
        assert_eq!((code, out.as_str()), (2, ""), "{outline}");
        assert!(err.contains("annotation") || err.contains("instances.json"), "{outline}: {err}");
    }
    let file = folder.join("val.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replacen("\"size\":[256,256]", "\"size\":[128,512]", 1);
    assert_ne!(other, text);
    std::fs::write(&file, other).unwrap();
    let source = format!("jsonl:{}", path(&file));
    let (code, out, err) =
        said(&["eval", "--data", &source, "--weights", path(weights()), "--protocol", "ref-zom", "-q"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("val.jsonl"), "{err}");
}

#[test]
fn a_calibration_is_stored_and_decides() {
    let root = scratch("cli-masks-calibrate");
    let folder = write_weights(&root.join("weights"));
    let chart = root.join("reliability.svg");
    let calibrate = |options: &[&str]| {
        let all = [&["calibrate", "--weights", path(&folder), "--json", "-q"], options].concat();
        said(&all)
    };
    // Random weights: one of these seeds of the world has scores of the right order.
    let fits = |seed: &&str| {
        let fit = ["--data", "scenes:val:12", "--false-alarm-rate", "0.25", "--dry-run", "--seed", *seed];
        calibrate(&fit).0 == 0
    };
    let seed = ["1", "2", "3", "4", "5", "6", "7", "8"].into_iter().find(fits).expect("half of them");
    let fit = ["--data", "scenes:val:12", "--false-alarm-rate", "0.25", "--seed", seed];
    assert!(Bundle::open(&folder, &BundleLimits::default()).unwrap().manifest().calibration.is_none(), "dry runs");
    let (code, out, err) = calibrate(&[&fit[..], &["--reliability", path(&chart)]].concat());
    assert_eq!(code, 0, "{err}");
    let said_now: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&said_now["schema"], &said_now["stored"]), (&json!("groundling.calibration/1"), &json!(true)));
    let calibration = &said_now["calibration"];
    assert_eq!(calibration["seed"].to_string(), seed);
    assert!(said_now["false_alarm_rate"].as_f64().unwrap() <= 0.25);
    assert!(said_now["after"]["ece"].as_f64().unwrap() <= said_now["before"]["ece"].as_f64().unwrap());
    assert!(std::fs::read_to_string(&chart).unwrap().starts_with("<svg"));

    // What is stored is what is used: the false alarms are those counted among answers to the same phrases.
    let saved = root.join("saved.jsonl");
    let eval = ["eval", "--data", "scenes:val:12", "--seed", seed, "--protocol", "gres", "--save", path(&saved)];
    let report = json_with(&folder, &[&eval[..], &["--resamples", "0"]].concat());
    assert_eq!(report["run"]["calibrated"], true);
    let counts = &report["counts"];
    assert_eq!(counts["zero"], calibration["absent"]);
    assert!((value(&report, "T-acc") - 100.0 * (1.0 - said_now["false_alarm_rate"].as_f64().unwrap())).abs() < 1e-6);
    assert!((value(&report, "N-acc") - 100.0 * said_now["detection_rate"].as_f64().unwrap()).abs() < 1e-6);
    assert!((report["calibration"]["ece"].as_f64().unwrap() - said_now["after"]["ece"].as_f64().unwrap()).abs() < 1e-9);
    for record in lines(&saved) {
        let (no, score) = (record["no_target"].as_bool().unwrap(), record["no_target_score"].as_f64().unwrap());
        assert_eq!(no, score >= calibration["threshold"].as_f64().unwrap());
        assert!(!no || record["targets"].as_array().unwrap().is_empty(), "nothing is shown where nothing is said");
    }
    let found = json_with(&folder, &["ground", path(&fixtures().join("photos/coffee.jpg")), "the cup"]);
    assert_eq!(found["model"]["calibration"], *calibration);
    let (_, out, _) = said(&["models", path(&folder)]);
    assert!(out.contains("calibrated on scenes:val:12"), "{out}");
    // Weights that are written anew are not calibrated.
    write_weights(&folder);
    assert!(Bundle::open(&folder, &BundleLimits::default()).unwrap().manifest().calibration.is_none());
}

#[test]
fn what_cannot_be_calibrated_is_said() {
    let root = scratch("cli-masks-not-calibrated");
    let folder = write_weights(&root.join("weights"));
    assert_eq!(said(&["data", "make", "scenes:val:3", "-o", path(&root), "--layout", "refer", "-q"]).0, 0);
    let only_one = format!("refer:{}:unc:val", path(&root.join("refcoco")));
    let before = std::fs::read_to_string(folder.join("config.json")).unwrap();
    let scan = crate::model::weights();
    for (weights, data, rate, message) in [
        (folder.as_path(), only_one.as_str(), "0.5", "and 0 that nothing fits: both kinds are needed"),
        (&folder, "scenes:val:3", "0", "a false-alarm rate of 0, expected a number above 0 and below 1"),
        (&folder, "scenes:val:3", "1.5", "a false-alarm rate of 1.5, expected"),
        (&folder, "scenes:val:3", "-0.1", "a false-alarm rate of -0.1, expected"),
        (&folder, "scenes:val:3", "NaN", "a false-alarm rate of NaN, expected"),
        (&folder, "scenes:val:3", "0.001", "are too few for a false-alarm rate of 0.001: it needs at least 1000"),
        (scan, "scenes:val:1", "0.5", "tiny-random: this model has no score for \"not here\""),
        (&folder, "scenes:nowhere", "0.5", "scenes:nowhere"),
    ] {
        let arguments = ["calibrate", "--weights", path(weights), "--data", data, "--false-alarm-rate", rate];
        let (code, out, err) = said(&arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{message}");
        assert!(err.starts_with("error: ") && err.contains(message), "{message}: {err}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("config.json")).unwrap(), before, "nothing was stored");
    let damaged = before.replacen(
        "\"weights\"",
        "\"calibration\": {\"temperature\": -1.0, \"shift\": 0.0, \
        \"threshold\": 0.5, \"false_alarm_rate\": 0.1, \"source\": \"x\", \"present\": 1, \"absent\": 1}, \"weights\"",
        1,
    );
    std::fs::write(folder.join("config.json"), damaged).unwrap();
    let (code, _, err) = said(&["eval", "--data", "scenes:val:1", "--weights", path(&folder)]);
    assert!(code == 2 && err.contains("calibration.temperature is -1, expected a number above 0"), "{err}");
    assert!(err.contains("hint: `groundling calibrate` writes it anew"), "{err}");
}
