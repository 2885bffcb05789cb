//! What is measured, under the names that `bench/peers/torch_peer.py` uses too.

use burn::tensor::{Device, Distribution, Tensor};
use groundling_kernels::{
    Activation, AttentionBias, ConvEpilogue, ConvOptions, PackedConv, PackedLinear, add_layer_norm, attention,
    batch_norm_relu, conv2d, gelu, layer_norm, linear, logistic_loss, ms_deform_attn, softmax, softmax_columns, tanh,
};

#[path = "models.rs"]
mod models;

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
        ("layer_norm 20x768", || norm([20, 768])),
        ("layer_norm 320x768", || norm([320, 768])),
        ("layer_norm 2048x256", || norm([2048, 256])),
        ("layer_norm 2048x768", || norm([2048, 768])),
        ("layer_norm 9216x128", || norm([9216, 128])),
        ("layer_norm 2048x256 train", || norm_train([2048, 256])),
        ("layer_norm 2048x768 train", || norm_train([2048, 768])),
        ("add_layer_norm 2048x256", || add_norm([2048, 256])),
        ("softmax 16x8x128x128", || unary([16, 8, 128, 128], softmax)),
        ("softmax 16x8x128x128 train", || unary_train([16, 8, 128, 128], softmax)),
        ("softmax of columns 16x20x1024", || unary([16, 20, 1024], softmax_columns)),
        ("softmax of columns 16x20x1024 train", || unary_train([16, 20, 1024], softmax_columns)),
        ("tanh 2048x1024", || unary([2048, 1024], tanh)),
        ("tanh 2048x1024 train", || unary_train([2048, 1024], tanh)),
        ("batch_norm relu 16x48x1024 train", || batch_norm_train([16, 48, 1024])),
        ("logistic_loss 16x16384 train", || logistic_loss_train([16, 16_384])),
        ("attention 16x8x128x32", || attend([16, 8, 128, 32], Bias::None)),
        ("attention 16x8x128x32 train", || attend_train([16, 8, 128, 32])),
        ("attention 1x12x20x64", || attend([1, 12, 20, 64], Bias::None)),
        ("attention 8x12x40x64", || attend([8, 12, 40, 64], Bias::None)),
        ("attention 64x4x144x32 window", || attend([64, 4, 144, 32], Bias::Window)),
        ("attention 1x8x420x32 padding", || attend([1, 8, 420, 32], Bias::Padding)),
        ("attention 1x12x1024x64", || attend([1, 12, 1024, 64], Bias::None)),
        ("deformable 900 queries", || deform(900, false)),
        ("deformable 17821 queries", || deform(17_821, false)),
        ("deformable 900 queries train", || deform(900, true)),
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
        ("bert-base 1x20", || models::bert(1, 20, true)),
        ("bert-base 1x20 plain", || models::bert(1, 20, false)),
        ("bert-base 8x40", || models::bert(8, 40, true)),
        ("bert-base 8x40 plain", || models::bert(8, 40, false)),
        ("resnet-50 1x3x640x640", || models::resnet(640, true)),
        ("resnet-50 1x3x640x640 plain", || models::resnet(640, false)),
        ("swin-b 1x3x384x384", || models::swin(384, true)),
        ("swin-b 1x3x384x384 plain", || models::swin(384, false)),
        ("encoder training step 16x128", || models::encoder_step([16, 128, 256])),
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
    Box::new(move || {
        let out = linear(x.clone(), weight.clone(), Some(bias.clone()), Activation::Gelu);
        drop(out.backward());
    })
}

fn unary<const D: usize>(shape: [usize; D], work: fn(Tensor<D>) -> Tensor<D>) -> Work {
    let x = random(shape, &cpu());
    Box::new(move || drop(work(x.clone())))
}

fn unary_train<const D: usize>(shape: [usize; D], work: fn(Tensor<D>) -> Tensor<D>) -> Work {
    let x = random(shape, &tracked()).require_grad();
    Box::new(move || drop(work(x.clone()).backward()))
}

fn norm(shape: [usize; 2]) -> Work {
    let (x, gain, shift) = (random(shape, &cpu()), random([shape[1]], &cpu()), random([shape[1]], &cpu()));
    Box::new(move || drop(layer_norm(x.clone(), gain.clone(), shift.clone(), 1e-5)))
}

