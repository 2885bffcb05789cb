//! Losses against closed forms and finite differences; published values are compared in `parity`.

use burn::tensor::{Device, Tensor};
use groundling_nn::losses::{
    Denominator, FocalLoss, binary_cross_entropy, box_l1, corners, dice, giou, iou, masked_cosine, paired_contrast,
    sigmoid_focal, two_class_cross_entropy,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::numbers::{assert_gradient, assert_near, list, tracked, uniform};

fn row(values: [f32; 4], device: &Device) -> Tensor<2> {
    Tensor::from_data([values], device)
}

const ALL: [Denominator; 3] = [Denominator::Guarded, Denominator::AtLeast(1e-9), Denominator::Plus(1e-6)];

fn bbox() -> impl Strategy<Value = [f32; 4]> {
    (0.0f32..1.0, 0.0f32..1.0, 0.05f32..0.9, 0.05f32..0.9).prop_map(|(x, y, w, h)| [x, y, w, h])
}

/// In `f64`, of the definition.
fn overlap(a: [f32; 4], b: [f32; 4]) -> (f64, f64) {
    let ends = |values: [f32; 4]| {
        let [x, y, w, h] = values.map(f64::from);
        [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
    };
    let (a, b) = (ends(a), ends(b));
    let area = |l: f64, t: f64, r: f64, b: f64| (r - l).max(0.0) * (b - t).max(0.0);
    let inner = area(a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3]));
    let hull = area(a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3]));
    let union = area(a[0], a[1], a[2], a[3]) + area(b[0], b[1], b[2], b[3]) - inner;
    (inner / union, inner / union - (hull - union) / hull)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, rng_seed: RngSeed::Fixed(3), ..ProptestConfig::default() })]

    #[test]
    fn overlaps_equal_their_definition(a in bbox(), b in bbox()) {
        let device = Device::flex();
        let (want_iou, want_giou) = overlap(a, b);
        for denominator in ALL {
            let got = f64::from(list(giou(row(a, &device), row(b, &device), denominator))[0]);
            prop_assert!((got - want_giou).abs() < 1e-3, "{:?}: {} not {}", denominator, got, want_giou);
            let back = list(giou(row(b, &device), row(a, &device), denominator))[0];
            prop_assert!((got - f64::from(back)).abs() < 1e-6, "symmetric");
            let got = f64::from(list(iou(row(a, &device), row(b, &device), denominator))[0]);
            prop_assert!((got - want_iou).abs() < 1e-3, "{:?}: {} not {}", denominator, got, want_iou);
        }
        let exact = f64::from(list(giou(row(a, &device), row(b, &device), Denominator::Guarded))[0]);
        prop_assert!((exact - want_giou).abs() < 5e-6);
        let itself = list(giou(row(a, &device), row(a, &device), Denominator::Guarded))[0];
        prop_assert!((itself - 1.0).abs() < 1e-6);
    }

    #[test]
    fn cross_entropies_equal_their_definition(logit in -30.0f64..30.0, target in 0.0f64..1.0, hard in any::<bool>()) {
        let device = Device::flex();
        let target = if hard { target.round() } else { target };
        let (x, t) = (Tensor::<1>::from_data([logit as f32], &device), Tensor::<1>::from_data([target as f32], &device));
        let (logit, target) = (f64::from(logit as f32), f64::from(target as f32));
        let (p, q) = (1.0 / (1.0 + (-logit).exp()), 1.0 / (1.0 + logit.exp()));
        let want = -(target * p.ln() + (1.0 - target) * q.ln());
        let got = f64::from(list(binary_cross_entropy(x.clone(), t.clone()))[0]);
        prop_assert!((got - want).abs() < 1e-6 + 1e-6 * want, "{} not {}", got, want);
        let want_focal = (0.25 * target + 0.75 * (1.0 - target)) * (p * (1.0 - target) + q * target).powi(2) * want;
        let got = f64::from(list(sigmoid_focal(x.clone(), t.clone(), FocalLoss::PUBLISHED))[0]);
        prop_assert!((got - want_focal).abs() < 1e-6 + 4e-6 * want_focal, "{} not {}", got, want_focal);
        let plain = sigmoid_focal(x.clone(), t.clone(), FocalLoss { alpha: None, gamma: 0.0 });
        prop_assert_eq!(list(plain), list(binary_cross_entropy(x, t)));
    }
}

