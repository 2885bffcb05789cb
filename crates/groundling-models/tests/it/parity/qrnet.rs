//! QRNet: the whole network with its gradients, its modules alone, and the names of its checkpoints.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_models::contract::{GroundOptions, System};
use groundling_models::qrnet::{Criterion, GATE_KEYS, OFFICIAL_KEYS, QrNet, QrNetConfig, QueryGate};
use groundling_nn::swin::{PatchMerging, SwinBlockConfig, SwinConfig, TokenMap, shift_regions_differ};
use groundling_testkit::{Array, Case, Folder};
use serde::Deserialize;

use super::bases::{self, Keys, Names, Recorder};
use crate::support;

/// A Swin as a case states it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Swin {
    r#type: String,
    in_channels: usize,
    patch: usize,
    embed_dim: usize,
    depths: [usize; 4],
    heads: [usize; 4],
    window: usize,
    mlp_ratio: f64,
    qkv_bias: bool,
    patch_norm: bool,
    drop_path: f64,
    ln_eps: f64,
}

/// What a case says about a QRNet. Rank and reduction of its gates are constants of the reference.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    #[serde(default, rename = "type")]
    _type: String,
    backbone: Swin,
    image_size: usize,
    text_len: usize,
    dim: usize,
    heads: usize,
    ffn: usize,
    fusion_layers: usize,
    bert: bases::Bert,
    dropout: f64,
}

const RANK: usize = 30;

/// Largest distance of gradients of the reference in 32 and 64 bits, over the largest element, as its README states it.
const GRADIENT_SHARE: f64 = 1.6e-4;

