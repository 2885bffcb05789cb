//! Heads for dense prediction: the totals their papers print, training, and answers.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use groundling_core::{BoxCxcywh, BoxXyxy, Canvas};
use groundling_models::contract::TruthObject;
use groundling_models::dense::{
    ExtraLevels, FeaturePyramidConfig, IGNORED, PostOptions, RetinaCriterion, RetinaNetConfig, Scored, SemanticFpn,
    SemanticFpnConfig, suppress,
};
use groundling_models::scalablevit::{ScalableVitConfig, ValueWidth};
use groundling_nn::checkpoint::gradients;
use groundling_testkit::fill;

use crate::support;

/// Published parameters, in millions, of the whole detector.
#[test]
fn retinanet_has_the_published_size() {
    let _alone = support::alone();
    let device = Device::flex();
    let scaled = ScalableVitConfig { value: ValueWidth::Scaled, ..ScalableVitConfig::small() };
    for (backbone, expected, published) in [
        (scaled, 36.409, 36.4),
        (ScalableVitConfig::small(), 36.029, 36.0),
        (ScalableVitConfig::base(), 85.566, 85.6),
        (ScalableVitConfig::large(), 112.630, 112.6),
    ] {
        let backbone = backbone.dense().init(&device).unwrap();
        let [_, inputs @ ..] = backbone.config().channels();
        let head = RetinaNetConfig::new(inputs, 80).init(&device);
        let millions = (backbone.num_params() + head.num_params()) as f64 / 1e6;
        assert!((millions - expected).abs() < 5e-4, "{millions}");
        assert!((millions - published).abs() < 0.06, "{millions}");
    }
}

/// Published parameters, in millions, of the whole segmenter with the 150 classes of ADE20K.
#[test]
fn semantic_fpn_has_the_published_size() {
    let _alone = support::alone();
    let device = Device::flex();
    let scaled = ScalableVitConfig { value: ValueWidth::Scaled, ..ScalableVitConfig::small() };
    for (backbone, expected, published) in [
        (scaled, 30.426, 30.4),
        (ScalableVitConfig::small(), 30.045, 30.0),
        (ScalableVitConfig::base(), 79.001, 79.0),
        (ScalableVitConfig::large(), 105.483, 105.5),
    ] {
        let backbone = backbone.dense().init(&device).unwrap();
        let head = SemanticFpnConfig::new(backbone.config().channels(), 150).init(&device);
        let statistics: usize = head.towers.iter().flatten().map(|_| 2 * 128).sum();
        let millions = (backbone.num_params() + head.num_params() - statistics) as f64 / 1e6;
        assert!((millions - expected).abs() < 5e-4, "{millions}");
        assert!((millions - published).abs() < 0.06, "{millions}");
    }
}

fn segmenter() -> SemanticFpnConfig {
    SemanticFpnConfig { width: 16, tower: 12, ..SemanticFpnConfig::new([8, 16, 24, 32], 5) }
}

fn four_maps(device: &Device) -> Vec<Tensor<4>> {
    let finest = fill::uniform("map", &[2, 8, 17, 25], -1.0, 1.0, 8);
    let finest = support::tensor::<4>(&finest, device);
    [finest].into_iter().chain(maps(device)).collect()
}

/// Odd maps, whose doubles are larger than the level below; all get a gradient, and a class for every pixel comes out.
#[test]
fn semantic_fpn_reads_all_levels() {
    let _alone = support::alone();
    let device = Device::flex().autodiff();
    let model = segmenter().init(&device);
    let logits = model.forward(four_maps(&device));
    assert_eq!(logits.dims(), [2, 5, 17, 25]);
    let labels = Tensor::<3, Int>::ones([2, 68, 100], &device);
    let loss = SemanticFpn::loss(logits, labels);
    let found = gradients(&model, &loss.backward());
    let silent: Vec<String> = found
        .into_iter()
        .filter(|(_, values)| values.iter().all(|&value| value == 0.0))
        .map(|(info, _)| info.name)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
    assert_eq!(model.segment(four_maps(&device), [70, 101]).dims(), [2, 70, 101]);
}

