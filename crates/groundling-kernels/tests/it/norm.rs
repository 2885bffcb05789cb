//! Layer normalisation against ordinary operations and against the definition in `f64`, values and gradients.

use burn::tensor::{DType, Device, Tensor, TensorData};
use groundling_kernels::{add_layer_norm, add_then_layer_norm, layer_norm};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::support::{assert_near, cpu, tensor, tracked, values};

const EPSILON: f64 = 1e-5;

/// The definition, of ordinary operations.
fn composed(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + EPSILON).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

fn parameters(seed: u64, width: usize, device: &Device) -> [Tensor<1>; 2] {
    [tensor(seed ^ 11, [width], 1.0, device) + 1.5, tensor(seed ^ 12, [width], 1.0, device)].map(Tensor::require_grad)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn value_and_gradients_equal_the_composed_ones(rows in 1usize..90, width in 1usize..300, seed in any::<u64>()) {
        let device = tracked();
        let x = tensor(seed, [rows, width], 3.0, &device).require_grad();
        let [gamma, beta] = parameters(seed, width, &device);
        let probe = tensor(seed ^ 1, [rows, width], 1.0, &device);
        let ours = layer_norm(x.clone(), gamma.clone(), beta.clone(), EPSILON);
        let theirs = composed(x.clone(), gamma.clone(), beta.clone());
        assert_near("value", ours.clone().inner(), theirs.clone().inner(), 4e-6);
        let (ours, theirs) = ((ours * probe.clone()).sum().backward(), (theirs * probe).sum().backward());
        // Of width one and two the gradient is what rounding leaves of a difference of large numbers.
        if width > 2 {
            assert_near("x", x.grad(&ours).unwrap(), x.grad(&theirs).unwrap(), 2e-4);
        }
        assert_near("gamma", gamma.grad(&ours).unwrap(), gamma.grad(&theirs).unwrap(), 1e-5);
        assert_near("beta", beta.grad(&ours).unwrap(), beta.grad(&theirs).unwrap(), 1e-5);
    }

    #[test]
    fn a_sum_normalised_equals_both_steps(rows in 0usize..60, width in 1usize..200, seed in any::<u64>()) {
        let device = tracked();
        let x = tensor(seed, [2, rows, width], 2.0, &device).require_grad();
        let residual = tensor(seed ^ 2, [2, rows, width], 1.0, &device).require_grad();
        let [gamma, beta] = parameters(seed, width, &device);
        let probe = tensor(seed ^ 1, [2, rows, width], 1.0, &device);

        let steps = layer_norm(x.clone() + residual.clone(), gamma.clone(), beta.clone(), EPSILON);
        let ours = add_layer_norm(x.clone(), residual.clone(), gamma.clone(), beta.clone(), EPSILON);
        assert_near("post-norm", ours.clone().inner(), steps.clone().inner(), 0.0);
        let (sum, pre) = add_then_layer_norm(x.clone(), residual.clone(), gamma.clone(), beta.clone(), EPSILON);
        assert_near("pre-norm, tracked", pre.clone().inner(), steps.clone().inner(), 0.0);
        let [inner_x, inner_residual] = [x.clone().inner(), residual.clone().inner()];
        let (inner_sum, inner_pre) =
            add_then_layer_norm(inner_x.clone(), inner_residual.clone(), gamma.clone().inner(), beta.clone().inner(), EPSILON);
        assert_near("pre-norm", inner_pre, steps.clone().inner(), 0.0);
        assert_near("sum", inner_sum, inner_x + inner_residual, 0.0);

        if rows > 0 {
            let steps = (steps.clone() * probe.clone() + x.clone() + residual.clone()).sum().backward();
            let ours = (ours * probe.clone() + x.clone() + residual.clone()).sum().backward();
            let pre = (pre * probe + sum).sum().backward();
            for (what, got) in [("post-norm", &ours), ("pre-norm", &pre)] {
                assert_near(what, x.grad(got).unwrap(), x.grad(&steps).unwrap(), 1e-6);
                assert_near(what, residual.grad(got).unwrap(), residual.grad(&steps).unwrap(), 1e-6);
                assert_near(what, gamma.grad(got).unwrap(), gamma.grad(&steps).unwrap(), 1e-6);
                assert_near(what, beta.grad(got).unwrap(), beta.grad(&steps).unwrap(), 1e-6);
            }
        }
    }
}

