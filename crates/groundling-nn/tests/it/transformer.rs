//! Transformer layers against plain compositions, and their properties.

use std::collections::BTreeSet;

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, activation};
use groundling_kernels::Activation;
use groundling_nn::attention::{AttentionBias, MultiHeadAttention};
use groundling_nn::checkpoint::{gradients, parameters};
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};
use groundling_nn::transformer::{EncoderLayer, NormOrder, Tokens, TransformerConfig};

use crate::numbers::{assert_near, list, tracked, uniform};

const SMALL: TransformerConfig = TransformerConfig {
    width: 12,
    heads: 3,
    feed_forward: 20,
    activation: Activation::Relu,
    order: NormOrder::Post,
    dropout: 0.0,
    epsilon: 1e-5,
};

fn configs() -> Vec<TransformerConfig> {
    [(NormOrder::Post, Activation::Relu), (NormOrder::Pre, Activation::Relu), (NormOrder::Pre, Activation::Gelu)]
        .into_iter()
        .map(|(order, activation)| TransformerConfig { order, activation, ..SMALL })
        .collect()
}

fn dense(layer: &Dense, x: Tensor<3>) -> Tensor<3> {
    x.matmul(layer.weight.val().unsqueeze()) + layer.bias.as_ref().unwrap().val().unsqueeze()
}

fn norm(layer: &TokenNorm, x: Tensor<3>) -> Tensor<3> {
    let centred = x.clone() - x.mean_dim(2);
    let deviation = (centred.clone().square().mean_dim(2) + 1e-5).sqrt();
    centred / deviation * layer.weight.val().unsqueeze() + layer.bias.val().unsqueeze()
}

/// One head after the other, of matrix products.
fn attend(
    layer: &MultiHeadAttention,
    query: Tensor<3>,
    key: Tensor<3>,
    value: Tensor<3>,
    padding: &Tensor<2, Bool>,
) -> Tensor<3> {
    let [b, n, d] = query.dims();
    let l = key.dims()[1];
    let width = d / SMALL.heads;
    let (q, k, v) = (dense(&layer.q_proj, query), dense(&layer.k_proj, key), dense(&layer.v_proj, value));
    let heads = (0..SMALL.heads).map(|head| {
        let of = |x: &Tensor<3>| x.clone().narrow(2, head * width, width);
        let scores = of(&q).matmul(of(&k).swap_dims(1, 2)).div_scalar((width as f64).sqrt());
        let ignored = padding.clone().unsqueeze_dim::<3>(1).expand([b, n, l]);
        activation::softmax(scores.mask_fill(ignored, f32::NEG_INFINITY), 2).matmul(of(&v))
    });
    dense(&layer.out_proj, Tensor::cat(heads.collect(), 2))
}

fn activated(config: TransformerConfig, x: Tensor<3>) -> Tensor<3> {
    match config.activation {
        Activation::Relu => activation::relu(x),
        Activation::Gelu => activation::gelu(x),
        _ => x,
    }
}

/// `x` through a sublayer in either order.
fn sublayer(config: TransformerConfig, x: Tensor<3>, own: &TokenNorm, f: impl Fn(Tensor<3>) -> Tensor<3>) -> Tensor<3> {
    match config.order {
        NormOrder::Post => norm(own, x.clone() + f(x)),
        NormOrder::Pre => x.clone() + f(norm(own, x)),
    }
}

fn encode(
    config: TransformerConfig,
    layer: &EncoderLayer,
    x: Tensor<3>,
    position: Tensor<3>,
    padding: &Tensor<2, Bool>,
) -> Tensor<3> {
    let x = sublayer(config, x, &layer.norm1, |x| {
        let query = x.clone() + position.clone();
        attend(&layer.self_attn, query.clone(), query, x, padding)
    });
    sublayer(config, x, &layer.norm2, |x| dense(&layer.linear2, activated(config, dense(&layer.linear1, x))))
}

struct Scene {
    x: Tensor<3>,
    position: Tensor<3>,
    padding: Tensor<2, Bool>,
    queries: Tensor<3>,
    query_position: Tensor<3>,
}

fn scene(device: &Device) -> Scene {
    Scene {
        x: uniform("transformer.x", [2, 5, 12], -1.0, 1.0, device),
        position: uniform("transformer.position", [2, 5, 12], -1.0, 1.0, device),
        padding: Tensor::from_data([[false; 5], [false, false, true, false, true]], device),
        queries: uniform("transformer.queries", [2, 3, 12], -1.0, 1.0, device),
        query_position: uniform("transformer.query_position", [1, 3, 12], -1.0, 1.0, device),
    }
}

