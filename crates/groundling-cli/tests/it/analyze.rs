//! `analyze attention`, on models with random weights.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use groundling::{Bundle, Description};
use groundling_models::contract::System;
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_models::qrnet::{QrNet, QrNetConfig};
use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_nn::checkpoint::Precision;
use groundling_testkit::scratch;
use serde_json::Value;

use crate::model::said;

fn weights<M: System>(folder: &Path, config: &M::Config) -> PathBuf {
    let device = Device::flex();
    let _alone = crate::alone();
    device.seed(5);
    let description = Description { name: format!("{}-random", M::NAME), ..Description::default() };
    let folder = folder.join(M::NAME);
    Bundle::write(&folder, &M::init(config, &device).unwrap(), &description, Precision::F32).unwrap();
    folder
}

fn analyze(weights: &Path, more: &[&str]) -> (i32, String, String) {
    let weights = weights.to_str().unwrap();
    said(&[&["analyze", "attention", "--weights", weights, "--device", "cpu"], more].concat())
}

#[test]
fn the_folder_has_numbers_pictures_and_one_page_with_all() {
    let folder = scratch("cli-analyze");
    let weights = weights::<QrNet>(&folder, &QrNetConfig::tiny());
    let out = folder.join("made/here");
    let asked = ["--data", "scenes:val:5", "--out", out.to_str().unwrap(), "--pictures", "2", "--json"];
    let (code, text, err) = analyze(&weights, &asked);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["schema"], &report["run"]["attention"]), (&"groundling.attention/1".into(), &"map".into()));
    let layers = report["layers"].as_array().unwrap();
    assert_eq!(layers.len(), QrNetConfig::tiny().fusion_layers);
    for layer in layers {
        let inside = layer["mean_inside"].as_f64().unwrap();
        assert!(inside > 0.0 && inside < 1.0 && layer["rho"].as_f64().unwrap().abs() <= 1.0, "{layer}");
    }
    let count = report["count"].as_u64().unwrap() as usize;
    assert!(count > 5);
    let written: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(written, report);

    let csv = std::fs::read_to_string(out.join("samples.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + count);
    assert!(csv.starts_with("id,image,phrase,iou,even,\"inside, layer 0\""), "{csv}");
    for name in ["layers", "scatter", "best", "worst"] {
        let picture = image::open(out.join(format!("{name}.png"))).unwrap().into_rgb8();
        let first = *picture.get_pixel(picture.width() / 2, picture.height() / 2);
        assert!(picture.width() > 400 && picture.pixels().any(|pixel| *pixel != first), "{name} is one colour");
    }
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert_eq!(page.matches("data:image/png;base64,").count(), 3);
    assert!(page.contains("<svg") && page.contains("<th>layer 0</th>") && !page.contains("src=\"http"));
}

#[test]
fn the_same_question_has_the_same_answer_in_words() {
    let folder = scratch("cli-analyze-words");
    let weights = weights::<Vltvg>(&folder, &VltvgConfig::tiny());
    let data = ["--data", "scenes:val:4"];
    let (code, map, err) = analyze(&weights, &data);
    assert_eq!(code, 0, "{err}");
    assert!(map.starts_with("vltvg-random on scenes:val:4, 4 pictures: ") && map.contains("\neven attention"), "{map}");
    let again = |more: &[&str]| analyze(&weights, &[&data, more].concat()).1;
    assert_eq!(again(&["--threads", "1"]), map, "neither threads nor luck change a number");
    assert_ne!(again(&["--cells", "center"]), map);
    assert!(again(&["--limit", "2"]).contains(", 2 pictures"));
}

#[test]
fn levels_have_a_row_each() {
    let folder = scratch("cli-analyze-levels");
    let config = ScanFormerConfig::tiny();
    let weights = weights::<ScanFormer>(&folder, &config);
    let out = folder.join("out");
    let (code, text, err) =
        analyze(&weights, &["--data", "scenes:val:2", "--attention", "weights", "--out", out.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(text.contains(&format!("level 2, layer {}", config.layers - 1)), "{text}");
    assert!(out.join("report.html").is_file());
}

#[test]
fn what_cannot_be_analyzed_is_said_with_a_hint() {
    let folder = scratch("cli-analyze-wrong");
    let dmmi = weights::<Dmmi>(&folder, &DmmiConfig::tiny());
    let vltvg = weights::<Vltvg>(&folder, &VltvgConfig::tiny());
    let empty = folder.join("empty.jsonl");
    std::fs::write(&empty, "").unwrap();
    let (empty, blocked) = (format!("jsonl:{}", empty.display()), folder.join("file"));
    std::fs::write(&blocked, "in the way").unwrap();
    let blocked = blocked.join("out");
    for (weights, more, message, hint) in [
        (&dmmi, vec!["--data", "scenes:val:2"], "dmmi-random gives no attention", "hint: TransVG"),
        (&vltvg, vec!["--data", "scenes:val:2", "--limit", "0"], "scenes:val:2: there is no picture", "hint: "),
        (&vltvg, vec!["--data", &empty], "", ""),
        (&vltvg, vec!["--data", "scenes:nowhere"], "scenes", "hint: "),
        (&vltvg, vec!["--data", "scenes:val:2", "--level", "1"], "level 1", ""),
        (&vltvg, vec!["--data", "scenes:val:2", "--out", blocked.to_str().unwrap()], "file", ""),
    ] {
        let (code, out, err) = analyze(weights, &more);
        assert_eq!((code, out.as_str()), (2, ""), "{more:?}");
        assert!(err.contains(message) && err.contains(hint), "{more:?}: {err}");
    }
}
