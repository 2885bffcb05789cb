//! Pieces: fusion, the transformer layer of the decoder, recovery, the decoder.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Gradients;
use groundling_kernels::Activation;
use groundling_models::dmmi::{
    DECODER_KEYS, Decoder, LAYER_KEYS, Language, MBA_KEYS, MbaConfig, Observer, RECOVERY_KEYS, Recovery, Seen, attend,
};
use groundling_nn::transformer::{NormOrder, TransformerConfig};
use groundling_testkit::{Array, Case, Folder, Report};
use serde::Deserialize;

use super::{ByKey, Keys, filled, gradient_outputs, under};
use crate::support::{self, Flat, array, probe, tensor};

/// Takes the gradient of an input.
type Pick<'a> = dyn Fn(&Gradients) -> Array + 'a;

/// Values seen inside, by place.
pub(super) type Inside = BTreeMap<String, Array>;

/// Keeps what is seen.
pub(super) fn keep(seen: &mut Inside) -> impl FnMut(Seen<'_>) + '_ {
    |found: Seen<'_>| {
        let values = array(found.values.without_autodiff());
        seen.insert(found.place.to_owned(), Array::new(found.shape, values.data));
    }
}

/// The last two axes exchanged.
fn turned(value: &Array) -> Array {
    let rank = value.shape.len();
    let (rows, columns) = (value.shape[rank - 2], value.shape[rank - 1]);
    let mut data = Vec::with_capacity(value.data.len());
    for block in value.data.chunks(rows * columns) {
        data.extend((0..columns).flat_map(|column| (0..rows).map(move |row| block[row * columns + column])));
    }
    let mut shape = value.shape.clone();
    shape.swap(rank - 2, rank - 1);
    Array::new(shape, data)
}

/// `[B, C, H, W]` as `[B, C, N]`.
fn channels_first(value: &Array) -> Array {
    let [b, c, h, w] = value.shape[..] else { panic!("a map has four axes") };
    Array::new([b, c, h * w], value.data.clone())
}

/// The scalar of the case, summed in f64; the stored value where they differ by no more than rounding of the terms explains.
///
/// The limit of a case is eight times what one run in f32 was off by. For a sum of tens of thousands of terms that is luck: PyTorch in f32 on
/// another machine is off by 8.5e-6 where the limit of `mba_d64_odd` is 5.6e-6. Terms are off by about an eighth of the largest deviation
/// that their tensor states, independently of one another; three times the deviation of such a sum is allowed.
fn probed(case: &Case, outputs: &BTreeMap<&str, Flat>) -> f64 {
    let (mut sum, mut variance) = (0.0, 0.0);
    let listed = case.json["outputs"].as_object().unwrap();
    let about = |of: &str| listed.iter().find(|(_, spec)| spec["of"] == of);
    for term in case.probe() {
        let (shape, values) = &outputs[term.output.as_str()];
        let (weights, values) = (term.weights(shape), array(values.clone().without_autodiff()));
        sum += weights.data.iter().zip(&values.data).map(|(weight, value)| weight * value).sum::<f64>();
        let off = about(&term.output).map_or(0.0, |(_, spec)| spec["dev"].as_f64().unwrap() / 8.0);
        variance += weights.data.iter().map(|weight| (weight * off).powi(2)).sum::<f64>();
    }
    let stored = case.tensor(about("probe").unwrap().0).data[0];
    if (sum - stored).abs() <= 3.0 * variance.sqrt() { stored } else { sum }
}