impl Scene {
    fn memory(&self) -> Tokens {
        Tokens::new(self.x.clone()).at(self.position.clone()).masked(AttentionBias::padding(self.padding.clone()))
    }

    fn asked(&self) -> Tokens {
        Tokens::new(self.queries.clone()).at(self.query_position.clone())
    }
}

#[test]
fn an_encoder_layer_is_its_definition() {
    for config in configs() {
        let device = tracked();
        device.seed(5);
        let (layer, scene) = (config.encoder_layer(&device), scene(&device));
        let x = scene.x.clone().require_grad();
        let ours = layer.forward(Tokens { values: x.clone(), ..scene.memory() });
        let theirs = encode(config, &layer, x.clone(), scene.position.clone(), &scene.padding);
        assert_near("value", ours.clone().inner(), theirs.clone().inner(), 2e-6);
        let probe = uniform("transformer.probe", [2, 5, 12], -1.0, 1.0, &device);
        let (ours, theirs) = ((ours * probe.clone()).sum().backward(), (theirs * probe).sum().backward());
        assert_near("input", x.grad(&ours).unwrap(), x.grad(&theirs).unwrap(), 2e-5);
        for ((of, ours), (_, theirs)) in gradients(&layer, &ours).into_iter().zip(gradients(&layer, &theirs)) {
            let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 3e-5, "{config:?} {}: gradients {apart} apart", of.name);
        }
    }
}

#[test]
fn a_decoder_layer_is_its_definition() {
    for config in configs() {
        let device = Device::flex();
        device.seed(6);
        let (layer, scene) = (config.decoder_layer(&device), scene(&device));
        let none = Tensor::<2, Bool>::from_data([[false; 3]; 2], &device);
        let place = |x: Tensor<3>| x + scene.query_position.clone();
        let want = sublayer(config, scene.queries.clone(), &layer.norm1, |x| {
            attend(&layer.self_attn, place(x.clone()), place(x.clone()), x, &none)
        });
        let want = sublayer(config, want, &layer.norm2, |x| {
            let key = scene.x.clone() + scene.position.clone();
            attend(&layer.multihead_attn, place(x), key, scene.x.clone(), &scene.padding)
        });
        let want = sublayer(config, want, &layer.norm3, |x| {
            dense(&layer.linear2, activated(config, dense(&layer.linear1, x)))
        });
        assert_near("value", layer.forward(scene.asked(), scene.memory()), want.clone(), 2e-6);
        let mapped = layer.forward_with_maps(scene.asked(), scene.memory());
        assert_near("with maps", mapped.queries, want, 2e-6);
        assert_eq!(mapped.self_weights.dims(), [2, 3, 3, 3]);
        assert_eq!(mapped.memory_weights.dims(), [2, 3, 3, 5]);
        let ignored: Tensor<3> = mapped.memory_weights.clone().slice([1..2, 0..3, 0..3, 4..5]).squeeze_dim(3);
        assert_near("a padded key", ignored, Tensor::zeros([1, 3, 3], &device), 0.0);
        for weights in [mapped.self_weights, mapped.memory_weights] {
            assert!(list(weights.sum_dim(3)).iter().all(|sum| (sum - 1.0).abs() < 1e-6));
        }
    }
}

#[test]
fn nothing_under_padding_matters() {
    for config in configs() {
        let device = Device::flex();
        device.seed(7);
        let (encoder, decoder, scene) = (config.encoder(2, &device), config.decoder(2, &device), scene(&device));
        let noise = uniform("transformer.noise", [1, 1, 12], -50.0, 50.0, &device);
        let changed = Tokens { values: scene.x.clone().slice_assign([1..2, 4..5, 0..12], noise), ..scene.memory() };
        let real = |x: Tensor<3>| Tensor::cat(vec![x.clone().slice([0..2, 0..2]), x.slice([0..2, 3..4])], 1);
        assert_near("encoder", real(encoder.forward(changed.clone())), real(encoder.forward(scene.memory())), 1e-6);
        assert_near(
            "decoder",
            decoder.forward(scene.asked(), changed),
            decoder.forward(scene.asked(), scene.memory()),
            1e-6,
        );
    }
}

