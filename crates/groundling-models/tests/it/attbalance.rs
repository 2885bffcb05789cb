//! What must hold for the losses on attention whatever goes in.

use burn::tensor::{Device, Tensor};
use groundling_core::{BoxCxcywh, ContentRect};
use groundling_eval::correlation::spearman;
use groundling_models::attbalance::{
    AttBalance, Attended, Attentive, Balanced, BoxRatio, Domain, Rho, Smoothed, Step, content_shares, relative,
};
use groundling_models::contract::{Batch, SampleTruth};
use groundling_models::qrnet::{QrNet, QrNetConfig};
use groundling_models::transvg::{Criterion, TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_nn::checkpoint::initialise;
use groundling_testkit::fill;

use crate::support::{self, array, tensor};

const SIZES: [usize; 4] = [3, 4, 2, 20];
const GRIDS: [[usize; 2]; 2] = [[4, 4], [2, 2]];

fn correlate(x: &[f64], y: &[f64]) -> Option<f64> {
    spearman(x, y).map(|correlation| correlation.rho)
}

fn logits(name: &str, span: f64, device: &Device) -> Tensor<4> {
    tensor::<4>(&fill::uniform(name, &SIZES, -span, span, 0), device).require_grad()
}

/// Sample 1 has its right half hidden on both maps.
fn padding() -> Vec<bool> {
    let fine = |cell: usize| cell % 4 >= 2;
    let coarse = |cell: usize| cell % 2 >= 1;
    (0..4)
        .flat_map(|sample| {
            (0..16)
                .map(move |cell| sample == 1 && fine(cell))
                .chain((0..4).map(move |cell| sample == 1 && coarse(cell)))
        })
        .collect()
}

fn attended(logits: Tensor<4>, device: &Device) -> Attended {
    let boxes = tensor::<3>(&fill::uniform("boxes", &[1, 4, 4], 0.2, 0.6, 0), device).require_grad();
    Attended { boxes, logits, other: None, padding: padding(), other_padding: Vec::new(), grids: GRIDS.to_vec() }
}

fn truths() -> Vec<SampleTruth> {
    let truth = |bbox| SampleTruth { bbox: Some(bbox), ..SampleTruth::default() };
    let boxes = [(0.3, 0.4, 0.3, 0.5), (0.2, 0.5, 0.2, 0.2), (0.7, 0.6, 0.5, 0.3), (0.4, 0.4, 0.6, 0.6)];
    boxes.into_iter().map(|(x, y, w, h)| truth(BoxCxcywh::new(x, y, w, h))).collect()
}

fn losses(attended: &Attended, teacher: Option<&Attended>, config: &AttBalance) -> Balanced {
    let (truths, shares) = (truths(), [1.0; 4]);
    let step = Step {
        attended,
        teacher,
        truths: &truths,
        content_shares: &shares,
        box_weights: [1.0, 1.0],
        correlate: &correlate,
    };
    step.losses(config, &mut Smoothed::default())
}

fn total(balanced: &Balanced) -> f64 {
    f64::from(balanced.total.clone().into_scalar::<f32>())
}

#[test]
fn nothing_under_padding_matters() {
    let device = Device::flex().autodiff();
    let clean = fill::uniform("logits", &SIZES, -4.0, 4.0, 0);
    let mut dirty = clean.clone();
    let hidden = padding();
    let at = |index: usize| hidden[index / 40 % 4 * 20 + index % 20];
    for (index, value) in dirty.data.iter_mut().enumerate() {
        if at(index) {
            *value = [f64::NAN, f64::INFINITY, 600.0][index % 3];
        }
    }
    let teacher = attended(tensor(&dirty, &device), &device);
    let found = [clean, dirty].map(|values| {
        let logits = tensor::<4>(&values, &device).require_grad();
        let balanced = losses(&attended(logits.clone(), &device), Some(&teacher), &AttBalance::default());
        let grads = balanced.total.backward();
        (total(&balanced), array(logits.grad(&grads).unwrap()).data)
    });
    assert_eq!(found[0], found[1]);
    for (index, gradient) in found[0].1.iter().enumerate() {
        assert!(!at(index) || *gradient == 0.0, "a gradient of padding");
    }
}

#[test]
fn gradients_pull_into_the_box() {
    let device = Device::flex().autodiff();
    let logits = logits("logits", 4.0, &device);
    let config = AttBalance { use_mrc: false, use_dat: false, rho: Rho::Off, ..AttBalance::default() };
    let balanced = losses(&attended(logits.clone(), &device), None, &config);
    let grads = balanced.total.backward();
    let gradients = array(logits.grad(&grads).unwrap()).data;
    for (row, values) in gradients.chunks(20).enumerate() {
        assert!(values.iter().sum::<f64>().abs() < 1e-6, "row {row}");
        assert!(values.iter().any(|&value| value < 0.0) && values.iter().any(|&value| value > 0.0));
    }
    // Heads are alike.
    for layer in gradients.chunks(40) {
        assert_eq!(layer[..20], layer[20..]);
    }
    let inside = balanced.maps.log_inside.clone();
    let expected = array(inside.mul_scalar(-2.0)).data;
    assert!(array(balanced.rac).data.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6));
}