/// Checks `probe`, the gradients of inputs and those of parameters.
fn check_gradients<M: Module>(
    case: &Case,
    report: &mut Report<'_>,
    (module, keys, table): (&M, &Keys, &'static [groundling_nn::checkpoint::Rule]),
    outputs: &BTreeMap<&str, Flat>,
    inputs: &[(&str, &Pick<'_>)],
) {
    let total = probe(case, outputs.clone()).expect("gradients are of a scalar");
    if report.wants("probe") {
        report.check("probe", &Array::scalar(probed(case, outputs)));
    }
    let all = total.backward();
    for (name, gradient) in inputs {
        let name = format!("grad_in:{name}");
        if report.wants(&name) {
            report.check(&name, &gradient(&all));
        }
    }
    let found = ByKey::gradients(module, &all, keys, table);
    for key in gradient_outputs(case) {
        let gradient = found.get(&key).unwrap_or_else(|| panic!("{}: no gradient of {key}", case.name()));
        report.check(&format!("grad:{key}"), &gradient);
    }
}

#[test]
fn mba() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        channels: usize,
        text_dim: usize,
    }
    for case in Folder::open("dmmi").of_kinds(&["mba"], 2) {
        let Config { channels, text_dim } = case.config();
        let device = support::device(case);
        let sizes = MbaConfig { channels, width: text_dim, regions: vec![1, 3, 5], spans: vec![1, 2, 3], gated: true };
        let parts = ["fusion.", "res_gate.", "W_l."];
        let keys: Keys = under("backbone.layers.0.")
            .into_iter()
            .filter(|(key, _)| parts.iter().any(|part| key.starts_with(part)))
            .collect();
        let (block, keys) = filled(sizes.init(&device), case, keys, MBA_KEYS);
        let x = tensor::<4>(&case.input("x"), &device).require_grad();
        let l = tensor::<3>(&case.input("l"), &device).require_grad(); // [B, D, L]
        let language = Language { tokens: l.clone().swap_dims(1, 2), valid: tensor(&case.input("mask"), &device) };
        let mut inside = Inside::new();
        let mut watch = keep(&mut inside);
        let observer = &mut Observer::new(&mut watch);
        let fused = block.forward(x.clone(), &language, observer);
        let next = block.gated(x.clone(), fused.residual.clone(), observer);
        drop(watch);

        let mut report = case.report();
        let l_out = fused.language.swap_dims(1, 2);
        report.check("x_out", &array(next.clone().without_autodiff()));
        report.check("l_out", &array(l_out.clone().without_autodiff()));
        let with_head = |value: &Array| {
            let [b, rows, columns] = value.shape[..] else { panic!("three axes") };
            Array::new([b, 1, rows, columns], value.data.clone())
        };
        for (index, name) in ["11", "33", "55"].into_iter().enumerate() {
            report.check(&format!("sim.refineimg{name}"), &with_head(&turned(&inside[&format!("region{index}")])));
        }
        for (index, name) in ["11", "21", "31"].into_iter().enumerate() {
            report.check(&format!("sim.refinelan{name}"), &with_head(&inside[&format!("span{index}")]));
        }
        report.check("vis_project", &channels_first(&inside["visual"]));
        report.check("att.out_v", &turned(&channels_first(&inside["attended"])));
        report.check("att.out_l", &turned(&inside["answered"]));
        report.check("x_residual", &turned(&channels_first(&inside["residual"])));
        report.check("gate", &turned(&channels_first(&inside["gate"])));
        let outputs = BTreeMap::from([("x_out", support::flat(&next)), ("l_out", support::flat(&l_out))]);
        let of_x = |all: &Gradients| array(x.grad(all).unwrap());
        let of_l = |all: &Gradients| array(l.grad(all).unwrap());
        check_gradients(case, &mut report, (&block, &keys, MBA_KEYS), &outputs, &[("x", &of_x), ("l", &of_l)]);
        report.finish();
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    dim: usize,
    heads: usize,
    ffn: usize,
    #[allow(dead_code, reason = "no case has active dropout")]
    dropout: f64,
    ln_eps: f64,
}

impl Layer {
    fn sizes(&self) -> TransformerConfig {
        TransformerConfig {
            width: self.dim,
            heads: self.heads,
            feed_forward: self.ffn,
            activation: Activation::Relu,
            order: NormOrder::Post,
            dropout: 0.0,
            epsilon: self.ln_eps,
        }
    }
}

#[test]
fn psi() {
    for case in Folder::open("dmmi").of_kinds(&["psi"], 1) {
        let device = support::device(case);
        let layer = case.config::<Layer>().sizes().decoder_layer(&device);
        let (layer, keys) = filled(layer, case, under("classifier.transformer_fusion1."), LAYER_KEYS);
        let vis = tensor::<4>(&case.input("vis"), &device).require_grad();
        let lan = tensor::<3>(&case.input("lan"), &device).require_grad();
        let out = attend(&layer, vis.clone(), lan.clone().swap_dims(1, 2));
        let mut report = case.report();
        report.check("out", &array(out.clone().without_autodiff()));
        let outputs = BTreeMap::from([("out", support::flat(&out))]);
        let of_vis = |all: &Gradients| array(vis.grad(all).unwrap());
        let of_lan = |all: &Gradients| array(lan.grad(all).unwrap());
        let inputs: [(&str, &Pick<'_>); 2] = [("vis", &of_vis), ("lan", &of_lan)];
        check_gradients(case, &mut report, (&layer, &keys, LAYER_KEYS), &outputs, &inputs);
        report.finish();
    }
}

#[test]
fn ccr() {
    for case in Folder::open("dmmi").of_kinds(&["ccr"], 1) {
        let device = support::device(case);
        let recovery = Recovery::new(&case.config::<Layer>().sizes(), &device);
        let (mut recovery, keys) = filled(recovery, case, under("classifier.lan_func."), RECOVERY_KEYS);
        assert_eq!(case.json["mode"], "eval");
        recovery.fix_norms(true);
        let vis = tensor::<4>(&case.input("vis"), &device).require_grad();
        let lan = tensor::<3>(&case.input("lan"), &device).require_grad();
        let out = recovery.forward(lan.clone().swap_dims(1, 2), vis.clone()).swap_dims(1, 2);
        let mut report = case.report();
        report.check("out", &array(out.clone().without_autodiff()));
        let outputs = BTreeMap::from([("out", support::flat(&out))]);
        let of_vis = |all: &Gradients| array(vis.grad(all).unwrap());
        let of_lan = |all: &Gradients| array(lan.grad(all).unwrap());
        let inputs: [(&str, &Pick<'_>); 2] = [("vis", &of_vis), ("lan", &of_lan)];
        check_gradients(case, &mut report, (&recovery, &keys, RECOVERY_KEYS), &outputs, &inputs);
        report.finish();
    }
}

#[test]
fn decoder() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        /// Coarsest first.
        channels: [usize; 4],
        text_dim: usize,
        decoder_dim: usize,
        decoder_heads: usize,
        decoder_ffn: usize,
        classes: usize,
        dropout: f64,
    }
    for case in Folder::open("dmmi").of_kinds(&["decoder"], 2) {
        let config: Config = case.config();
        assert_eq!((config.text_dim, config.classes), (config.decoder_dim, 2));
        assert_eq!(case.json["mode"], "eval");
        let device = support::device(case);
        let (dim, heads, ffn, dropout) = (config.decoder_dim, config.decoder_heads, config.decoder_ffn, config.dropout);
        let sizes = Layer { dim, heads, ffn, dropout, ln_eps: 1e-5 }.sizes();
        let [c4, c3, c2, c1] = config.channels;
        let decoder = Decoder::new([c1, c2, c3, c4], &sizes, &device);
        let (decoder, _) = filled(decoder, case, under("classifier."), DECODER_KEYS);
        let map = |name: &str| tensor::<4>(&case.input(name), &device);
        let tokens = |name: &str| tensor::<3>(&case.input(name), &device).swap_dims(1, 2);
        let mut inside = Inside::new();
        let mut watch = keep(&mut inside);
        let decoded = decoder.forward(
            ["c1", "c2", "c3", "c4"].map(map),
            tokens("lan_full"),
            Some(tokens("lan")),
            &mut Observer::new(&mut watch),
        );
        drop(watch);
        let mut report = case.report();
        for place in ["y4", "psi1", "y3", "psi2", "y2"] {
            report.check(place, &inside[place]);
        }
        report.check("de_feat.after_crossfuse1", &inside["pooled3"]);
        report.check("low_logits", &array(decoded.low_logits.clone()));
        let learned = decoded.learned.unwrap();
        report.check("de_feat", &array(learned.pooled));
        report.check("l_rec", &array(learned.recovered.swap_dims(1, 2)));
        report.finish();
        // Masks do not depend on the erased phrase, nor on whether there is one.
        let plain = decoder.forward(["c1", "c2", "c3", "c4"].map(map), tokens("lan_full"), None, &mut Observer::none());
        assert!(plain.learned.is_none());
        assert_eq!(plain.low_logits.into_data(), decoded.low_logits.into_data());
    }
}
