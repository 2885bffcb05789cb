//! Max pooling against burn's, value and gradient.

use burn::tensor::module::max_pool2d as burn_max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use burn::tensor::{DType, Tensor};
use groundling_kernels::{PoolOptions, max_pool2d};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, cpu, tensor, tracked};

fn composed(x: Tensor<4>, options: PoolOptions) -> Tensor<4> {
    let PoolOptions { kernel, stride, padding } = options;
    let padding = padding.map(|padding| (padding, padding));
    burn_max_pool2d(x, MaxPoolOptions { kernel_size: kernel, stride, padding, dilation: [1, 1], ceil_mode: false })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn pooling_equals_the_composed_one(
        b in 1usize..3, c in 1usize..5, h in 1usize..40, w in 1usize..60,
        kernel in (1usize..5, 1usize..5), stride in (1usize..4, 1usize..4), padding in (0usize..3, 0usize..3), seed in any::<u64>(),
    ) {
        let options = PoolOptions { kernel: kernel.into(), stride: stride.into(), padding: padding.into() };
        if options.output_size([h, w]).is_none() {
            return Ok(());
        }
        let x = tensor(seed, [b, c, h, w], 1.0, &tracked()).require_grad();
        let (ours, theirs) = (max_pool2d(x.clone(), options), composed(x.clone(), options));
        assert_near("value", max_pool2d(x.clone().inner(), options), theirs.clone().inner(), 0.0);
        assert_near("tracked value", ours.clone().inner(), theirs.clone().inner(), 0.0);
        let probe = tensor(seed ^ 1, ours.dims(), 1.0, &tracked());
        let ours = x.grad(&(ours * probe.clone()).sum().backward()).unwrap();
        let theirs = x.grad(&(theirs * probe).sum().backward()).unwrap();
        assert_near("gradient", ours, theirs, 1e-6);
    }
}

#[test]
fn a_nan_stays_visible_and_other_types_are_taken() {
    let options = PoolOptions { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    for at in 0..49usize {
        let mut values = vec![1.0f32; 49];
        values[at] = f32::NAN;
        let x = Tensor::<4>::from_data(burn::tensor::TensorData::new(values, [1, 1, 7, 7]), &cpu());
        let out = max_pool2d(x, options).into_data().try_to_vec::<f32>().unwrap();
        for (index, value) in out.iter().enumerate() {
            let near = |centre: usize, at: usize| (2 * centre).abs_diff(at) <= 1;
            let seen = near(index / 4, at / 7) && near(index % 4, at % 7);
            assert_eq!(value.is_nan(), seen, "NaN at {at}, output {index}");
        }
    }
    let x = tensor(3, [1, 2, 8, 9], 1.0, &cpu()).cast(DType::F16);
    assert_eq!(max_pool2d(x.clone(), options).dtype(), DType::F16);
    assert_near("f16", max_pool2d(x.clone(), options).cast(DType::F32), composed(x, options).cast(DType::F32), 0.0);
    assert_eq!(max_pool2d(Tensor::zeros([0, 3, 8, 9], &cpu()), options).dims(), [0, 3, 4, 5]);
    assert!(PoolOptions { padding: [2, 0], ..options }.output_size([9, 9]).is_none());
}
