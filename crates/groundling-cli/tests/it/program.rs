use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use groundling_testkit::{fixtures, scratch};
use serde_json::{Value, json};

fn run(arguments: &[&str]) -> Output {
    Command::cargo_bin("groundling").unwrap().args(arguments).env_remove("GROUNDLING_FORMAT").output().unwrap()
}

/// Exit code, stdout, stderr.
fn said(arguments: &[&str]) -> (i32, String, String) {
    let output = run(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json_of(arguments: &[&str]) -> Value {
    let (code, out, err) = said(&[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}"))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn bad_arguments_are_exit_code_2() {
    for arguments in [&["fly"][..], &["data", "make", "scenes:dev", "-o", "x"], &["data", "make", "jsonl:x", "-o", "x"]]
    {
        let (code, _, err) = said(arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.starts_with("error: "), "{err}");
    }
}

#[test]
fn scenes_written_in_every_layout_pass_the_linter() {
    let root = scratch("cli-make");
    for layout in ["jsonl", "refer", "refzom", "grefcoco", "coco"] {
        let out = root.join(layout);
        let sources = ["scenes:train:6", "scenes:test:4"];
        let size = ["--size", "64", "80", "--seed", "11", "--layout", layout];
        let made = json_of(&[&["data", "make", sources[0], sources[1], "-o", path(&out)][..], &size].concat());
        assert_eq!(made["images"], 10, "{layout}");
        let report = json_of(&["data", "check", path(&out)]);
        let images: u64 = report["datasets"].as_array().unwrap().iter().map(|d| d["images"].as_u64().unwrap()).sum();
        assert_eq!(images, 10, "{layout}");
        let leftovers = walk(&out).into_iter().filter(|path| path.extension().is_some_and(|e| e == "tmp")).count();
        assert_eq!(leftovers, 0, "{layout}: temporary files were left");
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_check_that_finds_errors_is_exit_code_1() {
    let folder = scratch("cli-check");
    let line = r#"{"image": "gone.png", "phrase": "cup", "boxes": [[0, 0, 5, 5]]}"#;
    std::fs::write(folder.join("data.jsonl"), line).unwrap();
    let (code, out, err) = said(&["data", "check", path(&folder)]);
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(out.contains("error: image files are not where they should be [missing-image, 1]"), "{out}");
    let (code, _, err) = said(&["data", "check", path(&folder.join("none"))]);
    assert_eq!(code, 2, "{err}");
}

/// Turns truth records into prediction records that repeat the truth, each changed as asked.
fn predictions(truths: &str, change: impl Fn(usize, &mut Value)) -> String {
    let lines = truths.lines().enumerate().map(|(index, line)| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        let absent = record["targets"].as_array().unwrap().is_empty();
        let targets = record["targets"].as_array().unwrap().iter();
        let targets: Vec<Value> = targets.map(|t| json!({"score": 0.9, "box": t["box"], "mask": t["mask"]})).collect();
        record["schema"] = "groundling.prediction/1".into();
        record["targets"] = targets.into();
        record["no_target"] = absent.into();
        record["no_target_score"] = json!(if absent { 0.95 } else { 0.05 });
        record["model"] = json!({"name": "oracle", "hash": "none"});
        for truth_only in ["source", "merged_mask"] {
            record.as_object_mut().unwrap().remove(truth_only);
        }
        change(index, &mut record);
        record.to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn figure(report: &Value, name: &str) -> f64 {
    let figures = report["figures"].as_array().unwrap();
    let found = figures.iter().find(|figure| figure["name"] == name).unwrap_or_else(|| panic!("no {name} in {report}"));
    found["value"].as_f64().unwrap()
}

#[test]
fn eval_scores_predictions_without_a_model() {
    let folder = scratch("cli-eval");
    let (truth, right, wrong) = (folder.join("truth.jsonl"), folder.join("right.jsonl"), folder.join("wrong.jsonl"));
    let (code, _, err) = said(&["data", "truth", "scenes:test:20", "-o", path(&truth), "-q"]);
    assert_eq!(code, 0, "{err}");
    let text = std::fs::read_to_string(&truth).unwrap();
    std::fs::write(&right, predictions(&text, |_, _| {})).unwrap();
    // Every fourth answer points at a corner of the picture.
    let off = |index: usize, record: &mut Value| {
        if index.is_multiple_of(4) && record["no_target"] == false {
            let target = json!({"score": 0.9, "box": [0, 0, 3, 3]});
            record["targets"] = json!([target]);
        }
    };
    std::fs::write(&wrong, predictions(&text, off)).unwrap();

    for protocol in ["ref-zom", "gres", "grec", "grec-paper-iou", "gres-480"] {
        let arguments = ["eval", "-p", path(&right), "-t", path(&truth), "--protocol", protocol, "--resamples", "50"];
        let report = json_of(&arguments);
        assert_eq!(report["protocol"], protocol);
        for figure in report["figures"].as_array().unwrap() {
            assert_eq!(figure["value"], 100.0, "{protocol}: {figure}");
        }
    }
    // The truth may also be the source itself, scored by the same records.
    let from_source = ["eval", "-p", path(&wrong), "-t", "scenes:test:20", "--protocol", "grec", "--resamples", "0"];
    let from_file = ["eval", "-p", path(&wrong), "-t", path(&truth), "--protocol", "grec", "--resamples", "0"];
    let report = json_of(&from_source);
    assert_eq!(report, json_of(&from_file));
    let exact = figure(&report, "Pr@(F1=1)");
    // Independent count: the answers that were changed are exactly the wrong ones.
    let changed = std::fs::read_to_string(&wrong).unwrap();
    let lines = changed.lines().count();
    let spoilt = changed.lines().filter(|line| line.contains("[0,0,3,3]")).count();
    let expected = 100.0 * (lines - spoilt) as f64 / lines as f64;
    assert!((exact - expected).abs() < 1e-9, "{exact} is not {expected}");

    let pair = ["eval", "-p", path(&right), "--compare", path(&wrong), "-t", path(&truth), "--protocol", "grec"];
    let comparison = json_of(&pair);
    assert!(!comparison["lost"].as_array().unwrap().is_empty(), "{comparison}");

    let picture = folder.join("reliability.svg");
    let drawn = [&from_file[..], &["--reliability", path(&picture)]].concat();
    assert_eq!(said(&drawn).0, 0);
    assert!(std::fs::read_to_string(&picture).unwrap().starts_with("<svg"));

    let part: String = text.lines().skip(1).collect::<Vec<_>>().join("\n");
    std::fs::write(folder.join("part.jsonl"), predictions(&part, |_, _| {})).unwrap();
    let part = folder.join("part.jsonl");
    let (code, _, err) = said(&["eval", "-p", path(&part), "-t", path(&truth), "--protocol", "grec"]);
    assert_eq!(code, 2);
    assert!(err.contains("1 of ") && err.contains("hint: predict every sample"), "{err}");
    let counted = ["eval", "-p", path(&part), "-t", path(&truth), "--protocol", "grec", "--missing-as-wrong"];
    assert_eq!(json_of(&counted)["counts"]["missing_predictions"], 1);
}

#[test]
fn coco_files_are_scored_as_the_reference_does() {
    let folder = fixtures().join("coco-eval");
    let expected: Value = serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap();
    let truth = folder.join("instances_val2014_100.json");
    for (protocol, kind, results) in [
        ("coco-box", "bbox", "instances_val2014_fakebbox100_results.json"),
        ("coco-mask", "segm", "instances_val2014_fakesegm100_results.json"),
    ] {
        let results = folder.join(results);
        let report = json_of(&["eval", "-p", path(&results), "-t", path(&truth), "--protocol", protocol]);
        let figures = report["figures"].as_array().unwrap();
        assert_eq!(figures.len(), 12);
        for (figure, expected) in figures.iter().zip(expected[kind].as_array().unwrap()) {
            let (found, expected) = (figure["value"].as_f64().unwrap(), 100.0 * expected.as_f64().unwrap());
            assert!((found - expected).abs() < 1e-9, "{figure}: expected {expected}");
        }
    }
}

#[test]
fn sheets_are_drawn() {
    let folder = scratch("cli-sheet");
    let page = folder.join("page.png");
    let drawn = json_of(&["data", "sheet", "scenes:val:5", "-o", path(&page), "--columns", "3", "--cell", "96"]);
    assert_eq!(drawn["pictures"], 5);
    let size = image::image_dimensions(&page).unwrap();
    assert_eq!(
        (u64::from(size.0), u64::from(size.1)),
        (drawn["width"].as_u64().unwrap(), drawn["height"].as_u64().unwrap())
    );
}

#[test]
fn shells_get_their_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let (code, out, _) = said(&["completions", shell]);
        assert!(code == 0 && out.contains("groundling"), "{shell}");
    }
}

#[test]
fn colour_is_left_out_when_asked() {
    let output = Command::cargo_bin("groundling").unwrap().args(["data"]).env("NO_COLOR", "1").output().unwrap();
    assert!(!output.stderr.contains(&0x1b), "an escape in {:?}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(unix)]
#[test]
fn a_phrase_that_is_not_utf8_is_an_error() {
    use std::os::unix::ffi::OsStrExt;
    let photo = fixtures().join("photos/coffee.jpg");
    let phrase = std::ffi::OsStr::from_bytes(b"red \xff cup");
    let output = Command::cargo_bin("groundling").unwrap().arg("ground").arg(photo).arg(phrase).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("the phrase is not UTF-8: byte 4"));
}
