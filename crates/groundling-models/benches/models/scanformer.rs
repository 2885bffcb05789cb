//! ScanFormer: dense against merged, and a step of training.

use std::rc::Rc;

use burn::tensor::{Device, Distribution, Int, Tensor};
use groundling_core::{BoxCxcywh, ContentRect};
use groundling_models::contract::{Batch, GroundOptions, SampleTruth, System, Trainable};
use groundling_models::scanformer::{Criterion, LevelLoad, ScanFormer, ScanFormerConfig};
use groundling_nn::layers::PrepareInference;

use crate::{Case, Work};

pub(crate) fn groups() -> Vec<Vec<Case>> {
    vec![
        vec![("small training step 32x12", Box::new(|| training(ScanFormerConfig::small(), 32, 12)) as _)],
        vec![
            ("vilt_b 640x480 dense", Box::new(|| ground(&vilt(), 480, None)) as _),
            ("vilt_b 640x480 20/50/100", Box::new(|| ground(&vilt(), 480, Some([20, 50, 100]))) as _),
            // Of the 25, 100 and 400 patches of a square picture 25/50/100 are all, half and a quarter; of a picture of 640x480 these are.
            ("vilt_b 640x480 20/40/75", Box::new(|| ground(&vilt(), 480, Some([20, 40, 75]))) as _),
        ],
        vec![
            ("small dense", Box::new(|| ground(&small(), 192, None)) as _),
            ("small 9/18/36", Box::new(|| ground(&small(), 192, Some([9, 18, 36]))) as _),
        ],
    ]
}

fn small() -> Rc<ScanFormer> {
    model(ScanFormerConfig::small())
}

/// One for both cases: it takes a gigabyte.
fn vilt() -> Rc<ScanFormer> {
    thread_local! {
        static MODEL: Rc<ScanFormer> = model(ScanFormerConfig::vilt_b());
    }
    MODEL.with(Rc::clone)
}

fn model(config: ScanFormerConfig) -> Rc<ScanFormer> {
    let device = Device::flex();
    device.seed(1);
    let mut model = ScanFormer::new(&config, &device).unwrap();
    model.prepare_inference();
    Rc::new(model)
}

/// The operations of a run that keeps so many patches, for a phrase of 11 pieces.
fn flops(config: &ScanFormerConfig, kept: [usize; 3], valid: &[usize]) -> u64 {
    let mut keys = 11;
    let mut total = config.language_flops(11);
    for (level, kept) in kept.into_iter().enumerate() {
        let load = LevelLoad { kept, constants: valid[level] - kept, merge: true, chooses: level < 2 };
        let flops = config.level_flops(load, keys);
        keys = flops.keys;
        total += flops.total();
    }
    total
}

/// A phrase and a picture of this height and of full width, read and answered; with as many operations as reading `kept` patches takes.
fn ground(model: &Rc<ScanFormer>, height: u32, kept: Option<[usize; 3]>) -> Work {
    let (model, device) = (model.clone(), Device::flex());
    let side = model.config().image_size;
    let content = ContentRect { top: 0, left: 0, height, width: side as u32 };
    let canvas = Tensor::<4>::random([1, 3, side, side], Distribution::Uniform(-1.0, 1.0), &device);
    let ids: Vec<u32> = [101].into_iter().chain(2000..2009).chain([102]).collect();
    let dense = GroundOptions { threshold: f32::NEG_INFINITY, ..GroundOptions::default() };
    let run = move |options: &GroundOptions| {
        let view = model.read_canvas(canvas.clone(), content);
        (model.ground_new(&ids, &view, options).unwrap().1, model.config().clone())
    };
    let (grounded, config) = run(&dense);
    let valid: Vec<usize> = grounded.levels.iter().map(|level| level.valid.len()).collect();
    let options = GroundOptions { budget_flops: kept.map(|kept| flops(&config, kept, &valid)), ..dense };
    let levels = run(&options).0.levels;
    println!("    reads {:?} of {valid:?} patches", levels.iter().map(|level| level.kept.len()).collect::<Vec<_>>());
    Box::new(move || drop(run(&options)))
}

/// Losses of a batch and their gradients.
fn training(config: ScanFormerConfig, batch: usize, length: usize) -> Work {
    let device = Device::flex().autodiff();
    let side = config.image_size;
    let content = ContentRect { top: 0, left: 0, height: side as u32 * 3 / 4, width: side as u32 };
    let inputs = Batch {
        canvases: Tensor::random([batch, 3, side, side], Distribution::Uniform(-1.0, 1.0), &device),
        contents: vec![content; batch],
        ids: Tensor::<1, Int>::arange(0..(batch * length) as i64, &device).mul_scalar(37).reshape([batch, length]),
        lengths: vec![length; batch],
        erased: None,
        same_canvas: Batch::own_canvases(batch),
    };
    let truth = SampleTruth { bbox: Some(BoxCxcywh::new(0.4, 0.3, 0.2, 0.25)), ..SampleTruth::default() };
    let truths = vec![truth; batch];
    let criterion = Criterion::default();
    let model = ScanFormer::new(&config, &device).unwrap();
    Box::new(move || drop(model.losses(&inputs, &truths, &criterion).total.backward()))
}