#[test]
fn pixels_that_are_ignored_count_for_nothing() {
    let device = Device::flex();
    let logits = support::tensor::<4>(&fill::uniform("logits", &[1, 3, 2, 2], -1.0, 1.0, 3), &device);
    let loss = |labels: [[i64; 2]; 2]| -> f32 {
        SemanticFpn::loss(logits.clone(), Tensor::from_data([labels], &device)).into_scalar()
    };
    let at = |row: usize, column: usize, class: usize| -> f64 {
        let values: Vec<f64> = (0..3)
            .map(|k| {
                f64::from(logits.clone().slice([0..1, k..k + 1, row..row + 1, column..column + 1]).into_scalar::<f32>())
            })
            .collect();
        values.iter().map(|value| value.exp()).sum::<f64>().ln() - values[class]
    };
    let expected = (at(0, 0, 2) + at(1, 0, 0)) / 2.0;
    assert!((f64::from(loss([[2, IGNORED], [0, IGNORED]])) - expected).abs() < 1e-6);
    assert_eq!(loss([[IGNORED; 2]; 2]), 0.0);
}

fn maps(device: &Device) -> [Tensor<4>; 3] {
    [(16, 9, 13), (24, 5, 7), (32, 3, 4)].map(|(channels, height, width)| {
        let map = fill::uniform("map", &[2, channels, height, width], -1.0, 1.0, channels as u64);
        support::tensor::<4>(&map, device)
    })
}

fn config() -> RetinaNetConfig {
    RetinaNetConfig { width: 16, ..RetinaNetConfig::new([16, 24, 32], 3) }
}

fn object(cx: f64, cy: f64, width: f64, height: f64, class: usize) -> TruthObject {
    TruthObject {
        bbox: BoxCxcywh::new(cx, cy, width, height),
        class: Some(class),
        unshown_classes: 0,
        is_target: false,
        named: None,
    }
}

/// Steps of plain descent find an object that is always there.
#[test]
fn it_learns_what_is_always_there() {
    let _alone = support::alone();
    let device = Device::flex().autodiff();
    device.seed(4);
    let mut model = config().init(&device);
    let truths = vec![vec![object(0.4, 0.5, 0.4, 0.6, 1)]; 2];
    let canvas = [70, 100];
    let mut first = None;
    for step in 0..150 {
        let outputs = model.forward(maps(&device), canvas);
        let losses = model.losses(&outputs, &truths, &RetinaCriterion::default());
        first.get_or_insert(losses.total.clone().into_scalar::<f32>());
        let grads = losses.total.backward();
        struct Step<'a>(&'a burn::tensor::Gradients, f64);
        impl burn::module::ModuleMapper for Step<'_> {
            fn map_float<const D: usize>(
                &mut self,
                param: burn::module::Param<Tensor<D>>,
            ) -> burn::module::Param<Tensor<D>> {
                let (id, tensor, mapper) = param.consume();
                let gradient = tensor.grad(self.0).unwrap();
                // Signs: as large a step for the last layers as for the first.
                let moved = tensor.inner() - gradient.sign() * self.1;
                burn::module::Param::from_mapped_value(id, Tensor::from_inner(moved).require_grad(), mapper)
            }
        }
        model = model.map(&mut Step(&grads, 0.004 * (1.0 - f64::from(step) / 150.0)));
    }
    let outputs = model.forward(maps(&device), canvas);
    let last = model.losses(&outputs, &truths, &RetinaCriterion::default()).total.into_scalar::<f32>();
    assert!(last < 0.5 * first.unwrap(), "{} {last}", first.unwrap());
    let found = model.detect(&outputs, &PostOptions::default());
    for (found, truth) in found.iter().zip(&truths) {
        let best = found.first().expect("something is found");
        let expected: BoxXyxy<Canvas> = truth[0].bbox.to_xyxy().scaled_into(100.0, 70.0);
        assert_eq!(Some(best.class), truth[0].class);
        assert!(best.bbox.iou(expected) > 0.5, "{:?} {:?}", best.bbox, expected);
    }
}

