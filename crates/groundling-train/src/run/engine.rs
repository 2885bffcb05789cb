//! The loop.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling::bundle::TrainingData;
use groundling_models::contract::{ParameterGroup, Trainable};
use groundling_nn::checkpoint::{initialise, parameters};
use groundling_nn::ema::{Decay, Ema};
use groundling_nn::layers::PrepareInference;

use super::{Control, Event, Job, LOCK_FILE, Memory, Observer, Plan, Resume, Summary, TrainError};
use crate::batches::{BatchError, BatchStream, Batches, mixed};
use crate::log::{EvaluationLine, Log, StepLine};
use crate::optimizer::{HostGradients, Optimizer, freeze};
use crate::recipe::{DataSection, RecipeError};
use crate::schedule::rate_factor;
use crate::state::{Progress, STATE_FILE, State, StateError, recipe_differences};
use crate::task::{Companion, CriterionOf, Figures, LossError, RecipeOf, Task};
use crate::{usage, weights};

/// A run in memory.
pub(super) struct Run<T: Task> {
    recipe: RecipeOf<T>,
    recipe_text: String,
    batches: Arc<Batches<T>>,
    validation: Option<T::Validation>,
    /// `None` only while the optimiser has it.
    model: Option<T::Model>,
    optimizer: Optimizer,
    ema: Option<Ema<T::Model>>,
    companion: T::Companion,
    progress: Progress,
    /// Steps that were left out since the last that was taken.
    left_out: u64,
    /// With gradients.
    device: Device,
    plain_device: Device,
    out: PathBuf,
    started: Instant,
    cpu_at_start: f64,
    /// Wall clock and processor time of the parts before this one.
    before: (f64, f64),
    last: Option<EvaluationLine<T::Figures>>,
    written: Vec<PathBuf>,
    data: Vec<TrainingData>,
    /// Held while this process writes the folder.
    lock: Option<File>,
}