#[test]
fn stacks_are_their_layers_in_turn() {
    for config in configs() {
        let device = Device::flex();
        device.seed(8);
        let (encoder, decoder, scene) = (config.encoder(3, &device), config.decoder(3, &device), scene(&device));
        assert_eq!(encoder.norm.is_some(), config.order == NormOrder::Pre);
        let (each, last) = encoder.forward_with_maps(scene.memory());
        assert_near("encoder", last.clone(), encoder.forward(scene.memory()), 2e-6);
        let mut x = scene.x.clone();
        for (layer, made) in encoder.layers.iter().zip(&each) {
            x = layer.forward(Tokens { values: x, ..scene.memory() });
            assert_near("layer", made.tokens.clone(), x.clone(), 2e-6);
            assert_eq!(made.weights.dims(), [2, 3, 5, 5]);
        }
        let x = encoder.norm.as_ref().map_or(x.clone(), |norm| norm.forward(x));
        assert_near("end", x, last, 2e-6);

        let all = decoder.forward_all(scene.asked(), scene.memory());
        let mapped = decoder.forward_with_maps(scene.asked(), scene.memory());
        let mut x = scene.queries.clone();
        for ((layer, made), mapped) in decoder.layers.iter().zip(&all).zip(mapped) {
            x = layer.forward(Tokens { values: x, ..scene.asked() }, scene.memory());
            // The norm is over what is read out, not over what goes on.
            let read = decoder.norm.as_ref().unwrap().forward(x.clone());
            assert_near("read out", made.clone(), read, 2e-6);
            assert_near("with maps", mapped.queries, made.clone(), 2e-6);
        }
        assert_near("decoder", all[2].clone(), decoder.forward(scene.asked(), scene.memory()), 0.0);
    }
}

fn all_get_gradients<M: Module>(module: &M, output: Tensor<3>) {
    let probe = uniform("transformer.cotangent", output.dims(), -1.0, 1.0, &output.device());
    let found = gradients(module, &(output * probe).sum().backward());
    let with: BTreeSet<String> = found
        .iter()
        // A bias of the keys moves all scores of a query alike: its gradient is zero but for rounding.
        .filter(|(of, values)| of.name.ends_with("k_proj.bias") || values.iter().any(|value| value.abs() > 1e-6))
        .map(|(of, _)| of.name.clone())
        .collect();
    let all: BTreeSet<String> = parameters(module).into_iter().map(|of| of.name).collect();
    assert_eq!(with, all);
}

#[test]
fn gradients_reach_every_parameter() {
    for config in configs() {
        let device = tracked();
        device.seed(9);
        let scene = scene(&device);
        let (encoder, decoder) = (config.encoder(2, &device), config.decoder(2, &device));
        all_get_gradients(&encoder, encoder.forward(scene.memory()));
        all_get_gradients(&decoder, decoder.forward(scene.asked(), scene.memory()));
    }
}

#[test]
fn names_are_those_of_pytorch_but_for_the_packed_projection() {
    let device = Device::flex();
    let names = |infos: Vec<groundling_nn::checkpoint::ParameterInfo>| -> Vec<String> {
        infos.into_iter().map(|info| format!("{} {:?}", info.name, info.shape)).collect()
    };
    let encoder = names(parameters(&SMALL.encoder_layer(&device)));
    for name in
        ["self_attn.q_proj.weight [12, 12]", "linear1.weight [20, 12]", "linear2.bias [12]", "norm2.weight [12]"]
    {
        assert!(encoder.contains(&name.to_owned()), "{name} in {encoder:?}");
    }
    let decoder = names(parameters(&SMALL.decoder(1, &device)));
    for name in ["layers.0.multihead_attn.out_proj.bias [12]", "layers.0.norm3.bias [12]", "norm.weight [12]"] {
        assert!(decoder.contains(&name.to_owned()), "{name} in {decoder:?}");
    }
}

#[test]
fn dropout_acts_in_training_only() {
    let (device, plain) = (tracked(), Device::flex());
    let config = TransformerConfig { dropout: 0.5, ..SMALL };
    device.seed(10);
    let layer = config.encoder_layer(&device);
    let (training, inference) = (scene(&device), scene(&plain));
    let still = layer.valid().forward(inference.memory());
    assert_near("twice the same", layer.valid().forward(inference.memory()), still.clone(), 0.0);
    let one = layer.forward(training.memory()).inner();
    let other = layer.forward(training.memory()).inner();
    let apart = |a: Tensor<3>, b: Tensor<3>| (a - b).abs().max().into_scalar::<f32>();
    assert!(apart(one.clone(), other) > 0.1 && apart(one, still) > 0.1);
}

#[test]
fn weights_prepared_for_inference_give_the_same() {
    let device = Device::flex();
    device.seed(11);
    let (mut encoder, mut decoder, scene) = (SMALL.encoder(2, &device), SMALL.decoder(2, &device), scene(&device));
    let before = (encoder.forward(scene.memory()), decoder.forward(scene.asked(), scene.memory()));
    encoder.prepare_inference();
    decoder.prepare_inference();
    assert_near("encoder", encoder.forward(scene.memory()), before.0, 2e-6);
    assert_near("decoder", decoder.forward(scene.asked(), scene.memory()), before.1, 2e-6);
}
