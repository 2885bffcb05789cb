//! The module's side: its parameters by the names and shapes a file has, and putting values into them.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Gradients, Int, Tensor, TensorData};
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

impl Target {
    /// Values as burn has them, in the order of a file.
    pub(crate) fn in_file_layout<T: Copy + Default>(&self, values: Vec<T>) -> Vec<T> {
        match self.shape[..] {
            [rows, columns] if self.transposed => transposed(&values, columns, rows),
            _ => values,
        }
    }

    /// Values of a file, in the order of burn.
    fn in_module_layout<T: Copy + Default>(&self, values: Vec<T>) -> Vec<T> {
        match self.shape[..] {
            [rows, columns] if self.transposed => transposed(&values, rows, columns),
            _ => values,
        }
    }
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
            // A field named by a keyword, such as `r#box`, is `box` in a file.
            self.names.push(name.strip_prefix("r#").unwrap_or(name).to_owned());
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
        let transposed = matches!(module, "Struct:Linear" | "Struct:Dense") && own == "weight" && shape.len() == 2;
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

/// A parameter of a module: its name and shape as a file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo {
    /// Fields joined by dots, as PyTorch would name it.
    pub name: String,
    /// A linear layer's weight is `[outputs, inputs]`.
    pub shape: Vec<usize>,
}

/// The parameters of a module in the order of its fields, fixed ones such as running statistics too. Initialises none.
pub fn parameters<M: Module>(module: &M) -> Vec<ParameterInfo> {
    let mut targets = Targets::default();
    module.visit(&mut targets);
    targets.found.into_iter().map(|Target { name, shape, .. }| ParameterInfo { name, shape }).collect()
}

/// Draws the values of all parameters that have none yet, in the order of the module's fields.
///
/// Parameters are drawn at their first use otherwise, from the generator of the device: numbers drawn later then depend on whether the
/// module was new or loaded.
pub fn initialise<M: Module>(module: &M) {
    struct Draw;
    impl ModuleVisitor for Draw {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let _ = param.val();
        }

        fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
            let _ = param.val();
        }

        fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
            let _ = param.val();
        }
    }
    module.visit(&mut Draw);
}

/// The gradients of a module, in the layout of a file; parameters without one are left out.
pub fn gradients<M: Module>(module: &M, gradients: &Gradients) -> Vec<(ParameterInfo, Vec<f32>)> {
    struct Collect<'a> {
        place: Place,
        gradients: &'a Gradients,
        found: Vec<(ParameterInfo, Vec<f32>)>,
    }
    impl ModuleVisitor for Collect<'_> {
        fn enter_module(&mut self, name: &str, container_type: &str) {
            self.place.enter(name, container_type);
        }

        fn exit_module(&mut self, _name: &str, container_type: &str) {
            self.place.leave(container_type);
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let Some(gradient) = param.val().grad(self.gradients) else { return };
            let target = self.place.target(&gradient.dims(), Kind::Float);
            let values = target.in_file_layout(gradient.into_data().iter::<f32>().collect());
            self.found.push((ParameterInfo { name: target.name, shape: target.shape }, values));
        }
    }
    let mut collect = Collect { place: Place::default(), gradients, found: Vec::new() };
    module.visit(&mut collect);
    collect.found
}

/// Makes the values of a parameter, in the layout of a file.
type Read<'a, S> = dyn Fn(&Target, &S) -> Result<Vec<f32>, super::CheckpointError> + 'a;

/// Puts values into the parameters that have one. Shapes were checked before: here they are right.
pub(crate) struct Fill<'a, S> {
    place: Place,
    /// Where the values of a parameter come from.
    sources: &'a BTreeMap<String, S>,
    read: &'a Read<'a, S>,
    /// The first error; after it nothing more is read.
    pub(crate) failed: Option<super::CheckpointError>,
    pub(crate) not_finite: Vec<String>,
}

impl<'a, S> Fill<'a, S> {
    pub(crate) fn new(sources: &'a BTreeMap<String, S>, read: &'a Read<'a, S>) -> Self {
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
                    self.not_finite.push(target.name.clone());
                }
                Some(target.in_module_layout(values))
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
fn transposed<T: Copy + Default>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
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