/// Keeps other processes out of a run's folder for as long as the file is open, however this process ends.
fn lock(folder: &Path) -> Result<File, TrainError> {
    let path = folder.join(LOCK_FILE);
    let file = File::create(&path).map_err(io_error(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(TrainError::InUse { path: folder.to_owned() }),
        // Some file systems of networks have no locks: a run is possible there, two at a time are not noticed.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(error)) => Err(io_error(&path)(error)),
    }
}

/// What happened since the last line of the log.
#[derive(Default)]
struct Window {
    steps: u64,
    loss: f64,
    terms: BTreeMap<String, f64>,
    grad_norm: f64,
    samples: u64,
    secs: f64,
    waited: f64,
}

/// What one step found.
#[derive(Default)]
struct Stepped {
    /// Whether it was taken, rather than left out.
    taken: bool,
    loss: f64,
    terms: Vec<(String, f64)>,
    grad_norm: f64,
    lr: f64,
    samples: u64,
    waited: f64,
}

const SEED_WEIGHTS: u64 = 21;
const SEED_STEP: u64 = 22;
/// Steps in a row that may be left out because something is not finite; a model that has diverged does not come back.
const MOST_LEFT_OUT: u64 = 20;
/// Samples of the trial that measures activations.
const TRIAL: usize = 4;

/// Loss, its terms and the gradients of a batch.
type Backward = (f64, Vec<(String, f64)>, HostGradients);

impl<T: Task> Run<T> {
    pub(super) fn open(job: Job<T>) -> Result<Self, TrainError> {
        let started = Instant::now();
        let Job { mut recipe, config, device: plain_device, out, resume } = job;
        T::resolve(&mut recipe, &config);
        check_sections::<T>(&recipe)?;
        let recipe_text = recipe.to_toml()?;
        let batches = Arc::new(Batches::<T>::open(&recipe, &config)?);
        let open_validation = |section| batches.task().validation(section).map_err(TrainError::Validation);
        let validation = recipe.validation.as_ref().map(open_validation).transpose()?;
        let device = plain_device.clone().autodiff();
        // Parameters draw their first values when they are first used; `initialise` below does it now, in the order of the fields.
        device.seed(mixed(&[recipe.schedule.seed, SEED_WEIGHTS]));
        let mut model = T::Model::init(&config, &device)?;
        let path = out.join(STATE_FILE);
        let state = match resume {
            Resume::Never => None,
            Resume::Auto | Resume::Required if path.is_file() => Some(State::read(&path)?),
            Resume::Auto => None,
            Resume::Required => return Err(TrainError::NoState { path }),
        };
        let from = if state.is_none() { recipe.model.from.as_slice() } else { &[] };
        for (index, path) in from.iter().enumerate().filter(|(_, path)| !State::is_at(path)) {
            let layout = recipe.model.layout.get(index).map(String::as_str);
            let (loaded, report) = weights::load(model, path, layout, batches.task().classes())?;
            tracing::debug!("{report}");
            model = loaded;
        }
        let mut model = model.for_training(&recipe.broadest_criterion()?)?;
        initialise(&model);
        for path in from.iter().filter(|path| State::is_at(path)) {
            model = State::read(path)?.get_module_but("model", model, T::Model::MAY_LACK)?;
        }
        let o = &recipe.optimizer;
        let mut model = freeze(model, &o.frozen).map_err(|start| RecipeError::Value {
            key: "optimizer.frozen".into(),
            found: format!("{start:?}, with which no name begins"),
            expected: "beginnings of names of parameters, such as \"visual.backbone.\"".to_owned(),
        })?;
        let mut optimizer = Optimizer::new(&model, o, T::Model::parameter_group, T::Model::decays);
        if let (Some(muon), false) = (&o.muon, optimizer.has_muon()) {
            let found = format!("{:?}, of which no matrix of the model has one", muon.names);
            let expected = "beginnings of names of matrices, such as \"layers.\"".to_owned();
            return Err(RecipeError::Value { key: "optimizer.muon.names".into(), found, expected }.into());
        }
        let decay = Decay { rate: o.ema.decay, warm_up: o.ema.warm_up };
        let averages = o.ema.decay > 0.0;
        let mut ema = averages.then(|| Ema::new(&model, decay));
        let mut companion = batches.task().companion(&model);
        let mut progress = Progress { recipe: recipe_text.clone(), ..Progress::default() };
        if let Some(state) = state {
            let differences = recipe_differences(&state.progress.recipe, &recipe_text);
            if !differences.is_empty() {
                return Err(StateError::OtherRecipe { path, differences }.into());
            }
            model = state.get_module("model", model)?;
            if averages {
                let module = state.get_module("ema", model.valid())?;
                ema = Some(Ema::resume(module, decay, state.progress.ema_updates));
            }
            companion = companion.resume(&state)?;
            optimizer = optimizer.resume(state.progress.step, |name| state.moments(name));
            progress = Progress { recipe: recipe_text.clone(), ..state.progress };
        }
        let before = (progress.wall_secs, progress.cpu_secs);
        Ok(Self {
            recipe,
            recipe_text,
            batches,
            validation,
            model: Some(model),
            optimizer,
            ema,
            companion,
            progress,
            left_out: 0,
            device,
            plain_device,
            out,
            started,
            cpu_at_start: usage::cpu_secs().unwrap_or(0.0),
            before,
            last: None,
            written: Vec::new(),
            data: Vec::new(),
            lock: None,
        })
    }

    fn model(&self) -> &T::Model {
        self.model.as_ref().expect("the optimiser gives the model back at the end of its step")
    }

    /// What the run will be; tries a few samples for their memory.
    pub(super) fn plan(&mut self) -> Result<Plan, TrainError> {
        let numbers: usize = parameters(self.model()).iter().map(|info| info.shape.iter().product::<usize>()).sum();
        let bytes = numbers as u64 * 4;
        let schedule = &self.recipe.schedule;
        let copies = 2 + u64::from(self.ema.is_some()) + self.companion.copies();
        let (weights, states) = (2 * bytes, copies * bytes);
        let batch = schedule.batch;
        let samples_per_step = batch * schedule.accumulation;
        let held = usage::forget_peak().then(usage::peak_bytes).flatten();
        let mut trial = self.batches.batch(self.progress.step * schedule.accumulation as u64)?;
        trial.truncate(TRIAL);
        let tried = trial.len();
        self.is_finite(&trial, 0)?;
        let activations = usage::peak_bytes().zip(held).map(|(peak, held)| {
            // The trial's gradients are weights, not activations.
            peak.saturating_sub(held).saturating_sub(bytes) / tried.max(1) as u64
        });
        Ok(Plan {
            parameters: numbers,
            steps: self.batches.steps(),
            done: self.progress.step,
            samples_per_step,
            skipped: self.batches.task().skipped(),
            memory: Memory {
                weights,
                states,
                activations_of_sample: activations,
                total: activations.zip(held).map(|(a, held)| held + states + bytes + a * batch as u64),
            },
        })
    }

    pub(super) fn start(&mut self, observer: &mut dyn Observer<T::Figures>) -> Result<(), TrainError> {
        let plan = self.plan()?;
        std::fs::create_dir_all(&self.out).map_err(io_error(&self.out))?;
        self.lock = Some(lock(&self.out)?);
        let path = self.out.join("recipe.toml");
        let text = self.recipe_text.clone();
        crate::state::replace_file(&path, |file| io::Write::write_all(file, text.as_bytes()))
            .map_err(io_error(&path))?;
        observer.notice(Event::Start(&plan));
        Ok(())
    }

    pub(super) fn all_steps(
        &mut self,
        observer: &mut dyn Observer<T::Figures>,
    ) -> Result<Summary<T::Figures>, TrainError> {
        let steps = self.batches.steps();
        let first = self.progress.step;
        let mut log = Log::open(&self.out, first).map_err(io_error(&self.out))?;
        let accumulation = self.recipe.schedule.accumulation as u64;
        let mut stream = self.batches.stream(first * accumulation, self.recipe.output.workers);
        let mut window = Window::default();
        let mut stopped = false;
        while self.progress.step < steps && !stopped {
            let begun = Instant::now();
            let stepped = self.step(&mut stream)?;
            self.progress.step += 1;
            self.progress.samples += stepped.samples;
            window.add(&stepped, begun.elapsed().as_secs_f64());
            let step = self.progress.step;
            let (output, ended) = (self.recipe.output.clone(), step == steps);
            let line = (ended || step.is_multiple_of(output.log_every.max(1)))
                .then(|| self.line(&std::mem::take(&mut window), stepped.lr, first));
            if let Some(line) = &line {
                log.write("step", line).map_err(io_error(log.path()))?;
            }
            stopped |= observer.notice(Event::Step { step, line: line.as_ref() }) == Control::Stop;
            let every = self.recipe.validation.as_ref().map(|validation| validation.every.max(1));
            let evaluates = every.is_some_and(|every| ended || step.is_multiple_of(every));
            if evaluates {
                let line = self.evaluate()?;
                log.write("evaluation", &line).map_err(io_error(log.path()))?;
                stopped |= observer.notice(Event::Evaluated(&line)) == Control::Stop;
                self.last = Some(line);
            }
            if evaluates || ended || stopped || step.is_multiple_of(output.save_every.max(1)) {
                self.save()?;
                stopped |= observer.notice(Event::Saved { step }) == Control::Stop;
            }
        }
        drop(stream);
        if self.progress.step > 0 {
            self.write_weights("last")?;
        }
        let plan = Plan {
            parameters: parameters(self.model()).iter().map(|info| info.shape.iter().product::<usize>()).sum(),
            steps,
            done: first,
            samples_per_step: self.recipe.schedule.batch * self.recipe.schedule.accumulation,
            skipped: self.batches.task().skipped(),
            memory: Memory { weights: 0, states: 0, activations_of_sample: None, total: usage::peak_bytes() },
        };
        let (wall_secs, cpu_secs) = self.clocks();
        Ok(Summary {
            plan,
            step: self.progress.step,
            finished: self.progress.step >= steps,
            best: self.progress.best,
            last: self.last.clone(),
            wall_secs,
            cpu_secs,
            weights: self.written.clone(),
        })
    }

    /// One step of the optimiser, over all its passes.
    fn step(&mut self, stream: &mut BatchStream<T>) -> Result<Stepped, TrainError> {
        let (step, schedule) = (self.progress.step, &self.recipe.schedule);
        let accumulation = schedule.accumulation as u64;
        let criterion = self.recipe.criterion_at(self.share())?;
        let mut stepped = Stepped::default();
        let mut sum: Option<HostGradients> = None;
        let mut hosts = Vec::new();
        let mut companion = self.companion.clone();
        // What is not finite, and the pass.
        let mut broken = None;
        for pass in step * accumulation..(step + 1) * accumulation {
            let waiting = Instant::now();
            hosts.extend(stream.next().ok_or(BatchError::Gone)??);
            stepped.waited += waiting.elapsed().as_secs_f64();
            let of_pass = &hosts[stepped.samples as usize..];
            stepped.samples = hosts.len() as u64;
            if broken.is_some() {
                continue; // the rest of a step that is not taken
            }
            let backward = self.gradients(of_pass, &criterion, &mut companion, pass)?;
            let Some((loss, terms, gradients)) = backward.filter(|(loss, ..)| loss.is_finite()) else {
                broken = Some(("the loss", pass));
                continue;
            };
            stepped.loss += loss / accumulation as f64;
            stepped.terms.extend(terms.into_iter().map(|(name, value)| (name, value / accumulation as f64)));
            match &mut sum {
                Some(sum) => sum.add(gradients),
                None => sum = Some(gradients),
            }
        }
        if let (Some(gradients), None) = (&mut sum, broken) {
            stepped.grad_norm = self.prepared(gradients);
            if !stepped.grad_norm.is_finite() {
                broken = Some(("the gradient", step * accumulation));
            }
        }
        stepped.lr = self.recipe.optimizer.lr * rate_factor(schedule, step, self.batches.steps());
        let (Some(gradients), None) = (sum, broken) else {
            let (what, pass) = broken.expect("a step has at least one pass");
            if self.batches.task().skips_non_finite() && self.left_out < MOST_LEFT_OUT {
                (self.left_out, self.progress.left_out) = (self.left_out + 1, self.progress.left_out + 1);
                return Ok(Stepped { taken: false, ..stepped });
            }
            return Err(self.not_finite(what, &hosts, pass));
        };
        self.left_out = 0;
        self.companion = companion;
        self.take(gradients, stepped.lr);
        Ok(Stepped { taken: true, ..stepped })
    }

    /// Makes the sum over all passes a mean, drops what stands still, and clips; returns the norm before that.
    fn prepared(&self, gradients: &mut HostGradients) -> f64 {
        let (passes, optimizer) = (self.recipe.schedule.accumulation, &self.recipe.optimizer);
        if passes > 1 {
            gradients.scale(1.0 / passes as f32);
        }
        if self.share() < optimizer.backbone_from {
            self.optimizer.hold(gradients, ParameterGroup::Backbone);
        }
        gradients.clip(optimizer.clip_norm)
    }

    /// Moves the model, and then what follows it.
    fn take(&mut self, gradients: HostGradients, lr: f64) {
        let model = self.model.take().expect("the optimiser gives the model back at the end of its step");
        let model = self.optimizer.step(model, gradients, lr);
        if let Some(ema) = &mut self.ema {
            ema.update(&model);
        }
        self.companion.update(&model);
        self.model = Some(model);
    }

    /// How much of the run is done, 0 to 1.
    fn share(&self) -> f64 {
        self.progress.step as f64 / self.batches.steps().max(1) as f64
    }

    /// The random numbers of a pass depend on nothing but the pass. `None` if the model has diverged so far that there is no loss.
    fn gradients(
        &self,
        samples: &[T::Sample],
        criterion: &CriterionOf<T>,
        companion: &mut T::Companion,
        pass: u64,
    ) -> Result<Option<Backward>, TrainError> {
        self.device.seed(mixed(&[self.recipe.schedule.seed, SEED_STEP, pass]));
        let task = self.batches.task();
        let losses = match task.losses(self.model(), samples, criterion, companion, &self.device) {
            Ok(losses) => losses,
            Err(LossError::Diverged) => return Ok(None),
            Err(error) => return Err(TrainError::Loss { step: self.progress.step, error }),
        };
        let names = losses.terms.iter().map(|(name, _)| name.clone());
        let values = losses.terms.iter().map(|(_, value)| value).chain([&losses.total]);
        let values: Vec<f64> = read(values.cloned().collect());
        let terms = names.zip(values.iter().copied()).collect();
        let loss = values.last().copied().unwrap_or(f64::NAN);
        let gradients = HostGradients::take(self.model(), losses.total.backward());
        Ok(Some((loss, terms, gradients)))
    }

    /// Whether loss and gradient of samples are finite.
    fn is_finite(&self, samples: &[T::Sample], pass: u64) -> Result<bool, TrainError> {
        let criterion = self.recipe.criterion_at(self.share())?;
        let backward = self.gradients(samples, &criterion, &mut self.companion.clone(), pass)?;
        Ok(backward.is_some_and(|(loss, _, gradients)| loss.is_finite() && gradients.norm().is_finite()))
    }

    /// Finds the samples at fault, one by one, and keeps the weights as they were before this step.
    fn not_finite(&mut self, what: &'static str, samples: &[T::Sample], pass: u64) -> TrainError {
        if let Err(error) = self.save() {
            tracing::warn!("the last good state was not written: {error}");
        }
        let guilty = |sample: &&T::Sample| !self.is_finite(std::slice::from_ref(*sample), pass).unwrap_or(false);
        let ids = |samples: Vec<&T::Sample>| samples.into_iter().map(|sample| T::id(sample).to_owned()).collect();
        let found: Vec<String> = ids(samples.iter().filter(guilty).collect());
        let alone = !found.is_empty();
        let samples = if alone { found } else { ids(samples.iter().collect()) };
        TrainError::NotFinite { step: self.progress.step, what, samples, alone }
    }

    /// The weights that are used: the average if there is one. On a device without gradients.
    fn published(&self) -> Result<T::Model, RecipeError> {
        let model = match &self.ema {
            Some(ema) => ema.module().clone(),
            None => self.model().valid(),
        };
        Ok(model.for_release(&self.recipe.criterion_at(self.share())?))
    }

    fn evaluate(&mut self) -> Result<EvaluationLine<T::Figures>, TrainError> {
        let limit = self.recipe.validation.as_ref().and_then(|validation| validation.limit);
        let validation = self.validation.as_ref().expect("opened with the recipe's section");
        let mut model = self.published()?;
        model.prepare_inference();
        let figures = self.batches.task().evaluate(&model, validation, limit, &self.plain_device)?;
        let (_, found) = figures.best();
        let best = self.progress.best.is_none_or(|(known, _)| found > known);
        if best {
            self.progress.best = Some((found, self.progress.step));
        }
        let (wall_secs, cpu_secs) = self.clocks();
        let line = EvaluationLine { step: self.progress.step, best, wall_secs, cpu_secs, figures };
        self.last = Some(line.clone());
        if best {
            self.write_weights("best")?;
        }
        Ok(line)
    }

    /// What the weights are said to be trained on; the pictures that name a source are read once.
    fn data(&mut self) -> Result<&[TrainingData], BatchError> {
        if self.data.is_empty() {
            let task = self.batches.task();
            let record = |(index, section): (usize, &DataSection)| {
                let seed = section.source.starts_with("scenes:").then_some(section.seed);
                Ok(TrainingData { source: section.source.clone(), seed, sha256: task.data_hash(index)? })
            };
            self.data = self.recipe.data.iter().enumerate().map(record).collect::<Result<_, BatchError>>()?;
        }
        Ok(&self.data)
    }

    fn write_weights(&mut self, name: &str) -> Result<(), TrainError> {
        let folder = self.out.join(name);
        let data = self.data()?.to_vec();
        let of_this_step = self.last.as_ref().filter(|line| line.step == self.progress.step);
        let figures = of_this_step.and_then(|line| serde_json::to_value(&line.figures).ok());
        let (section, output) = (&self.recipe.model, &self.recipe.output);
        let about = weights::About {
            name: output.name.clone().unwrap_or_else(|| format!("{}-{}", section.system, section.preset)),
            preset: section.preset.clone(),
            classes: self.batches.task().classes().to_vec(),
            licence: output.licence.clone(),
            recipe: self.recipe_text.clone(),
            seed: self.recipe.schedule.seed,
            steps: self.progress.step,
            figures: figures.and_then(|figures| figures.as_object().cloned()).unwrap_or_default(),
            data,
        };
        weights::write_folder(&folder, &self.published()?, &about, self.recipe.output.precision.into())?;
        if !self.written.contains(&folder) {
            self.written.push(folder);
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), TrainError> {
        std::fs::create_dir_all(&self.out).map_err(io_error(&self.out))?;
        (self.progress.wall_secs, self.progress.cpu_secs) = self.clocks();
        self.progress.ema_updates = self.ema.as_ref().map_or(0, Ema::updates);
        let mut state = State::new(self.progress.clone());
        state.put_module("model", self.model());
        if let Some(ema) = &self.ema {
            state.put_module("ema", ema.module());
        }
        self.companion.save(&mut state);
        self.optimizer.moments().for_each(|(name, moments)| state.put_moments(name, moments));
        Ok(state.write(&self.out.join(STATE_FILE))?)
    }

    /// Seconds of wall clock and of processor time, over all parts of the run.
    fn clocks(&self) -> (f64, f64) {
        let cpu = usage::cpu_secs().unwrap_or(0.0) - self.cpu_at_start;
        (self.before.0 + self.started.elapsed().as_secs_f64(), self.before.1 + cpu)
    }

    fn line(&self, window: &Window, lr: f64, first: u64) -> StepLine {
        let (wall_secs, cpu_secs) = self.clocks();
        let step = self.progress.step;
        let left = self.batches.steps().saturating_sub(step) as f64;
        let of_step = self.started.elapsed().as_secs_f64() / (step - first).max(1) as f64;
        let mean = |sum: f64| sum / window.steps.max(1) as f64;
        StepLine {
            step,
            lr,
            loss: mean(window.loss),
            terms: window.terms.iter().map(|(name, sum)| (name.clone(), mean(*sum))).collect(),
            grad_norm: mean(window.grad_norm),
            samples_per_sec: window.samples as f64 / window.secs.max(1e-9),
            waiting: window.waited / window.secs.max(1e-9),
            samples: self.progress.samples,
            left_out: self.progress.left_out,
            wall_secs,
            cpu_secs,
            remaining_secs: left * of_step,
        }
    }
}

impl Window {
    fn add(&mut self, stepped: &Stepped, secs: f64) {
        self.samples += stepped.samples;
        self.secs += secs;
        self.waited += stepped.waited;
        if !stepped.taken {
            return;
        }
        self.steps += 1;
        self.loss += stepped.loss;
        for (name, value) in &stepped.terms {
            *self.terms.entry(name.clone()).or_default() += value;
        }
        self.grad_norm += stepped.grad_norm;
    }
}

/// Sections that only some tasks read.
fn check_sections<T: Task>(recipe: &RecipeOf<T>) -> Result<(), RecipeError> {
    if recipe.attbalance.is_none() || T::SUPERVISES_ATTENTION {
        return Ok(());
    }
    let expected = format!("no such section: {} has no token whose attention is supervised", T::Model::NAME);
    Err(RecipeError::Value { key: "attbalance".into(), found: "there".into(), expected })
}

/// Scalars on the host, in one transfer.
fn read(scalars: Vec<Tensor<1>>) -> Vec<f64> {
    let plain = |scalar: Tensor<1>| if scalar.device().is_autodiff() { scalar.inner() } else { scalar };
    Tensor::cat(scalars.into_iter().map(plain).collect(), 0).into_data().iter::<f64>().collect()
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> TrainError + use<> {
    let path = path.to_owned();
    move |source| TrainError::Io { path, source }
}
