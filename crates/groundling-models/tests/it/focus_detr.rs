//! What must hold for Focus-DETR and its rivals whatever the weights are.

use std::collections::BTreeSet;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Distribution, Gradients, Tensor};
use groundling_core::ImageSize;
use groundling_models::focus_detr::{
    BackboneConfig, Criterion, DecoderKind, DenoisingConfig, DenoisingPlan, DenoisingQueries, DetectionLosses,
    EncoderConfig, FocusConfig, FocusDetr, FocusDetrConfig, ForwardError, ForwardOptions, Geometry, LabelRule,
    Modulation, Noise, Output, Target, detections, tokens,
};
use groundling_models::scalablevit::ScalableVitConfig;
use groundling_nn::checkpoint::{Checkpoint, StoredTensor, gradients, load_into, parameters};
use groundling_nn::layers::PrepareInference;
use groundling_nn::swin::SwinConfig;

use crate::support::{alone, array};

fn focus(change: impl FnOnce(&mut FocusConfig)) -> EncoderConfig {
    let EncoderConfig::Focus(mut focus) = FocusDetrConfig::tiny().encoder else { panic!("tiny is a Focus-DETR") };
    change(&mut focus);
    EncoderConfig::Focus(focus)
}

/// Every kind of network there is, small.
fn kinds() -> Vec<(&'static str, FocusDetrConfig)> {
    let tiny = FocusDetrConfig::tiny;
    let swin = BackboneConfig::Swin(SwinConfig::tiny());
    let scalable = BackboneConfig::ScalableVit(ScalableVitConfig::tiny().dense());
    let sparse = EncoderConfig::Sparse { keep: 0.3 };
    vec![
        ("focus", tiny()),
        ("additive", FocusDetrConfig { encoder: focus(|focus| focus.modulation = Modulation::Additive), ..tiny() }),
        ("dense", FocusDetrConfig { encoder: EncoderConfig::Dense, ..tiny() }),
        ("sparse", FocusDetrConfig { encoder: sparse.clone(), ..tiny() }),
        ("two-stage", FocusDetrConfig { encoder: sparse, decoder: DecoderKind::TwoStage, ..tiny() }),
        ("swin", FocusDetrConfig { backbone: swin, ..tiny() }),
        ("scalable", FocusDetrConfig { backbone: scalable, ..tiny() }),
    ]
}

fn model(config: &FocusDetrConfig, device: &Device) -> FocusDetr {
    let _alone = alone();
    device.seed(7);
    let model = config.init(device).unwrap();
    groundling_nn::checkpoint::initialise(&model);
    model
}

fn image(images: usize, [height, width]: [usize; 2], device: &Device) -> Tensor<4> {
    let _alone = alone();
    device.seed(11);
    Tensor::random([images, 3, height, width], Distribution::Default, device)
}

fn size(height: u32, width: u32) -> ImageSize {
    ImageSize::new(height, width).unwrap()
}

/// So many objects in a row.
fn targets(counts: &[usize], classes: usize) -> Vec<Target> {
    let one = |&count: &usize| Target {
        labels: (0..count).map(|index| index % classes).collect(),
        boxes: (0..count).map(|index| [(index as f32 + 0.5) / count as f32, 0.5, 0.8 / count as f32, 0.6]).collect(),
    };
    counts.iter().map(one).collect()
}

fn apart<const D: usize>(a: &Tensor<D>, b: &Tensor<D>) -> f64 {
    let (a, b) = (array(a.clone()), array(b.clone()));
    a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn step(model: &FocusDetr, counts: &[usize], denoising: bool, criterion: &Criterion) -> (Output, DetectionLosses) {
    let device = Device::flex().autodiff();
    let targets = targets(counts, model.config().classes);
    let contents = vec![size(90, 120); counts.len()];
    let batch = image(counts.len(), [96, 128], &device);
    let plan =
        DenoisingPlan::new(&criterion.denoising, &targets).filter(|_| denoising && model.label_embedding.is_some());
    let queries = plan.as_ref().map(|plan| {
        let _alone = alone();
        device.seed(3);
        let noise = Noise::draw(plan, model.config().classes, &device);
        let table = model.label_embedding.as_ref().unwrap().val();
        (plan, DenoisingQueries::new(&criterion.denoising, plan, &targets, &noise, table))
    });
    let output = model.forward_denoising(batch, Some(&contents), &ForwardOptions::default(), queries).unwrap();
    let losses = criterion.losses(&output, &targets, &contents, plan.as_ref()).unwrap();
    (output, losses)
}

#[test]
fn a_batch_is_its_singles() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let mut model = model(&config, &device);
        model.prepare_inference();
        let batch = image(2, [96, 128], &device);
        let options = ForwardOptions::default();
        let both = model.forward(batch.clone(), None, &options).unwrap();
        assert_eq!(both.layers.len(), config.decoder_layers);
        for index in 0..2 {
            let single = model.forward(batch.clone().narrow(0, index, 1), None, &options).unwrap();
            let boxes = both.last().boxes.clone().narrow(0, index, 1);
            let logits = both.last().logits.clone().narrow(0, index, 1);
            assert!(apart(&single.last().boxes, &boxes) < 1e-4, "{name}");
            assert!(apart(&single.last().logits, &logits) < 1e-3, "{name}");
        }
    }
}