impl Config {
    pub(super) fn ours(&self) -> QrNetConfig {
        let swin = &self.backbone;
        assert_eq!(swin.r#type, "swin");
        QrNetConfig {
            backbone: SwinConfig::new(swin.embed_dim, swin.depths, swin.heads, swin.window)
                .with_in_channels(swin.in_channels)
                .with_patch(swin.patch)
                .with_mlp_ratio(swin.mlp_ratio)
                .with_qkv_bias(swin.qkv_bias)
                .with_patch_norm(swin.patch_norm)
                .with_drop_path(swin.drop_path)
                .with_epsilon(swin.ln_eps),
            bert: self.bert.config(),
            rank: RANK,
            reduction: 16,
            image_size: self.image_size,
            max_text: self.text_len,
            dim: self.dim,
            heads: self.heads,
            mlp_hidden: self.ffn,
            fusion_layers: self.fusion_layers,
            hide_padding: true,
            dropout: self.dropout,
        }
    }
}

fn gate_keys(names: &mut Names, prefix: &str, channels: usize, phrase: usize, rank: usize, reduction: usize) {
    let middle = channels / reduction;
    for (part, inputs, outputs) in [
        ("ChannelGate.mlp.0", channels, middle),
        ("ChannelGate.mlp.2", middle, channels),
        ("SpatialGate.spatial", channels, 1),
    ] {
        names.one(format!("{prefix}{part}.decoder.V"), &[rank, outputs]);
        names.pair(format!("{prefix}{part}.decoder.decoder"), &[(inputs + 1) * rank, phrase]);
    }
}

fn swin_keys(names: &mut Names, prefix: &str, config: &SwinConfig) {
    let first = config.embed_dim;
    names.pair(format!("{prefix}.patch_embed.proj"), &[first, config.in_channels, config.patch, config.patch]);
    names.pair(format!("{prefix}.patch_embed.norm"), &[first]);
    for (stage, d) in config.channels().into_iter().enumerate() {
        let hidden = (d as f64 * config.mlp_ratio) as usize;
        let window = config.window;
        for block in 0..config.depths[stage] {
            let prefix = format!("{prefix}.layers.{stage}.blocks.{block}");
            names.pair(format!("{prefix}.norm1"), &[d]);
            let table = format!("{prefix}.attn.relative_position_bias_table");
            names.one(table, &[(2 * window - 1).pow(2), config.heads[stage]]);
            names.one(format!("{prefix}.attn.relative_position_index"), &[window.pow(2); 2]);
            names.pair(format!("{prefix}.attn.qkv"), &[3 * d, d]);
            names.pair(format!("{prefix}.attn.proj"), &[d, d]);
            names.pair(format!("{prefix}.norm2"), &[d]);
            names.pair(format!("{prefix}.mlp.fc1"), &[hidden, d]);
            names.pair(format!("{prefix}.mlp.fc2"), &[d, hidden]);
        }
        if stage < 3 {
            names.one(format!("{prefix}.layers.{stage}.downsample.reduction.weight"), &[2 * d, 4 * d]);
            names.pair(format!("{prefix}.layers.{stage}.downsample.norm"), &[4 * d]);
        }
        names.pair(format!("{prefix}.norm{stage}"), &[d]);
    }
}

/// Names and shapes of the reference.
pub(super) fn keys(config: &QrNetConfig) -> Keys {
    let (d, f, phrase) = (config.dim, config.mlp_hidden, config.bert.width);
    let mut names = Names::default();
    swin_keys(&mut names, "visumodel.backbone", &config.backbone);
    for (stage, channels) in config.backbone.channels().into_iter().enumerate() {
        let prefix = format!("visumodel.backbone.layers.{stage}.qdatt.");
        gate_keys(&mut names, &prefix, channels, phrase, config.rank, config.reduction);
        names.pair(format!("visumodel.neck.lateral_convs.{stage}.conv"), &[d, channels, 1, 1]);
    }
    for level in 0..3 {
        let prefix = format!("visumodel.neck.fpn_down.{level}.qdatt.");
        gate_keys(&mut names, &prefix, d, phrase, config.rank, config.reduction);
    }
    names.pair("visumodel.rpn_head.rpn_conv", &[d, d, 3, 3]);
    names.pair("visumodel.rpn_head.rpn_cls", &[3, d, 1, 1]);
    names.pair("visumodel.rpn_head.rpn_reg", &[12, d, 1, 1]);
    names.bert("textmodel.bert", &config.bert);
    names.one("vl_pos_embed.weight", &[1 + config.max_text + config.visual_tokens(), d]);
    names.one("reg_token.weight", &[1, d]);
    names.one("scale_embed.weight", &[5, d]);
    names.pair("visu_proj", &[d, d]);
    names.pair("text_proj", &[d, phrase]);
    names.encoder("vl_transformer.encoder", config.fusion_layers, d, f);
    names.mlp("bbox_embed", &[d, d, d, 4]);
    names.0
}

pub(super) fn model(config: &QrNetConfig, case: &Case, device: &Device) -> QrNet {
    bases::filled(QrNet::new(config, device).unwrap(), case, &keys(config), OFFICIAL_KEYS)
}

#[test]
fn names_of_checkpoints() {
    let config = QrNetConfig::swin_s();
    for case in Folder::open("qrnet").of_kinds(&["state_dict_keys"], 1) {
        let device = Device::flex().autodiff();
        bases::check_keys(case, &keys(&config), QrNet::new(&config, &device).unwrap(), OFFICIAL_KEYS);
    }
    let keys = keys(&config);
    let elements: usize = keys.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!((keys.len(), (elements + 50_000) / 100_000), (718, 2734));
}

/// What training starts from.
#[test]
fn other_checkpoints() {
    let config = QrNetConfig::tiny();
    let model = QrNet::new(&config, &Device::flex()).unwrap();
    let keys = keys(&config);
    let mut detector = bases::part(&keys, "visumodel.backbone.", "backbone.");
    detector.retain(|(key, _)| !key.contains(".qdatt."));
    detector.extend(bases::part(&keys, "visumodel.neck.lateral_convs.", "neck.lateral_convs."));
    detector.extend(bases::part(&keys, "visumodel.rpn_head.", "rpn_head."));
    for name in ["neck.fpn_convs.0.conv.bias", "roi_head.bbox_head.0.fc_cls.bias"] {
        detector.push((name.to_owned(), vec![8]));
    }
    let new = ["text", "fusion.", "visu_proj.", "scale_embed", "visual.gates.", "visual.down."];
    bases::check_layout(&model, "mask-rcnn", &bases::blank(detector), &new);
    let bert = bases::part(&keys, "textmodel.bert.", "bert.");
    let new = ["visual.", "fusion.", "visu_proj.", "scale_embed", "text_proj."];
    bases::check_layout(&model, "bert", &bases::blank(bert), &new);
    bases::check_layout(&model, "official", &bases::blank(keys), &[]);
}

#[test]
fn model_and_gradients() {
    let _alone = bases::alone();
    for case in Folder::open("qrnet").of_kinds(&["model"], 2) {
        let case = &bases::with_least_limits(case, GRADIENT_SHARE);
        let config = case.config::<Config>().ours();
        let device = support::device(case);
        let model = model(&config, case, &device);
        let batch = bases::batch(case, &device);
        let mut look = Recorder::new(case, &["visu_proj", "vl_encoder."]);
        let boxes = model.forward(&batch, &mut look);

        let mut report = case.report();
        look.check(&mut report);
        let (scores, weights) = look.attention();
        report.check("reg_attn.logits", &scores);
        report.check("reg_attn.probs", &weights);
        report.check("pred_box", &support::array(boxes.clone()));
        let target = case.input("target");
        report.check("eval_iou", &bases::eval_iou(boxes.clone(), &target));
        let losses = QrNet::losses_of(boxes.clone(), &bases::truths(&target), &Criterion::default());
        for (term, of) in [("l1", "loss_bbox"), ("giou", "loss_giou")] {
            let (_, value) = losses.terms.iter().find(|(name, _)| name == term).unwrap();
            report.check(of, &support::array(value.clone()));
        }
        if !case.probe().is_empty() {
            let terms: Vec<_> =
                case.probe().into_iter().map(|term| (term.output.clone(), term.weights(&[1]).data[0])).collect();
            assert_eq!(terms, [("loss_bbox".to_owned(), 1.0), ("loss_giou".to_owned(), 1.0)]);
            let grads = losses.total.backward();
            bases::check_gradients(&model, &grads, &keys(&config), OFFICIAL_KEYS, &mut report, case);
        }
        report.finish();

        // A pair alone, without the padding behind its phrase, answers as in the batch.
        let model = model.valid();
        let ids: Vec<i64> = batch.ids.clone().narrow(0, 0, 1).into_data().iter::<i64>().collect();
        let ids: Vec<u32> = ids[..batch.lengths[0]].iter().map(|&id| id as u32).collect();
        let view = model.read_canvas(batch.canvases.without_autodiff().narrow(0, 0, 1), batch.contents[0]);
        let options = GroundOptions { attention: true, ..GroundOptions::default() };
        let grounded = model.ground(&model.read_phrase(&ids), &view, &options).unwrap();
        let (found, expected) = (grounded.targets[0].bbox.to_array(), support::array(boxes).data);
        assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 5e-5), "{found:?} {expected:?}");
        let trace = grounded.trace.unwrap();
        assert_eq!((trace.layers.len(), trace.valid.len()), (config.fusion_layers, config.visual_tokens()));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GateCase {
    channels: usize,
    modulation_dim: usize,
    reduction: usize,
}

#[test]
fn gate() {
    for case in Folder::open("qrnet").of_kinds(&["query_dynamic_attention"], 1) {
        let GateCase { channels, modulation_dim, reduction } = case.config();
        let device = support::device(case);
        let mut names = Names::default();
        gate_keys(&mut names, "", channels, modulation_dim, RANK, reduction);
        let gate = QueryGate::new(channels, modulation_dim, RANK, reduction, &device);
        let gate = bases::filled(gate, case, &names.0, GATE_KEYS);
        let x = support::tensor::<3>(&case.input("x"), &device).require_grad();
        let mu = support::tensor::<2>(&case.input("mu"), &device).require_grad();
        let gated = gate.forward(x.clone(), &mu);
        let mut report = case.report();
        report.check("channel_gate", &support::array(gated.channels));
        report.check("channel", &support::array(gated.scaled));
        report.check("out", &support::array(gated.tokens.clone()));
        let [probe] = &case.probe()[..] else { panic!("one term") };
        assert_eq!(probe.output, "out");
        let weights = support::tensor::<3>(&probe.weights(&gated.tokens.dims()), &device);
        let grads = (gated.tokens * weights).sum().backward();
        report.check("grad_in:x", &support::array(x.grad(&grads).unwrap()));
        report.check("grad_in:mu", &support::array(mu.grad(&grads).unwrap()));
        bases::check_gradients(&gate, &grads, &names.0, GATE_KEYS, &mut report, case);
        report.finish();
    }
}

/// A module filled by the names it has itself, which are the reference's.
fn filled<M: Module>(module: M, case: &Case) -> M {
    support::filled(module, case)
}

#[test]
fn pieces_of_swin() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Block {
        dim: usize,
        heads: usize,
        window: usize,
        shift: usize,
        mlp_ratio: f64,
        map: [usize; 2],
        ln_eps: f64,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Merging {
        dim: usize,
        map: [usize; 2],
        ln_eps: f64,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shift {
        map: [usize; 2],
        window: usize,
        shift: usize,
    }
    let (folder, device) = (Folder::open("qrnet"), Device::flex());
    let map = |case: &Case, [height, width]: [usize; 2]| TokenMap {
        tokens: support::tensor(&case.input("x"), &device),
        height,
        width,
    };
    for case in folder.of_kinds(&["swin_block"], 1) {
        let Block { dim, heads, window, shift, mlp_ratio, map: size, ln_eps } = case.config();
        let (qkv_bias, drop_path) = (true, 0.0);
        let block = SwinBlockConfig { dim, heads, window, shift, mlp_ratio, qkv_bias, drop_path, epsilon: ln_eps };
        let block = filled(block.init(&device), case);
        let map = map(case, size);
        let mask = block.shift_mask(&map);
        let mut report = case.report();
        report.check("out", &support::array(block.forward(map, mask.as_ref()).tokens));
        report.finish();
    }
    for case in folder.of_kinds(&["patch_merging"], 1) {
        let Merging { dim, map: size, ln_eps } = case.config();
        let merging = filled(PatchMerging::new(dim, ln_eps, &device), case);
        let out: Tensor<3> = merging.forward(map(case, size)).tokens;
        let mut report = case.report();
        report.check("out", &support::array(out));
        report.finish();
    }
    for case in folder.of_kinds(&["shift_mask"], 1) {
        let Shift { map, window, shift } = case.config();
        let alike: Vec<u8> =
            shift_regions_differ(map, window, shift).into_iter().map(|differ| u8::from(!differ)).collect();
        let n = window * window;
        let mut report = case.report();
        report.check("unmasked", &Array::from_values([alike.len() / (n * n), n, n], &alike));
        report.finish();
    }
}
