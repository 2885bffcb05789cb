//! The library with a system that answers with masks.

use burn::tensor::Device;
use groundling::{Bundle, Description, GroundError, Grounder, Options, Settings, systems};
use groundling_core::Rle;
use groundling_models::contract::Trainable;
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_nn::checkpoint::{Precision, initialise};
use groundling_testkit::scratch;
use groundling_testkit::tiny::TinyWorld;

fn model(seed: u64) -> Dmmi {
    let device = Device::flex();
    device.seed(seed);
    let model = Dmmi::init(&DmmiConfig::tiny(), &device).unwrap();
    initialise(&model);
    model
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
        assert!((0.0..=1.0).contains(&score) && prediction.no_target == (score > 0.5), "{score}");
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
