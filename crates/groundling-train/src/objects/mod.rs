//! Training on objects: a picture with all objects of known classes is a sample.

mod evaluate;
mod sample;

use burn::tensor::{Device, Tensor, TensorData};
use groundling::{DetectOptions, Detector, Settings};
use groundling_core::{ImageSize, ModelIdentity};
use groundling_data::examples::{About, ExampleOptions, Examples, Targets};
use groundling_data::rng::Rng;
use groundling_data::scenes::SceneConfig;
use groundling_models::contract::{Losses, Trainable};
use groundling_models::focus_detr::{Criterion, FocusDetr, FocusDetrConfig, Target};

use crate::batches::{BatchError, Turn};
use crate::evaluate::EvaluationError;
use crate::names::{listed, numbered, only_known};
use crate::order::Pictures;
use crate::phrases::{hash_of, open_examples};
use crate::recipe::{DataSection, Recipe, RecipeError, ValidationSection};
use crate::task::{LossError, Task};

pub use evaluate::{AreaFigures, ObjectFigures, ObjectScorer};
pub use sample::{ObjectMaker, ObjectSample, whole_objects};

/// What a source must have.
const WANTED: &str = "picture with an object that is no crowd and has an area";

/// A detector with what it is trained on.
#[derive(Debug)]
pub struct Objects {
    sources: Vec<Source>,
    classes: Vec<String>,
    maker: ObjectMaker,
    seed: u64,
}

#[derive(Debug)]
struct Source {
    name: String,
    examples: Examples,
    /// The class of the model for each of the source's.
    class_of: Vec<usize>,
    /// Which pictures have objects, where that is known beforehand.
    pictures: Pictures,
}

impl Task for Objects {
    type Model = FocusDetr;
    type Sample = ObjectSample;
    type Validation = Examples;
    type Figures = ObjectFigures;
    type Companion = ();
    const WANTED: &'static str = WANTED;

    fn open(recipe: &Recipe<Criterion>, config: &FocusDetrConfig) -> Result<Self, BatchError> {
        let bad = |key: &str, found: String, expected: &str| RecipeError::Value {
            key: key.to_owned(),
            found,
            expected: expected.to_owned(),
        };
        let of_picture = recipe.schedule.phrases_per_picture;
        if of_picture != 1 {
            let expected = "1: a picture of a detector is one sample";
            return Err(bad("schedule.phrases_per_picture", of_picture.to_string(), expected).into());
        }
        let maker = ObjectMaker::new(config.input, &recipe.augmentation)?;
        let mut classes: Vec<String> = Vec::new();
        let mut sources = Vec::new();
        for data in &recipe.data {
            sources.push(Source::open(data, &mut classes)?);
        }
        if classes.len() != config.classes {
            let expected = format!("{}, the classes of the data: {}", classes.len(), listed(&classes));
            return Err(bad("model.config.classes", config.classes.to_string(), &expected).into());
        }
        Ok(Self { sources, classes, maker, seed: recipe.schedule.seed })
    }

    fn pictures(&self, source: usize) -> Pictures {
        self.sources[source].pictures.clone()
    }

