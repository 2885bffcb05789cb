//! One view of every source.

use groundling_core::ImageSize;
use groundling_data::examples::{ExampleError, ExampleOptions, Examples, Targets};
use groundling_data::scenes::{HELD_OUT, KindWeights, SceneConfig, Scenes, Shares, Split};
use groundling_data::write::{Layout, Record, scene_categories, write_dataset};
use groundling_data::{DataSource, MaskRule};
use groundling_testkit::scratch;

fn open(source: &str, options: &ExampleOptions) -> Examples {
    Examples::open(&source.parse().unwrap(), options).unwrap()
}

#[test]
fn scenes_are_their_own_truth() {
    let examples = open("scenes:val:5", &ExampleOptions::default());
    let scenes = Scenes::new(SceneConfig::default(), Split::Val, 7).unwrap();
    for index in 0..5 {
        let (picture, scene) = (examples.picture(index).unwrap(), scenes.scene(index as u64));
        assert_eq!(picture.image, scene.image);
        assert_eq!(picture.about, examples.about(index).unwrap());
        assert_eq!(picture.about.phrases.len(), scene.expressions.len());
        for (number, (phrase, expression)) in picture.about.phrases.iter().zip(&scene.expressions).enumerate() {
            assert_eq!(phrase.id, format!("scenes-val-7-{index:06}-{number}"));
            assert_eq!(phrase.phrase.as_str(), expression.phrase);
            assert_eq!(phrase.truth, expression.truth(&scene));
            assert_eq!(phrase.targets, expression.targets);
            assert_eq!(phrase.kind.as_deref(), Some(expression.kind.name()));
        }
        for (object, truth) in picture.about.objects.iter().zip(&scene.objects) {
            assert_eq!(examples.classes()[object.class.unwrap()], truth.shape.name());
        }
    }
    assert!(matches!(examples.picture(5), Err(ExampleError::NoPicture { index: 5, count: 5 })));
}

#[test]
fn classes_that_a_split_never_shows_in_a_colour_are_no_alternatives() {
    let mut options = ExampleOptions::default();
    options.scenes.uncoupled = true;
    let usual = open("scenes:train:3", &ExampleOptions::default());
    let (train, test) = (open("scenes:train:3", &options), open("scenes:test:3", &options));
    let scenes = Scenes::new(options.scenes.clone(), Split::Train, 7).unwrap();
    for index in 0..3 {
        let scene = scenes.scene(index as u64);
        for (object, truth) in train.about(index).unwrap().objects.iter().zip(&scene.objects) {
            let pairs = HELD_OUT.iter().filter(|(colour, _)| *colour == truth.colour);
            let mut hidden: Vec<&str> = pairs.map(|(_, shape)| shape.name()).collect();
            hidden.sort_unstable();
            let bits = (0..64).filter(|class| object.unshown_classes >> class & 1 == 1);
            let mut found: Vec<&str> = bits.map(|class| train.classes()[class].as_str()).collect();
            found.sort_unstable();
            assert_eq!(found, hidden, "{}", truth.colour);
        }
        let about = [test.about(index).unwrap(), usual.about(index).unwrap()];
        assert!(about.iter().flat_map(|about| &about.objects).all(|object| object.unshown_classes == 0));
    }
}

#[test]
fn only_the_phrases_that_are_wanted() {
    let all = open("scenes:train:40", &ExampleOptions::default());
    let one = open("scenes:train:40", &ExampleOptions { targets: Targets::ONE, ..ExampleOptions::default() });
    let mut counts = [0; 2];
    for index in 0..40 {
        let (all, one) = (all.about(index).unwrap(), one.about(index).unwrap());
        let expected: Vec<_> = all.phrases.iter().filter(|phrase| phrase.truth.targets.len() == 1).cloned().collect();
        assert_eq!(one.phrases, expected, "ids stay what they are");
        counts = [counts[0] + all.phrases.len(), counts[1] + one.phrases.len()];
    }
    assert!(counts[1] * 2 > counts[0] && counts[1] < counts[0], "{counts:?}");
}

