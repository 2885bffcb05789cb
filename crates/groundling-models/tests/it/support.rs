//! Between arrays of the fixtures and tensors, and modules filled by the names of the reference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use groundling_core::{BoxCxcywh, ContentRect, Unit};
use groundling_nn::checkpoint::{Checkpoint, StoredTensor, load_into, parameters};
use groundling_testkit::{Array, Case};

/// The generator of the device is one for all threads: who seeds it and draws holds this meanwhile.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An array as a tensor.
pub(crate) fn tensor<const D: usize>(array: &Array, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.to_f32(), array.shape.clone()), device)
}

/// Whole numbers as a tensor.
pub(crate) fn ints<const D: usize>(array: &Array, device: &Device) -> Tensor<D, Int> {
    let values: Vec<i64> = array.data.iter().map(|&value| value as i64).collect();
    Tensor::from_data(TensorData::new(values, array.shape.clone()), device)
}

/// A tensor as an array.
pub(crate) fn array<const D: usize>(tensor: Tensor<D>) -> Array {
    let shape = tensor.dims();
    Array::from_values(shape, &tensor.into_data().try_to_vec::<f32>().unwrap())
}

/// `top, left, height, width`.
pub(crate) fn rect(values: &[f64]) -> ContentRect {
    let [top, left, height, width] = [0, 1, 2, 3].map(|index| values[index] as u32);
    ContentRect { top, left, height, width }
}

/// Centre and sides in fractions of the canvas.
pub(crate) fn bbox(values: &[f64]) -> BoxCxcywh<Unit> {
    BoxCxcywh::new(values[0], values[1], values[2], values[3])
}

/// A module with the case's weights: every parameter filled under its own name.
pub(crate) fn filled<M: Module>(module: M, case: &Case) -> M {
    let case = Arc::new(case.clone());
    let tensors = parameters(&module).into_iter().map(|info| {
        let (case, name, shape) = (case.clone(), info.name.clone(), info.shape.clone());
        let fill = move || case.parameter(&name, &shape).unwrap().to_f32();
        (info.name, StoredTensor::from_fn(info.shape, fill))
    });
    load_into(module, &Checkpoint::from_tensors(tensors), &[]).unwrap().0
}

/// The CPU, with gradients if the case has any.
pub(crate) fn device(case: &Case) -> Device {
    if case.probe().is_empty() { Device::flex() } else { Device::flex().autodiff() }
}

/// A tensor of any rank: its shape, and its values in a row.
pub(crate) type Flat = (Vec<usize>, Tensor<1>);

/// A tensor as a [`Flat`] one.
pub(crate) fn flat<const D: usize>(x: &Tensor<D>) -> Flat {
    let shape = x.dims();
    (shape.to_vec(), x.clone().reshape([shape.iter().product::<usize>()]))
}

/// The scalar that is differentiated, `sum(output * weights)` over the terms of the case's probe, of outputs by name; `None` if the case has no
/// probe.
pub(crate) fn probe<'a>(case: &Case, outputs: impl IntoIterator<Item = (&'a str, Flat)>) -> Option<Tensor<1>> {
    let outputs: BTreeMap<&str, Flat> = outputs.into_iter().collect();
    let terms = case.probe().into_iter().map(|term| {
        assert!(term.rows.is_none(), "{}: rows in a probe", case.name());
        let (shape, values) = outputs.get(term.output.as_str()).unwrap_or_else(|| panic!("no output {}", term.output));
        let weights = term.weights(shape);
        let weights = Array::new([weights.data.len()], weights.data);
        (values.clone() * tensor::<1>(&weights, &values.device())).sum()
    });
    terms.reduce(|a, b| a + b)
}

/// Names of the parameters that training changes; the module must be on a device with gradients.
pub(crate) fn trainable<M: Module>(module: &M) -> BTreeSet<String> {
    struct Collect(Vec<bool>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.push(param.is_require_grad());
        }
    }
    let mut collect = Collect(Vec::new());
    module.visit(&mut collect);
    let names = parameters(module);
    assert_eq!(names.len(), collect.0.len(), "all parameters are floats");
    names.into_iter().zip(collect.0).filter(|(_, trained)| *trained).map(|(info, _)| info.name).collect()
}
