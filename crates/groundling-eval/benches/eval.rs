//! How long evaluations of a whole data set take, in milliseconds: the best of three runs.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::Instant;

use groundling_core::{
    BoxXywh, BoxXyxy, GroundTruth, ImageSize, ModelIdentity, Phrase, PredictedTarget, Prediction, Rle, TrueTarget,
};
use groundling_eval::coco::{
    self, CocoAnnotation, CocoCategory, CocoDetection, CocoImage, CocoOptions, CocoTruth, IouKind,
};
use groundling_eval::records::{
    PredictionRecord, ReadLimits, Sample, TruthRecord, read_predictions, write_predictions,
};
use groundling_eval::{EvalOptions, Protocol, compare, evaluate};

const EXPRESSIONS: usize = 15_000;
const IMAGES: i64 = 5_000;

fn main() {
    let samples = expressions();
    let alone = EvalOptions { bootstrap: None, breakdowns: false, ..EvalOptions::default() };
    let intervals = EvalOptions { breakdowns: false, ..EvalOptions::default() };
    let all = EvalOptions::default();
    for name in ["grec", "gres", "gres-480", "coco-box"] {
        let protocol: Protocol = name.parse().unwrap();
        for (what, options) in [("figures", alone), ("1000 resamples", intervals), ("break-downs too", all)] {
            timed(&format!("{name} {EXPRESSIONS} expressions, {what}"), || {
                evaluate(protocol, &samples, &options).unwrap()
            });
        }
        timed(&format!("{name} comparison, 1000 resamples"), || compare(protocol, &samples, &samples, &all).unwrap());
    }
    let records = || samples.iter().filter_map(|sample| sample.prediction.as_ref());
    let mut file = Vec::new();
    write_predictions(&mut file, "bench", records()).unwrap();
    timed(&format!("read {EXPRESSIONS} records with masks, {} MB", file.len() >> 20), || {
        read_predictions(file.as_slice(), "bench", &ReadLimits::default()).unwrap()
    });

    let (truth, detections) = detections();
    timed(&format!("COCO boxes, {IMAGES} images, {} detections, 80 categories", detections.len()), || {
        coco::evaluate(&truth, &detections, CocoOptions::new(IouKind::Box)).unwrap().stats()
    });
}

fn timed<T>(what: &str, run: impl Fn() -> T) {
    let best = (0..3).map(|_| {
        let start = Instant::now();
        std::hint::black_box(run());
        start.elapsed().as_secs_f64() * 1e3
    });
    println!("{:10.1} ms  {what}", best.fold(f64::INFINITY, f64::min));
}

/// The same numbers every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn near(&mut self, [x, y, w, h]: [f64; 4]) -> [f64; 4] {
        let mut step = || self.below(21) as f64 - 10.0;
        [(x + step()).max(0.0), (y + step()).max(0.0), (w + step()).max(4.0), (h + step()).max(4.0)]
    }

    fn bbox(&mut self) -> [f64; 4] {
        [self.below(500) as f64, self.below(380) as f64, 16.0 + self.below(120) as f64, 16.0 + self.below(90) as f64]
    }
}

fn expressions() -> Vec<Sample> {
    let (size, mut dice) = (ImageSize::new(480, 640).unwrap(), Dice(1));
    let shape = |[x, y, w, h]: [f64; 4]| {
        let bbox = BoxXyxy::new(x, y, x + w, y + h);
        // A diamond has a run in every column, as real masks do.
        let (cx, cy) = bbox.centre();
        let mask = Rle::from_polygon(size, &[cx, y, x + w, cy, cx, y + h, x, cy]).unwrap();
        (bbox, Some(mask))
    };
    let mut samples = Vec::with_capacity(EXPRESSIONS);
    for index in 0..EXPRESSIONS {
        let boxes: Vec<[f64; 4]> = (0..dice.below(5)).map(|_| dice.bbox()).collect();
        let targets = boxes.iter().map(|&bbox| {
            let (bbox, mask) = shape(bbox);
            TrueTarget { bbox, mask, category_id: None }
        });
        let truth = GroundTruth { targets: targets.collect(), merged_mask: None };
        let phrase = Phrase::parse(["red cup", "the man left of the car"][index % 2]).unwrap();
        let found = boxes.iter().map(|&bbox| dice.near(bbox)).collect::<Vec<_>>().into_iter().map(|bbox| {
            let (bbox, mask) = shape(bbox);
            PredictedTarget { score: 0.5 + dice.below(50) as f64 / 100.0, bbox, mask, label: None }
        });
        let targets: Vec<PredictedTarget> = found.collect();
        let prediction = Prediction {
            phrase: phrase.clone(),
            image_size: size,
            no_target: targets.is_empty(),
            no_target_score: Some(dice.below(1000) as f64 / 1000.0),
            targets,
            model: ModelIdentity { name: "bench".into(), hash: String::new() },
        };
        let (id, image) = (index.to_string(), (index / 3).to_string());
        let source = truth.count();
        let truth = TruthRecord { id: id.clone(), image: image.clone(), phrase, image_size: size, truth, source };
        samples.push(Sample { truth, prediction: Some(PredictionRecord { id, image, prediction }) });
    }
    samples
}

fn detections() -> (CocoTruth, Vec<CocoDetection>) {
    let mut dice = Dice(2);
    let mut truth = CocoTruth {
        images: (1..=IMAGES).map(|id| CocoImage { id, size: None }).collect(),
        categories: (1..=80).map(|id| CocoCategory { id, name: id.to_string() }).collect(),
        annotations: Vec::new(),
    };
    let mut detections = Vec::new();
    for image_id in 1..=IMAGES {
        for _ in 0..7 {
            let (category_id, corner) = (1 + dice.below(80) as i64, dice.bbox());
            let bbox = Some(BoxXywh::from_array(corner));
            let area = corner[2] * corner[3] * 0.7;
            let id = truth.annotations.len() as i64 + 1;
            let is_crowd = dice.below(50) == 0;
            truth.annotations.push(CocoAnnotation { id, image_id, category_id, bbox, area, is_crowd, mask: None });
            for _ in 0..4 {
                let (bbox, score) = (Some(BoxXywh::from_array(dice.near(corner))), dice.below(10_000) as f64 / 1e4);
                detections.push(CocoDetection { image_id, category_id, score, bbox, mask: None });
            }
        }
        for _ in 0..72 {
            let (category_id, score) = (1 + dice.below(80) as i64, dice.below(4_000) as f64 / 1e4);
            let bbox = Some(BoxXywh::from_array(dice.bbox()));
            detections.push(CocoDetection { image_id, category_id, score, bbox, mask: None });
        }
    }
    (truth, detections)
}
