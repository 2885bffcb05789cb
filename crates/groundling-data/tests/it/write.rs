//! Data sets on disk, read back with plain JSON and, for pickles, by searching for what must be there. The real readers
//! are tested against these writers elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use groundling_core::{ImageSize, Rle};
use groundling_data::scenes::{Scene, SceneConfig, Scenes, Split};
use groundling_data::write::pickle::{self, Pickle};
use groundling_data::write::{
    Expression, Layout, Picture, Record, Summary, WriteError, scene_categories, write_dataset,
};
use serde_json::Value;

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("groundling-data-write-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn scenes(split: Split) -> Vec<Scene> {
    let config = SceneConfig::with_size(ImageSize::new(48, 64).unwrap());
    let scenes = Scenes::new(config, split, 7).unwrap();
    (0..6).map(|index| scenes.scene(index)).collect()
}

fn records() -> impl Iterator<Item = Record> {
    [Split::Train, Split::Val]
        .into_iter()
        .flat_map(|split| scenes(split).into_iter().map(move |scene| Record::from_scene(scene, split)))
}

fn write(root: &Path, layout: &Layout) -> Summary {
    write_dataset(root, layout, &scene_categories(), records()).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Every file below a folder, relative, sorted.
fn files(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}

/// Checks annotations of an `instances.json` against the scenes, in order.
fn assert_instances(instances: &Value, scenes: &[Scene], first_image: u64, first_annotation: u64) {
    let images = instances["images"].as_array().unwrap();
    let annotations = instances["annotations"].as_array().unwrap();
    assert_eq!(images.len(), scenes.len());
    let objects = scenes.iter().zip(first_image..).flat_map(|(scene, id)| scene.objects.iter().map(move |o| (id, o)));
    let objects: Vec<_> = objects.collect();
    assert_eq!(annotations.len(), objects.len());
    for ((annotation, (image_id, object)), id) in annotations.iter().zip(&objects).zip(first_annotation..) {
        assert_eq!(annotation["id"], id);
        assert_eq!(annotation["image_id"], *image_id);
        assert_eq!(annotation["category_id"], object.shape.category_id());
        assert_eq!(annotation["iscrowd"], 0);
        assert_eq!(annotation["area"], object.mask.area());
        let bbox: Vec<f64> = serde_json::from_value(annotation["bbox"].clone()).unwrap();
        assert_eq!(bbox, object.bbox.to_xywh().to_array());
        let segmentation = &annotation["segmentation"];
        assert_eq!(segmentation["size"], serde_json::json!([48, 64]));
        let counts = segmentation["counts"].as_str().unwrap();
        assert!(Rle::from_compressed(object.mask.size(), counts).unwrap() == object.mask);
    }
    assert_eq!(instances["categories"].as_array().unwrap().len(), 14);
    assert_eq!(instances["categories"][0]["name"], "circle");
}

#[test]
fn coco_has_a_list_and_a_folder_a_split() {
    let folder = Folder::new("coco");
    let summary = write(&folder.0, &Layout::Coco);
    let (train, val) = (scenes(Split::Train), scenes(Split::Val));
    let objects = |scenes: &[Scene]| scenes.iter().map(|scene| scene.objects.len() as u64).sum::<u64>();
    assert_eq!((summary.images, summary.annotations), (12, objects(&train) + objects(&val)));
    assert_instances(&json(&folder.0.join("annotations/instances_train.json")), &train, 1, 1);
    assert_instances(&json(&folder.0.join("annotations/instances_val.json")), &val, 7, objects(&train) + 1);
    let names = files(&folder.0);
    assert_eq!(names.len(), 14, "{names:?}"); // no partial file is left
    for (index, scene) in train.iter().enumerate() {
        let image = image::open(folder.0.join(format!("train/{index:06}.png"))).unwrap().to_rgb8();
        assert_eq!(image, scene.image);
    }
}

#[test]
fn jsonl_has_a_line_a_phrase() {
    let folder = Folder::new("jsonl");
    let summary = write(&folder.0, &Layout::Jsonl);
    let mut lines = 0;
    for split in [Split::Train, Split::Val] {
        let text = fs::read_to_string(folder.0.join(format!("{split}.jsonl"))).unwrap();
        let mut found = text.lines();
        for (index, scene) in scenes(split).iter().enumerate() {
            for (position, expression) in scene.expressions.iter().enumerate() {
                let line: Value = serde_json::from_str(found.next().unwrap()).unwrap();
                let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
                assert_eq!(keys, ["id", "image", "width", "height", "split", "phrase", "targets"]);
                assert_eq!(line["id"], format!("scenes-{split}-7-{index:06}-{position}"));
                assert_eq!(line["image"], format!("{split}/{index:06}.png"));
                assert_eq!((&line["width"], &line["height"]), (&64.into(), &48.into()));
                assert_eq!(line["phrase"], expression.phrase);
                let targets = line["targets"].as_array().unwrap();
                assert_eq!(targets.len(), expression.targets.len());
                for (target, &index) in targets.iter().zip(&expression.targets) {
                    let object = &scene.objects[index];
                    let bbox: Vec<f64> = serde_json::from_value(target["bbox"].clone()).unwrap();
                    assert_eq!(bbox, object.bbox.to_array());
                    assert_eq!(target["category"], object.shape.name());
                    assert_eq!(target["mask"]["counts"], object.mask.to_compressed());
                }
                lines += 1;
            }
            let image = image::open(folder.0.join(format!("{split}/{index:06}.png"))).unwrap().to_rgb8();
            assert_eq!(image, scene.image);
        }
        assert_eq!(found.next(), None);
    }
    assert_eq!((summary.images, summary.phrases, summary.left_out), (12, lines, 0));
}

#[test]
fn grefcoco_lists_targets_and_says_minus_one_for_none() {
    let folder = Folder::new("grefcoco");
    let summary = write(&folder.0, &Layout::Grefcoco);
    let refs = json(&folder.0.join("grefcoco/grefs(unc).json"));
    let refs = refs.as_array().unwrap();
    assert_eq!(refs.len() as u64, summary.refs);
    let all: Vec<Scene> = scenes(Split::Train).into_iter().chain(scenes(Split::Val)).collect();
    assert_instances(&json(&folder.0.join("grefcoco/instances.json")), &all, 1, 1);
    let mut known: BTreeMap<(u64, String), Vec<i64>> = BTreeMap::new();
    let mut first = 1;
    for (scene, image) in all.iter().zip(1u64..) {
        for expression in &scene.expressions {
            let ids: Vec<i64> = expression.targets.iter().map(|&index| first + index as i64).collect();
            known.insert((image, expression.phrase.clone()), if ids.is_empty() { vec![-1] } else { ids });
        }
        first += scene.objects.len() as i64;
    }
    let (mut sentence, mut none) = (0u64, 0);
    for (reference, ref_id) in refs.iter().zip(0u64..) {
        assert_eq!(reference["ref_id"], ref_id);
        let image_id = reference["image_id"].as_u64().unwrap();
        assert_eq!(reference["split"], if image_id <= 6 { "train" } else { "val" });
        assert_eq!(reference["file_name"], format!("COCO_train2014_{image_id:012}_{ref_id}.png"));
        let ids: Vec<i64> = serde_json::from_value(reference["ann_id"].clone()).unwrap();
        assert_eq!(reference["no_target"], ids == [-1]);
        none += u32::from(ids == [-1]);
        for entry in reference["sentences"].as_array().unwrap() {
            assert_eq!(entry["sent_id"], sentence);
            let raw = entry["raw"].as_str().unwrap().to_owned();
            assert_eq!(entry["tokens"].as_array().unwrap().len(), raw.split(' ').count());
            assert_eq!(known.remove(&(image_id, raw)), Some(ids.clone()));
            sentence += 1;
        }
    }
    assert!(known.is_empty() && none > 0);
    assert_eq!(summary.phrases, sentence);
    assert_eq!(files(&folder.0.join("images/train2014"))[0], "COCO_train2014_000000000001.png");
}

#[test]
fn refer_and_ref_zom_pickle_their_refs() {
    let refer = Folder::new("refer");
    let layout = Layout::Refer { set: "refcoco".to_owned(), split_by: "unc".to_owned() };
    let summary = write(&refer.0, &layout);
    let pickled = fs::read(refer.0.join("refcoco/refs(unc).p")).unwrap();
    let phrases: Vec<(usize, String)> = [Split::Train, Split::Val]
        .into_iter()
        .flat_map(scenes)
        .flat_map(|scene| scene.expressions)
        .map(|expression| (expression.targets.len(), expression.phrase))
        .collect();
    let one = phrases.iter().filter(|(targets, _)| *targets == 1).count() as u64;
    assert_eq!((summary.phrases, summary.phrases + summary.left_out), (one, phrases.len() as u64));
    assert!(pickled.starts_with(b"\x80\x02](") || pickled.starts_with(b"\x80\x02]}"));
    assert!(pickled.ends_with(b"."));
    let count = |bytes: &[u8], words: &[&str]| {
        let mut needle = Vec::new();
        for word in words {
            let mut pickled = Vec::new();
            Pickle::Str((*word).to_owned()).write(&mut pickled).unwrap();
            needle.extend_from_slice(&pickled[2..pickled.len() - 1]);
        }
        bytes.windows(needle.len()).filter(|window| *window == needle).count()
    };
    assert_eq!(count(&pickled, &["ref_id"]) as u64, summary.refs);
    assert_eq!(count(&pickled, &["sent_id"]) as u64, summary.phrases);
    for (targets, phrase) in &phrases {
        let said = count(&pickled, &["raw", phrase]) > 0;
        assert_eq!(said, *targets == 1 || phrases.contains(&(1, phrase.clone())), "{phrase}");
    }

    let zom = Folder::new("ref-zom");
    let summary = write(&zom.0, &Layout::RefZom);
    let pickled = fs::read(zom.0.join("ref-zom/refs(final).p")).unwrap();
    assert_eq!((summary.phrases, summary.left_out), (phrases.len() as u64, 0));
    let sources: Vec<usize> =
        ["zero", "one", "many"].iter().map(|source| count(&pickled, &["source", source])).collect();
    assert_eq!(sources.iter().sum::<usize>() as u64, summary.refs);
    assert!(sources.iter().all(|&count| count > 0), "{sources:?}");
    assert!(zom.0.join("ref-zom/instances.json").is_file());
}

#[test]
fn a_streamed_pickle_is_a_list() {
    let mut sink = Vec::new();
    pickle::start_list(&mut sink).unwrap();
    pickle::end_list(&mut sink).unwrap();
    let mut whole = Vec::new();
    Pickle::List(Vec::new()).write(&mut whole).unwrap();
    assert_eq!(sink, whole);
}

#[test]
fn wrong_records_are_errors_and_leave_no_lists() {
    let good = || Record::from_scene(scenes(Split::Train).swap_remove(0), Split::Train);
    let attempt = |name: &str, record: Record| {
        let folder = Folder::new(name);
        let error = write_dataset(&folder.0, &Layout::Jsonl, &scene_categories(), [good(), record]).unwrap_err();
        let left = if folder.0.exists() { files(&folder.0) } else { Vec::new() };
        assert_eq!(left, ["train/000000.png"], "{error}");
        error
    };
    let outside = Record { file_name: "../x.png".to_owned(), ..good() };
    assert!(matches!(attempt("outside", outside), WriteError::BadName { .. }));
    let nameless = Record { split: String::new(), ..good() };
    assert!(matches!(attempt("nameless", nameless), WriteError::BadName { .. }));
    let stranger = Expression { phrase: "the cat".to_owned(), targets: vec![99] };
    let error = attempt("stranger", Record { expressions: vec![stranger], ..good() });
    assert!(matches!(error, WriteError::UnknownTarget { found: 99, .. }), "{error}");
    let small = Record { image: Picture::Rgb(image::RgbImage::new(3, 2)), ..good() };
    let error = attempt("small", small);
    assert!(error.to_string().ends_with("image is 3x2 (width x height), expected 64x48"), "{error}");
    let mut masked = good();
    masked.annotations[0].mask = Rle::empty(ImageSize::square(5).unwrap());
    assert!(matches!(attempt("masked", masked), WriteError::Size { what: "mask", .. }));
    let mut unlisted = good();
    unlisted.annotations[0].category_id = 15;
    assert!(matches!(attempt("unlisted", unlisted), WriteError::UnknownCategory { found: 15, .. }));
    assert!(matches!(small_encoded(), Err(WriteError::Size { .. })));
}

fn small_encoded() -> Result<Record, WriteError> {
    let record = Record::from_scene(scenes(Split::Train).swap_remove(0), Split::Train);
    Record { image: Picture::Rgb(image::RgbImage::new(3, 2)), ..record }.encoded()
}

#[test]
fn an_encoded_record_writes_the_same_file() {
    let (plain, encoded) = (Folder::new("plain"), Folder::new("encoded"));
    write(&plain.0, &Layout::Jsonl);
    let records = records().map(|record| record.encoded().unwrap());
    write_dataset(&encoded.0, &Layout::Jsonl, &scene_categories(), records).unwrap();
    assert_eq!(files(&plain.0), files(&encoded.0));
    for name in files(&plain.0) {
        assert_eq!(fs::read(plain.0.join(&name)).unwrap(), fs::read(encoded.0.join(&name)).unwrap(), "{name}");
    }
}
