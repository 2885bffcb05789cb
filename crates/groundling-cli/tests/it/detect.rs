//! The commands with a detector, on one with random weights.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::tensor::Device;
use groundling::{Bundle, Description};
use groundling_data::scenes::Shape;
use groundling_models::focus_detr::{BackboneConfig, EncoderConfig, FocusDetrConfig, ImageSides};
use groundling_nn::checkpoint::{Precision, initialise};
use groundling_nn::swin::SwinConfig;
use groundling_testkit::scratch;
use groundling_testkit::tiny::TinyWorld;
use serde_json::Value;

use crate::model::{path, said};

/// Weights of a small detector of scenes, written once.
fn weights() -> &'static str {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    path(FOLDER.get_or_init(|| {
        let EncoderConfig::Focus(mut focus) = FocusDetrConfig::tiny().encoder else { panic!("tiny is a Focus-DETR") };
        focus.cascade = vec![1.0, 0.5];
        let config = FocusDetrConfig {
            input: ImageSides { short: 64, longest: 96 },
            backbone: BackboneConfig::Swin(SwinConfig::tiny()),
            classes: 14,
            width: 16,
            heads: 2,
            feed_forward: 16,
            neck_groups: 4,
            encoder_layers: 2,
            decoder_layers: 1,
            queries: 20,
            encoder: EncoderConfig::Focus(focus),
            ..FocusDetrConfig::tiny()
        };
        let device = Device::flex();
        let _alone = crate::alone();
        device.seed(4);
        let model = config.init(&device).unwrap();
        initialise(&model);
        let mut shapes = Shape::ALL.to_vec();
        shapes.sort_by_key(|shape| shape.category_id());
        let description = Description {
            name: "shapes".into(),
            licence: "MIT".into(),
            classes: shapes.iter().map(|shape| shape.name().to_owned()).collect(),
            ..Description::default()
        };
        let folder = scratch("cli-detector").join("shapes");
        Bundle::write(&folder, &model, &description, Precision::F32).unwrap();
        folder
    }))
}

fn picture(folder: &Path, name: &str, seed: u32) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, TinyWorld::new(60, 90, u64::from(seed)).to_bmp()).unwrap();
    file
}

fn detected(arguments: &[&str]) -> (i32, String, String) {
    said(&[&["detect"], arguments, &["--weights", weights(), "--threshold", "0"]].concat())
}

fn json_of(arguments: &[&str]) -> Value {
    let (code, out, err) = detected(arguments);
    assert_eq!(code, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}\n{out}"))
}

#[test]
fn objects_come_in_every_form() {
    let folder = scratch("cli-detect-forms");
    let (one, other) = (picture(&folder, "photo_000012.bmp", 1), picture(&folder, "b.bmp", 2));
    let both = [path(&one), path(&other)];
    let found = json_of(&[&both[..], &["--json", "--limit", "5"]].concat());
    assert_eq!(found["schema"], "groundling.detections/1");
    assert_eq!(found["pictures"][0]["image_size"], serde_json::json!([60, 90]));
    let objects = found["pictures"][0]["objects"].as_array().unwrap();
    assert!(objects.len() == 5 && objects.iter().all(|object| object["label"].is_string()), "{found}");
    let share = found["pictures"][0]["kept_share"].as_f64().unwrap();
    let sparse = json_of(&[path(&one), "--json", "--keep-ratio", "0.05"]);
    assert!(sparse["pictures"][0]["kept_share"].as_f64().unwrap() < 0.5 * share, "{share} {sparse}");

    let hf = json_of(&[path(&one), "--format", "hf", "--limit", "2"]);
    assert!(hf.as_array().unwrap().len() == 2 && hf[0]["box"]["xmax"].is_i64() && hf[0]["label"].is_string(), "{hf}");
    let coco = json_of(&[&both[..], &["--format", "coco", "--limit", "3"]].concat());
    let results = coco.as_array().unwrap();
    assert_eq!(results.iter().map(|one| one["image_id"].as_i64().unwrap()).collect::<Vec<_>>(), [12, 12, 12, 2, 2, 2]);
    let category = objects[0]["class"].as_i64().unwrap() + 1;
    assert_eq!(results[0]["category_id"].as_i64(), Some(category), "{coco}");
    let bbox: Vec<f64> = results[0]["bbox"].as_array().unwrap().iter().map(|side| side.as_f64().unwrap()).collect();
    let corners: Vec<f64> = objects[0]["box"].as_array().unwrap().iter().map(|side| side.as_f64().unwrap()).collect();
    assert!((bbox[0] + bbox[2] - corners[2]).abs() < 1e-6, "{bbox:?} {corners:?}");

    let (code, text, _) = detected(&[path(&one), "--limit", "1"]);
    assert!(code == 0 && text.contains("1 object") && text.contains("tokens a layer"), "{text}");
    let (_, lines, _) = detected(&[&both[..], &["--format", "jsonl"]].concat());
    assert_eq!(lines.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count(), 2);
}

