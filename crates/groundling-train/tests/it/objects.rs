//! Detectors: what they are shown, whole runs, and what cannot be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use groundling::{DetectOptions, Detector};
use groundling_models::focus_detr::{BackboneConfig, Criterion, EncoderConfig, FocusDetrConfig, ImageSides};
use groundling_nn::swin::SwinConfig;
use groundling_testkit::scratch;
use groundling_train::batches::Batches;
use groundling_train::log::{LOG_FILE, read_lines};
use groundling_train::objects::{ObjectFigures, ObjectSample, Objects, to_device};
use groundling_train::recipe::Recipe;
use groundling_train::run::{self, Job, Observer, Resume, Silent, Summary, TrainError};
use groundling_train::task::Figures;
use serde_json::json;

use crate::support::{StopAt, state};
use crate::toy::alone;

const RECIPE: &str = "
    [model]
    system = \"focus_detr\"
    preset = \"tiny\"
    config = { classes = 14 }
    [[data]]
    source = \"scenes:train:200\"
    size = [64, 64]
    [validation]
    source = \"scenes:val:6\"
    every = 6
    [schedule]
    steps = 8
    batch = 3
    [optimizer]
    lr = 2e-3
    betas = [0.9, 0.999]
    factors = { backbone = 0.1 }
    ema = { decay = 0.9 }
    [augmentation]
    kind = \"detector\"
    mirror = 0.5
    crop = 0.5
    [criterion.denoising]
    number = 6
    [output]
    save_every = 3
    log_every = 2
    precision = \"f32\"
";

/// As small as a detector can be.
fn smallest() -> FocusDetrConfig {
    let EncoderConfig::Focus(mut focus) = FocusDetrConfig::tiny().encoder else { panic!("tiny is a Focus-DETR") };
    (focus.cascade, focus.fine_tokens) = (vec![1.0], 4);
    FocusDetrConfig {
        input: ImageSides { short: 64, longest: 96 },
        backbone: BackboneConfig::Swin(SwinConfig::tiny()),
        classes: 14,
        width: 16,
        heads: 2,
        feed_forward: 16,
        neck_groups: 4,
        encoder_layers: 1,
        decoder_layers: 1,
        queries: 12,
        encoder: EncoderConfig::Focus(focus),
        ..FocusDetrConfig::tiny()
    }
}

fn recipe(overrides: &[&str]) -> Recipe<Criterion> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::parse(RECIPE, "detector.toml", &overrides).unwrap()
}

fn job(out: &Path, overrides: &[&str]) -> Job<Objects> {
    let mut recipe = recipe(overrides);
    let config = recipe.resolve(&smallest()).unwrap();
    Job { recipe, config, device: Device::flex(), out: out.to_owned(), resume: Resume::Auto }
}

fn train(job: Job<Objects>, observer: &mut dyn Observer<ObjectFigures>) -> Result<Summary<ObjectFigures>, TrainError> {
    let _alone = alone();
    run::train(job, observer)
}

fn open(overrides: &[&str]) -> Result<Arc<Batches<Objects>>, String> {
    let mut recipe = recipe(overrides);
    let config = recipe.resolve(&smallest()).unwrap();
    Batches::open(&recipe, &config).map(Arc::new).map_err(|error| error.to_string())
}

/// Height, width, and boxes (x, y, width, height) with whether each is a crowd.
type CocoPicture = (u32, u32, Vec<([f64; 4], bool)>);

