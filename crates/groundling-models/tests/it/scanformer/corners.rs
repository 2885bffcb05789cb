//! Options, batches and corner cases.

use burn::tensor::Device;
use groundling_models::contract::{GroundOptions, OptionError, System, Trainable};
use groundling_models::scanformer::{Criterion, Seen};
use groundling_nn::checkpoint::StoredTensor;

use super::*;

#[test]
fn pixels_without_content_change_nothing() {
    let model = model(&config(true), 1, &Device::flex());
    let phrase = model.read_phrase(IDS[0]);
    // Columns from 24 on belong to patches of the finest level that the content does not touch, and to none that it does: on the
    // coarsest level everything is touched.
    let content = ContentRect { top: 0, left: 0, height: 32, width: 16 };
    let clean = canvas(content, 1);
    let mut dirty = clean.clone();
    for (index, value) in dirty.data.iter_mut().enumerate() {
        if index % 32 >= 16 {
            *value = 5.0;
        }
    }
    let answer = |image: &Array| {
        let view = model.read_canvas(tensor(image), content);
        boxes(&model.ground(&phrase, &view, &threshold(0.0)).unwrap())
    };
    assert_eq!(answer(&clean), answer(&dirty));
    // Content where there was none does change the answer: the test can fail.
    let mut inside = clean.clone();
    inside.data[5] += 1.0;
    assert!(apart(&answer(&clean), &answer(&inside)) > 1e-6);
}

#[test]
fn a_batch_of_all_pairs_equals_its_singles() {
    for nested in [true, false] {
        for merge in [true, false] {
            let model = model(&config(nested), 2, &Device::flex());
            let phrases = IDS.map(|ids| model.read_phrase(ids));
            let views = CONTENTS.map(|content| model.read_canvas(tensor(&canvas(content, 2)), content));
            let pairs: Vec<_> =
                phrases.iter().flat_map(|phrase| views.iter().map(move |view| (phrase, view))).collect();
            let options = GroundOptions { merge, attention: true, ..threshold(0.0) };
            let together = model.ground_batch(&pairs, &options).unwrap();
            for ((phrase, view), found) in pairs.into_iter().zip(together) {
                let alone = model.ground(phrase, view, &options).unwrap();
                assert!(apart(&boxes(&alone), &boxes(&found)) < 1e-5);
                assert_eq!(alone.flops, found.flops);
                for (one, two) in alone.levels.iter().zip(&found.levels) {
                    assert_eq!((&one.kept, one.constants, one.flops), (&two.kept, two.constants, two.flops));
                    let (one, two) = (one.attention.as_ref().unwrap(), two.attention.as_ref().unwrap());
                    let flat = |maps: &[Vec<f32>]| -> Vec<f64> { maps.concat().into_iter().map(f64::from).collect() };
                    assert!(apart(&flat(one), &flat(two)) < 1e-5);
                }
            }
        }
    }
}

#[test]
fn attention_is_a_share_of_the_kept_patches() {
    let config = config(true);
    let model = model(&config, 1, &Device::flex());
    let grounded = ground(&model, 0, 1, &GroundOptions { attention: true, ..threshold(0.0) });
    for level in &grounded.levels {
        let maps = level.attention.as_ref().unwrap();
        assert_eq!(maps.len(), config.layers);
        for map in maps {
            assert_eq!(map.len(), level.kept.len());
            let sum: f32 = map.iter().sum();
            assert!(map.iter().all(|&share| share >= 0.0) && sum > 0.0 && sum < 1.0, "{sum}");
        }
    }
    assert!(ground(&model, 0, 1, &threshold(0.0)).levels.iter().all(|level| level.attention.is_none()));
}

