//! ScalableViT: layers, blocks, whole networks with gradients, key lists, counts and rates.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use groundling_models::scalablevit::{
    Attention, BlockConfig, CLASSIFIER_KEYS, DENSE_KEYS, GlobalAttention, GlobalConfig, HeadConfig, HeadKind, KeyLine,
    LocalAttention, OutputNorm, PatchEmbedding, PositionalEncoding, Reduced, ScalableVit, ScalableVitConfig,
    ValueWidth, WindowConfig, detect,
};
use groundling_nn::checkpoint::{
    Checkpoint, Rule, StoredTensor, destinations, gradients, load_into, parameters, rename,
};
use groundling_nn::layers::PrepareInference;
use groundling_nn::swin::TokenMap;
use groundling_testkit::{Array, Case, Folder, Report};
use serde::Deserialize;

use crate::support;

/// A module on the case's device with its weights, loaded through a key table.
fn filled<M: Module>(module: M, case: &Case, keys: BTreeMap<String, Vec<usize>>, table: &[Rule]) -> M {
    let tensors = keys.into_iter().map(|(name, shape)| {
        let values = case.parameter(&name, &shape).unwrap().to_f32();
        (name, StoredTensor::from_values(shape, values))
    });
    let (module, _) = load_into(module, &Checkpoint::from_tensors(tensors), table)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name()));
    module
}

/// `uniform` inputs of layers are tokens of the map that the configuration names.
fn token_map(case: &Case, [height, width]: [usize; 2], device: &Device) -> TokenMap {
    let tokens = support::tensor::<3>(&case.input("x"), device);
    let tokens = if device.is_autodiff() { tokens.require_grad() } else { tokens };
    TokenMap { tokens, height, width }
}

/// Checks the scalar that is differentiated, the gradients of parameters and that of the input.
fn check_gradients<M: Module>(
    module: &M,
    case: &Case,
    table: &[Rule],
    outputs: Vec<(&str, support::Flat)>,
    input: Option<&Tensor<3>>,
    report: &mut Report<'_>,
) {
    let Some(loss) = support::probe(case, outputs) else { return };
    report.check("probe", &support::array(loss.clone()));
    let grads = loss.backward();
    if let Some(input) = input {
        report.check("grad_in:x", &support::array(input.grad(&grads).unwrap()));
    }
    let found: BTreeMap<String, Array> = gradients(module, &grads)
        .into_iter()
        .map(|(info, values)| (info.name, Array::from_values(info.shape, &values)))
        .collect();
    for (_, spec) in case.json["outputs"].as_object().unwrap() {
        let of = spec["of"].as_str().unwrap();
        let Some(key) = of.strip_prefix("grad:") else { continue };
        let [name] = &destinations(key, table).unwrap()[..] else { panic!("{key} goes to one parameter") };
        report.check(of, found.get(name).unwrap_or_else(|| panic!("{}: no gradient of {name}", case.name())));
    }
}

/// Names of layers alone: those of both lines of code.
const LAYER_KEYS: &[Rule] = &[
    rename(r"^((?:.*\.)?attn\.)?lepe_func\.", "${1}lim_func."),
    rename(r"^reduction\.0\.", "reduced.depthwise."),
    rename(r"^reduction\.1\.", "reduced.pointwise."),
    rename(r"^norm_act\.0\.", "reduced.norm."),
    rename(r"^sr\.", "reduced.sr."),
    rename(r"^norm\.", "reduced.norm."),
];

