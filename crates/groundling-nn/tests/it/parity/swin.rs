//! Swin: pieces, the whole, and the import of a classifier.

use burn::module::Module;
use groundling_nn::checkpoint::Rule;
use groundling_nn::layers::PrepareInference;
use groundling_nn::swin::{
    KEYS, PatchMerging, SwinBlockConfig, SwinConfig, TokenMap, WindowAttention, relative_position_index,
    resize_bias_table, shift_regions_differ,
};
use groundling_testkit::{Array, Case, Folder, Report};
use serde::Deserialize;

use crate::support;

/// A module filled by the names it has itself, which are the reference's.
fn filled<M: Module>(module: M, case: &Case) -> M {
    let keys: Vec<_> =
        groundling_nn::checkpoint::parameters(&module).into_iter().map(|info| (info.name, info.shape)).collect();
    let no_rules: &[Rule] = &[];
    support::filled(module, case, keys, no_rules).0
}

#[test]
fn bias_tables() {
    #[derive(Deserialize)]
    struct Config {
        window_from: usize,
        window_to: usize,
        heads: usize,
    }
    for case in Folder::open("swin").of_kinds(&["bias_table_resize"], 3) {
        let Config { window_from, window_to, heads } = case.config();
        let (from, to) = (2 * window_from - 1, 2 * window_to - 1);
        let table = resize_bias_table(&case.input("table").to_f32(), heads, from, to);
        let mut report = case.report();
        report.check("table", &Array::from_values([to * to, heads], &table));
        report.finish();
    }
}

#[test]
fn shift_masks() {
    #[derive(Deserialize)]
    struct Config {
        map: [usize; 2],
        window: usize,
        shift: usize,
    }
    for case in Folder::open("swin").of_kinds(&["shift_mask"], 4) {
        let Config { map, window, shift } = case.config();
        let differ: Vec<u8> = shift_regions_differ(map, window, shift).into_iter().map(u8::from).collect();
        let n = window * window;
        let masked = Array::from_values([differ.len() / (n * n), n, n], &differ);
        let mut report = case.report();
        report.check("masked", &masked);
        report.finish();
    }
}

#[test]
fn patch_merging() {
    #[derive(Deserialize)]
    struct Config {
        dim: usize,
        map: [usize; 2],
        ln_eps: f64,
    }
    for case in Folder::open("swin").of_kinds(&["patch_merging"], 1) {
        let Config { dim, map: [height, width], ln_eps } = case.config();
        let device = support::device(case);
        let merging = filled(PatchMerging::new(dim, ln_eps, &device), case);
        let out = merging.forward(TokenMap { tokens: support::tensor(&case.input("x"), &device), height, width });
        assert_eq!((out.height, out.width), (height.div_ceil(2), width.div_ceil(2)));
        let mut report = case.report();
        report.check("out", &support::array(out.tokens));
        report.finish();
    }
}

#[test]
fn blocks() {
    #[derive(Deserialize)]
    struct Config {
        dim: usize,
        heads: usize,
        window: usize,
        shift: usize,
        mlp_ratio: f64,
        map: [usize; 2],
        ln_eps: f64,
    }
    for case in Folder::open("swin").of_kinds(&["swin_block"], 2) {
        let config: Config = case.config();
        let device = support::device(case);
        let block = SwinBlockConfig {
            dim: config.dim,
            heads: config.heads,
            window: config.window,
            shift: config.shift,
            mlp_ratio: config.mlp_ratio,
            qkv_bias: true,
            drop_path: 0.0,
            epsilon: config.ln_eps,
        };
        let block = filled(block.init(&device), case);
        let [height, width] = config.map;
        let map = TokenMap { tokens: support::tensor(&case.input("x"), &device), height, width };
        let mask = block.shift_mask(&map);
        let mut report = case.report();
        report.check("out", &support::array(block.forward(map, mask.as_ref()).tokens));
        report.finish();
    }
}

#[test]
fn window_attention() {
    #[derive(Deserialize)]
    struct Config {
        dim: usize,
        heads: usize,
        window: usize,
    }
    for case in Folder::open("swin").of_kinds(&["window_attention"], 2) {
        let Config { dim, heads, window } = case.config();
        let device = support::device(case);
        let attention = filled(WindowAttention::new(dim, heads, window, true, &device), case);
        let mask = case.has_input("mask").then(|| support::tensor(&case.input("mask"), &device));
        let out = attention.forward(support::tensor(&case.input("x"), &device), mask.as_ref());
        let mut report = case.report();
        report.check("out", &support::array(out));
        if report.wants("relative_position_index") {
            let n = window * window;
            let index: Vec<f64> = relative_position_index(window).into_iter().map(|v| v as f64).collect();
            report.check("relative_position_index", &Array::new([n, n], index));
        }
        report.finish();
    }
}

#[derive(Deserialize)]
struct Config {
    in_channels: usize,
    patch: usize,
    embed_dim: usize,
    depths: [usize; 4],
    heads: [usize; 4],
    window: usize,
    mlp_ratio: f64,
    qkv_bias: bool,
    patch_norm: bool,
    ln_eps: f64,
}

#[test]
fn swin() {
    for case in Folder::open("swin").of_kinds(&["swin"], 2) {
        let config: Config = case.config();
        let config = SwinConfig::new(config.embed_dim, config.depths, config.heads, config.window)
            .with_in_channels(config.in_channels)
            .with_patch(config.patch)
            .with_mlp_ratio(config.mlp_ratio)
            .with_qkv_bias(config.qkv_bias)
            .with_patch_norm(config.patch_norm)
            .with_epsilon(config.ln_eps);
        let device = support::device(case);
        // The reference's list has index and mask buffers, too.
        let module = config.init(&device);
        let mut keys: Vec<_> =
            groundling_nn::checkpoint::parameters(&module).into_iter().map(|info| (info.name, info.shape)).collect();
        keys.push(("layers.0.blocks.0.attn.relative_position_index".into(), vec![config.window.pow(2); 2]));
        let (mut model, loaded) = support::filled(module, case, keys, KEYS);
        // With gradients the plain weights are used, without them the rearranged ones.
        model.prepare_inference();
        assert_eq!(loaded.ignored.len(), 1);
        let image = support::tensor(&case.input("image"), &device);
        let mut report = case.report();
        for (stage, map) in model.forward(support::tensor(&case.input("image"), &device)).into_iter().enumerate() {
            report.check(&format!("out{stage}"), &support::array(map));
        }
        if report.wants("patch_embed") {
            check_inside(&model, image, &mut report);
        }
        report.finish();
    }
}

/// Tokens of the patches, and after each block of the first stage.
fn check_inside(model: &groundling_nn::swin::Swin, image: burn::tensor::Tensor<4>, report: &mut Report<'_>) {
    let mut map = model.patch_embed.forward(image);
    report.check("patch_embed", &support::array(map.tokens.clone()));
    for (index, block) in model.layers[0].blocks.iter().enumerate() {
        let mask = block.shift_mask(&map);
        map = block.forward(map, mask.as_ref());
        let name = format!("stage0.block{index}");
        if report.wants(&name) {
            report.check(&name, &support::array(map.tokens.clone()));
        }
    }
}
