//! Sessions: frames, limits, options, threads.

use groundling::{GroundError, Grounder, Options, Picture, Question, Session, Settings};
use groundling_core::{Phrase, PhraseError};
use groundling_data::image::decode::{ImageError, ImageLimits};
use groundling_models::contract::OptionError;
use groundling_testkit::fixtures;
use groundling_testkit::tiny::TinyWorld;
use image::RgbImage;

use crate::fake::{FakeConfig, broken, fake, identity};

fn grounder() -> Grounder {
    Grounder::from_model(fake(FakeConfig::SMALL), identity(), Settings::default())
}

#[test]
fn answers_are_in_pixels_of_the_picture_and_inside_it() {
    let grounder = grounder();
    for (width, height) in [(640, 480), (480, 640), (1, 1), (2000, 10), (10, 2000), (32, 32)] {
        let session = grounder.open_image(&RgbImage::new(width, height)).unwrap();
        for phrase in ["cup", "the left cup"] {
            let prediction = session.ground(phrase).unwrap();
            assert_eq!(prediction.phrase.as_str(), phrase);
            assert_eq!((prediction.image_size.height(), prediction.image_size.width()), (height, width));
            // The fake answers with the content, or with more than there is.
            let found = prediction.targets[0].bbox.to_array();
            let expected = [0.0, 0.0, f64::from(width), f64::from(height)];
            let off = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs()).fold(0.0, f64::max);
            assert!(off < 1e-9 * f64::from(width.max(height)), "{width}x{height} {phrase}: {found:?}");
            assert_eq!(prediction.targets[0].score, 1.0, "scores stay within 0 and 1");
            assert!(!prediction.no_target && prediction.no_target_score.is_none());
            assert_eq!(prediction.model, identity());
        }
    }
}

#[test]
fn a_picture_may_come_as_file_as_bytes_or_as_pixels() {
    let grounder = grounder();
    let path = fixtures().join("photos/coffee.jpg");
    let bytes = std::fs::read(&path).unwrap();
    let pixels = image::load_from_memory(&bytes).unwrap().into_rgb8();
    let options = Options { attention: true, ..Options::default() };
    let ask = |session: Session| session.ground_with("the cup", &options).unwrap();
    let from_file = ask(grounder.open_image(&path).unwrap());
    assert_eq!(from_file, ask(grounder.open_image(&bytes).unwrap()));
    assert_eq!(from_file, ask(grounder.open_image(&pixels).unwrap()));
    assert_eq!(from_file, ask(grounder.open_image(path.to_str().unwrap()).unwrap()));
    assert_eq!((from_file.flops, from_file.dense_flops), (100, 400));
    let json = from_file.explain.to_json();
    assert_eq!(json["schema"], "groundling.explain/1");
    assert_eq!(json["levels"][1]["valid"], serde_json::json!([0, 1, 2, 3]));
    assert_eq!(json["levels"][1]["attention"], serde_json::json!([[1.0]]));
    assert_eq!(from_file.explain.read(), (2, 6));
}

#[test]
fn what_cannot_be_used_is_a_typed_error_with_a_hint() {
    let limits = ImageLimits { max_pixels: 100, ..ImageLimits::default() };
    let settings = Settings { image: limits, ..Settings::default() };
    let grounder = Grounder::from_model(fake(FakeConfig::SMALL), identity(), settings);
    let photo = fixtures().join("photos/coffee.jpg");
    let error = grounder.open_image(&photo).unwrap_err();
    assert!(matches!(error, GroundError::Image(ImageError::TooLarge { .. })), "{error}");
    assert!(error.hint().unwrap().contains("shrink"));
    let error = grounder.open_image(&b"hello"[..]).unwrap_err();
    assert!(error.hint().unwrap().contains("JPEG"), "{error}");
    assert!(matches!(grounder.open_image(&RgbImage::new(0, 0)).unwrap_err(), GroundError::Placement(_)));

    let session = grounder.open_image(&RgbImage::new(4, 4)).unwrap();
    let error = session.ground(" ").unwrap_err();
    assert!(matches!(error, GroundError::Phrase(PhraseError::Empty)) && error.hint().is_some());
    assert!(matches!(session.ground(&"cup ".repeat(600)).unwrap_err(), GroundError::Phrase(_)));
    let asked = |options: Options| session.ground_with("cup", &options).unwrap_err();
    let error = asked(Options { level: Some(2), ..Options::default() });
    assert!(matches!(error, GroundError::Options(OptionError::Level { found: 2, last: 1 })), "{error}");
    let error = asked(Options { budget_gflops: Some(1e-8), ..Options::default() });
    assert!(matches!(error, GroundError::Options(OptionError::Budget { found: 10, least: 100 })), "{error}");
    for budget in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = asked(Options { budget_gflops: Some(budget), ..Options::default() });
        assert!(matches!(error, GroundError::Number { option: "budget_gflops", .. }), "{error}");
    }
    let error = asked(Options { threshold: f32::NAN, ..Options::default() });
    assert!(matches!(error, GroundError::Number { option: "threshold", .. }), "{error}");
}

