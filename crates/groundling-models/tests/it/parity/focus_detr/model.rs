//! Whole networks in evaluation, the sparse rival, and detections.

use groundling_models::focus_detr::{
    Detection, ForwardOptions, Geometry, Prediction, Scored, Supervision, detections, scored,
};
use groundling_nn::layers::PrepareInference;
use groundling_testkit::Folder;

use super::*;

/// Mean and standard deviation of red, green and blue, 0 to 255.
const NORMALISATION: [(f32, f32); 3] = [(123.675, 58.395), (116.28, 57.12), (103.53, 57.375)];

/// The images `image0`, `image1`, .., normalised and then padded with zeros right and below, and their own sizes.
pub(super) fn images(case: &Case, device: &Device) -> (Tensor<4>, Vec<ImageSize>) {
    let names = (0..).map(|index| format!("image{index}")).take_while(|name| case.has_input(name));
    let images: Vec<Array> = names.map(|name| case.input(&name)).collect();
    let side = |axis: usize| images.iter().map(|image| image.shape[axis]).max().unwrap();
    let (height, width) = (side(1), side(2));
    let mut batch = vec![0f32; images.len() * 3 * height * width];
    let mut contents = Vec::new();
    for (index, image) in images.iter().enumerate() {
        let [3, rows, columns] = image.shape[..] else { panic!("an image has three channels") };
        contents.push(ImageSize::new(rows as u32, columns as u32).unwrap());
        for (at, value) in image.to_f32().into_iter().enumerate() {
            let (channel, row, column) = (at / (rows * columns), at / columns % rows, at % columns);
            let (mean, deviation) = NORMALISATION[channel];
            batch[((index * 3 + channel) * height + row) * width + column] = (value - mean) / deviation;
        }
    }
    (Tensor::from_data(TensorData::new(batch, [images.len(), 3, height, width]), device), contents)
}

fn check_detections(report: &mut Report<'_>, stem: &str, found: &[(f32, usize, [f64; 4])]) {
    let count = found.len();
    let scores = found.iter().map(|one| f64::from(one.0)).collect();
    report.check(&format!("{stem}_scores"), &Array::new([count], scores));
    report.check(&format!("{stem}_classes"), &list(&found.iter().map(|one| one.1).collect::<Vec<_>>()));
    report.check(&format!("{stem}_boxes"), &Array::new([count, 4], found.iter().flat_map(|one| one.2).collect()));
}

fn of_scored(one: &Scored) -> (f32, usize, [f64; 4]) {
    (one.score, one.class, [one.bbox.x0, one.bbox.y0, one.bbox.x1, one.bbox.y1])
}

fn of_detection(one: &Detection) -> (f32, usize, [f64; 4]) {
    (one.score, one.class, [one.bbox.x0, one.bbox.y0, one.bbox.x1, one.bbox.y1])
}

#[test]
fn whole_models() {
    for case in Folder::open("focus_detr").of_kinds(&["model"], 2) {
        let config: Config = case.config();
        let device = support::device(case);
        let detector = config.detector();
        let mut model = filled(detector.init(&device).unwrap(), case, &names::all(&detector), names::keys(&detector));
        model.prepare_inference();
        let (batch, contents) = images(case, &device);
        // The reference evaluates as if nothing were padded.
        let output = model.forward(batch, None, &ForwardOptions::default()).unwrap();
        let selection = output.encoding.selection.as_ref().unwrap();
        let mut report = case.report();
        let kept = serde_json::json!(selection.kept);
        report.require(case.json["expect"]["k"] == kept, format!("lists of {kept}"));
        let refined = Tensor::<3>::stack::<4>(output.refined.clone(), 0);
        let values = [
            ("pred_logits", support::array(output.last().logits.clone())),
            ("pred_boxes", support::array(output.last().boxes.clone())),
            ("enc_logits", support::array(output.proposals.prediction.logits.clone())),
            ("init_reference", support::array(burn::tensor::activation::sigmoid(output.proposals.box_logits.clone()))),
            ("inter_references", support::array(refined)),
            ("foreground_score", support::array(selection.raw.clone())),
            ("enc_topk_inds", lists(&output.proposals.places)),
        ];
        for (name, value) in values {
            if report.wants(name) {
                report.check(name, &value);
            }
        }
        for layer in numbered(case, "fg_inds_l") {
            report.check(&format!("fg_inds_l{layer}"), &lists(&selection.list(layer)));
        }
        if case.has_input("original_sizes") {
            let originals = sizes(case, "original_sizes");
            let mut counts = Vec::new();
            for (image, (content, original)) in contents.iter().zip(originals).enumerate() {
                let found = detections(output.last(), image, *content, original, 300);
                counts.push(found.len());
                check_detections(
                    &mut report,
                    &format!("det{image}"),
                    &found.iter().map(of_detection).collect::<Vec<_>>(),
                );
            }
            assert_eq!(case.json["expect"]["detections"], serde_json::json!(counts));
        }
        report.finish();
    }
}

