//! Laws of the protocols.

use groundling_core::{BinaryMask, BoxXyxy, ImageSize, Pixels, Rle, TargetCount};
use groundling_eval::bootstrap::{intervals, paired_differences};
use groundling_eval::correlation::spearman;
use groundling_eval::grec::{self, GrecOptions, GrecOutcome, Pairing};
use groundling_eval::gres::{self, GresOptions, PredictedEmpty};
use groundling_eval::rec::{self, RecRule};
use groundling_eval::records::Sample;
use groundling_eval::res::{self, ResOptions};
use groundling_eval::{BootstrapOptions, EvalError, MaskOverlap, MaskSize};
use proptest::prelude::*;

use crate::made::{self, Dice};

// Not smaller than the images: a target that vanishes in the resize has an IoU of 0, also for a perfect prediction.
const SIZES: [MaskSize; 3] = [MaskSize::Original, MaskSize::Resized(480), MaskSize::Resized(64)];

fn gres_options() -> impl Iterator<Item = GresOptions> {
    let empties = [PredictedEmpty::Flag, PredictedEmpty::EmptyMask, PredictedEmpty::Area { min_pixels: 3 }];
    empties.into_iter().flat_map(|empty| SIZES.map(|size| GresOptions { empty, size, min_score: 0.0 }))
}

#[test]
fn perfect_predictions_score_a_hundred() {
    let one = made::perfect(&made::samples(1, 200, 1, 1));
    for rule in [RecRule::Standard, RecRule::TransVg, RecRule::VltVg] {
        let scores = rec::score(&one, rule).unwrap();
        assert!(scores.accuracy.iter().all(|(_, accuracy)| *accuracy == Some(100.0)), "{rule:?}");
        assert!((scores.mean_iou.unwrap() - 100.0).abs() < 1e-9, "{rule:?}");
    }
    let any = made::perfect(&made::samples(2, 200, 0, 3));
    assert!(made::count_of(&any, TargetCount::Zero) > 10 && made::count_of(&any, TargetCount::Many) > 10);
    for size in SIZES {
        let scores = res::score(&any, ResOptions::new(size)).unwrap();
        assert_eq!((scores.overall_iou, scores.absent_accuracy), (Some(100.0), Some(100.0)));
        assert_eq!(scores.mean_iou, Some(100.0), "{size:?}");
    }
    for options in gres_options() {
        let scores = gres::score(&any, options).unwrap();
        assert_eq!((scores.generalized_iou, scores.cumulative_iou), (Some(100.0), Some(100.0)), "{options:?}");
        assert_eq!((scores.no_target_accuracy, scores.target_accuracy), (1.0, 1.0), "{options:?}");
    }
    for pairing in [Pairing::Giou, Pairing::Iou] {
        let scores = grec::score(&any, GrecOptions::new(pairing)).unwrap();
        assert_eq!((scores.precision, scores.no_target_accuracy), (Some(100.0), 1.0));
    }
}

#[test]
fn the_order_of_samples_does_not_matter() {
    let samples = made::samples(3, 150, 0, 3);
    let mut reversed = samples.clone();
    reversed.reverse();
    let res = |samples: &[Sample]| res::score(samples, ResOptions::new(MaskSize::Original)).unwrap();
    let (a, b) = (res(&samples), res(&reversed));
    assert_eq!((a.overall_iou, a.precision, a.absent_accuracy), (b.overall_iou, b.precision, b.absent_accuracy));
    assert!((a.mean_iou.unwrap() - b.mean_iou.unwrap()).abs() < 1e-10, "sums in another order");
    let grec = |samples: &[Sample]| grec::score(samples, GrecOptions::new(Pairing::Giou)).unwrap();
    assert_eq!(grec(&samples), grec(&reversed));
}