#[test]
fn global_attention() {
    #[derive(Deserialize)]
    struct Config {
        dim: usize,
        map: [usize; 2],
        heads: usize,
        sr: usize,
        #[serde(default = "one")]
        c_ratio: f64,
        #[serde(default = "input")]
        value: ValueWidth,
    }
    fn one() -> f64 {
        1.0
    }
    fn input() -> ValueWidth {
        ValueWidth::Input
    }
    for case in Folder::open("scalablevit").of_kinds(&["ssa", "sra", "ssa_pool"], 12) {
        let Config { dim, map, heads, sr, c_ratio, value } = case.config();
        let kind = match case.kind() {
            "ssa" => GlobalAttention::Ssa,
            "sra" => GlobalAttention::Sra,
            _ => GlobalAttention::SsaPool,
        };
        let device = support::device(case);
        let config = GlobalConfig { dim, heads, reduction: sr, channel_factor: c_ratio, value, qkv_bias: true, kind };
        let layer = filled(config.init(&device), case, case.params(), LAYER_KEYS);
        let x = token_map(case, map, &device);
        let out = layer.forward(&x);
        let mut report = case.report();
        report.check("out", &support::array(out.clone()));
        if report.wants("mid.q") {
            report.check("mid.q", &support::array(layer.q.forward(x.tokens.clone())));
        }
        let source = match &layer.reduced {
            Some(Reduced::Separable(separable)) => {
                if report.wants("mid.reduction") {
                    report.check("mid.reduction", &support::array(separable.reduce(x.clone().into_image())));
                }
                layer.reduced.as_ref().unwrap().forward(&x)
            }
            _ => x.tokens.clone(),
        };
        if report.wants("mid.norm_act") {
            report.check("mid.norm_act", &support::array(source.clone()));
        }
        for (name, dense) in [("mid.k", &layer.k), ("mid.v", &layer.v), ("mid.kv", &layer.kv)] {
            if let (Some(dense), true) = (dense, report.wants(name)) {
                report.check(name, &support::array(dense.forward(source.clone())));
            }
        }
        check_gradients(&layer, case, LAYER_KEYS, vec![("out", support::flat(&out))], Some(&x.tokens), &mut report);
        report.finish();
    }
}

#[test]
fn windowed_attention() {
    #[derive(Deserialize)]
    struct Config {
        dim: usize,
        map: [usize; 2],
        heads: usize,
        window: usize,
    }
    for case in Folder::open("scalablevit").of_kinds(&["iwsa", "wsa", "wsa_lem"], 8) {
        let Config { dim, map, heads, window } = case.config();
        let kind = match case.kind() {
            "iwsa" => LocalAttention::Iwsa,
            "wsa" => LocalAttention::Wsa,
            _ => LocalAttention::WsaLem,
        };
        let device = support::device(case);
        let config = WindowConfig { dim, heads, window, qkv_bias: true, kind };
        let layer = filled(config.init(&device), case, case.params(), LAYER_KEYS);
        let x = token_map(case, map, &device);
        let out = layer.forward(&x);
        let mut report = case.report();
        report.check("out", &support::array(out.clone()));
        if report.wants("mid.qkv") {
            check_inside(&layer, &x, case, &mut report);
        }
        check_gradients(&layer, case, LAYER_KEYS, vec![("out", support::flat(&out))], Some(&x.tokens), &mut report);
        report.finish();
    }
}

/// The projection of the padded grid, and the convolution of its values.
fn check_inside(
    layer: &groundling_models::scalablevit::WindowedAttention,
    x: &TokenMap,
    case: &Case,
    report: &mut Report<'_>,
) {
    let [b, _, c] = x.tokens.dims();
    let [height, width] = layer.padded([x.height, x.width]);
    let padded = Tensor::<4>::zeros([b, height, width, c], &x.tokens.device());
    let map = x.tokens.clone().reshape([b, x.height, x.width, c]);
    let padded = padded.slice_assign([0..b, 0..x.height, 0..x.width, 0..c], map);
    let qkv = layer.qkv.forward(padded);
    let values = qkv.clone().narrow(3, 2 * c, c).permute([0, 3, 1, 2]);
    // One line of code has tokens here, the other a map.
    let spec = case.json["outputs"].as_object().unwrap().values().find(|spec| spec["of"] == "mid.qkv").unwrap();
    match spec["shape"].as_array().unwrap().len() {
        3 => report.check("mid.qkv", &support::array(qkv.reshape([b, height * width, 3 * c]))),
        _ => report.check("mid.qkv", &support::array(qkv)),
    }
    for name in ["mid.lim_func", "mid.lepe_func"] {
        if report.wants(name) {
            report.check(name, &support::array(layer.lim_func.as_ref().unwrap().forward(values.clone())));
        }
    }
}

