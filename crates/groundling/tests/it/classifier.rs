//! Classifiers: folders of weights, odd pictures, and what cannot be.

use std::path::Path;

use burn::tensor::Device;
use groundling::{
    Bundle, BundleError, Classifier, ClassifyError, Description, GroundError, Grounder, OpenError, Picture, Settings,
    systems,
};
use groundling_core::ModelIdentity;
use groundling_models::catalog;
use groundling_models::scalablevit::{ScalableVit, ScalableVitConfig};
use groundling_nn::checkpoint::{Checkpoint, Precision, StoredTensor, initialise, parameters};
use groundling_testkit::scratch;
use image::RgbImage;

fn config() -> ScalableVitConfig {
    ScalableVitConfig { side: 64, ..ScalableVitConfig::tiny() }
}

fn model(config: &ScalableVitConfig) -> ScalableVit {
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

fn write(folder: &Path, model: &ScalableVit, classes: Vec<String>) -> Bundle {
    let description = Description { name: "tiny".into(), preset: "tiny".into(), classes, ..Description::default() };
    Bundle::write(folder, model, &description, Precision::F32).unwrap()
}

fn classifier(model: ScalableVit) -> Result<Classifier, ClassifyError> {
    let identity = ModelIdentity { name: "tiny".into(), hash: String::new() };
    Classifier::from_model(model, names(10), identity, Settings::default())
}

fn photo(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 7 % 256) as u8, (y * 5 % 256) as u8, (x * y % 256) as u8]))
}

#[test]
fn a_folder_of_weights_says_its_classes_and_answers() {
    let folder = scratch("classifier-folder");
    let model = model(&config());
    let bundle = write(&folder, &model, names(10));
    assert_eq!((bundle.manifest().vocabulary.as_ref(), bundle.manifest().classes.len()), (None, 10));
    let opened = Classifier::open(&folder).unwrap();
    let found = opened.classify(&photo(200, 150), 10).unwrap();
    assert_eq!((found.image_size.width(), found.image_size.height()), (200, 150));
    assert_eq!(found.classes.len(), 10);
    assert!((found.classes.iter().map(|class| class.score).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(found.classes.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(found.classes.iter().all(|class| class.label == format!("kind {}", class.class)));
    assert_eq!(opened.classify(&photo(200, 150), 3).unwrap().classes, found.classes[..3]);
    let in_memory = classifier(model).unwrap();
    assert_eq!(in_memory.classify(&photo(200, 150), 10).unwrap().classes, found.classes);
    let other = opened.classify(&photo(150, 200), 10).unwrap();
    assert_ne!(other.classes, found.classes, "it looks at the picture");
}

#[test]
fn odd_pictures_are_pictures_and_bad_ones_spoil_no_other() {
    let classifier = classifier(model(&config())).unwrap();
    let images: Vec<RgbImage> = [(1, 1), (31, 97), (4000, 40), (40, 4000)].map(|(w, h)| photo(w, h)).into();
    let mut pictures: Vec<Picture<'_>> = images.iter().map(Picture::from).collect();
    pictures.insert(1, Picture::Bytes(b"no picture"));
    let found = classifier.classify_all(&pictures, 2);
    assert_eq!(found.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true, true]);
    assert!(matches!(found[1], Err(ClassifyError::Image(_))));
    assert!(matches!(classifier.classify("no-such-file.png", 1), Err(ClassifyError::Image(_))));
    assert!(matches!(classifier.classify(&RgbImage::new(0, 4), 1), Err(ClassifyError::Empty(_))));
}

#[test]
fn what_cannot_be_is_named() {
    let folder = scratch("classifier-names");
    write(&folder, &model(&config()), names(9));
    let error = Classifier::open(&folder).unwrap_err();
    assert!(
        matches!(error, ClassifyError::Open(OpenError::Classes { found: 9, expected: 10 })) && error.hint().is_some(),
        "{error}"
    );
    let error = Grounder::open(&folder).unwrap_err();
    assert!(matches!(&error, GroundError::Weights(BundleError::Classifier { .. })), "{error}");
    assert!(error.hint().unwrap().contains("groundling classify"));
    let backbone = ScalableVitConfig { head: None, ..config() };
    assert!(matches!(classifier(model(&backbone)), Err(ClassifyError::NoHead)));
    let mut broken = model(&config());
    let norm = broken.norm.as_mut().unwrap();
    norm.weight = norm.weight.clone().map(|gain| gain * f32::NAN);
    assert!(matches!(classifier(broken).unwrap().classify(&photo(20, 20), 1), Err(ClassifyError::NotFinite)));
}

#[test]
fn the_catalogue_of_classifiers_is_what_it_says() {
    let all = catalog::classifiers();
    assert_eq!(all.len(), 4, "the catalogue changed");
    for spec in all {
        assert_eq!(ScalableVitConfig::preset(spec.preset).as_ref(), Some(&spec.config));
        assert_eq!(spec.name, format!("scalablevit-{}", spec.preset));
        let model = spec.config.init(&Device::flex()).unwrap();
        let count: usize = parameters(&model).iter().map(|info| info.shape.iter().product::<usize>()).sum();
        let flops = 2 * model.macs(spec.config.side, spec.config.side).unwrap().total();
        assert_eq!((count, flops), (spec.parameters, spec.flops), "{}", spec.name);
    }
}

/// The configuration is read from the names and shapes of a released checkpoint.
#[test]
fn a_checkpoint_says_its_configuration() {
    let keys = groundling_testkit::fixtures().join("goldens/scalablevit/keys.json");
    let keys: serde_json::Value = serde_json::from_slice(&std::fs::read(keys).unwrap()).unwrap();
    let shapes = keys["small_cls"].as_object().unwrap();
    let tensors = shapes.iter().map(|(name, shape)| {
        let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
        let values = vec![0.0; shape.iter().product()];
        (name.clone(), StoredTensor::from_values(shape, values))
    });
    let checkpoint = Checkpoint::from_tensors(tensors);
    let config = systems::detect("scalablevit", &checkpoint).unwrap().unwrap();
    let config: ScalableVitConfig = serde_json::from_value(config).unwrap();
    assert_eq!(config, ScalableVitConfig { drop_path: 0.0, ..ScalableVitConfig::small() });
    let value = serde_json::to_value(&config).unwrap();
    let import =
        systems::Import { system: "scalablevit", config: &value, checkpoint: &checkpoint, layout: None, seed: 0 };
    let plan = import.plan().unwrap();
    assert!(plan.report.is_complete() && plan.layout == "official", "{}", plan.report);
    assert_eq!(plan.report.kept.len(), 0, "nothing starts fresh");
    assert!(systems::detect("focus_detr", &checkpoint).unwrap().is_none());
    let none = Checkpoint::from_tensors([("x".to_owned(), StoredTensor::from_values(vec![1], vec![0.0]))]);
    let error = systems::detect("scalablevit", &none).unwrap_err();
    assert!(error.to_string().contains("no tensor of a ScalableViT") && error.hint().is_some(), "{error}");
}
