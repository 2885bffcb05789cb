//! Batch normalisation against ordinary operations, value, statistics and gradients.

use burn::tensor::{DType, Tensor, activation};
use groundling_kernels::batch_norm_relu;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, tensor, tracked};

/// As it is defined, before the positive part is taken.
fn plain(x: &Tensor<3>, gamma: &Tensor<1>, beta: &Tensor<1>) -> (Tensor<3>, [Tensor<1>; 2]) {
    let [b, c, p] = x.dims();
    let mean = x.clone().mean_dim(2).mean_dim(0);
    let apart = x.clone() - mean.clone();
    let variance = (apart.clone() * apart.clone()).mean_dim(2).mean_dim(0);
    let wide = |values: &Tensor<1>| values.clone().reshape([1, c, 1]).expand([b, c, p]);
    let normal = apart / variance.clone().add_scalar(1e-3).sqrt();
    (normal * wide(gamma) + wide(beta), [mean, variance].map(|values| values.reshape([c])))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn value_and_gradients_equal_the_composed_ones(
        b in 1usize..5, c in 1usize..20, p in 2usize..140, shift in -3f32..3.0, seed in any::<u64>(),
    ) {
        let device = tracked();
        let x = tensor(seed, [b, c, p], 2.0, &device).add_scalar(shift).detach().require_grad();
        let gamma = tensor(seed ^ 1, [c], 1.5, &device).require_grad();
        let beta = tensor(seed ^ 2, [c], 1.0, &device).require_grad();
        let probe = tensor(seed ^ 3, [b, c, p], 1.0, &device);
        let ours = batch_norm_relu(x.clone(), gamma.clone(), beta.clone(), 1e-3);
        let (all, [mean, variance]) = plain(&x, &gamma, &beta);
        let theirs = activation::relu(all.clone());
        assert_near("mean", ours.mean.inner(), mean.inner(), 2e-6);
        assert_near("variance", ours.variance.inner(), variance.inner(), 4e-6);
        assert_near("value", ours.values.clone().inner(), theirs.clone().inner(), 2e-5);
        // A value next to zero may fall on either side of it: its gradient counts for nothing.
        let clear = all.detach().abs().greater_elem(1e-4).float();
        prop_assert!(b * p < 8 || clear.clone().mean().into_scalar::<f32>() > 0.9);
        let probe = probe * clear;
        let ours = (ours.values * probe.clone()).sum().backward();
        let theirs = (theirs * probe).sum().backward();
        let wanted = x.grad(&theirs).unwrap();
        let most = wanted.clone().abs().max().into_scalar::<f32>().max(1.0);
        assert_near("x", x.grad(&ours).unwrap(), wanted, 3e-5 * most);
        for (name, values) in [("gamma", &gamma), ("beta", &beta)] {
            let most = (b * p) as f32;
            assert_near(name, values.grad(&ours).unwrap(), values.grad(&theirs).unwrap(), 1e-6 * most);
        }
    }
}

#[test]
fn other_floats_and_views_are_taken_as_well() {
    let device = tracked();
    let x = tensor(5, [7, 3, 4], 2.0, &device);
    let (gamma, beta) = (tensor(6, [3], 1.0, &device), tensor(7, [3], 1.0, &device));
    let ours = batch_norm_relu(x.clone(), gamma.clone(), beta.clone(), 1e-3);
    let wide = |values: &Tensor<1>| values.clone().cast(DType::F64);
    let double = batch_norm_relu(x.clone().cast(DType::F64), wide(&gamma), wide(&beta), 1e-3);
    assert_near("f64", double.values.cast(DType::F32).inner(), ours.values.clone().inner(), 1e-5);
    let turned = x.clone().swap_dims(0, 2).mul_scalar(1.0).swap_dims(0, 2);
    assert_near("view", batch_norm_relu(turned, gamma, beta, 1e-3).values.inner(), ours.values.inner(), 0.0);
}

#[test]
fn a_mean_far_from_zero_costs_no_digits() {
    let device = tracked();
    let x = tensor(9, [4, 2, 100], 0.01, &device);
    let (gamma, beta) = (Tensor::ones([2], &device), Tensor::zeros([2], &device));
    let near = batch_norm_relu(x.clone(), gamma.clone(), beta.clone(), 0.0);
    // 64 apart by steps of 2^-17: what the sum lost is lost before the norm sees it.
    let far = x.add_scalar(64.0);
    let exact = far.clone().sub_scalar(64.0);
    let far = batch_norm_relu(far, gamma.clone(), beta.clone(), 0.0);
    let exact = batch_norm_relu(exact, gamma, beta, 0.0);
    assert_near("far", far.values.inner(), exact.values.clone().inner(), 2e-4);
    assert_near("near", exact.values.inner(), near.values.inner(), 5e-3);
}
