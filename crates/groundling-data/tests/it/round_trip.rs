//! Scenes written in every layout and read back by the ordinary readers: the same images, objects, phrases and truths.

use std::path::Path;

use groundling_core::{GroundTruth, ImageSize};
use groundling_data::image::decode::{ExifOrientation, ImageLimits, decode_file};
use groundling_data::scenes::{Scene, SceneConfig, Scenes, Split};
use groundling_data::write::{Layout, Record, scene_categories, write_dataset};
use groundling_data::{DataSource, Dataset, MaskRule, check};
use groundling_testkit::scratch;

const SCENES: u64 = 12;

fn scenes(split: Split) -> Vec<Scene> {
    let config = SceneConfig::with_size(ImageSize::new(96, 128).unwrap());
    let world = Scenes::new(config, split, 3).unwrap();
    (0..SCENES).map(|index| world.scene(index)).collect()
}

fn written(name: &str, layout: &Layout, split: Split) -> (std::path::PathBuf, Vec<Scene>) {
    let root = scratch(name);
    let scenes = scenes(split);
    let records = scenes.iter().map(|scene| Record::from_scene(scene.clone(), split));
    write_dataset(&root, layout, &scene_categories(), records).unwrap();
    (root, scenes)
}

fn read(source: &str) -> Dataset {
    source.parse::<DataSource>().unwrap().read().unwrap()
}

/// (pixels of the image, phrase, truth) of everything, sorted, whatever the ids.
fn facts_of_dataset(dataset: &Dataset) -> Vec<(Vec<u8>, String, String)> {
    let image = |index: usize| {
        let path = dataset.image_path(index).unwrap();
        decode_file(&path, ImageLimits::default(), ExifOrientation::Ignore).unwrap().into_raw()
    };
    let fact = |sample: &groundling_data::Sample| {
        let truth = dataset.truth(sample, MaskRule::Union).unwrap();
        (image(sample.image), sample.phrase.clone(), described(&truth))
    };
    let mut facts: Vec<_> = dataset.samples.iter().map(fact).collect();
    facts.sort();
    facts
}

fn facts_of_scenes(scenes: &[Scene], keep: impl Fn(usize) -> bool) -> Vec<(Vec<u8>, String, String)> {
    let mut facts = Vec::new();
    for scene in scenes {
        for expression in scene.expressions.iter().filter(|expression| keep(expression.targets.len())) {
            let truth = expression.truth(scene);
            facts.push((scene.image.as_raw().clone(), expression.phrase.clone(), described(&truth)));
        }
    }
    facts.sort();
    facts
}

/// Boxes, exact masks and categories, in an order of their own.
fn described(truth: &GroundTruth) -> String {
    let mut targets: Vec<String> = truth
        .targets
        .iter()
        .map(|target| {
            let code = target.mask.as_ref().unwrap().to_compressed();
            format!("{:?} {code}", target.bbox.to_array())
        })
        .collect();
    targets.sort();
    targets.join("; ")
}

fn no_errors(path: &Path) {
    let report = check::check(path).unwrap();
    assert!(report.worst() < Some(check::Severity::Error), "{:#?}", report.datasets);
}

#[test]
fn json_lines() {
    let (root, scenes) = written("trip-jsonl", &Layout::Jsonl, Split::Train);
    let dataset = read(&format!("jsonl:{}", root.join("train.jsonl").display()));
    assert_eq!(facts_of_dataset(&dataset), facts_of_scenes(&scenes, |_| true));
    // Ids join predictions with truths, so they must be those that scenes state.
    let ids: Vec<&str> = dataset.samples.iter().map(|sample| sample.id.as_str()).collect();
    let expected: Vec<String> =
        scenes.iter().flat_map(|scene| (0..scene.expressions.len()).map(|i| format!("{}-{i}", scene.id))).collect();
    assert_eq!(ids, expected);
    no_errors(&root);
}

#[test]
fn refer() {
    let layout = Layout::Refer { set: "refcoco".into(), split_by: "unc".into() };
    let (root, scenes) = written("trip-refer", &layout, Split::Val);
    let dataset = read(&format!("refer:{}:unc:val", root.join("refcoco").display()));
    assert_eq!(facts_of_dataset(&dataset), facts_of_scenes(&scenes, |targets| targets == 1));
    no_errors(&root);
}

#[test]
fn ref_zom() {
    let (root, scenes) = written("trip-zom", &Layout::RefZom, Split::Test);
    let dataset = read(&format!("refzom:{}:test", root.display()));
    assert_eq!(facts_of_dataset(&dataset), facts_of_scenes(&scenes, |_| true));
    for sample in &dataset.samples {
        assert_eq!(sample.source.as_deref(), Some(dataset.target_count(sample).name()), "{}", sample.id);
    }
    no_errors(&root);
}

#[test]
fn grefcoco() {
    let (root, scenes) = written("trip-gref", &Layout::Grefcoco, Split::Train);
    let dataset = read(&format!("grefcoco:{}:train", root.display()));
    assert_eq!(facts_of_dataset(&dataset), facts_of_scenes(&scenes, |_| true));
    no_errors(&root);
}

#[test]
fn coco() {
    let (root, scenes) = written("trip-coco", &Layout::Coco, Split::Val);
    let annotations = root.join("annotations/instances_val.json");
    let dataset = read(&format!("coco:{}:{}", root.join("val").display(), annotations.display()));
    assert_eq!(dataset.images.len(), scenes.len());
    assert_eq!(dataset.annotations.iter().map(|a| a.id).min(), Some(1), "annotation ids start at 1");
    let mut found: Vec<String> = (0..dataset.annotations.len())
        .map(|index| {
            let annotation = &dataset.annotations[index];
            let mask = dataset.annotation_mask(index, MaskRule::Union).unwrap().unwrap();
            let category = &dataset.categories[&annotation.category_id.unwrap()];
            format!("{category} {:?} {}", annotation.bbox.to_xyxy().to_array(), mask.to_compressed())
        })
        .collect();
    let object = |object: &groundling_data::scenes::SceneObject| {
        format!("{} {:?} {}", object.shape.name(), object.bbox.to_array(), object.mask.to_compressed())
    };
    let mut expected: Vec<String> = scenes.iter().flat_map(|scene| scene.objects.iter().map(object)).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    no_errors(&root);
}

#[test]
fn a_tiny_world() {
    let folder = scratch("trip-tiny");
    groundling_testkit::tiny::write_jsonl(&folder, 5);
    let dataset = read(&format!("jsonl:{}", folder.join("data.jsonl").display()));
    assert_eq!(dataset.images.len(), 5);
    for seed in 0..5 {
        let world = groundling_testkit::tiny::TinyWorld::new(24, 40, seed);
        let image =
            decode_file(&dataset.image_path(seed as usize).unwrap(), ImageLimits::default(), ExifOrientation::Ignore);
        assert_eq!(image.unwrap().into_raw(), world.pixels);
    }
    no_errors(&folder);
}
