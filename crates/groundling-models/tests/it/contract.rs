//! What holds for every system: run over the whole catalogue, small models in full, large ones where it is cheap.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Device, Distribution, Int, Tensor};
use groundling_core::{BinaryMask, BoxCxcywh, ContentRect, ImageSize, Unit};
use groundling_models::backbone::BackboneConfig;
use groundling_models::catalog::{self, AnyConfig, DescriptionError};
use groundling_models::contract::{Batch, GroundOptions, Grounded, SampleTruth, System, Trainable, TruthObject};
use groundling_models::dmmi::{Backbone, Dmmi, DmmiConfig};
use groundling_models::qrnet::QrNet;
use groundling_models::scalablevit::ScalableVitConfig;
use groundling_models::scanformer::ScanFormer;
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_nn::checkpoint::{Checkpoint, Limits, Precision, gradients, initialise, load_into, save};
use groundling_nn::swin::SwinConfig;
use groundling_testkit::scratch;

use crate::support;

/// Models that a test can afford to run: those of the catalogue, and systems with a backbone that no preset has.
fn small() -> Vec<(&'static str, AnyConfig)> {
    let small = catalog::all().into_iter().filter(|spec| spec.parameters < 8_000_000);
    let mut small: Vec<_> = small.map(|spec| (spec.name, spec.config)).collect();
    assert!(!small.is_empty());
    let scalable = || ScalableVitConfig { window: 4, ..ScalableVitConfig::tiny().dense() };
    let dmmi = DmmiConfig { backbone: Backbone::ScalableVit(scalable()), ..DmmiConfig::tiny() };
    small.push(("dmmi-tiny with a ScalableViT", AnyConfig::Dmmi(dmmi)));
    let transvg = TransVgConfig { backbone: BackboneConfig::ScalableVit(scalable()), ..TransVgConfig::tiny() };
    small.push(("transvg-tiny with a ScalableViT", AnyConfig::TransVg(transvg)));
    let vltvg = VltvgConfig { backbone: BackboneConfig::Swin(SwinConfig::tiny()), ..VltvgConfig::tiny() };
    small.push(("vltvg-tiny with a Swin", AnyConfig::Vltvg(vltvg)));
    small
}

/// Calls a function of the system of each small model.
macro_rules! for_each_small {
    ($test:ident) => {
        let _alone = support::alone();
        for (name, config) in small() {
            match &config {
                AnyConfig::ScanFormer(config) => $test::<ScanFormer>(config, name),
                AnyConfig::Dmmi(config) => $test::<Dmmi>(config, name),
                AnyConfig::TransVg(config) => $test::<TransVg>(config, name),
                AnyConfig::Vltvg(config) => $test::<Vltvg>(config, name),
                AnyConfig::QrNet(config) => $test::<QrNet>(config, name),
                other => panic!("no suite for {}", other.system()),
            }
        }
    };
}

fn model<M: System>(config: &M::Config, device: &Device) -> M {
    device.seed(11);
    let model = M::init(config, device).unwrap();
    initialise(&model);
    model
}

/// Two pictures and two phrases of different sizes.
fn inputs<M: System>(config: &M::Config, device: &Device) -> (Tensor<4>, [ContentRect; 2], [Vec<u32>; 2]) {
    let spec = M::input(config);
    let side = spec.side;
    device.seed(5);
    let contents = [
        ContentRect { top: 0, left: 0, height: side, width: side * 5 / 8 },
        ContentRect { top: 3, left: 5, height: side / 2, width: side - 7 },
    ];
    let canvases = Tensor::<4>::random([2, 3, side as usize, side as usize], Distribution::Uniform(-1.0, 1.0), device);
    let canvases =
        contents.iter().enumerate().map(|(index, &content)| masked(canvases.clone().narrow(0, index, 1), content));
    let phrases = [vec![101, 2417, 4524, 102], vec![101, 1996, 2187, 2304, 2604, 102]];
    (Tensor::cat(canvases.collect(), 0), contents, phrases)
}