#[test]
fn positions_and_patches() {
    #[derive(Deserialize)]
    struct Config {
        dim: Option<usize>,
        in_channels: Option<usize>,
        out_channels: Option<usize>,
        kernel: Option<usize>,
        stride: Option<usize>,
        ln_eps: Option<f64>,
        map: [usize; 2],
    }
    for case in Folder::open("scalablevit").of_kinds(&["peg", "patch_embed"], 7) {
        let config: Config = case.config();
        let device = support::device(case);
        let mut report = case.report();
        let out = if case.kind() == "peg" {
            let peg = PositionalEncoding::new(config.dim.unwrap(), &device);
            let peg = filled(peg, case, case.params(), &[rename(r"^proj\.0\.", "conv.")]);
            peg.forward(token_map(case, config.map, &device)).tokens
        } else {
            let (stride, epsilon) = (config.stride.unwrap(), config.ln_eps.unwrap());
            assert_eq!(config.kernel.unwrap(), 2 * stride - 1);
            let layer = PatchEmbedding::new(
                config.in_channels.unwrap(),
                config.out_channels.unwrap(),
                stride,
                epsilon,
                &device,
            );
            let layer = filled(layer, case, case.params(), &[]);
            let image = support::tensor::<4>(&case.input("x"), &device);
            assert_eq!(image.dims()[2..], config.map);
            let map = layer.forward(image);
            assert_eq!([map.height, map.width], config.map.map(|side| side.div_ceil(stride)));
            map.tokens
        };
        report.check("out", &support::array(out));
        report.finish();
    }
}

/// A windowed block, positions, a global block.
#[derive(Module, Debug)]
struct Pair {
    b0: groundling_models::scalablevit::ScalableBlock,
    peg: PositionalEncoding,
    b1: groundling_models::scalablevit::ScalableBlock,
}

const PAIR_KEYS: &[Rule] = &[
    rename(r"^peg\.proj\.0\.", "peg.conv."),
    rename(r"\.attn\.lepe_func\.", ".attn.lim_func."),
    rename(r"\.attn\.reduction\.0\.", ".attn.reduced.depthwise."),
    rename(r"\.attn\.reduction\.1\.", ".attn.reduced.pointwise."),
    rename(r"\.attn\.norm_act\.0\.", ".attn.reduced.norm."),
];

#[test]
fn block_pairs() {
    #[derive(Deserialize)]
    struct Config {
        dim: usize,
        map: [usize; 2],
        heads: usize,
        sr: usize,
        c_ratio: f64,
        value: ValueWidth,
        window: usize,
        mlp_ratio: usize,
    }
    for case in Folder::open("scalablevit").of_kinds(&["block_pair"], 4) {
        let Config { dim, map, heads, sr, c_ratio, value, window, mlp_ratio } = case.config();
        let device = support::device(case);
        let windowed = WindowConfig { dim, heads, window, qkv_bias: true, kind: LocalAttention::Iwsa };
        let global = GlobalConfig {
            dim,
            heads,
            reduction: sr,
            channel_factor: c_ratio,
            value,
            qkv_bias: true,
            kind: GlobalAttention::Ssa,
        };
        let pair = Pair {
            b0: BlockConfig::Windowed(windowed).init(mlp_ratio * dim, 0.0, &device),
            peg: PositionalEncoding::new(dim, &device),
            b1: BlockConfig::Global(global).init(mlp_ratio * dim, 0.0, &device),
        };
        assert!(matches!((&pair.b0.attn, &pair.b1.attn), (Some(Attention::Windowed(_)), Some(Attention::Global(_)))));
        let pair = filled(pair, case, case.params(), PAIR_KEYS);
        let x = token_map(case, map, &device);
        let mut report = case.report();
        let after = pair.b0.forward(x.clone());
        report.check("after_b0", &support::array(after.tokens.clone()));
        let after = pair.peg.forward(after);
        report.check("after_peg", &support::array(after.tokens.clone()));
        let out = pair.b1.forward(after).tokens;
        report.check("out", &support::array(out.clone()));
        check_gradients(&pair, case, PAIR_KEYS, vec![("out", support::flat(&out))], Some(&x.tokens), &mut report);
        report.finish();
    }
}

