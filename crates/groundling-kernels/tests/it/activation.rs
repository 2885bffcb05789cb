//! GELU and tanh against burn's own, value and gradient.

use burn::tensor::{DType, Tensor, activation, f16};
use groundling_kernels::{gelu, tanh};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, cpu, tensor, tracked};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn value_and_gradient_equal_the_composed_ones(rows in 0usize..70, width in 0usize..70, seed in any::<u64>()) {
        let x = tensor(seed, [rows, width], 6.0, &tracked()).require_grad();
        let probe = tensor(seed ^ 1, [rows, width], 1.0, &tracked());
        let both = [(gelu(x.clone()), activation::gelu(x.clone())), (tanh(x.clone()), x.clone().tanh())];
        for (name, (ours, theirs)) in ["gelu", "tanh"].into_iter().zip(both) {
            assert_near(name, ours.clone().inner(), theirs.clone().inner(), 1e-6);
            if rows * width > 0 {
                let ours = x.grad(&(ours * probe.clone()).sum().backward()).unwrap();
                let theirs = x.grad(&(theirs * probe.clone()).sum().backward()).unwrap();
                assert_near(name, ours, theirs, 2e-6);
            }
        }
    }
}

#[test]
fn a_view_and_another_float_type_are_taken_as_well() {
    for function in [gelu::<2> as fn(Tensor<2>) -> Tensor<2>, tanh::<2>] {
        let x = tensor(7, [33, 65], 3.0, &cpu());
        assert_near("transposed", function(x.clone().swap_dims(0, 1)), function(x.clone()).swap_dims(0, 1), 0.0);
        assert_near("sliced", function(x.clone().slice([3..9, 5..64])), function(x.clone()).slice([3..9, 5..64]), 1e-7);
        let half = function(x.clone().cast(DType::F16));
        assert_eq!(half.dtype(), DType::F16);
        assert_near("f16", half.cast(DType::F32), function(x), f16::EPSILON.to_f32() * 2.0);
    }
}
