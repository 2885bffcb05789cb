//! GELU against burn's own, value and gradient.

use burn::tensor::{DType, activation, f16};
use groundling_kernels::gelu;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, cpu, tensor, tracked};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn gelu_equals_the_composed_one(rows in 0usize..70, width in 0usize..70, seed in any::<u64>()) {
        let x = tensor(seed, [rows, width], 6.0, &tracked()).require_grad();
        let probe = tensor(seed ^ 1, [rows, width], 1.0, &tracked());
        let (ours, theirs) = (gelu(x.clone()), activation::gelu(x.clone()));
        assert_near("value", ours.clone().inner(), theirs.clone().inner(), 1e-6);
        if rows * width > 0 {
            let ours = x.grad(&(ours * probe.clone()).sum().backward()).unwrap();
            let theirs = x.grad(&(theirs * probe).sum().backward()).unwrap();
            assert_near("gradient", ours, theirs, 2e-6);
        }
    }
}

#[test]
fn a_view_and_another_float_type_are_taken_as_well() {
    let x = tensor(7, [33, 65], 3.0, &cpu());
    assert_near("transposed", gelu(x.clone().swap_dims(0, 1)), gelu(x.clone()).swap_dims(0, 1), 0.0);
    assert_near("sliced", gelu(x.clone().slice([3..9, 5..64])), gelu(x.clone()).slice([3..9, 5..64]), 1e-7);
    let half = gelu(x.clone().cast(DType::F16));
    assert_eq!(half.dtype(), DType::F16);
    assert_near("f16", half.cast(DType::F32), gelu(x), f16::EPSILON.to_f32() * 2.0);
}