/// The configuration of a network's case.
#[derive(Deserialize)]
struct Network {
    in_channels: usize,
    embed_dims: [usize; 4],
    heads: [usize; 4],
    mlp_ratios: [f64; 4],
    depths: [usize; 4],
    sr_ratios: [usize; 4],
    c_ratios: [f64; 4],
    window: usize,
    qkv_bias: bool,
    patch_sizes: [usize; 4],
    value: ValueWidth,
    patch_ln_eps: f64,
    head: Option<HeadKind>,
    num_classes: Option<usize>,
    #[serde(default)]
    output_norm: bool,
}

impl Network {
    fn config(&self) -> ScalableVitConfig {
        ScalableVitConfig {
            in_channels: self.in_channels,
            dims: self.embed_dims,
            heads: self.heads,
            depths: self.depths,
            mlp_ratios: self.mlp_ratios,
            strides: self.patch_sizes,
            reductions: self.sr_ratios,
            channel_factors: self.c_ratios,
            window: self.window,
            qkv_bias: self.qkv_bias,
            value: self.value,
            patch_epsilon: self.patch_ln_eps,
            output_norm: if self.output_norm { OutputNorm::Trunk } else { OutputNorm::None },
            head: self.head.zip(self.num_classes).map(|(kind, classes)| HeadConfig { kind, classes }),
            drop_path: 0.0,
            ..ScalableVitConfig::small()
        }
    }
}

/// The reference's keys: the list of the case, with the head and the norms that its configuration has.
fn keys(case: &Case, network: &Network) -> BTreeMap<String, Vec<usize>> {
    let mut keys = case.params();
    keys.retain(|key, _| network.output_norm || !key.starts_with("norm_list."));
    if let (Some(kind), Some(classes)) = (network.head, network.num_classes) {
        let last = if kind == HeadKind::Mlp { "head.3" } else { "head" };
        let width = if kind == HeadKind::Mlp { 4096 } else { network.embed_dims[3] };
        if kind == HeadKind::Plain {
            keys.retain(|key, _| !key.starts_with("head."));
        }
        keys.insert(format!("{last}.weight"), vec![classes, width]);
        keys.insert(format!("{last}.bias"), vec![classes]);
    }
    keys
}

fn check_networks(kind: &str, expected: usize, table: &[Rule]) {
    for case in Folder::open("scalablevit").of_kinds(&[kind], expected) {
        let network: Network = case.config();
        let device = support::device(case);
        let keys = keys(case, &network);
        let (line, detected) = detect(&keys, network.embed_dims[0] / network.heads[0]).unwrap();
        assert_eq!(line, if kind == "dense" { KeyLine::Dense } else { KeyLine::Classifier });
        assert_eq!(detected.value, network.value, "{}", case.name());
        let config = network.config();
        let model = config.init(&device).unwrap();
        assert_eq!(parameters(&model).len(), keys.len(), "{}", case.name());
        let mut model: ScalableVit = filled(model, case, keys, table);
        // With gradients the plain weights are used, without them the rearranged ones.
        model.prepare_inference();
        let image = support::tensor::<4>(&case.input("image"), &device);
        let mut report = case.report();
        let mut outputs = Vec::new();
        let maps = model.forward(image.clone()).unwrap();
        for (name, map) in ["feat1", "feat2", "feat3", "feat4"].into_iter().zip(&maps) {
            outputs.push((name, support::flat(map)));
            if report.wants(name) {
                report.check(name, &support::array(map.clone()));
            }
        }
        if let Some(head) = &model.head {
            let pooled = model.pooled(image).unwrap();
            if report.wants("pooled") {
                report.check("pooled", &support::array(pooled.clone()));
            }
            let logits = head.forward(pooled);
            report.check("logits", &support::array(logits.clone()));
            outputs.push(("logits", support::flat(&logits)));
        }
        check_gradients(&model, case, table, outputs, None, &mut report);
        report.finish();
    }
}

