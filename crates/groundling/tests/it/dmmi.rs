//! The library with a system that answers with masks.

use burn::tensor::Device;
use groundling::{Bundle, Description, GroundError, Grounder, Options, Settings, systems};
use groundling_core::Rle;
use groundling_models::contract::Trainable;
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_nn::checkpoint::{Precision, initialise};
use groundling_testkit::tiny::TinyWorld;
use groundling_testkit::{fixtures, repository, scratch};

fn model(seed: u64) -> Dmmi {
    let device = Device::flex();
    let _alone = crate::alone();
    device.seed(seed);
    let model = Dmmi::init(&DmmiConfig::tiny(), &device).unwrap();
    initialise(&model);
    model
}

/// The weights in this repository: one thing, two, none, with their calibration.
#[test]
fn our_weights_tell_none_one_and_many() {
    let grounder = {
        let _alone = crate::alone();
        Grounder::open(repository().join("weights/dmmi-tiny")).unwrap()
    };
    let session = grounder.open_image(&fixtures().join("scenes/stars.png")).unwrap();
    for (phrase, count) in [
        ("the blue pentagon", 1),
        ("the yellow plus", 1),
        ("all pink stars", 2),
        ("the purple hexagon", 0),
        ("the red circle", 0),
    ] {
        let found = session.ground(phrase).unwrap();
        assert_eq!((found.targets.len(), found.no_target), (count, count == 0), "{phrase}: {found:?}");
        assert!(found.no_target_score.is_some() && found.targets.iter().all(|target| target.mask.is_some()));
    }
    let blue = session.ground("the blue pentagon").unwrap().targets[0].bbox.to_array();
    assert!(blue.iter().zip([176.0, 148.0, 210.0, 182.0]).all(|(found, seen)| (found - seen).abs() < 3.0), "{blue:?}");
}

#[test]
fn a_saved_model_answers_with_masks_of_the_picture() {
    let folder = scratch("library-dmmi");
    let model = model(5);
    let description = Description { name: "tiny".into(), preset: "tiny".into(), ..Description::default() };
    Bundle::write(&folder, &model, &description, Precision::F32).unwrap();
    let saved = Grounder::open(&folder).unwrap();
    let fresh = Grounder::from_model(model, saved.identity().clone(), Settings::default());
    let world = TinyWorld::new(60, 90, 3).to_bmp();
    let (one, other) = (saved.open_image(&world).unwrap(), fresh.open_image(&world).unwrap());
    let (mut found, mut absent) = (0, 0);
    for phrase in ["the red block", "two blue circles", "nothing", "", "word ".repeat(10_000).as_str()] {
        let answer = match one.ground_with(phrase, &Options::default()) {
            Ok(answer) => answer,
            Err(error) => {
                // No words and ten thousand of them are refused at the door.
                assert!(
                    matches!(error, GroundError::Phrase(_)) && (phrase.is_empty() || phrase.len() > 1000),
                    "{error}"
                );
                continue;
            }
        };
        assert_eq!(answer, other.ground_with(phrase, &Options::default()).unwrap(), "{phrase}");
        let prediction = &answer.prediction;
        let score = prediction.no_target_score.unwrap();
        assert!((0.0..=1.0).contains(&score) && prediction.no_target == (score >= 0.5), "{score}");
        assert!(answer.explain.levels.is_empty() && answer.flops == answer.dense_flops && answer.flops > 0);
        let masks: Vec<&Rle> = prediction.targets.iter().map(|target| target.mask.as_ref().unwrap()).collect();
        for (target, mask) in prediction.targets.iter().zip(&masks) {
            assert_eq!((mask.size(), mask.bbox()), (one.image_size(), Some(target.bbox)));
        }
        // Parts do not overlap.
        let areas: u64 = masks.iter().map(|mask| mask.area()).sum();
        let union = Rle::layered(one.image_size(), &masks.into_iter().cloned().collect::<Vec<_>>(), |n| n > 0).unwrap();
        assert_eq!(areas, union.area());
        if prediction.no_target {
            absent += 1
        } else {
            found += 1
        }
        assert!(!prediction.no_target || prediction.targets.is_empty(), "{phrase}");
    }
    assert_eq!(found + absent, 3);
}

/// A picture of one colour, of one pixel, of one row: answers have the picture's size, and finding nothing is no error.
#[test]
fn pictures_without_anything_are_answered() {
    let grounder = Grounder::from_model(model(5), crate::fake::identity(), Settings::default());
    for (width, height) in [(64, 64), (1, 1), (500, 1), (1, 300)] {
        let grey = image::RgbImage::from_pixel(width, height, image::Rgb([127, 127, 127]));
        let session = grounder.open_image(&grey).unwrap();
        let prediction = session.ground("the red block").unwrap();
        assert_eq!((prediction.image_size.width(), prediction.image_size.height()), (width, height));
        assert!(prediction.no_target_score.is_some_and(f64::is_finite) && prediction.no_target_score <= Some(1.0));
        assert!(!prediction.no_target || prediction.targets.is_empty());
        assert!(prediction.targets.iter().all(|target| target.mask.as_ref().is_some_and(|mask| !mask.is_empty())));
    }
}

