//! A system small enough to train in a test: block means of the picture and a mean of word vectors, through one layer, to a box.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Distribution, Int, Tensor, TensorData, activation};
use groundling_core::{BoxCxcywh, ContentRect};
use groundling_models::contract::{
    Batch, ConfigError, Fit, GroundOptions, Grounded, GroundedTarget, InputSpec, Layout, Losses, OptionError,
    ParameterGroup, Resample, SampleTruth, System, Trainable,
};
use groundling_nn::layers::{Dense, PrepareInference};
use groundling_train::phrases::Phrases;
use groundling_train::recipe::Recipe;
use groundling_train::run::{Job, Resume};
use serde::{Deserialize, Serialize};

const WORDS: usize = 64;
const WIDTH: usize = 8;
const GRID: usize = 4;

#[derive(Module, Debug)]
pub(crate) struct Toy {
    words: Param<Tensor<2>>,
    layer: Dense,
    #[module(skip)]
    config: Config,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) side: usize,
    pub(crate) max_ids: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Criterion {
    pub(crate) lambda: f64,
    /// Samples whose box has its centre right of here have a loss that is no number.
    pub(crate) poison: f64,
    /// Noise on the predictions, from the device's generator.
    pub(crate) noise: f64,
}

impl Default for Criterion {
    fn default() -> Self {
        Self { lambda: 1.0, poison: 2.0, noise: 0.0 }
    }
}

impl Toy {
    fn forward(&self, canvases: Tensor<4>, ids: &[Vec<u32>]) -> Tensor<2> {
        let [b, c, h, _] = canvases.dims();
        let block = h / GRID;
        let blocks: Tensor<4> =
            canvases.reshape([b * c * GRID, block, GRID, block]).mean_dim(1).mean_dim(3).reshape([b, c, GRID, GRID]);
        let visual: Tensor<2> = blocks.reshape([b, c * GRID * GRID]);
        let words: Vec<Tensor<2>> = ids
            .iter()
            .map(|ids| {
                let rows: Vec<i64> = ids.iter().map(|&id| i64::from(id) % WORDS as i64).collect();
                let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [ids.len()]), &visual.device());
                self.words.val().select(0, rows).mean_dim(0)
            })
            .collect();
        activation::sigmoid(self.layer.forward(Tensor::cat(vec![visual, Tensor::cat(words, 0)], 1)))
    }
}

impl PrepareInference for Toy {
    fn prepare_inference(&mut self) {
        self.layer.prepare_inference();
    }
}

impl Trainable for Toy {
    const NAME: &'static str = "toy";
    type Config = Config;
    type Criterion = Criterion;

    fn init(config: &Config, device: &Device) -> Result<Self, ConfigError> {
        let words = Initializer::Normal { mean: 0.0, std: 0.1 }.init([WORDS, WIDTH], device);
        Ok(Self { words, layer: Dense::new(3 * GRID * GRID + WIDTH, 4, device), config: config.clone() })
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn layouts(_: &Config) -> Vec<Layout> {
        Vec::new()
    }

    fn parameter_group(name: &str) -> ParameterGroup {
        if name.starts_with("words") { ParameterGroup::New } else { ParameterGroup::Base }
    }
}

impl System for Toy {
    type Phrase = Vec<u32>;
    type View = Tensor<4>;

    fn input(config: &Config) -> InputSpec {
        InputSpec {
            side: config.side as u32,
            fit: Fit::LetterboxCorner,
            resample: Resample::Bilinear,
            mean: [0.5; 3],
            std: [0.5; 3],
            max_ids: config.max_ids,
            vocabulary: 30522,
        }
    }

    fn losses(&self, batch: &Batch, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
        let device = self.words.val().device();
        let ids: Vec<Vec<u32>> = batch
            .ids
            .clone()
            .into_data()
            .iter::<i64>()
            .map(|id| id as u32)
            .collect::<Vec<_>>()
            .chunks(batch.ids.dims()[1])
            .zip(&batch.lengths)
            .map(|(row, &length)| row[..length].to_vec())
            .collect();
        let boxes = self.forward(batch.canvases.clone(), &ids);
        let noise = Tensor::random(boxes.dims(), Distribution::Normal(0.0, 1.0), &device).mul_scalar(criterion.noise);
        let rows = truths.iter().map(|truth| truth.bbox.unwrap());
        let weights: Vec<f32> =
            rows.clone().map(|bbox| if bbox.cx > criterion.poison { f32::NAN } else { 1.0 }).collect();
        let targets: Vec<f32> = rows.flat_map(BoxCxcywh::to_array).map(|value| value as f32).collect();
        let targets = Tensor::<2>::from_data(TensorData::new(targets, [truths.len(), 4]), &device);
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [truths.len(), 1]), &device);
        let l1 = ((boxes + noise - targets).abs() * weights).sum_dim(1).mean();
        Losses { total: l1.clone() * criterion.lambda, terms: vec![("l1".to_owned(), l1.inner())] }
    }

    fn read_phrase(&self, ids: &[u32]) -> Vec<u32> {
        ids.to_vec()
    }

    fn read_canvas(&self, canvas: Tensor<4>, _: ContentRect) -> Tensor<4> {
        canvas
    }

    fn ground(&self, phrase: &Vec<u32>, view: &Tensor<4>, _: &GroundOptions) -> Result<Grounded, OptionError> {
        let found: Vec<f64> =
            self.forward(view.clone(), std::slice::from_ref(phrase)).into_data().iter::<f64>().collect();
        let bbox = BoxCxcywh::new(found[0], found[1], found[2], found[3]);
        let targets = vec![GroundedTarget { bbox, score: 1.0 }];
        Ok(Grounded { targets, flops: 10, dense_flops: 20, ..Grounded::default() })
    }
}

pub(crate) const RECIPE: &str = "
    [model]
    system = \"toy\"
    preset = \"tiny\"
    [[data]]
    source = \"scenes:train:60\"
    size = [64, 64]
    phrases = [4, 4]
    [validation]
    source = \"scenes:val:6\"
    every = 8
    [schedule]
    steps = 20
    batch = 6
    phrases_per_picture = 3
    [optimizer]
    lr = 0.01
    ema = { decay = 0.9 }
    [augmentation]
    mirror = 0.5
    placement = \"random\"
    [criterion]
    noise = 0.02
    [output]
    save_every = 7
    log_every = 5
    precision = \"f32\"
";

pub(crate) fn recipe(overrides: &[&str]) -> Recipe<Criterion> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::parse(RECIPE, "toy.toml", &overrides).unwrap()
}

pub(crate) fn job(out: &std::path::Path, overrides: &[&str]) -> Job<Phrases<Toy>> {
    let mut recipe = recipe(overrides);
    let config = recipe.resolve(&Config { side: 32, max_ids: 12 }).unwrap();
    Job { recipe, config, device: Device::flex(), out: out.to_owned(), resume: Resume::Auto }
}

/// The generator of the device is one for all threads: who seeds it and draws holds this meanwhile.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
