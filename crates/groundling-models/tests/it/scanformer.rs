//! What must hold for ScanFormer whatever its weights: exact merging, the cache, gradients, corner cases.

mod corners;
mod gradients;
mod merging;
pub(crate) mod reference;

use burn::tensor::{Device, Tensor};
use groundling_core::ContentRect;
use groundling_models::contract::{GroundOptions, Grounded, System};
use groundling_models::scanformer::{Observer, ScanFormer, ScanFormerConfig};
use groundling_nn::checkpoint::{Checkpoint, StoredTensor, load_into, parameters};
use groundling_testkit::{Array, fill};

use crate::support;

/// Small, with weights large enough that everything depends on everything.
pub(crate) fn config(nested: bool) -> ScanFormerConfig {
    ScanFormerConfig {
        dim: 32,
        heads: 4,
        layers: 4,
        mlp_hidden: 64,
        vocab: 50,
        max_text: 12,
        patch: 4,
        image_size: 32,
        pos_grid: 3,
        select_layer: 2,
        nested,
        ..ScanFormerConfig::tiny()
    }
}

/// Weights filled by name.
pub(crate) fn weights(config: &ScanFormerConfig, seed: u64) -> Checkpoint {
    let model = ScanFormer::new(config, &Device::flex()).unwrap();
    Checkpoint::from_tensors(parameters(&model).into_iter().map(|info| {
        let values = fill::parameter(&info.name, &info.shape, seed).to_f32();
        (info.name, StoredTensor::from_values(info.shape, values))
    }))
}

pub(crate) fn model(config: &ScanFormerConfig, seed: u64, device: &Device) -> ScanFormer {
    load_into(ScanFormer::new(config, device).unwrap(), &weights(config, seed), &[]).unwrap().0
}

pub(crate) const CONTENTS: [ContentRect; 2] =
    [ContentRect { top: 0, left: 0, height: 32, width: 22 }, ContentRect { top: 4, left: 6, height: 28, width: 26 }];

pub(crate) const IDS: [&[u32]; 2] = [&[3, 14, 15, 9, 26, 5, 35], &[7, 21, 4, 44, 13]];

/// The canvas of a picture, 0 outside its content.
pub(crate) fn canvas(content: ContentRect, seed: u64) -> Array {
    let mut image = fill::uniform("image", &[3, 32, 32], -1.0, 1.0, seed);
    for (index, value) in image.data.iter_mut().enumerate() {
        let (row, column) = (index / 32 % 32, index % 32);
        let inside = |at: usize, start: u32, length: u32| (start as usize..(start + length) as usize).contains(&at);
        if !inside(row, content.top, content.height) || !inside(column, content.left, content.width) {
            *value = 0.0;
        }
    }
    image
}

pub(crate) fn tensor(image: &Array) -> Tensor<4> {
    support::tensor::<3>(image, &Device::flex()).unsqueeze()
}

pub(crate) fn threshold(threshold: f32) -> GroundOptions {
    GroundOptions { threshold, ..GroundOptions::default() }
}

/// The answer for picture and phrase number `which`.
pub(crate) fn ground(model: &ScanFormer, which: usize, seed: u64, options: &GroundOptions) -> Grounded {
    observed(model, which, seed, options, None)
}

pub(crate) fn observed(
    model: &ScanFormer,
    which: usize,
    seed: u64,
    options: &GroundOptions,
    observer: Observer<'_>,
) -> Grounded {
    let phrase = model.read_phrase(IDS[which]);
    let view = model.read_canvas(tensor(&canvas(CONTENTS[which], seed)), CONTENTS[which]);
    model.ground_observed(&[(&phrase, &view)], options, observer).unwrap().remove(0)
}

pub(crate) fn boxes(grounded: &Grounded) -> Vec<f64> {
    grounded.levels.iter().flat_map(|level| level.bbox.to_array()).collect()
}

/// Largest absolute difference.
pub(crate) fn apart(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
