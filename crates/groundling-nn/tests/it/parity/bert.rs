//! BERT: hidden states, pooled vector, gradients.

use burn::tensor::Tensor;
use groundling_nn::bert::{BertConfig, BertInput};
use groundling_nn::layers::PrepareInference;
use groundling_testkit::{Array, Case, Folder};
use serde::Deserialize;

use crate::support;

#[derive(Deserialize)]
struct Config {
    vocab: usize,
    hidden: usize,
    layers: usize,
    heads: usize,
    ffn: usize,
    max_positions: usize,
    types: usize,
    ln_eps: f64,
    activation: String,
    pooler: bool,
}

/// The sizes that a case states.
pub(super) fn config(case: &Case) -> BertConfig {
    let config: Config = case.config();
    assert_eq!(config.activation, "gelu_erf", "{}", case.name());
    BertConfig {
        vocabulary: config.vocab,
        width: config.hidden,
        layers: config.layers,
        heads: config.heads,
        feed_forward: config.ffn,
        positions: config.max_positions,
        token_types: config.types,
        epsilon: config.ln_eps,
        dropout: 0.0,
        pooler: config.pooler,
    }
}

/// The state dict of the reference, by the names of Hugging Face.
fn keys(config: &BertConfig) -> Vec<(String, Vec<usize>)> {
    let (d, f) = (config.width, config.feed_forward);
    let mut keys = Vec::new();
    let mut add = |name: String, shape: &[usize]| keys.push((name, shape.to_vec()));
    for (name, count) in
        [("word", config.vocabulary), ("position", config.positions), ("token_type", config.token_types)]
    {
        add(format!("embeddings.{name}_embeddings.weight"), &[count, d]);
    }
    let mut pair = |name: String, shape: &[usize]| {
        add(format!("{name}.weight"), shape);
        add(format!("{name}.bias"), &shape[..1]);
    };
    pair("embeddings.LayerNorm".into(), &[d]);
    for layer in 0..config.layers {
        let prefix = format!("encoder.layer.{layer}");
        for name in ["self.query", "self.key", "self.value", "output.dense"] {
            pair(format!("{prefix}.attention.{name}"), &[d, d]);
        }
        pair(format!("{prefix}.attention.output.LayerNorm"), &[d]);
        pair(format!("{prefix}.intermediate.dense"), &[f, d]);
        pair(format!("{prefix}.output.dense"), &[d, f]);
        pair(format!("{prefix}.output.LayerNorm"), &[d]);
    }
    if config.pooler {
        pair("pooler.dense".into(), &[d, d]);
    }
    keys
}

#[test]
fn bert() {
    for case in Folder::open("bert").of_kinds(&["bert"], 3) {
        let device = support::device(case);
        let config = config(case);
        let (mut model, _) = support::filled(config.init(&device), case, keys(&config), config.keys());
        // With gradients the plain weights are used, without them the rearranged ones.
        model.prepare_inference();
        let output = model.forward(BertInput {
            ids: support::ints(&case.input("ids"), &device),
            types: Some(support::ints(&case.input("types"), &device)),
            padding: support::padding(&case.input("mask"), &device),
        });
        let mut report = case.report();
        for (index, hidden) in output.hidden.iter().enumerate() {
            let name = format!("hidden.{index}");
            if report.wants(&name) {
                report.check(&name, &support::array(hidden.clone()));
            }
        }
        if report.wants("pooled") {
            report.check("pooled", &support::array(output.pooled.clone().unwrap()));
        }
        if !case.probe().is_empty() {
            let hidden = |name: &str| -> Tensor<3> {
                let index: usize = name.strip_prefix("hidden.").unwrap().parse().unwrap();
                output.hidden[index].clone()
            };
            let probe = support::probe(case, |name| hidden(name).flatten(0, 2), |name| hidden(name).dims().to_vec());
            if report.wants("probe") {
                report.check("probe", &Array::scalar(f64::from(probe.clone().into_scalar::<f32>())));
            }
            support::check_gradients(&model, probe, config.keys(), case, &mut report);
        }
        report.finish();
    }
}
