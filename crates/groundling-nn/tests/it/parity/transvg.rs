//! The two transformer encoders and the positions before them.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, activation};
use groundling_kernels::Activation;
use groundling_nn::attention::AttentionBias;
use groundling_nn::checkpoint::{Rule, destinations, gradients, rename, within};
use groundling_nn::position::SinePosition2d;
use groundling_nn::transformer::{Encoder, EncoderLayer, KEYS, NormOrder, Tokens, TransformerConfig};
use groundling_testkit::{Array, Case, Folder};
use serde::Deserialize;

use crate::numbers::bools;
use crate::support::{self, array, tensor};

#[derive(Deserialize)]
struct Config {
    dim: usize,
    heads: usize,
    ffn: usize,
    layers: usize,
    dropout: f64,
    text_len: Option<usize>,
}

const ENCODER_KEYS: &[Rule] = &[rename(r"^encoder\.", ""), within("", KEYS)];

/// The state dict of the reference.
fn keys(config: &Config) -> Vec<(String, Vec<usize>)> {
    let (d, f) = (config.dim, config.ffn);
    let shapes: [(&str, Vec<usize>); 12] = [
        ("self_attn.in_proj_weight", vec![3 * d, d]),
        ("self_attn.in_proj_bias", vec![3 * d]),
        ("self_attn.out_proj.weight", vec![d, d]),
        ("self_attn.out_proj.bias", vec![d]),
        ("linear1.weight", vec![f, d]),
        ("linear1.bias", vec![f]),
        ("linear2.weight", vec![d, f]),
        ("linear2.bias", vec![d]),
        ("norm1.weight", vec![d]),
        ("norm1.bias", vec![d]),
        ("norm2.weight", vec![d]),
        ("norm2.bias", vec![d]),
    ];
    let of_layer = |layer: usize| {
        let shapes = shapes.clone();
        shapes.into_iter().map(move |(name, shape)| (format!("encoder.layers.{layer}.{name}"), shape))
    };
    (0..config.layers).flat_map(of_layer).collect()
}

fn encoder(case: &Case, config: &Config, device: &Device) -> Encoder {
    let sizes = TransformerConfig {
        width: config.dim,
        heads: config.heads,
        feed_forward: config.ffn,
        activation: Activation::Relu,
        order: NormOrder::Post,
        dropout: config.dropout,
        epsilon: 1e-5,
    };
    support::filled(sizes.encoder(config.layers, device), case, keys(config), ENCODER_KEYS).0
}

#[test]
fn detr_encoder() {
    for case in Folder::open("transvg").of_kinds(&["detr_encoder"], 1) {
        let (config, device) = (case.config::<Config>(), Device::flex());
        let encoder = encoder(case, &config, &device);
        let padding = bools::<3>(&case.input("pad_mask"), &device);
        let position = SinePosition2d::DETR.forward(padding.clone());
        let mut report = case.report();
        report.check("pos", &array(position.clone()));
        let [b, d, h, w] = position.dims();
        let flat = |map: Tensor<4>| map.reshape([b, d, h * w]).swap_dims(1, 2); // [B, L, D]
        let tokens = Tokens::new(flat(tensor(&case.input("src"), &device)))
            .at(flat(position))
            .masked(AttentionBias::padding(padding.reshape([b, h * w])));
        let (layers, memory) = encoder.forward_with_maps(tokens);
        // The reference has tokens first.
        for (index, layer) in layers.into_iter().enumerate() {
            report.check(&format!("layer.{index}"), &array(layer.tokens.swap_dims(0, 1)));
            if report.wants(&format!("layer.{index}.attn")) {
                report.check(&format!("layer.{index}.attn"), &array(layer.weights));
            }
        }
        report.check("memory", &array(memory.swap_dims(0, 1)));
        report.finish();
    }
}