#[test]
fn postprocessing() {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Piece {
        num_classes: usize,
        select: usize,
    }
    for case in Folder::open("focus_detr").of_kinds(&["postprocess"], 1) {
        let Piece { num_classes, select } = case.config();
        let device = Device::flex();
        let prediction = Prediction {
            logits: support::tensor(&case.input("logits"), &device),
            boxes: support::tensor(&case.input("boxes"), &device),
        };
        assert_eq!(prediction.logits.dims()[2], num_classes);
        let mut report = case.report();
        let mut kept = Vec::new();
        let pairs = sizes(case, "image_sizes").into_iter().zip(sizes(case, "original_sizes"));
        for (image, (content, original)) in pairs.enumerate() {
            let raw: Vec<_> = scored(&prediction, image, content, select).iter().map(of_scored).collect();
            check_detections(&mut report, &format!("raw{image}"), &raw);
            let found: Vec<_> =
                detections(&prediction, image, content, original, select).iter().map(of_detection).collect();
            kept.push(found.len());
            check_detections(&mut report, &format!("fin{image}"), &found);
        }
        assert_eq!(case.json["expect"]["kept"], serde_json::json!(kept));
        report.finish();
    }
}

#[test]
fn sparse_rival() {
    for case in Folder::open("focus_detr").of_kinds(&["sparse_baseline"], 1) {
        let config: Config = case.config();
        let device = Device::flex();
        let model = transformer(case, &config, None, &device);
        let geometry = Geometry::new(config.canvas(), &sizes(case, "valid"), &config.level_sizes);
        let encoding = model.encode(maps(case, config.levels, &device), geometry.clone(), &ForwardOptions::default());
        let proposals = model.propose(&encoding);
        let selection = encoding.selection.clone().unwrap();
        let memory = encoding.memory.clone();
        let output = model.decode(encoding, proposals, None);
        let supervision = Supervision::new(&output.samples, &geometry, &selection);
        let tokens = geometry.tokens();
        let mut report = case.report();
        report.check("score", &support::array(selection.masked.clone()));
        report.check("topk_inds", &lists(&selection.list(0)));
        report.check("memory", &support::array(memory));
        report.check("two_stage_inds", &lists(&output.proposals.places));
        report.check("hs_last", &support::array(output.last_hidden.clone()));
        report.check("refs", &support::array(Tensor::<3>::stack::<4>(output.refined.clone(), 0)));
        let flat = |rows: &[Vec<f32>]| rows.iter().flatten().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let raw = groundling_models::focus_detr::cross_attention_map(&output.samples, geometry.sizes());
        report.check("dam", &Array::new([geometry.images(), tokens], flat(&raw)));
        let wanted = supervision.wanted.iter().flatten().map(|&wanted| f64::from(u8::from(wanted))).collect();
        report.check("dam_target", &Array::new([geometry.images(), tokens], wanted));
        report.check("dam_loss", &Array::scalar(support::array(supervision.loss(selection.masked.clone())).data[0]));
        let shares = supervision.share_on_kept(&geometry, &selection);
        report.check("corr", &Array::new([shares.len(), geometry.images()], flat(&shares)));
        assert_eq!(case.json["expect"]["sparse_token_nums"], serde_json::json!(selection.budgets));
        report.finish();
    }
}