#[test]
fn pictures_show_objects_and_kept_tokens() {
    let folder = scratch("cli-detect-pictures");
    let one = picture(&folder, "a.bmp", 1);
    let [drawn, sheet, numbers, all] = ["drawn.png", "sheet.png", "kept.json", "all"].map(|name| folder.join(name));
    for arguments in
        [["--draw", path(&drawn), "--explain", path(&sheet)], ["--explain", path(&numbers), "--draw", path(&drawn)]]
    {
        let (code, _, err) = detected(&[&[path(&one)][..], &arguments].concat());
        assert_eq!(code, 0, "{err}");
    }
    assert_eq!(image::image_dimensions(&drawn).unwrap(), (90, 60));
    assert!(image::image_dimensions(&sheet).unwrap().0 > 400, "four levels side by side");
    let kept: Value = serde_json::from_slice(&std::fs::read(&numbers).unwrap()).unwrap();
    assert_eq!(kept["grids"], serde_json::json!([[8, 12], [4, 6], [2, 3], [1, 2]]));
    let layers = kept["layers"].as_array().unwrap();
    let count =
        |layer: &Value| layer.as_array().unwrap().iter().map(|level| level.as_array().unwrap().len()).sum::<usize>();
    assert!(layers.len() == 2 && count(&layers[0]) > count(&layers[1]), "{kept}");
    let other = picture(&folder, "b.bmp", 2);
    let (code, _, err) = detected(&[path(&one), path(&other), "--explain", path(&all)]);
    assert_eq!(code, 0, "{err}");
    for name in ["a.json", "a.png", "b.json", "b.png"] {
        assert!(all.join(name).is_file(), "{name}");
    }
}

#[test]
fn evaluation_has_cocos_twelve_figures_for_every_ratio() {
    let folder = scratch("cli-detect-eval");
    let (chart, results) = (folder.join("curve.svg"), folder.join("results.json"));
    let arguments = ["eval", "--data", "scenes:val:4", "--weights", weights(), "--keep-ratio", "1.0,0.1"];
    let files = ["--chart", path(&chart), "--save", path(&results), "--json"];
    let (code, out, err) = said(&[&arguments[..], &files].concat());
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&found["protocol"], &found["points"][0]["count"]), (&Value::from("coco-box"), &Value::from(4)));
    let points = found["points"].as_array().unwrap();
    assert!(points.len() == 2 && points[0]["mean_flops"].as_f64() > points[1]["mean_flops"].as_f64(), "{found}");
    assert!(points[0]["ap"].is_f64() && points[0]["ar"].as_array().unwrap().len() == 3, "{found}");
    assert!(std::fs::read_to_string(&chart).unwrap().contains("<svg") && results.is_file());
    let (code, text, _) = said(&arguments);
    assert!(code == 0 && text.contains("AP75") && text.contains("AP by class: arrow"), "{text}");
    for (change, expected) in [
        (["--protocol", "rec"], "protocol rec is not for a detector"),
        (["--keep-ratio", "0"], "keep_ratio is 0, expected a positive number"),
        (["--budget-gflops", "0.000001"], "this picture needs at least"),
    ] {
        let (code, _, err) = said(&[&["eval", "--data", "scenes:val:2", "--weights", weights()], &change[..]].concat());
        assert!(code == 2 && err.contains(expected), "{err}");
    }
}

#[test]
fn saved_evaluations_are_drawn_beside() {
    let folder = scratch("cli-detect-beside");
    let [saved, alone, both, none] = ["other.json", "alone.svg", "both.svg", "none.svg"].map(|name| folder.join(name));
    let arguments = |data: &'static str| ["eval", "--data", data, "--weights", weights()];
    let (code, out, err) = said(&[&arguments("scenes:val:2")[..], &["--chart", path(&alone), "--json"]].concat());
    assert_eq!(code, 0, "{err}");
    std::fs::write(&saved, out.replace("\"shapes\"", "\"the other model\"")).unwrap();
    let with = |data, chart| [&arguments(data)[..], &["--chart", chart, "--beside", path(&saved)]].concat();
    let (code, _, err) = said(&with("scenes:val:2", path(&both)));
    assert_eq!(code, 0, "{err}");
    let [alone, both] = [&alone, &both].map(|chart| std::fs::read_to_string(chart).unwrap());
    assert!(!alone.contains("the other model") && both.contains("the other model") && both.contains("shapes"));
    let (code, _, err) = said(&with("scenes:val:3", path(&none)));
    assert!(code == 2 && err.contains("it is of scenes:val:2 with seed"), "{err}");
    std::fs::write(&saved, "[]").unwrap();
    let (code, _, err) = said(&with("scenes:val:2", path(&none)));
    assert!(code == 2 && err.contains("no evaluation of a detector"), "{err}");
}

