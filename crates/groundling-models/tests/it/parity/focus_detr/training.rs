//! What training needs: denoising, labels, losses with gradients, learning rates.

use groundling_models::focus_detr::{
    Criterion, DenoisingConfig, DenoisingPlan, DenoisingQueries, ForwardOptions, LabelRule, Noise, Schedule, SetKind,
    SizeRange, Target, foreground_labels, select_losses,
};
use groundling_nn::losses::FocalLoss;
use groundling_testkit::Folder;

use super::model::images;
use super::*;

/// Rows of four.
fn quads(array: &Array) -> Vec<[f32; 4]> {
    array.to_f32().chunks_exact(4).map(|four| four.try_into().unwrap()).collect()
}

fn labels(case: &Case, image: usize) -> Vec<usize> {
    case.input(&format!("target_labels{image}")).data.iter().map(|&label| label as usize).collect()
}

fn images_with_targets(case: &Case) -> usize {
    (0..).take_while(|image| case.has_input(&format!("target_labels{image}"))).count()
}

/// The draws of a case.
fn noise(case: &Case) -> Noise {
    Noise {
        label_draws: case.input("label_p").to_f32(),
        labels: case.input("label_new").data.iter().map(|&label| label as usize).collect(),
        grows: quads(&case.input("box_sign")).into_iter().map(|four| four.map(|sign| sign == 1.0)).collect(),
        shares: quads(&case.input("box_part")),
    }
}

fn check_plan(case: &Case, plan: &DenoisingPlan) {
    let expected = &case.json["expect"]["dn_meta"];
    assert_eq!(expected, &serde_json::json!({"dn_num": plan.groups, "single_padding": plan.group_slots()}));
}

#[test]
fn denoising() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Piece {
        dn_number: usize,
        label_noise_ratio: f64,
        box_noise_scale: f64,
        num_classes: usize,
        num_queries: usize,
        hidden: usize,
    }
    for case in Folder::open("focus_detr").of_kinds(&["denoising"], 3) {
        let piece: Piece = case.config();
        let device = Device::flex();
        let config = DenoisingConfig {
            number: piece.dn_number,
            label_noise: piece.label_noise_ratio,
            box_noise: piece.box_noise_scale,
        };
        let target = |image: usize| Target {
            labels: labels(case, image),
            boxes: quads(&case.input(&format!("target_boxes{image}"))),
        };
        let targets: Vec<Target> = (0..images_with_targets(case)).map(target).collect();
        let plan = DenoisingPlan::new(&config, &targets).unwrap();
        check_plan(case, &plan);
        let table = case.parameter("weight", &[piece.num_classes, piece.hidden]).unwrap();
        let noise = noise(case);
        assert_eq!(noise.label_draws.len(), plan.entries());
        let queries = DenoisingQueries::new(&config, &plan, &targets, &noise, support::tensor(&table, &device));
        let hidden = plan.hidden(piece.num_queries, &device);
        let shape = hidden.dims();
        let hidden = hidden.into_data().iter::<bool>().map(|hides| f64::from(u8::from(hides))).collect();
        let mut report = case.report();
        report.check("query_label", &support::array(queries.content));
        report.check("query_bbox", &support::array(queries.box_logits));
        report.check("attn_mask", &Array::new(shape, hidden));
        report.finish();
    }
}