/// Zeros outside the content.
fn masked(canvas: Tensor<4>, content: ContentRect) -> Tensor<4> {
    let [top, left] = [content.top as usize, content.left as usize];
    let [bottom, right] = [top + content.height as usize, left + content.width as usize];
    let inside = canvas.clone().slice([0..1, 0..3, top..bottom, left..right]);
    canvas.zeros_like().slice_assign([0..1, 0..3, top..bottom, left..right], inside)
}

fn batch<M: System>(config: &M::Config, device: &Device, padding: usize) -> (Batch, Vec<SampleTruth>) {
    let (canvases, contents, phrases) = inputs::<M>(config, &Device::flex());
    let length = phrases.iter().map(Vec::len).max().unwrap() + padding;
    let ids: Vec<i64> =
        phrases.iter().flat_map(|ids| (0..length).map(|index| ids.get(index).map_or(0, |&id| i64::from(id)))).collect();
    let canvases = Tensor::from_data(canvases.into_data(), device);
    let ids = Tensor::<1, Int>::from_data(ids.as_slice(), device).reshape([2, length]);
    let truth = |bbox| {
        let object =
            TruthObject { bbox, class: Some(1), unshown_classes: 0, is_target: true, named: Some([true, false]) };
        let mask = M::SEGMENTS.then(|| filled(bbox, M::input(config).side));
        SampleTruth { bbox: Some(bbox), objects: vec![object], mask }
    };
    let truths = vec![truth(BoxCxcywh::new(0.3, 0.4, 0.2, 0.3)), truth(BoxCxcywh::new(0.5, 0.2, 0.4, 0.1))];
    (
        Batch {
            canvases,
            contents: contents.to_vec(),
            ids,
            lengths: phrases.iter().map(Vec::len).collect(),
            erased: None,
            same_canvas: Batch::own_canvases(2),
        },
        truths,
    )
}

/// The pixels whose centre lies in a box.
fn filled(bbox: BoxCxcywh<Unit>, side: u32) -> BinaryMask {
    let bbox = bbox.to_xyxy();
    let at = |index: u32| (f64::from(index) + 0.5) / f64::from(side);
    BinaryMask::from_fn(ImageSize::new(side, side).unwrap(), |row, column| {
        (bbox.x0..bbox.x1).contains(&at(column)) && (bbox.y0..bbox.y1).contains(&at(row))
    })
}

fn ground<M: System>(model: &M, options: &GroundOptions) -> Vec<Grounded> {
    let (canvases, contents, phrases) = inputs::<M>(model.config(), &Device::flex());
    let views: Vec<_> =
        (0..2).map(|index| model.read_canvas(canvases.clone().narrow(0, index, 1), contents[index])).collect();
    let phrases: Vec<_> = phrases.iter().map(|ids| model.read_phrase(ids)).collect();
    phrases.iter().zip(&views).map(|(phrase, view)| model.ground(phrase, view, options).unwrap()).collect()
}

fn same(one: &[Grounded], two: &[Grounded], tolerance: f64, what: &str) {
    assert_eq!(one.len(), two.len());
    for (one, two) in one.iter().zip(two) {
        assert_eq!(one.targets.len(), two.targets.len(), "{what}");
        for (one, two) in one.targets.iter().zip(&two.targets) {
            let (a, b) = (one.bbox.to_array(), two.bbox.to_array());
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance), "{what}: {a:?} {b:?}");
        }
        assert_eq!((one.flops, one.dense_flops), (two.flops, two.dense_flops), "{what}");
        let near = |a: f32, b: f32| f64::from((a - b).abs()) <= 10.0 * tolerance;
        assert!(near(one.no_target.unwrap_or(0.0), two.no_target.unwrap_or(0.0)), "{what}");
        match (&one.mask, &two.mask) {
            (Some(one), Some(two)) => {
                assert_eq!((one.height, one.width), (two.height, two.width), "{what}");
                let apart = one.logits.iter().zip(&two.logits).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(near(apart, 0.0), "{what}: {apart}");
            }
            (None, None) => {}
            _ => panic!("{what}: a mask and none"),
        }
    }
}