#[test]
fn numbers_of_any_size_are_finite() {
    let device = Device::flex().autodiff();
    for domain in [Domain::Visual, Domain::AllKeys] {
        let logits = logits("logits", 600.0, &device);
        let other = tensor::<4>(&fill::uniform("other", &[3, 4, 2, 5], -600.0, 600.0, 0), &device);
        let attended = Attended {
            other: Some(other),
            other_padding: (0..20).map(|index| index % 5 == 4).collect(),
            ..attended(logits.clone(), &device)
        };
        let teacher = Attended { logits: attended.logits.clone().mul_scalar(-1.0).detach(), ..attended.clone() };
        let balanced = losses(&attended, Some(&teacher), &AttBalance { domain, ..AttBalance::default() });
        let grads = balanced.total.backward();
        assert!(total(&balanced).is_finite());
        assert!(array(logits.grad(&grads).unwrap()).data.iter().all(|value| value.is_finite()));
        assert!(array(balanced.mrc).data.iter().all(|&value| value >= 0.0));
    }
}

#[test]
fn the_teacher_that_is_the_student_asks_for_nothing() {
    let device = Device::flex().autodiff();
    let logits = logits("logits", 4.0, &device);
    let student = attended(logits.clone(), &device);
    let config = AttBalance { use_rac: false, use_dat: false, ..AttBalance::default() };
    let balanced = losses(&student, Some(&student), &config);
    assert!(array(balanced.mrc.clone()).data.iter().all(|&value| value.abs() < 1e-6));
    let grads = balanced.total.backward();
    assert!(array(logits.grad(&grads).unwrap()).data.iter().all(|&value| value.abs() < 1e-8));
}

#[test]
fn layers_weigh_by_how_they_differ() {
    assert!((relative(&[0.9, -0.8, 0.7, 0.85]).iter().sum::<f64>() - 4.0).abs() < 1e-12);
    let (one, two) = (relative(&[0.1, 0.5]), relative(&[0.3, 0.7]));
    assert!(one.iter().zip(two).all(|(a, b)| (a - b).abs() < 1e-12));
    let device = Device::flex().autodiff();
    let student = attended(logits("logits", 4.0, &device), &device);
    let with = |rho: Rho| losses(&student, None, &AttBalance { rho, ..AttBalance::default() });
    assert_eq!(total(&with(Rho::Fixed(vec![0.4; 3]))), total(&with(Rho::Off)));
    let strong = with(Rho::Fixed(vec![1.0, -1.0, -1.0]));
    assert!(strong.layer_weights[1] < 1.0);
    let floor = AttBalance { rho: Rho::Fixed(vec![1.0, -1.0, -1.0]), rho_floor: Some(0.5), ..AttBalance::default() };
    assert_eq!(losses(&student, None, &floor).layer_weights[1], 0.5);
    // Smoothing begins with what was measured first and follows slowly.
    let (truths, shares) = (truths(), [1.0; 4]);
    let mut smoothed = Smoothed(Some(vec![1.0; 3]));
    let step = Step {
        attended: &student,
        teacher: None,
        truths: &truths,
        content_shares: &shares,
        box_weights: [1.0; 2],
        correlate: &correlate,
    };
    let measured = step.losses(&AttBalance::default(), &mut Smoothed::default()).rho;
    let found = step.losses(&AttBalance { rho: Rho::Ema, ..AttBalance::default() }, &mut smoothed).rho;
    for (found, measured) in found.iter().zip(&measured) {
        assert!((found - (0.9 + 0.1 * measured)).abs() < 1e-12);
    }
    assert_eq!(smoothed.0, Some(found));
}

#[test]
fn weights_of_samples_are_bounded_constants() {
    let device = Device::flex().autodiff();
    let logits = logits("logits", 4.0, &device);
    let student = attended(logits.clone(), &device);
    let base = AttBalance { rho: Rho::Off, ..AttBalance::default() };
    let balanced = losses(&student, None, &base);
    for weight in array(balanced.attention_weight.clone()).data {
        assert!((1.0..1.5 + 1e-6).contains(&weight), "{weight}");
    }
    let sizes = array(balanced.size_weight.clone()).data;
    assert!(sizes.iter().all(|weight| (1.0..1.2312).contains(weight)));
    assert!(sizes[1] > sizes[3], "the smaller box weighs more");
    let content = AttBalance { box_ratio: BoxRatio::Content, ..base.clone() };
    assert!(array(losses(&student, None, &content).size_weight).data.iter().zip(&sizes).all(|(a, b)| a == b));
    // The weights pass no gradient: that of the total is that of the attention losses alone.
    let gradient = |balanced: &Balanced| {
        let grads = balanced.total.backward();
        array(logits.grad(&grads).unwrap()).data
    };
    let alone =
        losses(&student, None, &AttBalance { alpha_1: Some(0.0), alpha_g: Some(0.0), use_dat: false, ..base.clone() });
    let (with, without) = (gradient(&balanced), gradient(&alone));
    assert!(with.iter().zip(&without).all(|(a, b)| (a - b).abs() < 1e-7));
    let through = losses(&student, None, &AttBalance { difficulty_gradient: true, ..base });
    assert!(gradient(&through).iter().zip(&without).any(|(a, b)| (a - b).abs() > 1e-7));
}