#[test]
fn classifiers() {
    check_networks("classifier", 7, CLASSIFIER_KEYS);
}

#[test]
fn dense_backbones() {
    check_networks("dense", 9, DENSE_KEYS);
}

/// Every list of keys is that of a module, name by name and shape by shape.
#[test]
fn key_lists() {
    let folder = Folder::open("scalablevit");
    let lists = folder.of_kinds(&["state_dict_keys"], 1)[0].file_json();
    let lists = lists.as_object().unwrap();
    assert!(lists.len() >= 11, "{}", lists.len());
    for (name, list) in lists {
        let keys: BTreeMap<String, Vec<usize>> = serde_json::from_value(list.clone()).unwrap();
        let tiny = name.starts_with("tiny");
        // The tiny variant has heads of 8, 16, 12 and 16 channels: shapes do not depend on it.
        let (line, config) = detect(&keys, if tiny { 4 } else { 32 }).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(line == KeyLine::Dense, name.contains("dense"), "{name}");
        let table = if line == KeyLine::Dense { DENSE_KEYS } else { CLASSIFIER_KEYS };
        let own: BTreeMap<String, Vec<usize>> = parameters(&config.init(&Device::flex()).unwrap())
            .into_iter()
            .map(|info| (info.name, info.shape))
            .collect();
        let theirs: BTreeMap<String, Vec<usize>> =
            keys.iter().map(|(key, shape)| (destinations(key, table).unwrap().remove(0), shape.clone())).collect();
        assert_eq!(own, theirs, "{name}");
    }
}

/// Parameters and multiply-accumulates are those of the reference, part by part.
#[test]
fn counts() {
    let folder = Folder::open("scalablevit");
    let counts = folder.of_kinds(&["counts"], 1)[0].file_json();
    let lists = folder.of_kinds(&["state_dict_keys"], 1)[0].file_json();
    let counts = counts.as_object().unwrap();
    assert!(counts.len() >= 11, "{}", counts.len());
    let mut sizes = 0;
    for (name, expected) in counts {
        let keys: BTreeMap<String, Vec<usize>> = serde_json::from_value(lists[name].clone()).unwrap();
        let (_, config) = detect(&keys, if name.starts_with("tiny") { 4 } else { 32 }).unwrap();
        let model = config.init(&Device::flex()).unwrap();
        let found = model.parameter_count();
        assert_eq!(expected["params"], found.total(), "{name}");
        assert_eq!(expected["params_by_part"], serde_json::to_value(found).unwrap(), "{name}");
        assert_eq!(found.total(), model.num_params() as u64, "{name}");
        for (size, expected) in expected["macs"].as_object().unwrap() {
            let (height, width) = size.split_once('x').unwrap();
            let found = model.macs(height.parse().unwrap(), width.parse().unwrap()).unwrap();
            assert_eq!(expected["by_part"], serde_json::to_value(found).unwrap(), "{name} {size}");
            assert_eq!(expected["conv_linear"], found.conv_linear(), "{name} {size}");
            assert_eq!(expected["attention_matmul"], found.attention_matmul(), "{name} {size}");
            sizes += 1;
        }
    }
    assert!(sizes > counts.len(), "{sizes}");
}

/// Rates of stochastic depth, block by block.
#[test]
fn drop_path_rates() {
    let folder = Folder::open("scalablevit");
    let recipe = folder.of_kinds(&["recipe"], 1)[0].file_json();
    let rates = recipe["drop_path_by_block"].as_object().unwrap();
    assert_eq!(rates.len(), 3);
    for (name, expected) in rates {
        let config = match name.as_str() {
            "small" => ScalableVitConfig::small(),
            "base" => ScalableVitConfig::base(),
            "large" => ScalableVitConfig::large(),
            other => panic!("unknown variant {other}"),
        };
        let expected: Vec<f64> = serde_json::from_value(expected.clone()).unwrap();
        let found = config.drop_path_rates();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found} {expected}");
        }
    }
}
