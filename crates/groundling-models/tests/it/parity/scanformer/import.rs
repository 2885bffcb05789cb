//! Checkpoints of ViLT in both layouts.

use std::collections::BTreeMap;

use burn::tensor::Device;
use groundling_core::ContentRect;
use groundling_models::contract::{GroundOptions, System, Trainable};
use groundling_models::scanformer::ScanFormer;
use groundling_nn::checkpoint::{Checkpoint, Limits, Precision, StoredTensor, load_into, parameters, save};
use groundling_testkit::{Array, Case, Folder, fill, scratch};

use super::scan;
use crate::scanformer::reference::{Plan, Reference};
use crate::support;

/// A checkpoint of the case: ViLT's tensors under ViLT's names, and ours for what ViLT does not have.
fn checkpoint(case: &Case, model: &ScanFormer) -> Checkpoint {
    let shapes: BTreeMap<String, Vec<usize>> =
        serde_json::from_value(case.json["config"]["checkpoint"]["shapes"].clone()).unwrap();
    let ours = ["pse.fc1.", "select.", "box."];
    let own = parameters(model).into_iter().filter(|info| ours.iter().any(|part| info.name.starts_with(part)));
    let all = shapes.into_iter().chain(own.map(|info| (info.name, info.shape)));
    let seed = case.seed();
    Checkpoint::from_tensors(all.map(|(name, shape)| {
        let values = fill::parameter(&name, &shape, seed).to_f32();
        (name, StoredTensor::from_values(shape, values))
    }))
}

/// Every parameter by name, in the layout of a file.
fn values(model: &ScanFormer, place: &str) -> Checkpoint {
    let path = scratch(place).join("model.safetensors");
    save(model, &path, Precision::F32, &BTreeMap::new()).unwrap();
    Checkpoint::open(&path, &Limits::default()).unwrap()
}

#[test]
fn import() {
    let folder = Folder::open("scanformer");
    let mut models = Vec::new();
    for case in folder.of_kinds(&["import"], 2) {
        let config = super::config(case);
        let layout = case.json["config"]["checkpoint"]["layout"].as_str().unwrap();
        let model = ScanFormer::new(&config, &Device::flex()).unwrap();
        let checkpoint = checkpoint(case, &model);
        let detected = ScanFormer::layouts(&config)
            .into_iter()
            .find(|layout| checkpoint.tensors().keys().any(|name| name.starts_with(layout.marker)))
            .unwrap();
        assert_eq!(detected.name, layout);
        let (model, report) = load_into(model, &checkpoint, &detected.rules).unwrap();
        // The second layer of the learned embedding is all that stays as it was.
        assert_eq!(report.kept.len(), 2, "{report}");
        assert_eq!(report.joined.len(), if layout == "hf" { 1 + 2 * config.layers } else { 1 }, "{report}");

        let loaded = values(&model, case.name());
        let run = scan::run(&model, case);
        let mut report = case.report();
        for (name, tensor) in loaded.tensors() {
            let of = format!("param:{name}");
            if report.wants(&of) {
                report.check(&of, &Array::from_values(tensor.shape(), &tensor.read_f32().unwrap()));
            }
        }
        scan::check(&run, &mut report);
        report.finish();
        models.push(model);
    }
}

/// What other tasks add, a third type of tokens, and no prefix.
#[test]
fn siblings_load_too() {
    let folder = Folder::open("scanformer");
    for case in folder.of_kinds(&["import"], 2) {
        let config = super::config(case);
        let model = || ScanFormer::new(&config, &Device::flex()).unwrap();
        let layout = case.json["config"]["checkpoint"]["layout"].as_str().unwrap();
        let bare = |name: &str| name.strip_prefix("vilt.").unwrap_or(name).to_owned();
        let d = config.dim;
        let mut tensors: BTreeMap<String, StoredTensor> =
            checkpoint(case, &model()).tensors().iter().map(|(name, tensor)| (bare(name), tensor.clone())).collect();
        let types = tensors
            .keys()
            .find(|name| name.ends_with("token_type_embeddings.weight") && !name.contains("text_embeddings"));
        let types = types.unwrap().clone();
        let mut rows = tensors[&types].read_f32().unwrap();
        rows.extend(std::iter::repeat_n(7.0, d));
        tensors.insert(types, StoredTensor::from_values([3, d], rows));
        for (name, shape) in [
            ("pooler.dense.weight", vec![d, d]),
            ("nlvr2_classifier.0.weight", vec![d, d]),
            ("mlm_score.bias", vec![config.vocab]),
            ("text_embeddings.position_ids", vec![1, config.max_text]),
        ] {
            let count = shape.iter().product();
            tensors.insert(name.into(), StoredTensor::from_values(shape, vec![0.0; count]));
        }
        let rules = ScanFormer::layouts(&config).into_iter().find(|found| found.name == layout).unwrap().rules;
        let (loaded, report) = load_into(model(), &Checkpoint::from_tensors(tensors), &rules).unwrap();
        assert_eq!(report.ignored.len(), 4, "{report}");
        let (plain, _) = load_into(model(), &checkpoint(case, &model()), &rules).unwrap();
        let (one, two) = (values(&loaded, "sibling"), values(&plain, "plain"));
        for (name, tensor) in one.tensors() {
            assert_eq!(tensor.read_f32().unwrap(), two.tensors()[name].read_f32().unwrap(), "{name}");
        }
    }
}

