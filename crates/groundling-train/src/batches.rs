//! Batches, prepared ahead of the model by threads of their own.
//!
//! The batch of a pass is a pure function of the recipe and the number of the pass: neither the number of threads nor an interruption
//! changes it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use groundling_core::FrameError;
use groundling_data::DatasetError;
use groundling_data::examples::ExampleError;
use groundling_data::rng::Rng;

use crate::order::{Mix, Order, Place};
use crate::recipe::RecipeError;
use crate::schedule::total_steps;
use crate::task::{ConfigOf, RecipeOf, Task};

/// Batches that a thread prepares ahead.
const AHEAD: usize = 2;

/// The batches of a run.
#[derive(Debug)]
pub struct Batches<T> {
    task: T,
    mix: Mix,
    orders: Vec<Order>,
    batch: u64,
    accumulation: u64,
    /// Consecutive samples of a picture.
    group: u64,
    steps: u64,
    /// Ends of the stages, as steps.
    stages: Vec<u64>,
}

/// A sample that is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Which source, by its place in the recipe.
    pub source: usize,
    /// Which stage of the recipe; as many as there are stages after the last.
    pub stage: usize,
    /// Its number over the whole run.
    pub number: u64,
    /// Where in the source it comes from.
    pub place: Place,
}

/// Why a batch cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The source cannot be read.
    #[error("{source_name}: {error}")]
    Examples {
        /// The source.
        source_name: String,
        /// What is wrong.
        #[source]
        error: Box<ExampleError>,
    },
    /// The name of a source cannot be read.
    #[error(transparent)]
    Name(#[from] DatasetError),
    /// A source has nothing of the wanted kind.
    #[error("{source_name}: no {wanted}")]
    Nothing {
        /// The source.
        source_name: String,
        /// What it should have.
        wanted: &'static str,
    },
    /// The recipe does not go with its sources.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A picture cannot be placed in the canvas.
    #[error("{id}: {error}")]
    Frame {
        /// The sample.
        id: String,
        /// What is wrong.
        #[source]
        error: FrameError,
    },
    /// A thread that prepares batches is gone.
    #[error("a thread that prepares batches ended early")]
    Gone,
}

impl<T: Task> Batches<T> {
    /// Opens the sources of a recipe.
    ///
    /// # Errors
    /// If a source cannot be opened or has nothing of what is wanted.
    pub fn open(recipe: &RecipeOf<T>, config: &ConfigOf<T>) -> Result<Self, BatchError> {
        Self::of(T::open(recipe, config)?, recipe)
    }

    /// The batches of a task that is open.
    ///
    /// # Errors
    /// If a source has nothing of what is wanted.
    pub fn of(task: T, recipe: &RecipeOf<T>) -> Result<Self, BatchError> {
        let s = &recipe.schedule;
        let mut orders = Vec::new();
        for (index, data) in recipe.data.iter().enumerate() {
            let seed = mixed(&[s.seed, 10, index as u64]);
            let order = Order::new(task.pictures(index), s.phrases_per_picture, seed);
            if order.samples() == 0 {
                return Err(BatchError::Nothing { source_name: data.source.clone(), wanted: T::WANTED });
            }
            orders.push(order);
        }
        let steps = total_steps(s, orders.iter().map(Order::samples).sum());
        let weights: Vec<f64> = recipe.data.iter().map(|data| data.weight).collect();
        Ok(Self {
            task,
            mix: Mix::new(&weights, s.seed),
            orders,
            batch: s.batch as u64,
            accumulation: s.accumulation as u64,
            group: s.phrases_per_picture as u64,
            steps,
            stages: recipe.stage.iter().map(|stage| (stage.until * steps as f64).round() as u64).collect(),
        })
    }

    /// What makes the samples.
    pub fn task(&self) -> &T {
        &self.task
    }

    /// Steps of the run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The samples of a pass; passes are counted from 0 over the whole run, `accumulation` of them to a step.
    ///
    /// # Errors
    /// If a picture cannot be read or placed.
    pub fn batch(&self, pass: u64) -> Result<Vec<T::Sample>, BatchError> {
        let step = pass / self.accumulation;
        let stage = self.stages.iter().position(|&end| step < end).unwrap_or(self.stages.len());
        let turn = |number: u64| {
            let (source, group) = self.mix.group(number / self.group);
            let place = self.orders[source].place(group * self.group + number % self.group);
            Turn { source, stage, number, place }
        };
        let turns: Vec<Turn> = (pass * self.batch..(pass + 1) * self.batch).map(turn).collect();
        self.task.samples(&turns)
    }

    /// Batches from a pass on, to the end of the run, prepared by threads.
    pub fn stream(self: &Arc<Self>, first: u64, workers: usize) -> BatchStream<T> {
        let end = self.steps * self.accumulation;
        let worker = |index: usize| {
            let (sender, receiver) = sync_channel(AHEAD);
            let batches = Arc::clone(self);
            let work = move || {
                // Its own, not the pool of the run: the run waits here for a batch, and may be the only thread of that pool.
                let alone = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build();
                debug_assert!(alone.is_ok(), "a new thread belongs to no pool: {alone:?}");
                for pass in (first + index as u64..end).step_by(workers) {
                    // Nobody listens any more: the run has ended.
                    if sender.send(batches.batch(pass)).is_err() {
                        return;
                    }
                }
            };
            let name = format!("batches-{index}");
            let thread = std::thread::Builder::new().name(name).spawn(work);
            (receiver, thread.ok())
        };
        let (receivers, threads) = (0..workers.max(1)).map(worker).unzip();
        BatchStream { receivers, threads, next: 0 }
    }
}

/// Batches in order.
#[derive(Debug)]
pub struct BatchStream<T: Task> {
    receivers: Vec<Receiver<Result<Vec<T::Sample>, BatchError>>>,
    threads: Vec<Option<JoinHandle<()>>>,
    next: usize,
}

/// The next batch; waits for it if need be. `None` after the last of the run, or if a thread has panicked.
impl<T: Task> Iterator for BatchStream<T> {
    type Item = Result<Vec<T::Sample>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let receiver = &self.receivers[self.next];
        self.next = (self.next + 1) % self.receivers.len();
        receiver.recv().ok()
    }
}

impl<T: Task> Drop for BatchStream<T> {
    fn drop(&mut self) {
        self.receivers.clear();
        for thread in self.threads.drain(..).flatten() {
            // A panic of the thread has shown itself as a missing batch.
            let _ = thread.join();
        }
    }
}

/// One number of several.
pub(crate) fn mixed(parts: &[u64]) -> u64 {
    Rng::from_parts(parts).next_u64()
}
