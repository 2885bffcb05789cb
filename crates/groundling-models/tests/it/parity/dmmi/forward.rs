//! Whole networks.

use burn::tensor::{Device, Tensor};
use groundling_models::dmmi::{Criterion, Dmmi, Language, NETWORK_KEYS, OFFICIAL_KEYS, Observer, Targets};
use groundling_nn::checkpoint::Rule;
use groundling_nn::layers::PrepareInference;
use groundling_testkit::{Array, Case, Folder};

use super::parts::{Inside, keep};
use super::{Keys, Text, config, filled, names, released};
use crate::support::{array, ints, tensor};

/// The names of both dictionaries of a checkpoint, told apart as the file does.
fn all_names(case: &Case, text: &Text) -> (Keys, &'static [Rule]) {
    let network = names(&config(case).0.backbone);
    match text {
        Text::Uniform {} => (network, NETWORK_KEYS),
        Text::Bert { .. } => {
            let prefixed = |prefix: &'static str| move |(key, shape)| (format!("{prefix}.{key}"), shape);
            let bert = released("keys_bert_base.json").into_iter().map(prefixed("bert_model"));
            (network.into_iter().map(prefixed("model")).chain(bert).collect(), OFFICIAL_KEYS)
        }
    }
}

/// The model of a case. Fills follow the names inside each dictionary, so both are filled before they are put under one roof.
fn model(case: &Case, device: &Device) -> Dmmi {
    let (config, text) = config(case);
    let model = Dmmi::new(&config, device).unwrap();
    let (keys, table) = all_names(case, &text);
    match text {
        Text::Uniform {} => {
            let network = model.network().clone();
            model.with_network(filled(network, case, keys, table).0)
        }
        Text::Bert { key_prefix, .. } => {
            assert_eq!(key_prefix, "", "{}", case.name());
            let keys = super::sized(keys, &model, table);
            let inner = |key: &str| key.split_once('.').unwrap().1.to_owned();
            let tensors = super::filled_as(case, &keys, inner);
            groundling_nn::checkpoint::load_into(model, &tensors, table).unwrap().0
        }
    }
}

/// Runs a case and checks all of its outputs.
fn check(case: &Case, model: &Dmmi) {
    let device = Device::flex();
    let valid = tensor::<2>(&case.input("mask"), &device);
    let (tokens, erased) = match config(case).1 {
        Text::Uniform {} => {
            let turned = |name: &str| tensor::<3>(&case.input(name), &device).swap_dims(1, 2);
            (turned("lang"), turned("lang_masked"))
        }
        Text::Bert { .. } => {
            let ids = case.input("ids");
            let mut holes = ids.clone();
            let columns = ids.shape[1];
            for (row, positions) in
                case.json["inputs"]["erased_positions"]["ints"].as_array().unwrap().iter().enumerate()
            {
                for position in positions.as_array().unwrap() {
                    holes.data[row * columns + position.as_u64().unwrap() as usize] = 0.0;
                }
            }
            assert_eq!(holes, case.input("ids_masked"), "{}", case.name());
            let embed = |ids: &Array| model.embed(ints(ids, &device), valid.clone());
            (embed(&ids), embed(&holes))
        }
    };
    let image = tensor::<4>(&case.input("image"), &device);
    let [_, _, height, width] = image.dims();
    let mut inside = Inside::new();
    let mut watch = keep(&mut inside);
    let language = Language { tokens, valid: valid.clone() };
    let network = model.network();
    let first = network.first(image);
    let output = network.forward(first, &language, Some(erased), [height, width], &mut Observer::new(&mut watch));
    drop(watch);
    let mut report = case.report();
    for stage in 0..4 {
        let name = format!("stage{stage}.l");
        if report.wants(&name) {
            let seen = &inside[&format!("stage{stage}.language")];
            report.check(&name, &array(tensor::<3>(seen, &device).swap_dims(1, 2)));
        }
        let name = format!("stage{stage}.next");
        if report.wants(&name) {
            // The tokens that enter the next stage, or the gated map that nothing reads.
            let next = match inside.get(&format!("stage{}.input", stage + 1)) {
                Some(tokens) => tokens.clone(),
                None => {
                    let map = tensor::<4>(&inside[&format!("stage{stage}.gated")], &device);
                    let [b, c, h, w] = map.dims();
                    array(map.reshape([b, c, h * w]).swap_dims(1, 2))
                }
            };
            report.check(&name, &next);
        }
    }
    for place in ["c1", "c2", "c3", "c4"] {
        report.check(place, &inside[place]);
    }
    report.check("logits", &array(output.logits.clone()));
    report.check("low_logits", &array(output.decoded.low_logits.clone()));
    let pixels = height * width;
    let area = |sample: &[f64]| (0..pixels).filter(|&pixel| sample[pixels + pixel] > sample[pixel]).count() as f64;
    let areas: Vec<f64> = array(output.logits.clone()).data.chunks(2 * pixels).map(area).collect();
    report.check("pred_area", &Array::new([areas.len()], areas));
    report.check("l_out", &array(output.language.clone().swap_dims(1, 2)));
    let learned = output.decoded.learned.clone().unwrap();
    report.check("l_rec", &array(learned.recovered.swap_dims(1, 2)));
    report.check("de_feat", &array(learned.pooled));
    let flags = tensor::<1>(&case.input("flags"), &device);
    let masks = Tensor::zeros([valid.dims()[0], height, width], &device);
    let losses = network.losses(&output, valid, &Targets { masks, flags }, &Criterion::default());
    for (of, term) in [("loss_lansim", "recovery"), ("loss_contra", "contrast")] {
        let (_, value) = losses.terms.iter().find(|(name, _)| name == term).unwrap();
        report.check(of, &array(value.clone()));
    }
    report.finish();
}

#[test]
fn networks() {
    // Filling a large model takes seconds: cases of one backbone share it.
    let folder = Folder::open("dmmi");
    let cases = folder.of_kinds(&["model"], 5);
    let mut groups: Vec<Vec<&Case>> = Vec::new();
    for case in cases {
        let alike = |other: &&Case| {
            let same = |field: &str| other.json["config"][field] == case.json["config"][field];
            ["backbone", "text_dim", "text_len", "decoder_heads", "decoder_ffn"].into_iter().all(same)
                && other.seed() == case.seed()
        };
        match groups.iter_mut().find(|group| group.iter().any(alike)) {
            Some(group) => group.push(case),
            None => groups.push(vec![case]),
        }
    }
    for group in groups {
        let with_text = group.iter().find(|case| config(case).1 != Text::Uniform {});
        let mut model = model(with_text.unwrap_or(&group[0]), &Device::flex());
        model.prepare_inference();
        for case in group {
            check(case, &model);
        }
    }
}
