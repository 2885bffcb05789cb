//! The fused product against product, sum and activation, value and gradients.

use burn::tensor::{DType, Tensor, activation};
use groundling_kernels::{Activation, PackedLinear, linear};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, cpu, tensor, tracked};

fn composed<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>, kind: Activation) -> Tensor<D> {
    let out = x.matmul(weight.unsqueeze());
    let out = match bias {
        Some(bias) => out + bias.unsqueeze(),
        None => out,
    };
    match kind {
        Activation::Identity => out,
        Activation::Relu => activation::relu(out),
        Activation::Gelu => activation::gelu(out),
    }
}

/// Two sums of `k` products in different order differ by about `sqrt(k)` units in the last place of the largest.
fn limit(k: usize) -> f32 {
    2e-6 + 4e-7 * (k as f32).sqrt()
}

fn kind() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Identity), Just(Activation::Relu), Just(Activation::Gelu)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default() })]

    #[test]
    fn linear_equals_the_composed_one(
        b in 1usize..4, l in 1usize..50, k in 1usize..300, n in 1usize..140,
        bias in any::<bool>(), kind in kind(), seed in any::<u64>(),
    ) {
        let device = tracked();
        let x = tensor(seed, [b, l, k], 1.0, &device).require_grad();
        let weight = tensor(seed ^ 1, [k, n], 1.0, &device).require_grad();
        let bias = bias.then(|| tensor(seed ^ 2, [n], 1.0, &device).require_grad());
        let probe = tensor(seed ^ 3, [b, l, n], 1.0, &device);
        let ours = linear(x.clone(), weight.clone(), bias.clone(), kind);
        let theirs = composed(x.clone(), weight.clone(), bias.clone(), kind);
        assert_near("value", ours.clone().inner(), theirs.clone().inner(), limit(k));
        if kind == Activation::Relu {
            // A sum next to zero may fall on either side: gradients are compared where the activation is smooth.
            return Ok(());
        }
        let ours = (ours * probe.clone()).sum().backward();
        let theirs = (theirs * probe).sum().backward();
        assert_near("input", x.grad(&ours).unwrap(), x.grad(&theirs).unwrap(), limit(n));
        assert_near("weight", weight.grad(&ours).unwrap(), weight.grad(&theirs).unwrap(), limit(b * l));
        if let Some(bias) = bias {
            assert_near("bias", bias.grad(&ours).unwrap(), bias.grad(&theirs).unwrap(), limit(b * l));
        }
    }

    #[test]
    fn a_packed_weight_gives_the_same(
        rows in 0usize..80, k in 1usize..300, n in 1usize..200, kind in kind(), seed in any::<u64>(),
    ) {
        let x = tensor(seed, [rows, k], 1.0, &cpu());
        let weight = tensor(seed ^ 1, [k, n], 1.0, &cpu());
        let bias = tensor(seed ^ 2, [n], 1.0, &cpu());
        let packed = PackedLinear::new(weight.clone(), Some(bias.clone()));
        assert_near("packed", packed.forward(x.clone(), kind), linear(x, weight, Some(bias), kind), limit(k));
    }
}

#[test]
fn a_sum_that_is_negative_has_no_gradient_behind_relu() {
    let device = tracked();
    let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device).require_grad();
    let weight = Tensor::<2>::from_floats([[1.0, -1.0], [0.5, -1.0]], &device).require_grad();
    let out = linear(x.clone(), weight.clone(), None, Activation::Relu);
    let grads = out.sum().backward();
    assert_near("input", x.grad(&grads).unwrap(), Tensor::from_floats([[1.0, 0.5]], &cpu()), 0.0);
    assert_near("weight", weight.grad(&grads).unwrap(), Tensor::from_floats([[1.0, 0.0], [2.0, 0.0]], &cpu()), 0.0);
}

#[test]
fn views_and_large_products_are_taken() {
    let x = tensor(3, [130, 70, 3], 1.0, &cpu()).swap_dims(0, 2);
    let weight = tensor(4, [65, 130], 1.0, &cpu()).swap_dims(0, 1);
    let copied = Tensor::from_data(x.clone().into_data(), &cpu());
    let (ours, theirs) = (linear(x, weight.clone(), None, Activation::Identity), copied.matmul(weight.unsqueeze()));
    assert_near("views", ours, theirs, limit(130));
    let (x, weight) = (tensor(5, [700, 1100], 1.0, &cpu()), tensor(6, [1100, 530], 1.0, &cpu()));
    assert_near("large", linear(x.clone(), weight.clone(), None, Activation::Identity), x.matmul(weight), limit(1100));
}

#[test]
fn no_rows_give_no_rows_and_a_gradient_of_zeros() {
    let device = tracked();
    let x = Tensor::<2>::zeros([0, 5], &device).require_grad();
    let weight = tensor(1, [5, 3], 1.0, &device).require_grad();
    let out = linear(x, weight.clone(), None, Activation::Gelu);
    assert_eq!(out.dims(), [0, 3]);
    let grads = out.sum().backward();
    assert_near("weight", weight.grad(&grads).unwrap(), Tensor::zeros([5, 3], &cpu()), 0.0);
}

#[test]
fn other_float_types_are_taken() {
    let (x, weight, bias) =
        (tensor(1, [7, 33], 1.0, &cpu()), tensor(2, [33, 20], 1.0, &cpu()), tensor(3, [20], 1.0, &cpu()));
    let want = linear(x.clone(), weight.clone(), Some(bias.clone()), Activation::Gelu);
    let packed = PackedLinear::new(weight.clone(), Some(bias.clone()));
    for (dtype, limit) in [(DType::F16, 4e-3), (DType::BF16, 3e-2), (DType::F64, 1e-6)] {
        let cast = (weight.clone().cast(dtype), bias.clone().cast(dtype));
        let out = linear(x.clone().cast(dtype), cast.0, Some(cast.1), Activation::Gelu);
        assert_eq!(out.dtype(), dtype);
        assert_near(&format!("{dtype:?}"), out.cast(DType::F32), want.clone(), limit);
        let out = packed.forward(x.clone().cast(dtype), Activation::Gelu);
        assert_eq!(out.dtype(), dtype);
        assert_near(&format!("packed, {dtype:?}"), out.cast(DType::F32), want.clone(), limit);
    }
}
