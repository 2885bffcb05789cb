//! Samples for tests.

use groundling_core::{
    BoxXyxy, GroundTruth, ImageSize, ModelIdentity, Phrase, Pixels, PredictedTarget, Prediction, Rle, TargetCount,
    TrueTarget,
};
use groundling_eval::records::{PredictionRecord, Sample, TruthRecord};

pub(crate) fn image() -> ImageSize {
    ImageSize::new(48, 64).unwrap()
}

/// Small whole numbers that look random, the same every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub(crate) fn bbox(&mut self) -> BoxXyxy<Pixels> {
        let (x, y) = (self.below(48) as f64, self.below(32) as f64);
        BoxXyxy::new(x, y, x + 2.0 + self.below(14) as f64, y + 2.0 + self.below(14) as f64)
    }

    /// A box near another one, so that overlaps of every degree occur.
    pub(crate) fn near(&mut self, bbox: BoxXyxy<Pixels>) -> BoxXyxy<Pixels> {
        let mut step = || self.below(5) as f64 - 2.0;
        let [x0, y0, x1, y1] = bbox.to_array();
        let (x0, y0) = ((x0 + step()).max(0.0), (y0 + step()).max(0.0));
        BoxXyxy::new(x0, y0, (x1 + step()).max(x0 + 1.0), (y1 + step()).max(y0 + 1.0))
    }
}

pub(crate) fn mask_of(bbox: BoxXyxy<Pixels>) -> Rle {
    Rle::from_box(image(), bbox).unwrap()
}

pub(crate) fn truth(id: &str, boxes: &[BoxXyxy<Pixels>]) -> TruthRecord {
    let target = |&bbox: &BoxXyxy<Pixels>| TrueTarget { bbox, mask: Some(mask_of(bbox)), category_id: None };
    let truth = GroundTruth { targets: boxes.iter().map(target).collect(), merged_mask: None };
    let source = truth.count();
    let phrase =
        Phrase::parse(if id.len().is_multiple_of(2) { "red cup" } else { "the cup left of the plate" }).unwrap();
    TruthRecord { id: id.into(), image: "a.jpg".into(), phrase, image_size: image(), truth, source }
}

pub(crate) fn prediction(truth: &TruthRecord, targets: &[(f64, BoxXyxy<Pixels>)]) -> PredictionRecord {
    let target = |&(score, bbox): &(f64, BoxXyxy<Pixels>)| PredictedTarget {
        score,
        bbox,
        mask: Some(mask_of(bbox)),
        label: None,
    };
    PredictionRecord {
        id: truth.id.clone(),
        image: truth.image.clone(),
        prediction: Prediction {
            phrase: truth.phrase.clone(),
            image_size: truth.image_size,
            targets: targets.iter().map(target).collect(),
            no_target: targets.is_empty(),
            no_target_score: Some(if targets.is_empty() { 0.9 } else { 0.2 }),
            model: ModelIdentity { name: "none".into(), hash: "0".into() },
        },
    }
}

/// Samples with up to `most` targets, and predictions that are near some of them.
pub(crate) fn samples(seed: u64, count: usize, fewest: u64, most: u64) -> Vec<Sample> {
    let mut dice = Dice(seed);
    let mut samples = Vec::new();
    for index in 0..count {
        let boxes: Vec<_> = (0..fewest + dice.below(most - fewest + 1)).map(|_| dice.bbox()).collect();
        let truth = truth(&"x".repeat(index % 7 + 1), &boxes);
        let truth = TruthRecord { id: index.to_string(), ..truth };
        let mut targets = Vec::new();
        for &bbox in &boxes {
            if dice.below(4) > 0 {
                targets.push(((50 + dice.below(50)) as f64 / 100.0, dice.near(bbox)));
            }
        }
        if dice.below(3) == 0 {
            targets.push((dice.below(100) as f64 / 100.0, dice.bbox()));
        }
        samples.push(Sample { prediction: Some(prediction(&truth, &targets)), truth });
    }
    samples
}

/// The truths, and predictions that say exactly them.
pub(crate) fn perfect(samples: &[Sample]) -> Vec<Sample> {
    let each = |sample: &Sample| {
        let targets: Vec<_> = sample.truth.truth.targets.iter().map(|target| (1.0, target.bbox)).collect();
        Sample { truth: sample.truth.clone(), prediction: Some(prediction(&sample.truth, &targets)) }
    };
    samples.iter().map(each).collect()
}

pub(crate) fn count_of(samples: &[Sample], count: TargetCount) -> usize {
    samples.iter().filter(|sample| sample.truth.source == count).count()
}