#[test]
fn a_false_positive_without_target_costs_gres_but_not_oiou() {
    let samples = made::perfect(&made::samples(4, 80, 0, 2));
    let wrong = samples.iter().cloned().map(|mut sample| {
        if sample.truth.is_absent() {
            sample.prediction = Some(made::prediction(&sample.truth, &[(0.9, BoxXyxy::new(1.0, 1.0, 9.0, 9.0))]));
        }
        sample
    });
    let wrong: Vec<Sample> = wrong.collect();
    let res = |samples: &[Sample]| res::score(samples, ResOptions::new(MaskSize::Original)).unwrap();
    assert_eq!(res(&samples).overall_iou, res(&wrong).overall_iou);
    assert_eq!((res(&wrong).absent_accuracy, res(&samples).absent_accuracy), (Some(0.0), Some(100.0)));
    for options in gres_options() {
        let score = |samples: &[Sample]| gres::score(samples, options).unwrap();
        assert!(score(&wrong).cumulative_iou < score(&samples).cumulative_iou, "{options:?}");
        assert!(score(&wrong).generalized_iou < score(&samples).generalized_iou, "{options:?}");
        assert_eq!(score(&wrong).no_target_accuracy, 0.0);
    }
}

#[test]
fn a_missing_prediction_is_wrong_everywhere() {
    let none = |samples: Vec<Sample>| -> Vec<Sample> {
        samples.into_iter().map(|sample| Sample { prediction: None, ..sample }).collect()
    };
    let scores = rec::score(&none(made::samples(5, 20, 1, 1)), RecRule::Standard).unwrap();
    assert_eq!((scores.accuracy[0].1, scores.mean_iou), (Some(0.0), Some(0.0)));
    let any = none(made::samples(5, 60, 0, 3));
    let scores = res::score(&any, ResOptions::new(MaskSize::Resized(30))).unwrap();
    assert_eq!((scores.overall_iou, scores.absent_accuracy), (Some(0.0), Some(0.0)));
    assert!(scores.union > 0);
    let scores = gres::score(&any, GresOptions::new(PredictedEmpty::Flag)).unwrap();
    assert_eq!((scores.generalized_iou, scores.cumulative_iou), (Some(0.0), Some(0.0)));
    assert_eq!((scores.no_target_accuracy, scores.target_accuracy), (0.0, 0.0));
    let scores = grec::score(&any, GrecOptions::new(Pairing::Iou)).unwrap();
    assert_eq!((scores.precision, scores.no_target_accuracy, scores.target_accuracy), (Some(0.0), 0.0, 0.0));
}

#[test]
fn unsuitable_samples_are_errors() {
    let many = made::samples(6, 30, 2, 2);
    let error = rec::score(&many, RecRule::Standard).unwrap_err();
    assert_eq!(error.to_string(), "sample \"0\" has 2 target boxes, expected exactly 1 for rec");
    let mut samples = made::samples(6, 30, 1, 2);
    samples[3].truth.truth.targets[0].mask = None;
    let error = res::score(&samples, ResOptions::new(MaskSize::Original)).unwrap_err();
    assert_eq!(error, EvalError::NoMask { id: "3".into(), whose: "true", target: 0 });
    let mut samples = made::samples(6, 30, 1, 2);
    samples[3].truth.truth.targets.clear();
    let error = grec::score(&samples, GrecOptions::new(Pairing::Iou)).unwrap_err();
    assert!(matches!(error, EvalError::NoTargetBox { .. }));
    let mut samples = made::samples(6, 30, 1, 1);
    let prediction = made::prediction(&samples[7].truth, &[(0.5, BoxXyxy::new(0.0, 0.0, 5.0, 5.0))]);
    samples[7].prediction = Some(prediction);
    samples[7].prediction.as_mut().unwrap().prediction.targets[0].mask = None;
    let error = gres::score(&samples, GresOptions::new(PredictedEmpty::Flag)).unwrap_err();
    assert_eq!(error, EvalError::NoMask { id: "7".into(), whose: "predicted", target: 0 });
}

/// Greedy pairing once more, from its definition: a matrix, its maximum, a row and a column struck out.
fn slow_true_positives(kept: &[BoxXyxy<Pixels>], truth: &[BoxXyxy<Pixels>], pairing: Pairing) -> usize {
    let mut matrix: Vec<Vec<f64>> =
        kept.iter().map(|&p| truth.iter().map(|&t| pairing.overlap(p, t)).collect()).collect();
    let mut pairs = 0;
    loop {
        let (mut best, mut at) = (f64::NEG_INFINITY, (0, 0));
        for (p, row) in matrix.iter().enumerate() {
            for (t, &overlap) in row.iter().enumerate() {
                if overlap > best {
                    (best, at) = (overlap, (p, t));
                }
            }
        }
        if best < 0.5 {
            return pairs;
        }
        pairs += 1;
        matrix[at.0].fill(f64::NEG_INFINITY);
        matrix.iter_mut().for_each(|row| row[at.1] = f64::NEG_INFINITY);
    }
}