    fn skipped(&self) -> usize {
        let empty = |source: &Source| match &source.pictures {
            Pictures::Files(counts) => counts.iter().filter(|&&count| count == 0).count(),
            Pictures::Generated(_) => 0,
        };
        self.sources.iter().map(empty).sum()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn data_hash(&self, source: usize) -> Result<Option<String>, BatchError> {
        let source = &self.sources[source];
        hash_of(&source.name, &source.examples)
    }

    fn samples(&self, turns: &[Turn]) -> Result<Vec<ObjectSample>, BatchError> {
        let sample = |turn: &Turn| {
            let Source { name, examples, class_of, .. } = &self.sources[turn.source];
            let wrong = |error| BatchError::Examples { source_name: name.clone(), error: Box::new(error) };
            let picture = examples.picture(turn.place.picture).map_err(wrong)?;
            let mut rng = Rng::from_parts(&[self.seed, 13, turn.number]);
            let id = picture.about.file_name.clone();
            self.maker.make(picture, class_of, &mut rng).map_err(|error| BatchError::Frame { id, error })
        };
        turns.iter().map(sample).collect()
    }

    fn id(sample: &ObjectSample) -> &str {
        &sample.id
    }

    fn companion(&self, _: &Self::Model) {}

    fn losses(
        &self,
        model: &FocusDetr,
        samples: &[ObjectSample],
        criterion: &Criterion,
        (): &mut (),
        device: &Device,
    ) -> Result<Losses, LossError> {
        let (canvas, contents) = to_device(samples, device);
        let targets: Vec<Target> = samples.iter().map(|sample| sample.target.clone()).collect();
        let losses = model.losses(canvas, &contents, &targets, criterion)?;
        let terms = losses.terms.into_iter().map(|term| (term.name, term.value)).collect();
        Ok(Losses { total: losses.total, terms })
    }

    fn validation(&self, section: &ValidationSection) -> Result<Examples, BatchError> {
        let scenes = SceneConfig { min_expressions: 0, max_expressions: 0, ..SceneConfig::default() };
        let examples = open_examples(&section.source, &options(section.seed, scenes))?;
        only_known(&section.source, examples.classes(), &self.classes)?;
        Ok(examples)
    }

    fn evaluate(
        &self,
        model: &FocusDetr,
        validation: &Examples,
        limit: Option<usize>,
        _: &Device,
    ) -> Result<ObjectFigures, EvaluationError> {
        let identity = ModelIdentity { name: FocusDetr::NAME.to_owned(), hash: String::new() };
        let detector = Detector::from_model(model.clone(), self.classes.clone(), identity, Settings::default())?;
        ObjectScorer::new(&detector, validation)?.score(limit, &DetectOptions::default())
    }

    fn is_main_term(name: &str) -> bool {
        ["loss_class", "loss_bbox", "loss_giou", "select_loss", "attention_loss"].contains(&name)
    }
}

impl Source {
    /// Opens a source; classes that were not known yet are added.
    fn open(data: &DataSection, classes: &mut Vec<String>) -> Result<Self, BatchError> {
        let scenes = SceneConfig { min_expressions: 0, max_expressions: 0, ..data.scenes(None) };
        let examples = open_examples(&data.source, &options(data.seed, scenes))?;
        let class_of = numbered(examples.classes(), classes);
        let pictures = match examples.phrase_counts() {
            None => Pictures::Generated(examples.len()),
            Some(_) => {
                let has_objects = |index| examples.about(index).map(|about: About| whole_objects(&about).count());
                let counts: Result<Vec<usize>, _> = (0..examples.len()).map(has_objects).collect();
                let wrong = |error| BatchError::Examples { source_name: data.source.clone(), error: Box::new(error) };
                Pictures::Files(counts.map_err(wrong)?.into_iter().map(|count| count.min(1)).collect())
            }
        };
        Ok(Self { name: data.source.clone(), examples, class_of, pictures })
    }
}

/// Pictures with their objects, whatever is said about them.
fn options(seed: u64, scenes: SceneConfig) -> ExampleOptions {
    ExampleOptions { seed, scenes, targets: Targets::ALL, masks: false, ..ExampleOptions::default() }
}

/// Pictures as the model reads them, filled up right and below to the largest, and their sizes.
pub fn to_device(samples: &[ObjectSample], device: &Device) -> (Tensor<4>, Vec<ImageSize>) {
    let contents: Vec<ImageSize> = samples.iter().map(|sample| sample.size).collect();
    let height = contents.iter().map(|size| size.height() as usize).max().unwrap_or(0);
    let width = contents.iter().map(|size| size.width() as usize).max().unwrap_or(0);
    let mut pixels = vec![0.0f32; samples.len() * 3 * height * width];
    for (sample, canvas) in samples.iter().zip(pixels.chunks_exact_mut((3 * height * width).max(1))) {
        let (rows, columns) = (sample.size.height() as usize, sample.size.width() as usize);
        for (line, values) in sample.pixels.chunks_exact(columns).enumerate() {
            let (channel, row) = (line / rows, line % rows);
            canvas[(channel * height + row) * width..][..columns].copy_from_slice(values);
        }
    }
    (Tensor::from_data(TensorData::new(pixels, [samples.len(), 3, height, width]), device), contents)
}
