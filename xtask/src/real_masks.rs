//! The protocols on masks, on real data: figures of the evaluator against sums over decoded pixels.
//!
//! Nobody's answers are at hand, so that the answer to a phrase is made of its truth and that of the phrase before it, in turn: the truth,
//! its left half, both together, the other one's, or nothing. They go through a file, as saved predictions do.

use std::path::Path;

use anyhow::{Context, ensure};
use groundling_core::{BinaryMask, ModelIdentity, PredictedTarget, Prediction, Rle};
use groundling_data::MaskRule;
use groundling_data::examples::{ExampleOptions, Examples};
use groundling_eval::records::{
    MissingPolicy, PredictionRecord, ReadLimits, Sample, TruthRecord, join, read_predictions, write_predictions,
};
use groundling_eval::{EvalOptions, Protocol, evaluate};

pub(crate) fn mask_protocols(root: &Path) -> anyhow::Result<String> {
    let root = root.join("refcoco-mini");
    let root = root.display();
    let mut compared = Vec::new();
    for (source, protocols) in [
        (format!("refer:{root}/refcoco:unc:val"), ["res", "res-480"]),
        (format!("refer:{root}/refcoco+:unc:testB"), ["res", "res-480"]),
        (format!("refer:{root}/refcocog:umd:val"), ["res", "res-480"]),
        (format!("refzom:{root}/constructed:test"), ["ref-zom", "ref-zom-480"]),
        (format!("grefcoco:{root}/constructed:val"), ["gres", "gres-480"]),
    ] {
        let samples = samples(&source).with_context(|| source.clone())?;
        for name in protocols {
            let protocol: Protocol = name.parse()?;
            let options = EvalOptions { bootstrap: None, breakdowns: false, ..EvalOptions::default() };
            let report = evaluate(protocol, &samples, &options)?;
            let side = name.ends_with("-480").then_some(480);
            for (figure, expected) in counted(name, &samples, side)? {
                let found = report.figure(figure).and_then(|figure| figure.value);
                let near = found.is_some_and(|found| (found - expected).abs() < 1e-9);
                ensure!(near, "{source} {name}: {figure} is {found:?}, counted {expected}");
            }
        }
        compared.push(samples.len());
    }
    Ok(format!("figures of {compared:?} phrases equal those counted pixel by pixel"))
}

fn samples(source: &str) -> anyhow::Result<Vec<Sample>> {
    let options = ExampleOptions { mask_rule: MaskRule::Union, ..ExampleOptions::default() };
    let examples = Examples::open(&source.parse()?, &options)?;
    let (mut truths, mut answers) = (Vec::new(), Vec::new());
    for index in 0..examples.len() {
        let about = examples.about(index)?;
        let mut before = Rle::empty(about.size);
        for phrase in about.phrases {
            let truth = phrase.truth.union_mask().unwrap_or_else(|| Rle::empty(about.size));
            let answer = match truths.len() % 5 {
                0 => truth.clone(),
                1 => left_half(&truth),
                2 => truth.union(&before)?,
                3 => before,
                _ => Rle::empty(about.size),
            };
            before = truth;
            let record = TruthRecord {
                id: phrase.id,
                image: about.file_name.clone(),
                phrase: phrase.phrase,
                image_size: about.size,
                source: phrase.truth.count(),
                truth: phrase.truth,
            };
            answers.push(said(&record, answer));
            truths.push(record);
        }
    }
    ensure!(!truths.is_empty(), "no phrase");
    let mut lines = Vec::new();
    write_predictions(&mut lines, "answers", &answers)?;
    Ok(join(truths, read_predictions(&lines[..], "answers", &ReadLimits::default())?, MissingPolicy::Refuse)?)
}

fn left_half(mask: &Rle) -> Rle {
    let pixels = mask.to_mask();
    let middle = mask.bbox().map_or(0.0, |bbox| (bbox.x0 + bbox.x1) / 2.0);
    Rle::from_mask(&BinaryMask::from_fn(mask.size(), |row, column| {
        f64::from(column) < middle && pixels.get(row, column)
    }))
}

