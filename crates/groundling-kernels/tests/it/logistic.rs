//! The logistic loss against its definition in f64, and its gradient.

use burn::tensor::{DType, Tensor, TensorData};
use groundling_kernels::logistic_loss;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, tensor, tracked};

/// Loss and gradient.
fn exact(x: f64, t: f64) -> [f64; 2] {
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    [t * softplus(-x) + (1.0 - t) * softplus(x), (1.0 - t) * sigmoid(x) - t * sigmoid(-x)]
}

fn list(x: Tensor<1>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(4), ..ProptestConfig::default() })]

    #[test]
    fn small_losses_keep_their_digits(x in prop::collection::vec(-60f32..60.0, 1..70), hard in any::<bool>()) {
        let device = tracked();
        let t: Vec<f32> = x.iter().enumerate().map(|(i, _)| if hard { (i % 2) as f32 } else { (i % 5) as f32 / 4.0 }).collect();
        let of = |values: &[f32]| Tensor::<1>::from_data(TensorData::new(values.to_vec(), [values.len()]), &device);
        let logits = of(&x).require_grad();
        let loss = logistic_loss(logits.clone(), of(&t));
        let values = list(loss.clone().inner());
        let slopes = list(logits.grad(&loss.sum().backward()).unwrap());
        for i in 0..x.len() {
            let wanted = exact(f64::from(x[i]), f64::from(t[i]));
            for (got, wanted) in [values[i], slopes[i]].into_iter().zip(wanted) {
                let off = (f64::from(got) - wanted).abs();
                // A soft target's slope is a difference.
                let limit = if hard { 1e-6 * wanted.abs() + 1e-37 } else { 1e-6 * wanted.abs() + 2e-7 };
                prop_assert!(off <= limit, "{} of {} with target {}: {} not {}", i, x[i], t[i], got, wanted);
            }
        }
    }
}

#[test]
fn other_floats_and_views_are_taken_as_well() {
    let device = tracked();
    let x = tensor(3, [5, 9], 4.0, &device).require_grad();
    let t = tensor(4, [5, 9], 0.5, &device).add_scalar(0.5);
    let ours = logistic_loss(x.clone(), t.clone());
    let double = logistic_loss(x.clone().cast(DType::F64), t.clone().cast(DType::F64));
    assert_near("f64", double.clone().cast(DType::F32).inner(), ours.clone().inner(), 2e-6);
    let turned = logistic_loss(x.clone().swap_dims(0, 1), t.swap_dims(0, 1)).swap_dims(0, 1);
    assert_near("view", turned.inner(), ours.clone().inner(), 0.0);
    let probe = tensor(5, [5, 9], 1.0, &device);
    let gradient = x.grad(&(ours * probe.clone()).sum().backward()).unwrap();
    let theirs = x.grad(&(double.cast(DType::F32) * probe).sum().backward()).unwrap();
    assert_near("gradient", gradient, theirs, 2e-6);
}
