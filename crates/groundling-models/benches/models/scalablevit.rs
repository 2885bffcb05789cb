//! ScalableViT beside Twins-SVT of timm, the nearest in structure; and what attention costs as pictures grow.

use std::rc::Rc;

use burn::tensor::{Device, Distribution, Tensor, activation};
use groundling_models::scalablevit::{
    GlobalAttention, GlobalConfig, LocalAttention, ScalableVit, ScalableVitConfig, ValueWidth, WindowConfig,
};
use groundling_nn::layers::PrepareInference;
use groundling_nn::swin::TokenMap;

use crate::{Case, Work};

pub(crate) fn groups() -> Vec<Vec<Case>> {
    let mut groups = vec![
        vec![("scalablevit_s 1x224", Box::new(|| classify(1)) as _)],
        vec![("scalablevit_s 8x224", Box::new(|| classify(8)) as _)],
        vec![("scalablevit_s 8x224 step", Box::new(|| training(8)) as _)],
    ];
    for side in [224, 448, 672, 1024] {
        let names: [&'static str; 3] = match side {
            224 => ["ssa 224", "iwsa 224", "vanilla 224"],
            448 => ["ssa 448", "iwsa 448", "vanilla 448"],
            672 => ["ssa 672", "iwsa 672", "vanilla 672"],
            _ => ["ssa 1024", "iwsa 1024", "vanilla 1024"],
        };
        let [ssa, iwsa, vanilla] = names;
        groups.push(vec![
            (ssa, Box::new(move || global(side, 8)) as _),
            (iwsa, Box::new(move || windows(side)) as _),
            (vanilla, Box::new(move || global(side, 1)) as _),
        ]);
    }
    groups
}

fn model(device: &Device) -> ScalableVit {
    device.seed(1);
    ScalableVitConfig::small().init(device).unwrap()
}

fn images(count: usize, device: &Device) -> Tensor<4> {
    Tensor::random([count, 3, 224, 224], Distribution::Uniform(-1.0, 1.0), device)
}

fn classify(count: usize) -> Work {
    let device = Device::flex();
    let mut model = model(&device);
    model.prepare_inference();
    let (model, images) = (Rc::new(model), images(count, &device));
    Box::new(move || drop(model.classify(images.clone()).unwrap().into_data()))
}

/// The loss of a batch and its gradients.
fn training(count: usize) -> Work {
    let device = Device::flex().autodiff();
    let (model, images) = (model(&device), images(count, &device));
    Box::new(move || {
        drop(
            activation::log_softmax(model.classify(images.clone()).unwrap(), 1).narrow(1, 0, 1).mean().neg().backward(),
        );
    })
}

/// Tokens of the first stage of a picture with so many pixels a side, 64 channels.
fn tokens(side: usize, device: &Device) -> TokenMap {
    let cells = side / 4;
    let tokens = Tensor::random([1, cells * cells, 64], Distribution::Uniform(-1.0, 1.0), device);
    TokenMap { tokens, height: cells, width: cells }
}

/// Global attention over keys that are reduced by this factor a side; 1 is the vanilla one.
fn global(side: usize, reduction: usize) -> Work {
    let device = Device::flex();
    let config = GlobalConfig {
        dim: 64,
        heads: 2,
        reduction,
        channel_factor: if reduction > 1 { 1.25 } else { 1.0 },
        value: ValueWidth::Input,
        qkv_bias: true,
        kind: if reduction > 1 { GlobalAttention::Ssa } else { GlobalAttention::Sra },
    };
    let (mut layer, map) = (config.init(&device), tokens(side, &device));
    layer.prepare_inference();
    Box::new(move || drop(layer.forward(&map).into_data()))
}

fn windows(side: usize) -> Work {
    let device = Device::flex();
    let config = WindowConfig { dim: 64, heads: 2, window: 7, qkv_bias: true, kind: LocalAttention::Iwsa };
    let (mut layer, map) = (config.init(&device), tokens(side, &device));
    layer.prepare_inference();
    Box::new(move || drop(layer.forward(&map).into_data()))
}
