//! Seeded tensors, values of tensors, and gradients by finite differences.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use groundling_testkit::Array;

pub(crate) use crate::support::{array, tensor};

/// The CPU with gradients.
pub(crate) fn tracked() -> Device {
    Device::flex().autodiff()
}

/// True where the array is not zero.
pub(crate) fn bools<const D: usize>(array: &Array, device: &Device) -> Tensor<D, Bool> {
    let values: Vec<bool> = array.data.iter().map(|value| *value != 0.0).collect();
    Tensor::from_data(TensorData::new(values, array.shape.clone()), device)
}

/// Indices as a tensor.
pub(crate) fn indices(values: &[usize], device: &Device) -> Tensor<1, Int> {
    let shape = [values.len()];
    let values: Vec<i64> = values.iter().map(|value| *value as i64).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The values of a tensor.
pub(crate) fn list<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec::<f32>().unwrap()
}

/// A tensor of values in `[low, high)` that a name decides.
pub(crate) fn uniform<const D: usize>(
    name: &str,
    shape: [usize; D],
    low: f64,
    high: f64,
    device: &Device,
) -> Tensor<D> {
    tensor(&groundling_testkit::fill::uniform(name, &shape, low, high, 0), device)
}

/// Compares the gradient of `f` at `at` with differences of `f` over `2 step`, element by element.
#[track_caller]
pub(crate) fn assert_gradient<const D: usize>(
    at: Tensor<D>,
    step: f32,
    limit: f32,
    f: impl Fn(Tensor<D>) -> Tensor<1>,
) {
    let at = at.detach().require_grad();
    let device = at.device();
    let gradient = list(at.grad(&f(at.clone()).sum().backward()).unwrap());
    let values = list(at.clone().inner());
    for (index, gradient) in gradient.iter().enumerate() {
        let moved = |by: f32| {
            let mut values = values.clone();
            values[index] += by;
            f(Tensor::from_data(TensorData::new(values, at.dims()), &device)).sum().into_scalar::<f32>()
        };
        let slope = (moved(step) - moved(-step)) / (2.0 * step);
        assert!((slope - gradient).abs() <= limit, "element {index}: {gradient}, by differences {slope}");
    }
}

/// Largest difference of two tensors of one shape.
#[track_caller]
pub(crate) fn assert_near<const D: usize>(what: &str, got: Tensor<D>, want: Tensor<D>, limit: f32) {
    assert_eq!(got.dims(), want.dims(), "{what}: shape");
    for (index, (got, want)) in list(got).iter().zip(list(want)).enumerate() {
        assert!((got - want).abs() <= limit, "{what}: element {index} is {got}, expected {want} within {limit}");
    }
}