#[test]
fn wide_rows_far_from_zero_stay_exact() {
    for (width, offset) in [(256, 0.0f32), (4096, 100.0), (3001, -1000.0)] {
        let x: Vec<f32> = values(3, width).into_iter().map(|value| value + offset).collect();
        let count = width as f64;
        let mean = x.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        let variance = x.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count;
        let want: Vec<f32> =
            x.iter().map(|value| ((f64::from(*value) - mean) / (variance + EPSILON).sqrt()) as f32).collect();
        let device = cpu();
        let got = layer_norm(
            Tensor::<2>::from_data(TensorData::new(x, [1, width]), &device),
            Tensor::ones([width], &device),
            Tensor::zeros([width], &device),
            EPSILON,
        );
        let want = Tensor::<2>::from_data(TensorData::new(want, [1, width]), &device);
        // The mean is not rounded to a float near the offset, as a single pass would have it: that alone would cost 5e-5 at 1000.
        assert_near(&format!("width {width} about {offset}"), got, want, 5e-7);
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = tracked();
    let (rows, width, step) = (3, 7, 1e-2);
    let x = tensor(5, [rows, width], 1.0, &device).require_grad();
    let [gamma, beta] = parameters(5, width, &device);
    let probe = tensor(6, [rows, width], 1.0, &device);
    let loss = |x: Tensor<2>| (layer_norm(x, gamma.clone(), beta.clone(), EPSILON) * probe.clone()).sum();
    let gradient = x.grad(&loss(x.clone()).backward()).unwrap().into_data().try_to_vec::<f32>().unwrap();
    for (index, gradient) in gradient.iter().enumerate() {
        let shifted = |by: f32| {
            let mut values = x.clone().inner().into_data().try_to_vec::<f32>().unwrap();
            values[index] += by;
            loss(Tensor::from_data(TensorData::new(values, [rows, width]), &device)).into_scalar::<f32>()
        };
        let slope = (shifted(step) - shifted(-step)) / (2.0 * step);
        assert!((slope - gradient).abs() < 2e-3, "element {index}: {gradient}, by differences {slope}");
    }
}

#[test]
fn a_row_of_one_value_is_the_shift_and_nothing_is_nothing() {
    let device = cpu();
    let [gamma, beta] = [tensor(1, [1], 1.0, &device), tensor(2, [1], 1.0, &device)];
    let one = layer_norm(tensor(3, [5, 1], 9.0, &device), gamma.clone(), beta.clone(), EPSILON);
    assert_near("width 1", one, beta.clone().unsqueeze::<2>().repeat_dim(0, 5), 0.0);
    let none = layer_norm(Tensor::<2>::zeros([0, 1], &device), gamma, beta, EPSILON);
    assert_eq!(none.dims(), [0, 1]);
    let flat = layer_norm(
        Tensor::<2>::full([2, 50], 3.0, &device),
        Tensor::ones([50], &device),
        Tensor::zeros([50], &device),
        EPSILON,
    );
    assert_near("variance 0", flat, Tensor::zeros([2, 50], &device), 0.0);
}

#[test]
fn a_view_and_another_float_type_are_taken_as_well() {
    let device = cpu();
    let x = tensor(7, [65, 33], 3.0, &device);
    let [gamma, beta] = [tensor(8, [65], 1.0, &device), tensor(9, [65], 1.0, &device)];
    let ordered = x.clone().swap_dims(0, 1).mul_scalar(1.0);
    let want = layer_norm(ordered, gamma.clone(), beta.clone(), EPSILON);
    assert_near("view", layer_norm(x.clone().swap_dims(0, 1), gamma.clone(), beta.clone(), EPSILON), want.clone(), 0.0);
    let [gamma, beta] = [gamma, beta].map(|tensor| tensor.cast(DType::F64));
    let double = layer_norm(x.swap_dims(0, 1).cast(DType::F64), gamma, beta, EPSILON);
    assert_eq!(double.dtype(), DType::F64);
    assert_near("f64", double.cast(DType::F32), want, 1e-6);
}

#[test]
fn gradients_do_not_depend_on_the_number_of_threads() {
    let device = tracked();
    let run = || {
        let x = tensor(8, [700, 96], 2.0, &device).require_grad();
        let [gamma, beta] = parameters(8, 96, &device);
        let probe = tensor(9, [700, 96], 1.0, &device);
        let grads = (layer_norm(x.clone(), gamma.clone(), beta.clone(), EPSILON) * probe).sum().backward();
        (x.grad(&grads).unwrap(), gamma.grad(&grads).unwrap(), beta.grad(&grads).unwrap())
    };
    let want = run();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let got = pool.install(run);
        assert_near("x", got.0, want.0.clone(), 0.0);
        assert_near("gamma", got.1, want.1.clone(), 0.0);
        assert_near("beta", got.2, want.2.clone(), 0.0);
    }
}