#[test]
fn every_parameter_learns() {
    for (name, config) in kinds() {
        let device = Device::flex().autodiff();
        let model = model(&config, &device);
        let criterion = Criterion {
            denoising: DenoisingConfig { number: 6, ..DenoisingConfig::default() },
            ..Criterion::default()
        };
        let (_, losses) = step(&model, &[2, 1], true, &criterion);
        let grads = losses.total.backward();
        let found = gradients(&model, &grads);
        assert!(found.iter().all(|(_, values)| values.iter().all(|v| v.is_finite())), "{name}");
        let found: BTreeSet<String> = found.into_iter().map(|(info, _)| info.name).collect();
        let fixed = |of: &str| {
            let norm = of.contains("bn") || of.contains("downsample.1.");
            let frozen = matches!(config.backbone, BackboneConfig::ResNet(_)) && of.starts_with("backbone.");
            // Maps of stride 4 are not used, nor are their norms.
            let unused = of.starts_with("backbone.norm0.") || of.starts_with("backbone.stages.0.norm.");
            unused || (frozen && (norm || of == "backbone.conv1.weight"))
        };
        let dead: Vec<String> = parameters(&model)
            .into_iter()
            .map(|info| info.name)
            .filter(|of| !found.contains(of) && !fixed(of))
            .collect();
        assert!(dead.is_empty(), "{name}: no gradient for {dead:?}");
    }
}

#[test]
fn any_number_of_objects() {
    let device = Device::flex().autodiff();
    let config = FocusDetrConfig::tiny();
    let model = model(&config, &device);
    let criterion = Criterion::default();
    for counts in [[0, 0], [0, 3], [300, 1]] {
        let (_, losses) = step(&model, &counts, true, &criterion);
        assert!(array(losses.total.clone()).data[0].is_finite());
        for (kind, pairs) in &losses.matches {
            for (pairs, count) in pairs.iter().zip(counts) {
                assert_eq!(pairs.len(), count.min(config.queries), "{kind:?}");
            }
        }
        let denoised = losses.terms.iter().any(|term| term.name.ends_with("_dn"));
        assert_eq!(denoised, counts.iter().any(|&count| count > 0));
        let grads = losses.total.backward();
        assert!(gradients(&model, &grads).iter().all(|(_, values)| values.iter().all(|v| v.is_finite())));
    }
}

#[test]
fn matching_queries_do_not_see_denoising_ones() {
    let device = Device::flex().autodiff();
    let model = model(&FocusDetrConfig::tiny(), &device);
    let criterion = Criterion::default();
    let (with, _) = step(&model, &[2, 1], true, &criterion);
    let (without, _) = step(&model, &[2, 1], false, &criterion);
    assert!(!with.denoising.is_empty() && without.denoising.is_empty());
    assert!(apart(&with.last().logits, &without.last().logits) < 1e-5);
    assert!(apart(&with.last().boxes, &without.last().boxes) < 1e-6);
}

#[test]
fn tokens_that_are_not_chosen_stay_what_they_were() {
    let device = Device::flex();
    let model = model(&FocusDetrConfig::tiny(), &device);
    let [_, c3, c4, c5] = model.backbone.forward(image(1, [96, 128], &device)).unwrap();
    let maps = model.neck.forward([c3, c4, c5]);
    let (before, sizes) = tokens(maps.clone());
    let geometry = Geometry::whole(1, &sizes);
    let encoding = model.encode(maps, geometry, &ForwardOptions::default());
    let selection = encoding.selection.unwrap();
    let chosen: BTreeSet<usize> = selection.list(0)[0].iter().copied().collect();
    assert!(chosen.len() > 8 && chosen.len() < before.dims()[1]);
    for layer in 1..selection.kept.len() {
        assert!(selection.list(layer)[0].iter().all(|place| chosen.contains(place)), "lists are nested");
    }
    let (before, after) = (array(before), array(encoding.memory));
    let width = before.shape[2];
    for (token, (a, b)) in before.data.chunks(width).zip(after.data.chunks(width)).enumerate() {
        assert_eq!(a != b, chosen.contains(&token), "token {token}");
    }
}