#[test]
fn a_curriculum_changes_the_phrases_and_not_the_pictures() {
    let nothing = KindWeights {
        attributes: 0.0,
        ordinal: 0.0,
        comparative: 0.0,
        superlative: 0.0,
        relation: 0.0,
        between: 0.0,
        proximity: 0.0,
        region: 0.0,
        negation: 0.0,
    };
    let shares = Shares { one: 1.0, many: 0.0, zero: 0.0 };
    let config = |kind_weights| SceneConfig { kind_weights, shares, ..SceneConfig::default() };
    let attributes = config(KindWeights { attributes: 1.0, ..nothing });
    let options = ExampleOptions { scenes: attributes, masks: false, ..ExampleOptions::default() };
    let early = open("scenes:train:6", &options);
    let late = early.with_scenes(config(KindWeights { relation: 1.0, ..nothing })).unwrap();
    for index in 0..6 {
        let (early, late) = (early.picture(index).unwrap(), late.picture(index).unwrap());
        assert_eq!(early.image, late.image);
        let kinds = |about: &groundling_data::examples::About| -> Vec<String> {
            about.phrases.iter().map(|phrase| phrase.kind.clone().unwrap()).collect()
        };
        assert!(kinds(&early.about).iter().all(|kind| kind == "attributes"), "{:?}", kinds(&early.about));
        assert!(kinds(&late.about).iter().all(|kind| kind == "relation"), "{:?}", kinds(&late.about));
        assert!(early.about.phrases.iter().all(|phrase| phrase.truth.targets[0].mask.is_none()));
    }
    assert!(early.with_scenes(config(nothing)).is_err(), "weights that are all zero");
}

#[test]
fn files_say_what_their_scenes_said() {
    let root = scratch("examples-files");
    let scenes = Scenes::new(SceneConfig::with_size(ImageSize::square(64).unwrap()), Split::Val, 7).unwrap();
    let records = (0..4).map(|index| Record::from_scene(scenes.scene(index), Split::Val));
    write_dataset(&root, &Layout::Jsonl, &scene_categories(), records).unwrap();
    let files = open(&format!("jsonl:{}", root.join("val.jsonl").display()), &ExampleOptions::default());
    let config = SceneConfig::with_size(ImageSize::square(64).unwrap());
    let made = open("scenes:val:4", &ExampleOptions { scenes: config, ..ExampleOptions::default() });
    assert_eq!(files.len(), 4);
    let mut phrases = 0;
    for index in 0..4 {
        let (files, made) = (files.picture(index).unwrap(), made.picture(index).unwrap());
        assert_eq!(files.image, made.image);
        assert_eq!(files.about.file_name, made.about.file_name);
        let said = |picture: &groundling_data::examples::Picture| -> Vec<_> {
            picture.about.phrases.iter().map(|phrase| (phrase.phrase.clone(), phrase.truth.enclosing_box())).collect()
        };
        assert_eq!(said(&files), said(&made));
        phrases += files.about.phrases.len();
        for phrase in &files.about.phrases {
            let boxes: Vec<_> = phrase.targets.iter().map(|&target| files.about.objects[target].bbox).collect();
            assert_eq!(boxes, phrase.truth.targets.iter().map(|target| target.bbox).collect::<Vec<_>>());
        }
    }
    assert_eq!(files.phrase_count(), Some(phrases));
}

#[test]
fn boxes_without_area_are_listed_and_left_out_of_training() {
    let root = scratch("examples-thin");
    image::RgbImage::new(20, 10).save(root.join("a.png")).unwrap();
    let line = |id: &str, bbox: &str| {
        format!(r#"{{"id":"{id}","image":"a.png","phrase":"the {id} thing","boxes":[{bbox}]}}"#) + "\n"
    };
    std::fs::write(root.join("d.jsonl"), line("thin", "[3,3,3,9]") + &line("good", "[3,3,8,9]")).unwrap();
    let source: DataSource = format!("jsonl:{}", root.join("d.jsonl").display()).parse().unwrap();
    let options = ExampleOptions { mask_rule: MaskRule::Union, ..ExampleOptions::default() };
    let every = Examples::open(&source, &options).unwrap();
    assert_eq!((every.phrase_count(), every.skipped().len()), (Some(2), 0));
    let whole = Examples::open(&source, &ExampleOptions { whole_boxes: true, ..options }).unwrap();
    assert_eq!(whole.picture(0).unwrap().about.phrases[0].id, "good");
    assert_eq!(whole.skipped(), ["thin: the target is 0 pixels wide and 6 high, expected a box with an area"]);
}

#[test]
fn a_picture_of_another_size_is_refused() {
    let root = scratch("examples-size");
    image::RgbImage::new(20, 10).save(root.join("a.png")).unwrap();
    let line = r#"{"id":"x","image":"a.png","phrase":"the cup","boxes":[[3,3,8,9]],"width":40,"height":20}"#;
    std::fs::write(root.join("d.jsonl"), line).unwrap();
    let examples = open(&format!("jsonl:{}", root.join("d.jsonl").display()), &ExampleOptions::default());
    let error = examples.picture(0).unwrap_err().to_string();
    assert_eq!(error, "a.png: the image is 20x10 (width x height), its data set states 40x20");
    assert!(examples.about(0).is_ok());
}
