//! Parts of the network.

use burn::module::Module;
use groundling_models::focus_detr::{
    DETREX_KEYS, DecoderInput, DeformableConfig, Encoder, EncoderConfig, EncoderLayer, ForwardOptions, Geometry,
    LevelTokens, Queries, Selection, TokenTransform, fine_scores, largest,
};
use groundling_nn::checkpoint::rename;
use groundling_nn::layers::{Dense, PrepareInference, TokenNorm};
use groundling_testkit::Folder;

use super::*;

#[test]
fn deformable_attention() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Piece {
        embed: usize,
        heads: usize,
        points: usize,
        level_sizes: Vec<[usize; 2]>,
        dropout: f64,
    }
    for case in Folder::open("focus_detr").of_kinds(&["deform_attn"], 2) {
        let Piece { embed: width, heads, points, level_sizes, dropout } = case.config();
        assert_eq!(dropout, 0.0);
        let device = support::device(case);
        let config = DeformableConfig { width, heads, levels: level_sizes.len(), points };
        let module = support::filled(config.init(&device), case);
        let (query, value) = (tracked::<3>(case, "query", &device), tracked::<3>(case, "value", &device));
        let position = support::tensor::<3>(&case.input("query_pos"), &device);
        let identity = match case.has_input("identity") {
            true => support::tensor::<3>(&case.input("identity"), &device),
            false => query.clone(),
        };
        let padding = case.has_input("pad").then(|| bools(&case.input("pad"), &device));
        let values = LevelTokens { tokens: value.clone(), sizes: &level_sizes, padding };
        let reference = support::tensor(&case.input("reference"), &device);
        let out = module.forward(query.clone() + position, reference, &values) + identity;
        let mut report = case.report();
        report.check("out", &support::array(out.clone()));
        if let Some(loss) = support::probe(case, [("out", support::flat(&out))]) {
            let grads = loss.backward();
            report.check("grad_in:query", &support::array(query.grad(&grads).unwrap()));
            report.check("grad_in:value", &support::array(value.grad(&grads).unwrap()));
            Found::new(&module, &grads).check(case, &[], str::to_owned, &mut report);
        }
        report.finish();
    }
}

#[test]
fn level_masks() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Piece {
        image: [u32; 2],
        level_sizes: Vec<[usize; 2]>,
    }
    for case in Folder::open("focus_detr").of_kinds(&["level_masks"], 1) {
        let Piece { image: [height, width], level_sizes } = case.config();
        let mask = case.input("pad_mask");
        let [images, rows, columns] = mask.shape[..] else { panic!("a mask for each image") };
        assert_eq!([rows, columns], [height as usize, width as usize]);
        let content = |image: usize| {
            let at = |row: usize, column: usize| mask.data[(image * rows + row) * columns + column] == 0.0;
            let height = (0..rows).filter(|&row| at(row, 0)).count();
            ImageSize::new(height as u32, (0..columns).filter(|&column| at(0, column)).count() as u32).unwrap()
        };
        let contents: Vec<ImageSize> = (0..images).map(content).collect();
        let geometry = Geometry::new(ImageSize::new(height, width).unwrap(), &contents, &level_sizes);
        let mut report = case.report();
        for (level, size) in level_sizes.iter().enumerate() {
            let found: Vec<f64> = geometry
                .level_padding(level, &Device::flex())
                .into_data()
                .iter::<bool>()
                .map(|padding| f64::from(u8::from(padding)))
                .collect();
            let found = Array::new([images, size[0], size[1]], found);
            assert_eq!(found.data, case.input(&format!("level{level}")).data);
            report.check(&format!("mask_l{level}"), &found);
        }
        report.finish();
    }
}

#[test]
fn geometry() {
    for case in Folder::open("focus_detr").of_kinds(&["geometry"], 1) {
        let config: Config = case.config();
        let device = Device::flex();
        let geometry = Geometry::new(config.canvas(), &sizes(case, "valid"), &config.level_sizes);
        let first = geometry.first_boxes(&device);
        let transform = TokenTransform {
            transform: Dense::new(config.dim, config.dim, &device),
            norm: TokenNorm::new(config.dim, 1e-5, &device),
        };
        let keys =
            &[rename("^transformer.enc_output_norm.", "norm."), rename("^transformer.enc_output.", "transform.")];
        let names = ["enc_output.weight", "enc_output.bias", "enc_output_norm.weight", "enc_output_norm.bias"];
        let transform = filled(transform, case, &names.map(|name| format!("transformer.{name}")), keys);
        let memory = support::tensor::<3>(&case.input("memory"), &device);
        let mut report = case.report();
        report.check("valid_ratios", &support::array(geometry.valid_ratios(&device)));
        report.check("reference_points", &support::array(geometry.reference_points(&device)));
        report.check("proposals_logit", &support::array(first.logits));
        report.check("proposals_valid", &support::array(first.valid.clone().squeeze_dim::<2>(2)));
        report.check("valid_tokens", &list(&geometry.valid_tokens()));
        report.check("output_memory", &support::array(transform.forward(memory, first.valid)));
        report.finish();
    }
}