#[test]
fn samples_without_cells_or_boxes_are_left_out() {
    let device = Device::flex().autodiff();
    let logits = logits("logits", 4.0, &device);
    let mut student = attended(logits.clone(), &device);
    student.padding[60..].fill(true);
    let balanced = losses(&student, Some(&student), &AttBalance::default());
    let rac = array(balanced.rac.clone()).data;
    assert!((0..3).all(|layer| rac[4 * layer + 3] == 0.0) && rac[0] > 0.0);
    let grads = balanced.total.backward();
    let gradients = array(logits.grad(&grads).unwrap()).data;
    assert!(gradients.iter().all(|value| value.is_finite()));
    assert!((0..3).all(|layer| gradients[160 * layer + 120..160 * (layer + 1)].iter().all(|&value| value == 0.0)));

    let student = attended(logits, &device);
    let mut fewer = truths();
    fewer[0].bbox = None;
    let step = Step {
        attended: &student,
        teacher: None,
        truths: &fewer,
        content_shares: &[1.0; 4],
        box_weights: [1.0; 2],
        correlate: &correlate,
    };
    let balanced = step.losses(&AttBalance::default(), &mut Smoothed::default());
    assert!(total(&balanced).is_finite());
    let grads = balanced.total.backward();
    let of_boxes = array(student.boxes.grad(&grads).unwrap()).data;
    assert!(of_boxes[..4].iter().all(|&value| value == 0.0) && of_boxes[4..].iter().any(|&value| value != 0.0));
}

fn batch(side: usize, device: &Device) -> Batch {
    let side = side as u32;
    Batch {
        canvases: tensor(&fill::uniform("canvas", &[2, 3, side as usize, side as usize], -1.0, 1.0, 0), device),
        contents: vec![
            ContentRect { top: 0, left: 0, height: side, width: side },
            ContentRect { top: side / 4, left: 0, height: side / 2, width: side },
        ],
        ids: Tensor::from_data([[101, 2417, 4524, 102, 0], [101, 1996, 2187, 2304, 102]], device),
        lengths: vec![4, 5],
        erased: None,
        same_canvas: Batch::own_canvases(2),
    }
}

/// Without any part the losses are the system's own, and looking at attention changes no box.
#[test]
fn switched_off_it_is_the_system() {
    fn check<M: Attentive>(config: &M::Config) {
        let _alone = support::alone();
        let device = Device::flex().autodiff();
        device.seed(4);
        let model = M::init(config, &device).unwrap();
        initialise(&model);
        let batch = batch(M::input(config).side as usize, &device);
        let truths = truths()[..2].to_vec();
        let layers = M::supervised_layers(config);
        device.seed(8);
        let attended = model.attend(&batch, &layers);
        device.seed(8);
        let plain = model.losses(&batch, &truths, &M::Criterion::default());
        let off = AttBalance { use_rac: false, use_mrc: false, use_dat: false, ..AttBalance::default() };
        let step = Step {
            attended: &attended,
            teacher: None,
            truths: &truths,
            content_shares: &content_shares(&batch.contents, M::input(config).side as usize),
            box_weights: M::box_weights(&M::Criterion::default()),
            correlate: &correlate,
        };
        let balanced = step.losses(&off, &mut Smoothed::default());
        let plain = f64::from(plain.total.into_scalar::<f32>());
        assert!((total(&balanced) - plain).abs() < 1e-6 * plain, "{}: {} {plain}", M::NAME, total(&balanced));
        assert_eq!(attended.logits.dims()[0], layers.len());
        let on = step.losses(&AttBalance::default(), &mut Smoothed::default());
        assert!(total(&on) > total(&balanced));
    }
    check::<TransVg>(&TransVgConfig::tiny());
    check::<Vltvg>(&VltvgConfig::tiny());
    check::<QrNet>(&QrNetConfig::tiny());
}

#[test]
fn one_degenerate_pair_spoils_nothing() {
    let device = Device::flex().autodiff();
    let found = |unguarded_giou: bool| {
        let boxes = Tensor::<2>::from_data([[0.5, 0.5, 0.0, 0.0], [0.4, 0.4, 0.3, 0.3]], &device).require_grad();
        let point = SampleTruth { bbox: Some(BoxCxcywh::new(0.5, 0.5, 0.0, 0.0)), ..SampleTruth::default() };
        let criterion = Criterion { unguarded_giou, ..Criterion::default() };
        let losses = TransVg::losses_of(boxes.clone(), &[point, truths()[0].clone()], &criterion);
        let grads = losses.total.backward();
        array(boxes.grad(&grads).unwrap()).data.iter().all(|value| value.is_finite())
    };
    assert!(found(false) && !found(true));
}
