//! VLTVG: the whole network with its gradients, its decoder alone, and the names of its checkpoints.

use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use groundling_models::backbone::BackboneConfig;
use groundling_models::bases::{Cells, Seen};
use groundling_models::contract::{GroundOptions, System, Trainable};
use groundling_models::vltvg::{
    Criterion, DECODER_KEYS, Decoder, DecoderConfig, OFFICIAL_KEYS, Vltvg, VltvgConfig, Words,
};
use groundling_nn::checkpoint::{Rule, rename, within};
use groundling_nn::position::SinePosition2d;
use groundling_testkit::{Array, Case, Folder};
use serde::Deserialize;

use super::bases::{self, Keys, Names, Recorder};
use crate::support;

/// What a case says about a VLTVG.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    #[serde(default, rename = "type")]
    _type: String,
    backbone: bases::ResNet,
    image_size: usize,
    text_len: usize,
    dim: usize,
    heads: usize,
    ffn: usize,
    encoder_layers: usize,
    decoder_stages: usize,
    bert_output_layers: usize,
    bert: bases::Bert,
    dropout: f64,
    loss: Option<Loss>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Loss {
    weight_l1: f64,
    weight_giou: f64,
}

impl Config {
    /// Padding is hidden where the case says that there is any.
    pub(super) fn ours(&self, case: &Case) -> VltvgConfig {
        VltvgConfig {
            backbone: BackboneConfig::ResNet(self.backbone.config()),
            stage: 3,
            placed: false,
            bert: self.bert.config(),
            bert_output_layers: self.bert_output_layers,
            image_size: self.image_size,
            max_text: self.text_len,
            dim: self.dim,
            heads: self.heads,
            mlp_hidden: self.ffn,
            encoder_layers: self.encoder_layers,
            decoder_stages: self.decoder_stages,
            hide_padding: case.input("pad_mask").data.iter().any(|&hidden| hidden != 0.0),
            dropout: self.dropout,
        }
    }
}

/// Names and shapes of the decoder of the reference.
fn decoder_keys(names: &mut Names, prefix: &str, [d, f, stages, grid]: [usize; 4]) {
    let verify = format!("{prefix}.extra_encoder_layers.0");
    names.one(format!("{verify}.tf_scale"), &[1]);
    names.one(format!("{verify}.tf_sigma"), &[1]);
    for attention in ["img2text_attn", "img2textcond_attn", "img2img_attn"] {
        names.packed(&format!("{verify}.{attention}"), d);
    }
    for axis in ["pos_x", "pos_y"] {
        names.one(format!("{verify}.img2img_attn.{axis}"), &[2 * grid + 1, d / 2]);
    }
    names.pair(format!("{verify}.text_proj.layers.0"), &[d, d]);
    names.pair(format!("{verify}.img_proj.layers.0"), &[d, d]);
    names.pair(format!("{verify}.norm_text_cond_img"), &[d]);
    names.pair(format!("{verify}.norm_img"), &[d]);
    for stage in 0..stages {
        let prefix = format!("{prefix}.layers.{stage}");
        names.packed(&format!("{prefix}.word_attn"), d);
        names.packed(&format!("{prefix}.img_attn"), d);
        names.pair(format!("{prefix}.ffn.0"), &[f, d]);
        names.pair(format!("{prefix}.ffn.3"), &[d, f]);
        for norm in 0..3 {
            names.pair(format!("{prefix}.norm.{norm}"), &[d]);
        }
    }
    names.pair(format!("{prefix}.norm"), &[d]);
    names.one(format!("{prefix}.vis_query_embed.weight"), &[1, d]);
    names.one(format!("{prefix}.text_query_embed.weight"), &[1, d]);
}

/// Names and shapes of the reference.
pub(super) fn keys(config: &VltvgConfig) -> Keys {
    let (d, f) = (config.dim, config.mlp_hidden);
    let mut names = Names::default();
    names.resnet("backbone.0.body", &config.backbone);
    names.pair("input_proj", &[d, config.backbone.channels()[3], 1, 1]);
    names.encoder("trans_encoder.encoder", config.encoder_layers, d, f);
    names.bert("bert", &config.bert);
    names.pair("bert_proj", &[d, config.bert.width]);
    decoder_keys(&mut names, "trans_decoder.decoder", [d, f, config.decoder_stages, config.grid()]);
    names.mlp("bbox_embed", &[d, d, d, 4]);
    names.0
}

