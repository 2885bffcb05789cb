//! ResNets in torchvision's layout: maps, scores, gradients.

use groundling_nn::layers::PrepareInference;
use groundling_nn::resnet::{BlockKind, ResNetConfig};
use groundling_testkit::{Array, Case, Folder};
use serde::Deserialize;

use crate::support;

#[derive(Deserialize)]
struct Config {
    block: String,
    layers: [usize; 4],
    dilate_last: bool,
    num_classes: usize,
    bn_eps: f64,
}

fn config(case: &Case) -> ResNetConfig {
    let config: Config = case.config();
    let block = match config.block.as_str() {
        "basic" => BlockKind::Basic,
        "bottleneck" => BlockKind::Bottleneck,
        other => panic!("{}: unknown block {other}", case.name()),
    };
    ResNetConfig::new(block, config.layers)
        .with_dilate_last(config.dilate_last)
        .with_classes(Some(config.num_classes))
        .with_epsilon(config.bn_eps)
        .with_train_norms(true)
}

#[test]
fn resnet() {
    for case in Folder::open("resnet").of_kinds(&["resnet"], 6) {
        let device = support::device(case);
        let config = config(case);
        // The head has as many rows as the case has classes, whatever the list of 1000 says.
        let classes = config.classes.unwrap();
        let keys = case.params().into_iter().map(|(key, mut shape)| {
            if key.starts_with("fc.") {
                shape[0] = classes;
            }
            (key, shape)
        });
        let (mut model, _) = support::filled(config.init(&device), case, keys, config.keys());
        // With gradients the plain weights are used, without them the rearranged ones.
        model.prepare_inference();
        let maps = model.forward(support::tensor(&case.input("image"), &device));
        let logits = model.classify(&maps).unwrap();
        let mut report = case.report();
        for (name, map) in [("c2", &maps.c2), ("c3", &maps.c3), ("c4", &maps.c4), ("c5", &maps.c5)] {
            if report.wants(name) {
                report.check(name, &support::array(map.clone()));
            }
        }
        if report.wants("logits") {
            report.check("logits", &support::array(logits.clone()));
        }
        if !case.probe().is_empty() {
            let is_logits = |name: &str| assert_eq!(name, "logits", "{}", case.name());
            let probe = support::probe(
                case,
                |name| {
                    is_logits(name);
                    logits.clone().flatten(0, 1)
                },
                |name| {
                    is_logits(name);
                    logits.dims().to_vec()
                },
            );
            if report.wants("probe") {
                report.check("probe", &Array::scalar(f64::from(probe.clone().into_scalar::<f32>())));
            }
            support::check_gradients(&model, probe, config.keys(), case, &mut report);
        }
        report.finish();
    }
}