#[test]
fn labels_and_their_loss() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Piece {
        image: [u32; 2],
        level_sizes: Vec<[usize; 2]>,
        strides: Vec<usize>,
        ranges: Vec<[f32; 2]>,
    }
    for case in Folder::open("focus_detr").of_kinds(&["foreground_labels"], 1) {
        let Piece { image, level_sizes, strides, ranges } = case.config();
        for (level, (size, stride)) in level_sizes.iter().zip(&strides).enumerate() {
            assert_eq!(*stride, 8 << level);
            assert_eq!(*size, image.map(|side| (side as usize).div_ceil(*stride)));
        }
        let rule =
            LabelRule::Distance(ranges.iter().map(|&[above, up_to]| SizeRange { above, up_to }).collect::<Vec<_>>());
        let images = (0..).take_while(|image| case.has_input(&format!("boxes{image}"))).count();
        let of_image = |image| foreground_labels(&rule, &quads(&case.input(&format!("boxes{image}"))), &level_sizes);
        let labels: Vec<Vec<bool>> = (0..images).map(of_image).collect();
        let device = support::device(case);
        let logits = tracked::<3>(case, "logits", &device);
        let losses = select_losses(logits.clone().squeeze_dim(2), &labels, FocalLoss::PUBLISHED);
        let loss = losses.clone().mean();
        let mut report = case.report();
        let tokens = labels[0].len();
        let values = labels.iter().flatten().map(|&label| f64::from(u8::from(label))).collect();
        report.check("labels", &Array::new([images, tokens], values));
        report.check("select_loss_per_image", &support::array(losses));
        report.check("select_loss", &Array::scalar(support::array(loss.clone()).data[0]));
        let grads = support::probe(case, [("select_loss", support::flat(&loss))]).unwrap().backward();
        report.check("grad_in:logits", &support::array(logits.grad(&grads).unwrap().squeeze_dim::<2>(2)));
        let mut start = 0;
        for (size, expected) in level_sizes.iter().zip(case.json["expect"]["positives_per_level"].as_array().unwrap()) {
            let count = size[0] * size[1];
            let found: Vec<f64> =
                labels.iter().map(|row| row[start..start + count].iter().filter(|&&l| l).count() as f64).collect();
            report.require(expected == &serde_json::json!(found), format!("positives {found:?}, expected {expected}"));
            start += count;
        }
        report.finish();
    }
}

