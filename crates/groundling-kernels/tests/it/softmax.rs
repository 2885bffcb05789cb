//! Softmax against burn's own and the definition, value and gradient.

use burn::tensor::{DType, Tensor, TensorData, activation};
use groundling_kernels::{softmax, softmax_columns};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, cpu, tensor, tracked, values};

/// Two functions of random numbers have one value and one gradient.
fn same<const D: usize>(
    shape: [usize; D],
    seed: u64,
    ours: fn(Tensor<D>) -> Tensor<D>,
    theirs: fn(Tensor<D>) -> Tensor<D>,
) {
    let device = tracked();
    let x = tensor(seed, shape, 8.0, &device).require_grad();
    let probe = tensor(seed ^ 1, shape, 1.0, &device);
    let ours = ours(x.clone());
    if shape.contains(&0) {
        assert_eq!(ours.dims(), shape);
        return;
    }
    let theirs = theirs(x.clone());
    assert_near("value", ours.clone().inner(), theirs.clone().inner(), 2e-6);
    let ours = x.grad(&(ours * probe.clone()).sum().backward()).unwrap();
    let theirs = x.grad(&(theirs * probe).sum().backward()).unwrap();
    assert_near("gradient", ours, theirs, 2e-5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(2), ..ProptestConfig::default() })]

    #[test]
    fn value_and_gradient_equal_the_composed_ones(rows in 0usize..200, width in 1usize..300, seed in any::<u64>()) {
        same([rows, width], seed, softmax, |x| activation::softmax(x, 1));
    }

    #[test]
    fn columns_equal_the_composed_ones(count in 0usize..4, rows in 1usize..40, width in 1usize..100, seed in any::<u64>()) {
        same([count, rows, width], seed, softmax_columns, |x| activation::softmax(x, 1));
    }

    #[test]
    fn masked_places_are_zero_and_rows_sum_to_one(width in 1usize..100, seed in any::<u64>(), shift in -1e4f32..1e4) {
        let choice = values(seed, 9 * width);
        let x: Vec<f32> = choice.iter().map(|value| if *value > 0.3 { f32::NEG_INFINITY } else { value + shift }).collect();
        let y = softmax(Tensor::<2>::from_data(TensorData::new(x.clone(), [9, width]), &cpu()));
        let y = y.into_data().try_to_vec::<f32>().unwrap();
        for (x, y) in x.chunks(width).zip(y.chunks(width)) {
            let kept = x.iter().any(|value| value.is_finite());
            let sum: f32 = y.iter().sum();
            prop_assert!((sum - if kept { 1.0 } else { 0.0 }).abs() < 1e-5, "sum {}", sum);
            prop_assert!(x.iter().zip(y).all(|(x, y)| x.is_finite() || *y == 0.0));
        }
    }
}

#[test]
fn a_row_without_anything_is_zero_and_passes_no_gradient() {
    let device = tracked();
    let x = vec![f32::NEG_INFINITY, f32::NEG_INFINITY, 0.5, f32::NEG_INFINITY, 1.0, 1.0];
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::<2>::from_data(TensorData::new(x.clone(), [3, 2]), &device).cast(dtype).require_grad();
        let y = softmax(x.clone());
        let want = Tensor::from_data([[0.0f32, 0.0], [1.0, 0.0], [0.5, 0.5]], &cpu());
        assert_near("value", y.clone().inner().cast(DType::F32), want, 1e-7);
        let probe = tensor(4, [3, 2], 1.0, &device).cast(dtype);
        let gradient = x.grad(&(y * probe).sum().backward()).unwrap().cast(DType::F32);
        let gradient = gradient.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(&gradient[..4], &[0.0; 4], "{dtype:?}");
        assert!(gradient[4].is_finite() && gradient[4] != 0.0, "{dtype:?}");
    }
}

#[test]
fn not_a_number_is_not_hidden() {
    for row in
        [vec![f32::NAN, 1.0, 2.0], vec![f32::NEG_INFINITY, f32::NAN, f32::NEG_INFINITY], vec![0.0, f32::INFINITY, 0.0]]
    {
        for width in [3, 40] {
            let mut row = row.clone();
            row.resize(width, f32::NEG_INFINITY);
            let y = softmax(Tensor::<2>::from_data(TensorData::new(row.clone(), [1, width]), &cpu()));
            let y = y.into_data().try_to_vec::<f32>().unwrap();
            assert!(y.iter().any(|value| value.is_nan()), "{row:?} gave {y:?}");
        }
    }
}

#[test]
fn a_view_and_another_shape_are_taken_as_well() {
    let x = tensor(7, [3, 5, 33], 3.0, &cpu());
    let view_of = |x: &Tensor<3>| x.clone().swap_dims(0, 2);
    let view = view_of(&x);
    let ordered = view.clone().mul_scalar(1.0);
    assert_near("view", softmax(view), softmax(ordered.clone()), 0.0);
    assert_near("rank 3", softmax(x.clone()), activation::softmax(x.clone(), 2), 2e-6);
    let row = x.clone().slice([0..1, 0..1]).reshape([33]);
    for columns in [view_of(&x), x.clone().cast(DType::F64).swap_dims(0, 2)] {
        let theirs = activation::softmax(columns.clone(), 1).cast(DType::F32);
        assert_near("columns", softmax_columns(columns).cast(DType::F32), theirs, 2e-6);
    }
    assert_near("rank 1", softmax(row.clone()), activation::softmax(row, 0), 2e-6);
}