pub(super) fn model(config: &VltvgConfig, case: &Case, device: &Device) -> Vltvg {
    bases::filled(Vltvg::new(config, device).unwrap(), case, &keys(config), OFFICIAL_KEYS)
}

#[test]
fn names_of_checkpoints() {
    for case in Folder::open("vltvg").of_kinds(&["state_dict_keys"], 1) {
        let config = VltvgConfig::r50();
        let device = Device::flex().autodiff();
        bases::check_keys(case, &keys(&config), Vltvg::new(&config, &device).unwrap(), OFFICIAL_KEYS);
    }
    assert_eq!((keys(&VltvgConfig::r50()).len(), keys(&VltvgConfig::r101()).len()), (682, 937));
}

/// What training starts from.
#[test]
fn other_checkpoints() {
    let config = VltvgConfig::tiny();
    let model = Vltvg::new(&config, &Device::flex()).unwrap();
    let keys = keys(&config);
    let mut detr = bases::part(&keys, "backbone.", "backbone.");
    detr.extend(bases::part(&keys, "input_proj.", "input_proj."));
    detr.extend(bases::part(&keys, "trans_encoder.", "transformer."));
    bases::check_layout(&model, "detr", &bases::blank(detr), &["text", "decoder.", "bbox."]);
    let bert = bases::part(&keys, "bert.", "bert.");
    bases::check_layout(&model, "bert", &bases::blank(bert), &["visual.", "decoder.", "bbox.", "text_proj."]);
    bases::check_layout(&model, "official", &bases::blank(keys), &[]);
}

/// Beginnings or names of what the reference has with tokens first.
const SEQUENCES: &[&str] =
    &["trans_encoder.", "img2text", "img2textcond", "img2img", "text_embed", "img_embed", "disc_feature", "stage."];

#[test]
fn model_and_gradients() {
    let _alone = bases::alone();
    for case in Folder::open("vltvg").of_kinds(&["model"], 2) {
        let stated = case.config::<Config>();
        let config = stated.ours(case);
        let device = support::device(case);
        let model = model(&config, case, &device);
        let batch = bases::batch(case, &device);
        let mut look = Recorder::new(case, SEQUENCES).renamed("detr_encoder.", "trans_encoder.");
        let boxes = model.forward(&batch, &mut look); // [stages, B, 4]

        let mut report = case.report();
        look.check(&mut report);
        let (scores, weights) = look.attention();
        report.check("img_attn.logits", &scores);
        report.check("img_attn.probs", &weights);
        let [stages, b, _] = boxes.dims();
        let found = support::array(boxes.clone());
        let last = (stages - 1) * b * 4;
        report.check("pred_boxes", &Array::new([b, 1, 4], found.data[last..].to_vec()));
        if report.wants("aux_boxes") {
            assert_eq!(case.json["mode"], "train");
            report.check("aux_boxes", &Array::new([stages - 1, b, 1, 4], found.data[..last].to_vec()));
        }
        if report.wants("loss_total") {
            let loss = stated.loss.unwrap();
            let criterion =
                Criterion { lambda_l1: loss.weight_l1, lambda_giou: loss.weight_giou, ..Criterion::default() };
            let losses = Vltvg::losses_of(boxes.clone(), &bases::truths(&case.input("target")), &criterion);
            report.check("loss_total", &support::array(losses.total.clone()));
            let term = |name: &str| {
                // Without a number it is the last stage.
                let (kind, stage) = name.split_once('_').unwrap_or((name, ""));
                let stage = stage.parse().unwrap_or(stages - 1);
                let (_, value) = losses.terms.iter().find(|(term, _)| *term == format!("{kind}.{stage}")).unwrap();
                f64::from(value.clone().into_scalar::<f32>())
            };
            let names = case.entry_names("losses");
            report.check("losses", &Array::new([names.len()], names.iter().map(|name| term(name)).collect()));
            let [probe] = &case.probe()[..] else { panic!("one term") };
            assert_eq!((probe.output.as_str(), probe.weights(&[1]).data[0]), ("loss_total", 1.0));
            let grads = losses.total.backward();
            bases::check_gradients(&model, &grads, &keys(&config), OFFICIAL_KEYS, &mut report, case);
        }
        report.finish();
        pairs_answer_alike(model.valid(), &batch, &found.data[last..]);
    }
}

