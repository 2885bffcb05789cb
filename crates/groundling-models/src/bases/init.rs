//! Random weights to start from.

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::Initializer;
use burn::tensor::{Device, Tensor};

/// Standard normal.
pub(crate) fn normal<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Initializer::Normal { mean: 0.0, std: 1.0 }.init(shape, device)
}

/// Every element 0.
pub(crate) fn zeros<const D: usize>(shape: [usize; D], device: &Device) -> Param<Tensor<D>> {
    Initializer::Zeros.init(shape, device)
}

/// Draws every matrix of a transformer anew by Glorot and Bengio 2010 (uniform), as DETR does, and sets biases of its attention to 0.
///
/// Projections to queries, keys and values are one matrix in PyTorch, so their bound is that of three times the outputs.
pub(crate) fn xavier<M: Module>(module: M) -> M {
    module.map(&mut Xavier::default())
}

#[derive(Default)]
struct Xavier {
    names: Vec<String>,
}

impl ModuleMapper for Xavier {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.names.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.names.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let within = |name: &str| self.names.iter().any(|part| part == name);
        let packed = ["q_proj", "k_proj", "v_proj"].into_iter().any(within);
        let shape: [usize; D] = std::array::from_fn(|axis| param.lazy_shape()[axis]);
        let device = param.lazy_device();
        match D {
            2 => {
                let (inputs, outputs) = (shape[0], if packed { 3 * shape[1] } else { shape[1] });
                Initializer::XavierUniform { gain: 1.0 }.init_with(shape, Some(inputs), Some(outputs), &device)
            }
            1 if packed || within("out_proj") => Initializer::Zeros.init(shape, &device),
            _ => param,
        }
    }
}
