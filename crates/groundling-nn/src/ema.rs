//! Exponential moving average of a module's parameters: the weights that are evaluated, or a teacher's.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor};

/// How fast an average follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decay {
    /// Share of the average that an update keeps, in `[0, 1]`.
    pub rate: f64,
    /// Whether early updates keep less: `min(rate, (1 + t) / (10 + t))` after `t` updates.
    pub warm_up: bool,
}

impl Decay {
    /// The share kept by the update that follows `updates` others.
    pub fn at(&self, updates: u64) -> f64 {
        if !self.warm_up {
            return self.rate;
        }
        let t = updates as f64;
        self.rate.min((1.0 + t) / (10.0 + t))
    }
}

/// A copy of a module whose parameters follow it: `average + (1 - decay) (parameter - average)`.
///
/// Parameters that require gradients are averaged. Frozen ones and buffers, whole numbers included, are copied. A parameter that does not
/// change is therefore followed exactly, to the bit.
#[derive(Debug, Clone)]
pub struct Ema<M> {
    module: M,
    decay: Decay,
    updates: u64,
}

impl<M: Module> Ema<M> {
    /// Starts at the module's own values.
    pub fn new(module: &M, decay: Decay) -> Self {
        Self::resume(module.valid(), decay, 0)
    }

    /// Goes on with an average saved earlier: its [`module`](Self::module), by way of a record, and [`updates`](Self::updates). What
    /// follows is equal, bit for bit, to what would have followed without saving.
    pub fn resume(module: M, decay: Decay, updates: u64) -> Self {
        Self { module: module.valid(), decay, updates }
    }

    /// The average, on a device without gradients, in evaluation mode.
    pub fn module(&self) -> &M {
        &self.module
    }

    /// How fast it follows.
    pub fn decay(&self) -> Decay {
        self.decay
    }

    /// How many updates there were.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Follows the module by one step; call it after the optimiser's.
    ///
    /// # Panics
    /// If the module is not the one that was averaged so far: a parameter is missing or has another shape. That is a bug in the
    /// trainer.
    pub fn update(&mut self, module: &M) {
        // Running statistics gather what the threads of a step found only when asked to, which `valid` does.
        module.valid();
        let mut current = Current::default();
        module.visit(&mut current);
        let keep = self.decay.at(self.updates);
        self.module = self.module.clone().map(&mut Follow { current, path: Vec::new(), keep });
        self.updates += 1;
    }
}

/// The values of the module that is followed, each a `Tensor<D>` of some `D` and kind, and whether it is averaged.
///
/// They are found by their path, not by their identity: a record does not keep that of running statistics.
#[derive(Default)]
struct Current {
    path: Vec<String>,
    values: HashMap<String, (Box<dyn Any>, bool)>,
}

impl Current {
    fn insert<T: 'static>(&mut self, value: T, averaged: bool) {
        self.values.insert(self.path.join("."), (Box::new(value), averaged));
    }
}

impl ModuleVisitor for Current {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let averaged = value.is_require_grad();
        self.insert(value.inner(), averaged);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.insert(param.val().inner(), false);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.insert(param.val().inner(), false);
    }
}

struct Follow {
    current: Current,
    path: Vec<String>,
    keep: f64,
}

impl Follow {
    fn value<T: Clone + 'static>(&self) -> (T, bool) {
        let path = self.path.join(".");
        let (value, averaged) = self.current.values.get(&path).expect("the module has every parameter of its average");
        (value.downcast_ref::<T>().expect("a parameter keeps its rank and kind").clone(), *averaged)
    }
}

impl ModuleMapper for Follow {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (current, averaged) = self.value::<Tensor<D>>();
        param.map(|average| {
            assert_eq!(average.dims(), current.dims(), "a parameter keeps its shape");
            // This form, rather than a sum of two products, leaves a value that does not change as it is.
            if averaged { average.clone() + (current - average) * (1.0 - self.keep) } else { current }
        })
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let (current, _) = self.value::<Tensor<D, Int>>();
        param.map(|_| current)
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        let (current, _) = self.value::<Tensor<D, Bool>>();
        param.map(|_| current)
    }
}