#[test]
fn the_catalogue_is_what_it_says() {
    let all = catalog::all();
    assert!(all.len() >= 3, "the catalogue shrank");
    let names: BTreeSet<_> = all.iter().map(|spec| spec.name).collect();
    assert_eq!(names.len(), all.len());
    for spec in &all {
        assert_eq!(catalog::find(spec.name).as_ref(), Some(spec));
        assert_eq!(spec.name, format!("{}-{}", spec.config.system(), spec.preset.replace('_', "-")));
        let parameters = spec.config.parameters(&Device::flex()).unwrap();
        let count: usize = parameters.iter().map(|info| info.shape.iter().product::<usize>()).sum();
        assert_eq!(count, spec.parameters, "{}", spec.name);
        let dense = match &spec.config {
            AnyConfig::ScanFormer(config) => {
                let grids: Vec<usize> = (0..config.levels).map(|level| config.grid(level).pow(2)).collect();
                config.dense_flops(11, &grids)
            }
            AnyConfig::Dmmi(config) => config.flops(),
            AnyConfig::TransVg(config) => config.dense_flops(11),
            AnyConfig::Vltvg(config) => config.dense_flops(11),
            AnyConfig::QrNet(config) => config.dense_flops(11),
            other => panic!("no count for {}", other.system()),
        };
        assert_eq!(dense, spec.dense_flops, "{}", spec.name);
        let input = spec.config.input();
        assert!(input.side > 0 && input.max_ids >= 2 && input.vocabulary > 102);
    }
}

#[test]
fn configurations_survive_their_file() {
    for spec in catalog::all() {
        let json = spec.config.to_json().unwrap();
        let read = |json: &str| AnyConfig::from_json(spec.config.system(), json);
        assert_eq!(read(&json).unwrap(), spec.config);
        assert!(matches!(read(&json.replacen('{', "{\"colour\": 1,", 1)), Err(DescriptionError::Json { .. })));
        assert!(matches!(read("{}"), Err(DescriptionError::Json { .. })));
        assert!(matches!(AnyConfig::from_json("cubism", &json), Err(DescriptionError::System { .. })));
    }
    let broken = AnyConfig::ScanFormer(groundling_models::scanformer::ScanFormerConfig {
        heads: 5,
        ..groundling_models::scanformer::ScanFormerConfig::tiny()
    });
    let error = AnyConfig::from_json("scanformer", &broken.to_json().unwrap()).unwrap_err();
    assert!(error.to_string().contains("heads is 5"), "{error}");
}

#[test]
fn answers_are_boxes_of_the_canvas() {
    fn check<M: System>(config: &M::Config, name: &str) {
        let model: M = model(config, &Device::flex());
        for grounded in ground(&model, &GroundOptions::default()) {
            // Nothing found is an answer only of those who can say so.
            assert!(!grounded.targets.is_empty() || grounded.no_target.is_some_and(|score| score >= 0.5), "{name}");
            assert!(grounded.no_target.is_none_or(|score| (0.0..=1.0).contains(&score)), "{name}");
            assert_eq!(grounded.mask.is_some(), M::SEGMENTS, "{name}");
            if let Some(mask) = &grounded.mask {
                let side = M::input(config).side as usize;
                assert_eq!((mask.height, mask.width, mask.logits.len()), (side, side, side * side), "{name}");
                assert!(mask.logits.iter().all(|logit| logit.is_finite()), "{name}");
                assert_eq!(mask.bounds().is_some(), !grounded.targets.is_empty(), "{name}");
            }
            for target in &grounded.targets {
                assert!(target.bbox.to_array().iter().all(|value| (0.0..=1.0).contains(value)), "{name}: {target:?}");
                assert!((0.0..=1.0).contains(&target.score), "{name}: {target:?}");
            }
            assert!(grounded.flops > 0 && grounded.flops <= grounded.dense_flops, "{name}");
        }
    }
    for_each_small!(check);
}

