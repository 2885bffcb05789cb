//! Training on classes: a picture and its class are a sample.
//!
//! Scenes give a picture for each of their objects; `schedule.phrases_per_picture` says how many of one scene follow each other. Pictures of a
//! pass are mixed with each other here, on the host, so that a batch is a pure function of the recipe and the number of the pass.

mod evaluate;
mod sample;

use burn::tensor::{Device, Tensor, TensorData};
use groundling::{Classifier, Settings};
use groundling_core::ModelIdentity;
use groundling_data::image::classify::Mixing;
use groundling_data::labelled::{ClassExamples, ClassPicture};
use groundling_data::rng::Rng;
use groundling_data::scenes::SceneConfig;
use groundling_models::contract::{Losses, Trainable};
use groundling_models::scalablevit::{Criterion, ScalableVit, ScalableVitConfig};

use crate::batches::{BatchError, Turn};
use crate::evaluate::EvaluationError;
use crate::names::{listed, numbered, only_known};
use crate::order::{Pictures, Place};
use crate::recipe::{Recipe, RecipeError, ValidationSection};
use crate::task::{LossError, Task};

pub use evaluate::{ClassAnswer, ClassFigures, ClassScorer};
pub use sample::{ClassMaker, ClassSample};

/// What a source must have.
const WANTED: &str = "picture of a class";

/// A classifier with what it is trained on.
#[derive(Debug)]
pub struct Classes {
    sources: Vec<Source>,
    classes: Vec<String>,
    maker: ClassMaker,
    /// How often a pass is mixed.
    mixing: f64,
    side: usize,
    seed: u64,
}

#[derive(Debug)]
struct Source {
    name: String,
    examples: ClassExamples,
    /// The class of the model for each of the source's.
    class_of: Vec<usize>,
}

impl Task for Classes {
    type Model = ScalableVit;
    type Sample = ClassSample;
    type Validation = ClassExamples;
    type Figures = ClassFigures;
    type Companion = ();
    const WANTED: &'static str = WANTED;

    fn open(recipe: &Recipe<Criterion>, config: &ScalableVitConfig) -> Result<Self, BatchError> {
        let maker = ClassMaker::new(config.side as u32, &recipe.augmentation)?;
        let mut classes: Vec<String> = Vec::new();
        let mut sources = Vec::new();
        for data in &recipe.data {
            let examples = open(&data.source, data.seed, &data.scenes(None))?;
            let class_of = numbered(examples.classes(), &mut classes);
            sources.push(Source { name: data.source.clone(), examples, class_of });
        }
        let found = config.head.map_or(0, |head| head.classes);
        if classes.len() != found {
            let expected = format!("{}, the classes of the data: {}", classes.len(), listed(&classes));
            let key = "model.config.head.classes".to_owned();
            return Err(RecipeError::Value { key, found: found.to_string(), expected }.into());
        }
        let mixing = maker.mixing();
        Ok(Self { sources, classes, maker, mixing, side: config.side, seed: recipe.schedule.seed })
    }

    fn pictures(&self, source: usize) -> Pictures {
        let examples = &self.sources[source].examples;
        let count = examples.len();
        if examples.is_generated() { Pictures::Generated(count) } else { Pictures::Files(vec![1; count]) }
    }

