//! Whole models of groundling-nn, with random weights; `packed` ones hold them a second time as the kernels read them.

use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Int, Tensor};
use groundling_kernels::Activation;
use groundling_nn::bert::{BertConfig, BertInput};
use groundling_nn::layers::PrepareInference;
use groundling_nn::resnet::ResNetConfig;
use groundling_nn::swin::SwinConfig;
use groundling_nn::transformer::{NormOrder, Tokens, TransformerConfig};

use super::{Work, cpu, random, tracked};

pub(super) fn bert(batch: usize, length: usize, packed: bool) -> Work {
    let mut model = BertConfig::base_uncased().init(&cpu());
    if packed {
        model.prepare_inference();
    }
    let ids = Tensor::<1, Int>::arange(0..(batch * length) as i64, &cpu()).mul_scalar(37).reshape([batch, length]);
    let padding = Tensor::<2>::zeros([batch, length], &cpu()).greater_scalar(0.5);
    let input = BertInput { ids, types: None, padding };
    Box::new(move || drop(model.forward(input.clone())))
}

pub(super) fn resnet(size: usize, packed: bool) -> Work {
    let mut model = ResNetConfig::r50().init(&cpu());
    if packed {
        model.prepare_inference();
    }
    let image = random([1, 3, size, size], &cpu());
    Box::new(move || drop(model.classify(&model.forward(image.clone()))))
}

pub(super) fn swin(size: usize, packed: bool) -> Work {
    let mut model = SwinConfig::base(12).init(&cpu());
    if packed {
        model.prepare_inference();
    }
    let image = random([1, 3, size, size], &cpu());
    Box::new(move || drop(model.forward(image.clone())))
}

pub(super) fn encoder_step([batch, length, width]: [usize; 3]) -> Work {
    let device = tracked();
    let config = TransformerConfig {
        width,
        heads: 8,
        feed_forward: 4 * width,
        activation: Activation::Gelu,
        order: NormOrder::Post,
        dropout: 0.0,
        epsilon: 1e-5,
    };
    let mut model = Some(config.encoder(6, &device));
    let mut optimizer = AdamWConfig::new().init();
    let (x, target) = (random([batch, length, width], &device), random([batch, length, width], &device));
    Box::new(move || {
        let current = model.take().expect("put back below");
        let out = current.forward(Tokens { values: x.clone(), position: None, bias: Default::default() });
        let loss = (out - target.clone()).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &current);
        model = Some(optimizer.step(1e-4, current, grads));
    })
}
