//! What is measured, under the names that `bench/peers/torch_peer.py` uses too.

use burn::tensor::{Device, Distribution, Tensor};
use groundling_kernels::{Activation, ConvEpilogue, ConvOptions, PackedConv, PackedLinear, conv2d, gelu, linear};

pub(crate) type Work = Box<dyn FnMut()>;
pub(crate) type Case = (&'static str, fn() -> Work);

pub(crate) fn all() -> Vec<Case> {
    vec![
        ("linear 1024x1024x1024", || packed(1024, 1024, 1024, Activation::Identity)),
        ("linear 1024x1024x1024 plain", || plain(1024, 1024, 1024, Activation::Identity)),
        ("linear 20x768x768", || packed(20, 768, 768, Activation::Identity)),
        ("linear 20x768x768 plain", || plain(20, 768, 768, Activation::Identity)),
        ("linear 20x768x3072 gelu", || packed(20, 768, 3072, Activation::Gelu)),
        ("linear 320x768x3072 gelu", || packed(320, 768, 3072, Activation::Gelu)),
        ("linear 320x3072x768", || packed(320, 3072, 768, Activation::Identity)),
        ("linear 2048x256x1024 relu", || packed(2048, 256, 1024, Activation::Relu)),
        ("linear 9216x128x512 gelu", || packed(9216, 128, 512, Activation::Gelu)),
        ("linear 2048x256x1024 gelu train", || linear_train(2048, 256, 1024)),
        ("gelu 2048x1024", || unary([2048, 1024], gelu)),
        ("gelu 2048x1024 train", || unary_train([2048, 1024], gelu)),
        ("conv 7x7/2 3-64 640", || conv([3, 64], 640, 7, 2, 1)),
        ("conv 1x1 64-256 160", || conv([64, 256], 160, 1, 1, 1)),
        ("conv 1x1 256-64 160", || conv([256, 64], 160, 1, 1, 1)),
        ("conv 3x3 64-64 160", || conv([64, 64], 160, 3, 1, 1)),
        ("conv 3x3/2 128-128 160", || conv([128, 128], 160, 3, 2, 1)),
        ("conv 3x3 256-256 40", || conv([256, 256], 40, 3, 1, 1)),
        ("conv 1x1 1024-256 40", || conv([1024, 256], 40, 1, 1, 1)),
        ("conv 3x3 512-512 20", || conv([512, 512], 20, 3, 1, 1)),
        ("conv depthwise 3x3 256 56", || conv([256, 256], 56, 3, 1, 256)),
        ("conv 3x3 64-64 80 train", || conv_train(2, 64, 80)),
    ]
}

fn cpu() -> Device {
    Device::flex()
}

fn tracked() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn packed(rows: usize, inputs: usize, outputs: usize, activation: Activation) -> Work {
    let x = random([rows, inputs], &cpu());
    let weight = PackedLinear::new(random([inputs, outputs], &cpu()), Some(random([outputs], &cpu())));
    Box::new(move || drop(weight.forward(x.clone(), activation)))
}

fn plain(rows: usize, inputs: usize, outputs: usize, activation: Activation) -> Work {
    let (x, weight, bias) =
        (random([rows, inputs], &cpu()), random([inputs, outputs], &cpu()), random([outputs], &cpu()));
    Box::new(move || drop(linear(x.clone(), weight.clone(), Some(bias.clone()), activation)))
}

fn linear_train(rows: usize, inputs: usize, outputs: usize) -> Work {
    let device = tracked();
    let x = random([rows, inputs], &device).require_grad();
    let (weight, bias) = (random([inputs, outputs], &device).require_grad(), random([outputs], &device).require_grad());
    let probe = random([rows, outputs], &device);
    Box::new(move || {
        let out = linear(x.clone(), weight.clone(), Some(bias.clone()), Activation::Gelu);
        drop((out * probe.clone()).sum().backward());
    })
}

fn unary<const D: usize>(shape: [usize; D], work: fn(Tensor<D>) -> Tensor<D>) -> Work {
    let x = random(shape, &cpu());
    Box::new(move || drop(work(x.clone())))
}

fn unary_train<const D: usize>(shape: [usize; D], work: fn(Tensor<D>) -> Tensor<D>) -> Work {
    let x = random(shape, &tracked()).require_grad();
    let probe = random(shape, &tracked());
    Box::new(move || drop((work(x.clone()) * probe.clone()).sum().backward()))
}

fn conv([inputs, outputs]: [usize; 2], size: usize, kernel: usize, stride: usize, groups: usize) -> Work {
    let x = random([1, inputs, size, size], &cpu());
    let weight = random([outputs, inputs / groups, kernel, kernel], &cpu());
    let epilogue = ConvEpilogue {
        scale: Some(random([outputs], &cpu())),
        shift: Some(random([outputs], &cpu())),
        residual: None,
        relu: true,
    };
    let options = ConvOptions { stride: [stride; 2], padding: [kernel / 2; 2], dilation: [1; 2], groups };
    let weight = PackedConv::new(weight, options);
    Box::new(move || drop(weight.forward(x.clone(), epilogue.clone())))
}

fn conv_train(batch: usize, channels: usize, size: usize) -> Work {
    let device = tracked();
    let x = random([batch, channels, size, size], &device).require_grad();
    let weight = random([channels, channels, 3, 3], &device).require_grad();
    let epilogue = ConvEpilogue {
        scale: Some(random([channels], &device)),
        shift: Some(random([channels], &device)),
        residual: None,
        relu: true,
    };
    let options = ConvOptions { padding: [1; 2], ..Default::default() };
    let probe = random([batch, channels, size, size], &device);
    Box::new(move || {
        let out = conv2d(x.clone(), weight.clone(), epilogue.clone(), options);
        drop((out * probe.clone()).sum().backward());
    })
}