/// "Not here" follows the calibration stored beside the weights, also after they are opened anew.
#[test]
fn a_stored_calibration_is_what_answers_follow() {
    let folder = scratch("library-dmmi-calibrated");
    let description = Description { name: "tiny".into(), preset: "tiny".into(), ..Description::default() };
    let bundle = Bundle::write(&folder, &model(5), &description, Precision::F32).unwrap();
    let raw = Grounder::open(&folder).unwrap();
    assert!(raw.calibration().is_none() && raw.segments());
    let world = TinyWorld::new(60, 90, 3).to_bmp();
    let ask = |grounder: &Grounder| grounder.open_image(&world).unwrap().ground("the red block").unwrap();
    let score = ask(&raw).no_target_score.unwrap();
    let (temperature, shift) = (2.0, 0.5);
    let expected = 1.0 / (1.0 + (-((score / (1.0 - score)).ln() - shift) / temperature).exp());
    let rule = |threshold| groundling::bundle::CalibrationRecord {
        temperature,
        shift,
        threshold,
        false_alarm_rate: 0.1,
        source: "by hand".into(),
        seed: None,
        present: 1,
        absent: 1,
    };
    for threshold in [expected - 1e-6, expected + 1e-6] {
        let stored = bundle.calibrate(Some(rule(threshold))).unwrap();
        assert_eq!(stored.manifest().calibration, Some(rule(threshold)));
        stored.verify().unwrap();
        let answer = ask(&Grounder::open(&folder).unwrap());
        assert!((answer.no_target_score.unwrap() - expected).abs() < 1e-9, "{answer:?}");
        assert_eq!(answer.no_target, threshold < expected);
        assert_eq!(answer.targets.is_empty(), answer.no_target, "a mask where something is, none where nothing is");
    }
    bundle.calibrate(None).unwrap();
    assert_eq!(ask(&Grounder::open(&folder).unwrap()), ask(&raw));
    for (field, record) in [
        ("temperature", groundling::bundle::CalibrationRecord { temperature: 0.0, ..rule(0.5) }),
        ("shift", groundling::bundle::CalibrationRecord { shift: f64::NAN, ..rule(0.5) }),
        ("threshold", groundling::bundle::CalibrationRecord { threshold: -0.5, ..rule(0.5) }),
    ] {
        let error = bundle.calibrate(Some(record)).unwrap_err();
        assert!(error.to_string().contains(&format!("calibration.{field} is ")), "{error}");
        assert!(Grounder::open(&folder).unwrap().calibration().is_none(), "nothing was stored");
    }
}

/// What the network says of its canvas, for evaluations that resize the truth: the same as for a picture of the canvas's size.
#[test]
fn answers_can_be_had_on_the_canvas() {
    let grounder = Grounder::from_model(model(5), crate::fake::identity(), Settings::default());
    let session = grounder.open_image(&TinyWorld::new(60, 90, 3).to_bmp()).unwrap();
    let phrase = grounder.phrase("two blue circles").unwrap();
    let on_canvas = session.ground_on_canvas(&phrase, &Options::default()).unwrap().prediction;
    let on_picture = session.ground_phrase(&phrase, &Options::default()).unwrap().prediction;
    assert_eq!((on_canvas.image_size.width(), on_canvas.image_size.height()), (64, 64));
    assert_eq!(on_canvas.no_target_score, on_picture.no_target_score);
    let same_size = TinyWorld::new(64, 64, 3).to_bmp();
    let square = grounder.open_image(&same_size).unwrap();
    let both =
        [square.ground_on_canvas(&phrase, &Options::default()), square.ground_phrase(&phrase, &Options::default())];
    let [canvas, picture] = both.map(Result::unwrap);
    assert_eq!(canvas.prediction, picture.prediction);
    let boxes = Grounder::from_model(
        crate::fake::fake(crate::fake::FakeConfig::SMALL),
        crate::fake::identity(),
        Settings::default(),
    );
    let session = boxes.open_image(&TinyWorld::new(16, 32, 3).to_bmp()).unwrap();
    let error = session.ground_on_canvas(&phrase, &Options::default()).unwrap_err();
    assert!(error.to_string().contains("expected all of it") && !boxes.segments(), "{error}");
}

#[test]
fn options_of_other_systems_are_refused() {
    let grounder = Grounder::from_model(model(5), crate::fake::identity(), Settings::default());
    let session = grounder.open_image(&TinyWorld::new(60, 90, 3).to_bmp()).unwrap();
    let ask = |options: Options| session.ground_with("the red block", &options).unwrap_err().to_string();
    assert!(ask(Options { level: Some(1), ..Options::default() }).contains("levels 0 to 0"));
    assert!(ask(Options { budget_gflops: Some(0.001), ..Options::default() }).contains("needs at least"));
}

#[test]
fn it_is_known_by_its_name() {
    assert!(systems::NAMES.contains(&"dmmi"));
    for preset in ["tiny", "small", "resnet101", "swin_b"] {
        assert!(systems::preset("dmmi", preset).is_some(), "{preset}");
    }
    let config = systems::preset("dmmi", "tiny").unwrap();
    let grounder = systems::random("dmmi", config, 3, Settings::default()).unwrap();
    assert_eq!(grounder.open_image(&TinyWorld::new(20, 30, 3).to_bmp()).unwrap().image_size().height(), 20);
}