#[test]
fn every_level_can_answer() {
    let config = config(true);
    let model = model(&config, 1, &Device::flex());
    let full = ground(&model, 0, 1, &threshold(0.0));
    for level in 0..config.levels {
        let early = ground(&model, 0, 1, &GroundOptions { level: Some(level), ..threshold(0.0) });
        assert_eq!(early.levels.len(), level + 1);
        assert!(apart(&boxes(&early), &boxes(&full)[..4 * (level + 1)]) < 1e-5);
        assert_eq!(early.targets[0].bbox, early.levels[level].bbox);
        assert!(early.flops <= full.flops && early.dense_flops <= full.dense_flops);
    }
    let phrase = model.read_phrase(IDS[0]);
    let view = model.read_canvas(tensor(&canvas(CONTENTS[0], 1)), CONTENTS[0]);
    let refused = model.ground(&phrase, &view, &GroundOptions { level: Some(3), ..GroundOptions::default() });
    assert_eq!(refused.unwrap_err(), OptionError::Level { found: 3, last: 2 });
}

/// Who trains a model to read everything gets one that does, without an option; any other is published as it chooses.
#[test]
fn a_dense_model_is_published_as_one() {
    let trained = || model(&config(true), 1, &Device::flex());
    let usual = GroundOptions::default();
    let (dense, sparse) = (Criterion { dense: true, ..Criterion::default() }, Criterion::default());
    let everything = ground(&trained(), 0, 1, &threshold(f32::NEG_INFINITY));
    let published = ground(&trained().for_release(&dense), 0, 1, &usual);
    assert_eq!(boxes(&published), boxes(&everything));
    assert_eq!(published.flops, published.dense_flops);
    let (chosen, published) = (ground(&trained(), 0, 1, &usual), ground(&trained().for_release(&sparse), 0, 1, &usual));
    assert!(chosen.flops < chosen.dense_flops);
    assert_eq!(boxes(&published), boxes(&chosen));
}

#[test]
fn scores_are_the_agreement_of_the_levels() {
    let model = model(&config(true), 1, &Device::flex());
    let grounded = ground(&model, 0, 1, &threshold(0.0));
    let [first, second, last] = &grounded.levels[..] else { panic!("three levels") };
    let iou = |level: &groundling_models::contract::LevelTrace| last.bbox.to_xyxy().iou(level.bbox.to_xyxy());
    let expected = (iou(first) + iou(second)) / 2.0;
    assert!((f64::from(grounded.targets[0].score) - expected).abs() < 1e-6);
    let one = ground(&model, 0, 1, &GroundOptions { level: Some(0), ..threshold(0.0) });
    assert_eq!((one.targets[0].score, one.no_target), (1.0, None));
}

#[test]
fn budgets_are_met() {
    for nested in [true, false] {
        for merge in [true, false] {
            let model = model(&config(nested), 2, &Device::flex());
            let (none, all) = (f32::INFINITY, f32::NEG_INFINITY);
            let count = |threshold: f32| {
                ground(&model, 0, 2, &GroundOptions { threshold, merge, ..GroundOptions::default() }).flops
            };
            let (least, most) = (count(none), count(all));
            let run = |budget: u64, threshold: f32| {
                let phrase = model.read_phrase(IDS[0]);
                let view = model.read_canvas(tensor(&canvas(CONTENTS[0], 2)), CONTENTS[0]);
                let options =
                    GroundOptions { threshold, merge, budget_flops: Some(budget), ..GroundOptions::default() };
                model.ground(&phrase, &view, &options)
            };
            let mut read = Vec::new();
            for step in 0..=10 {
                let budget = least + (most - least) * step / 10;
                let grounded = run(budget, all).unwrap();
                assert!(grounded.flops <= budget, "{} > {budget}", grounded.flops);
                for level in &grounded.levels[1..] {
                    // The threshold that was used explains what was kept.
                    let threshold = level.threshold.unwrap();
                    let pairs = level.candidates.iter().zip(&level.values);
                    let kept: Vec<usize> =
                        pairs.filter(|(_, value)| **value >= threshold).map(|(&patch, _)| patch).collect();
                    assert_eq!(kept, level.kept);
                }
                read.push(grounded.levels.iter().map(|level| level.kept.len()).sum::<usize>());
                // A threshold that is asked for is only ever raised.
                assert!(run(budget, 0.0).unwrap().levels[1..].iter().all(|level| level.threshold.unwrap() >= 0.0));
            }
            assert!(read[10] > read[0] + 10 && read[5] > read[0], "{read:?}");
            assert_eq!(run(least - 1, all).unwrap_err(), OptionError::Budget { found: least - 1, least });
            assert_eq!(run(u64::MAX, all).unwrap().flops, most);
        }
    }
}

