//! AttBalance: cells of boxes, correlations, losses of a step with their gradients, and a step of each real model.

use burn::tensor::{Device, Tensor};
use groundling_core::{BoxCxcywh, Unit};
use groundling_eval::correlation::spearman;
use groundling_models::attbalance::{
    AttBalance, Attended, Attentive, Balanced, Domain, MaskRule, Rho, Smoothed, Step, box_mask, content_shares,
    relative,
};
use groundling_models::{qrnet, transvg, vltvg};
use groundling_nn::checkpoint::Rule;
use groundling_testkit::{Array, Case, Folder, Report};
use serde::Deserialize;
use serde_json::Value;

use super::bases::{self, Keys};
use crate::support;

fn correlate(x: &[f64], y: &[f64]) -> Option<f64> {
    spearman(x, y).map(|correlation| correlation.rho)
}

fn boxes(array: &Array) -> Vec<BoxCxcywh<Unit>> {
    array.data.chunks(4).map(support::bbox).collect()
}

#[test]
fn cells_of_boxes() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        rule: MaskRule,
        grid: [usize; 2],
    }
    for case in Folder::open("attbalance").of_kinds(&["box_mask"], 12) {
        let Config { rule, grid } = case.config();
        let padding: Option<Vec<bool>> =
            case.has_input("valid").then(|| case.input("valid").data.iter().map(|&valid| valid == 0.0).collect());
        let boxes = boxes(&case.input("boxes"));
        let found: Vec<f64> = boxes
            .iter()
            .flat_map(|&bbox| box_mask(bbox, grid, padding.as_deref(), rule))
            .map(|inside| f64::from(u8::from(inside)))
            .collect();
        let mut report = case.report();
        report.check("mask", &Array::new([boxes.len(), grid[0], grid[1]], found));
        report.finish();
    }
}

#[test]
fn correlations_of_layers() {
    for case in Folder::open("attbalance").of_kinds(&["rho_table"], 1) {
        let (inbox, iou) = (case.input("inbox"), case.input("iou"));
        let samples = iou.data.len();
        let rho: Vec<f64> = inbox.data.chunks(samples).map(|layer| correlate(layer, &iou.data).unwrap()).collect();
        let mut report = case.report();
        report.check("rho_rel", &Array::new([rho.len()], relative(&rho)));
        report.check("rho", &Array::new([rho.len()], rho));
        report.finish();
    }
}

/// What a case says about the losses.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    grids: Vec<[usize; 2]>,
    alpha_ar: f64,
    alpha_1: f64,
    alpha_g: f64,
    use_rac: bool,
    use_mrc: bool,
    use_dat: bool,
    use_rho: bool,
    layers: Option<Vec<usize>>,
    teacher_seed: Option<u64>,
    model: Option<Value>,
}

impl Config {
    fn ours(&self, case: &Case) -> AttBalance {
        let rho = match (self.use_rho, case.has_input("rho")) {
            (false, _) => Rho::Off,
            (true, true) => Rho::Fixed(case.input("rho").data),
            (true, false) => Rho::Batch,
        };
        AttBalance {
            layers: self.layers.clone(),
            domain: if case.has_input("other") { Domain::AllKeys } else { Domain::Visual },
            rho,
            alpha_ar: self.alpha_ar,
            use_rac: self.use_rac,
            use_mrc: self.use_mrc,
            use_dat: self.use_dat,
            ..AttBalance::default()
        }
    }
}

/// The cells of the boxes are those of the case.
fn check_cells(case: &Case, attended: &Attended) {
    let (gt, expected) = (boxes(&case.input("gt")), case.input("box_mask"));
    let tokens = attended.padding.len() / gt.len();
    let mut found = Vec::new();
    for (&bbox, padding) in gt.iter().zip(attended.padding.chunks(tokens)) {
        let mut start = 0;
        for &grid in &attended.grids {
            let end = start + grid[0] * grid[1];
            found.extend(box_mask(bbox, grid, Some(&padding[start..end]), MaskRule::Overlap));
            start = end;
        }
    }
    let found: Vec<f64> = found.into_iter().map(|inside| f64::from(u8::from(inside))).collect();
    assert_eq!(found, expected.data, "{}", case.name());
    let padding: Vec<f64> = attended.padding.iter().map(|&hidden| f64::from(u8::from(hidden))).collect();
    assert_eq!(padding, case.input("pad").data, "{}", case.name());
}

/// Checks what the losses are made of, as far as the case wants it.
fn check(balanced: &Balanced, report: &mut Report<'_>) {
    let list = |values: &[f64]| Array::new([values.len()], values.to_vec());
    let probability = |log: &Tensor<2>| support::array(log.clone().without_autodiff().exp());
    let one = |values: &Tensor<1>| support::array(values.clone());
    let values = [
        ("attention", support::array(balanced.maps.attention())),
        ("p_in", probability(&balanced.maps.log_inside)),
        ("p_out", support::array(balanced.maps.log_not_outside.clone().exp().neg().add_scalar(1.0))),
        ("rac_layers", support::array(balanced.rac.clone())),
        ("mrc_layers", support::array(balanced.mrc.clone())),
        ("iou", list(&balanced.iou)),
        ("rho", list(&balanced.rho)),
        ("rho_rel", list(&balanced.layer_weights)),
        ("l_rac", one(&balanced.l_rac)),
        ("l_mrc", one(&balanced.l_mrc)),
        ("l_ar", one(&balanced.l_ar)),
        ("w_adw", one(&balanced.attention_weight)),
        ("w_odw", one(&balanced.size_weight)),
        ("l1", one(&balanced.l1)),
        ("l_giou", one(&balanced.l_giou)),
        ("total", one(&balanced.total)),
    ];
    for (name, value) in values {
        if report.wants(name) {
            report.check(name, &value);
        }
    }
}

