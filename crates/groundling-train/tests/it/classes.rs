//! Classifiers: what they are shown, whole runs, and what cannot be.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use groundling::Classifier;
use groundling_models::scalablevit::{Criterion, HeadConfig, HeadKind, ScalableVitConfig};
use groundling_testkit::scratch;
use groundling_train::batches::Batches;
use groundling_train::classes::{ClassFigures, ClassSample, Classes};
use groundling_train::log::{LOG_FILE, read_lines};
use groundling_train::recipe::Recipe;
use groundling_train::run::{self, Job, Observer, Resume, Silent, Summary, TrainError};

use crate::support::{StopAt, state};
use crate::toy::alone;

const RECIPE: &str = "
    [model]
    system = \"scalablevit\"
    preset = \"tiny\"
    [[data]]
    source = \"scenes:train:40\"
    size = [64, 64]
    [validation]
    source = \"scenes:val:2\"
    every = 3
    [schedule]
    epochs = 0.375
    batch = 6
    phrases_per_picture = 3
    shape = \"cosine_by_epoch\"
    start = 0.1
    [optimizer]
    lr = 2e-3
    [augmentation]
    kind = \"classifier\"
    mirror = 0.5
    [output]
    save_every = 2
    log_every = 2
    precision = \"f32\"
";

/// As small as a classifier can be.
fn smallest(classes: usize) -> ScalableVitConfig {
    ScalableVitConfig {
        side: 32,
        dims: [8, 8, 8, 8],
        heads: [2; 4],
        depths: [1, 2, 1, 1],
        channel_factors: [1.0; 4],
        drop_path: 0.2,
        head: Some(HeadConfig { kind: HeadKind::Plain, classes }),
        ..ScalableVitConfig::tiny()
    }
}

fn recipe(overrides: &[&str]) -> Recipe<Criterion> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Recipe::parse(RECIPE, "classifier.toml", &overrides).unwrap()
}

fn job(out: &Path, overrides: &[&str], classes: usize) -> Job<Classes> {
    let mut recipe = recipe(overrides);
    let config = recipe.resolve(&smallest(classes)).unwrap();
    Job { recipe, config, device: Device::flex(), out: out.to_owned(), resume: Resume::Auto }
}

fn train(job: Job<Classes>, observer: &mut dyn Observer<ClassFigures>) -> Result<Summary<ClassFigures>, TrainError> {
    let _alone = alone();
    run::train(job, observer)
}

fn open(overrides: &[&str], classes: usize) -> Result<Arc<Batches<Classes>>, String> {
    let mut recipe = recipe(overrides);
    let config = recipe.resolve(&smallest(classes)).unwrap();
    Batches::open(&recipe, &config).map(Arc::new).map_err(|error| error.to_string())
}

/// A folder with pictures of one shade for each class.
fn folders(name: &str, shades: &[(&str, u8)], each: usize) -> String {
    let root = scratch(name);
    for (class, shade) in shades {
        std::fs::create_dir_all(root.join(class)).unwrap();
        for index in 0..each {
            let image = image::RgbImage::from_pixel(40, 36 + index as u32, image::Rgb([*shade, 255 - *shade, 90]));
            image.save(root.join(class).join(format!("{index}.png"))).unwrap();
        }
    }
    format!("folders:{}", root.display())
}

/// How many classes a sample shows.
fn shown(sample: &ClassSample) -> usize {
    sample.wanted.iter().filter(|&&share| share > 0.0).count()
}

