//! AdamW against numbers worked out from its definition.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use groundling_models::contract::ParameterGroup;
use groundling_train::optimizer::{AdamW, HostGradients};
use groundling_train::recipe::{Factors, OptimizerSection};

#[derive(Module, Debug)]
struct Two {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
    frozen: Param<Tensor<1>>,
}

fn two(device: &Device) -> Two {
    Two {
        matrix: Param::from_tensor(Tensor::from_floats([[1.0, -2.0]], device)),
        vector: Param::from_tensor(Tensor::from_floats([0.5], device)),
        frozen: Param::from_tensor(Tensor::from_floats([3.0], device)).set_require_grad(false),
    }
}

fn group(name: &str) -> ParameterGroup {
    if name == "vector" { ParameterGroup::New } else { ParameterGroup::Base }
}

fn values<const D: usize>(param: &Param<Tensor<D>>) -> Vec<f64> {
    param.val().into_data().iter::<f64>().collect()
}

/// One parameter in double precision, as the paper's algorithm has it with decoupled decay.
struct Reference {
    value: f64,
    first: f64,
    second: f64,
}

impl Reference {
    fn step(&mut self, gradient: f64, lr: f64, decay: f64, t: i32) {
        let (b1, b2): (f64, f64) = (0.9, 0.98);
        self.value -= lr * decay * self.value;
        self.first = b1 * self.first + (1.0 - b1) * gradient;
        self.second = b2 * self.second + (1.0 - b2) * gradient * gradient;
        let (m, v) = (self.first / (1.0 - b1.powi(t)), self.second / (1.0 - b2.powi(t)));
        self.value -= lr * m / (v.sqrt() + 1e-8);
    }
}

/// The gradients of `sum(matrix^2) + 3 vector`.
fn gradients(module: &Two) -> HostGradients {
    let loss = module.matrix.val().powi_scalar(2).sum() + module.vector.val().sum() * 3.0 + module.frozen.val().sum();
    HostGradients::take(module, loss.backward())
}

#[test]
fn steps_are_those_of_the_definition() {
    let device = Device::flex().autodiff();
    let mut module = two(&device);
    let settings = OptimizerSection {
        weight_decay: 0.1,
        factors: Factors { base: 1.0, new: 10.0, backbone: 0.0 },
        ..OptimizerSection::default()
    };
    let mut optimizer = AdamW::new(&module, &settings, group);
    let start = |value| Reference { value, first: 0.0, second: 0.0 };
    let mut expected = [start(1.0), start(-2.0), start(0.5)];
    for t in 1..=5 {
        let found = gradients(&module);
        module = optimizer.step(module, found, 0.01);
        for reference in &mut expected[..2] {
            reference.step(2.0 * reference.value, 0.01, 0.1, t);
        }
        // A vector does not decay, and this one is ten times as fast.
        expected[2].step(3.0, 0.1, 0.0, t);
    }
    let found = [values(&module.matrix), values(&module.vector)].concat();
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected.value).abs() < 1e-5, "{found} {}", expected.value);
    }
    assert_eq!(values(&module.frozen), [3.0], "no gradient, no step");
    assert!(module.matrix.is_require_grad() && !module.frozen.is_require_grad());
    assert_eq!(optimizer.moments().count(), 2);
}

#[test]
fn norms_are_over_everything_and_clipped_to_the_limit() {
    let device = Device::flex().autodiff();
    let module = two(&device);
    let mut found = gradients(&module);
    // (2, -4) and 3.
    let norm = 29f64.sqrt();
    assert!((found.norm() - norm).abs() < 1e-9);
    assert!((found.clone().clip(0.0) - norm).abs() < 1e-9, "0 is no limit");
    assert!((found.clip(1.0) - norm).abs() < 1e-9, "the norm before");
    assert!((found.norm() - 1.0).abs() < 1e-5);
    let mut twice = found.clone();
    twice.add(found.clone());
    twice.scale(0.5);
    assert_eq!(twice, found);
}
