//! Deformable attention: the kernels (`f32`) against the composed bodies (`f64`), and those against sums written out.

use burn::tensor::{DType, Tensor, TensorData};
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    // Pixel coordinates up to 11 differ by 1e-6 between the types, sums have up to 100 terms: 1e-5 of the largest element.
    #[test]
    fn kernels_equal_the_composed_bodies(case in case()) {
        let ((out, grads), (want, want_grads)) = (case.run(DType::F32), case.run(DType::F64));
        assert_near("output", out.cast(DType::F64), want, 1e-5);
        if let (Some((value, locations, weights)), Some((want_value, want_locations, want_weights))) = (grads, want_grads) {
            assert_near("value", value.cast(DType::F64), want_value, 1e-5);
            assert_near("locations", locations.cast(DType::F64), want_locations, 1e-5);
            assert_near("weights", weights.cast(DType::F64), want_weights, 1e-5);
        }
    }
}
