//! AdamW and Muon against numbers worked out from their definitions.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use groundling_models::contract::ParameterGroup;
use groundling_train::optimizer::{HostGradients, Optimizer, freeze};
use groundling_train::recipe::{Factors, MuonSection, OptimizerSection};

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

fn decays(_: &str, rank: usize) -> bool {
    rank >= 2
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
    let mut optimizer = Optimizer::new(&module, &settings, group, decays);
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

#[derive(Module, Debug)]
struct Matrices {
    wide: Param<Tensor<2>>,
    tall: Param<Tensor<2>>,
    embedding: Param<Tensor<2>>,
}

const WIDE: [[f64; 3]; 2] = [[0.4, -1.1, 0.3], [0.9, 0.2, -0.5]];

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..rows[0].len()).map(|j| rows.iter().map(|row| row[j]).collect()).collect()
}

fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let dot = |row: &Vec<f64>, j: usize| row.iter().zip(b).map(|(x, y)| x * y[j]).sum();
    a.iter().map(|row| (0..b[0].len()).map(|j| dot(row, j)).collect()).collect()
}

fn sum(a: &[Vec<f64>], x: f64, b: &[Vec<f64>], y: f64) -> Vec<Vec<f64>> {
    a.iter().zip(b).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * x + b * y).collect()).collect()
}

/// Newton and Schulz's iteration as its authors write it: on the matrix itself, five times.
fn orthogonal(matrix: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let norm = matrix.iter().flatten().map(|value| value * value).sum::<f64>().sqrt();
    let mut x = sum(matrix, 1.0 / norm, matrix, 0.0);
    for _ in 0..5 {
        let square = product(&x, &transposed(&x));
        let polynomial = sum(&square, -4.7750, &product(&square, &square), 2.0315);
        x = sum(&x, 3.4445, &product(&polynomial, &x), 1.0);
    }
    x
}

#[test]
fn a_group_that_is_held_stands_still_and_remembers_nothing() {
    let device = Device::flex().autodiff();
    let module = two(&device);
    let mut optimizer = Optimizer::new(&module, &OptimizerSection::default(), group, decays);
    let mut found = gradients(&module);
    optimizer.hold(&mut found, ParameterGroup::Base);
    let moved = optimizer.step(module, found, 0.01);
    assert_eq!((values(&moved.matrix), values(&moved.frozen)), (vec![1.0, -2.0], vec![3.0]), "not even decay moves it");
    assert!(values(&moved.vector)[0] < 0.45);
    assert_eq!(optimizer.moments().map(|(name, _)| name).collect::<Vec<_>>(), ["vector"]);
}

#[test]
fn muon_steps_are_those_of_the_definition() {
    let device = Device::flex().autodiff();
    let param = |rows: &[Vec<f64>]| {
        let flat: Vec<f32> = rows.iter().flatten().map(|&value| value as f32).collect();
        Param::from_tensor(Tensor::<2>::from_data(TensorData::new(flat, [rows.len(), rows[0].len()]), &device))
    };
    let wide: Vec<Vec<f64>> = WIDE.iter().map(|row| row.to_vec()).collect();
    let tall = transposed(&wide);
    let mut module = Matrices { wide: param(&wide), tall: param(&tall), embedding: param(&wide) };
    let muon = MuonSection { names: vec!["wide".into(), "ta".into()], lr: Some(0.05), momentum: 0.9 };
    let settings = OptimizerSection { lr: 0.01, weight_decay: 0.1, muon: Some(muon), ..OptimizerSection::default() };
    let mut optimizer = Optimizer::new(&module, &settings, group, decays);
    let (mut expected, mut kept) = (wide.clone(), sum(&wide, 0.0, &wide, 0.0));
    for step in 1..=4 {
        let square = |param: &Param<Tensor<2>>| param.val().powi_scalar(2).sum();
        let loss = square(&module.wide) + square(&module.tall) + square(&module.embedding);
        let found = HostGradients::take(&module, loss.backward());
        // Half the highest rate, as a schedule would have it: both kinds of parameters follow.
        module = optimizer.step(module, found, 0.005);
        let gradient = sum(&expected, 2.0, &expected, 0.0);
        kept = sum(&kept, 0.9, &gradient, 1.0);
        let direction = orthogonal(&sum(&gradient, 1.0, &kept, 0.9));
        let rate = 0.025;
        expected = sum(&expected, 1.0 - rate * 0.1, &direction, -rate * 0.2 * 3f64.sqrt());
        let flat: Vec<f64> = expected.iter().flatten().copied().collect();
        for (found, expected) in values(&module.wide).iter().zip(&flat) {
            assert!((found - expected).abs() < 1e-4, "step {step}: {found} {expected}");
        }
        let turned: Vec<f64> = transposed(&expected).into_iter().flatten().collect();
        for (found, expected) in values(&module.tall).iter().zip(&turned) {
            assert!((found - expected).abs() < 1e-4, "step {step}, turned: {found} {expected}");
        }
    }
    let moments: Vec<(&str, usize)> = optimizer.moments().map(|(name, moments)| (name, moments.second.len())).collect();
    assert_eq!(moments, [("wide", 0), ("tall", 0), ("embedding", 6)], "an embedding that is not named follows AdamW");
}

#[test]
fn muon_evens_out_all_directions() {
    let device = Device::flex().autodiff();
    // Singular values 1 and 0.01: AdamW's and plain steps would all but ignore the second direction.
    let matrix = Param::from_tensor(Tensor::<2>::from_floats([[1.0, 0.0, 0.0], [0.0, 0.01, 0.0]], &device));
    let mut module = Matrices { wide: matrix.clone(), tall: matrix.clone(), embedding: matrix };
    let muon = MuonSection { names: vec!["wide".into()], lr: None, momentum: 0.0 };
    let settings = OptimizerSection { lr: 1.0, weight_decay: 0.0, muon: Some(muon), ..OptimizerSection::default() };
    let before = values(&module.wide);
    let mut optimizer = Optimizer::new(&module, &settings, group, decays);
    let found = HostGradients::take(&module, (module.wide.val().powi_scalar(2).sum() * 0.5).backward());
    module = optimizer.step(module, found, 1.0);
    let scale = 0.2 * 3f64.sqrt();
    let moved: Vec<f64> = before.iter().zip(values(&module.wide)).map(|(a, b)| (a - b) / scale).collect();
    assert!((0.6..1.3).contains(&moved[0]) && (0.6..1.3).contains(&moved[4]), "{moved:?}");
    assert!([1, 2, 3, 5].iter().all(|&index| moved[index].abs() < 1e-4), "{moved:?}");
}

/// What is frozen by its name gets no gradient and no step; what is not still does.
#[test]
fn frozen_names_stand_still() {
    let device = Device::flex().autodiff();
    let mut module = freeze(two(&device), &["mat".to_owned()]).unwrap();
    let mut optimizer = Optimizer::new(&module, &OptimizerSection::default(), group, decays);
    for _ in 0..2 {
        let found = gradients(&module);
        module = optimizer.step(module, found, 0.01);
    }
    assert_eq!(values(&module.matrix), [1.0, -2.0]);
    assert_ne!(values(&module.vector), [0.5]);
    assert_eq!(optimizer.moments().map(|(name, _)| name).collect::<Vec<_>>(), ["vector"]);
    assert_eq!(freeze(two(&device), &["vector".to_owned(), "matrices".to_owned()]).unwrap_err(), "matrices");
}