/// A data set in COCO's layout with the classes `cat` and `dog`; each picture has a white patch on black for each box.
fn coco(name: &str, pictures: &[CocoPicture]) -> String {
    let folder: PathBuf = scratch(name);
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for (index, (height, width, boxes)) in pictures.iter().enumerate() {
        let lit = |x: u32, y: u32| {
            boxes.iter().any(|([left, top, w, h], _)| {
                let (x, y) = (f64::from(x) + 0.5, f64::from(y) + 0.5);
                x > *left && x < left + w && y > *top && y < top + h
            })
        };
        let image = image::RgbImage::from_fn(*width, *height, |x, y| image::Rgb([if lit(x, y) { 255 } else { 0 }; 3]));
        let file_name = format!("{index:03}.png");
        image.save(folder.join(&file_name)).unwrap();
        images.push(json!({"id": index + 1, "file_name": file_name, "height": height, "width": width}));
        for (bbox, is_crowd) in boxes {
            annotations.push(json!({
                "id": annotations.len() + 1, "image_id": index + 1, "category_id": 1 + annotations.len() % 2,
                "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": u8::from(*is_crowd), "segmentation": [],
            }));
        }
    }
    let categories = json!([{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]);
    let all = json!({"images": images, "annotations": annotations, "categories": categories});
    std::fs::write(folder.join("instances.json"), all.to_string()).unwrap();
    format!("coco:{}:{}", folder.display(), folder.join("instances.json").display())
}

fn boxes(sample: &ObjectSample) -> Vec<[f32; 4]> {
    sample.target.pixels(sample.size)
}

#[test]
fn a_batch_depends_on_nothing_but_its_number() {
    let batches = open(&[]).unwrap();
    let alone: Vec<_> = [2, 0, 1].map(|pass| batches.batch(pass).unwrap()).into();
    for workers in [1, 3] {
        let mut stream = batches.stream(0, workers);
        for expected in [&alone[1], &alone[2], &alone[0]] {
            assert_eq!(&stream.next().unwrap().unwrap(), expected, "{workers} workers");
        }
    }
    assert_ne!(open(&["schedule.seed=2"]).unwrap().batch(0).unwrap(), alone[1], "another seed, other crops");
    let sizes: std::collections::BTreeSet<_> =
        (0..8).flat_map(|pass| batches.batch(pass).unwrap()).map(|sample| sample.size.height()).collect();
    assert!(sizes.len() > 3, "sizes vary: {sizes:?}");
}

#[test]
fn boxes_follow_their_picture() {
    let source = coco("objects-follow", &[(48, 80, vec![([8.0, 10.0, 30.0, 24.0], false)])]);
    let (source, classes) = (format!("data.0.source={source}"), "model.config.classes=2");
    let batches = open(&[&source, classes, "schedule.batch=24"]).unwrap();
    let mut seen = 0;
    for sample in batches.batch(0).unwrap() {
        let [height, width] = [sample.size.height() as usize, sample.size.width() as usize];
        let is_lit = |x: usize, y: usize| sample.pixels[y * width + x] > 0.0;
        let lit = (0..width * height).filter(|&at| is_lit(at % width, at / width));
        let columns: Vec<usize> = lit.clone().map(|at| at % width).collect();
        let Some(bbox) = boxes(&sample).first().copied() else {
            assert!(columns.len() < 3 * height, "a crop without the object: {} bright pixels", columns.len());
            continue;
        };
        seen += 1;
        let rows = lit.map(|at| at / width);
        let edges = [
            *columns.iter().min().unwrap() as f32,
            rows.clone().min().unwrap() as f32,
            *columns.iter().max().unwrap() as f32 + 1.0,
            rows.max().unwrap() as f32 + 1.0,
        ];
        assert!(edges.iter().zip(bbox).all(|(edge, side)| (edge - side).abs() < 1.6), "{edges:?} {bbox:?}");
    }
    assert!(seen > 12, "{seen}");
}

#[test]
fn crowds_and_what_lies_outside_are_no_targets() {
    let pictures = vec![
        (64, 64, vec![([10.0, 10.0, 20.0, 20.0], true)]),
        (64, 64, Vec::new()),
        (
            64,
            64,
            vec![([-20.0, 40.0, 40.0, 60.0], false), ([70.0, 0.0, 9.0, 9.0], false), ([4.0, 4.0, 0.0, 9.0], false)],
        ),
        (64, 64, (0..300).map(|i| ([f64::from(i % 20) * 3.0, f64::from(i / 20) * 4.0, 3.0, 4.0], false)).collect()),
    ];
    let source = format!("data.0.source={}", coco("objects-odd", &pictures));
    let plain = ["augmentation.kind=none", "augmentation.mirror=0", "augmentation.crop=0", "model.config.classes=2"];
    let overrides = [&[source.as_str(), "schedule.batch=2"][..], &plain].concat();
    let batches = open(&overrides).unwrap();
    assert_eq!(groundling_train::task::Task::skipped(batches.task()), 2, "a crowd alone, and nothing at all");
    let mut samples = batches.batch(0).unwrap();
    samples.sort_by_key(|sample| sample.target.len());
    assert_eq!(samples.iter().map(|sample| sample.target.len()).collect::<Vec<_>>(), [1, 300]);
    let found = boxes(&samples[0])[0];
    assert!(found.iter().zip([0.0, 40.0, 20.0, 64.0]).all(|(a, b)| (a - b).abs() < 1e-3), "{found:?}");
    // More objects than queries, and a picture that a crop has emptied, are trained on like all others.
    let out = scratch("objects-hundreds");
    let summary = train(job(&out, &[&overrides[..], &["validation.source=scenes:val:2"]].concat()), &mut Silent);
    assert!(summary.unwrap_err().to_string().contains("has the class"), "scenes have other classes than cat and dog");
    let validation = format!("validation.source={}", source.split_once('=').unwrap().1);
    let small = ["schedule.steps=2", "augmentation.kind=detector", "augmentation.crop=1"];
    let summary = train(job(&out, &[&overrides[..], &[&validation], &small].concat()), &mut Silent).unwrap();
    let figures = summary.last.unwrap().figures;
    assert_eq!((figures.count, figures.objects), (4, 303), "evaluation counts all but crowds");
}

#[test]
fn interrupted_or_not_is_the_same_to_the_bit() {
    let (whole, parts) = (scratch("objects-whole"), scratch("objects-parts"));
    let summary = train(job(&whole, &[]), &mut Silent).unwrap();
    assert!(summary.finished);
    train(job(&parts, &[]), &mut StopAt(2)).unwrap();
    train(job(&parts, &["output.workers=2"]), &mut StopAt(5)).unwrap();
    train(job(&parts, &[]), &mut Silent).unwrap();
    assert!(state(&whole) == state(&parts), "weights, moments and average are equal bit for bit");
    let lines = read_lines(&whole.join(LOG_FILE), "evaluation").unwrap();
    assert_eq!(lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [6, 8]);
    for (name, pointer) in ObjectFigures::curves(&lines[0]) {
        assert!(lines[0].pointer(&pointer).is_some(), "{name}: {}", lines[0]);
    }
    // The weights say what they know, and find objects as the trainer's evaluation does.
    let detector = Detector::open(whole.join("last")).unwrap();
    assert_eq!((detector.classes().len(), detector.classes()[0].as_str()), (14, "circle"));
    let photo = image::RgbImage::from_pixel(90, 70, image::Rgb([90, 120, 40]));
    let found = detector.detect(&photo, &DetectOptions::default()).unwrap();
    assert!(found.objects.len() <= 12 * 14 && found.flops < found.dense_flops, "{} {}", found.flops, found.dense_flops);
    let figures = summary.last.unwrap().figures;
    assert!(figures.ap.is_some_and(|ap| (0.0..=100.0).contains(&ap)) && figures.kept < 0.7, "{figures:?}");
}

#[test]
fn it_learns() {
    let out = scratch("objects-learn");
    let source = coco(
        "objects-learn-data",
        &[(64, 64, vec![([8.0, 10.0, 24.0, 24.0], false)]), (64, 64, vec![([30.0, 20.0, 30.0, 36.0], false)])],
    );
    let sources = [format!("data.0.source={source}"), format!("validation.source={source}")];
    let settings = [
        "model.config.classes=2",
        "augmentation.kind=none",
        "augmentation.mirror=0",
        "schedule.steps=60",
        "schedule.batch=2",
        "schedule.warmup=0",
        "validation.every=100",
        "optimizer.ema.decay=0",
        "optimizer.lr=5e-3",
        "optimizer.factors.backbone=1",
        "output.log_every=10",
    ];
    let overrides: Vec<&str> = sources.iter().map(String::as_str).chain(settings).collect();
    let summary = train(job(&out, &overrides), &mut Silent).unwrap();
    let steps = read_lines(&out.join(LOG_FILE), "step").unwrap();
    let loss = |line: usize, term: &str| steps[line]["terms"][term].as_f64().unwrap();
    for term in ["loss_bbox", "loss_class", "select_loss"] {
        assert!(loss(5, term) < 0.8 * loss(0, term), "{term}: {} {}", loss(0, term), loss(5, term));
    }
    assert!(summary.best.unwrap().0 > 1.0, "AP of two pictures seen sixty times: {:?}", summary.best);
}

#[test]
fn what_cannot_be_is_named() {
    for (change, expected) in [
        ("model.config.classes=5", "model.config.classes is 5, expected 14, the classes of the data: circle"),
        ("schedule.phrases_per_picture=3", "schedule.phrases_per_picture is 3, expected 1"),
        ("augmentation.kind=grounder", "augmentation.kind is \"grounder\", expected \"none\" or \"detector\""),
        ("augmentation.grey=0.5", "augmentation.grey is 0.5, expected 0 where there are no phrases"),
    ] {
        let found = open(&[change]).unwrap_err();
        assert!(found.contains(expected), "{found}\n  expected: {expected}");
    }
    let empty = format!("data.0.source={}", coco("objects-empty", &[(20, 20, Vec::new())]));
    let found = open(&[&empty, "model.config.classes=2"]).unwrap_err();
    assert!(found.contains("no picture with an object that is no crowd"), "{found}");
    // Weights of other classes are no start.
    let folder = scratch("objects-from");
    train(job(&folder, &["schedule.steps=1"]), &mut Silent).unwrap();
    let other = coco("objects-other", &[(20, 20, vec![([2.0, 2.0, 9.0, 9.0], false)])]);
    let (other, from) = (format!("data.0.source={other}"), format!("model.from={}", folder.join("last").display()));
    let validation = other.replace("data.0", "validation");
    let changes = [other.as_str(), &from, &validation, "model.config.classes=2"];
    let found = train(job(&scratch("objects-next"), &changes), &mut Silent).unwrap_err().to_string();
    assert!(found.contains("these weights tell apart circle") && found.contains("the data have cat, dog"), "{found}");
    let mut ranges = job(&scratch("objects-ranges"), &[]);
    ranges.recipe.criterion.labels = groundling_models::focus_detr::LabelRule::Distance(Vec::new());
    let found = train(ranges, &mut Silent).unwrap_err().to_string();
    assert!(found.contains("criterion.labels is 0 ranges, expected 4"), "{found}");
}

#[test]
fn canvases_are_filled_up_right_and_below() {
    let sample = |height, width| ObjectSample {
        id: String::new(),
        pixels: (0..3 * height * width).map(|at| at as f32 + 1.0).collect(),
        size: groundling_core::ImageSize::new(height, width).unwrap(),
        target: Default::default(),
    };
    let (canvas, contents) = to_device(&[sample(2, 3), sample(4, 1)], &Device::flex());
    assert_eq!((canvas.dims(), contents.len()), ([2, 3, 4, 3], 2));
    let values: Vec<f32> = canvas.into_data().iter::<f32>().collect();
    assert_eq!(values[..12], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(values[12..15], [7.0, 8.0, 9.0], "the second channel");
    assert_eq!(values[36..42], [1.0, 0.0, 0.0, 2.0, 0.0, 0.0]);
}