fn add_norm(shape: [usize; 2]) -> Work {
    let (x, y) = (random(shape, &cpu()), random(shape, &cpu()));
    let (gain, shift) = (random([shape[1]], &cpu()), random([shape[1]], &cpu()));
    Box::new(move || drop(add_layer_norm(x.clone(), y.clone(), gain.clone(), shift.clone(), 1e-5)))
}

fn norm_train(shape: [usize; 2]) -> Work {
    let device = tracked();
    let x = random(shape, &device).require_grad();
    let (gain, shift) = (random([shape[1]], &device).require_grad(), random([shape[1]], &device).require_grad());
    Box::new(move || {
        let out = layer_norm(x.clone(), gain.clone(), shift.clone(), 1e-5);
        drop(out.backward());
    })
}

fn batch_norm_train(shape: [usize; 3]) -> Work {
    let device = tracked();
    let x = random(shape, &device).require_grad();
    let (gain, shift) = (random([shape[1]], &device).require_grad(), random([shape[1]], &device).require_grad());
    Box::new(move || {
        let out = batch_norm_relu(x.clone(), gain.clone(), shift.clone(), 1e-5);
        drop(out.values.backward());
    })
}

fn logistic_loss_train(shape: [usize; 2]) -> Work {
    let device = tracked();
    let x = random(shape, &device).require_grad();
    let targets = random(shape, &device).greater_elem(0.0).float();
    Box::new(move || drop(logistic_loss(x.clone(), targets.clone()).backward()))
}

/// What is added to the logits.
enum Bias {
    None,
    /// Of a Swin block: one for each head, and one for each of 64 windows.
    Window,
    /// Keys that are padding: none, but the kernel has to look.
    Padding,
}

/// As a model has it: projected to `[B, L, G E]`, seen as `[B, G, L, E]`.
fn heads([b, g, l, e]: [usize; 4], device: &Device) -> Tensor<4> {
    random([b, l, g, e], device).swap_dims(1, 2)
}

fn attend(shape: [usize; 4], bias: Bias) -> Work {
    let [b, g, l, e] = shape;
    let (q, k, v) = (heads(shape, &cpu()), heads(shape, &cpu()), heads(shape, &cpu()));
    let bias = match bias {
        Bias::None => AttentionBias::default(),
        Bias::Window => AttentionBias {
            pair: Some(random([1, g, l, l], &cpu())),
            mask: Some(Tensor::zeros([b, l, l], &cpu())),
            key: None,
        },
        Bias::Padding => AttentionBias { key: Some(Tensor::zeros([b, l], &cpu())), ..Default::default() },
    };
    let scale = (e as f64).powf(-0.5);
    Box::new(move || drop(attention(q.clone(), k.clone(), v.clone(), scale, bias.clone())))
}

fn attend_train(shape: [usize; 4]) -> Work {
    let device = tracked();
    let [q, k, v] = [0; 3].map(|_| heads(shape, &device).require_grad());
    let scale = (shape[3] as f64).powf(-0.5);
    Box::new(move || {
        let out = attention(q.clone(), k.clone(), v.clone(), scale, AttentionBias::default());
        drop(out.backward());
    })
}

fn deform(queries: usize, train: bool) -> Work {
    const LEVELS: [[usize; 2]; 4] = [[100, 134], [50, 67], [25, 34], [13, 17]];
    let total = LEVELS.iter().map(|[h, w]| h * w).sum();
    let device = if train { tracked() } else { cpu() };
    let leaf = |tensor: Tensor<6>| if train { tensor.require_grad() } else { tensor };
    let uniform = |shape: [usize; 6]| leaf(Tensor::random(shape, Distribution::Uniform(0.0, 1.0), &device));
    let value = uniform([1, total, 8, 32, 1, 1]);
    let (places, weights) = (uniform([1, queries, 8, 4, 4, 2]), uniform([1, queries, 8, 4, 4, 1]));
    Box::new(move || {
        let (value, weights) =
            (value.clone().reshape([1, total, 8, 32]), weights.clone().reshape([1, queries, 8, 4, 4]));
        let out = ms_deform_attn(value, &LEVELS, places.clone(), weights);
        if train {
            drop(out.backward());
        }
    })
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
    Box::new(move || {
        let out = conv2d(x.clone(), weight.clone(), epilogue.clone(), options);
        drop(out.backward());
    })
}
