//! Between arrays of the fixtures and tensors, and modules filled by the names of the reference.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use groundling_nn::checkpoint::{Checkpoint, Report, Rule, StoredTensor, destinations, gradients, load_into};
use groundling_testkit::{Array, Case};

/// The CPU, with gradients if the case has any.
pub(crate) fn device(case: &Case) -> Device {
    if case.probe().is_empty() { Device::flex() } else { Device::flex().autodiff() }
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

/// `true` where the array is 0: a mask of real tokens as padding.
pub(crate) fn padding(mask: &Array, device: &Device) -> Tensor<2, Bool> {
    let values: Vec<bool> = mask.data.iter().map(|&value| value == 0.0).collect();
    Tensor::from_data(TensorData::new(values, mask.shape.clone()), device)
}

/// A tensor as an array.
pub(crate) fn array<const D: usize>(tensor: Tensor<D>) -> Array {
    let shape = tensor.dims();
    Array::from_values(shape, &tensor.into_data().try_to_vec::<f32>().unwrap())
}

/// The checkpoint of a case: the reference's names and shapes, filled by the rule when a tensor is read.
pub(crate) fn checkpoint(case: &Case, keys: impl IntoIterator<Item = (String, Vec<usize>)>) -> Checkpoint {
    let case = Arc::new(case.clone());
    Checkpoint::from_tensors(keys.into_iter().map(|(key, shape)| {
        let case = case.clone();
        let (name, size) = (key.clone(), shape.clone());
        let fill = move || match case.parameter(&name, &size) {
            Some(array) => array.to_f32(),
            None => vec![0.0; size.iter().product()],
        };
        (key, StoredTensor::from_fn(shape, fill))
    }))
}

/// A module with the case's weights, loaded through its key table.
pub(crate) fn filled<M: Module>(
    module: M,
    case: &Case,
    keys: impl IntoIterator<Item = (String, Vec<usize>)>,
    table: &[Rule],
) -> (M, Report) {
    load_into(module, &checkpoint(case, keys), table).unwrap_or_else(|error| panic!("{}: {error}", case.name()))
}

/// `sum(output * weights)` over the terms of the case's probe.
pub(crate) fn probe(case: &Case, value: impl Fn(&str) -> Tensor<1>, shape: impl Fn(&str) -> Vec<usize>) -> Tensor<1> {
    let terms = case.probe().into_iter().map(|term| {
        assert!(term.rows.is_none(), "{}: rows in a probe", case.name());
        let weights = term.weights(&shape(&term.output));
        let output = value(&term.output);
        let weights = Array::new([weights.data.len()], weights.data);
        (output.clone() * tensor::<1>(&weights, &output.device())).sum()
    });
    terms.reduce(|a, b| a + b).unwrap()
}

/// Checks the outputs `grad:KEY` of a case, keys being the reference's.
pub(crate) fn check_gradients<M: Module>(
    module: &M,
    probe: Tensor<1>,
    table: &[Rule],
    case: &Case,
    report: &mut groundling_testkit::Report<'_>,
) {
    let found: BTreeMap<String, Array> = gradients(module, &probe.backward())
        .into_iter()
        .map(|(info, values)| (info.name, Array::from_values(info.shape, &values)))
        .collect();
    for (_, spec) in case.json["outputs"].as_object().unwrap() {
        let of = spec["of"].as_str().unwrap();
        let Some(key) = of.strip_prefix("grad:") else { continue };
        let [name] = &destinations(key, table).unwrap()[..] else { panic!("{key} goes to one parameter") };
        let gradient = found.get(name).unwrap_or_else(|| panic!("{}: no gradient of {name}", case.name()));
        report.check(of, gradient);
    }
}
