//! Names of released checkpoints, and the groups in which they are trained.

use std::collections::BTreeMap;

use burn::tensor::Device;
use groundling_models::contract::Trainable;
use groundling_models::dmmi::{Dmmi, DmmiConfig, OFFICIAL_KEYS};
use groundling_nn::checkpoint::{Checkpoint, Limits, StoredTensor, Weights, destinations, parameters, plan};
use groundling_testkit::Folder;
use serde_json::Value;

use super::{config, released};

/// The file of a released model: network, BERT, and what stands beside them.
fn whole(network: BTreeMap<String, Vec<usize>>) -> BTreeMap<String, Vec<usize>> {
    let bert = released("keys_bert_base.json").into_iter().map(|(key, shape)| (format!("bert_model.{key}"), shape));
    let network = network.into_iter().map(|(key, shape)| (format!("model.{key}"), shape));
    let beside = [("optimizer.state.0.exp_avg".to_owned(), vec![1])];
    network.chain(bert).chain(beside).collect()
}

#[test]
fn released_checkpoints_fit() {
    let folder = Folder::open("dmmi");
    for case in folder.of_kinds(&["state_dict_keys"], 3) {
        if case.json["config"].get("backbone").is_none() {
            continue; // BERT alone is part of both others
        }
        let (sizes, _) = config(case);
        let sizes = DmmiConfig { text: DmmiConfig::swin_b().text, ..sizes };
        let listed: BTreeMap<String, Vec<usize>> = serde_json::from_value(case.file_json()).unwrap();
        let keys = whole(listed);
        let tensors = |keep: &dyn Fn(&str) -> bool| {
            let kept = keys.iter().filter(|(key, _)| keep(key));
            Checkpoint::from_tensors(
                kept.map(|(key, shape)| (key.clone(), StoredTensor::from_values(shape.clone(), vec![]))),
            )
        };
        let layouts = Dmmi::layouts(&sizes);
        let model = Dmmi::new(&sizes, &Device::flex()).unwrap();
        let fits = |keep: &dyn Fn(&str) -> bool| {
            let checkpoint = tensors(keep);
            plan(&model, &checkpoint, &layouts[0].rules).unwrap().report().clone()
        };
        let report = fits(&|_| true);
        assert!(report.is_complete(), "{}: {report}", case.name());
        assert_eq!(report.loaded, parameters(&model).len());
        let stale = report.ignored.iter().filter(|(name, _)| name.contains(".decoder_layer.")).count();
        assert_eq!(stale, 3 * 18, "{}", case.name());
        // Files without the templates exist, too; files without a weight do not.
        assert!(fits(&|key| !key.contains(".decoder_layer.")).is_complete(), "{}", case.name());
        assert!(!fits(&|key| key != "model.classifier.conv1_3.weight").is_complete(), "{}", case.name());
        assert!(keys.keys().any(|key| key.starts_with(layouts[0].marker)));
    }
}

/// What training starts from: an encoder of images and a BERT as their makers publish them.
#[test]
fn published_encoders_fit() {
    let bert = released("keys_bert_base.json").into_iter().map(|(key, shape)| (format!("bert.{key}"), shape));
    let bert: BTreeMap<_, _> = bert.chain([("bert.pooler.dense.bias".to_owned(), vec![768])]).collect();
    let of_ours = |key: &str| [".fusion.", ".res_gate.", ".W_l."].iter().any(|part| key.contains(part));
    for (sizes, file, unread) in [
        (DmmiConfig::swin_b(), "keys_swin_base.json", ["norm.weight", "head.weight", "layers.0.blocks.1.attn_mask"]),
        (DmmiConfig::resnet101(), "keys_resnet101.json", ["fc.weight", "fc.bias", "bn1.num_batches_tracked"]),
    ] {
        let image = |key: &str| {
            let key = key.strip_prefix("backbone.")?;
            // The names that torchvision has for what DMMI's program calls its first stage.
            let first = [("layer1.0.", "conv1."), ("layer1.1.", "bn1."), ("layer1.4.", "layer1.")];
            let renamed = first.iter().find_map(|(from, to)| Some(format!("{to}{}", key.strip_prefix(from)?)));
            let resnet = file.contains("resnet");
            let ours = of_ours(&format!(".{key}")) || key.starts_with("all_fusion");
            let norm = key.starts_with("norm");
            (!ours && !norm).then(|| format!("image.{}", renamed.filter(|_| resnet).unwrap_or_else(|| key.to_owned())))
        };
        let mut keys = bert.clone();
        keys.extend(released(file).into_iter().filter_map(|(key, shape)| Some((image(&key)?, shape))));
        keys.extend(unread.map(|name| (format!("image.{name}"), vec![1])));
        let layouts = Dmmi::layouts(&sizes);
        let layout = layouts.iter().find(|layout| layout.name == "encoders").unwrap();
        assert!(keys.keys().any(|key| key.starts_with(layout.marker)) && !layouts[0].marker.starts_with("bert"));
        let model = Dmmi::new(&sizes, &Device::flex()).unwrap();
        let fits = |keys: &BTreeMap<String, Vec<usize>>| {
            let tensors =
                keys.iter().map(|(key, shape)| (key.clone(), StoredTensor::from_values(shape.clone(), vec![])));
            plan(&model, &Checkpoint::from_tensors(tensors), &layout.rules).unwrap().report().clone()
        };
        let report = fits(&keys);
        assert!(report.is_complete(), "{file}: {report}");
        let encoders = parameters(&model).into_iter().filter(|info| {
            let norm = |stage: &str| info.name.starts_with(&format!("network.backbone.norm{stage}."));
            let encoder = info.name.starts_with("text.") || info.name.starts_with("network.backbone.");
            encoder && !["0", "1", "2", "3"].into_iter().any(norm)
        });
        assert_eq!(report.loaded, encoders.count(), "{file}");
        keys.retain(|key, _| !key.starts_with("image.layer"));
        assert!(!fits(&keys).is_complete(), "{file}: an encoder without its stages does not fit");
    }
}

