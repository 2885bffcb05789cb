//! A step of training: what was chosen, losses, gradients.

use std::collections::BTreeMap;

use burn::tensor::Device;
use groundling_models::contract::{Batch, SampleTruth};
use groundling_models::scanformer::{Criterion, Manner, Mixing, ScanFormer};
use groundling_nn::checkpoint::gradients;
use groundling_testkit::{Array, Case, Folder};
use serde::Deserialize;

use crate::support;

#[derive(Deserialize)]
struct Loss {
    l1: Vec<f64>,
    giou: Vec<f64>,
    sparse: f64,
    beta: Vec<f64>,
}

fn criterion(case: &Case) -> Criterion {
    let loss: Loss = serde_json::from_value(case.json["config"]["loss"].clone()).unwrap();
    Criterion {
        lambda_l1: loss.l1,
        lambda_giou: loss.giou,
        lambda_sparse: loss.sparse,
        beta: loss.beta,
        ..Criterion::default()
    }
}

#[test]
fn train_step() {
    for case in Folder::open("scanformer").of_kinds(&["train_step"], 1) {
        let device = Device::flex().autodiff();
        let config = super::config(case);
        let model = support::filled(ScanFormer::new(&config, &device).unwrap(), case);
        let rects = case.input("rects");
        let batch = Batch {
            canvases: support::tensor(&case.input("image"), &device),
            contents: rects.data.chunks(4).map(support::rect).collect(),
            ids: support::ints(&case.input("ids"), &device),
            lengths: case.input("text_len").data.iter().map(|&length| length as usize).collect(),
            erased: None,
            same_canvas: Batch::own_canvases(rects.shape[0]),
        };
        let mixing: Vec<Mixing> = (1..config.levels)
            .map(|level| {
                let noise = support::tensor::<2>(&case.input(&format!("noise.{level}")), &device).require_grad();
                let mix = support::tensor(&case.input(&format!("mix.{level}")), &device);
                let nudge = noise.zeros_like().require_grad();
                Mixing { noise, mix, nudge: Some(nudge) }
            })
            .collect();
        let truth = |bbox: &[f64]| SampleTruth { bbox: Some(support::bbox(bbox)), ..SampleTruth::default() };
        let truths: Vec<SampleTruth> = case.input("gt").data.chunks(4).map(truth).collect();

        let trained = model.forward_training(&batch, &mixing, Manner::CHOOSING);
        let losses = model.losses_of(&trained, &truths, &criterion(case));
        let mut report = case.report();
        let terms: BTreeMap<&str, f64> = losses
            .terms
            .iter()
            .map(|(name, value)| (name.as_str(), f64::from(value.clone().into_scalar::<f32>())))
            .collect();
        let list = |name: &str, levels: std::ops::Range<usize>| -> Array {
            let values: Vec<f64> = levels.map(|level| terms[format!("{name}.{level}").as_str()]).collect();
            Array::new([values.len()], values)
        };
        let (l1, giou, sparse) = (list("l1", 0..3), list("giou", 0..3), list("sparse", 1..3));
        let weights = criterion(case);
        let weighted =
            |values: &Array, weights: &[f64]| values.data.iter().zip(weights).map(|(a, b)| a * b).sum::<f64>();
        report.check(
            "loss.bbox",
            &Array::scalar(weighted(&l1, &weights.lambda_l1) + weighted(&giou, &weights.lambda_giou)),
        );
        report.check("loss.sparse", &Array::scalar(weights.lambda_sparse * sparse.data.iter().sum::<f64>()));
        report.check("loss.l1", &l1);
        report.check("loss.giou", &giou);
        report.check("loss.sparse_level", &sparse);
        report.check("loss.total", &support::array(losses.total.clone()));

        let grads = losses.total.backward();
        for (level, found) in trained.levels.iter().enumerate() {
            let mut check = |name: &str, value: Array| report.check(&format!("level{level}.{name}"), &value);
            check("valid", support::array(found.valid.clone()));
            check("box", support::array(trained.boxes.clone().narrow(1, level, 1).reshape([2, 4])));
            let Some(choice) = &found.choice else { continue };
            check("gate", support::array(choice.gate.clone()));
            check("keep", support::array(choice.kept.clone()));
            check("r", support::array(choice.values.clone() * choice.gate.clone()));
            check("s", support::array(choice.factors.clone()));
            let Mixing { noise, nudge, .. } = &mixing[level - 1];
            // The values get their noise by addition: one gradient for both.
            report.check(&format!("grad_in:level{level}.r"), &support::array(noise.grad(&grads).unwrap()));
            let nudge = nudge.as_ref().unwrap().grad(&grads).unwrap();
            report.check(&format!("grad_in:level{level}.s"), &support::array(nudge));
        }
        check_gradients(&model, &grads, &mut report);
        report.finish();
    }
}

/// Gradients by name, and the norm of every one.
fn check_gradients(model: &ScanFormer, grads: &burn::tensor::Gradients, report: &mut groundling_testkit::Report<'_>) {
    for (info, values) in gradients(model, grads) {
        let norm = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        report.check(&format!("gradnorm:{}", info.name), &Array::scalar(norm));
        let name = format!("grad:{}", info.name);
        if report.wants(&name) {
            report.check(&name, &Array::from_values(info.shape, &values));
        }
    }
}
