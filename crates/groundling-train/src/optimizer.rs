//! AdamW over the parameters of a module.
//!
//! Gradients, moments and the update live on the host, wherever the model runs: one implementation whose results do not depend on the
//! device's order of summation, and whose state is plain numbers. On the CPU nothing is copied for it.
//!
//! Source: Loshchilov and Hutter 2019 (arXiv:1711.05101), in the form of PyTorch's `AdamW`.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use groundling_models::contract::ParameterGroup;
use groundling_nn::checkpoint::parameters;
use rayon::prelude::*;

use crate::recipe::{Factors, OptimizerSection};

/// Numbers that one thread treats at a time. Fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 15;

/// The optimiser with its state.
#[derive(Debug, Clone)]
pub struct AdamW {
    settings: OptimizerSection,
    slots: Vec<Slot>,
    steps: u64,
}

/// What belongs to one parameter.
#[derive(Debug, Clone)]
struct Slot {
    name: String,
    decays: bool,
    factor: f64,
    moments: Option<Moments>,
}

/// Running means of a gradient and of its square.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// Of the gradient.
    pub first: Vec<f32>,
    /// Of its square.
    pub second: Vec<f32>,
}

/// Gradients of a module's parameters in the order of its fields, on the host. Parameters without one have `None`.
#[derive(Debug, Clone, PartialEq)]
pub struct HostGradients {
    values: Vec<Option<Vec<f32>>>,
}

impl AdamW {
    /// An optimiser at rest. `group` says which rate a parameter follows, by its name in files.
    pub fn new<M: Module>(module: &M, settings: &OptimizerSection, group: fn(&str) -> ParameterGroup) -> Self {
        let slot = |info: groundling_nn::checkpoint::ParameterInfo| Slot {
            decays: info.shape.len() >= 2,
            factor: factor(settings.factors, group(&info.name)),
            name: info.name,
            moments: None,
        };
        Self { settings: settings.clone(), slots: parameters(module).into_iter().map(slot).collect(), steps: 0 }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The state by names of parameters; what never had a gradient is left out.
    pub fn moments(&self) -> impl Iterator<Item = (&str, &Moments)> {
        self.slots.iter().filter_map(|slot| Some((slot.name.as_str(), slot.moments.as_ref()?)))
    }

    /// Goes on with a state saved earlier. What follows is equal, bit for bit, to what would have followed without saving.
    pub fn resume(mut self, steps: u64, mut moments: impl FnMut(&str) -> Option<Moments>) -> Self {
        self.steps = steps;
        self.slots.iter_mut().for_each(|slot| slot.moments = moments(&slot.name));
        self
    }

    /// Moves the parameters by one step at the rate `lr`.
    ///
    /// # Panics
    /// If the gradients are those of another module.
    pub fn step<M: Module>(&mut self, module: M, gradients: HostGradients, lr: f64) -> M {
        assert_eq!(gradients.values.len(), self.slots.len(), "an entry for each parameter");
        self.steps += 1;
        let mut update = Update { optimizer: self, gradients: gradients.values.into_iter(), index: 0, lr };
        module.map(&mut update)
    }
}

fn factor(factors: Factors, group: ParameterGroup) -> f64 {
    match group {
        ParameterGroup::Base => factors.base,
        ParameterGroup::New => factors.new,
        ParameterGroup::Backbone => factors.backbone,
    }
}

struct Update<'a> {
    optimizer: &'a mut AdamW,
    gradients: std::vec::IntoIter<Option<Vec<f32>>>,
    index: usize,
    lr: f64,
}

impl Update<'_> {
    fn next(&mut self) -> (usize, Option<Vec<f32>>) {
        self.index += 1;
        (self.index - 1, self.gradients.next().flatten())
    }
}

impl ModuleMapper for Update<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (index, Some(gradient)) = self.next() else { return param };
        let AdamW { settings, slots, steps } = &mut *self.optimizer;
        let slot = &mut slots[index];
        let (id, tensor, mapper) = param.consume();
        let (shape, device, tracked) = (tensor.dims(), tensor.device(), tensor.is_require_grad());
        let autodiff = device.is_autodiff();
        let inner = if autodiff { tensor.inner() } else { tensor };
        let inner_device = inner.device();
        let mut values = host(inner);
        assert_eq!(values.len(), gradient.len(), "a gradient of its parameter");
        let moments = slot
            .moments
            .get_or_insert_with(|| Moments { first: vec![0.0; values.len()], second: vec![0.0; values.len()] });
        let rates = Rates::new(settings, slot.decays, self.lr * slot.factor, *steps);
        rates.apply(&mut values, &gradient, moments);
        let inner = Tensor::<D>::from_data(TensorData::new(values, shape), &inner_device);
        let tensor = if autodiff { Tensor::from_inner(inner) } else { inner };
        let tensor = if tracked { tensor.require_grad() } else { tensor };
        Param::from_mapped_value(id, tensor, mapper)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.next();
        param
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        self.next();
        param
    }
}

