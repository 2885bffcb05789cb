//! Deformable attention: the kernels (`f32`) against the composed bodies (`f64`). Goldens are in `parity::focus_detr`.

use burn::tensor::{DType, Tensor, TensorData, f16};
use groundling_kernels::ms_deform_attn;
use proptest::prelude::*;

use crate::support::{assert_near, cpu, tensor, tracked, values};

#[derive(Debug, Clone)]
struct Case {
    b: usize,
    n: usize,
    g: usize,
    p: usize,
    e: usize,
    levels: Vec<[usize; 2]>,
    seed: u64,
}

fn case() -> impl Strategy<Value = Case> {
    let few = prop_oneof![Just(0usize), Just(1), 2..20usize];
    let width = prop_oneof![1..5usize, Just(8), Just(16), Just(32), 33..90usize];
    let levels = prop::collection::vec((1..9usize, 1..9usize).prop_map(|(h, w)| [h, w]), 1..4);
    (1..4usize, few, 1..5usize, 1..6usize, width, levels, any::<u64>()).prop_map(|(b, n, g, p, e, levels, seed)| Case {
        b,
        n,
        g,
        p,
        e,
        levels,
        seed,
    })
}

impl Case {
    fn cells(&self) -> usize {
        self.levels.iter().map(|[h, w]| h * w).sum()
    }

    /// Locations from 2 cells outside to 2 cells outside, none within 1/100 of the centre of a cell, where the slope jumps.
    fn locations(&self) -> Tensor<6> {
        let Case { b, n, g, p, ref levels, seed, .. } = *self;
        let shape = [b, n, g, levels.len(), p, 2];
        let numbers = values(seed ^ 1, shape.iter().product()).into_iter().enumerate().map(|(index, number)| {
            let size = levels[index / (2 * p) % levels.len()][1 - index % 2] as f32;
            let pixel = (number * 0.5 + 0.5) * (size + 4.0) - 2.0;
            let pixel = pixel.floor() + (pixel - pixel.floor()).clamp(0.01, 0.99);
            (pixel + 0.5) / size
        });
        Tensor::from_data(TensorData::new(numbers.collect(), shape), &tracked())
    }

    fn inputs(&self, dtype: DType) -> (Tensor<4>, Tensor<6>, Tensor<5>) {
        let Case { b, n, g, p, e, ref levels, seed } = *self;
        let device = tracked();
        let value = tensor(seed, [b, self.cells(), g, e], 1.0, &device);
        let locations = self.locations();
        let weights = tensor(seed ^ 2, [b, n, g, levels.len(), p], 1.0, &device);
        (
            value.cast(dtype).detach().require_grad(),
            locations.cast(dtype).detach().require_grad(),
            weights.cast(dtype).detach().require_grad(),
        )
    }

    fn run(&self, dtype: DType) -> (Tensor<3>, Option<(Tensor<4>, Tensor<6>, Tensor<5>)>) {
        let (value, locations, weights) = self.inputs(dtype);
        let out = ms_deform_attn(value.clone(), &self.levels, locations.clone(), weights.clone());
        if self.n == 0 {
            return (out.inner(), None);
        }
        let probe = tensor(self.seed ^ 3, out.dims(), 1.0, &tracked()).cast(dtype);
        let grads = (out.clone() * probe).sum().backward();
        let grads = (value.grad(&grads).unwrap(), locations.grad(&grads).unwrap(), weights.grad(&grads).unwrap());
        (out.inner(), Some(grads))
    }
}

/// Within 1e-5 of the largest element or of 1.
#[track_caller]
fn near_one<const D: usize>(what: &str, got: Tensor<D>, want: Tensor<D>) {
    let values = want.clone().into_data().convert::<f32>().try_to_vec::<f32>().unwrap();
    let largest = values.iter().fold(1e-3f32, |largest, value| largest.max(value.abs()));
    assert_near(what, got, want, 1e-5 * largest.max(1.0) / largest);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, rng_seed: proptest::test_runner::RngSeed::Fixed(8), ..ProptestConfig::default() })]

    // Pixel coordinates up to 11 differ by 1e-6 between the types, sums have up to 100 terms: 1e-5 of the largest element, and for
    // gradients, where terms of about 1 may cancel out, of at least 1.
    #[test]
    fn kernels_equal_the_composed_bodies(case in case()) {
        let ((out, grads), (want, want_grads)) = (case.run(DType::F32), case.run(DType::F64));
        assert_near("output", out.cast(DType::F64), want, 1e-5);
        if let (Some((value, locations, weights)), Some((want_value, want_locations, want_weights))) = (grads, want_grads) {
            near_one("value", value.cast(DType::F64), want_value);
            near_one("locations", locations.cast(DType::F64), want_locations);
            near_one("weights", weights.cast(DType::F64), want_weights);
        }
    }
}

