//! Position encodings, matching and the losses of matched queries.

use burn::tensor::{Device, Tensor};
use groundling_nn::losses::{Denominator, FocalLoss, box_l1, giou, sigmoid_focal};
use groundling_nn::matcher::{DetrCost, assign};
use groundling_nn::position::{SineBox, SinePosition2d};
use groundling_testkit::{Array, Folder};
use serde::Deserialize;

use crate::numbers::{array, bools, indices, list, tensor, tracked};

#[test]
fn position_sine() {
    #[derive(Deserialize)]
    struct Config {
        num_feats: usize,
        temperature: f64,
        normalize: bool,
        offset: f64,
    }
    for case in Folder::open("focus_detr").of_kinds(&["position_sine"], 5) {
        let Config { num_feats: features, temperature, normalize: normalise, offset } = case.config();
        let encoding = SinePosition2d { features, temperature, offset, normalise };
        let mut report = case.report();
        report.check("pos", &array(encoding.forward(bools(&case.input("pad_mask"), &Device::flex()))));
        report.finish();
    }
}

#[test]
fn sine_embed() {
    #[derive(Deserialize)]
    struct Config {
        num_feats: usize,
        temperature: f64,
        exchange_xy: bool,
        coords: usize,
    }
    for case in Folder::open("focus_detr").of_kinds(&["sine_embed"], 3) {
        let Config { num_feats: features, temperature, exchange_xy: y_first, coords } = case.config();
        let boxes = tensor::<3>(&case.input("boxes"), &Device::flex()).narrow(2, 0, coords);
        let mut report = case.report();
        report.check("sine", &array(SineBox { features, temperature, y_first }.forward(boxes)));
        report.finish();
    }
}

/// Rows of four.
fn boxes(array: &Array) -> Vec<[f32; 4]> {
    array.to_f32().chunks(4).map(|row| row.try_into().unwrap()).collect()
}

#[test]
fn matching_losses() {
    #[derive(Deserialize)]
    struct Config {
        num_classes: usize,
        cost_class: f64,
        cost_bbox: f64,
        cost_giou: f64,
        focal_alpha: f64,
        focal_gamma: f64,
    }
    for case in Folder::open("focus_detr").of_kinds(&["matching_losses"], 1) {
        let config: Config = case.config();
        let costs =
            DetrCost { class: config.cost_class, l1: config.cost_bbox, giou: config.cost_giou, ..DetrCost::FOCUS_DETR };
        let device = tracked();
        let classes = config.num_classes;
        let logits = tensor::<3>(&case.input("logits"), &device).require_grad();
        let predicted = tensor::<3>(&case.input("boxes"), &device).require_grad();
        let [images, queries, _] = logits.dims();
        let (all_logits, all_boxes) = (list(logits.clone().inner()), boxes(&case.input("boxes")));
        let mut report = case.report();

        // Flat places of the matched queries, their classes and boxes.
        let (mut places, mut hot, mut wanted) = (Vec::new(), vec![0.0f64; images * queries * classes], Vec::new());
        let mut count = 0;
        for image in 0..images {
            let labels = case.input(&format!("target_labels{image}"));
            let labels: Vec<usize> = labels.data.iter().map(|label| *label as usize).collect();
            let targets = boxes(&case.input(&format!("target_boxes{image}")));
            count += targets.len();
            let matrix = costs
                .matrix(
                    &all_logits[image * queries * classes..][..queries * classes],
                    classes,
                    &all_boxes[image * queries..][..queries],
                    &labels,
                    &targets,
                )
                .unwrap();
            let values = (0..queries).flat_map(|q| (0..targets.len()).map(move |t| (q, t)));
            let values = values.map(|(q, t)| matrix.get(q, t)).collect();
            report.check(&format!("cost{image}"), &Array::new([queries, targets.len()], values));
            let pairs = assign(&matrix);
            let side = |values: Vec<usize>| Array::new([values.len()], values.iter().map(|v| *v as f64).collect());
            report.check(&format!("pred_idx{image}"), &side(pairs.iter().map(|pair| pair.0).collect()));
            report.check(&format!("target_idx{image}"), &side(pairs.iter().map(|pair| pair.1).collect()));
            for (query, target) in pairs {
                let place = image * queries + query;
                places.push(place);
                hot[place * classes + labels[target]] = 1.0;
                wanted.extend(targets[target].map(f64::from));
            }
        }
        let normaliser = count.max(1) as f64;
        let settings = FocalLoss { alpha: Some(config.focal_alpha), gamma: config.focal_gamma };
        let hot = tensor::<3>(&Array::new([images, queries, classes], hot), &device);
        let loss_class = sigmoid_focal(logits.clone(), hot, settings).sum().div_scalar(normaliser);
        let matched = predicted.clone().reshape([images * queries, 4]).select(0, indices(&places, &device));
        let wanted = tensor::<2>(&Array::new([places.len(), 4], wanted), &device);
        let loss_bbox = box_l1(matched.clone(), wanted.clone()).sum().div_scalar(normaliser);
        let overlap = giou(matched, wanted, Denominator::Plus(1e-6));
        let loss_giou = overlap.neg().add_scalar(1.0).sum().div_scalar(normaliser);

        let losses = [("loss_class", loss_class), ("loss_bbox", loss_bbox), ("loss_giou", loss_giou)];
        let mut total = Tensor::<1>::zeros([1], &device);
        for term in case.probe() {
            let (_, loss) = losses.iter().find(|(name, _)| *name == term.output).unwrap();
            total = total + loss.clone().mul_scalar(term.weights(&[1]).data[0]);
        }
        for (name, loss) in losses {
            report.check(name, &Array::new(Vec::<usize>::new(), array(loss.inner()).data));
        }
        let gradients = total.backward();
        report.check("grad_in:logits", &array(logits.grad(&gradients).unwrap()));
        report.check("grad_in:boxes", &array(predicted.grad(&gradients).unwrap()));
        report.finish();
    }
}

#[test]
fn pairwise_giou() {
    for case in Folder::open("focus_detr").of_kinds(&["giou"], 1) {
        let device = Device::flex();
        let centred = |name: &str| -> Tensor<2> {
            let corners = tensor::<2>(&case.input(name), &device);
            let (low, high) = (corners.clone().narrow(1, 0, 2), corners.narrow(1, 2, 2));
            Tensor::cat(vec![(low.clone() + high.clone()).mul_scalar(0.5), high - low], 1)
        };
        let (a, b) = (centred("a"), centred("b"));
        let ([n, _], [m, _]) = (a.dims(), b.dims());
        let rows = a.unsqueeze_dim::<3>(1).repeat_dim(1, m).reshape([n * m, 4]);
        let columns = b.unsqueeze_dim::<3>(0).repeat_dim(0, n).reshape([n * m, 4]);
        let mut report = case.report();
        report.check("giou", &array(giou(rows, columns, Denominator::Plus(1e-6)).reshape([n, m])));
        report.finish();
    }
}
