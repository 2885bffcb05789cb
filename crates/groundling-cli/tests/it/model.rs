//! The commands that run a model, on one with random weights.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use assert_cmd::Command;
use burn::tensor::Device;
use groundling::{Bundle, Description};
use groundling_models::contract::Trainable;
use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
use groundling_nn::checkpoint::Precision;
use groundling_testkit::torch::{Entry, Numbers, authors_entries, training_checkpoint};
use groundling_testkit::{fixtures, scratch};
use serde_json::{Value, json};

/// Weights of the tiny preset, written once.
pub(crate) fn weights() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| write_weights(&scratch("cli-weights").join("tiny"), &ScanFormerConfig::tiny()))
}

fn write_weights(folder: &Path, config: &ScanFormerConfig) -> PathBuf {
    let device = Device::flex();
    let _alone = crate::alone();
    device.seed(11);
    let description = Description {
        name: "tiny-random".into(),
        preset: "tiny".into(),
        licence: "MIT".into(),
        ..Description::default()
    };
    Bundle::write(folder, &ScanFormer::init(config, &device).unwrap(), &description, Precision::F16).unwrap();
    folder.to_owned()
}

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("groundling").unwrap();
    for variable in ["GROUNDLING_FORMAT", "GROUNDLING_WEIGHTS", "GROUNDLING_DEVICE"] {
        command.env_remove(variable);
    }
    command.args(arguments).output().unwrap()
}

