//! Any number of equal tokens is one token, exactly.

use burn::tensor::Device;
use groundling_models::contract::GroundOptions;
use groundling_models::scanformer::Seen;

use super::reference::{Fault, Plan, Reference};
use super::*;

/// Values this near to the threshold may fall on either side of it by rounding.
const MARGIN: f32 = 1e-3;

/// Seeds for which no value is near 0, and something is kept and something dropped on the last level.
fn telling_seeds(nested: bool) -> Vec<(u64, usize)> {
    let config = config(nested);
    let telling = |&(seed, which): &(u64, usize)| {
        let grounded = ground(&model(&config, seed, &Device::flex()), which, seed, &threshold(0.0));
        let clear = grounded.levels.iter().flat_map(|level| &level.values).all(|value| value.abs() > MARGIN);
        let last = grounded.levels.last().unwrap();
        clear && last.constants > 1 && !last.kept.is_empty()
    };
    let found: Vec<_> = (1..13).flat_map(|seed| [(seed, 0), (seed, 1)]).filter(telling).collect();
    assert!(found.len() >= 6, "only {} of 24 runs tell anything", found.len());
    found
}

#[test]
fn merged_equals_unmerged() {
    for nested in [true, false] {
        for (seed, which) in telling_seeds(nested) {
            let model = model(&config(nested), seed, &Device::flex());
            let merged = ground(&model, which, seed, &threshold(0.0));
            let unmerged = ground(&model, which, seed, &GroundOptions { merge: false, ..threshold(0.0) });
            assert!(apart(&boxes(&merged), &boxes(&unmerged)) < 1e-5);
            for (one, two) in merged.levels.iter().zip(&unmerged.levels) {
                assert_eq!((&one.kept, &one.candidates), (&two.kept, &two.candidates));
                let values = one.values.iter().zip(&two.values);
                assert!(values.fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) < 1e-4);
            }
            assert!(merged.flops < unmerged.flops && unmerged.flops <= merged.dense_flops);
        }
    }
}

/// The cache is one pass over all blocks under a block-causal mask, and the order within a level is no matter.
#[test]
fn one_pass_without_a_cache_says_the_same() {
    for nested in [true, false] {
        for (seed, which) in telling_seeds(nested) {
            let config = config(nested);
            let model = model(&config, seed, &Device::flex());
            let weights = weights(&config, seed);
            let reference = Reference::new(&config, &weights);
            let image = canvas(CONTENTS[which], seed);
            let mut language = Vec::new();
            let last = config.layers;
            let _ = model.read_phrase_observed(
                IDS[which],
                Some(&mut |seen| {
                    if let Seen::Tokens { layers, tokens, .. } = seen
                        && layers == last
                    {
                        language = support::array(tokens).data;
                    }
                }),
            );
            let merged = ground(&model, which, seed, &threshold(0.0));
            for plan in [Plan::MERGED, Plan::UNMERGED, Plan { backwards: true, ..Plan::MERGED }] {
                let output = reference.run(IDS[which], &image, &merged, plan);
                assert!(apart(&boxes(&merged), &output.boxes) < 1e-5, "{plan:?}");
                // Nor does the phrase change when pictures follow.
                assert!(apart(&language, &output.language.concat()) < 5e-5, "{plan:?}");
            }
        }
    }
}

/// Each of the easy mistakes moves the boxes by far more than the tests above allow.
#[test]
fn mistakes_would_be_seen() {
    for (fault, merge) in
        [(Fault::BiasBeforeScale, true), (Fault::BiasLostInCache, true), (Fault::PlaceAfterReplacement, false)]
    {
        let config = config(true);
        let mut moved = 0.0f64;
        for (seed, which) in telling_seeds(true) {
            let model = model(&config, seed, &Device::flex());
            let weights = weights(&config, seed);
            let found = ground(&model, which, seed, &GroundOptions { merge: !merge, ..threshold(0.0) });
            let image = canvas(CONTENTS[which], seed);
            let plan = Plan { merge, fault: Some(fault), ..Plan::MERGED };
            // What is lost in the cache is the weight of the level before the last; that of one constant is nothing.
            if fault == Fault::BiasLostInCache && found.levels[1].constants < 2 {
                continue;
            }
            let output = Reference::new(&config, &weights).run(IDS[which], &image, &found, plan);
            let distance = apart(&boxes(&found), &output.boxes);
            assert!(distance > 1e-4, "{fault:?} moves boxes by {distance} only");
            moved = moved.max(distance);
        }
        assert!(moved > 2e-3, "{fault:?} moves boxes by {moved} at most");
    }
}

#[test]
fn constants_stay_equal_in_every_layer() {
    let config = config(true);
    for (seed, which) in telling_seeds(true) {
        let model = model(&config, seed, &Device::flex());
        let merged = ground(&model, which, seed, &threshold(0.0));
        let mut seen_layers = 0;
        let mut look = |seen: Seen| {
            let Seen::Tokens { level: Some(level), tokens, .. } = seen else { return };
            let (kept, constants) = (merged.levels[level].kept.len(), merged.levels[level].constants);
            if constants < 2 {
                return;
            }
            let rows = support::array(tokens).data;
            let row = |index: usize| &rows[(1 + kept + index) * config.dim..(2 + kept + index) * config.dim];
            for index in 1..constants {
                assert!(apart(row(0), row(index)) < 1e-6);
            }
            seen_layers += 1;
        };
        let options = GroundOptions { merge: false, ..threshold(0.0) };
        observed(&model, which, seed, &options, Some(&mut look));
        assert!(seen_layers > config.layers);
    }
}

#[test]
fn keeping_everything_is_the_dense_model() {
    for nested in [true, false] {
        let config = config(nested);
        let model = model(&config, 3, &Device::flex());
        let all = ground(&model, 0, 3, &threshold(f32::NEG_INFINITY));
        assert!(all.levels.iter().all(|level| level.constants == 0 && level.kept == level.valid));
        assert_eq!(all.flops, all.dense_flops);
        let weights = weights(&config, 3);
        let reference = Reference::new(&config, &weights);
        let output = reference.run(IDS[0], &canvas(CONTENTS[0], 3), &all, Plan::UNMERGED);
        assert!(apart(&boxes(&all), &output.boxes) < 1e-5);
    }
}

#[test]
fn keeping_nothing_still_answers() {
    for nested in [true, false] {
        let model = model(&config(nested), 3, &Device::flex());
        let none = ground(&model, 1, 3, &threshold(f32::INFINITY));
        assert!(none.levels[1..].iter().all(|level| level.kept.is_empty() && level.constants == level.valid.len()));
        // Flat, the constants themselves vote.
        assert_eq!(none.levels[2].candidates.is_empty(), nested);
        let unmerged = ground(&model, 1, 3, &GroundOptions { merge: false, ..threshold(f32::INFINITY) });
        assert!(apart(&boxes(&none), &boxes(&unmerged)) < 1e-5);
        let mut biases = Vec::new();
        let mut look = |seen: Seen| {
            if let Seen::Bias { bias, .. } = seen {
                biases.push(support::array(bias).data);
            }
        };
        observed(&model, 1, 3, &threshold(f32::INFINITY), Some(&mut look));
        for (bias, level) in biases.iter().zip(&none.levels).skip(1) {
            assert!(apart(bias, &[0.0, (level.valid.len() as f64).ln()]) < 1e-6);
        }
    }
}
