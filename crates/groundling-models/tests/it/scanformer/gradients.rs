//! The training pass: the same as inference where nothing is random, and where its gradients go.

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use groundling_core::BoxCxcywh;
use groundling_models::contract::{Batch, SampleTruth, Trainable};
use groundling_models::scanformer::{Criterion, Manner, Mixing, Trained};
use groundling_nn::checkpoint::gradients;

use super::*;

fn batch(device: &Device, seed: u64, padding: usize) -> Batch {
    let images: Vec<Tensor<4>> = CONTENTS.iter().map(|&content| tensor(&canvas(content, seed))).collect();
    let length = 7 + padding;
    let ids: Vec<i64> =
        IDS.iter().flat_map(|ids| (0..length).map(|index| ids.get(index).map_or(0, |&id| i64::from(id)))).collect();
    Batch {
        canvases: Tensor::from_data(Tensor::cat(images, 0).into_data(), device),
        contents: CONTENTS.to_vec(),
        ids: Tensor::<2, Int>::from_data(TensorData::new(ids, [2, length]), device),
        lengths: IDS.map(<[u32]>::len).to_vec(),
        erased: None,
        same_canvas: Batch::own_canvases(2),
    }
}

fn truths() -> Vec<SampleTruth> {
    [BoxCxcywh::new(0.3, 0.4, 0.2, 0.3), BoxCxcywh::new(0.6, 0.5, 0.3, 0.4)]
        .map(|bbox| SampleTruth { bbox: Some(bbox), ..SampleTruth::default() })
        .to_vec()
}

/// The same random numbers everywhere: this noise, and soft (1) or hard (0) values.
fn mixing(device: &Device, noise: f32, mix: f32) -> Vec<Mixing> {
    let level = |count: usize| Mixing {
        noise: Tensor::full([2, count], noise, device).require_grad(),
        mix: Tensor::full([2, count], mix, device),
        nudge: Some(Tensor::zeros([2, count], device).require_grad()),
    };
    vec![level(16), level(64)]
}

/// A criterion of one kind of loss.
fn only_boxes() -> Criterion {
    Criterion { lambda_sparse: 0.0, ..Criterion::default() }
}