/// Nothing to find, and objects of classes that the weights do not know, train the classes to say no.
#[test]
fn pictures_without_objects_have_finite_losses() {
    let _alone = support::alone();
    let device = Device::flex().autodiff();
    let model = config().init(&device);
    let outputs = model.forward(maps(&device), [70, 100]);
    assert_eq!(outputs.anchors.len(), outputs.levels.iter().sum::<usize>());
    assert_eq!(outputs.levels, [9 * 117, 9 * 35, 9 * 12, 9 * 4, 9]);
    let truths = vec![
        Vec::new(),
        vec![object(0.5, 0.5, 0.2, 0.2, 7), TruthObject { class: None, ..object(0.1, 0.1, 0.1, 0.1, 0) }],
    ];
    let losses = model.losses(&outputs, &truths, &RetinaCriterion::default());
    let total = losses.total.clone().into_scalar::<f32>();
    assert!(total.is_finite() && total > 0.0);
    let found = gradients(&model, &losses.total.backward());
    assert!(found.iter().all(|(_, values)| values.iter().all(|value| value.is_finite())));
    let hundreds: Vec<TruthObject> =
        (0..300).map(|i| object((i % 20) as f64 / 20.0, (i / 20) as f64 / 15.0, 0.04, 0.05, i % 3)).collect();
    let outside = vec![object(1.4, -0.3, 0.2, 0.2, 0), object(0.5, 0.5, 0.0, 0.0, 1), object(0.5, 0.5, 3.0, 3.0, 2)];
    let losses = model.losses(&outputs, &[hundreds, outside], &RetinaCriterion::default());
    assert!(losses.total.into_scalar::<f32>().is_finite());
}

#[test]
fn the_better_of_two_of_one_class_is_kept() {
    let scored = |x: f64, class: usize, score: f32| Scored::<Canvas> {
        bbox: BoxXyxy::new(x, 0.0, x + 10.0, 10.0),
        class,
        score,
    };
    let all = vec![
        scored(0.0, 0, 0.5),
        scored(1.0, 0, 0.9),
        scored(1.0, 1, 0.3),
        scored(30.0, 0, 0.2),
        scored(5.0, 0, f32::NAN),
    ];
    let kept = suppress(all.clone(), 0.5, 10);
    assert_eq!(kept.iter().map(|one| one.score).collect::<Vec<_>>(), [0.9, 0.3, 0.2]);
    assert_eq!(suppress(all, 0.5, 1).len(), 1);
}

/// Coarse maps reach fine ones, and odd sizes fit.
#[test]
fn pyramids_pass_coarse_maps_down() {
    let _alone = support::alone();
    let device = Device::flex();
    let pyramid =
        FeaturePyramidConfig { inputs: vec![16, 24, 32], width: 8, extra: ExtraLevels::OnInput(2) }.init(&device);
    let plain = pyramid.forward(maps(&device).to_vec());
    let sizes: Vec<[usize; 2]> = plain.iter().map(|map| [map.dims()[2], map.dims()[3]]).collect();
    assert_eq!(sizes, [[9, 13], [5, 7], [3, 4], [2, 2], [1, 1]]);
    let [fine, middle, coarse] = maps(&device);
    let other = pyramid.forward(vec![fine, middle, coarse + 1.0]);
    let apart = |index: usize| (plain[index].clone() - other[index].clone()).abs().max().into_scalar::<f32>();
    assert!((0..5).all(|index| apart(index) > 1e-4));
}