#[test]
fn the_keep_ratio_decides_how_many() {
    let device = Device::flex();
    let model = model(&FocusDetrConfig::tiny(), &device);
    let batch = image(1, [96, 128], &device);
    let kept = |ratio| {
        let options = ForwardOptions { keep_ratio: Some(ratio) };
        let output = model.forward(batch.clone(), None, &options).unwrap();
        output.encoding.selection.unwrap().kept.iter().sum::<usize>()
    };
    let count = 12 * 16 + 6 * 8 + 3 * 4 + 2 * 2;
    for ratio in [0.1f32, 0.3, 0.5] {
        let expected = ratio * 3.0 * count as f32;
        assert!((kept(ratio) as f32 - expected).abs() <= 6.0, "{ratio}: {} of {expected}", kept(ratio));
    }
    assert!(kept(1.0) <= 3 * count && kept(1e-6) == 3);
}

#[test]
fn nothing_under_padding_matters() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let model = model(&config, &device);
        let sizes = config.level_sizes([96, 128]);
        let geometry = Geometry::new(size(96, 128), &[size(80, 70)], &sizes);
        let maps = |padding: f32| -> Vec<Tensor<4>> {
            let map = |(level, [height, width]): (usize, &[usize; 2])| {
                let hidden = geometry.level_padding(level, &device).reshape([1, 1, *height, *width]);
                let map = Tensor::<4>::ones([1, config.width, *height, *width], &device).cumsum(1).cumsum(3).sin();
                map.mask_fill(hidden.expand([1, config.width, *height, *width]), padding)
            };
            sizes.iter().enumerate().map(map).collect()
        };
        let memory = |padding: f32| {
            let encoding = model.encode(maps(padding), geometry.clone(), &ForwardOptions::default());
            let keep = geometry.padding(&device).unwrap().bool_not().float().reshape([1, geometry.tokens(), 1]);
            encoding.memory * keep
        };
        let valid: usize = geometry.valid_tokens().iter().sum();
        assert!(valid > 50 && valid < geometry.tokens());
        assert_eq!(apart(&memory(0.5), &memory(-3.0)), 0.0, "{name}");
    }
}

#[test]
fn weights_survive_a_round_trip() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let model = model(&config, &device);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<FocusDetrConfig>(&text).unwrap(), config, "{name}");
        let mut tensors = Vec::new();
        for info in parameters(&model) {
            let count = info.shape.iter().product();
            tensors.push((info.name, StoredTensor::from_values(info.shape, vec![0.25; count])));
        }
        let names: BTreeSet<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names.len(), tensors.len(), "{name}: names are unique");
        let count = model.num_params();
        let (model, report) = load_into(model, &Checkpoint::from_tensors(tensors), &[]).unwrap();
        assert!(report.is_complete() && model.num_params() == count, "{name}");
    }
}

#[test]
fn bad_input_is_an_error() {
    let device = Device::flex();
    let model = model(&FocusDetrConfig::tiny(), &device);
    let batch = image(1, [64, 64], &device);
    let options = ForwardOptions::default();
    for found in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let error = model.forward(batch.clone(), None, &ForwardOptions { keep_ratio: Some(found) }).unwrap_err();
        assert!(matches!(error, ForwardError::KeepRatio { .. }), "{error}");
    }
    for contents in [vec![], vec![size(65, 64)], vec![size(64, 64), size(64, 64)]] {
        let error = model.forward(batch.clone(), Some(&contents), &options).unwrap_err();
        assert!(matches!(error, ForwardError::Content { .. }), "{error}");
    }
    // One pixel is a small image, but an image.
    let output = model.forward(image(1, [1, 1], &device), None, &options).unwrap();
    assert_eq!(output.last().boxes.dims(), [1, 4, 4], "no more queries than tokens");
    assert!(detections(output.last(), 0, size(1, 1), size(1, 1), 300).len() <= 40);
    let scalable = BackboneConfig::ScalableVit(ScalableVitConfig::tiny().dense());
    let scalable = FocusDetrConfig { backbone: scalable, ..FocusDetrConfig::tiny() }.init(&device).unwrap();
    assert!(matches!(scalable.forward(image(1, [8, 8], &device), None, &options), Err(ForwardError::TooSmall(_))));
}