#[test]
fn detections_stand_beside_answers() {
    let folder = scratch("cli-detect-candidates");
    let (one, grounder) = (picture(&folder, "a.bmp", 1), crate::model::weights());
    let arguments = ["ground", path(&one), "the cup", "--weights", path(grounder), "--candidates", weights(), "--json"];
    let (code, out, err) = said(&arguments);
    assert_eq!(code, 0, "{err}");
    let found: Value = serde_json::from_str(&out).unwrap();
    // Random weights are sure of nothing: the list is there and may be empty.
    assert!(found["answers"][0]["candidates"].is_array(), "{found}");
    let (code, _, err) = said(&[&arguments[..7], &["--format", "hf"]].concat());
    assert!(code == 2 && err.contains("--candidates stand beside answers as text and as json"), "{err}");
    let mut swapped = arguments;
    (swapped[4], swapped[6]) = (weights(), path(grounder));
    let (code, _, err) = said(&swapped);
    assert!(
        code == 2 && err.contains("a detector, which reads no phrases") && err.contains("groundling detect"),
        "{err}"
    );
}

#[test]
fn what_cannot_be_is_named() {
    let folder = scratch("cli-detect-wrong");
    let one = picture(&folder, "a.bmp", 1);
    let grounder = crate::model::weights();
    let (code, _, err) = said(&["detect", path(&one), "--weights", path(grounder)]);
    assert!(code == 2 && err.contains("`system` is \"scanformer\", expected \"focus_detr\""), "{err}");
    let (code, _, err) = said(&["detect", path(&one)]);
    assert!(code == 2 && err.contains("name a folder of weights with --weights"), "{err}");
    let missing = folder.join("missing.png");
    let (code, out, err) = detected(&[path(&one), path(&missing), "--json"]);
    assert!(code == 2 && err.contains("1 of 2 inputs gave no answer") && out.contains("missing.png"), "{err}");
    // Classes that the weights do not know.
    let instances = r#"{"images": [{"id": 1, "file_name": "a.bmp", "height": 60, "width": 90}], "annotations": [],
        "categories": [{"id": 1, "name": "walrus"}]}"#;
    std::fs::write(folder.join("instances.json"), instances).unwrap();
    let source = format!("coco:{}:{}", path(&folder), path(&folder.join("instances.json")));
    let (code, _, err) = said(&["eval", "--data", &source, "--weights", weights()]);
    assert!(code == 2 && err.contains("does not know the classes walrus; it knows circle"), "{err}");
    let (code, text, _) = said(&["doctor", "--weights", weights()]);
    assert!(code == 0 && text.contains("all is well"), "{text}");
    let (code, out, _) = said(&["models", "--json"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 0 && listed["detectors"].as_array().unwrap().iter().any(|one| one["preset"] == "r50"), "{listed}");
}

#[test]
fn a_bench_of_a_detector_counts_what_it_leaves_out() {
    let measured = |more: &[&str]| -> Value {
        let (code, out, err) = said(&[&["bench", "-n", "2", "--size", "60", "90", "--json"], more].concat());
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).unwrap()
    };
    let trained = measured(&["--weights", weights()]);
    let names: Vec<&str> = trained["stages"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["decode", "answer", "all: file to answer"]);
    let found = json_of(&[path(&picture(&scratch("cli-bench-detector"), "a.bmp", 1)), "--json"]);
    let gflops = trained["counted_flops"].as_f64().unwrap() / 1e9;
    assert_eq!(found["pictures"][0]["gflops"].as_f64().unwrap(), gflops);
    let dense = trained["dense_flops"].as_f64().unwrap() / 1e9;
    assert!(dense > gflops && trained["kept_share"].as_f64().unwrap() < 0.6, "{trained}");
    let budget = format!("{}", 0.97 * gflops);
    let cheaper = measured(&["--weights", weights(), "--budget-gflops", &budget]);
    assert!(cheaper["counted_flops"].as_f64().unwrap() <= 0.97e9 * gflops, "{cheaper}");
    let random = measured(&["--system", "focus_detr", "--preset", "tiny"]);
    assert_eq!(random["model"], "focus_detr with random weights");
}