#[test]
fn a_model_that_answers_nan_is_an_error_and_no_box() {
    let grounder = Grounder::from_model(broken(), identity(), Settings::default());
    let session = grounder.open_image(&RgbImage::new(4, 4)).unwrap();
    let error = session.ground("cup").unwrap_err();
    assert_eq!(error.to_string(), "the model's box for \"cup\" is not finite");
    assert!(error.hint().unwrap().contains("doctor"));
}

#[test]
fn phrases_are_kept_and_their_number_is_bounded() {
    let settings = Settings { kept_phrases: 2, ..Settings::default() };
    let grounder = Grounder::from_model(fake(FakeConfig::SMALL), identity(), settings);
    let session = grounder.open_image(&RgbImage::new(4, 4)).unwrap();
    for phrase in ["a", "b", "a", "c", "d"] {
        session.ground(phrase).unwrap();
    }
    assert_eq!(grounder.kept_phrases(), 2);
    let long = Phrase::parse("the cup to the left of the red spoon").unwrap();
    assert_eq!(grounder.pieces(&long).ids.len(), 6, "cut to the model's table");
    assert_eq!(grounder.pieces(&long).ids.last(), Some(&102));
}

#[test]
fn batches_and_sets_answer_as_singles_do() {
    let grounder = grounder();
    let worlds: Vec<Vec<u8>> = (0..6).map(|seed| TinyWorld::new(24, 40 + seed as u32, seed).to_bmp()).collect();
    let phrases = [Phrase::parse("the red block").unwrap(), Phrase::parse("block").unwrap()];
    let options = Options::default();
    let single = |world: &Vec<u8>| {
        let session = grounder.open_image(world).unwrap();
        phrases.iter().map(|phrase| session.ground_phrase(phrase, &options).unwrap()).collect::<Vec<_>>()
    };
    let expected: Vec<_> = worlds.iter().map(single).collect();

    let sessions: Vec<Session> = worlds.iter().map(|world| grounder.open_image(world).unwrap()).collect();
    let pairs: Vec<(&Session, &Phrase)> =
        sessions.iter().flat_map(|session| phrases.iter().map(move |phrase| (session, phrase))).collect();
    assert_eq!(grounder.ground_batch(&pairs, &options).unwrap(), expected.concat());
    assert!(grounder.ground_batch(&[], &options).unwrap().is_empty());

    let mut questions: Vec<Question<'_>> =
        worlds.iter().map(|world| Question { picture: world.into(), phrases: &phrases }).collect();
    questions.insert(3, Question { picture: Picture::Bytes(b"no picture"), phrases: &phrases });
    let mut answers = grounder.ground_all(&questions, &options);
    assert!(matches!(answers.remove(3), Err(GroundError::Image(_))), "the others are not spoilt");
    assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);

    let other = Grounder::from_model(fake(FakeConfig::SMALL), identity(), Settings::default());
    let error = other.ground_batch(&pairs[..1], &options).unwrap_err();
    assert!(matches!(error, GroundError::ForeignSession { position: 0 }), "{error}");
}

#[test]
fn a_grounder_is_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let grounder = grounder();
    let session = grounder.open_image(&RgbImage::new(40, 30)).unwrap();
    shared(&grounder);
    shared(&session);
    drop(grounder);
    let expected = session.ground("the left cup").unwrap();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let session = session.clone();
            std::thread::spawn(move || session.ground("the left cup").unwrap())
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), expected);
    }
}