#[test]
fn whole_levels_are_read_whatever_the_threshold() {
    let chosen = config(true);
    for whole_levels in 1..=3 {
        let config = ScanFormerConfig { whole_levels, ..chosen.clone() };
        let model = model(&config, 2, &Device::flex());
        let all = ground(&model, 0, 2, &threshold(f32::NEG_INFINITY));
        let none = ground(&model, 0, 2, &threshold(f32::INFINITY));
        for (index, level) in none.levels.iter().enumerate() {
            let whole = index < whole_levels;
            assert_eq!(level.kept.len(), if whole { level.valid.len() } else { 0 }, "{whole_levels} {index}");
            assert_eq!((level.threshold.is_none(), level.values.is_empty()), (whole, whole || index > whole_levels));
        }
        // Reading everything is the same model, but for the values that nobody asks for.
        let usual = ground(&self::model(&chosen, 2, &Device::flex()), 0, 2, &threshold(f32::NEG_INFINITY));
        assert!(apart(&boxes(&all), &boxes(&usual)) < 1e-6);
        assert_eq!((all.flops, none.dense_flops), (all.dense_flops, all.dense_flops));
        assert_eq!(all.flops < usual.flops, whole_levels > 1, "the head that chooses costs");
        let phrase = model.read_phrase(IDS[0]);
        let view = model.read_canvas(tensor(&canvas(CONTENTS[0], 2)), CONTENTS[0]);
        let run = |budget: u64| {
            let options = GroundOptions { budget_flops: Some(budget), ..threshold(f32::NEG_INFINITY) };
            model.ground(&phrase, &view, &options)
        };
        for step in 0..=4 {
            let budget = none.flops + (all.flops - none.flops) * step / 4;
            assert!(run(budget).unwrap().flops <= budget);
        }
        let (found, least) = (none.flops - 1, none.flops);
        assert_eq!(run(found).unwrap_err(), OptionError::Budget { found, least });
    }
    assert_eq!(ScanFormerConfig { whole_levels: 4, ..chosen }.check().unwrap_err().field, "whole_levels");
}

/// With one more level, on a canvas twice as large, a model says on the levels it had what it said before.
#[test]
fn a_model_can_grow_by_a_level() {
    let small = config(true);
    let large = |finest_scale: f64| ScanFormerConfig { image_size: 64, levels: 4, finest_scale, ..config(true) };
    let content = ContentRect { top: 0, left: 0, height: 32, width: 32 };
    let image = canvas(content, 3);
    // Every pixel four times: their mean is the pixel.
    let twice = tensor(&image).reshape([1, 3, 32, 1, 32, 1]).expand([1, 3, 32, 2, 32, 2]).reshape([1, 3, 64, 64]);
    let of = |config: &ScanFormerConfig, image: Tensor<4>, side: u32| {
        let model = model(config, 2, &Device::flex());
        let phrase = model.read_phrase(IDS[0]);
        let view = model.read_canvas(image, ContentRect { top: 0, left: 0, height: side, width: side });
        boxes(&model.ground(&phrase, &view, &threshold(f32::NEG_INFINITY)).unwrap())
    };
    let before = of(&small, tensor(&image), 32);
    let grown = of(&large(2.0), twice.clone(), 64);
    assert!(apart(&before, &grown[..12]) < 1e-5);
    // Scales of the paper's formula would not be those that it learned.
    assert!(apart(&before, &of(&large(1.0), twice, 64)[..12]) > 1e-4);
    assert_eq!(large(0.0).check().unwrap_err().field, "finest_scale");
}