/// The numbers of one update.
struct Rates {
    beta1: f32,
    beta2: f32,
    eps: f32,
    /// What decay leaves of a weight.
    keep: f32,
    /// `lr / (1 - beta1^t)`.
    rate: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    root: f32,
}

impl Rates {
    fn new(settings: &OptimizerSection, decays: bool, lr: f64, step: u64) -> Self {
        let [beta1, beta2] = settings.betas;
        let power = i32::try_from(step).unwrap_or(i32::MAX);
        let decay = if decays { settings.weight_decay } else { 0.0 };
        Self {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: settings.eps as f32,
            keep: (1.0 - lr * decay) as f32,
            rate: (lr / (1.0 - beta1.powi(power))) as f32,
            root: (1.0 / (1.0 - beta2.powi(power)).sqrt()) as f32,
        }
    }

    fn apply(&self, values: &mut [f32], gradient: &[f32], moments: &mut Moments) {
        let Self { beta1, beta2, eps, keep, rate, root } = *self;
        let Moments { first, second } = moments;
        let chunks = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        let chunks = chunks.zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)));
        chunks.for_each(|((values, gradient), (first, second))| {
            let moments = first.iter_mut().zip(second);
            for ((value, &g), (m, v)) in values.iter_mut().zip(gradient).zip(moments) {
                *m = beta1 * *m + (1.0 - beta1) * g;
                *v = beta2 * *v + (1.0 - beta2) * g * g;
                *value = *value * keep - rate * *m / (v.sqrt() * root + eps);
            }
        });
    }
}

impl HostGradients {
    /// Takes the gradients of a module's parameters.
    pub fn take<M: Module>(module: &M, gradients: burn::tensor::Gradients) -> Self {
        let mut collect = Collect { gradients, values: Vec::new() };
        module.visit(&mut collect);
        Self { values: collect.values }
    }

    /// Adds those of another batch. A parameter has a sum if either has a gradient.
    ///
    /// # Panics
    /// If they are those of another module.
    pub fn add(&mut self, other: Self) {
        assert_eq!(self.values.len(), other.values.len(), "gradients of one module");
        for (mine, other) in self.values.iter_mut().zip(other.values) {
            match (mine.as_mut(), other) {
                (Some(mine), Some(other)) => {
                    let chunks = mine.par_chunks_mut(CHUNK).zip(other.par_chunks(CHUNK));
                    chunks.for_each(|(mine, other)| mine.iter_mut().zip(other).for_each(|(a, b)| *a += b));
                }
                (None, Some(other)) => *mine = Some(other),
                (_, None) => {}
            }
        }
    }

    /// Multiplies every gradient.
    pub fn scale(&mut self, factor: f32) {
        for values in self.values.iter_mut().flatten() {
            values.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|value| *value *= factor));
        }
    }

    /// The Euclidean norm of all of them together. Not finite if any number is not.
    pub fn norm(&self) -> f64 {
        let squares = |chunk: &[f32]| -> f64 {
            // Eight sums, so that the additions do not wait for each other.
            let mut sums = [0.0f64; 8];
            for part in chunk.chunks(8) {
                part.iter().zip(&mut sums).for_each(|(&value, sum)| *sum += f64::from(value) * f64::from(value));
            }
            sums.iter().sum()
        };
        let of = |values: &Vec<f32>| -> f64 {
            let parts: Vec<f64> = values.par_chunks(CHUNK).map(squares).collect();
            parts.iter().sum()
        };
        self.values.iter().flatten().map(of).sum::<f64>().sqrt()
    }

    /// Scales down to a norm of at most `limit`, unless that is 0. Returns the norm before.
    pub fn clip(&mut self, limit: f64) -> f64 {
        let norm = self.norm();
        if limit > 0.0 && norm > limit {
            self.scale((limit / (norm + 1e-6)) as f32);
        }
        norm
    }
}

struct Collect {
    gradients: burn::tensor::Gradients,
    values: Vec<Option<Vec<f32>>>,
}

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = param.val().grad_remove(&mut self.gradients);
        self.values.push(gradient.map(host));
    }

    fn visit_int<const D: usize>(&mut self, _: &Param<Tensor<D, Int>>) {
        self.values.push(None);
    }

    fn visit_bool<const D: usize>(&mut self, _: &Param<Tensor<D, Bool>>) {
        self.values.push(None);
    }
}

/// The values of a tensor; no copy where the tensor is on the CPU and nobody else's.
fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data_as::<f32>().try_into_vec::<f32>().expect("converted to f32")
}
