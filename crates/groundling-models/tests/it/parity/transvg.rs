//! TransVG: the whole network with its gradients, and the names of its checkpoints.

use burn::tensor::{Device, Tensor};
use groundling_models::backbone::BackboneConfig;
use groundling_models::contract::{GroundOptions, System, Trainable};
use groundling_models::transvg::{Criterion, OFFICIAL_KEYS, TransVg, TransVgConfig};
use groundling_nn::checkpoint::{Checkpoint, load_into};
use groundling_testkit::{Case, Folder};
use serde::Deserialize;

use super::bases::{self, Keys, Names, Recorder};
use crate::support;

/// What a case says about a TransVG.
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
    fusion_layers: usize,
    bert: bases::Bert,
    dropout: f64,
}

impl Config {
    pub(super) fn ours(&self) -> TransVgConfig {
        TransVgConfig {
            backbone: BackboneConfig::ResNet(self.backbone.config()),
            stage: 3,
            placed: false,
            bert: self.bert.config(),
            image_size: self.image_size,
            max_text: self.text_len,
            dim: self.dim,
            heads: self.heads,
            mlp_hidden: self.ffn,
            encoder_layers: self.encoder_layers,
            fusion_layers: self.fusion_layers,
            hide_padding: true,
            dropout: self.dropout,
        }
    }
}

/// Names and shapes of the reference.
pub(super) fn keys(config: &TransVgConfig) -> Keys {
    let (d, f) = (config.dim, config.mlp_hidden);
    let mut names = Names::default();
    names.resnet("visumodel.backbone.0.body", &config.backbone);
    names.pair("visumodel.input_proj", &[d, config.backbone.channels()[3], 1, 1]);
    names.encoder("visumodel.transformer.encoder", config.encoder_layers, d, f);
    names.bert("textmodel.bert", &config.bert);
    names.one("vl_pos_embed.weight", &[1 + config.max_text + config.grid().pow(2), d]);
    names.one("reg_token.weight", &[1, d]);
    names.pair("visu_proj", &[d, d]);
    names.pair("text_proj", &[d, config.bert.width]);
    names.encoder("vl_transformer.encoder", config.fusion_layers, d, f);
    names.mlp("bbox_embed", &[d, d, d, 4]);
    names.0
}

pub(super) fn model(config: &TransVgConfig, case: &Case, device: &Device) -> TransVg {
    bases::filled(TransVg::new(config, device).unwrap(), case, &keys(config), OFFICIAL_KEYS)
}

#[test]
fn names_of_checkpoints() {
    for case in Folder::open("transvg").of_kinds(&["state_dict_keys"], 1) {
        let config = TransVgConfig::r50();
        let device = Device::flex().autodiff();
        bases::check_keys(case, &keys(&config), TransVg::new(&config, &device).unwrap(), OFFICIAL_KEYS);
    }
    // The published sizes, the pooler that is not read included.
    let count = |config: &TransVgConfig| {
        let keys = keys(config);
        let elements: usize = keys.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        (keys.len(), (elements + 50_000) / 100_000)
    };
    assert_eq!(count(&TransVgConfig::r50()), (622, 1499));
    assert_eq!(count(&TransVgConfig::r101()), (877, 1689));
}

#[test]
fn model_and_gradients() {
    let _alone = bases::alone();
    for case in Folder::open("transvg").of_kinds(&["model"], 2) {
        let config = case.config::<Config>().ours();
        let device = support::device(case);
        let model = model(&config, case, &device);
        let batch = bases::batch(case, &device);
        let mut look = Recorder::new(case, &["detr_encoder.", "visu_proj", "vl_encoder."]);
        let boxes = model.forward(&batch, &mut look);

        let mut report = case.report();
        look.check(&mut report);
        let (scores, weights) = look.attention();
        for (name, value) in [("reg_attn.logits", scores), ("reg_attn.probs", weights)] {
            if report.wants(name) {
                report.check(name, &value);
            }
        }
        report.check("pred_box", &support::array(boxes.clone()));
        let target = case.input("target");
        let truths = bases::truths(&target);
        report.check("eval_iou", &bases::eval_iou(boxes.clone(), &target));
        let weight = |name: &str| {
            let term = case.probe().into_iter().find(|term| term.output == name);
            term.map_or(1.0, |term| term.weights(&[1]).data[0])
        };
        let criterion =
            Criterion { lambda_l1: weight("loss_bbox"), lambda_giou: weight("loss_giou"), ..Criterion::default() };
        let losses = TransVg::losses_of(boxes.clone(), &truths, &criterion);
        for (term, of) in [("l1", "loss_bbox"), ("giou", "loss_giou")] {
            let (_, value) = losses.terms.iter().find(|(name, _)| name == term).unwrap();
            report.check(of, &support::array(value.clone()));
        }
        if !case.probe().is_empty() {
            assert!(case.probe().iter().all(|term| ["loss_bbox", "loss_giou"].contains(&term.output.as_str())));
            let grads = losses.total.backward();
            bases::check_gradients(&model, &grads, &keys(&config), OFFICIAL_KEYS, &mut report, case);
        }
        report.finish();
        pairs_answer_alike(model, &batch, boxes);
    }
}