/// Scores of the first token before the mask, `[B, G, L]`.
fn first_scores(layer: &EncoderLayer, heads: usize, x: Tensor<3>, position: Tensor<3>) -> Tensor<3> {
    let [b, l, d] = x.dims();
    let placed = x + position;
    let e = d / heads;
    let query = layer.self_attn.q_proj.forward(placed.clone().narrow(1, 0, 1)).reshape([b, heads, 1, e]);
    let keys = layer.self_attn.k_proj.forward(placed).reshape([b, l, heads, e]).permute([0, 2, 3, 1]);
    query.matmul(keys).squeeze_dim::<3>(2).div_scalar((e as f64).sqrt())
}

#[test]
fn fusion_encoder() {
    for case in Folder::open("transvg").of_kinds(&["fusion_encoder"], 1) {
        let (config, device) = (case.config::<Config>(), Device::flex().autodiff());
        let encoder = encoder(case, &config, &device);
        let src = tensor::<3>(&case.input("src"), &device).require_grad();
        let position = tensor::<3>(&case.input("pos"), &device).swap_dims(0, 1);
        let padding = bools::<2>(&case.input("pad_mask"), &device);
        let values = src.clone().swap_dims(0, 1);
        let tokens = Tokens::new(values.clone()).at(position.clone()).masked(AttentionBias::padding(padding.clone()));
        let (layers, out) = encoder.forward_with_maps(tokens);

        let mut report = case.report();
        let inputs = std::iter::once(values).chain(layers.iter().map(|layer| layer.tokens.clone()));
        let scores: Vec<Tensor<3>> = (encoder.layers.iter().zip(inputs))
            .map(|(layer, x)| first_scores(layer, config.heads, x, position.clone()))
            .collect();
        let scores: Tensor<4> = Tensor::stack(scores, 0); // [layers, B, G, L]
        report.check("reg_attn.logits", &array(scores.clone().inner()));
        let weights: Vec<Tensor<3>> =
            layers.iter().map(|layer| layer.weights.clone().narrow(2, 0, 1).squeeze_dim(2)).collect();
        report.check("reg_attn.probs", &array(Tensor::<3>::stack::<4>(weights, 0).inner()));

        // Of the head-mean scores over the real visual tokens.
        let first_visual = 1 + config.text_len.unwrap();
        let visual = padding.dims()[1] - first_visual;
        let mean: Tensor<3> = scores.mean_dim(2).squeeze_dim::<3>(2).narrow(2, first_visual, visual);
        let hidden = padding.narrow(1, first_visual, visual).unsqueeze_dim::<3>(0).expand(mean.dims());
        let attention = activation::softmax(mean.mask_fill(hidden, f32::NEG_INFINITY), 2);
        report.check("attention_visual", &array(attention.inner()));

        let out = out.swap_dims(0, 1); // [L, B, D], as the reference has it
        let reg: Tensor<2> = out.clone().narrow(0, 0, 1).squeeze_dim(0);
        report.check("out", &array(out.inner()));
        report.check("out.reg", &array(reg.clone().inner()));
        let [batch, width] = reg.dims();
        let probe = support::probe(case, |_| reg.clone().reshape([batch * width]), |_| vec![batch, width]);
        let all = probe.backward();
        report.check("grad_in:src", &array(src.grad(&all).unwrap()));
        let found: BTreeMap<String, (Vec<usize>, Vec<f32>)> =
            gradients(&encoder, &all).into_iter().map(|(of, values)| (of.name, (of.shape, values))).collect();
        for (_, spec) in case.json["outputs"].as_object().unwrap() {
            let of = spec["of"].as_str().unwrap();
            let Some(key) = of.strip_prefix("grad:") else { continue };
            // Queries, keys and values stand one behind the other.
            let parts = destinations(key, ENCODER_KEYS).unwrap();
            let values: Vec<f32> = parts.iter().flat_map(|part| found[part].1.clone()).collect();
            let mut shape = found[&parts[0]].0.clone();
            shape[0] *= parts.len();
            report.check(of, &Array::from_values(shape, &values));
        }
        report.finish();
    }
}