#[test]
fn the_miniature_of_a_checkpoint_leads_to_parameters() {
    let model = Dmmi::new(&DmmiConfig::swin_b(), &Device::flex()).unwrap();
    let ours: std::collections::BTreeSet<String> = parameters(&model).into_iter().map(|info| info.name).collect();
    for case in Folder::open("dmmi").of_kinds(&["checkpoint_container"], 1) {
        for file in case.json["files"].as_array().unwrap() {
            let path = case.path(file.as_str().unwrap());
            let checkpoint = Checkpoint::open_weights(&path, &Weights::Everything, &Limits::default()).unwrap();
            let mut known = 0;
            for name in checkpoint.tensors().keys() {
                let targets = destinations(name, OFFICIAL_KEYS).unwrap();
                known += targets.iter().filter(|target| ours.contains(*target)).count();
            }
            assert!(known >= 4, "{}: {known} names lead to parameters", path.display());
        }
    }
}

/// Tensors and numbers of the groups in which the reference trains, of names of both dictionaries.
#[test]
fn optimizer() {
    for case in Folder::open("dmmi").of_kinds(&["optimizer"], 1) {
        let expected = case.file_json();
        for (variant, sizes, file) in [
            ("dmmi_swin", DmmiConfig::swin_b(), "keys_swin_base.json"),
            ("dmmi_res", DmmiConfig::resnet101(), "keys_resnet101.json"),
        ] {
            let expected = &expected[variant];
            let listed = released(file);
            let buffer = |key: &str| {
                ["running_mean", "running_var", "num_batches_tracked", "relative_position_index"]
                    .iter()
                    .any(|end| key.ends_with(end))
            };
            let mut groups: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
            for (key, shape) in whole(listed.clone()).into_iter().filter(|(key, _)| !buffer(key)) {
                let spared = ["norm", "absolute_pos_embed", "relative_position_bias_table"];
                let group = match key.split('.').collect::<Vec<_>>()[..] {
                    ["model", "backbone", ..] if spared.iter().any(|part| key.contains(part)) => "backbone_no_decay",
                    ["model", "backbone", ..] => "backbone_decay",
                    ["model", "classifier", ..] => "classifier",
                    ["model", "contrastive", ..] => "contrastive",
                    ["bert_model", "encoder", "layer", layer, ..] if layer.parse::<usize>().unwrap() < 10 => {
                        "bert_layers_0_to_9"
                    }
                    _ => continue,
                };
                let (tensors, elements) = groups.entry(group).or_default();
                *tensors += 1;
                *elements += shape.iter().product::<usize>() as u64;
            }
            let number = |value: &Value| value.as_u64().unwrap();
            for (group, (tensors, elements)) in &groups {
                let of = &expected[group];
                let listed = (number(&of["tensors"]), number(&of["elements"]));
                assert_eq!((*tensors, *elements), listed, "{variant}: {group}");
            }
            assert_eq!(number(&expected["state_dict_entries"]), listed.len() as u64, "{variant}");

            // Ours, trained as the reference trains: the same numbers but for copies that nothing reads.
            let criterion = groundling_models::dmmi::Criterion { trained_text_layers: Some(10), ..Default::default() };
            let model = Dmmi::new(&sizes, &Device::flex().autodiff()).unwrap().for_training(&criterion).unwrap();
            let trained = crate::support::trainable(&model);
            let shapes: BTreeMap<String, Vec<usize>> =
                parameters(&model).into_iter().map(|info| (info.name, info.shape)).collect();
            let count = |part: &dyn Fn(&str) -> bool| -> u64 {
                let names = trained.iter().filter(|name| part(name));
                names.map(|name| shapes[name].iter().product::<usize>() as u64).sum()
            };
            let elements = |group: &str| groups.get(group).map_or(0, |(_, elements)| *elements);
            assert_eq!(count(&|name| name.starts_with("text.")), elements("bert_layers_0_to_9"), "{variant}");
            let stale = 3 * 7_877_888;
            assert_eq!(
                count(&|name| name.starts_with("network.decoder.")),
                elements("classifier") - stale,
                "{variant}"
            );
            assert_eq!(count(&|name| name.starts_with("network.align.")), elements("contrastive"), "{variant}");
            let gate = if variant == "dmmi_swin" { 2 * 1024 * 1024 } else { 0 };
            let encoders = count(&|name| name.starts_with("network.backbone.") || name.starts_with("network.fusion."));
            let both = elements("backbone_decay") + elements("backbone_no_decay");
            assert_eq!(encoders, both - gate, "{variant}");
        }
    }
}
