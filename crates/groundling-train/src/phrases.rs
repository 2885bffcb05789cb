//! Training on phrases: one picture, one phrase and what it refers to are a sample.

use std::marker::PhantomData;

use burn::tensor::{Device, Int, Tensor, TensorData};
use groundling_data::examples::{ExampleOptions, Examples, Picture};
use groundling_data::rng::Rng;
use groundling_data::text::wordpiece::WordPiece;
use groundling_models::contract::{Batch, GroundOptions, InputSpec, Losses, SampleTruth, System};

use crate::batches::{BatchError, Turn};
use crate::evaluate::{Evaluation, EvaluationError, evaluate};
use crate::order::{Pictures, Place};
use crate::recipe::{Augmentation, DataSection, Recipe, Stage, ValidationSection};
use crate::sample::{HostSample, SampleMaker};
use crate::task::{ConfigOf, CriterionOf, LossError, RecipeOf, Task};

/// What a source must have.
const WANTED: &str = "phrase of the kind that the recipe asks for; its `targets` may be too narrow";
/// Pictures without a phrase that are passed over in a row before it is an error.
const MOST_EMPTY: usize = 1000;

/// A system that grounds phrases, with what it is trained on.
#[derive(Debug)]
pub struct Phrases<S> {
    sources: Vec<Source>,
    maker: SampleMaker,
    input: InputSpec,
    seed: u64,
    system: PhantomData<fn() -> S>,
}

#[derive(Debug)]
struct Source {
    name: String,
    /// The examples of every stage, then those after the last.
    stages: Vec<Examples>,
}

impl<S: System + 'static> Phrases<S> {
    /// Opens the sources of a recipe for an input of one's own; `masks` are wanted by systems that segment, with erased phrases.
    ///
    /// # Errors
    /// If a source cannot be opened, or the recipe changes pictures in a way that phrases do not allow.
    pub fn open_with(recipe: &RecipeOf<Self>, input: InputSpec, masks: bool) -> Result<Self, BatchError> {
        let expected = "\"none\" or \"grounder\", since other crops lose what phrases speak about";
        recipe.augmentation.check_kind(&[Augmentation::None, Augmentation::Grounder], expected)?;
        let maker = SampleMaker::new(input, WordPiece::bert_base_uncased(), &recipe.augmentation);
        let open = |data: &DataSection| Source::open(data, recipe, masks);
        Ok(Self {
            sources: recipe.data.iter().map(open).collect::<Result<_, _>>()?,
            maker: if masks { maker.with_masks() } else { maker },
            input,
            seed: recipe.schedule.seed,
            system: PhantomData,
        })
    }

    fn sample(&self, picture: &Picture, turn: &Turn) -> Result<HostSample, BatchError> {
        let Turn { source, number, place: Place { picture: index, epoch, phrase }, .. } = *turn;
        let phrases = &picture.about.phrases;
        let mut order: Vec<usize> = (0..phrases.len()).collect();
        Rng::from_parts(&[self.seed, 11, source as u64, index as u64, epoch]).shuffle(&mut order);
        let phrase = &phrases[order[phrase % order.len()]];
        let mut rng = Rng::from_parts(&[self.seed, 12, number]);
        let made = self.maker.make(picture, phrase, &mut rng);
        made.map_err(|error| BatchError::Frame { id: phrase.id.clone(), error })
    }
}

impl<S: System + 'static> Task for Phrases<S> {
    type Model = S;
    type Sample = HostSample;
    type Validation = Examples;
    type Figures = Evaluation;
    type Companion = ();
    const WANTED: &'static str = WANTED;

    fn open(recipe: &RecipeOf<Self>, config: &ConfigOf<Self>) -> Result<Self, BatchError> {
        Self::open_with(recipe, S::input(config), S::SEGMENTS)
    }

    fn pictures(&self, source: usize) -> Pictures {
        let examples = self.sources[source].after_stages();
        match examples.phrase_counts() {
            Some(counts) => Pictures::Files(counts),
            None => Pictures::Generated(examples.len()),
        }
    }

    fn skipped(&self) -> usize {
        self.sources.iter().map(|source| source.after_stages().skipped().len()).sum()
    }

    fn data_hash(&self, source: usize) -> Result<Option<String>, BatchError> {
        let source = &self.sources[source];
        hash_of(&source.name, source.after_stages())
    }

    fn samples(&self, turns: &[Turn]) -> Result<Vec<HostSample>, BatchError> {
        // The picture of the sample before: samples that share one are next to each other.
        let mut last: Option<((usize, usize), Picture)> = None;
        let mut samples = Vec::with_capacity(turns.len());
        for turn in turns {
            let key = (turn.source, turn.place.picture);
            let picture = match last.take() {
                Some((known, picture)) if known == key => picture,
                _ => self.sources[turn.source].picture(turn)?,
            };
            samples.push(self.sample(&picture, turn)?);
            last = Some((key, picture));
        }
        Ok(samples)
    }

    fn id(sample: &HostSample) -> &str {
        &sample.id
    }

    fn companion(&self, _: &Self::Model) {}

    fn losses(
        &self,
        model: &S,
        samples: &[HostSample],
        criterion: &CriterionOf<Self>,
        (): &mut (),
        device: &Device,
    ) -> Result<Losses, LossError> {
        let (batch, truths) = to_device(samples, self.input.side as usize, device);
        Ok(model.losses(&batch, &truths, criterion))
    }

    fn validation(&self, section: &ValidationSection) -> Result<Examples, BatchError> {
        let options = ExampleOptions {
            seed: section.seed,
            targets: section.wanted(),
            masks: S::SEGMENTS,
            ..ExampleOptions::default()
        };
        open_examples(&section.source, &options)
    }

    fn evaluate(
        &self,
        model: &S,
        validation: &Examples,
        limit: Option<usize>,
        device: &Device,
    ) -> Result<Evaluation, EvaluationError> {
        evaluate(model, validation, limit, &GroundOptions::default(), device)
    }

    fn is_main_term(name: &str) -> bool {
        ["l1.", "giou.", "sparse.", "segmentation", "recovery", "contrast"].iter().any(|start| name.starts_with(start))
    }
}

