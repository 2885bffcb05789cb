//! A step of training: losses, gradients of everything, the update.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_models::dmmi::{Criterion, Dmmi, Language, NETWORK_KEYS, Observer, Targets};
use groundling_nn::checkpoint::destinations;
use groundling_testkit::goldens::{read_json, visible_root};
use groundling_testkit::{Array, Case, Folder};
use serde::Deserialize;

use super::{ByKey, config, filled, gradient_outputs, names};
use crate::support::{array, tensor};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weights {
    class_weights: [f64; 2],
    weight_lansim: f64,
    weight_contra: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdamW {
    r#type: String,
    lr: f64,
    weight_decay: f64,
    #[allow(dead_code, reason = "the first step does not depend on it")]
    beta1: f64,
    #[allow(dead_code, reason = "the first step does not depend on it")]
    beta2: f64,
    eps: f64,
    no_decay: Vec<String>,
    no_decay_scope: String,
}

impl AdamW {
    /// The parameter after the first step: both moments, corrected, are those of the gradient itself.
    fn first_step(&self, key: &str, before: &Array, gradient: &Array) -> Array {
        assert_eq!(self.r#type, "adamw");
        let spared = key.starts_with(&self.no_decay_scope) && self.no_decay.iter().any(|part| key.contains(part));
        let decay = if spared { 0.0 } else { self.weight_decay };
        let one = |(p, g): (&f64, &f64)| p - self.lr * decay * p - self.lr * g / (g.abs() + self.eps);
        Array::new(before.shape.clone(), before.data.iter().zip(&gradient.data).map(one).collect())
    }
}

#[test]
fn train_step() {
    for case in Folder::open("dmmi").of_kinds(&["train_step"], 2) {
        let device = Device::flex().autodiff();
        let (config, _) = config(case);
        let network = Dmmi::new(&config, &device).unwrap().network().clone();
        let (mut network, keys) = filled(network, case, names(&config.backbone), NETWORK_KEYS);
        network.fix_norms(case.json["mode"] == "eval");
        let loss: Weights = serde_json::from_value(case.json["config"]["loss"].clone()).unwrap();
        let criterion = Criterion {
            class_weights: loss.class_weights,
            recovery: loss.weight_lansim,
            contrast: loss.weight_contra,
            ..Criterion::default()
        };

        let turned = |name: &str| tensor::<3>(&case.input(name), &device).swap_dims(1, 2);
        let valid = tensor::<2>(&case.input("mask"), &device);
        let language = Language { tokens: turned("lang"), valid: valid.clone() };
        let image = tensor::<4>(&case.input("image"), &device);
        let [_, _, height, width] = image.dims();
        let first = network.first(image);
        let nobody = &mut Observer::none();
        let output = network.forward(first, &language, Some(turned("lang_masked")), [height, width], nobody);
        let targets =
            Targets { masks: tensor(&case.input("target"), &device), flags: tensor(&case.input("flags"), &device) };
        let losses = network.losses(&output, valid, &targets, &criterion);

        let mut report = case.report();
        let terms: BTreeMap<&str, Tensor<1>> =
            losses.terms.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        for (of, term) in [("loss_seg", "segmentation"), ("loss_lansim", "recovery"), ("loss_contra", "contrast")] {
            report.check(of, &array(terms[term].clone()));
        }
        report.check("loss", &array(losses.total.clone().without_autodiff()));
        report.check("logits", &array(output.logits.clone().without_autodiff()));
        // Asks the threads for what they gathered.
        let still = network.valid();
        check_buffers(&still, case, &mut report);
        let weight = case.probe()[0].weights(&[1]).data[0];
        let all = losses.total.mul_scalar(weight).backward();
        let found = ByKey::gradients(&network, &all, &keys, NETWORK_KEYS);
        let gradient = |key: &str| found.get(key).unwrap_or_else(|| panic!("{}: no gradient of {key}", case.name()));
        let norm = |key: &String| gradient(key).data.iter().map(|value| value * value).sum::<f64>().sqrt();
        let with_gradient = case.entry_names("gradnorms");
        let norms: Vec<f64> = with_gradient.iter().map(norm).collect();
        report.check("gradnorms", &Array::new([norms.len()], norms));
        for key in gradient_outputs(case) {
            report.check(&format!("grad:{key}"), &gradient(&key));
        }
        let optimizer: AdamW = serde_json::from_value(case.json["config"]["optimizer"].clone()).unwrap();
        for (_, spec) in case.json["outputs"].as_object().unwrap() {
            let of = spec["of"].as_str().unwrap();
            let Some(key) = of.strip_prefix("after:") else { continue };
            let gradient = gradient(key);
            let before = case.parameter(key, &gradient.shape).unwrap();
            report.check(of, &optimizer.first_step(key, &before, &gradient));
        }
        report.finish();

        // What the reference trains is what is trained here.
        let to_ours = |keys: &[String]| -> BTreeSet<String> {
            keys.iter().flat_map(|key| destinations(key, NETWORK_KEYS).unwrap()).collect()
        };
        assert_eq!(to_ours(&with_gradient), found.own.keys().cloned().collect(), "{}", case.name());
    }
}

/// Running statistics.
fn check_buffers<M: Module>(network: &M, case: &Case, report: &mut groundling_testkit::Report<'_>) {
    let folder = groundling_testkit::scratch(&format!("dmmi-buffers-{}", case.name()));
    let path = folder.join("model.safetensors");
    let precision = groundling_nn::checkpoint::Precision::F32;
    groundling_nn::checkpoint::save(network, &path, precision, &BTreeMap::new()).unwrap();
    let limits = groundling_nn::checkpoint::Limits::default();
    let file = groundling_nn::checkpoint::Checkpoint::open(&path, &limits).unwrap();
    for (_, spec) in case.json["outputs"].as_object().unwrap() {
        let of = spec["of"].as_str().unwrap();
        let Some(key) = of.strip_prefix("buffer:") else { continue };
        let [name] = &destinations(key, NETWORK_KEYS).unwrap()[..] else { panic!("{key} goes to one place") };
        let tensor = &file.tensors()[name];
        report.check(of, &Array::from_values(tensor.shape(), &tensor.read_f32().unwrap()));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_never_gets_a_gradient() {
    for case in Folder::open("dmmi").of_kinds(&["param_names"], 1) {
        let listed = read_json(&visible_root().join("dmmi").join(case.json["file"].as_str().unwrap()));
        let names_of = |key: &str| -> Vec<String> { serde_json::from_value(listed[key].clone()).unwrap() };
        let (with, without) = (names_of("params_with_grad_in_order"), names_of("params_without_grad"));
        let (config, _) = config(case);
        let known: BTreeSet<String> = names(&config.backbone).into_iter().map(|(key, _)| key).collect();
        assert!(with.iter().chain(&without).all(|key| known.contains(key)), "{}", case.name());
        let network = Dmmi::new(&config, &Device::flex().autodiff()).unwrap().network().clone();
        let trained = crate::support::trainable(&network);
        let ours = |keys: &[String]| -> BTreeSet<String> {
            keys.iter().flat_map(|key| destinations(key, NETWORK_KEYS).unwrap()).collect()
        };
        assert!(without.len() > 2 && ours(&without).is_disjoint(&trained), "{}", case.name());
        assert_eq!(ours(&with), trained, "{}", case.name());
    }
}