/// Pairs one by one, without the padding behind their phrases, as in the batch; and what the trace says of them.
fn pairs_answer_alike(model: TransVg, batch: &groundling_models::contract::Batch, boxes: Tensor<2>) {
    use burn::module::Module;
    let model = model.valid();
    let boxes = support::array(boxes);
    for (index, (&content, &length)) in batch.contents.iter().zip(&batch.lengths).enumerate() {
        let ids: Vec<i64> = batch.ids.clone().narrow(0, index, 1).into_data().iter::<i64>().collect();
        let ids: Vec<u32> = ids[..length].iter().map(|&id| id as u32).collect();
        let phrase = model.read_phrase(&ids);
        let view = model.read_canvas(batch.canvases.clone().without_autodiff().narrow(0, index, 1), content);
        let options = GroundOptions { attention: true, ..GroundOptions::default() };
        let grounded = model.ground(&phrase, &view, &options).unwrap();
        let expected = &boxes.data[4 * index..4 * index + 4];
        let found = grounded.targets[0].bbox.to_array();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-5), "{found:?} {expected:?}");
        let trace = grounded.trace.unwrap();
        assert_eq!(trace.layers.len(), model.config().fusion_layers);
        for (layer, of) in trace.layers.iter().enumerate() {
            let map = trace.map(layer).unwrap();
            assert!((map.iter().sum::<f32>() - 1.0).abs() < 1e-4);
            for ((&valid, &weight), value) in trace.valid.iter().zip(&of.weights).zip(map) {
                assert!(valid || (weight == 0.0 && value == 0.0));
            }
            assert!(of.weights.iter().sum::<f32>() < 1.0);
        }
    }
}

/// What training starts from, and checkpoints with something missing.
#[test]
fn other_checkpoints() {
    let config = TransVgConfig::tiny();
    let model = TransVg::new(&config, &Device::flex()).unwrap();
    let keys = keys(&config);
    let mut detr = bases::part(&keys, "visumodel.backbone.", "backbone.");
    detr.extend(bases::part(&keys, "visumodel.input_proj.", "input_proj."));
    detr.extend(bases::part(&keys, "visumodel.transformer.", "transformer."));
    for name in
        ["transformer.decoder.norm.weight", "query_embed.weight", "class_embed.bias", "bbox_embed.layers.0.bias"]
    {
        detr.push((name.to_owned(), vec![8]));
    }
    bases::check_layout(&model, "detr", &bases::blank(detr), &["text", "fusion.", "visu_proj."]);
    for prefix in ["bert.", ""] {
        let mut bert = bases::part(&keys, "textmodel.bert.", prefix);
        bert.push(("cls.predictions.bias".to_owned(), vec![8]));
        bases::check_layout(&model, "bert", &bases::blank(bert), &["visual.", "fusion.", "visu_proj.", "text_proj."]);
    }
    bases::check_layout(&model, "official", &bases::blank(keys.clone()), &[]);

    let lost = "vl_transformer.encoder.layers.1.linear2.weight";
    let rest = bases::blank(keys.iter().filter(|(key, _)| key != lost).cloned());
    let load = |checkpoint: &Checkpoint| {
        let model = TransVg::new(&config, &Device::flex()).unwrap();
        load_into(model, checkpoint, OFFICIAL_KEYS).err().unwrap().to_string()
    };
    assert!(load(&rest).contains("fusion.encoder.layers.1.linear2.weight"), "{}", load(&rest));
    let longer = bases::blank(keys.into_iter().map(|(key, mut shape)| {
        shape[0] += usize::from(key == "vl_pos_embed.weight");
        (key, shape)
    }));
    assert!(load(&longer).contains("vl_pos_embed.weight"), "{}", load(&longer));
}
