//! Box losses and the teacher's average.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use groundling_nn::ema::{Decay, Ema};
use groundling_nn::losses::{Denominator, box_l1, corners, giou, iou};
use groundling_testkit::Folder;
use serde::Deserialize;

use crate::numbers::{array, tensor, tracked};

#[test]
fn boxes() {
    for case in Folder::open("attbalance").of_kinds(&["box_losses"], 1) {
        let device = tracked();
        let pred = tensor(&case.input("pred"), &device).require_grad();
        let gt = tensor(&case.input("gt"), &device);
        let mut report = case.report();
        let overlap = giou(pred.clone(), gt.clone(), Denominator::Guarded);
        // Where the original divides zero by zero its value is NaN and not compared; elsewhere both forms agree.
        for name in ["authors.giou", "guarded.giou"] {
            report.check(name, &array(overlap.clone().inner()));
        }
        report.check("authors.l1", &array(box_l1(pred.clone(), gt.clone()).inner()));
        let plain = array(iou(pred.clone(), gt.clone(), Denominator::Guarded).inner());
        for name in ["authors.iou_no_eps", "guarded.iou"] {
            report.check(name, &plain);
        }
        // The evaluation clamps the corners of the prediction.
        let inside = corners(pred.clone()).clamp(0.0, 1.0);
        let (low, high) = (inside.clone().narrow(1, 0, 2), inside.narrow(1, 2, 2));
        let inside = Tensor::cat(vec![(low.clone() + high.clone()).mul_scalar(0.5), high - low], 1);
        let evaluated = array(iou(inside, gt, Denominator::Plus(1e-16)).inner());
        for name in ["authors.eval_iou", "guarded.eval_iou"] {
            report.check(name, &evaluated);
        }
        let mut total = Tensor::<1>::zeros([1], &device);
        for term in case.probe() {
            assert_eq!(term.output, "authors.giou");
            let rows = term.rows.clone().unwrap_or(0..pred.dims()[0]);
            let kept = overlap.clone().slice([rows]);
            let weights = tensor::<1>(&term.weights(&kept.dims()), &device);
            total = total + (kept * weights).sum();
        }
        report.check("grad_in:pred", &array(pred.grad(&total.backward()).unwrap()));
        report.finish();
    }
}

#[derive(Module, Debug)]
struct Weights {
    values: Param<Tensor<1>>,
}

#[test]
fn ema() {
    #[derive(Deserialize)]
    struct Config {
        momentum: f64,
    }
    for case in Folder::open("attbalance").of_kinds(&["ema"], 1) {
        let device = tracked();
        let mut module = Weights { values: Param::from_tensor(tensor(&case.input("teacher"), &device)) };
        let mut ema = Ema::new(&module, Decay { rate: case.config::<Config>().momentum, warm_up: false });
        let mut report = case.report();
        for step in (0..).take_while(|step| case.has_input(&format!("student{step}"))) {
            let values = tensor(&case.input(&format!("student{step}")), &device).require_grad();
            module = Weights { values: module.values.map(|_| values) };
            ema.update(&module);
            report.check(&format!("step{step}"), &array(ema.module().values.val()));
        }
        report.finish();
    }
}
