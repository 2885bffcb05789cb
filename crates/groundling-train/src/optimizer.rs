//! AdamW over the parameters of a module, and Muon over the matrices that a recipe names.
//!
//! Gradients, moments and the update live on the host, wherever the model runs: one implementation whose results do not depend on the
//! device's order of summation, and whose state is plain numbers. On the CPU nothing is copied for it.
//!
//! Sources: Loshchilov and Hutter 2019 (arXiv:1711.05101), in the form of PyTorch's `AdamW`; Jordan et al. 2024 (Muon), with the scale of
//! Liu et al. 2025 (arXiv:2502.16982, equation 4), which makes an update as large as AdamW's, whatever the matrix's shape.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use groundling_models::contract::ParameterGroup;
use groundling_nn::checkpoint::parameters;
use rayon::prelude::*;

use crate::recipe::{Factors, MuonSection, OptimizerSection};

/// Numbers that one thread treats at a time. Fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 15;

/// Coefficients of the polynomial whose iteration drives all singular values towards 1 (Jordan et al. 2024).
const NEWTON_SCHULZ: [f32; 3] = [3.4445, -4.7750, 2.0315];
/// Its iterations.
const ITERATIONS: usize = 5;

/// The optimiser with its state.
#[derive(Debug, Clone)]
pub struct Optimizer {
    settings: OptimizerSection,
    slots: Vec<Slot>,
    steps: u64,
}

/// What belongs to one parameter.
#[derive(Debug, Clone)]
struct Slot {
    name: String,
    decays: bool,
    /// Whether Muon moves it.
    muon: bool,
    group: ParameterGroup,
    factor: f64,
    moments: Option<Moments>,
}

/// Running means of a gradient and of its square. Muon keeps the first alone, as a sum; the second is empty there.
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

impl Optimizer {
    /// An optimiser at rest. `group` says which rate a parameter follows, by its name in files; `decays` whether weight decay moves it, by its
    /// name and rank.
    pub fn new<M: Module>(
        module: &M,
        settings: &OptimizerSection,
        group: fn(&str) -> ParameterGroup,
        decays: fn(&str, usize) -> bool,
    ) -> Self {
        let slot = |info: groundling_nn::checkpoint::ParameterInfo| Slot {
            decays: decays(&info.name, info.shape.len()),
            muon: settings.muon.as_ref().is_some_and(|muon| muon.moves(&info.name, info.shape.len())),
            factor: factor(settings.factors, group(&info.name)),
            group: group(&info.name),
            name: info.name,
            moments: None,
        };
        Self { settings: settings.clone(), slots: parameters(module).into_iter().map(slot).collect(), steps: 0 }
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether a parameter is moved by Muon.
    pub fn has_muon(&self) -> bool {
        self.slots.iter().any(|slot| slot.muon)
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

    /// Takes the gradients of a group away: its parameters stand still, and their moments too.
    pub fn hold(&self, gradients: &mut HostGradients, group: ParameterGroup) {
        let held = self.slots.iter().zip(&mut gradients.values).filter(|(slot, _)| slot.group == group);
        held.for_each(|(_, gradient)| *gradient = None);
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
    optimizer: &'a mut Optimizer,
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
        let Optimizer { settings, slots, steps } = &mut *self.optimizer;
        let slot = &mut slots[index];
        let (id, tensor, mapper) = param.consume();
        let (shape, device, tracked) = (tensor.dims(), tensor.device(), tensor.is_require_grad());
        let autodiff = device.is_autodiff();
        let inner = if autodiff { tensor.inner() } else { tensor };
        let inner_device = inner.device();
        let mut values = host(inner);
        assert_eq!(values.len(), gradient.len(), "a gradient of its parameter");
        match (&settings.muon, slot.muon) {
            (Some(muon), true) => {
                let moments =
                    slot.moments.get_or_insert_with(|| Moments { first: vec![0.0; values.len()], second: Vec::new() });
                let ratio = muon.lr.map_or(1.0, |own| own / settings.lr);
                let lr = self.lr * slot.factor * ratio;
                muon_step(muon, lr, settings.weight_decay, &mut values, [shape[0], shape[1]], gradient, moments);
            }
            _ => {
                let moments = slot
                    .moments
                    .get_or_insert_with(|| Moments { first: vec![0.0; values.len()], second: vec![0.0; values.len()] });
                Rates::new(settings, slot.decays, self.lr * slot.factor, *steps).apply(&mut values, &gradient, moments);
            }
        }
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

/// The module with the parameters fixed whose names in files begin with one of `starts`. If nothing begins with one of them, that one.
pub fn freeze<M: Module>(module: M, starts: &[String]) -> Result<M, String> {
    let infos = parameters(&module);
    let begins = |start: &str| infos.iter().any(|info| info.name.starts_with(start));
    if let Some(nothing) = starts.iter().find(|start| !begins(start)) {
        return Err(nothing.clone());
    }
    let fixed = |name: &str| starts.iter().any(|start| name.starts_with(start.as_str()));
    let fixed: Vec<bool> = infos.iter().map(|info| fixed(&info.name)).collect();
    Ok(module.map(&mut Freeze { fixed: fixed.into_iter() }))
}

struct Freeze {
    /// Of each parameter in the order of the fields.
    fixed: std::vec::IntoIter<bool>,
}

impl ModuleMapper for Freeze {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.fixed.next() == Some(true) { param.set_require_grad(false) } else { param }
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.fixed.next();
        param
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        self.fixed.next();
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

/// One step of Muon on a matrix: momentum after Nesterov, made orthogonal, with decoupled decay.
fn muon_step(
    muon: &MuonSection,
    lr: f64,
    decay: f64,
    values: &mut [f32],
    shape: [usize; 2],
    gradient: Vec<f32>,
    moments: &mut Moments,
) {
    let momentum = muon.momentum as f32;
    let mut ahead = gradient;
    for (g, m) in ahead.iter_mut().zip(&mut moments.first) {
        *m = momentum * *m + *g;
        *g += momentum * *m;
    }
    let direction = orthogonal(ahead, shape);
    let (keep, rate) = ((1.0 - lr * decay) as f32, (lr * 0.2 * (shape[0].max(shape[1]) as f64).sqrt()) as f32);
    values.iter_mut().zip(direction).for_each(|(value, d)| *value = *value * keep - rate * d);
}

/// A matrix with the same singular vectors and singular values of about 1 (0.7 to 1.2), by Newton and Schulz's iteration. A matrix of zeros
/// stays one.
fn orthogonal(values: Vec<f32>, [rows, columns]: [usize; 2]) -> Vec<f32> {
    let norm = values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    let data = TensorData::new(values, [rows, columns]);
    let matrix = Tensor::<2>::from_data(data, &Device::flex()).div_scalar(norm + 1e-7);
    // The product of the shorter side with itself is the smaller one.
    let tall = rows > columns;
    let mut x = if tall { matrix.transpose() } else { matrix };
    let [a, b, c] = NEWTON_SCHULZ;
    for _ in 0..ITERATIONS {
        let square = x.clone().matmul(x.clone().transpose());
        let mixed = square.clone() * b + square.clone().matmul(square) * c;
        x = x.clone() * a + mixed.matmul(x);
    }
    host(if tall { x.transpose() } else { x })
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