#[test]
fn greedy_pairing_by_its_definition() {
    let mut dice = Dice(11);
    let mut different = 0;
    for _ in 0..3000 {
        let truth: Vec<_> = (0..dice.below(5)).map(|_| dice.bbox()).collect();
        let mut kept: Vec<_> = truth.iter().map(|&bbox| dice.near(bbox)).collect();
        kept.extend(truth.iter().take(2).map(|&bbox| dice.near(bbox)).collect::<Vec<_>>());
        kept.truncate(dice.below(7) as usize);
        let mut pairs = Vec::new();
        for pairing in [Pairing::Giou, Pairing::Iou] {
            let outcome = GrecOutcome::of(&kept, &truth, GrecOptions::new(pairing));
            let expected = slow_true_positives(&kept, &truth, pairing);
            assert_eq!(outcome.true_positives, expected, "{pairing:?}: {kept:?} {truth:?}");
            let (p, t) = (kept.len() as f64, truth.len() as f64);
            let f1 = match truth.len() {
                0 => f64::from(u8::from(kept.is_empty())),
                _ => 2.0 * expected as f64 / (p + t),
            };
            assert!((outcome.f1 - f1).abs() < 1e-15);
            pairs.push(expected);
        }
        different += u32::from(pairs[0] != pairs[1]);
    }
    assert!(different > 20, "both modes must be told apart: {different}");
}

#[test]
fn grec_keeps_boxes_at_the_threshold() {
    let truth = made::truth("x", &[BoxXyxy::new(0.0, 0.0, 8.0, 8.0)]);
    let target = truth.truth.targets[0].bbox;
    for (score, precision) in [(0.7, 100.0), (0.699_999, 0.0)] {
        let prediction = Some(made::prediction(&truth, &[(score, target)]));
        let samples = [Sample { truth: truth.clone(), prediction }];
        let scores = grec::score(&samples, GrecOptions::new(Pairing::Giou)).unwrap();
        assert_eq!(scores.precision, Some(precision), "{score}");
        assert_eq!((scores.no_target_accuracy, scores.target_accuracy), (0.0, 0.0), "by convention");
    }
}

#[test]
fn figures_are_the_scores() {
    let samples = made::samples(8, 200, 0, 3);
    let outcomes = res::outcomes(&samples, ResOptions::new(MaskSize::Resized(33))).unwrap();
    let (scores, figures) = (res::ResScores::of(&outcomes), res::figures(&outcomes, true));
    let values: Vec<_> = figures.iter().map(|figure| figure.value()).collect();
    assert_eq!(values[..2], [scores.overall_iou, scores.mean_iou]);
    assert_eq!(values[2..7], scores.precision.map(|(_, value)| value));
    assert_eq!(values[7], scores.absent_accuracy);
    let outcomes = gres::outcomes(&samples, GresOptions::new(PredictedEmpty::EmptyMask)).unwrap();
    let scores = gres::GresScores::of(&outcomes);
    let values: Vec<_> = gres::figures(&outcomes).iter().map(|figure| figure.value().unwrap()).collect();
    let expected = [
        scores.generalized_iou.unwrap(),
        scores.cumulative_iou.unwrap(),
        100.0 * scores.no_target_accuracy,
        100.0 * scores.target_accuracy,
    ];
    values[..4].iter().zip(expected).for_each(|(a, b)| assert!((a - b).abs() < 1e-11, "{values:?} {expected:?}"));
    assert_eq!(values[4..].iter().map(|&v| Some(v)).collect::<Vec<_>>(), scores.precision.map(|(_, value)| value));
}