/// Pairs one by one, without the padding behind their phrases, as in the batch; and what the trace says of them.
fn pairs_answer_alike(model: Vltvg, batch: &groundling_models::contract::Batch, boxes: &[f64]) {
    for (index, (&content, &length)) in batch.contents.iter().zip(&batch.lengths).enumerate() {
        let ids: Vec<i64> = batch.ids.clone().narrow(0, index, 1).into_data().iter::<i64>().collect();
        let ids: Vec<u32> = ids[..length].iter().map(|&id| id as u32).collect();
        let phrase = model.read_phrase(&ids);
        let view = model.read_canvas(batch.canvases.clone().without_autodiff().narrow(0, index, 1), content);
        let options = GroundOptions { attention: true, ..GroundOptions::default() };
        let grounded = model.ground(&phrase, &view, &options).unwrap();
        let found = grounded.targets[0].bbox.to_array();
        assert!(found.iter().zip(&boxes[4 * index..]).all(|(a, b)| (a - b).abs() < 2e-5), "{found:?} {boxes:?}");
        let trace = grounded.trace.unwrap();
        assert_eq!(trace.layers.len(), model.config().decoder_stages);
        for layer in trace.layers {
            // All keys are visual tokens.
            assert!((layer.weights.iter().sum::<f32>() - 1.0).abs() < 1e-4);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecoderCase {
    dim: usize,
    heads: usize,
    ffn: usize,
    stages: usize,
    map: [usize; 2],
    text_len: usize,
    dropout: f64,
}

const LOCAL_KEYS: &[Rule] = &[rename(r"^decoder\.", ""), within("", DECODER_KEYS)];

#[test]
fn decoder() {
    for case in Folder::open("vltvg").of_kinds(&["decoder"], 1) {
        let stated: DecoderCase = case.config();
        let device = support::device(case);
        let [side, width] = stated.map;
        assert_eq!(side, width);
        let sizes = DecoderConfig {
            dim: stated.dim,
            heads: stated.heads,
            mlp_hidden: stated.ffn,
            stages: stated.stages,
            dropout: stated.dropout,
        };
        let mut names = Names::default();
        decoder_keys(&mut names, "decoder", [stated.dim, stated.ffn, stated.stages, side]);
        let decoder = bases::filled(Decoder::new(&sizes, &device), case, &names.0, LOCAL_KEYS);

        let image = support::tensor::<3>(&case.input("img_feat"), &device).require_grad();
        let words = support::tensor::<3>(&case.input("word_feat"), &device).require_grad();
        let hidden = |name: &str| -> Vec<bool> { case.input(name).data.iter().map(|&value| value != 0.0).collect() };
        let cells = Cells { side, padding: hidden("pad_mask") };
        let b = words.dims()[1];
        let padding = Tensor::<3, Bool>::from_data(TensorData::new(cells.padding.clone(), [b, side, side]), &device);
        let position = SinePosition2d { features: stated.dim / 2, ..SinePosition2d::DETR }.forward(padding.clone());
        let position = position.reshape([b, stated.dim, side * side]).swap_dims(1, 2);
        let seen =
            Seen { tokens: image.clone().swap_dims(0, 1), padding: Some(padding.reshape([b, side * side])), position };
        let word_padding = TensorData::new(hidden("word_pad"), [b, stated.text_len]);
        let words_seen =
            Words { tokens: words.clone().swap_dims(0, 1), padding: Some(Tensor::from_data(word_padding, &device)) };
        let mut look = Recorder::new(case, SEQUENCES);
        let read = decoder.forward(&seen, &cells, &words_seen, &mut look);

        let mut report = case.report();
        look.check(&mut report);
        report.check("hs", &support::array(read.clone()));
        let (scores, weights) = look.attention();
        report.check("img_attn.logits", &scores);
        report.check("img_attn.probs", &weights);
        let [probe] = &case.probe()[..] else { panic!("one term") };
        assert_eq!(probe.output, "hs");
        let weights = probe.weights(&read.dims());
        let grads = (read * support::tensor::<3>(&weights, &device)).sum().backward();
        report.check("grad_in:img_feat", &support::array(image.grad(&grads).unwrap()));
        report.check("grad_in:word_feat", &support::array(words.grad(&grads).unwrap()));
        bases::check_gradients(&decoder, &grads, &names.0, LOCAL_KEYS, &mut report, case);
        report.finish();
    }
}