#[test]
fn a_batch_equals_its_singles() {
    fn check<M: System>(config: &M::Config, name: &str) {
        let model: M = model(config, &Device::flex());
        let (canvases, contents, phrases) = inputs::<M>(config, &Device::flex());
        let views: Vec<_> =
            (0..2).map(|index| model.read_canvas(canvases.clone().narrow(0, index, 1), contents[index])).collect();
        let phrases: Vec<_> = phrases.iter().map(|ids| model.read_phrase(ids)).collect();
        let options = GroundOptions::default();
        let pairs: Vec<_> = phrases.iter().flat_map(|phrase| views.iter().map(move |view| (phrase, view))).collect();
        let together = model.ground_batch(&pairs, &options).unwrap();
        let apart: Vec<_> = pairs.iter().map(|(phrase, view)| model.ground(phrase, view, &options).unwrap()).collect();
        same(&together, &apart, 1e-5, name);
        assert!(model.ground_batch(&[], &options).unwrap().is_empty());
    }
    for_each_small!(check);
}

/// A phrase that is read with its first picture gives what it gives when it is read before, to the bit, and serves other pictures as well.
#[test]
fn a_phrase_may_be_read_on_the_way() {
    fn check<M: System>(config: &M::Config, name: &str) {
        let mut model: M = model(config, &Device::flex());
        for prepared in [false, true] {
            if prepared {
                model.prepare_inference();
            }
            let (canvases, contents, phrases) = inputs::<M>(config, &Device::flex());
            let views: Vec<_> =
                (0..2).map(|index| model.read_canvas(canvases.clone().narrow(0, index, 1), contents[index])).collect();
            for attention in [false, true] {
                let options = GroundOptions { attention, ..GroundOptions::default() };
                for ids in &phrases {
                    let before = model.read_phrase(ids);
                    let (phrase, first) = model.ground_new(ids, &views[0], &options).unwrap();
                    assert_eq!(first, model.ground(&before, &views[0], &options).unwrap(), "{name}");
                    let second = model.ground(&phrase, &views[1], &options).unwrap();
                    assert_eq!(second, model.ground(&before, &views[1], &options).unwrap(), "{name}");
                }
            }
        }
    }
    for_each_small!(check);
}

#[test]
fn rearranged_weights_answer_alike() {
    fn check<M: System>(config: &M::Config, name: &str) {
        let mut model: M = model(config, &Device::flex());
        let before = ground(&model, &GroundOptions::default());
        model.prepare_inference();
        same(&ground(&model, &GroundOptions::default()), &before, 1e-5, name);
    }
    for_each_small!(check);
}

