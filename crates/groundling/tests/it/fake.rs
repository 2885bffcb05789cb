//! A system of one parameter that answers with the part of the picture that holds content, shifted by the phrase.

use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor};
use groundling_core::{BoxCxcywh, ContentRect, ModelIdentity};
use groundling_models::contract::{
    Batch, ConfigError, Fit, GroundOptions, Grounded, GroundedTarget, InputSpec, Layout, LevelTrace, Losses,
    OptionError, ParameterGroup, Resample, SampleTruth, System, Trainable,
};
use groundling_nn::layers::PrepareInference;
use serde::{Deserialize, Serialize};

/// Sides of the canvas and a table of so many numbers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FakeConfig {
    pub(crate) side: u32,
    pub(crate) numbers: usize,
}

impl FakeConfig {
    pub(crate) const SMALL: Self = Self { side: 32, numbers: 4 };
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct NoCriterion;

#[derive(Module, Debug)]
pub(crate) struct Fake {
    pub(crate) table: Param<Tensor<1>>,
    #[module(skip)]
    config: FakeConfig,
}

impl PrepareInference for Fake {
    fn prepare_inference(&mut self) {}
}

/// A picture: where its content lies, and its mean.
#[derive(Debug, Clone)]
pub(crate) struct FakeView {
    content: ContentRect,
    mean: f32,
}

impl Trainable for Fake {
    const NAME: &'static str = "fake";
    type Config = FakeConfig;
    type Criterion = NoCriterion;

    fn init(config: &FakeConfig, device: &Device) -> Result<Self, ConfigError> {
        if config.numbers == 0 {
            return Err(ConfigError { field: "numbers", found: "0".into(), expected: "a number from 1".into() });
        }
        let table = Initializer::Constant { value: 0.25 }.init([config.numbers], device);
        Ok(Self { table, config: *config })
    }

    fn config(&self) -> &FakeConfig {
        &self.config
    }

    fn layouts(_: &FakeConfig) -> Vec<Layout> {
        Vec::new()
    }

    fn parameter_group(_: &str) -> ParameterGroup {
        ParameterGroup::Base
    }
}

impl System for Fake {
    type Phrase = Vec<u32>;
    type View = FakeView;

    fn input(config: &FakeConfig) -> InputSpec {
        InputSpec {
            side: config.side,
            fit: Fit::LetterboxCorner,
            resample: Resample::Bilinear,
            mean: [0.5; 3],
            std: [0.5; 3],
            max_ids: 6,
            vocabulary: 30522,
        }
    }

    fn losses(&self, _: &Batch, _: &[SampleTruth], _: &NoCriterion) -> Losses {
        unreachable!("nobody trains it")
    }

    fn read_phrase(&self, ids: &[u32]) -> Vec<u32> {
        ids.to_vec()
    }

    fn read_canvas(&self, canvas: Tensor<4>, content: ContentRect) -> FakeView {
        FakeView { content, mean: canvas.mean().into_scalar() }
    }

    fn ground(&self, phrase: &Vec<u32>, view: &FakeView, options: &GroundOptions) -> Result<Grounded, OptionError> {
        let last = 1;
        let level = options.level.unwrap_or(last);
        if level > last {
            return Err(OptionError::Level { found: level, last });
        }
        if let Some(found) = options.budget_flops.filter(|budget| *budget < 100) {
            return Err(OptionError::Budget { found, least: 100 });
        }
        let side = f64::from(self.config.side);
        let (height, width) = (f64::from(view.content.height) / side, f64::from(view.content.width) / side);
        // One box around the content, twice as wide for every further piece, which leaves the picture.
        let pieces = phrase.len() as f64 - 2.0;
        let table = self.table.val().into_data();
        let scale = f64::from(table.iter::<f32>().next().unwrap_or_default()) * 4.0;
        let bbox = BoxCxcywh::new(width / 2.0, height / 2.0, width * pieces * scale, height * scale);
        let trace = |grid: usize| LevelTrace {
            grid,
            side: 8 * grid,
            bbox,
            valid: (0..grid).collect(),
            candidates: (0..grid).collect(),
            values: vec![options.threshold + view.mean; grid],
            kept: vec![0],
            constants: grid - 1,
            threshold: (grid > 2).then_some(options.threshold),
            flops: 50,
            attention: options.attention.then(|| vec![vec![1.0]]),
        };
        Ok(Grounded {
            targets: vec![GroundedTarget { bbox, score: 1.25 }],
            no_target: None,
            mask: None,
            flops: 100,
            dense_flops: 400,
            levels: (0..=level).map(|level| trace(2 << level)).collect(),
            trace: None,
        })
    }
}

pub(crate) fn fake(config: FakeConfig) -> Fake {
    Fake::init(&config, &Device::flex()).unwrap()
}

/// With a number in its table that is none.
pub(crate) fn broken() -> Fake {
    let mut fake = fake(FakeConfig::SMALL);
    fake.table = Initializer::Constant { value: f64::NAN }.init([4], &Device::flex());
    fake
}

pub(crate) fn identity() -> ModelIdentity {
    ModelIdentity { name: "fake".into(), hash: "0".into() }
}