#[test]
fn locations_that_are_no_place_count_as_outside() {
    let levels = [[3usize, 4], [2, 2]];
    let places = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 3.4e38, -0.3, 1.3];
    for dtype in [DType::F32, DType::F64] {
        for place in places {
            for axis in 0..2 {
                let mut numbers = vec![0.4; 2 * 2 * 2];
                numbers.iter_mut().skip(axis).step_by(2).for_each(|number| *number = place);
                let locations = Tensor::<6>::from_data(TensorData::new(numbers, [1, 1, 1, 2, 2, 2]), &tracked());
                let locations = locations.cast(dtype).detach().require_grad();
                let value = tensor(1, [1, 16, 1, 19], 1.0, &tracked()).cast(dtype).detach().require_grad();
                let weights = tensor(2, [1, 1, 1, 2, 2], 1.0, &tracked()).cast(dtype).detach().require_grad();
                let out = ms_deform_attn(value.clone(), &levels, locations.clone(), weights.clone());
                let grads = out.clone().sum().backward();
                assert_near("output", out.inner(), Tensor::zeros([1, 1, 19], &cpu()), 0.0);
                assert_near("value", value.grad(&grads).unwrap(), Tensor::zeros([1, 16, 1, 19], &cpu()), 0.0);
                assert_near(
                    "locations",
                    locations.grad(&grads).unwrap(),
                    Tensor::zeros([1, 1, 1, 2, 2, 2], &cpu()),
                    0.0,
                );
                assert_near("weights", weights.grad(&grads).unwrap(), Tensor::zeros([1, 1, 1, 2, 2], &cpu()), 0.0);
            }
        }
    }
}

#[test]
fn a_sample_at_the_centre_of_a_cell_is_that_cell() {
    let value = tensor::<4>(1, [1, 12, 2, 5], 1.0, &cpu());
    // Row 1, column 2 of a map of 3 by 4.
    let locations = [2.5 / 4.0, 1.5 / 3.0f32].repeat(2);
    let locations = Tensor::<6>::from_data(TensorData::new(locations, [1, 1, 2, 1, 1, 2]), &cpu());
    let out = ms_deform_attn(value.clone(), &[[3, 4]], locations, Tensor::ones([1, 1, 2, 1, 1], &cpu()));
    assert_near("cell 6", out, value.slice([0..1, 6..7]).reshape([1, 1, 10]), 1e-6);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_and_views_are_taken() {
    let case = Case { b: 2, n: 40, g: 4, p: 4, e: 32, levels: vec![[9, 11], [4, 5]], seed: 5 };
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.run(DType::F32))
    };
    let ((one, one_grads), (many, many_grads)) = (run(1), run(3));
    assert_eq!(one.to_data(), many.to_data());
    let ((value, locations, weights), (value3, locations3, weights3)) = (one_grads.unwrap(), many_grads.unwrap());
    assert_eq!(value.to_data(), value3.to_data());
    assert_eq!(locations.to_data(), locations3.to_data());
    assert_eq!(weights.to_data(), weights3.to_data());
    let (value, locations, weights) = case.inputs(DType::F32);
    let value = Tensor::<4>::from_data(value.inner().swap_dims(1, 2).into_data(), &cpu()).swap_dims(1, 2);
    assert_eq!(one.to_data(), ms_deform_attn(value, &case.levels, locations.inner(), weights.inner()).to_data());
}

#[test]
fn half_precision_takes_the_composed_body() {
    let case = Case { b: 1, n: 6, g: 2, p: 2, e: 8, levels: vec![[5, 7]], seed: 6 };
    let (value, locations, weights) = case.inputs(DType::F32);
    let (value, locations, weights) =
        (value.inner().cast(DType::F16), locations.inner().cast(DType::F16), weights.inner().cast(DType::F16));
    let got = ms_deform_attn(value.clone(), &case.levels, locations.clone(), weights.clone());
    assert_eq!(got.dtype(), DType::F16);
    let want =
        ms_deform_attn(value.cast(DType::F32), &case.levels, locations.cast(DType::F32), weights.cast(DType::F32));
    assert_near("f16", got.cast(DType::F32), want, f16::EPSILON.to_f32() * 4.0);
}