pub(crate) fn said(arguments: &[&str]) -> (i32, String, String) {
    let output = run(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// With the tiny weights.
fn asked(arguments: &[&str]) -> (i32, String, String) {
    said(&[arguments, &["--weights", path(weights())]].concat())
}

fn json_of(arguments: &[&str]) -> Value {
    let (code, out, err) = asked(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}"))
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn photo() -> PathBuf {
    fixtures().join("photos/coffee.jpg")
}

#[test]
fn a_phrase_becomes_a_box_in_pixels_of_the_photo() {
    let photo = photo();
    let found = json_of(&["ground", path(&photo), "The cup, on the LEFT"]);
    assert_eq!(found["schema"], "groundling.answers/1");
    assert_eq!(found["model"]["name"], "tiny-random");
    let answer = &found["answers"][0];
    let prediction = &answer["prediction"];
    assert_eq!(prediction["schema"], "groundling.prediction/1");
    assert_eq!(prediction["phrase"], "The cup, on the LEFT", "the phrase is echoed verbatim");
    assert_eq!((&prediction["width"], &prediction["height"]), (&json!(600), &json!(400)));
    assert_eq!(prediction["frame"], "pixels_xyxy");
    let corners: Vec<f64> =
        prediction["targets"][0]["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(corners[0] >= 0.0 && corners[0] <= corners[2] && corners[2] <= 600.0, "{corners:?}");
    assert!(corners[1] >= 0.0 && corners[1] <= corners[3] && corners[3] <= 400.0, "{corners:?}");
    assert_eq!(answer["levels"].as_array().unwrap().len(), 3);
    assert!(answer["gflops"].as_f64().unwrap() <= answer["dense_gflops"].as_f64().unwrap());

    let (code, out, err) = asked(&["ground", path(&photo), "cup"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("\n  box   ") && out.contains("\n  read  ") && out.contains("GFLOPs"), "{out}");
}

#[test]
fn options_change_what_is_read() {
    let photo = photo();
    let ask = |options: &[&str]| {
        let found = json_of(&[&["ground", path(&photo), "cup"], options].concat());
        let answer = found["answers"][0].clone();
        let kept = |level: &Value| level["kept"].as_u64().unwrap();
        let levels = answer["levels"].as_array().unwrap();
        (levels.len(), levels.iter().map(kept).sum::<u64>(), answer["gflops"].as_f64().unwrap())
    };
    let (levels, everything, dense) = ask(&["--threshold=-inf"]);
    let (_, least, cheapest) = ask(&["--threshold", "inf"]);
    assert_eq!(levels, 3);
    assert!(least < everything && cheapest < dense);
    assert_eq!(ask(&["--level", "0"]).0, 1);
    let budget = (cheapest + dense) / 2.0;
    let (_, kept, gflops) = ask(&["--threshold=-inf", "--budget-gflops", &budget.to_string()]);
    assert!(gflops <= budget && kept > least, "{gflops} of {budget}, {kept} patches");

    for (options, message, hint) in [
        (["--level", "3"], "level 3: this model has levels 0 to 2", ""),
        (["--budget-gflops", "1e-9"], "this pair needs at least", "hint: raise the budget"),
        (["--budget-gflops", "0"], "budget_gflops is 0, expected a positive number", ""),
        (["--threads", "0"], "--threads is 0", ""),
        (["--device", "gpu"], "device \"gpu\" does not exist", ""),
        (["--device", "cuda:9"], "this build has no device cuda:9", "--features cuda"),
    ] {
        let (code, out, err) = asked(&[&["ground", path(&photo), "cup"][..], &options].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{options:?}");
        assert!(err.contains(message) && err.contains(hint), "{options:?}: {err}");
    }
}

#[test]
fn many_pictures_and_phrases_in_every_format() {
    let folder = scratch("cli-many");
    for (name, seed) in [("a1.bmp", 1), ("b.bmp", 2)] {
        std::fs::write(folder.join(name), groundling_testkit::tiny::TinyWorld::new(48, 64, seed).to_bmp()).unwrap();
    }
    std::fs::write(folder.join("notes.txt"), "not a picture, and not asked about").unwrap();
    let ask = |format: &str, input: &str| {
        let (code, out, err) = asked(&["ground", input, "-p", "red block", "-p", "block", "--format", format, "-q"]);
        assert_eq!((code, err.as_str()), (0, ""), "{format}");
        out
    };
    let pattern = format!("{}/*.bmp", path(&folder));
    for input in [path(&folder), &pattern] {
        let lines = ask("jsonl", input);
        let records = groundling_eval::records::read_predictions(lines.as_bytes(), "out", &Default::default()).unwrap();
        let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(ids, ["1", "2", "3", "4"]);
        assert!(records[2].image.ends_with("b.bmp") && records[3].prediction.phrase.as_str() == "block");
    }
    let native: Value = serde_json::from_str(&ask("native", path(&folder))).unwrap();
    assert_eq!(native["answers"].as_array().unwrap().len(), 4);
    assert_eq!(native["failed"], json!([]));
    let hf: Value = serde_json::from_str(&ask("hf", path(&folder))).unwrap();
    assert_eq!(hf.as_array().unwrap().len(), 4);
    assert_eq!(hf[0][0]["label"], "red block");
    let coco: Value = serde_json::from_str(&ask("coco", path(&folder))).unwrap();
    let ids: Vec<i64> = coco.as_array().unwrap().iter().map(|found| found["image_id"].as_i64().unwrap()).collect();
    assert_eq!(ids, [1, 1, 2, 2], "the number in a1.bmp, the position of b.bmp");
    assert_eq!(coco[0]["bbox"].as_array().unwrap().len(), 4);
    let (code, _, err) = said(&["models", "--format", "coco"]);
    assert!(code == 2 && err.contains("prints text or json"), "{err}");
}

#[test]
fn a_bad_picture_among_many_spoils_no_other() {
    let folder = scratch("cli-one-bad");
    let photo = photo();
    let (bad, gone) = (folder.join("bad.jpg"), folder.join("gone.jpg"));
    std::fs::write(&bad, "no picture").unwrap();
    let (code, out, err) = asked(&["ground", path(&bad), path(&photo), path(&gone), "cup", "--json"]);
    assert_eq!(code, 2);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["answers"].as_array().unwrap().len(), 1, "the good one is answered");
    assert_eq!(found["failed"].as_array().unwrap().len(), 2);
    assert!(found["failed"][0]["hint"].as_str().unwrap().contains("convert the picture"));
    assert!(err.contains("bad.jpg: not a JPEG") && err.contains("gone.jpg: "), "{err}");
    assert!(err.contains("error: 2 of 3 inputs gave no answer; the others are done"), "{err}");

    let lines = folder.join("pairs.jsonl");
    let good = json!({"image": path(&photo), "phrase": "cup", "id": "c", "targets": []});
    let text = format!(
        "{good}\n{{\"image\": \"x\"}}\n\n{}\n{}\n",
        json!({"image": "bad.jpg", "phrase": "cup"}),
        json!({"image": path(&photo), "phrase": " "})
    );
    std::fs::write(&lines, text).unwrap();
    let (code, out, err) = asked(&["ground", "--input", path(&lines), "--format", "jsonl"]);
    assert_eq!(code, 2, "{err}");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.contains("\"id\":\"c\""), "{out}");
    for message in [
        "pairs.jsonl:2: missing field `phrase`",
        "bad.jpg: not a JPEG",
        "pairs.jsonl:5: the phrase is empty",
        "3 of 4 inputs",
    ] {
        assert!(err.contains(message), "{message}: {err}");
    }
}

#[test]
fn bad_input_is_exit_code_2_with_place_and_hint() {
    let folder = scratch("cli-bad-input");
    let photo = photo();
    std::fs::write(folder.join("text.jpg"), "hello").unwrap();
    std::fs::write(folder.join("cut.jpg"), &std::fs::read(&photo).unwrap()[..300]).unwrap();
    std::fs::create_dir(folder.join("empty")).unwrap();
    let long = "cup ".repeat(10_000);
    for (image, phrase, message, hint) in [
        (folder.join("none.jpg"), "cup", "none.jpg: ", ""),
        (folder.join("empty"), "cup", "the folder has no JPEG, PNG, WebP or BMP file", ""),
        (folder.join("*.gif"), "cup", "no file is called", ""),
        (folder.join("text.jpg"), "cup", "not a JPEG, PNG, WebP or BMP image", "convert the picture"),
        (folder.join("cut.jpg"), "cup", "cannot decode this JPEG", ""),
        (photo.clone(), "  ", "the phrase is empty", "put the phrase in quotes"),
        (photo.clone(), &long, "the phrase has 10000 words, expected at most 512", ""),
    ] {
        let (code, out, err) = asked(&["ground", path(&image), phrase]);
        assert_eq!((code, out.as_str()), (2, ""), "{message}: {err}");
        assert!(err.starts_with("error: ") && err.contains(message), "{message}: {err}");
        assert_eq!(err.contains("hint: "), !hint.is_empty(), "{err}");
        assert!(err.contains(hint), "{err}");
    }
    for arguments in [&["ground"][..], &["ground", path(&photo)]] {
        let (code, _, err) = asked(arguments);
        assert!(code == 2 && err.contains("needs a picture and a phrase"), "{err}");
    }
}

#[test]
fn bad_weights_are_exit_code_2_with_place_and_hint() {
    let root = scratch("cli-bad-weights");
    let copy = |name: &str| {
        let folder = root.join(name);
        std::fs::create_dir(&folder).unwrap();
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(weights().join(file), folder.join(file)).unwrap();
        }
        folder
    };
    let cut = copy("cut");
    let bytes = std::fs::read(cut.join("model.safetensors")).unwrap();
    std::fs::write(cut.join("model.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    let other = copy("other");
    let config = ScanFormerConfig { mlp_hidden: 64, ..ScanFormerConfig::tiny() };
    let wider = write_weights(&root.join("wider"), &config);
    std::fs::copy(wider.join("model.safetensors"), other.join("model.safetensors")).unwrap();
    let unknown = copy("unknown");
    let text = std::fs::read_to_string(unknown.join("config.json")).unwrap();
    std::fs::write(unknown.join("config.json"), text.replace("\"scanformer\"", "\"cubism\"")).unwrap();
    let bare = copy("bare");
    std::fs::remove_file(bare.join("config.json")).unwrap();
    let photo = photo();
    for (folder, message, hint) in [
        (root.join("nowhere"), "nowhere: expected a folder of weights", "name the folder that holds config.json"),
        (bare, "config.json: a folder of weights needs this file", "groundling convert"),
        (unknown, "`system` is \"cubism\", expected one of [\"scanformer\", \"dmmi\"", "groundling models"),
        (other, "these are weights of another model: `config.mlp_hidden` is 64, expected 96", "copy both from one"),
        (cut, "model.safetensors: ", "cut short"),
    ] {
        let (code, out, err) = said(&["ground", path(&photo), "cup", "--weights", path(&folder)]);
        assert_eq!((code, out.as_str()), (2, ""), "{message}");
        assert!(err.starts_with("error: ") && err.contains(message), "{message}: {err}");
        assert!(err.contains("hint: ") && err.contains(hint), "{message}: {err}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let photo = photo();
    // The answer goes to a device that is always full.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = std::process::Command::new(assert_cmd::cargo::cargo_bin("groundling"))
        .args(["ground", path(&photo), "cup", "--json", "--weights", path(weights())])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("No space left on device") && err.contains("hint: free some room"), "{err}");
}

#[test]
fn pictures_of_answers_are_drawn() {
    let folder = scratch("cli-draw");
    let photo = photo();
    let (boxes, explain, numbers) = (folder.join("boxes.png"), folder.join("explain.png"), folder.join("explain.json"));
    let (code, _, err) = asked(&["ground", path(&photo), "cup", "--draw", path(&boxes), "--explain", path(&explain)]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(image::image_dimensions(&boxes).unwrap(), (600, 400));
    let (width, height) = image::image_dimensions(&explain).unwrap();
    assert!(width > 4 * 400 && height > 3 * 250, "{width}x{height}: four panels a row, three rows");
    assert_eq!(asked(&["ground", path(&photo), "cup", "--explain", path(&numbers)]).0, 0);
    let said: Value = serde_json::from_slice(&std::fs::read(&numbers).unwrap()).unwrap();
    assert_eq!(said["schema"], "groundling.explain/1");
    assert_eq!((&said["canvas"], &said["content"]), (&json!([64, 64]), &json!([0, 0, 43, 64])));
    let level = &said["levels"][1];
    assert_eq!(level["candidates"].as_array().unwrap().len(), level["values"].as_array().unwrap().len());

    let many = folder.join("many");
    let (code, _, err) =
        asked(&["ground", path(&photo), "-p", "cup", "-p", "a/b", "--draw", path(&many), "--explain", path(&many)]);
    assert_eq!(code, 0, "{err}");
    let mut names: Vec<String> =
        std::fs::read_dir(&many).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["coffee-1.json", "coffee-1.png", "coffee-2.json", "coffee-2.png"]);
}

fn figure<'a>(report: &'a Value, name: &str) -> &'a Value {
    let figures = report["figures"].as_array().unwrap();
    figures.iter().find(|figure| figure["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn a_model_is_scored_and_its_saved_predictions_give_the_same_numbers() {
    let folder = scratch("cli-eval-model");
    let saved = folder.join("predictions.jsonl");
    let made = folder.join("refer");
    assert_eq!(said(&["data", "make", "scenes:test:6", "-o", path(&made), "--layout", "refer", "-q"]).0, 0);
    let refer = format!("refer:{}:unc:test", path(&made.join("refcoco")));
    for source in ["scenes:test:6", &refer] {
        let report = json_of(&["eval", "--data", source, "--save", path(&saved), "--resamples", "100", "-q"]);
        assert_eq!((&report["schema"], &report["protocol"]), (&json!("groundling.report/1"), &json!("rec")));
        let run = &report["run"];
        let phrases = run["phrases"].as_u64().unwrap();
        assert!(phrases > 6 && run["pictures"] == 6, "{run}");
        assert_eq!(report["counts"]["samples"], phrases);
        assert!(figure(&report, "Acc@0.5")["interval"].is_object(), "{report}");
        let levels = run["levels"].as_array().unwrap();
        assert_eq!(levels.len(), 3);
        assert_eq!(levels[2]["acc@0.5"], figure(&report, "Acc@0.5")["value"], "the last level answers");
        assert_eq!(levels[0]["mean_kept_share"], 1.0);
        assert!(run["mean_gflops"].as_f64().unwrap() <= run["mean_dense_gflops"].as_f64().unwrap());
        assert!(run["wall_seconds"].as_f64().unwrap() > 0.0);

        let (code, out, err) =
            said(&["eval", "-p", path(&saved), "-t", source, "--protocol", "rec", "--resamples", "100", "--json"]);
        assert_eq!(code, 0, "{err}");
        let again: Value = serde_json::from_str(&out).unwrap();
        for field in ["figures", "counts", "intervals", "breakdowns"] {
            assert_eq!(again[field], report[field], "{source}: {field}");
        }
        // Independently: hits counted by hand from the file.
        assert_eq!(std::fs::read_to_string(&saved).unwrap().lines().count() as u64, phrases);
    }
    let (code, out, err) = asked(&["eval", "--data", "scenes:test:2", "--limit", "1", "-q"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("about 1 pictures") && out.contains("level 2  Acc@0.5"), "{out}");
    let (code, _, err) = asked(&["eval", "--data", "scenes:test:2", "--protocol", "gres"]);
    assert!(code == 2 && err.contains("compares masks"), "{err}");
}

#[test]
fn a_sweep_goes_from_little_to_everything() {
    let folder = scratch("cli-sweep");
    let chart = folder.join("curve.svg");
    let sweep = "--sweep=inf,0,-inf";
    let report =
        json_of(&["eval", "--data", "scenes:test:3", sweep, "--chart", path(&chart), "--resamples", "50", "-q"]);
    let points = report["run"]["sweep"].as_array().unwrap();
    let thresholds: Vec<&Value> = points.iter().map(|point| &point["threshold"]).collect();
    assert_eq!(thresholds, [&json!("inf"), &json!(0.0), &json!("-inf")]);
    let shares: Vec<f64> = points.iter().map(|point| point["kept_share"].as_f64().unwrap()).collect();
    assert!(shares[0] < shares[1] && shares[1] <= shares[2] && shares[2] == 1.0, "{shares:?}");
    assert_eq!(points[2]["flops_share"], 1.0);
    assert!(points.iter().all(|point| point["figures"][0]["name"] == "Acc@0.5"));
    assert!(std::fs::read_to_string(&chart).unwrap().starts_with("<svg"));
}

#[test]
fn models_lists_the_catalogue_and_what_is_there() {
    let listing: Value = {
        let (code, out, err) = said(&["models", path(weights()), "--json"]);
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    let names: Vec<&str> = listing["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"scanformer-small") && names.len() >= 3, "{names:?}");
    let found = listing["weights"].as_array().unwrap();
    assert!(found.iter().any(|found| found["name"] == "tiny-random" && found["precision"] == "f16"), "{found:?}");
    let (code, out, _) = said(&["models", "/nowhere"]);
    assert!(code == 0 && out.contains("/nowhere\n  not usable: ") && out.contains("arXiv:2406.18048"), "{out}");
}

#[test]
fn the_doctor_verifies_weights() {
    let report = json_of(&["doctor"]);
    assert_eq!(report["healthy"], true, "{report}");
    let names: Vec<&str> = report["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["build", "processor", "devices", "vocabulary", "weights", "answer"]);
    let folder = scratch("cli-doctor");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(weights().join(file), folder.join(file)).unwrap();
    }
    let file = folder.join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let (code, out, err) = said(&["doctor", "--weights", path(&folder)]);
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.contains("WRONG  weights") && out.contains("hint: the file was changed"), "{out}");
    let (code, out, _) = said(&["doctor", "--weights", path(&folder.join("none"))]);
    assert!(code == 1 && out.contains("something is wrong"), "{out}");
}

#[test]
fn a_bench_measures_every_stage() {
    let report = json_of(&["bench", "-n", "2", "--size", "60", "80"]);
    let names: Vec<&str> = report["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["decode", "read picture", "read phrase", "answer", "answer, all read", "all: file to box"]);
    assert_eq!(report["analytic_flops"], report["counted_flops"]);
    assert_eq!(report["image"], json!([60, 80]));
    let random = ["bench", "--system", "scanformer", "--preset", "tiny", "-n", "1", "--keep", "3,4", "--json"];
    let (code, out, err) = said(&random);
    assert_eq!(code, 0, "{err}");
    let random: Value = serde_json::from_str(&out).unwrap();
    let kept: u64 = random["levels"].as_array().unwrap()[1..].iter().map(|level| level["kept"].as_u64().unwrap()).sum();
    assert!(kept <= 7, "{kept}");
    let (code, _, err) = said(&["bench", "--system", "scanformer", "--preset", "huge"]);
    assert!(code == 2 && err.contains("there is no preset \"huge\""), "{err}");
}

/// Writes the checkpoint of a fixture: ViLT in one of its layouts, small, filled by the rule of the fixtures. Returns file and configuration.
fn foreign(case: &groundling_testkit::Case, folder: &Path) -> (PathBuf, PathBuf) {
    let mut config = case.json["config"].clone();
    let shapes = config["checkpoint"]["shapes"].clone();
    config.as_object_mut().unwrap().remove("checkpoint");
    // Enough rows for every word piece, so that the model can be asked.
    config["vocab"] = json!(30522);
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape) in shapes.as_object().unwrap() {
        let mut shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
        if name.ends_with("word_embeddings.weight") {
            shape[0] = 30522;
        }
        let start = data.len();
        let values = groundling_testkit::fill::parameter(name, &shape, 3).to_f32();
        data.extend(values.into_iter().flat_map(f32::to_le_bytes));
        header.insert(name.clone(), json!({"dtype": "F32", "shape": shape, "data_offsets": [start, data.len()]}));
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(&data);
    let (checkpoint, sizes) = (folder.join("vilt.safetensors"), folder.join("sizes.json"));
    std::fs::write(&checkpoint, file).unwrap();
    std::fs::write(&sizes, config.to_string()).unwrap();
    (checkpoint, sizes)
}

#[test]
fn checkpoints_of_both_layouts_become_weights() {
    let goldens = groundling_testkit::Folder::open("scanformer");
    for case in goldens.of_kinds(&["import"], 2) {
        let folder = scratch(&format!("cli-convert-{}", case.name()));
        let (checkpoint, sizes) = foreign(case, &folder);
        let out = folder.join("weights");
        let flags = ["convert", path(&checkpoint), "--system", "scanformer", "--config", path(&sizes)];
        let (code, said_dry, err) = said(&[&flags[..], &["--dry-run", "--json"]].concat());
        assert_eq!(code, 0, "{err}");
        let dry: Value = serde_json::from_str(&said_dry).unwrap();
        assert_eq!(dry["layout"], case.json["config"]["checkpoint"]["layout"], "told by the names");
        assert_eq!((&dry["fits"], &dry["out"]), (&json!(true), &Value::Null));
        assert!(!out.exists(), "a look writes nothing");
        let fresh: Vec<&str> = dry["fresh"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert!(fresh.contains(&"box.fc1.weight") && fresh.contains(&"select.fc1.weight"), "{fresh:?}");

        let (code, text, err) = said(&[&flags[..], &["-o", path(&out), "--licence", "Apache-2.0"]].concat());
        assert_eq!(code, 0, "{err}");
        assert!(text.contains("start fresh") && text.contains("written to "), "{text}");
        let (code, text, _) = said(&["doctor", "--weights", path(&out)]);
        assert_eq!(code, 0, "{text}");
        let (code, text, err) = said(&["ground", path(&photo()), "cup", "--weights", path(&out)]);
        assert_eq!((code, err.as_str()), (0, ""), "{text}");

        let other = if dry["layout"] == "hf" { "official" } else { "hf" };
        let (code, text, _) = said(&[&flags[..], &["--layout", other, "--dry-run"]].concat());
        assert!(code == 1 && text.contains("does not fit"), "a negative answer: {text}");
        let (code, _, err) = said(&[&flags[..], &["--layout", "caffe", "--dry-run"]].concat());
        assert!(code == 2 && err.contains("there is no layout \"caffe\" of scanformer"), "{err}");
        let flags = ["convert", path(&checkpoint), "--system", "scanformer", "--preset", "tiny", "--dry-run"];
        let (code, text, _) = said(&flags);
        assert!(code == 1 && text.contains("wrong shape"), "{text}");
    }
    let (code, _, err) = said(&["convert", path(&photo()), "--system", "scanformer", "--preset", "tiny", "--dry-run"]);
    assert!(code == 2 && err.contains("expected a safetensors or PyTorch file"), "{err}");
    let (code, _, err) = said(&["convert", "x", "--system", "cubism", "--preset", "tiny", "--dry-run"]);
    assert!(code == 2 && err.contains("there is no system \"cubism\""), "{err}");
}

/// Files as the authors of TransVG, VLTVG and QRNet save them, of the tiny presets: converted, asked, and refused when damaged.
#[test]
fn checkpoints_of_the_grounders_authors_become_weights() {
    for system in ["transvg", "vltvg", "qrnet"] {
        let folder = scratch(&format!("cli-authors-{system}"));
        let entries = authors_entries(system);
        let (checkpoint, out) = (folder.join("checkpoint.pth"), folder.join("weights"));
        std::fs::write(&checkpoint, training_checkpoint(&entries)).unwrap();
        let flags = ["convert", path(&checkpoint), "--system", system, "--preset", "tiny"];
        let (code, text, err) = said(&[&flags[..], &["-o", path(&out), "--json"]].concat());
        assert_eq!(code, 0, "{system}: {err}");
        let converted: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&converted["layout"], &converted["fits"]), (&json!("official"), &json!(true)), "{system}");
        for nothing in ["missing", "unused", "wrong_shape", "fresh"] {
            assert_eq!(converted[nothing], json!([]), "{system}: {nothing}");
        }
        let (code, text, err) = said(&["ground", path(&photo()), "the cup", "--weights", path(&out), "--json"]);
        assert_eq!(code, 0, "{system}: {err}");
        let answers: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answers["answers"][0]["prediction"]["targets"].as_array().unwrap().len(), 1, "{system}");

        let name = "bbox_embed.layers.1.weight";
        let at = entries.iter().position(|entry| entry.name == name).unwrap();
        let (mut cut, mut lost, mut wide) = (entries.clone(), entries.clone(), entries);
        if let Numbers::Float(numbers) = &mut cut[at].numbers {
            numbers.truncate(7);
        }
        lost.remove(at);
        wide[at] = Entry::filled(name, &[48, 49]);
        let damaged = folder.join("damaged");
        for (damage, entries, named) in
            [("cut", cut, name), ("lost", lost, "bbox.layers.1.weight"), ("wide", wide, name)]
        {
            std::fs::write(&checkpoint, training_checkpoint(&entries)).unwrap();
            let (code, text, err) = said(&[&flags[..], &["-o", path(&damaged)]].concat());
            assert_eq!((code, text.as_str()), (2, ""), "{system}, {damage}: {err}");
            assert!(err.contains(named) && !damaged.exists(), "{system}, {damage}: {err}");
        }
    }
}