#[test]
fn a_batch_depends_on_nothing_but_its_number() {
    let batches = open(&[], 540).unwrap();
    let alone: Vec<_> = [2, 0, 1].map(|pass| batches.batch(pass).unwrap()).into();
    for workers in [1, 3] {
        let mut stream = batches.stream(0, workers);
        for expected in [&alone[1], &alone[2], &alone[0]] {
            assert_eq!(&stream.next().unwrap().unwrap(), expected, "{workers} workers");
        }
    }
    assert_ne!(open(&["schedule.seed=2"], 540).unwrap().batch(0).unwrap(), alone[1], "another seed, other crops");
    let ids: Vec<&str> = alone[1].iter().map(|sample| sample.id.as_str()).collect();
    assert!(ids[..3].iter().all(|id| id.starts_with("train/000000-")), "three objects of a scene: {ids:?}");
    assert!(ids[3..].iter().all(|id| id.starts_with("train/000001-")), "{ids:?}");
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
}

#[test]
fn a_pass_is_mixed_with_itself_in_reverse() {
    let plain = ["augmentation.classifier.mixing=0", "augmentation.classifier.changes=0"];
    let still = [&plain[..], &["augmentation.classifier.erasing=0"]].concat();
    let mixed = open(&[&still[1..], &["augmentation.classifier.mixing=1"]].concat(), 540).unwrap();
    let still = open(&still, 540).unwrap();
    let mut of_both = [0, 0];
    for pass in 0..6 {
        let (before, after) = (still.batch(pass).unwrap(), mixed.batch(pass).unwrap());
        // One share for the whole pass, and what is wanted is mixed as the pixels are.
        let own = |index: usize| before[index].wanted.iter().position(|&share| share == 1.0).unwrap();
        let partner = |index: usize| before.len() - 1 - index;
        let share = after[0].wanted[own(0)];
        let mut swapped = 0;
        for index in 0..before.len() {
            assert_eq!(shown(&before[index]), 1);
            assert_eq!(before[index].id, after[index].id);
            assert!((after[index].wanted.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            if own(index) != own(partner(index)) {
                assert!((after[index].wanted[own(index)] - share).abs() < 1e-6);
                assert!((after[index].wanted[own(partner(index))] - (1.0 - share)).abs() < 1e-6);
            }
            for ((found, one), other) in
                after[index].pixels.iter().zip(&before[index].pixels).zip(&before[partner(index)].pixels)
            {
                let sum = share * one + (1.0 - share) * other;
                let whole = found == one || found == other;
                assert!(whole || (found - sum).abs() < 1e-4, "{found}: {one} and {other}");
                swapped += usize::from(whole && (found - sum).abs() > 1e-3);
            }
        }
        of_both[usize::from(swapped > 0)] += 1;
    }
    assert!(of_both[0] > 0 && of_both[1] > 0, "mixup and cutmix both come: {of_both:?}");
}

#[test]
fn interrupted_or_not_is_the_same_to_the_bit() {
    let (whole, parts) = (scratch("classes-whole"), scratch("classes-parts"));
    let summary = train(job(&whole, &[], 540), &mut Silent).unwrap();
    assert!(summary.finished);
    assert_eq!(summary.step, 8, "40 scenes of three objects, 0.375 epochs of batches of six, rounded up");
    train(job(&parts, &[], 540), &mut StopAt(3)).unwrap();
    train(job(&parts, &["output.workers=2"], 540), &mut StopAt(4)).unwrap();
    train(job(&parts, &[], 540), &mut Silent).unwrap();
    assert!(state(&whole) == state(&parts), "weights and moments are equal bit for bit");
    let lines = read_lines(&whole.join(LOG_FILE), "evaluation").unwrap();
    assert_eq!(lines.iter().map(|line| line["step"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 6, 8]);
    // The weights say what they know, and answer as the trainer's evaluation does.
    let classifier = Classifier::open(whole.join("last")).unwrap();
    assert_eq!((classifier.classes().len(), classifier.classes()[0].as_str()), (540, "red solid circle"));
    let photo = image::RgbImage::from_pixel(90, 70, image::Rgb([90, 120, 40]));
    let found = classifier.classify(&photo, 3).unwrap();
    assert_eq!(found.classes.len(), 3);
    let figures = summary.last.unwrap().figures;
    assert!(figures.count >= 6 && figures.flops == found.flops, "{figures:?}");
}

#[test]
fn it_learns() {
    let source = folders("classes-learn-data", &[("dark", 20), ("light", 230)], 3);
    let sources = [format!("data.0.source={source}"), format!("validation.source={source}")];
    let settings = [
        "schedule.epochs=20",
        "schedule.batch=6",
        "schedule.shape=constant",
        "schedule.start=0",
        "schedule.warmup=0",
        "validation.every=100",
        "optimizer.lr=3e-3",
        "augmentation.classifier.changes=0",
        "augmentation.classifier.mixing=0",
        "model.config.drop_path=0.0",
    ];
    let overrides: Vec<&str> = sources.iter().map(String::as_str).chain(settings).collect();
    let summary = train(job(&scratch("classes-learn"), &overrides, 2), &mut Silent).unwrap();
    let figures = summary.last.unwrap().figures;
    assert_eq!((figures.count, figures.top1, figures.top5), (6, Some(100.0), Some(100.0)));
}

#[test]
fn what_cannot_be_is_named() {
    for (change, expected) in [
        ("model.config.side=20", "side is 20, expected at least 25"),
        ("criterion.smoothing=1.0", "criterion.smoothing is 1, expected from 0 to below 1"),
    ] {
        let found = train(job(&scratch("classes-wrong"), &[change], 540), &mut Silent).unwrap_err().to_string();
        assert!(found.contains(expected), "{found}\n  expected: {expected}");
    }
    for (change, classes, expected) in [
        (
            "schedule.seed=1",
            5,
            "model.config.head.classes is 5, expected 540, the classes of the data: red solid circle",
        ),
        ("augmentation.kind=detector", 540, "augmentation.kind is \"detector\", expected \"none\" or \"classifier\""),
        ("augmentation.grey=0.5", 540, "augmentation.grey is 0.5, expected 0 where there are no phrases"),
        ("data.0.source=coco:a:b", 540, "expected folders:FOLDER, imagenet:ROOT:SPLIT or scenes:SPLIT[:COUNT]"),
    ] {
        let found = open(&[change], classes).unwrap_err();
        assert!(found.contains(expected), "{found}\n  expected: {expected}");
    }
    let both = Recipe::<Criterion>::parse(RECIPE, "r.toml", &["augmentation.classifier.area=[0.5, 0.1]".to_owned()]);
    assert!(both.unwrap_err().to_string().contains("augmentation.classifier.area is [0.5, 0.1]"));
    let steps = RECIPE.replace("epochs = 0.375", "steps = 8");
    let found = Recipe::<Criterion>::parse(&steps, "r.toml", &[]).unwrap_err().to_string();
    assert!(found.contains("schedule.epochs is missing"), "{found}");
    let none = open(&["augmentation.kind=none", "augmentation.classifier.mixing=1"], 540).unwrap_err();
    assert!(none.contains("\"none\" beside [augmentation.classifier]"), "{none}");
    // A validation set with other classes could never be right.
    let source = folders("classes-other", &[("cat", 20), ("dog", 230)], 1);
    let overrides = [format!("validation.source={source}")];
    let found = train(job(&scratch("classes-other-run"), &[&overrides[0]], 540), &mut Silent).unwrap_err();
    assert!(found.to_string().contains("has the class \"cat\""), "{found}");
}

#[test]
fn a_picture_that_is_none_is_named() {
    let source = folders("classes-broken", &[("cat", 20), ("dog", 230)], 1);
    let root = source.strip_prefix("folders:").unwrap();
    std::fs::write(Path::new(root).join("dog/bad.jpg"), "no picture").unwrap();
    let batches = open(&[&format!("data.0.source={source}"), "schedule.batch=3"], 2).unwrap();
    let error = batches.batch(0).unwrap_err().to_string();
    assert!(error.contains("bad.jpg"), "{error}");
}