#[test]
fn steps() {
    for case in Folder::open("attbalance").of_kinds(&["attbalance_step"], 36) {
        let stated: Config = case.config();
        let device = Device::flex().autodiff();
        let logits = support::tensor::<4>(&case.input("logits"), &device).require_grad();
        let pred = support::tensor::<3>(&case.input("pred"), &device).require_grad();
        let other = case.has_input("other").then(|| support::tensor::<4>(&case.input("other"), &device));
        let padding = case.input("pad").data.iter().map(|&hidden| hidden != 0.0).collect();
        let [_, b, ..] = logits.dims();
        let others = other.as_ref().map_or(0, |other| other.dims()[3]);
        let attended = Attended {
            boxes: pred.clone(),
            logits: logits.clone(),
            other: other.clone(),
            padding,
            other_padding: vec![false; b * others],
            grids: stated.grids.clone(),
        };
        let teacher_logits = support::tensor::<4>(&case.input("teacher"), &device).require_grad();
        let teacher = Attended { logits: teacher_logits.clone(), ..attended.clone() };
        check_cells(case, &attended);
        let step = Step {
            attended: &attended,
            teacher: Some(&teacher),
            truths: &bases::truths(&case.input("gt")),
            content_shares: &vec![1.0; b],
            box_weights: [stated.alpha_1, stated.alpha_g],
            correlate: &correlate,
        };
        let balanced = step.losses(&stated.ours(case), &mut Smoothed::default());
        let mut report = case.report();
        if report.wants("input:logits") {
            report.check("input:logits", &case.input("logits"));
        }
        check(&balanced, &mut report);
        if !case.probe().is_empty() {
            let [probe] = &case.probe()[..] else { panic!("one term") };
            assert_eq!((probe.output.as_str(), probe.weights(&[1]).data[0]), ("total", 1.0));
            let grads = balanced.total.backward();
            report.check("grad_in:logits", &support::array(logits.grad(&grads).unwrap()));
            report.check("grad_in:pred", &support::array(pred.grad(&grads).unwrap()));
            assert!(teacher_logits.grad(&grads).is_none(), "a gradient of the teacher");
        }
        report.finish();
    }
}

/// A step of a real model and a teacher with other weights.
fn real<M: Attentive>(case: &Case, stated: &Config, make: impl Fn(&Case, &Device) -> M, keys: &Keys, table: &[Rule]) {
    let (device, plain) = (Device::flex().autodiff(), Device::flex());
    let layers = stated.layers.clone().unwrap();
    let teacher = {
        let mut other = case.clone();
        other.json["seed"] = stated.teacher_seed.unwrap().into();
        make(&other, &plain).attend(&bases::batch(case, &plain), &layers)
    };
    let model = make(case, &device);
    assert_eq!(M::supervised_layers(model.config()), layers, "the layers of the system itself");
    let batch = bases::batch(case, &device);
    let attended = model.attend(&batch, &layers);
    assert_eq!(attended.grids, stated.grids);
    check_cells(case, &attended);
    let canvas = M::input(model.config()).side as usize;
    let step = Step {
        attended: &attended,
        teacher: Some(&teacher),
        truths: &bases::truths(&case.input("gt")),
        content_shares: &content_shares(&batch.contents, canvas),
        box_weights: M::box_weights(&M::Criterion::default()),
        correlate: &correlate,
    };
    assert_eq!(step.box_weights, [stated.alpha_1, stated.alpha_g], "the weights of the system itself");
    let balanced = step.losses(&stated.ours(case), &mut Smoothed::default());

    let mut report = case.report();
    let [stages, b, _] = attended.boxes.dims();
    let pred = support::array(attended.boxes.clone());
    report.check("pred", &if stages == 1 { Array::new([b, 4], pred.data) } else { pred });
    report.check("student_logits", &support::array(attended.logits.clone()));
    report.check("teacher_logits", &support::array(teacher.logits.clone()));
    check(&balanced, &mut report);
    let [probe] = &case.probe()[..] else { panic!("one term") };
    assert_eq!((probe.output.as_str(), probe.weights(&[1]).data[0]), ("total", 1.0));
    let grads = balanced.total.backward();
    bases::check_gradients(&model, &grads, keys, table, &mut report, case);
    report.finish();
}

#[test]
fn real_models() {
    let _alone = bases::alone();
    for case in Folder::open("attbalance").of_kinds(&["attbalance_e2e"], 3) {
        let stated: Config = case.config();
        let model = stated.model.clone().unwrap();
        match model["type"].as_str().unwrap() {
            "transvg" => {
                let config = serde_json::from_value::<super::transvg::Config>(model).unwrap().ours();
                let make = |case: &Case, device: &Device| super::transvg::model(&config, case, device);
                real(case, &stated, make, &super::transvg::keys(&config), transvg::OFFICIAL_KEYS);
            }
            "vltvg" => {
                let config = serde_json::from_value::<super::vltvg::Config>(model).unwrap().ours(case);
                let make = |case: &Case, device: &Device| super::vltvg::model(&config, case, device);
                real(case, &stated, make, &super::vltvg::keys(&config), vltvg::OFFICIAL_KEYS);
            }
            "qrnet" => {
                let config = serde_json::from_value::<super::qrnet::Config>(model).unwrap().ours();
                let make = |case: &Case, device: &Device| super::qrnet::model(&config, case, device);
                real(case, &stated, make, &super::qrnet::keys(&config), qrnet::OFFICIAL_KEYS);
            }
            other => panic!("{}: a model of type {other:?}", case.name()),
        }
    }
}