#[test]
fn stated_examples() {
    let device = Device::flex();
    let (a, b) = (row([0.5, 0.5, 0.4, 0.2], &device), row([0.6, 0.4, 0.2, 0.4], &device));
    assert_near("L1", box_l1(a.clone(), b.clone()), Tensor::from_data([0.6], &device), 1e-6);
    assert_near("GIoU", giou(a.clone(), b, Denominator::AtLeast(1e-9)), Tensor::from_data([0.083333], &device), 1e-5);
    let (c, d) = (row([0.2, 0.2, 0.2, 0.2], &device), row([0.8, 0.8, 0.2, 0.2], &device));
    assert_near("apart", giou(c, d, Denominator::Guarded), Tensor::from_data([-0.875], &device), 1e-5);
    assert_near("corners", corners(a), row([0.3, 0.4, 0.7, 0.6], &device), 1e-6);
}

#[test]
fn empty_boxes_have_finite_values_and_gradients() {
    let device = tracked();
    let point = row([0.5, 0.5, 0.0, 0.0], &device);
    let full = row([0.5, 0.5, 0.2, 0.2], &device);
    for denominator in ALL {
        for (a, b) in [(&point, &point), (&point, &full), (&full, &point)] {
            let a = a.clone().require_grad();
            let value = giou(a.clone(), b.clone(), denominator);
            assert!(list(value.clone().inner())[0].is_finite(), "{denominator:?}");
            let gradient = list(a.grad(&value.sum().backward()).unwrap());
            assert!(gradient.iter().all(|value| value.is_finite()), "{denominator:?}: {gradient:?}");
        }
    }
    let none = Tensor::<2>::zeros([0, 4], &device);
    assert_eq!(giou(none.clone(), none.clone(), Denominator::Guarded).dims(), [0]);
    assert_eq!(box_l1(none.clone(), none).dims(), [0]);
}

#[test]
fn huge_logits_have_finite_values_and_gradients() {
    let device = tracked();
    let x = Tensor::<1>::from_data([-1000.0, -100.0, -50.0, 0.0, 50.0, 100.0, 1000.0], &device).require_grad();
    for target in [0.0, 1.0] {
        let t = Tensor::full([7], target, &device);
        for gamma in [0.0, 1.0, 1.5, 2.0, 5.0] {
            let loss = sigmoid_focal(x.clone(), t.clone(), FocalLoss { alpha: Some(0.25), gamma });
            let gradient = list(x.grad(&loss.clone().sum().backward()).unwrap());
            let loss = list(loss.inner());
            assert!(loss.iter().chain(&gradient).all(|v| v.is_finite()), "gamma {gamma}: {loss:?} {gradient:?}");
            let (wrong, right) = if target == 0.0 { (6, 0) } else { (0, 6) };
            assert!(loss[wrong] > 240.0 && loss[right] == 0.0, "gamma {gamma}: {loss:?}");
        }
        let gradient = list(x.grad(&binary_cross_entropy(x.clone(), t).sum().backward()).unwrap());
        assert!((gradient[3] - (0.5 - target)).abs() < 1e-6, "sigmoid(0) - t, not {}", gradient[3]);
    }
}

#[test]
fn a_gamma_with_infinite_slope_is_refused() {
    let refused = std::panic::catch_unwind(|| {
        let x = Tensor::<1>::zeros([1], &Device::flex());
        sigmoid_focal(x.clone(), x, FocalLoss { alpha: None, gamma: 0.5 })
    });
    let message = refused.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("gamma is 0.5"), "{message}");
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let device = tracked();
    let targets = Tensor::<2>::from_data([[0.0, 1.0, 0.3], [1.0, 0.0, 1.0]], &device);
    let logits = uniform("losses.logits", [2, 3], -2.0, 2.0, &device);
    assert_gradient(logits.clone(), 1e-2, 1e-3, |x| binary_cross_entropy(x, targets.clone()).sum());
    for gamma in [1.0, 2.0, 2.5] {
        let settings = FocalLoss { alpha: Some(0.25), gamma };
        assert_gradient(logits.clone(), 1e-2, 1e-3, |x| sigmoid_focal(x, targets.clone(), settings).sum());
    }
    assert_gradient(logits, 1e-2, 1e-3, |x| dice(x, targets.clone()));
    let boxes = uniform("losses.boxes", [5, 4], 0.2, 0.8, &device);
    let others = uniform("losses.others", [5, 4], 0.2, 0.8, &device);
    for denominator in ALL {
        assert_gradient(boxes.clone(), 1e-3, 5e-3, |x| giou(x, others.clone(), denominator));
    }
    assert_gradient(boxes, 1e-3, 2e-3, |x| box_l1(x, others.clone()));
    let maps = uniform("losses.maps", [1, 2, 2, 3], -2.0, 2.0, &device);
    let on = Tensor::<3>::from_data([[[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]], &device);
    assert_gradient(maps, 1e-2, 1e-3, |x| two_class_cross_entropy(x, on.clone(), [0.9, 1.1]));
    let other = uniform("losses.b", [3, 4], -1.0, 1.0, &device);
    let anchors = Tensor::<1>::from_data([1.0, 0.0, 1.0], &device);
    assert_gradient(uniform("losses.a", [3, 4], -1.0, 1.0, &device), 1e-3, 1e-2, |x| {
        paired_contrast(x, other.clone(), anchors.clone(), 0.5)
    });
}

