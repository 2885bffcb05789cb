//! What the fuzz targets of `fuzz/` do with their bytes; the ordinary tests replay the checked-in corpus through the same
//! functions. Each must return, whatever the bytes.

use crate::coco::{self, CocoOptions, IouKind, json};
use crate::grec::Pairing;
use crate::gres::PredictedEmpty;
use crate::rec::RecRule;
use crate::records::{
    MissingPolicy, PredictionRecord, ReadLimits, TruthRecord, join, read_predictions, read_truths, write_predictions,
    write_truths,
};
use crate::{BootstrapOptions, EvalOptions, MaskSize, Protocol, Report, evaluate};

const LIMITS: ReadLimits = ReadLimits { max_line_bytes: 1 << 20, max_records: 64, max_targets: 64 };

/// Record files: truths, an empty line, predictions. What is read is written back the same, and every protocol scores it
/// or says why not.
pub fn records(bytes: &[u8]) {
    let (truths, predictions) = halves(bytes);
    let truths = read_truths(truths, "truth.jsonl", &LIMITS);
    let predictions = read_predictions(predictions, "predictions.jsonl", &LIMITS);
    if let Ok(truths) = &truths {
        truths_come_back(truths);
    }
    if let Ok(predictions) = &predictions {
        predictions_come_back(predictions);
    }
    let (Ok(truths), Ok(predictions)) = (truths, predictions) else { return };
    let Ok(samples) = join(truths, predictions, MissingPolicy::CountAsWrong) else { return };
    let protocols = [
        Protocol::Rec(RecRule::TransVg),
        Protocol::Res(MaskSize::Original),
        Protocol::Res(MaskSize::Resized(48)),
        Protocol::RefZom(MaskSize::Original),
        Protocol::Gres { empty: PredictedEmpty::Area { min_pixels: 50 }, size: MaskSize::Original },
        Protocol::Grec(Pairing::Giou),
        Protocol::Coco(IouKind::Box),
        Protocol::Coco(IouKind::Mask),
    ];
    let bootstrap = Some(BootstrapOptions { resamples: 3, ..BootstrapOptions::default() });
    let options = EvalOptions { bootstrap, ..EvalOptions::default() };
    for protocol in protocols {
        if let Ok(report) = evaluate(protocol, &samples, &options) {
            check_report(&report);
        }
    }
}

/// COCO files: annotations, an empty line, results. The twelve numbers are fractions, or not there.
pub fn coco_results(bytes: &[u8]) {
    let (annotations, results) = halves(bytes);
    for kind in [IouKind::Box, IouKind::Mask] {
        let Ok(truth) = json::parse_truth(annotations, "annotations.json", kind) else { continue };
        let Ok(found) = json::parse_results(results, "results.json", &truth, kind) else { continue };
        let Ok(evaluation) = coco::evaluate(&truth, &found, CocoOptions::new(kind)) else { continue };
        let stats = evaluation.stats();
        let good = stats.iter().flatten().all(|value| (0.0..=1.0 + 1e-9).contains(value));
        assert!(good, "{stats:?}");
        check_report(&Report::of_coco(kind, truth.images.len(), &evaluation));
    }
}

/// What stands before and after the first empty line; all before it if there is none.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, &[]),
    }
}

fn truths_come_back(truths: &[TruthRecord]) {
    let mut lines = Vec::new();
    write_truths(&mut lines, "truth.jsonl", truths).expect("what was read can be written");
    let again = read_truths(lines.as_slice(), "truth.jsonl", &LIMITS).expect("what was written can be read");
    assert_eq!(again, truths);
}

fn predictions_come_back(predictions: &[PredictionRecord]) {
    let mut lines = Vec::new();
    write_predictions(&mut lines, "predictions.jsonl", predictions).expect("what was read can be written");
    let again = read_predictions(lines.as_slice(), "predictions.jsonl", &LIMITS).expect("what was written can be read");
    assert_eq!(again, predictions);
}

/// Prints the report and reads its JSON back.
fn check_report(report: &Report) {
    assert!(report.figures.iter().filter_map(|figure| figure.value).all(f64::is_finite), "{report:?}");
    assert!(!report.to_table().is_empty());
    let again: Report = serde_json::from_str(&report.to_json()).expect("a report is JSON");
    assert_eq!(&again, report);
}
