use burn::tensor::{Tensor, TensorData};
use groundling_kernels::ms_deform_attn;
use groundling_testkit::{Array, Folder, ProbeTerm};
use serde::Deserialize;

use crate::support::tracked;

#[derive(Deserialize)]
struct Config {
    level_sizes: Vec<[usize; 2]>,
}

#[test]
fn deformable_attention() {
    for case in Folder::open("focus_detr").of_kinds(&["deform_attn_core"], 1) {
        let levels = case.config::<Config>().level_sizes;
        let value = leaf::<4>(&case.input("value"));
        let locations = leaf::<6>(&case.input("loc"));
        let weights = leaf::<5>(&case.input("attn"));
        let out = ms_deform_attn(value.clone(), &levels, locations.clone(), weights.clone());
        let mut scalar = Tensor::<1>::zeros([1], &tracked());
        for ProbeTerm { output, .. } in case.probe() {
            assert_eq!(output, "out");
        }
        let mut report = case.report();
        for term in case.probe() {
            let probe = constant::<3>(&term.weights(&out.dims()));
            scalar = scalar + (out.clone() * probe).sum();
        }
        let grads = scalar.backward();
        report.check("out", &array(out.inner()));
        report.check("grad_in:value", &array(value.grad(&grads).unwrap()));
        report.check("grad_in:loc", &array(locations.grad(&grads).unwrap()));
        report.check("grad_in:attn", &array(weights.grad(&grads).unwrap()));
        report.finish();
    }
}

fn constant<const D: usize>(array: &Array) -> Tensor<D> {
    Tensor::from_data(TensorData::new(array.to_f32(), array.shape.clone()), &tracked())
}

fn leaf<const D: usize>(array: &Array) -> Tensor<D> {
    constant::<D>(array).require_grad()
}

fn array<const D: usize>(tensor: Tensor<D>) -> Array {
    Array::from_values(tensor.dims(), &tensor.into_data().try_to_vec::<f32>().unwrap())
}