#[test]
fn the_bootstrap_repeats_and_holds_the_estimate() {
    for seed in 0..6 {
        let samples = made::samples(100 + seed, 300, 0, 3);
        let outcomes = gres::outcomes(&samples, GresOptions::new(PredictedEmpty::Flag)).unwrap();
        let figures = gres::figures(&outcomes);
        let options = BootstrapOptions { resamples: 400, seed, ..Default::default() };
        let found = intervals(&figures, &options);
        assert_eq!(found, intervals(&figures, &options));
        assert_ne!(found, intervals(&figures, &BootstrapOptions { seed: seed + 1, ..options }));
        assert!(found[0].unwrap().low < found[0].unwrap().high);
        for (figure, interval) in figures.iter().zip(&found) {
            let (value, interval) = (figure.value().unwrap(), interval.unwrap());
            assert!(interval.low <= value && value <= interval.high, "{}: {value} {interval:?}", figure.name);
            assert!(interval.low < interval.high || value == 0.0 || value == 100.0, "{}", figure.name);
        }
        let narrow = intervals(&figures, &BootstrapOptions { confidence: 0.5, ..options });
        for (narrow, wide) in narrow.iter().zip(&found) {
            let (narrow, wide) = (narrow.unwrap(), wide.unwrap());
            assert!(wide.low <= narrow.low && narrow.high <= wide.high);
        }
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| intervals(&figures, &options)), found, "threads do not matter");
    }
}

#[test]
fn a_paired_comparison_sees_what_separate_intervals_do_not() {
    // 2000 expressions of very different difficulty; the second model is right on 20 more and wrong on none more.
    let hits = |extra: usize| (0..2000).map(move |i| (f64::from(u8::from(i % 2 == 0 || i < 2 * extra)), 1.0));
    let figure = |extra| [groundling_eval::RatioFigure::percent("Acc", true, hits(extra))];
    let options = BootstrapOptions::default();
    let (a, b) = (figure(0), figure(20));
    let difference = paired_differences(&a, &b, &options)[0].unwrap();
    assert!((difference.difference - 1.0).abs() < 1e-12);
    assert!(difference.interval.unwrap().low > 0.0 && difference.p_value.unwrap() < 0.01, "{difference:?}");
    let (one, other) = (intervals(&a, &options)[0].unwrap(), intervals(&b, &options)[0].unwrap());
    assert!(one.high > other.low, "the intervals overlap");
    let same = paired_differences(&a, &a, &options)[0].unwrap();
    assert_eq!((same.difference, same.p_value), (0.0, Some(1.0)));
}

fn mask(height: u32, width: u32, pixels: &[bool]) -> BinaryMask {
    let size = ImageSize::new(height, width).unwrap();
    BinaryMask::from_fn(size, |row, column| pixels[((row * width + column) as usize * 7) % pixels.len()])
}

proptest! {
    #[test]
    fn overlap_is_counted_as_if_decoded(
        (height, width, side) in (1u32..40, 1u32..40, 1u32..60),
        a in proptest::collection::vec(any::<bool>(), 1..200),
        b in proptest::collection::vec(any::<bool>(), 1..200),
    ) {
        let (a, b) = (mask(height, width, &a), mask(height, width, &b));
        for size in [MaskSize::Original, MaskSize::Resized(side)] {
            let (left, right) = match size {
                MaskSize::Original => (a.clone(), b.clone()),
                MaskSize::Resized(side) => {
                    let square = ImageSize::square(side).unwrap();
                    (a.resized_nearest(square), b.resized_nearest(square))
                }
            };
            let counted = MaskOverlap::count(&Rle::from_mask(&a), &Rle::from_mask(&b), size).unwrap();
            let (intersection, union) = left.intersection_and_union(&right).unwrap();
            prop_assert_eq!(counted.intersection, intersection);
            prop_assert_eq!(counted.union(), union);
            prop_assert_eq!((counted.predicted, counted.truth), (left.area(), right.area()));
        }
    }

    #[test]
    fn spearman_sees_order_only(pairs in proptest::collection::vec((-50i32..50, -50i32..50), 2..60)) {
        let x: Vec<f64> = pairs.iter().map(|p| f64::from(p.0)).collect();
        let y: Vec<f64> = pairs.iter().map(|p| f64::from(p.1)).collect();
        let warped: Vec<f64> = x.iter().map(|v| (v / 20.0).exp()).collect();
        let negated: Vec<f64> = y.iter().map(|v| -v).collect();
        let rho = |x: &[f64], y: &[f64]| spearman(x, y).map(|s| s.rho);
        prop_assert_eq!(rho(&x, &y), rho(&warped, &y));
        prop_assert_eq!(rho(&x, &y), rho(&y, &x));
        prop_assert_eq!(rho(&x, &y).map(|r| -r), rho(&x, &negated));
        if let Some(found) = spearman(&x, &y) {
            prop_assert!((-1.0..=1.0).contains(&found.rho));
            prop_assert!(found.p_value.is_none_or(|p| (0.0..=1.0).contains(&p)));
        }
    }
}
