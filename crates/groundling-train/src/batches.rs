//! Batches, prepared ahead of the model by threads of their own.
//!
//! The batch of a pass is a pure function of the recipe and the number of the pass: neither the number of threads nor an interruption
//! changes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use burn::tensor::{Device, Int, Tensor, TensorData};
use groundling_core::FrameError;
use groundling_data::DatasetError;
use groundling_data::examples::{ExampleError, ExampleOptions, Examples, Picture};
use groundling_data::rng::Rng;
use groundling_data::text::wordpiece::WordPiece;
use groundling_models::contract::{Batch, InputSpec, SampleTruth};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::order::{Mix, Order, Place};
use crate::recipe::Recipe;
use crate::sample::{HostSample, SampleMaker};
use crate::schedule::total_steps;

/// Batches that a thread prepares ahead.
const AHEAD: usize = 2;
/// Pictures without a phrase that are passed over in a row before it is an error.
const MOST_EMPTY: usize = 1000;

/// All sources of a recipe, in the order of training.
#[derive(Debug)]
pub struct Batches {
    mix: Mix,
    sources: Vec<Source>,
    maker: SampleMaker,
    seed: u64,
    batch: u64,
    accumulation: u64,
    phrases: u64,
    steps: u64,
    /// Ends of the stages, as steps.
    stages: Vec<u64>,
}

#[derive(Debug)]
struct Source {
    name: String,
    /// The examples of every stage, then those after the last.
    stages: Vec<Examples>,
    order: Order,
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
    /// A source has no phrase of the wanted kind.
    #[error("{source_name}: no phrase of the kind that the recipe asks for; its `targets` may be too narrow")]
    Nothing {
        /// The source.
        source_name: String,
    },
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

/// A batch on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostBatch {
    /// Its samples.
    pub samples: Vec<HostSample>,
}

impl HostBatch {
    /// The batch as the model reads it, and its truths.
    pub fn to_device(&self, side: usize, device: &Device) -> (Batch, Vec<SampleTruth>) {
        let count = self.samples.len();
        let mut pixels = Vec::with_capacity(count * 3 * side * side);
        self.samples.iter().for_each(|sample| pixels.extend_from_slice(&sample.pixels));
        let lengths: Vec<usize> = self.samples.iter().map(|sample| sample.ids.len()).collect();
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let rows = |of: &dyn Fn(&HostSample) -> Vec<u32>| {
            let row = |sample: &HostSample| {
                let ids = of(sample);
                let padding = longest.saturating_sub(ids.len());
                ids.into_iter().take(longest).map(i64::from).chain(std::iter::repeat_n(0, padding)).collect::<Vec<_>>()
            };
            let ids: Vec<i64> = self.samples.iter().flat_map(row).collect();
            Tensor::<2, Int>::from_data(TensorData::new(ids, [count, longest]), device)
        };
        let ids = rows(&|sample| sample.ids.clone());
        let any_erased = self.samples.iter().any(|sample| sample.erased.is_some());
        let erased = any_erased.then(|| rows(&|sample| sample.erased.clone().unwrap_or_else(|| sample.ids.clone())));
        let batch = Batch {
            canvases: Tensor::from_data(TensorData::new(pixels, [count, 3, side, side]), device),
            contents: self.samples.iter().map(|sample| sample.content).collect(),
            ids,
            lengths,
            erased,
        };
        (batch, self.samples.iter().map(|sample| sample.truth.clone()).collect())
    }

    /// The ids of its samples.
    pub fn ids(&self) -> Vec<String> {
        self.samples.iter().map(|sample| sample.id.clone()).collect()
    }
}

impl Batches {
    /// Opens the sources of a recipe.
    ///
    /// # Errors
    /// If a source cannot be opened or has nothing of what is wanted.
    pub fn open<C>(recipe: &Recipe<C>, input: InputSpec) -> Result<Self, BatchError>
    where
        C: Serialize + DeserializeOwned + Default + Clone,
    {
        Self::opened(recipe, input, false)
    }

    /// As [`Batches::open`], with masks and erased phrases: for systems that segment.
    ///
    /// # Errors
    /// As [`Batches::open`].
    pub fn open_with_masks<C>(recipe: &Recipe<C>, input: InputSpec) -> Result<Self, BatchError>
    where
        C: Serialize + DeserializeOwned + Default + Clone,
    {
        Self::opened(recipe, input, true)
    }