#[test]
fn selector() {
    for case in Folder::open("focus_detr").of_kinds(&["token_selector"], 2) {
        let config: Config = case.config();
        let device = Device::flex();
        let model = transformer(case, &config, None, &device);
        let geometry = Geometry::new(config.canvas(), &sizes(case, "valid"), &config.level_sizes);
        let maps = maps(case, config.levels, &device);
        let selection = model.encode(maps, geometry, &ForwardOptions::default()).selection.unwrap();
        let mut report = case.report();
        report.check("score", &support::array(selection.masked.clone()));
        report.check("param:alpha", &support::array(model.selector.unwrap().alpha.unwrap().val()));
        report.check("focus_token_nums", &list(&selection.budgets));
        for layer in numbered(case, "inds_l") {
            report.check(&format!("inds_l{layer}"), &lists(&selection.list(layer)));
        }
        report.finish();
    }
}

/// One layer of an encoder, by the names of a whole one.
#[derive(Module, Debug)]
struct Alone {
    encoder: Encoder,
}

#[test]
fn encoder_layer() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Piece {
        dim: usize,
        heads: usize,
        ffn: usize,
        points: usize,
        level_sizes: Vec<[usize; 2]>,
        topk_sa: usize,
        dropout: f64,
    }
    for case in Folder::open("focus_detr").of_kinds(&["encoder_layer"], 1) {
        let Piece { dim: width, heads, ffn: feed_forward, points, level_sizes, topk_sa, dropout } = case.config();
        assert_eq!(dropout, 0.0);
        let device = support::device(case);
        let config = FocusDetrConfig { width, heads, feed_forward, points, ..FocusDetrConfig::r50() };
        let prefix = case.json["key_prefix"].as_str().unwrap();
        let index: usize = prefix.trim_end_matches('.').rsplit('.').next().unwrap().parse().unwrap();
        let layers = (0..=index).map(|_| EncoderLayer::new(&config, &device)).collect();
        let names = names::transformer(&config).into_iter().filter(|name| name.starts_with(prefix));
        let alone = filled(Alone { encoder: Encoder { layers } }, case, &names.collect::<Vec<_>>(), DETREX_KEYS);
        let query = tracked::<3>(case, "query", &device);
        let logits = support::tensor(&case.input("class_logits"), &device);
        let scores = fine_scores(logits, support::tensor(&case.input("fg_score"), &device));
        let rows = support::array(scores.clone());
        let row = |row: &[f64]| largest(&row.iter().map(|&v| v as f32).collect::<Vec<_>>(), topk_sa);
        let fine: Vec<Vec<usize>> = rows.data.chunks(rows.shape[1]).map(row).collect();
        let queries = Queries {
            tokens: query.clone(),
            positions: support::tensor(&case.input("query_pos"), &device),
            references: support::tensor(&case.input("reference"), &device),
        };
        let values = LevelTokens {
            tokens: support::tensor(&case.input("value"), &device),
            sizes: &level_sizes,
            padding: Some(bools(&case.input("pad"), &device)),
        };
        let out = alone.encoder.layers[index].forward(queries, Some(&fine), &values);
        let mut report = case.report();
        report.check("mc_score", &rows);
        report.check("sa_inds", &lists(&fine));
        report.check("out", &support::array(out.clone()));
        if let Some(loss) = support::probe(case, [("out", support::flat(&out))]) {
            let grads = loss.backward();
            report.check("grad_in:query", &support::array(query.grad(&grads).unwrap()));
            let full = |key: &str| format!("{prefix}{key}");
            Found::new(&alone, &grads).check(case, DETREX_KEYS, full, &mut report);
        }
        report.finish();
    }
}

