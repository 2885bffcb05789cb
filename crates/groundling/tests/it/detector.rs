//! Detectors: folders of weights, options, and what cannot be.

use std::path::Path;

use burn::tensor::Device;
use groundling::{
    Bundle, BundleError, Description, DetectError, DetectOptions, Detector, GroundError, Grounder, OpenError, Settings,
};
use groundling_core::ModelIdentity;
use groundling_models::catalog;
use groundling_models::focus_detr::{EncoderConfig, FocusDetr, FocusDetrConfig};
use groundling_nn::checkpoint::{Precision, initialise, parameters};
use groundling_testkit::scratch;
use image::RgbImage;

fn model(config: &FocusDetrConfig) -> FocusDetr {
    let device = Device::flex();
    let _alone = crate::alone();
    device.seed(3);
    let model = config.init(&device).unwrap();
    initialise(&model);
    model
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("kind {class}")).collect()
}

fn write(folder: &Path, model: &FocusDetr, classes: Vec<String>) -> Bundle {
    let description = Description { name: "tiny".into(), preset: "tiny".into(), classes, ..Description::default() };
    Bundle::write(folder, model, &description, Precision::F32).unwrap()
}

fn detector(model: FocusDetr) -> Detector {
    let identity = ModelIdentity { name: "tiny".into(), hash: String::new() };
    Detector::from_model(model, names(10), identity, Settings::default()).unwrap()
}

fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, (x * y % 256) as u8]))
}

#[test]
fn a_folder_of_weights_says_its_classes_and_answers() {
    let folder = scratch("detector-folder");
    let model = model(&FocusDetrConfig::tiny());
    let bundle = write(&folder, &model, names(10));
    assert_eq!((bundle.manifest().vocabulary.as_ref(), bundle.manifest().classes.len()), (None, 10));
    bundle.verify().unwrap();
    let opened = Detector::open(&folder).unwrap();
    let options = DetectOptions::default();
    let found = opened.detect(&photo(200, 150), &options).unwrap();
    assert_eq!((found.image_size.width(), found.image_size.height()), (200, 150));
    assert!(!found.objects.is_empty() && found.objects.len() <= 300);
    for pair in found.objects.windows(2) {
        assert!(pair[0].score >= pair[1].score);
    }
    for object in &found.objects {
        assert_eq!(object.label, format!("kind {}", object.class));
        let [x0, y0, x1, y1] = object.bbox.to_array();
        assert!(x0 >= 0.0 && y0 >= 0.0 && x1 <= 200.0 && y1 <= 150.0 && x0 < x1 && y0 < y1, "{object:?}");
    }
    // 150 pixels become 128, 200 become 171: four levels of half the size each.
    assert_eq!(found.kept.grids, [[16, 22], [8, 11], [4, 6], [2, 3]]);
    assert_eq!(found.kept.layers.len(), 3);
    let in_memory = detector(model).detect(&photo(200, 150), &options).unwrap();
    assert_eq!(in_memory.objects, found.objects);
    let best = DetectOptions { limit: 3, ..options };
    assert_eq!(opened.detect(&photo(200, 150), &best).unwrap().objects, found.objects[..3]);
    let above = DetectOptions { threshold: found.objects[4].score as f32, ..options };
    assert!(opened.detect(&photo(200, 150), &above).unwrap().objects.len() < found.objects.len());
}

#[test]
fn fewer_tokens_cost_less_and_budgets_hold() {
    let detector = detector(model(&FocusDetrConfig::tiny()));
    let photo = photo(160, 120);
    let at =
        |ratio: f32| detector.detect(&photo, &DetectOptions { keep_ratio: Some(ratio), ..DetectOptions::default() });
    let found: Vec<_> = [1.0, 0.5, 0.2, 0.05].map(|ratio| at(ratio).unwrap()).into();
    for pair in found.windows(2) {
        assert!(pair[0].flops > pair[1].flops && pair[0].kept.share() > pair[1].kept.share());
        assert_eq!(pair[0].dense_flops, pair[1].dense_flops);
    }
    let budget = (found[1].flops + found[2].flops) as f64 / 2e9;
    let within = DetectOptions { budget_gflops: Some(budget), ..DetectOptions::default() };
    let kept = detector.detect(&photo, &within).unwrap();
    assert!(kept.flops as f64 <= budget * 1e9 && kept.keep_ratio.is_some_and(|ratio| (0.2..0.5).contains(&ratio)));
    // A budget that nothing passes changes nothing.
    let roomy = DetectOptions { budget_gflops: Some(1e6), ..DetectOptions::default() };
    let usual = detector.detect(&photo, &DetectOptions::default()).unwrap();
    assert_eq!(detector.detect(&photo, &roomy).unwrap(), usual);
    let error = detector.detect(&photo, &DetectOptions { budget_gflops: Some(1e-6), ..roomy }).unwrap_err();
    assert!(matches!(error, DetectError::Budget { .. }) && error.hint().is_some(), "{error}");
}

#[test]
fn what_cannot_be_is_named() {
    let tiny = detector(model(&FocusDetrConfig::tiny()));
    let usual = DetectOptions::default();
    for (options, expected) in [
        (DetectOptions { keep_ratio: Some(0.0), ..usual }, "keep_ratio is 0, expected a positive number"),
        (DetectOptions { keep_ratio: Some(f32::NAN), ..usual }, "keep_ratio is NaN"),
        (DetectOptions { budget_gflops: Some(-1.0), ..usual }, "budget_gflops is -1"),
        (DetectOptions { threshold: f32::NAN, ..usual }, "threshold is NaN"),
    ] {
        let error = tiny.detect(&photo(20, 20), &options).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(tiny.detect(&photo(1, 1), &usual).is_ok(), "a picture of one pixel is a picture");
    assert!(matches!(tiny.detect("no-such-file.png", &usual), Err(DetectError::Image(_))));
    let dense = detector(model(&FocusDetrConfig { encoder: EncoderConfig::Dense, ..FocusDetrConfig::tiny() }));
    let error = dense.detect(&photo(20, 20), &DetectOptions { keep_ratio: Some(0.5), ..usual }).unwrap_err();
    assert!(matches!(error, DetectError::Dense { option: "keep_ratio" }), "{error}");
    let folder = scratch("detector-names");
    write(&folder, &model(&FocusDetrConfig::tiny()), names(9));
    let error = Detector::open(&folder).unwrap_err();
    assert!(matches!(error, DetectError::Open(OpenError::Classes { found: 9, expected: 10 })), "{error}");
    let error = Grounder::open(&folder).unwrap_err();
    assert!(matches!(&error, GroundError::Weights(BundleError::Detector { .. })), "{error}");
    assert!(error.hint().unwrap().contains("groundling detect"));
}

#[test]
fn the_catalogue_of_detectors_is_what_it_says() {
    let all = catalog::detectors();
    assert_eq!(all.len(), 4, "the catalogue changed");
    let mut wrong = Vec::new();
    for spec in all {
        assert_eq!(FocusDetrConfig::preset(spec.preset).as_ref(), Some(&spec.config));
        assert_eq!(spec.name, format!("focus-detr-{}", spec.preset.replace('_', "-")));
        let model = spec.config.init(&Device::flex()).unwrap();
        let count: usize = parameters(&model).iter().map(|info| info.shape.iter().product::<usize>()).sum();
        let short = spec.config.input.short as usize;
        let flops = 2 * model.dense_macs([short, short * 4 / 3]).unwrap().total();
        if (count, flops) != (spec.parameters, spec.dense_flops) {
            wrong.push(format!("{}: {count} parameters, {flops} operations", spec.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
