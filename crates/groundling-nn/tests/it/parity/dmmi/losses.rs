//! The bare losses.

use burn::tensor::{Device, Tensor};
use groundling_nn::losses::{masked_cosine, paired_contrast, two_class_cross_entropy};
use groundling_testkit::{Array, Case, Folder};
use serde::Deserialize;

use crate::numbers::{array, tensor, tracked};

fn scalar(loss: Tensor<1>) -> Array {
    Array::new(Vec::<usize>::new(), array(loss).data)
}

/// The gradient of the case's probe, which is the loss times a constant.
fn weighted(case: &Case, loss: Tensor<1>) -> Tensor<1> {
    let weight = case.probe()[0].weights(&[1]).data[0];
    loss.mul_scalar(weight)
}

#[test]
fn segmentation_loss() {
    #[derive(Deserialize)]
    struct Config {
        class_weights: [f64; 2],
    }
    for case in Folder::open("dmmi").of_kinds(&["segmentation_loss"], 2) {
        let device = tracked();
        let logits = tensor(&case.input("logits"), &device).require_grad();
        let target = case.input("target");
        let loss =
            two_class_cross_entropy(logits.clone(), tensor(&target, &device), case.config::<Config>().class_weights);
        let mut report = case.report();
        report.check("loss", &scalar(loss.clone().inner()));
        if report.wants("target_count") {
            report.check("target_count", &Array::scalar(target.data.iter().sum()));
        }
        if report.wants("grad_in:logits") {
            let gradients = weighted(case, loss).backward();
            report.check("grad_in:logits", &array(logits.grad(&gradients).unwrap()));
        }
        report.finish();
    }
}

#[test]
fn contrastive_loss() {
    #[derive(Deserialize)]
    struct Config {
        dim: usize,
    }
    for case in Folder::open("dmmi").of_kinds(&["contrastive_loss"], 4) {
        let (device, d) = (tracked(), case.config::<Config>().dim);
        let vis = tensor::<2>(&case.input("vis"), &device).require_grad();
        let lan = tensor::<3>(&case.input("lan"), &device).require_grad(); // [B, D, L]
        let weight = case.parameter("align_lan.0.weight", &[d, d, 1]).unwrap();
        let weight = tensor::<3>(&weight, &device).require_grad();
        let bias = tensor::<1>(&case.parameter("align_lan.0.bias", &[d]).unwrap(), &device);
        let [b, _, l] = lan.dims();
        let words = lan.clone().swap_dims(1, 2).reshape([b * l, d]);
        let words = words.matmul(weight.clone().squeeze_dim::<2>(2).transpose()) + bias.unsqueeze();
        let mean = words.reshape([b, l, d]).mean_dim(1).squeeze_dim(1);
        let loss = paired_contrast(vis.clone(), mean, tensor(&case.input("flags"), &device), 0.05);
        let mut report = case.report();
        report.check("loss", &scalar(loss.clone().inner()));
        if report.wants("grad_in:vis") {
            let gradients = weighted(case, loss).backward();
            report.check("grad_in:vis", &array(vis.grad(&gradients).unwrap()));
            report.check("grad_in:lan", &array(lan.grad(&gradients).unwrap()));
            report.check("grad:align_lan.0.weight", &array(weight.grad(&gradients).unwrap()));
        }
        report.finish();
    }
}

#[test]
fn cosine_loss() {
    for case in Folder::open("dmmi").of_kinds(&["cosine_loss"], 3) {
        let device = tracked();
        let goal = tensor::<3>(&case.input("lan1"), &device).require_grad(); // [B, D, L]
        let made = tensor::<3>(&case.input("lan2"), &device).require_grad();
        let valid = tensor::<2>(&case.input("mask"), &device);
        let flags = tensor::<1>(&case.input("flags"), &device);
        let tokens = |x: &Tensor<3>| x.clone().swap_dims(1, 2);
        let loss = masked_cosine(tokens(&goal), tokens(&made), valid, flags);
        let mut report = case.report();
        report.check("loss", &scalar(loss.clone().inner()));
        if report.wants("grad_in:lan2") {
            let gradients = weighted(case, loss).backward();
            report.check("grad_in:lan2", &array(made.grad(&gradients).unwrap()));
            assert!(goal.grad(&gradients).is_none(), "the goal gets no gradient");
        }
        report.finish();
    }
}

#[test]
fn total_loss() {
    #[derive(Deserialize)]
    struct Config {
        weight_lansim: f64,
        weight_contra: f64,
    }
    for case in Folder::open("dmmi").of_kinds(&["total_loss"], 1) {
        let Config { weight_lansim, weight_contra } = case.config();
        let device = Device::flex();
        let term = |name: &str| Tensor::<1>::from_floats([case.input(name).to_f32()[0]], &device);
        let total = term("seg") + term("lansim").mul_scalar(weight_lansim) + term("contra").mul_scalar(weight_contra);
        let mut report = case.report();
        report.check("loss", &scalar(total));
        report.finish();
    }
}