#[test]
fn one_constant_weighs_nothing_more() {
    let config = config(true);
    let model = model(&config, 1, &Device::flex());
    let dense = ground(&model, 0, 1, &threshold(f32::NEG_INFINITY));
    let mut values = dense.levels[1].values.clone();
    values.sort_by(f32::total_cmp);
    let options = threshold((values[0] + values[1]) / 2.0);
    let mut biases = Vec::new();
    let mut look = |seen: Seen| {
        if let Seen::Bias { bias, .. } = seen {
            biases.push(support::array(bias).data);
        }
    };
    let grounded = observed(&model, 0, 1, &options, Some(&mut look));
    assert_eq!(grounded.levels[1].constants, 1);
    assert!(biases[1].iter().all(|&bias| bias == 0.0));
}

#[test]
fn phrases_of_any_length() {
    let config = config(true);
    let model = model(&config, 1, &Device::flex());
    let view = model.read_canvas(tensor(&canvas(CONTENTS[0], 1)), CONTENTS[0]);
    let answer = |ids: &[u32]| boxes(&model.ground(&model.read_phrase(ids), &view, &threshold(0.0)).unwrap());
    let long: Vec<u32> = (0..30).collect();
    let cut: Vec<u32> = (0..11).chain([29]).collect();
    assert_eq!(answer(&long), answer(&cut));
    for ids in [&[][..], &[1, 2], &[1, 4_000_000_000, 2], &[49; 12]] {
        assert!(answer(ids).iter().all(|value| value.is_finite()));
    }
}

#[test]
fn pictures_of_any_shape() {
    let config = config(true);
    let model = model(&config, 1, &Device::flex());
    let phrase = model.read_phrase(IDS[0]);
    for (top, left, height, width) in [(0, 0, 1, 1), (31, 31, 1, 1), (0, 0, 32, 1), (15, 0, 1, 32), (0, 0, 32, 32)] {
        let content = ContentRect { top, left, height, width };
        let view = model.read_canvas(tensor(&canvas(content, 1)), content);
        for limit in [f32::NEG_INFINITY, 0.0, f32::INFINITY] {
            let grounded = model.ground(&phrase, &view, &threshold(limit)).unwrap();
            assert!(grounded.levels.iter().all(|level| !level.valid.is_empty()));
            assert!(boxes(&grounded).iter().all(|value| value.is_finite()));
        }
    }
}

#[test]
fn one_level_is_a_plain_regressor() {
    let config = ScanFormerConfig { levels: 1, ..config(true) };
    let model = model(&config, 1, &Device::flex());
    let grounded = ground(&model, 0, 1, &threshold(0.0));
    assert_eq!((grounded.levels.len(), grounded.levels[0].grid), (1, 8));
    assert_eq!(grounded.flops, grounded.dense_flops);
}

#[test]
fn the_first_encoder_may_be_all_layers() {
    let config = ScanFormerConfig { select_layer: 4, ..config(true) };
    let model = model(&config, 1, &Device::flex());
    let merged = ground(&model, 0, 1, &threshold(0.0));
    let unmerged = ground(&model, 0, 1, &GroundOptions { merge: false, ..threshold(0.0) });
    assert!(apart(&boxes(&merged), &boxes(&unmerged)) < 1e-5);
}

#[test]
fn values_that_are_no_numbers_keep_nothing() {
    let config = config(true);
    let weights = weights(&config, 1);
    let tensors = weights.tensors().iter().map(|(name, tensor)| {
        let broken = name == "select.fc2.bias";
        let tensor = if broken { StoredTensor::from_values([4], vec![f32::NAN; 4]) } else { tensor.clone() };
        (name.clone(), tensor)
    });
    let fresh = ScanFormer::new(&config, &Device::flex()).unwrap();
    let (model, _) = load_into(fresh, &Checkpoint::from_tensors(tensors), &[]).unwrap();
    for limit in [f32::NEG_INFINITY, 0.0] {
        let grounded = ground(&model, 0, 1, &threshold(limit));
        assert!(grounded.levels[1].values.iter().all(|value| value.is_nan()));
        assert!(grounded.levels[1..].iter().all(|level| level.kept.is_empty()));
        assert!(boxes(&grounded).iter().all(|value| value.is_finite()));
    }
}