#[test]
fn attention_is_given_to_those_who_ask() {
    fn check<M: System>(config: &M::Config, name: &str) {
        let model: M = model(config, &Device::flex());
        let plain = ground(&model, &GroundOptions::default());
        let traced = ground(&model, &GroundOptions { attention: true, ..GroundOptions::default() });
        same(&traced, &plain, 1e-6, name);
        assert!(plain.iter().all(|grounded| grounded.trace.is_none()), "{name}");
        for grounded in traced {
            // One or the other, whichever the system has. DMMI answers with every pixel, not with one token: it has neither.
            let by_level = !grounded.levels.is_empty() && grounded.levels.iter().all(|level| level.attention.is_some());
            let ways = usize::from(grounded.trace.is_some()) + usize::from(by_level);
            assert_eq!(ways, usize::from(M::NAME != Dmmi::NAME), "{name}");
            let Some(trace) = grounded.trace else { continue };
            let tokens: usize = trace.grids.iter().map(|[rows, columns]| rows * columns).sum();
            assert!(trace.valid.len() == tokens && trace.valid.contains(&true) && !trace.layers.is_empty(), "{name}");
            for (index, layer) in trace.layers.iter().enumerate() {
                let map = trace.map(index).unwrap();
                assert!((map.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{name}");
                assert!(layer.weights.iter().sum::<f32>() < 1.0 + 1e-5, "{name}");
                let values = layer.logits.iter().zip(&layer.weights).zip(map);
                for (&valid, ((logit, &weight), value)) in trace.valid.iter().zip(values) {
                    assert!(logit.is_finite() && (valid || (weight == 0.0 && value == 0.0)), "{name}");
                }
            }
            assert!(trace.map(trace.layers.len()).is_none(), "{name}");
        }
    }
    for_each_small!(check);
}

#[test]
fn files_give_the_model_back() {
    fn check<M: System>(config: &M::Config, name: &str) {
        let path = scratch(&format!("contract-{name}")).join("model.safetensors");
        let one: M = model(config, &Device::flex());
        let before = ground(&one, &GroundOptions::default());
        save(&one, &path, Precision::F32, &BTreeMap::new()).unwrap();
        let checkpoint = Checkpoint::open(&path, &Limits::default()).unwrap();
        Device::flex().seed(99);
        let (two, report) = load_into(M::init(config, &Device::flex()).unwrap(), &checkpoint, &[]).unwrap();
        assert!(report.is_complete() && report.renamed.is_empty(), "{report}");
        same(&ground(&two, &GroundOptions::default()), &before, 0.0, name);
    }
    for_each_small!(check);
}

#[test]
fn nothing_under_padding_matters() {
    fn check<M: System>(config: &M::Config, name: &str) {
        // Without gradients nothing is dropped: masks of dropout would differ with the shapes.
        let device = Device::flex();
        let model: M = model(config, &device);
        let loss = |padding: usize| {
            let (batch, truths) = batch::<M>(config, &device, padding);
            device.seed(3);
            model.losses(&batch, &truths, &M::Criterion::default()).total.into_scalar::<f32>()
        };
        let (one, two) = (loss(0), loss(5));
        assert!((one - two).abs() < 1e-5 * one.abs(), "{name}: {one} {two}");
    }
    for_each_small!(check);
}

#[test]
fn every_parameter_gets_a_gradient() {
    fn check<M: System>(config: &M::Config, name: &str) {
        let device = Device::flex().autodiff();
        let model: M = model::<M>(config, &device).for_training(&M::Criterion::default()).unwrap();
        let (batch, truths) = batch::<M>(config, &device, 0);
        device.seed(3);
        let losses = model.losses(&batch, &truths, &M::Criterion::default());
        let total = losses.total.clone().into_scalar::<f32>();
        assert!(total.is_finite() && total > 0.0, "{name}: {total}");
        let names: BTreeSet<&String> = losses.terms.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), losses.terms.len(), "{name}: a term twice");
        for (term, value) in &losses.terms {
            assert!(!value.is_autodiff() && value.clone().into_scalar::<f32>().is_finite(), "{name}: {term}");
        }
        let found = gradients(&model, &losses.total.backward());
        let mut trained = support::trainable(&model);
        // Only the last map of a backbone is read: norms of a Swin's others are not.
        trained.retain(|name| {
            !["norm0.", "norm1.", "norm2."].iter().any(|norm| name.contains(&format!("visual.backbone.{norm}")))
        });
        let with_gradient: BTreeSet<String> = found.iter().map(|(info, _)| info.name.clone()).collect();
        assert_eq!(with_gradient, trained, "{name}: parameters without a gradient");
        for (info, values) in found {
            assert!(values.iter().all(|value| value.is_finite()), "{name}: {}", info.name);
            // What starts at zero passes no gradient to what is before it, and what a norm takes away again gets none.
            let before_norm = ["query.bias", "window.bias", "visual_out.bias", "visual_value.bias", "key.bias"];
            let taken_away = info.name.contains(".fusion.") && before_norm.iter().any(|end| info.name.ends_with(end));
            let starved = ["pse.fc1", ".squeeze.", ".expand.decoder.", ".spatial.decoder."];
            if !starved.iter().any(|part| info.name.contains(part)) && !taken_away {
                assert!(values.iter().any(|&value| value != 0.0), "{name}: {}", info.name);
            }
        }
    }
    for_each_small!(check);
}

#[test]
fn the_seed_decides_everything() {
    fn check<M: System>(config: &M::Config, name: &str) {
        let device = Device::flex().autodiff();
        let loss = |seed: u64| {
            let model: M = model(config, &device);
            let (batch, truths) = batch::<M>(config, &device, 0);
            device.seed(seed);
            model.losses(&batch, &truths, &M::Criterion::default()).total.into_scalar::<f32>()
        };
        assert_eq!(loss(1), loss(1), "{name}");
        assert_ne!(loss(1), loss(2), "{name}: noise that does not depend on the seed");
    }
    for_each_small!(check);
}
