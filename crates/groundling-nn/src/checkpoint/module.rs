//! The module's side: its parameters by the names and shapes a file has, and putting values into them.

use std::collections::BTreeMap;

use burn::module::{ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use burn_store::ModuleContext;

/// A parameter of a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Name as PyTorch would have it.
    pub(crate) name: String,
    /// Shape as a file has it.
    pub(crate) shape: Vec<usize>,
    /// Whether burn keeps the transposed matrix.
    pub(crate) transposed: bool,
    pub(crate) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    Int,
    Bool,
}

/// Where a walk through a module is.
#[derive(Default)]
struct Place {
    names: Vec<String>,
    containers: Vec<String>,
}

impl Place {
    fn enter(&mut self, name: &str, container: &str) {
        self.containers.push(container.to_owned());
        // A variant of an enum is a choice, no level: PyTorch has no name for it.
        if !container.starts_with("Enum:") {
            self.names.push(name.to_owned());
        }
    }

    fn leave(&mut self, container: &str) {
        self.containers.pop();
        if !container.starts_with("Enum:") {
            self.names.pop();
        }
    }

    /// The parameter here, whose shape in burn is this.
    fn target(&self, shape: &[usize], kind: Kind) -> Target {
        let module = ModuleContext::new(&self.containers).module_type().unwrap_or_default();
        let (own, outer) = self.names.split_last().map_or(("", &[][..]), |(own, outer)| (own.as_str(), outer));
        let own = match (module, own) {
            (
                "Struct:LayerNorm" | "Struct:BatchNorm" | "Struct:GroupNorm" | "Struct:InstanceNorm" | "Struct:RmsNorm",
                "gamma" | "beta",
            ) => {
                if own == "gamma" {
                    "weight"
                } else {
                    "bias"
                }
            }
            ("Struct:PRelu", "alpha") => "weight",
            (_, own) => own,
        };
        let name = outer.iter().map(String::as_str).chain([own]).collect::<Vec<_>>().join(".");
        let transposed = module == "Struct:Linear" && own == "weight" && shape.len() == 2;
        let shape = if transposed { shape.iter().rev().copied().collect() } else { shape.to_vec() };
        Target { name, shape, transposed, kind }
    }
}

/// Collects the parameters without initialising any.
#[derive(Default)]
pub(crate) struct Targets {
    place: Place,
    pub(crate) found: Vec<Target>,
}

impl ModuleVisitor for Targets {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.place.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.place.leave(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.push(self.place.target(&param.lazy_shape(), Kind::Float));
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.found.push(self.place.target(&param.lazy_shape(), Kind::Int));
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.found.push(self.place.target(&param.lazy_shape(), Kind::Bool));
    }
}

/// Collects the values, in the layout of a file. Initialises what is not yet.
#[derive(Default)]
pub(crate) struct Values {
    place: Place,
    pub(crate) found: Vec<(Target, TensorData)>,
}

impl Values {
    fn push(&mut self, shape: &[usize], kind: Kind, data: TensorData) {
        let target = self.place.target(shape, kind);
        self.found.push((target, data));
    }
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.place.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.place.leave(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.transform_for_save().val();
        self.push(&value.dims(), Kind::Float, value.into_data());
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let value = param.transform_for_save().val();
        self.push(&value.dims(), Kind::Int, value.into_data());
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        let value = param.transform_for_save().val();
        self.push(&value.dims(), Kind::Bool, value.into_data());
    }
}

/// Puts values into the parameters that have one. Shapes were checked before: here they are right.
pub(crate) struct Fill<'a, S> {
    place: Place,
    /// What makes the values of a parameter, in the layout of a file.
    sources: &'a BTreeMap<String, S>,
    read: &'a dyn Fn(&Target, &S) -> Result<Vec<f32>, super::CheckpointError>,
    /// The first error; after it nothing more is read.
    pub(crate) failed: Option<super::CheckpointError>,
    pub(crate) not_finite: Vec<String>,
}

impl<'a, S> Fill<'a, S> {
    pub(crate) fn new(
        sources: &'a BTreeMap<String, S>,
        read: &'a dyn Fn(&Target, &S) -> Result<Vec<f32>, super::CheckpointError>,
    ) -> Self {
        Self { place: Place::default(), sources, read, failed: None, not_finite: Vec::new() }
    }

    fn values(&mut self, shape: &[usize], kind: Kind) -> Option<Vec<f32>> {
        let target = self.place.target(shape, kind);
        let source = self.sources.get(&target.name)?;
        if self.failed.is_some() {
            return None;
        }
        match (self.read)(&target, source) {
            Ok(values) => {
                if values.iter().any(|value| !value.is_finite()) {
                    self.not_finite.push(target.name);
                }
                let &[rows, columns] = &target.shape[..] else { return Some(values) };
                Some(if target.transposed { transposed(&values, rows, columns) } else { values })
            }
            Err(error) => {
                self.failed = Some(error);
                None
            }
        }
    }
}

impl<S> ModuleMapper for Fill<'_, S> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.place.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.place.leave(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (shape, device, id) = (param.lazy_shape(), param.lazy_device(), param.id);
        let Some(values) = self.values(&shape, Kind::Float) else { return param };
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let (shape, device, id) = (param.lazy_shape(), param.lazy_device(), param.id);
        let Some(values) = self.values(&shape, Kind::Int) else { return param };
        let values: Vec<i64> = values.into_iter().map(|value| value as i64).collect();
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        let (shape, device, id) = (param.lazy_shape(), param.lazy_device(), param.id);
        let Some(values) = self.values(&shape, Kind::Bool) else { return param };
        let values: Vec<bool> = values.into_iter().map(|value| value != 0.0).collect();
        param.transform_for_load(Tensor::from_data(TensorData::new(values, shape), &device), id)
    }
}

/// The transposed matrix of a row-major one, in blocks that stay in the cache.
pub(crate) fn transposed<T: Copy + Default>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    const BLOCK: usize = 32;
    let mut out = vec![T::default(); values.len()];
    for row_block in (0..rows).step_by(BLOCK) {
        for column_block in (0..columns).step_by(BLOCK) {
            for row in row_block..rows.min(row_block + BLOCK) {
                for column in column_block..columns.min(column_block + BLOCK) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}
