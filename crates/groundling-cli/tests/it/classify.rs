//! The commands about classifiers, on one with random weights.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assert_cmd::Command;
use burn::tensor::Device;
use groundling::{Bundle, Description};
use groundling_models::scalablevit::{HeadConfig, HeadKind, ScalableVitConfig};
use groundling_nn::checkpoint::Precision;
use groundling_testkit::{fixtures, scratch};
use image::RgbImage;
use serde_json::Value;

/// Weights that know the classes ant, bee and cat.
fn weights() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = scratch("cli-classifier").join("tiny");
        let device = Device::flex();
        let _alone = crate::alone();
        device.seed(11);
        let head = Some(HeadConfig { kind: HeadKind::Plain, classes: 3 });
        let model = ScalableVitConfig { side: 64, head, ..ScalableVitConfig::tiny() }.init(&device).unwrap();
        let classes = ["ant", "bee", "cat"].map(str::to_owned).to_vec();
        let description = Description { name: "tiny-random".into(), classes, ..Description::default() };
        Bundle::write(&folder, &model, &description, Precision::F32).unwrap();
        folder
    })
}

fn said(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("groundling").unwrap();
    for variable in ["GROUNDLING_FORMAT", "GROUNDLING_WEIGHTS", "GROUNDLING_DEVICE"] {
        command.env_remove(variable);
    }
    let output = command.args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn asked(arguments: &[&str]) -> (i32, String, String) {
    said(&[arguments, &["--weights", path(weights())]].concat())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn picture(path: PathBuf, width: u32, height: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x % 200) as u8, (y % 200) as u8, 80])).save(path).unwrap();
}