#[test]
fn masks_that_agree_cost_nothing() {
    let device = Device::flex();
    let targets = Tensor::<2>::from_data([[1.0, 0.0, 1.0, 1.0], [0.0; 4]], &device);
    let sure = targets.clone().mul_scalar(200.0).sub_scalar(100.0);
    assert_near("dice", dice(sure.clone(), targets.clone()), Tensor::zeros([2], &device), 1e-6);
    // 2 * 0 + 1 over 1 + 3 + 1 for the first, over 4 + 0 + 1 for the second.
    assert_near("opposite", dice(sure.neg(), targets), Tensor::from_data([0.8, 0.8], &device), 1e-6);
}

#[test]
fn weights_of_classes_cancel_where_there_is_one() {
    let device = Device::flex();
    let maps = uniform("losses.maps", [2, 2, 5, 3], -2.0, 2.0, &device);
    let none = Tensor::<3>::zeros([2, 5, 3], &device);
    let plain = two_class_cross_entropy(maps.clone(), none.clone(), [1.0, 1.0]);
    assert_near("weights", two_class_cross_entropy(maps, none, [0.9, 1.1]), plain, 1e-6);
}

#[test]
fn contrast_has_the_properties_it_is_used_for() {
    let device = tracked();
    let (a, b) = (uniform("losses.a", [4, 6], -1.0, 1.0, &device), uniform("losses.b", [4, 6], -1.0, 1.0, &device));
    let ones = Tensor::<1>::ones([4], &device);
    let loss = |a: Tensor<2>, b: Tensor<2>| paired_contrast(a, b, ones.clone(), 0.05).inner();
    assert_near("either way", loss(a.clone(), b.clone()), loss(b.clone(), a.clone()), 1e-5);
    assert_near("lengths do not matter", loss(a.clone().mul_scalar(7.0), b.clone()), loss(a.clone(), b.clone()), 1e-4);
    let alone = paired_contrast(a.clone().narrow(0, 0, 1), b.clone().narrow(0, 0, 1), Tensor::ones([1], &device), 0.05);
    assert_near("a batch of one", alone.inner(), Tensor::zeros([1], &Device::flex()), 0.0);
    let none = paired_contrast(a.clone(), b, Tensor::zeros([4], &device), 0.05);
    assert_near("no anchor", none.inner(), Tensor::zeros([1], &Device::flex()), 0.0);
    let nothing = Tensor::<2>::zeros([4, 6], &device).require_grad();
    let gradient = nothing.grad(&paired_contrast(nothing.clone(), a, ones, 0.05).backward()).unwrap();
    assert!(list(gradient).iter().all(|value| value.is_finite()), "a vector of zeros");
}

#[test]
fn the_cosine_ignores_padding_and_leaves_its_goal_alone() {
    let device = tracked();
    let a = uniform("losses.goal", [2, 3, 5], -1.0, 1.0, &device).require_grad();
    let b = uniform("losses.made", [2, 3, 5], -1.0, 1.0, &device).require_grad();
    let valid = Tensor::<2>::from_data([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]], &device);
    let on = Tensor::<1>::ones([2], &device);
    let loss = masked_cosine(a.clone(), b.clone(), valid.clone(), on.clone());
    let changed = b.clone().slice_assign([0..1, 2..3, 0..5], Tensor::full([1, 1, 5], 9.0, &device));
    let again = masked_cosine(a.clone(), changed, valid.clone(), on.clone());
    assert_near("padding", again.inner(), loss.clone().inner(), 1e-6);
    let gradients = loss.backward();
    assert!(a.grad(&gradients).is_none() && b.grad(&gradients).is_some());
    let same = masked_cosine(a.clone(), a.clone(), valid.clone(), on).inner();
    assert_near("itself", same, Tensor::zeros([1], &Device::flex()), 1e-6);
    let off = masked_cosine(a.clone(), b, valid, Tensor::zeros([2], &device)).inner();
    assert_near("no flag", off, Tensor::ones([1], &Device::flex()), 0.0);
}