    fn opened<C>(recipe: &Recipe<C>, input: InputSpec, masks: bool) -> Result<Self, BatchError>
    where
        C: Serialize + DeserializeOwned + Default + Clone,
    {
        let maker = SampleMaker::new(input, WordPiece::bert_base_uncased(), &recipe.augmentation);
        let s = &recipe.schedule;
        let mut sources = Vec::new();
        for (index, data) in recipe.data.iter().enumerate() {
            let wrong = |error| BatchError::Examples { source_name: data.source.clone(), error: Box::new(error) };
            let options = ExampleOptions {
                seed: data.seed,
                scenes: data.scenes(None),
                targets: data.wanted(),
                masks,
                whole_boxes: true,
                ..ExampleOptions::default()
            };
            let examples = Examples::open(&data.source.parse()?, &options).map_err(wrong)?;
            for skipped in examples.skipped() {
                tracing::debug!("{}: left out: {skipped}", data.source);
            }
            let of_stage = |stage: &crate::recipe::Stage| examples.with_scenes(data.scenes(stage.kinds)).map_err(wrong);
            let mut stages = recipe.stage.iter().map(of_stage).collect::<Result<Vec<_>, _>>()?;
            let order = Order::new(&examples, s.phrases_per_picture, mixed(&[s.seed, 10, index as u64]));
            stages.push(examples);
            if order.samples() == 0 {
                return Err(BatchError::Nothing { source_name: data.source.clone() });
            }
            sources.push(Source { name: data.source.clone(), stages, order });
        }
        let samples = sources.iter().map(|source| source.order.samples()).sum();
        let steps = total_steps(s, samples);
        let weights: Vec<f64> = recipe.data.iter().map(|data| data.weight).collect();
        Ok(Self {
            mix: Mix::new(&weights, s.seed),
            sources,
            maker: if masks { maker.with_masks() } else { maker },
            seed: s.seed,
            batch: s.batch as u64,
            accumulation: s.accumulation as u64,
            phrases: s.phrases_per_picture as u64,
            steps,
            stages: recipe.stage.iter().map(|stage| (stage.until * steps as f64).round() as u64).collect(),
        })
    }

    /// Steps of the run.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Names of the classes of each source's objects, by the name of the source.
    pub fn classes(&self) -> BTreeMap<String, Vec<String>> {
        let of = |source: &Source| Some((source.name.clone(), source.stages.last()?.classes().to_vec()));
        self.sources.iter().filter_map(of).collect()
    }

    /// Phrases that were left out because something is wrong with them, over all sources.
    pub fn skipped(&self) -> usize {
        self.sources.iter().filter_map(|source| source.stages.last()).map(|examples| examples.skipped().len()).sum()
    }

    /// The batch of a pass; passes are counted from 0 over the whole run, `accumulation` of them to a step.
    ///
    /// # Errors
    /// If a picture cannot be read or placed.
    pub fn batch(&self, pass: u64) -> Result<HostBatch, BatchError> {
        let step = pass / self.accumulation;
        let stage = self.stages.iter().position(|&end| step < end).unwrap_or(self.stages.len());
        // The picture of the sample before: samples that share one are next to each other.
        let mut last: Option<((usize, usize), Picture)> = None;
        let mut samples = Vec::with_capacity(self.batch as usize);
        for number in pass * self.batch..(pass + 1) * self.batch {
            let (source_index, group) = self.mix.group(number / self.phrases);
            let source = &self.sources[source_index];
            let place = source.order.place(group * self.phrases + number % self.phrases);
            let key = (source_index, place.picture);
            let picture = match last.take() {
                Some((known, picture)) if known == key => picture,
                _ => source.picture(&source.stages[stage], place.picture)?,
            };
            let sample = self.sample(&picture, place, source_index, number)?;
            samples.push(sample);
            last = Some((key, picture));
        }
        Ok(HostBatch { samples })
    }

    fn sample(&self, picture: &Picture, place: Place, source: usize, number: u64) -> Result<HostSample, BatchError> {
        let phrases = &picture.about.phrases;
        let mut order: Vec<usize> = (0..phrases.len()).collect();
        let parts = [self.seed, 11, source as u64, place.picture as u64, place.epoch];
        Rng::from_parts(&parts).shuffle(&mut order);
        let phrase = &phrases[order[place.phrase % order.len()]];
        let mut rng = Rng::from_parts(&[self.seed, 12, number]);
        let made = self.maker.make(picture, phrase, &mut rng);
        made.map_err(|error| BatchError::Frame { id: phrase.id.clone(), error })
    }

    /// Batches from a pass on, to the end of the run, prepared by threads.
    pub fn stream(self: &Arc<Self>, first: u64, workers: usize) -> BatchStream {
        let end = self.steps * self.accumulation;
        let worker = |index: usize| {
            let (sender, receiver) = sync_channel(AHEAD);
            let batches = Arc::clone(self);
            let work = move || {
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

impl Source {
    /// A picture with at least one phrase: this one, or the next that has any.
    fn picture(&self, examples: &Examples, index: usize) -> Result<Picture, BatchError> {
        for ahead in 0..MOST_EMPTY.min(examples.len()) {
            let picture = examples
                .picture((index + ahead) % examples.len())
                .map_err(|error| BatchError::Examples { source_name: self.name.clone(), error: Box::new(error) })?;
            if !picture.about.phrases.is_empty() {
                return Ok(picture);
            }
        }
        Err(BatchError::Nothing { source_name: self.name.clone() })
    }
}

/// Batches in order.
#[derive(Debug)]
pub struct BatchStream {
    receivers: Vec<Receiver<Result<HostBatch, BatchError>>>,
    threads: Vec<Option<JoinHandle<()>>>,
    next: usize,
}

/// The next batch; waits for it if need be. `None` after the last of the run, or if a thread has panicked.
impl Iterator for BatchStream {
    type Item = Result<HostBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        let receiver = &self.receivers[self.next];
        self.next = (self.next + 1) % self.receivers.len();
        receiver.recv().ok()
    }
}

impl Drop for BatchStream {
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