#[test]
fn classes_of_a_photo_in_every_form() {
    let photo = fixtures().join("photos/coffee.jpg");
    let (code, out, err) = asked(&["classify", path(&photo), "--json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (found["schema"].as_str(), found["model"]["name"].as_str()),
        (Some("groundling.classes/1"), Some("tiny-random"))
    );
    let one = &found["pictures"][0];
    assert_eq!(one["image_size"], serde_json::json!([400, 600]));
    let classes = one["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 3, "five are asked for, three are known");
    let sum: f64 = classes.iter().map(|class| class["score"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-9 && classes[0]["score"].as_f64() >= classes[1]["score"].as_f64());
    let best = classes[0]["label"].as_str().unwrap();

    let (_, out, _) = asked(&["classify", path(&photo), "--top", "1"]);
    assert!(out.lines().count() == 2 && out.trim_end().ends_with(&format!("%  {best}")), "{out}");
    let (_, out, _) = asked(&["classify", path(&photo), "--format", "jsonl", "--top", "1"]);
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["classes"][0]["label"].as_str(), Some(best));
    let (_, out, _) = asked(&["classify", path(&photo), "--format", "hf"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((list.as_array().unwrap().len(), list[0]["label"].as_str()), (3, Some(best)));
    for (arguments, expected) in
        [(&["--format", "coco"][..], "COCO's results are of boxes"), (&["--top", "0"], "--top is 0")]
    {
        let (code, _, err) = asked(&[&["classify", path(&photo)], arguments].concat());
        assert!(code == 2 && err.contains(expected), "{err}");
    }
}

#[test]
fn a_folder_with_bad_files_is_finished_and_they_are_listed() {
    let folder = scratch("cli-classify-folder");
    for (name, width, height) in [("a.png", 1, 1), ("c.png", 31, 97), ("e.png", 4000, 40)] {
        picture(folder.join(name), width, height);
    }
    std::fs::write(folder.join("b.jpg"), "no picture").unwrap();
    std::fs::write(folder.join("d.png"), &std::fs::read(folder.join("c.png")).unwrap()[..60]).unwrap();
    let (code, out, err) = asked(&["classify", path(&folder), "--format", "jsonl"]);
    let images: Vec<String> = out
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["image"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(images, ["a.png", "c.png", "e.png"].map(|name| folder.join(name).display().to_string()));
    assert_eq!(code, 2, "as the other commands: some inputs gave no answer");
    assert!(err.contains("b.jpg") && err.contains("d.png") && err.contains("2 of 5 inputs gave no answer"), "{err}");
    let (_, out, _) = asked(&["classify", path(&folder), "--json"]);
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((found["pictures"].as_array().unwrap().len(), found["failed"].as_array().unwrap().len()), (3, 2));
    let pattern = folder.join("[ac].png");
    assert_eq!(asked(&["classify", path(&pattern)]).0, 0);
}

#[test]
fn a_classifier_is_scored_with_intervals() {
    let root = scratch("cli-classify-eval");
    for (class, count) in [("ant", 3), ("cat", 2)] {
        (0..count).for_each(|index| picture(root.join(class).join(format!("{index}.png")), 40 + index, 50));
    }
    let (source, saved) = (format!("folders:{}", root.display()), root.join("answers.jsonl"));
    let (code, out, err) = asked(&["eval", "--data", &source, "--json", "--save", path(&saved)]);
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(found["schema"], "groundling.classification-evaluation/1");
    assert_eq!((found["count"].as_u64(), found["top5"].as_f64()), (Some(5), Some(100.0)));
    let (top1, low, high) = (&found["top1"], &found["top1_interval"]["low"], &found["top1_interval"]["high"]);
    assert!(low.as_f64() <= top1.as_f64() && top1.as_f64() <= high.as_f64(), "{out}");
    let lines: Vec<Value> =
        std::fs::read_to_string(&saved).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let right = lines.iter().filter(|line| line["class"] == line["found"]).count();
    assert_eq!((lines.len(), top1.as_f64()), (5, Some(20.0 * right as f64)));
    let (_, out, _) = asked(&["eval", "--data", &source]);
    assert!(out.contains("5 pictures, 3 classes") && out.contains("top-1  "), "{out}");
    let (code, _, err) = asked(&["eval", "--data", &source, "--protocol", "rec"]);
    assert!(code == 2 && err.contains("not for a classifier"), "{err}");
    picture(root.join("dog/1.png"), 9, 9);
    let (code, _, err) = asked(&["eval", "--data", &source]);
    assert!(code == 2 && err.contains("does not know the classes dog"), "{err}");
}

#[test]
fn other_commands_say_where_classifiers_belong() {
    let photo = fixtures().join("photos/coffee.jpg");
    let (code, _, err) = asked(&["ground", path(&photo), "cup"]);
    assert!(code == 2 && err.contains("a classifier") && err.contains("groundling classify"), "{err}");
    let (code, _, err) = asked(&["detect", path(&photo)]);
    assert!(code == 2 && err.contains("groundling classify"), "{err}");
    let (code, _, err) = said(&["classify", path(&photo)]);
    assert!(code == 2 && err.contains("no classifier is part of this program"), "{err}");
    let (code, out, _) = said(&["models", "--json"]);
    let listing: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, listing["classifiers"][1]["name"].as_str()), (0, Some("scalablevit-small")));
    let (code, _, err) = said(&["convert", path(&photo), "--system", "scanformer", "--dry-run"]);
    assert!(code == 2 && !err.is_empty(), "{err}");
}

#[test]
fn bench_and_doctor_know_classifiers() {
    let (code, out, err) = asked(&["bench", "-n", "2", "--json"]);
    assert_eq!(code, 0, "{err}");
    let measured: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&measured["dense_flops"], &measured["model"]), (&Value::Null, &Value::from("tiny-random")));
    assert!(measured["counted_flops"].as_u64().unwrap() > 0 && measured["stages"].as_array().unwrap().len() == 3);
    let (code, out, err) = said(&["bench", "--system", "scalablevit", "--preset", "tiny", "-n", "1"]);
    assert!(code == 0 && out.contains("scalablevit with random weights"), "{out}{err}");
    let (code, text, _) = asked(&["doctor"]);
    assert!(code == 0 && text.contains("all is well"), "{text}");
}