fn by_name(model: &ScanFormer, grads: &Gradients) -> BTreeMap<String, Vec<f32>> {
    gradients(model, grads).into_iter().map(|(info, values)| (info.name, values)).collect()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

#[test]
fn without_noise_training_is_inference() {
    let device = Device::flex().autodiff();
    for (nested, whole_levels) in [(true, 1), (false, 1), (true, 2), (true, 3)] {
        let config = ScanFormerConfig { whole_levels, ..config(nested) };
        for seed in 1..5 {
            let model = model(&config, seed, &device);
            let trained =
                model.forward_training(&batch(&device, seed, 2), &mixing(&device, 0.0, 0.0), Manner::CHOOSING);
            let chosen = trained.levels.iter().map(|level| level.choice.is_some());
            assert!(chosen.eq((0..3).map(|level| level >= whole_levels)));
            let plain = self::model(&config, seed, &Device::flex());
            for which in 0..2 {
                let grounded = ground(&plain, which, seed, &threshold(0.0));
                let found = support::array(trained.boxes.clone().narrow(0, which, 1)).data;
                assert!(apart(&boxes(&grounded), &found) < 1e-5);
                for (level, trace) in trained.levels.iter().zip(&grounded.levels).skip(whole_levels) {
                    let choice = level.choice.as_ref().unwrap();
                    let row = |values: &Tensor<2>| support::array(values.clone().narrow(0, which, 1)).data;
                    let (factors, kept) = (row(&choice.factors), row(&choice.kept));
                    let patches = |values: &[f64]| -> Vec<usize> {
                        (0..values.len()).filter(|&index| values[index] == 1.0).collect()
                    };
                    assert_eq!(patches(&kept), trace.kept);
                    // Hard values are exactly 0 or 1.
                    assert_eq!(factors, kept);
                }
            }
        }
    }
}

#[test]
fn the_dense_criterion_is_the_dense_model() {
    let device = Device::flex().autodiff();
    let model = model(&config(true), 2, &device);
    let trained = model.forward_training(&batch(&device, 2, 0), &[], Manner::DENSE);
    assert!(trained.levels.iter().all(|level| level.choice.is_none()));
    let plain = self::model(&config(true), 2, &Device::flex());
    for which in 0..2 {
        let grounded = ground(&plain, which, 2, &threshold(f32::NEG_INFINITY));
        let found = support::array(trained.boxes.clone().narrow(0, which, 1)).data;
        assert!(apart(&boxes(&grounded), &found) < 1e-5);
    }
    let losses = model.losses_of(&trained, &truths(), &Criterion { dense: true, ..Criterion::default() });
    assert!(losses.terms.iter().all(|(name, _)| !name.starts_with("sparse") && !name.starts_with("kept")));
}

/// Merging changes neither answers nor losses. With the losses of the paper and nested choices it changes no gradient either; what else reads
/// patches one by one is shared evenly among those that are one.
#[test]
fn merging_in_training_is_exact() {
    let device = Device::flex().autodiff();
    let host = |tensor: Tensor<2>| support::array(tensor).data;
    let plain = Criterion::default();
    let aside = Criterion { target_patches: vec![0.7], answer_attention: vec![0.4], ..Criterion::default() };
    let mut dropped = 0;
    for (nested, hard, noise, criterion) in [
        (true, false, 0.3, &plain),
        (true, true, -0.5, &plain),
        (true, true, 50.0, &plain),
        (true, true, -50.0, &plain),
        (true, true, -0.5, &aside),
        (false, true, -1.0, &aside),
    ] {
        for seed in 2..5 {
            let model = model(&config(nested), seed, &device).for_training(criterion).unwrap();
            let [(boxes, terms, patches, grads), other] = [true, false].map(|merge| {
                let mixing = mixing(&device, noise, 0.7);
                let manner = Manner { hard, merge, ..Manner::CHOOSING };
                let trained = model.forward_training(&batch(&device, seed, 2), &mixing, manner);
                let losses = model.losses_of(&trained, &truths(), criterion);
                let gradients = losses.total.backward();
                let mut by_name = by_name(&model, &gradients);
                for (level, mixing) in mixing.iter().enumerate() {
                    let of_factors = host(mixing.nudge.as_ref().unwrap().grad(&gradients).unwrap());
                    by_name.insert(format!("factors.{level}"), of_factors.iter().map(|&value| value as f32).collect());
                }
                let factors =
                    trained.levels[1..].iter().map(|level| host(level.choice.as_ref().unwrap().factors.clone()));
                dropped += factors.flatten().filter(|&factor| factor == 0.0).count();
                let terms: Vec<f64> =
                    losses.terms.iter().flat_map(|(_, value)| support::array(value.clone()).data).collect();
                let last = trained.levels.last().unwrap();
                let valid = last.valid.clone().unsqueeze_dim::<3>(2);
                let patches = support::array(last.patches.clone() * valid).data;
                (support::array(trained.boxes.clone()).data, terms, patches, by_name)
            });
            assert!(
                apart(&boxes, &other.0) < 1e-5 && apart(&terms, &other.1) < 1e-5 && apart(&patches, &other.2) < 1e-4
            );
            if criterion == &plain {
                assert_eq!(grads.len(), other.3.len());
                for (name, values) in &grads {
                    let far = values.iter().zip(&other.3[name]).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                    assert!(far <= 1e-6 + 1e-4 * largest(&other.3[name]), "{name}: {far} of {}", largest(values));
                }
            }
        }
    }
    assert!(dropped > 1000, "{dropped} patches were dropped");
}

/// The gradient of a value is that of its factor times the slope of the saturating sigmoid, whichever value went forward.
#[test]
fn gradients_go_straight_through() {
    let device = Device::flex().autodiff();
    for mix in [0.0, 1.0] {
        let model = model(&config(true), 2, &device);
        let mixing = mixing(&device, 0.3, mix);
        let trained = model.forward_training(&batch(&device, 2, 0), &mixing, Manner::CHOOSING);
        let grads = model.losses_of(&trained, &truths(), &Criterion::default()).total.backward();
        let mut alive = 0;
        for (level, mixing) in trained.levels[1..].iter().zip(&mixing) {
            let choice = level.choice.as_ref().unwrap();
            let host = |tensor: Tensor<2>| support::array(tensor).data;
            let (values, gate) = (host(choice.values.clone()), host(choice.gate.clone()));
            let of_value = host(mixing.noise.grad(&grads).unwrap());
            let of_factor = host(mixing.nudge.as_ref().unwrap().grad(&grads).unwrap());
            for index in 0..values.len() {
                let noisy = values[index] + 0.3;
                let sigmoid = 1.0 / (1.0 + (-noisy).exp());
                let slope = if noisy.abs() < 11f64.ln() { 1.2 * sigmoid * (1.0 - sigmoid) } else { 0.0 };
                assert!((of_value[index] - of_factor[index] * slope).abs() < 1e-6 + 1e-4 * of_value[index].abs());
                if gate[index] == 0.0 {
                    assert_eq!((of_value[index], of_factor[index]), (0.0, 0.0));
                } else if slope > 0.0 {
                    assert!(of_value[index] != 0.0);
                    alive += 1;
                }
            }
        }
        assert!(alive > 10);
    }
}

/// Losses of what is read leave the choices alone where the guide alone is to teach them; it does.
#[test]
fn the_guide_can_be_all_that_teaches_choices() {
    let device = Device::flex().autodiff();
    let _alone = support::alone();
    for (weight, hard, merge) in [(0.0, false, false), (0.0, true, true), (1.0, false, false), (1.0, true, true)] {
        let criterion = Criterion { guided_selection: vec![weight], ..Criterion::default() };
        let model = model(&config(true), 2, &device);
        let found = [false, true].map(|apart| {
            let manner = Manner { hard, merge, apart, ..Manner::CHOOSING };
            let trained = model.forward_training(&batch(&device, 2, 0), &mixing(&device, 0.3, 0.0), manner);
            let losses = model.losses_of(&trained, &truths(), &criterion);
            let total = losses.total.clone().into_scalar::<f32>();
            let gradients = by_name(&model, &losses.total.backward());
            let largest = |part: &str| {
                let of_part = gradients.iter().filter(|(name, _)| name.starts_with(part));
                of_part.map(|(_, values)| largest(values)).fold(0.0, f32::max)
            };
            (total, largest("select."), largest("layers.0."))
        });
        let [usual, apart] = found;
        assert_eq!(usual.0, apart.0, "the losses stay");
        assert!(usual.1 > 0.0 && apart.2 > 0.0, "{found:?}");
        assert_eq!(apart.1 > 0.0, weight > 0.0, "{found:?}");
    }
    let without = Criterion { guide_alone: true, ..Criterion::default() };
    assert_eq!(without.check().unwrap_err().field, "guide_alone");
    assert!(Criterion { guided_selection: vec![0.0, 1.0], ..without }.check().is_ok());
}

/// On the soft branch the loss is smooth: a step along the gradient changes it by what the gradient says. Everything can be chosen in the flat
/// variant, so no gate moves.
#[test]
fn gradients_are_derivatives_where_all_is_soft() {
    let device = Device::flex().autodiff();
    let config = config(false);
    let batch = batch(&device, 3, 0);
    let mixing = mixing(&device, 0.2, 1.0);
    let loss = |model: &ScanFormer| {
        let trained = model.forward_training(&batch, &mixing, Manner::CHOOSING);
        model.losses_of(&trained, &truths(), &Criterion::default()).total
    };
    let start = model(&config, 3, &device);
    let found = by_name(&start, &loss(&start).backward());
    let weights = weights(&config, 3);
    for part in ["select.", "layers.0.", "const_token", "reg_token", "pse.", "text.", "patch.", "modality"] {
        let chosen = |name: &str| name.starts_with(part);
        let square: f64 = found
            .iter()
            .filter(|(name, _)| chosen(name))
            .flat_map(|(_, values)| values)
            .map(|&value| f64::from(value).powi(2))
            .sum();
        assert!(square > 0.0, "{part}");
        // Along the gradient the loss changes by 0.02 in either direction, far above its rounding.
        let step = 0.01 / square;
        let moved = |direction: f64| {
            let tensors = weights.tensors().iter().map(|(name, tensor)| {
                let mut values = tensor.read_f32().unwrap();
                if chosen(name) {
                    let gradient = &found[name];
                    for (value, gradient) in values.iter_mut().zip(gradient) {
                        *value += (direction * step * f64::from(*gradient)) as f32;
                    }
                }
                (name.clone(), StoredTensor::from_values(tensor.shape(), values))
            });
            let fresh = ScanFormer::new(&config, &device).unwrap();
            let (model, _) = load_into(fresh, &Checkpoint::from_tensors(tensors), &[]).unwrap();
            f64::from(loss(&model).into_scalar::<f32>())
        };
        let slope = (moved(1.0) - moved(-1.0)) / (2.0 * step);
        assert!((slope / square - 1.0).abs() < 0.02, "{part}: {slope} instead of {square}");
    }
}

/// The loss of the last level alone reaches everything, the phrase's layers through the cache.
#[test]
fn the_last_level_trains_everything() {
    let device = Device::flex().autodiff();
    let model = model(&config(true), 2, &device);
    let criterion = Criterion { lambda_l1: vec![0.0, 0.0, 5.0], lambda_giou: vec![0.0, 0.0, 2.0], ..only_boxes() };
    let trained = model.forward_training(&batch(&device, 2, 0), &mixing(&device, 0.0, 1.0), Manner::CHOOSING);
    let found = by_name(&model, &model.losses_of(&trained, &truths(), &criterion).total.backward());
    for part in [
        "select.",
        "layers.0.",
        "layers.3.",
        "text.word",
        "const_token",
        "reg_token",
        "pse.grid",
        "pse.fc1",
        "pse.fc2",
        "patch.",
    ] {
        let all: Vec<&Vec<f32>> =
            found.iter().filter(|(name, _)| name.starts_with(part)).map(|(_, values)| values).collect();
        assert!(!all.is_empty() && all.iter().all(|values| largest(values) > 0.0), "{part}");
    }
}

#[test]
fn the_right_share_costs_nothing() {
    let device = Device::flex().autodiff();
    let model = model(&config(true), 2, &device);
    // So much noise that everything is kept.
    let trained = model.forward_training(&batch(&device, 2, 0), &mixing(&device, 50.0, 1.0), Manner::CHOOSING);
    let losses = |beta: f64| {
        let criterion =
            Criterion { lambda_l1: vec![0.0], lambda_giou: vec![0.0], beta: vec![beta], ..Criterion::default() };
        model.losses_of(&trained, &truths(), &criterion)
    };
    let right = losses(1.0);
    assert!(right.total.clone().into_scalar::<f32>().abs() < 1e-12);
    let found = by_name(&model, &right.total.backward());
    assert!(found.values().all(|values| largest(values) < 1e-6));
    let wrong = losses(0.5);
    assert!((wrong.total.into_scalar::<f32>() - 0.5).abs() < 1e-5);
    assert!(wrong.terms.iter().all(|(name, _)| name != "sparse.0"));
    let kept = |name: &str| wrong.terms.iter().find(|(known, _)| known == name).unwrap().1.clone().into_scalar::<f32>();
    assert!((kept("kept.1") - 1.0).abs() < 1e-6 && (kept("kept.2") - 1.0).abs() < 1e-6);
}

/// Auxiliary losses train heads that the published model does not have, and what is before them.
#[test]
fn auxiliary_losses_have_heads_of_their_own() {
    use groundling_models::contract::TruthObject;
    use groundling_nn::checkpoint::parameters;

    let _alone = support::alone();
    let device = Device::flex().autodiff();
    device.seed(1);
    let criterion = Criterion {
        lambda_l1: vec![0.0],
        lambda_giou: vec![0.0],
        lambda_sparse: 0.0,
        target_patches: vec![1.0],
        patch_classes: vec![1.0],
        classes: 3,
        guided_selection: vec![1.0],
        named_patches: vec![1.0],
        ..Criterion::default()
    };
    let plain = model(&config(true), 2, &device);
    let names = parameters(&plain);
    let model = plain.for_training(&criterion).unwrap();
    let mut truths = truths();
    for (index, truth) in truths.iter_mut().enumerate() {
        let bbox = truth.bbox.unwrap();
        truth.objects = vec![TruthObject {
            bbox,
            class: Some(index),
            unshown_classes: 0,
            is_target: true,
            named: Some([true, index % 2 == 0]),
        }];
    }
    let trained: Trained = model.forward_training(&batch(&device, 2, 0), &mixing(&device, 0.0, 1.0), Manner::CHOOSING);
    let losses = model.losses_of(&trained, &truths, &criterion);
    let expected = [
        ["target.0", "target.1", "target.2"].as_slice(),
        &["class.0", "class.1", "class.2"],
        &["named.0", "named.1", "named.2"],
        &["guide.1", "guide.2"],
    ]
    .concat();
    let mut sum = 0.0;
    for name in expected {
        let (_, value) = losses.terms.iter().find(|(known, _)| known == name).unwrap();
        let value = value.clone().into_scalar::<f32>();
        assert!(value > 0.0, "{name}");
        sum += value;
    }
    assert!((losses.total.clone().into_scalar::<f32>() - sum).abs() < 1e-4 * sum);
    // Classes that are no alternatives cost nothing; its own is one whatever they say.
    let of_classes = |unshown: [u64; 2]| {
        let mut truths = truths.clone();
        for (truth, unshown_classes) in truths.iter_mut().zip(unshown) {
            truth.objects[0].unshown_classes = unshown_classes;
        }
        let losses = model.losses_of(&trained, &truths, &criterion);
        losses.terms.into_iter().find(|(name, _)| name == "class.2").unwrap().1.into_scalar::<f32>()
    };
    let usual = of_classes([0, 0]);
    assert!(of_classes([0b100, 0]) < usual && of_classes([0b110, 0b101]) < of_classes([0b100, 0]));
    assert!((of_classes([0b001, 1 << 63]) - usual).abs() < 1e-6);
    let found = by_name(&model, &losses.total.backward());
    for part in
        ["aux.target", "aux.class", "aux.norm", "aux.named.head", "aux.named.norm", "select.", "layers.0.", "text.word"]
    {
        assert!(found.iter().any(|(name, values)| name.starts_with(part) && largest(values) > 0.0), "{part}");
    }
    assert!(names.len() < parameters(&model).len());
    assert_eq!(parameters(&model.for_release(&criterion)), names);
    let refused = self::model(&config(true), 2, &device).for_training(&Criterion { classes: 0, ..criterion });
    assert_eq!(refused.unwrap_err().field, "classes");
}

/// What the loss of the answer's attention measures is what inference shows.
#[test]
fn the_attention_of_answers_is_trained_as_it_is_shown() {
    let device = Device::flex().autodiff();
    let config = config(true);
    let model = model(&config, 2, &device);
    let criterion = Criterion {
        lambda_l1: vec![0.0],
        lambda_giou: vec![0.0],
        dense: true,
        answer_attention: vec![1.0],
        ..Criterion::default()
    };
    let trained = model.forward_training(&batch(&device, 2, 1), &[], Manner::DENSE);
    let losses = model.losses_of(&trained, &truths(), &criterion);
    let plain = self::model(&config, 2, &Device::flex());
    let options = GroundOptions { attention: true, ..threshold(f32::NEG_INFINITY) };
    let shown: Vec<Grounded> = (0..2).map(|which| ground(&plain, which, 2, &options)).collect();
    for level in 0..config.levels {
        let loss = |(grounded, truth): (&Grounded, &SampleTruth)| -> f64 {
            let trace = &grounded.levels[level];
            let map = trace.attention.as_ref().unwrap().last().unwrap();
            let target = truth.bbox.unwrap().to_xyxy();
            let side = 1.0 / trace.grid as f64;
            let touched = |patch: usize| {
                let (row, column) = ((patch / trace.grid) as f64 * side, (patch % trace.grid) as f64 * side);
                column < target.x1 && column + side > target.x0 && row < target.y1 && row + side > target.y0
            };
            let shares = trace.kept.iter().zip(map).map(|(&patch, &share)| (touched(patch), f64::from(share)));
            let (inside, all) = shares.fold((0.0, 0.0), |(inside, all), (touched, share)| {
                (inside + if touched { share } else { 0.0 }, all + share)
            });
            -(inside / all).ln()
        };
        let expected: f64 = shown.iter().zip(&truths()).map(loss).sum::<f64>() / 2.0;
        let (_, found) = losses.terms.iter().find(|(name, _)| *name == format!("attention.{level}")).unwrap();
        let found = f64::from(found.clone().into_scalar::<f32>());
        assert!((found - expected).abs() < 1e-4, "level {level}: {found} instead of {expected}");
    }
    let found = by_name(&model, &losses.total.backward());
    assert!(largest(&found["layers.3.attn.qkv.weight"]) > 0.0 && largest(&found["text.word.weight"]) > 0.0);
}

/// The box head learns from all objects.
#[test]
fn patches_on_objects_say_their_boxes() {
    use groundling_models::contract::TruthObject;

    let device = Device::flex().autodiff();
    let model = model(&config(true), 2, &device);
    let criterion = Criterion { patch_boxes: vec![1.0], ..only_boxes() };
    let trained = model.forward_training(&batch(&device, 2, 0), &[], Manner::DENSE);
    let bbox = BoxCxcywh::new(0.25, 0.25, 0.3, 0.3);
    let object = TruthObject { bbox, class: None, unshown_classes: 0, is_target: false, named: None };
    let terms = |objects: Vec<TruthObject>| {
        let truths = [SampleTruth { objects, ..SampleTruth::default() }, SampleTruth::default()];
        let losses = model.losses_of(&trained, &truths, &criterion);
        losses.terms.into_iter().filter(|(name, _)| name.starts_with("objects")).collect::<Vec<_>>()
    };
    assert!(terms(Vec::new()).is_empty());
    let one = terms(vec![object]);
    assert_eq!(one.len(), 3);
    assert!(one.iter().all(|(_, value)| value.clone().into_scalar::<f32>() > 0.0));
    // A larger object behind it is not seen.
    let behind = TruthObject { bbox: BoxCxcywh::new(0.25, 0.25, 0.31, 0.31), ..object };
    for ((name, one), (_, two)) in one.iter().zip(terms(vec![behind, object])) {
        assert_eq!(one.clone().into_scalar::<f32>(), two.into_scalar::<f32>(), "{name}");
    }
}

/// A pair without a target trains the choice only.
#[test]
fn pairs_without_a_box_have_no_box_loss() {
    let device = Device::flex().autodiff();
    let model = model(&config(true), 2, &device);
    let trained = model.forward_training(&batch(&device, 2, 0), &mixing(&device, 0.0, 1.0), Manner::CHOOSING);
    let value = |truths: &[SampleTruth], name: &str| {
        let losses = model.losses_of(&trained, truths, &Criterion::default());
        losses.terms.iter().find(|(known, _)| known == name).unwrap().1.clone().into_scalar::<f32>()
    };
    let [first, _] = &truths()[..] else { panic!("two pairs") };
    let half = [first.clone(), SampleTruth::default()];
    let alone =
        [first.clone(), SampleTruth { bbox: Some(BoxCxcywh::new(0.1, 0.1, 0.1, 0.1)), ..SampleTruth::default() }];
    let found = support::array(trained.boxes.clone().narrow(0, 0, 1).narrow(1, 2, 1)).data;
    let bbox = first.bbox.unwrap().to_array();
    let l1: f64 = found.iter().zip(bbox).map(|(a, b)| (a - b).abs()).sum();
    assert!((f64::from(value(&half, "l1.2")) - l1).abs() < 1e-5);
    assert!((value(&half, "l1.2") - value(&alone, "l1.2")).abs() > 1e-4);
    assert_eq!(value(&[SampleTruth::default(), SampleTruth::default()], "l1.2"), 0.0);
}
