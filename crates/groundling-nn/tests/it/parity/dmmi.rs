//! The two containers of a released checkpoint's structure, and its names in the backbones.

mod losses;

use std::collections::BTreeMap;

use burn::tensor::Device;
use groundling_nn::checkpoint::{
    Checkpoint, CheckpointError, ElementType, Format, Limits, Rule, StoredTensor, Weights, ignore, plan, rename, within,
};
use groundling_nn::resnet::{self, BlockKind, ResNetConfig};
use groundling_nn::swin::{self, SwinConfig};
use groundling_testkit::Folder;
use groundling_testkit::goldens::read_json;
use serde::Deserialize;

#[test]
fn checkpoint_container() {
    for case in Folder::open("dmmi").of_kinds(&["checkpoint_container"], 1) {
        let expected = read_json(&case.file());
        let files: Vec<String> = serde_json::from_value(case.json["files"].clone()).unwrap();
        assert!(!files.is_empty());
        for file in files {
            let path = case.path(&file);
            let mut read = 0;
            for (set, tensors) in expected.as_object().unwrap() {
                let Some(tensors) = tensors.as_object() else { continue };
                let open = Checkpoint::open_weights(&path, &Weights::Named(set.clone()), &Limits::default());
                let checkpoint = open.unwrap();
                assert_eq!(checkpoint.container(), Some(set.as_str()));
                assert!(checkpoint.beside().iter().any(|name| name == "optimizer"), "{:?}", checkpoint.beside());
                assert!(matches!(checkpoint.format(), Format::TorchZip | Format::TorchPickle));
                assert_eq!(checkpoint.metadata()["epoch"], expected["epoch"].to_string());
                let names: Vec<&String> = checkpoint.tensors().keys().collect();
                let mut known: Vec<&String> = tensors.keys().collect();
                known.sort();
                assert_eq!(names, known, "{file}: {set}");
                for (name, spec) in tensors {
                    let tensor = &checkpoint.tensors()[name];
                    let shape: Vec<usize> = serde_json::from_value(spec["shape"].clone()).unwrap();
                    assert_eq!(tensor.shape(), shape, "{file}: {name}");
                    let element = match spec["dtype"].as_str().unwrap() {
                        "float32" => ElementType::F32,
                        "int64" => ElementType::I64,
                        other => panic!("{other}"),
                    };
                    assert_eq!(tensor.element_type(), element, "{file}: {name}");
                    let values = groundling_testkit::Array::from_json(&spec["values"]).to_f32();
                    assert_eq!(tensor.read_f32().unwrap(), values, "{file}: {name}");
                    read += 1;
                }
            }
            assert!(read > 4, "{file}: {read} tensors");
            // Two networks of equal standing: nobody guesses.
            let error = Checkpoint::open(&path, &Limits::default()).unwrap_err();
            let CheckpointError::Ambiguous { candidates, .. } = &error else { panic!("{error}") };
            assert_eq!(candidates, &["bert_model", "model"]);
        }
    }
}

/// What of a released checkpoint belongs to the backbone alone.
const NOT_BACKBONE: &[Rule] = &[
    ignore(r"^(classifier|contrastive)\.", "decoder and loss"),
    ignore(r"\.(fusion|res_gate|W_l)\.", "fusion with the phrase"),
    ignore(r"^backbone\.all_fusion\d\.", "fusion with the phrase"),
    rename(r"^backbone\.", ""),
];
const SWIN: &[Rule] = &[within("", NOT_BACKBONE), within("", swin::KEYS)];
const RESNET: &[Rule] = &[
    within("", NOT_BACKBONE),
    rename(r"^layer1\.0\.", "conv1."),
    rename(r"^layer1\.1\.", "bn1."),
    rename(r"^layer1\.4\.", "layer1."),
    within("", resnet::BACKBONE_KEYS),
];

#[derive(Deserialize)]
struct SwinShape {
    embed_dim: usize,
    depths: [usize; 4],
    heads: [usize; 4],
    window: usize,
}

#[test]
fn released_layouts_fit_the_backbones() {
    for case in Folder::open("dmmi").of_kinds(&["state_dict_keys"], 3) {
        let keys: BTreeMap<String, Vec<usize>> = serde_json::from_value(case.file_json()).unwrap();
        let tensors = keys.into_iter().map(|(key, shape)| (key, StoredTensor::from_values(shape, Vec::new())));
        let checkpoint = Checkpoint::from_tensors(tensors);
        let config = &case.json["config"];
        let device = Device::flex();
        let backbone = &config["backbone"];
        let plan = match backbone["type"].as_str() {
            Some("swin") => {
                let shape: SwinShape = serde_json::from_value(backbone.clone()).unwrap();
                let config = SwinConfig::new(shape.embed_dim, shape.depths, shape.heads, shape.window);
                plan(&config.init(&device), &checkpoint, SWIN)
            }
            Some("resnet") => {
                let layers: [usize; 4] = serde_json::from_value(backbone["depths"].clone()).unwrap();
                plan(&ResNetConfig::new(BlockKind::Bottleneck, layers).init(&device), &checkpoint, RESNET)
            }
            _ => {
                let config = super::bert::config(case);
                plan(&config.init(&device), &checkpoint, config.keys())
            }
        };
        let plan = plan.unwrap();
        assert!(plan.report().is_complete() && plan.report().loaded > 100, "{}: {}", case.name(), plan.report());
    }
}