#[test]
fn encoders() {
    for case in Folder::open("focus_detr").of_kinds(&["encoder", "dense_encoder"], 2) {
        let config: Config = case.config();
        let device = Device::flex();
        let dense = (case.kind() == "dense_encoder").then_some(EncoderConfig::Dense);
        let mut model = transformer(case, &config, dense, &device);
        model.prepare_inference();
        let geometry = Geometry::new(config.canvas(), &sizes(case, "valid"), &config.level_sizes);
        let encoding = model.encode(maps(case, config.levels, &device), geometry, &ForwardOptions::default());
        let mut report = case.report();
        report.check("memory", &support::array(encoding.memory));
        if let Some(selection) = encoding.selection {
            report.check("score", &support::array(selection.masked.clone()));
            for layer in numbered(case, "inds_l") {
                report.check(&format!("inds_l{layer}"), &lists(&selection.list(layer)));
            }
            for layer in numbered(case, "sa_tokens_l") {
                report.check(&format!("sa_tokens_l{layer}"), &lists(&encoding.fine[layer]));
            }
            let Selection { budgets, .. } = selection;
            assert_eq!(case.json["expect"]["focus_token_nums"], serde_json::json!(budgets));
        }
        report.finish();
    }
}

#[test]
fn decoder() {
    for case in Folder::open("focus_detr").of_kinds(&["decoder"], 1) {
        let config: Config = case.config();
        let device = support::device(case);
        let model = transformer(case, &config, None, &device);
        let query = tracked::<3>(case, "query", &device);
        assert_eq!(query.dims()[1], config.num_queries + config.num_dn.unwrap());
        let boxes = support::tensor::<3>(&case.input("reference"), &device);
        let input = DecoderInput {
            content: query.clone(),
            boxes: boxes.clone(),
            hidden: Some(bools(&case.input("attn_mask"), &device)),
            memory: LevelTokens {
                tokens: support::tensor(&case.input("memory"), &device),
                sizes: &config.level_sizes,
                padding: Some(bools(&case.input("pad"), &device)),
            },
            valid_ratios: support::tensor(&case.input("valid_ratios"), &device),
        };
        let states = model.decoder.forward(input, &model.box_heads);
        assert_eq!(states.len(), config.decoder_layers);
        let mut report = case.report();
        let mut outputs = Vec::new();
        let mut before = boxes;
        for (layer, state) in states.iter().enumerate() {
            let read = model.read_out(layer, state.hidden.clone(), before, &state.boxes);
            before = state.boxes.clone();
            for (stem, value) in [("hs_l", state.hidden.clone()), ("logits_l", read.logits), ("boxes_l", read.boxes)] {
                let name = format!("{stem}{layer}");
                if report.wants(&name) {
                    report.check(&name, &support::array(value.clone()));
                }
                outputs.push((name, value));
            }
        }
        let refined = Tensor::<3>::stack::<4>(states.iter().map(|state| state.boxes.clone()).collect::<Vec<_>>(), 0);
        report.check("refs", &support::array(refined));
        let outputs = outputs.iter().map(|(name, value)| (&name[..], support::flat(value)));
        if let Some(loss) = support::probe(case, outputs) {
            let grads = loss.backward();
            report.check("grad_in:query", &support::array(query.grad(&grads).unwrap()));
            // Heads have one of their names here that the table leaves to the other.
            let full = |key: &str| match key.strip_prefix("decoder.bbox_embed.") {
                Some(rest) => format!("bbox_embed.{rest}"),
                None => format!("transformer.{key}"),
            };
            Found::new(&model, &grads).check(case, DETREX_KEYS, full, &mut report);
        }
        report.finish();
    }
}

#[test]
fn backbones() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Piece {
        backbone: BackboneSpec,
        neck: bool,
    }
    for case in Folder::open("focus_detr").of_kinds(&["backbone"], 2) {
        let Piece { backbone, neck } = case.config();
        let device = Device::flex();
        // Only the maps are looked at: the rest is kept small.
        let config = FocusDetrConfig {
            backbone: backbone.config(),
            encoder_layers: 1,
            decoder_layers: 1,
            encoder: EncoderConfig::Dense,
            ..FocusDetrConfig::r50()
        };
        let names = names::features(&config).into_iter().filter(|name| neck || !name.starts_with("neck."));
        let model = filled(config.init(&device).unwrap(), case, &names.collect::<Vec<_>>(), DETREX_KEYS);
        let [_, c3, c4, c5] = model.backbone.forward(support::tensor(&case.input("image"), &device)).unwrap();
        let maps = [c3, c4, c5];
        let mut report = case.report();
        let stem = if neck { ["res3", "res4", "res5"] } else { ["p1", "p2", "p3"] };
        for (name, map) in stem.into_iter().zip(&maps) {
            report.check(name, &support::array(map.clone()));
        }
        if neck {
            for (level, map) in model.neck.forward(maps).into_iter().enumerate() {
                report.check(&format!("neck{level}"), &support::array(map));
            }
        }
        report.finish();
    }
}