    fn skipped(&self) -> usize {
        0
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn samples(&self, turns: &[Turn]) -> Result<Vec<ClassSample>, BatchError> {
        // The pictures of the sample before: samples of one scene are next to each other.
        let mut last: Option<((usize, usize), Vec<ClassPicture>)> = None;
        let (mut pixels, mut labels, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for turn in turns {
            let key = (turn.source, turn.place.picture);
            let pictures = match last.take() {
                Some((known, pictures)) if known == key => pictures,
                _ => self.sources[turn.source].pictures(turn.place.picture)?,
            };
            let picture = self.chosen(&pictures, turn)?;
            let mut rng = Rng::from_parts(&[self.seed, 14, turn.number]);
            pixels.extend(self.maker.make(&picture.image, &mut rng));
            labels.push(self.sources[turn.source].class_of[picture.class]);
            ids.push(picture.name.clone());
            last = Some((key, pictures));
        }
        let mixing = self.mixing_of(turns);
        mixing.apply(&mut pixels, self.side, self.side);
        let wanted = mixing.targets(&labels, self.classes.len(), 0.0);
        let pixels = pixels.chunks_exact(3 * self.side * self.side).map(<[f32]>::to_vec);
        let wanted = wanted.chunks_exact(self.classes.len()).map(<[f32]>::to_vec);
        let sample = |((id, pixels), wanted)| ClassSample { id, pixels, wanted };
        Ok(ids.into_iter().zip(pixels).zip(wanted).map(sample).collect())
    }

    fn id(sample: &ClassSample) -> &str {
        &sample.id
    }

    fn companion(&self, _: &ScalableVit) {}

    fn losses(
        &self,
        model: &ScalableVit,
        samples: &[ClassSample],
        criterion: &Criterion,
        (): &mut (),
        device: &Device,
    ) -> Result<Losses, LossError> {
        let rows = |of: fn(&ClassSample) -> &[f32]| samples.iter().flat_map(of).copied().collect::<Vec<f32>>();
        let (count, side) = (samples.len(), self.side);
        let pixels = TensorData::new(rows(|sample| &sample.pixels), [count, 3, side, side]);
        let wanted = TensorData::new(rows(|sample| &sample.wanted), [count, self.classes.len()]);
        let (pixels, wanted) = (Tensor::from_data(pixels, device), Tensor::from_data(wanted, device));
        Ok(model.losses(pixels, wanted, criterion)?)
    }

    fn validation(&self, section: &ValidationSection) -> Result<ClassExamples, BatchError> {
        let examples = open(&section.source, section.seed, &SceneConfig::default())?;
        only_known(&section.source, examples.classes(), &self.classes)?;
        Ok(examples)
    }

    fn evaluate(
        &self,
        model: &ScalableVit,
        validation: &ClassExamples,
        limit: Option<usize>,
        _: &Device,
    ) -> Result<ClassFigures, EvaluationError> {
        let identity = ModelIdentity { name: ScalableVit::NAME.to_owned(), hash: String::new() };
        let classifier = Classifier::from_model(model.clone(), self.classes.clone(), identity, Settings::default())?;
        ClassScorer::new(&classifier, validation)?.score(limit)
    }

    /// The loss has one term.
    fn is_main_term(_: &str) -> bool {
        false
    }
}

impl Classes {
    /// Which of the pictures that were read or made together a turn is about: their order differs from epoch to epoch.
    fn chosen<'a>(&self, pictures: &'a [ClassPicture], turn: &Turn) -> Result<&'a ClassPicture, BatchError> {
        let Place { picture, epoch, phrase } = turn.place;
        let mut order: Vec<usize> = (0..pictures.len()).collect();
        Rng::from_parts(&[self.seed, 11, turn.source as u64, picture as u64, epoch]).shuffle(&mut order);
        let chosen = order.get(phrase % order.len().max(1)).map(|&index| &pictures[index]);
        let source_name = || self.sources[turn.source].name.clone();
        chosen.ok_or_else(|| BatchError::Nothing { source_name: source_name(), wanted: WANTED })
    }

    /// How a pass is mixed: one draw for all of it.
    fn mixing_of(&self, turns: &[Turn]) -> Mixing {
        let Some(first) = turns.first() else { return Mixing::Alone };
        let mut rng = Rng::from_parts(&[self.seed, 15, first.number]);
        if rng.chance(self.mixing) { Mixing::draw(self.side, self.side, &mut rng) } else { Mixing::Alone }
    }
}

impl Source {
    fn pictures(&self, index: usize) -> Result<Vec<ClassPicture>, BatchError> {
        let wrong = |error| BatchError::Examples { source_name: self.name.clone(), error: Box::new(error) };
        self.examples.pictures(index).map_err(wrong)
    }
}

/// Opens a source by its name.
fn open(source: &str, seed: u64, scenes: &SceneConfig) -> Result<ClassExamples, BatchError> {
    let wrong = |error| BatchError::Examples { source_name: source.to_owned(), error: Box::new(error) };
    ClassExamples::open(&source.parse()?, seed, scenes).map_err(wrong)
}