impl Source {
    fn open<C>(data: &DataSection, recipe: &Recipe<C>, masks: bool) -> Result<Self, BatchError> {
        let options = ExampleOptions {
            seed: data.seed,
            scenes: data.scenes(None),
            targets: data.wanted(),
            masks,
            whole_boxes: true,
            ..ExampleOptions::default()
        };
        let examples = open_examples(&data.source, &options)?;
        for skipped in examples.skipped() {
            tracing::debug!("{}: left out: {skipped}", data.source);
        }
        let of_stage = |stage: &Stage| {
            let made = examples.with_scenes(data.scenes(stage.kinds));
            made.map_err(|error| BatchError::Examples { source_name: data.source.clone(), error: Box::new(error) })
        };
        let mut stages = recipe.stage.iter().map(of_stage).collect::<Result<Vec<_>, _>>()?;
        stages.push(examples);
        Ok(Self { name: data.source.clone(), stages })
    }

    fn after_stages(&self) -> &Examples {
        self.stages.last().expect("the examples after the last stage are always there")
    }

    /// A picture with at least one phrase: that of the turn, or the next that has any.
    fn picture(&self, turn: &Turn) -> Result<Picture, BatchError> {
        let examples = &self.stages[turn.stage];
        for ahead in 0..MOST_EMPTY.min(examples.len()) {
            let picture = examples
                .picture((turn.place.picture + ahead) % examples.len())
                .map_err(|error| BatchError::Examples { source_name: self.name.clone(), error: Box::new(error) })?;
            if !picture.about.phrases.is_empty() {
                return Ok(picture);
            }
        }
        Err(BatchError::Nothing { source_name: self.name.clone(), wanted: WANTED })
    }
}

/// The hash of a source's first pictures.
pub(crate) fn hash_of(name: &str, examples: &Examples) -> Result<Option<String>, BatchError> {
    let wrong = |error| BatchError::Examples { source_name: name.to_owned(), error: Box::new(error) };
    groundling::hash::of_examples(examples).map(Some).map_err(wrong)
}

/// Opens a source by its name.
pub(crate) fn open_examples(source: &str, options: &ExampleOptions) -> Result<Examples, BatchError> {
    let wrong = |error| BatchError::Examples { source_name: source.to_owned(), error: Box::new(error) };
    Examples::open(&source.parse()?, options).map_err(wrong)
}

/// Samples as the model reads them, and their truths. Phrases are filled up to the longest.
///
/// # Panics
/// If the pictures are not of `side` by `side` pixels.
pub fn to_device(samples: &[HostSample], side: usize, device: &Device) -> (Batch, Vec<SampleTruth>) {
    let count = samples.len();
    let mut pixels = Vec::with_capacity(count * 3 * side * side);
    samples.iter().for_each(|sample| pixels.extend_from_slice(&sample.pixels));
    let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let rows = |of: &dyn Fn(&HostSample) -> Vec<u32>| {
        let row = |sample: &HostSample| {
            let ids = of(sample);
            let padding = longest.saturating_sub(ids.len());
            ids.into_iter().take(longest).map(i64::from).chain(std::iter::repeat_n(0, padding)).collect::<Vec<_>>()
        };
        let ids: Vec<i64> = samples.iter().flat_map(row).collect();
        Tensor::<2, Int>::from_data(TensorData::new(ids, [count, longest]), device)
    };
    let ids = rows(&|sample| sample.ids.clone());
    // Only neighbours are compared: phrases of one picture stand beside each other.
    let mut same_canvas: Vec<usize> = Vec::with_capacity(count);
    for (index, sample) in samples.iter().enumerate() {
        let known = index.checked_sub(1).filter(|&before| samples[before].pixels == sample.pixels);
        same_canvas.push(known.map_or(index, |before| same_canvas[before]));
    }
    let any_erased = samples.iter().any(|sample| sample.erased.is_some());
    let erased = any_erased.then(|| rows(&|sample| sample.erased.clone().unwrap_or_else(|| sample.ids.clone())));
    let batch = Batch {
        canvases: Tensor::from_data(TensorData::new(pixels, [count, 3, side, side]), device),
        contents: samples.iter().map(|sample| sample.content).collect(),
        ids,
        lengths,
        erased,
        same_canvas,
    };
    (batch, samples.iter().map(|sample| sample.truth.clone()).collect())
}