/// One step of training: every prediction, every match, every loss and every gradient.
#[test]
fn training_step() {
    for case in Folder::open("focus_detr").of_kinds(&["train_step"], 1) {
        let config: Config = case.config();
        let device = Device::flex().autodiff();
        let detector = config.detector();
        let keys = names::keys(&detector);
        let model = filled(detector.init(&device).unwrap(), case, &names::all(&detector), keys);
        let (batch, contents) = images(case, &device);
        let denoising = DenoisingConfig {
            number: config.dn_number.unwrap(),
            label_noise: config.label_noise_ratio.unwrap(),
            box_noise: config.box_noise_scale.unwrap(),
        };
        let targets: Vec<Target> = contents
            .iter()
            .enumerate()
            .map(|(image, content)| {
                let (w, h) = (content.width() as f32, content.height() as f32);
                let unit = |[x0, y0, x1, y1]: [f32; 4]| {
                    let [x0, y0, x1, y1] = [x0 / w, y0 / h, x1 / w, y1 / h];
                    [(x0 + x1) / 2.0, (y0 + y1) / 2.0, x1 - x0, y1 - y0]
                };
                let boxes = quads(&case.input(&format!("target_boxes{image}")));
                Target { labels: labels(case, image), boxes: boxes.into_iter().map(unit).collect() }
            })
            .collect();
        let plan = DenoisingPlan::new(&denoising, &targets).unwrap();
        check_plan(case, &plan);
        let table = model.label_embedding.as_ref().unwrap().val();
        let queries = DenoisingQueries::new(&denoising, &plan, &targets, &noise(case), table);
        let options = ForwardOptions::default();
        let output = model.forward_denoising(batch, Some(&contents), &options, Some((&plan, queries))).unwrap();
        let criterion = Criterion { denoising, ..Criterion::default() };
        let losses = criterion.losses(&output, &targets, &contents, Some(&plan)).unwrap();

        let mut report = case.report();
        let selection = output.encoding.selection.as_ref().unwrap();
        let expected = &case.json["expect"];
        assert_eq!(expected["k"], serde_json::json!(selection.kept));
        assert_eq!(expected["focus_token_nums"], serde_json::json!(selection.budgets));
        let last = output.layers.len() - 1;
        let tokens = &output.proposals.prediction;
        for (name, value) in [
            ("pred_logits", &output.last().logits),
            ("pred_boxes", &output.last().boxes),
            ("dn_pred_logits", &output.denoising[last].logits),
            ("dn_pred_boxes", &output.denoising[last].boxes),
            ("enc_logits", &tokens.logits),
            ("enc_boxes", &tokens.boxes),
        ] {
            report.check(name, &support::array(value.clone()));
        }
        report.check("foreground_score_raw", &support::array(selection.raw.clone()));
        report.check("enc_topk_inds", &lists(&output.proposals.places));
        for (kind, pairs) in &losses.matches {
            let name = match kind {
                SetKind::Layer(layer) if *layer == last => "last".to_owned(),
                SetKind::Layer(layer) => format!("aux{layer}"),
                SetKind::Tokens => "enc".to_owned(),
            };
            let side = |pairs: &[(usize, usize)]| {
                let (queries, targets): (Vec<usize>, Vec<usize>) = pairs.iter().copied().unzip();
                [queries, targets]
            };
            let found = serde_json::json!(pairs.iter().map(|pairs| side(pairs)).collect::<Vec<_>>());
            report.require(expected["matches"][&name] == found, format!("{name} matches {found}"));
        }
        assert_eq!(losses.matches.len(), expected["matches"].as_object().unwrap().len());

        let by_name: BTreeMap<&str, (f64, f64)> = losses
            .terms
            .iter()
            .map(|term| (&term.name[..], (support::array(term.value.clone()).data[0], term.weight)))
            .collect();
        let names = case.entry_names("raw_losses");
        assert_eq!(by_name.len(), names.len());
        assert_eq!(losses.terms.iter().map(|term| term.name.clone()).collect::<Vec<_>>(), names);
        let raw = names.iter().map(|name| by_name[&name[..]].0).collect();
        let weighted = names.iter().map(|name| by_name[&name[..]].0 * by_name[&name[..]].1).collect();
        report.check("raw_losses", &Array::new([names.len()], raw));
        report.check("weighted_losses", &Array::new([names.len()], weighted));
        report.check("total_loss", &Array::scalar(support::array(losses.total.clone()).data[0]));

        let grads = support::probe(case, [("total_loss", support::flat(&losses.total))]).unwrap().backward();
        let found = Found::new(&model, &grads);
        found.check(case, keys, str::to_owned, &mut report);
        let tolerance = expected["gradnorms_rtol"].as_f64().unwrap();
        let norms = expected["gradnorms"].as_object().unwrap();
        let mut own = BTreeSet::new();
        // The length of alpha's is not listed, being mostly rounding; it is compared itself.
        let outputs = case.json["outputs"].as_object().unwrap().values();
        for name in outputs.filter_map(|spec| spec["of"].as_str()?.strip_prefix("grad:")) {
            own.extend(destinations(name, keys).unwrap());
        }
        for (name, norm) in norms {
            own.extend(destinations(name, keys).unwrap());
            let norm = norm.as_f64().unwrap();
            let Some(gradient) = found.get(name, keys) else { panic!("no gradient of {name}") };
            let length = gradient.data.iter().map(|v| v * v).sum::<f64>().sqrt();
            let near = (length - norm).abs() <= tolerance * norm;
            report.require(near, format!("gradient of {name} is {length} long, expected {norm}"));
        }
        let without: Vec<&String> = found.0.keys().filter(|name| !own.contains(*name)).collect();
        report.require(without.is_empty(), format!("gradients that the reference has not: {without:?}"));
        report.finish();
    }
}

#[test]
fn learning_rates() {
    for case in Folder::open("focus_detr").of_kinds(&["lr_schedule"], 1) {
        let schedules = case.file_json();
        let schedules = schedules.as_object().unwrap();
        assert!(schedules.len() >= 6, "{}", schedules.len());
        for (name, expected) in schedules {
            let schedule = match name.as_str() {
                "12ep" => Schedule::epochs_12(),
                "24ep" => Schedule::epochs_24(),
                "36ep_r50" => Schedule::epochs_36_r50(),
                "36ep_swin" => Schedule::epochs_36_swin(),
                "36ep_3x" => Schedule::epochs_36_r101(),
                "50ep" => Schedule::epochs_50(),
                other => panic!("unknown schedule {other}"),
            };
            assert_eq!(expected["max_iter"], schedule.iterations, "{name}");
            for (step, factor) in expected["factor"].as_object().unwrap() {
                let found = schedule.factor(step.parse().unwrap());
                assert!((found - factor.as_f64().unwrap()).abs() < 1e-9, "{name} {step}: {found}, expected {factor}");
            }
        }
    }
}
