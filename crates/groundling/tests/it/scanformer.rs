//! The library with its first real system.

use burn::tensor::Device;
use groundling::{Bundle, Description, Grounder, Options, Session, Settings};
use groundling_core::Phrase;
use groundling_models::contract::Trainable;
use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
use groundling_nn::checkpoint::Precision;
use groundling_testkit::scratch;
use groundling_testkit::tiny::TinyWorld;

fn model() -> ScanFormer {
    let device = Device::flex();
    let _alone = crate::alone();
    device.seed(5);
    ScanFormer::init(&ScanFormerConfig::tiny(), &device).unwrap()
}

#[test]
fn a_saved_model_answers_as_the_one_in_memory() {
    let folder = scratch("library-scanformer");
    let model = model();
    let description = Description { name: "tiny".into(), preset: "tiny".into(), ..Description::default() };
    let bundle = Bundle::write(&folder, &model, &description, Precision::F32).unwrap();
    let saved = Grounder::open(&folder).unwrap();
    assert_eq!(saved.identity().hash, bundle.manifest().weights.sha256);
    let fresh = Grounder::from_model(model, saved.identity().clone(), Settings::default());
    let world = TinyWorld::new(60, 90, 3).to_bmp();
    let (one, other) = (saved.open_image(&world).unwrap(), fresh.open_image(&world).unwrap());
    for options in [
        Options::default(),
        Options { threshold: f32::NEG_INFINITY, attention: true, ..Options::default() },
        Options { level: Some(0), ..Options::default() },
        Options { merge: false, ..Options::default() },
    ] {
        let answer = one.ground_with("the red block", &options).unwrap();
        assert_eq!(answer, other.ground_with("the red block", &options).unwrap(), "{options:?}");
        let levels = options.level.map_or(3, |level| level + 1);
        assert_eq!(answer.explain.levels.len(), levels);
        assert!(answer.flops <= answer.dense_flops);
        if options.threshold == f32::NEG_INFINITY {
            assert_eq!(answer.explain.read().0, answer.explain.read().1, "everything was read");
            assert!(answer.explain.levels.iter().all(|level| level.attention.is_some()));
        }
    }
}

#[test]
fn a_budget_is_kept() {
    let grounder = Grounder::from_model(model(), crate::fake::identity(), Settings::default());
    let session = grounder.open_image(&TinyWorld::new(60, 90, 3).to_bmp()).unwrap();
    let everything = Options { threshold: f32::NEG_INFINITY, ..Options::default() };
    let dense = session.ground_with("the red block", &everything).unwrap();
    for share in [0.5, 0.7, 0.9] {
        let budget = dense.flops as f64 * share / 1e9;
        let frugal = Options { budget_gflops: Some(budget), ..everything };
        let answer = session.ground_with("the red block", &frugal).unwrap();
        assert!(answer.flops as f64 <= budget * 1e9, "{} of {budget}", answer.flops);
        assert!(answer.explain.read().0 < dense.explain.read().0);
    }
}

#[test]
fn extreme_pictures_are_answered_and_a_batch_equals_its_singles() {
    let grounder = Grounder::from_model(model(), crate::fake::identity(), Settings::default());
    let sizes = [(1, 1), (2000, 10), (10, 2000), (64, 64), (37, 91)];
    let sessions: Vec<Session> = sizes
        .iter()
        .map(|&(width, height)| {
            grounder.open_image(&image::RgbImage::from_pixel(width, height, image::Rgb([9, 200, 60])))
        })
        .collect::<Result<_, _>>()
        .unwrap();
    let phrases = [Phrase::parse("cup").unwrap(), Phrase::parse("the second cup from the left").unwrap()];
    let pairs: Vec<(&Session, &Phrase)> = sessions.iter().flat_map(|s| phrases.iter().map(move |p| (s, p))).collect();
    let batch = grounder.ground_batch(&pairs, &Options::default()).unwrap();
    for ((session, phrase), batched) in pairs.iter().zip(&batch) {
        let single = session.ground_phrase(phrase, &Options::default()).unwrap();
        let (single_box, batch_box) = (single.prediction.targets[0].bbox, batched.prediction.targets[0].bbox);
        let size = f64::from(session.image_size().long_side());
        for (one, other) in single_box.to_array().into_iter().zip(batch_box.to_array()) {
            assert!((one - other).abs() < 1e-4 * size, "{single_box:?} {batch_box:?}");
            assert!((0.0..=size).contains(&one));
        }
        assert_eq!(single.flops, batched.flops);
        assert!(single.explain.levels.iter().all(|level| !level.valid.is_empty()));
    }
}

#[test]
fn a_table_that_lacks_words_is_refused() {
    let folder = scratch("library-small-table");
    let config = ScanFormerConfig { vocab: 100, ..ScanFormerConfig::tiny() };
    let model = ScanFormer::init(&config, &Device::flex()).unwrap();
    Bundle::write(&folder, &model, &Description::default(), Precision::F32).unwrap();
    let error = Grounder::open(&folder).unwrap_err().to_string();
    assert!(error.ends_with("the table of words has 100 rows, the vocabulary needs 30522"), "{error}");
}
