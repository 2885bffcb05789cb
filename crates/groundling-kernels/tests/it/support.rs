//! Two devices, tensors of seeded values, and the comparison of values and gradients.

use burn::tensor::{Device, Tensor, TensorData};

/// The CPU, where the kernels run.
pub(crate) fn cpu() -> Device {
    Device::flex()
}

/// The CPU with gradients.
pub(crate) fn tracked() -> Device {
    Device::flex().autodiff()
}

/// `[len]` values in `[-1, 1)` that a seed decides (SplitMix64).
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (0..len)
        .map(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// A tensor of [`values`] times `scale`.
pub(crate) fn tensor<const D: usize>(seed: u64, shape: [usize; D], scale: f32, device: &Device) -> Tensor<D> {
    let values: Vec<f32> = values(seed, shape.iter().product()).into_iter().map(|value| value * scale).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Largest difference over the largest magnitude (at least `1e-3`): panics with both if above `limit`, or if a shape differs.
#[track_caller]
pub(crate) fn assert_near<const D: usize>(what: &str, got: Tensor<D>, want: Tensor<D>, limit: f32) {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    let got = got.into_data().convert::<f32>().try_to_vec::<f32>().unwrap();
    let want = want.into_data().convert::<f32>().try_to_vec::<f32>().unwrap();
    let scale = want.iter().fold(1e-3f32, |scale, value| scale.max(value.abs()));
    for (index, (got, want)) in got.iter().zip(&want).enumerate() {
        let close = (got - want).abs() <= limit * scale || got == want;
        assert!(close, "{what}: element {index} is {got}, composed {want}, limit {limit} of {scale}");
    }
}