#[test]
fn configurations_are_checked() {
    let tiny = FocusDetrConfig::tiny;
    for (field, config) in [
        ("classes", FocusDetrConfig { classes: 0, ..tiny() }),
        ("queries", FocusDetrConfig { queries: 0, ..tiny() }),
        ("heads", FocusDetrConfig { heads: 3, ..tiny() }),
        ("neck_groups", FocusDetrConfig { neck_groups: 7, ..tiny() }),
        ("encoder.focus.cascade", FocusDetrConfig { encoder_layers: 2, ..tiny() }),
        ("encoder.focus.cascade", FocusDetrConfig { encoder: focus(|f| f.cascade = vec![0.1, 0.5, 0.3]), ..tiny() }),
        ("encoder.focus.keep", FocusDetrConfig { encoder: focus(|f| f.keep = f32::NAN), ..tiny() }),
        ("encoder.sparse.keep", FocusDetrConfig { encoder: EncoderConfig::Sparse { keep: -0.1 }, ..tiny() }),
    ] {
        assert_eq!(config.init(&Device::flex()).unwrap_err().field, field);
    }
    for config in [tiny(), FocusDetrConfig::r50(), FocusDetrConfig::r101(), FocusDetrConfig::swin_l()] {
        config.check().unwrap();
    }
}

/// One step of plain gradient descent.
struct Descent<'a> {
    grads: &'a Gradients,
    rate: f64,
}

impl ModuleMapper for Descent<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (grads, rate) = (self.grads, self.rate);
        param.map(|x| match x.grad(grads) {
            Some(grad) => Tensor::from_inner(x.inner() - grad.mul_scalar(rate)).require_grad(),
            None => x,
        })
    }
}

#[test]
fn descent_lowers_the_loss() {
    let device = Device::flex().autodiff();
    let batch = image(2, [96, 128], &device);
    let contents = [size(96, 128), size(80, 100)];
    for (name, config) in kinds().into_iter().take(5) {
        let mut model = model(&config, &device);
        let targets = targets(&[2, 1], config.classes);
        let criterion = Criterion {
            denoising: DenoisingConfig { number: 4, ..DenoisingConfig::default() },
            ..Criterion::default()
        };
        let mut losses = Vec::new();
        for _ in 0..24 {
            let found = {
                let _alone = alone();
                device.seed(5); // the same noise in every step
                model.losses(batch.clone(), &contents, &targets, &criterion).unwrap()
            };
            losses.push(array(found.total.clone()).data[0]);
            let grads = found.total.backward();
            let squares =
                gradients(&model, &grads).into_iter().flat_map(|(_, values)| values).map(|v| f64::from(v).powi(2));
            let rate = 0.05 / squares.sum::<f64>().sqrt();
            model = model.map(&mut Descent { grads: &grads, rate });
        }
        // Queries are chosen anew in every step, so single steps may go up.
        let last = losses[16..].iter().copied().fold(f64::INFINITY, f64::min);
        assert!(last < 0.95 * losses[0], "{name}: {losses:?}");
    }
}

#[test]
fn classes_that_the_network_does_not_know() {
    let device = Device::flex();
    let model = model(&FocusDetrConfig::tiny(), &device);
    let target = Target { labels: vec![1, 10], boxes: vec![[0.5; 4]; 2] };
    let error = model.losses(image(1, [32, 32], &device), &[size(32, 32)], &[target], &Criterion::default());
    assert_eq!(error.unwrap_err().to_string(), "object 1 of image 0 has class 10, expected one below 10");
}

#[test]
fn what_was_kept_is_told_by_level() {
    let device = Device::flex();
    for (name, config) in kinds().into_iter().take(4) {
        let model = model(&config, &device);
        let encoding = model.forward(image(1, [96, 128], &device), None, &ForwardOptions::default()).unwrap().encoding;
        let kept = encoding.kept_per_level(0, config.encoder_layers);
        for (layer, counts) in kept.iter().enumerate() {
            let expected = match &encoding.selection {
                Some(selection) => selection.kept[layer.min(selection.kept.len() - 1)],
                None => encoding.geometry.tokens(),
            };
            assert_eq!((counts.len(), counts.iter().sum::<usize>()), (4, expected), "{name}");
        }
    }
}

#[test]
fn paper_labels_train_too() {
    let device = Device::flex().autodiff();
    let model = model(&FocusDetrConfig::tiny(), &device);
    let criterion = Criterion { labels: LabelRule::overlapping(), ..Criterion::default() };
    let (_, losses) = step(&model, &[2, 1], true, &criterion);
    let select = losses.terms.iter().find(|term| term.name == "select_loss").unwrap();
    assert!(array(select.value.clone()).data[0] > 0.0);
    let text = serde_json::to_string(&criterion).unwrap();
    assert_eq!(serde_json::from_str::<Criterion>(&text).unwrap(), criterion);
}