fn said(truth: &TruthRecord, mask: Rle) -> PredictionRecord {
    let target = mask.bbox().map(|bbox| PredictedTarget { score: 1.0, bbox, mask: Some(mask.clone()), label: None });
    let prediction = Prediction {
        phrase: truth.phrase.clone(),
        image_size: truth.image_size,
        no_target: target.is_none(),
        targets: target.into_iter().collect(),
        no_target_score: None,
        model: ModelIdentity { name: "made of the truth".into(), hash: String::new() },
    };
    PredictionRecord { id: truth.id.clone(), image: truth.image.clone(), prediction }
}

/// Sums over pixels, by the definitions of the protocols.
#[derive(Default)]
struct Sums {
    intersection: u64,
    union: u64,
    /// Of phrases with a target.
    ious: Vec<f64>,
    /// Answered with something.
    answered: u64,
    absent: u64,
    /// Answered with nothing.
    right: u64,
    /// Pixels said where there is nothing.
    surplus: u64,
}

fn counted(protocol: &str, samples: &[Sample], side: Option<u32>) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let mut sums = Sums::default();
    for sample in samples {
        let size = sample.truth.image_size;
        let record = sample.prediction.as_ref().context("every phrase has an answer")?;
        let found = record.prediction.targets.first().and_then(|target| target.mask.clone());
        let found = pixels(&found.unwrap_or_else(|| Rle::empty(size)), side);
        let truth = pixels(&sample.truth.truth.union_mask().unwrap_or_else(|| Rle::empty(size)), side);
        let count = |of: fn((&bool, &bool)) -> bool| found.iter().zip(&truth).filter(|pair| of(*pair)).count() as u64;
        let (i, u) = (count(|(a, b)| *a && *b), count(|(a, b)| *a || *b));
        let nothing = record.prediction.no_target;
        if sample.truth.is_absent() {
            sums.absent += 1;
            sums.right += u64::from(nothing);
            sums.surplus += u;
        } else {
            sums.ious.push(i as f64 / u as f64);
            sums.answered += u64::from(!nothing);
            (sums.intersection, sums.union) = (sums.intersection + i, sums.union + u);
        }
    }
    let Sums { intersection, union, ious, answered, absent, right, surplus } = sums;
    let (targeted, sum) = (ious.len() as f64, ious.iter().sum::<f64>());
    let percent = |part: f64, whole: f64| 100.0 * part / whole;
    let at = |threshold: f64| ious.iter().filter(|iou| **iou >= threshold).count() as f64;
    if protocol.starts_with("gres") {
        let all = samples.len() as f64;
        return Ok(vec![
            ("gIoU", percent(sum + right as f64, all)),
            ("cIoU", percent(intersection as f64, (union + surplus) as f64)),
            ("N-acc", percent(right as f64, absent as f64)),
            ("T-acc", percent(answered as f64, targeted)),
        ]);
    }
    let mut figures = vec![
        ("oIoU", percent(intersection as f64, union as f64)),
        ("mIoU", percent(sum, targeted)),
        ("P@0.5", percent(at(0.5), targeted)),
        ("P@0.9", percent(at(0.9), targeted)),
    ];
    if protocol.starts_with("ref-zom") {
        figures.push(("Acc", percent(right as f64, absent as f64)));
    }
    Ok(figures)
}

/// Row by row; resized by taking, for each pixel, the one at the accumulated step, as Pillow does.
fn pixels(mask: &Rle, side: Option<u32>) -> Vec<bool> {
    let (mask, size) = (mask.to_mask(), mask.size());
    let Some(side) = side else { return mask.pixels().to_vec() };
    let places = |from: u32| -> Vec<u32> {
        let step = f64::from(from) / f64::from(side);
        let mut at = 0.5 * step;
        let mut next = || (at as u32, at += step).0;
        (0..side).map(|_| next()).collect()
    };
    let (rows, columns) = (places(size.height()), places(size.width()));
    let places = rows.iter().flat_map(|&row| columns.iter().map(move |&column| (row, column)));
    places.map(|(row, column)| mask.get(row, column)).collect()
}