/// One level, nothing left out and everything seeing everything: what is imported is ViLT. Its rows are computed from its own file by its own
/// names, without the key table.
#[test]
fn one_bidirectional_level_is_vilt() {
    let folder = Folder::open("scanformer");
    let case = folder.of_kinds(&["import"], 2)[1];
    assert_eq!(case.json["config"]["checkpoint"]["layout"], "official");
    let mut config = super::config(case);
    (config.levels, config.image_size) = (1, config.pos_grid * config.patch);
    let model = ScanFormer::new(&config, &Device::flex()).unwrap();
    let checkpoint = checkpoint(case, &model);
    let rules = ScanFormer::layouts(&config).into_iter().find(|found| found.name == "official").unwrap().rules;
    let (model, _) = load_into(model, &checkpoint, &rules).unwrap();
    let (side, ids) = (config.image_size, [5u32, 11, 2, 29, 7]);
    let image = fill::uniform("image", &[3, side, side], -1.0, 1.0, case.seed());
    let content = ContentRect { top: 0, left: 0, height: side as u32, width: side as u32 };
    let canvas = support::tensor::<3>(&image, &Device::flex()).unsqueeze();
    let (phrase, view) = (model.read_phrase(&ids), model.read_canvas(canvas, content));
    let grounded = model.ground(&phrase, &view, &GroundOptions::default()).unwrap();

    let loaded = values(&model, "vilt");
    let ours = Reference::new(&config, &loaded);
    let found = ours.run(&ids, &image, &grounded, Plan { bidirectional: true, ..Plan::MERGED });
    let expected = Reference::new(&config, &checkpoint).vilt(&ids, &image);
    let rows = found.language.iter().chain(&found.answers);
    assert_eq!(rows.clone().count(), ids.len() + 1);
    for (row, expected) in rows.zip(&expected) {
        for (found, expected) in ours.normed(row).into_iter().zip(expected) {
            // The sum that makes the answering token is rounded to single precision.
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
    // The model itself sees less: its phrase does not see the picture.
    let causal = ours.run(&ids, &image, &grounded, Plan::MERGED);
    let apart = ours.normed(&causal.answers[0]).into_iter().zip(&expected[ids.len()]).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f64::max) > 1e-3);
}

/// The same numbers under the names of either layout are the same model.
#[test]
fn both_layouts_of_one_model_agree() {
    let folder = Folder::open("scanformer");
    let case = folder.of_kinds(&["import"], 2)[1];
    assert_eq!(case.json["config"]["checkpoint"]["layout"], "official");
    let config = super::config(case);
    let model = || ScanFormer::new(&config, &Device::flex()).unwrap();
    let official = checkpoint(case, &model());
    let mut hf = BTreeMap::new();
    for (name, tensor) in official.tensors() {
        let block = |rest: &str| -> Option<(String, String)> {
            let (index, rest) = rest.strip_prefix("transformer.blocks.")?.split_once('.')?;
            Some((format!("vilt.encoder.layer.{index}."), rest.to_owned()))
        };
        if let Some((layer, rest)) = block(name) {
            if let Some(kind) = rest.strip_prefix("attn.qkv.") {
                let values = tensor.read_f32().unwrap();
                let mut shape = tensor.shape().to_vec();
                shape[0] /= 3;
                for (part, values) in ["query", "key", "value"].into_iter().zip(values.chunks(values.len() / 3)) {
                    let name = format!("{layer}attention.attention.{part}.{kind}");
                    hf.insert(name, StoredTensor::from_values(shape.clone(), values.to_vec()));
                }
                continue;
            }
            let rest = rest.replace("attn.proj", "attention.output.dense").replace("norm1", "layernorm_before");
            let rest = rest.replace("norm2", "layernorm_after").replace("mlp.fc1", "intermediate.dense");
            hf.insert(format!("{layer}{}", rest.replace("mlp.fc2", "output.dense")), tensor.clone());
            continue;
        }
        let renamed = match name.as_str() {
            "token_type_embeddings.weight" => "vilt.embeddings.token_type_embeddings.weight".to_owned(),
            "transformer.cls_token" => "vilt.embeddings.cls_token".to_owned(),
            "transformer.pos_embed" => "vilt.embeddings.position_embeddings".to_owned(),
            _ => name
                .replace("text_embeddings.", "vilt.embeddings.text_embeddings.")
                .replace("transformer.patch_embed.proj", "vilt.embeddings.patch_embeddings.projection")
                .replace("transformer.norm", "vilt.layernorm"),
        };
        hf.insert(renamed, tensor.clone());
    }
    let load = |checkpoint: &Checkpoint, layout: &str| {
        let rules = ScanFormer::layouts(&config).into_iter().find(|found| found.name == layout).unwrap().rules;
        load_into(model(), checkpoint, &rules).unwrap().0
    };
    let one = values(&load(&official, "official"), "one-official");
    let two = values(&load(&Checkpoint::from_tensors(hf), "hf"), "one-hf");
    assert_eq!(one.tensors().len(), parameters(&model()).len());
    for (name, tensor) in one.tensors() {
        let pairs = tensor.read_f32().unwrap().into_iter().zip(two.tensors()[name].read_f32().unwrap());
        // The answering token is a sum, whose terms come in another order.
        let tolerance = if name == "reg_token" { 1e-6 } else { 0.0 };
        assert!(pairs.map(|(a, b)| (a - b).abs()).all(|apart| apart <= tolerance), "{name}");
    }
}
