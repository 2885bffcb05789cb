//! A protocol applied to samples.

use groundling_core::{BoxXyxy, Pixels, Rle};

use super::{Counts, EvalOptions, Protocol};
use crate::bootstrap::{PairedDifference, percentile_interval, resampled};
use crate::coco::{
    self, ApRanking, CocoAnnotation, CocoCategory, CocoDetection, CocoImage, CocoOptions, CocoTruth, IouKind,
    STAT_NAMES,
};
use crate::grec::GrecOptions;
use crate::gres::GresOptions;
use crate::rec::RecRule;
use crate::records::Sample;
use crate::res::{ResOptions, ResOutcome};
use crate::{BootstrapOptions, EvalError, Interval, RatioFigure, grec, gres, rec, res};

/// Figures, and whether each sample is right.
pub(super) struct Scored {
    pub(super) scoring: Scoring,
    /// One value a sample; empty for protocols that rank over all samples.
    pub(super) right: Vec<bool>,
}

/// What the figures are made of.
pub(super) enum Scoring {
    /// Sums over samples: intervals and groups come from them.
    Ratios(Vec<RatioFigure>),
    /// Numbers that only the ranking of all samples gives.
    Ranked(Box<Ranked>),
}

/// Numbers of a ranking.
pub(super) struct Ranked {
    /// In percent; the first is the headline.
    pub(super) values: Vec<(&'static str, Option<f64>)>,
    /// How to compute the headline for resamples.
    pub(super) ranking: ApRanking,
    pub(super) samples: usize,
}

impl Scored {
    pub(super) fn of(protocol: Protocol, samples: &[Sample], options: &EvalOptions) -> Result<Self, EvalError> {
        let ratios = |figures, right| Ok(Self { scoring: Scoring::Ratios(figures), right });
        match protocol {
            Protocol::Rec(rule) => {
                let ious = rec::ious(samples, rule)?;
                ratios(rec::figures(&ious, rule), ious.iter().map(|&iou| rule.is_hit(iou, 0.5)).collect())
            }
            Protocol::Res(size) | Protocol::RefZom(size) => {
                let options = ResOptions { size, min_score: options.mask_min_score };
                let outcomes = res::outcomes(samples, options)?;
                let with_absent = matches!(protocol, Protocol::RefZom(_));
                let right = |outcome: &ResOutcome| match *outcome {
                    ResOutcome::Absent { right } => right,
                    ResOutcome::Targeted { .. } => outcome.iou().is_some_and(|iou| iou >= 0.5),
                };
                ratios(res::figures(&outcomes, with_absent), outcomes.iter().map(right).collect())
            }
            Protocol::Gres { empty, size } => {
                let outcomes = gres::outcomes(samples, GresOptions { empty, size, min_score: options.mask_min_score })?;
                ratios(gres::figures(&outcomes), outcomes.iter().map(|outcome| outcome.iou >= 0.5).collect())
            }
            Protocol::Grec(pairing) => {
                let options = GrecOptions { min_score: options.grec_min_score, ..GrecOptions::new(pairing) };
                let outcomes = grec::outcomes(samples, options)?;
                ratios(grec::figures(&outcomes), outcomes.iter().map(|outcome| outcome.is_perfect()).collect())
            }
            Protocol::Coco(kind) => {
                let places: Vec<usize> = (0..samples.len()).collect();
                Ok(Self { scoring: Scoring::Ranked(Box::new(coco_values(samples, &places, kind)?)), right: Vec::new() })
            }
        }
    }

    /// The headline figures over some of the samples.
    pub(super) fn headlines_of(
        &self,
        protocol: Protocol,
        samples: &[Sample],
        places: &[usize],
    ) -> Result<Self, EvalError> {
        let scoring = match (&self.scoring, protocol) {
            (Scoring::Ratios(figures), _) => {
                let headlines = figures.iter().filter(|figure| figure.headline);
                Scoring::Ratios(headlines.map(|figure| figure.of_samples(places)).collect())
            }
            (Scoring::Ranked(_), Protocol::Coco(kind)) => {
                let mut ranked = coco_values(samples, places, kind)?;
                ranked.values.truncate(1);
                Scoring::Ranked(Box::new(ranked))
            }
            // Only COCO's protocols rank.
            (Scoring::Ranked(_), _) => Scoring::Ratios(Vec::new()),
        };
        Ok(Self { scoring, right: Vec::new() })
    }

    /// What "right" means in [`Scored::right`].
    pub(super) fn criterion(protocol: Protocol) -> &'static str {
        match protocol {
            Protocol::Rec(RecRule::VltVg) => "IoU > 0.5",
            Protocol::Rec(_) | Protocol::Res(_) => "IoU >= 0.5",
            Protocol::RefZom(_) => "IoU >= 0.5, or an empty mask where there is no target",
            Protocol::Gres { .. } => "IoU >= 0.5, or rightly predicted empty",
            Protocol::Grec(_) => "F1 = 1",
            Protocol::Coco(_) => "not defined: AP ranks over all samples",
        }
    }

    pub(super) fn notes(&self, protocol: Protocol, counts: &Counts) -> Vec<String> {
        let mut notes = Vec::new();
        if counts.samples > 0 && counts.zero == 0 && matches!(protocol, Protocol::Gres { .. } | Protocol::Grec(_)) {
            notes.push("no sample is without a target: N-acc and T-acc are 0 by the protocol's convention".to_owned());
        }
        if matches!(protocol, Protocol::Res(_)) && counts.zero > 0 {
            notes.push(format!("{} samples without a target are left out; ref-zom and gres score them", counts.zero));
        }
        if matches!(protocol, Protocol::Coco(_)) {
            notes.push("every figure ranks over all samples: only AP has an interval".to_owned());
        }
        notes
    }
}

/// The twelve numbers in percent: every sample an image, one category.
fn coco_values(samples: &[Sample], places: &[usize], kind: IouKind) -> Result<Ranked, EvalError> {
    const CATEGORY: i64 = 1;
    let mut truth =
        CocoTruth { categories: vec![CocoCategory { id: CATEGORY, name: "phrase".into() }], ..CocoTruth::default() };
    let mut detections = Vec::new();
    for (image_id, &place) in (1i64..).zip(places) {
        let sample = &samples[place];
        truth.images.push(CocoImage { id: image_id, size: Some(sample.truth.image_size) });
        for (target, object) in sample.truth.truth.targets.iter().enumerate() {
            let (mask, area) = shape(kind, object.mask.as_ref(), object.bbox).ok_or_else(|| EvalError::NoMask {
                id: sample.truth.id.clone(),
                whose: "true",
                target,
            })?;
            truth.annotations.push(CocoAnnotation {
                id: truth.annotations.len() as i64 + 1,
                image_id,
                category_id: CATEGORY,
                bbox: Some(object.bbox.to_xywh()),
                area,
                is_crowd: false,
                mask,
            });
        }
        let predicted = sample.prediction.iter().flat_map(|record| &record.prediction.targets).enumerate();
        for (target, found) in predicted {
            let (mask, _) = shape(kind, found.mask.as_ref(), found.bbox).ok_or_else(|| EvalError::NoMask {
                id: sample.truth.id.clone(),
                whose: "predicted",
                target,
            })?;
            let bbox = Some(found.bbox.to_xywh());
            detections.push(CocoDetection { image_id, category_id: CATEGORY, score: found.score, bbox, mask });
        }
    }
    let options = CocoOptions::new(kind);
    let stats = coco::evaluate(&truth, &detections, options)?.stats();
    Ok(Ranked {
        values: STAT_NAMES.into_iter().zip(stats.map(|value| value.map(|value| 100.0 * value))).collect(),
        ranking: coco::ap_ranking(&truth, &detections, options)?,
        samples: places.len(),
    })
}

/// The mask where masks are compared, and the area; `None` if a mask is missing.
fn shape(kind: IouKind, mask: Option<&Rle>, bbox: BoxXyxy<Pixels>) -> Option<(Option<Rle>, f64)> {
    match kind {
        IouKind::Box => Some((None, bbox.area())),
        IouKind::Mask => mask.map(|mask| (Some(mask.clone()), mask.area() as f64)),
    }
}

impl Ranked {
    /// The interval of the headline.
    pub(super) fn interval(&self, options: &BootstrapOptions) -> Option<Interval> {
        let values = resampled(self.samples, options, |counts| self.ranking.ap(counts).map(|ap| 100.0 * ap));
        percentile_interval(values, options.confidence)
    }

    /// The difference of the headline to that of another ranking of the same samples.
    pub(super) fn difference(&self, second: &Self, options: &BootstrapOptions) -> Option<PairedDifference> {
        let headline = |ranked: &Self| ranked.values.first().and_then(|(_, value)| *value);
        let difference = headline(second)? - headline(self)?;
        let values = resampled(self.samples, options, |counts| {
            Some(100.0 * (second.ranking.ap(counts)? - self.ranking.ap(counts)?))
        });
        Some(PairedDifference::of(difference, values, options.confidence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundling_core::{GroundTruth, ImageSize, ModelIdentity, Phrase, PredictedTarget, Prediction, TrueTarget};

    use crate::records::{PredictionRecord, TruthRecord};

    /// Sample `index` with a box and three guesses, of which some are near.
    fn sample(index: u32) -> Sample {
        let (x, phrase) = (f64::from(index % 9), Phrase::parse("cup").unwrap());
        let image_size = ImageSize::new(64, 64).unwrap();
        let bbox = BoxXyxy::new(x, 0.0, x + 20.0, 20.0);
        let targets = vec![TrueTarget { bbox, mask: None, category_id: None }];
        let truth = GroundTruth { targets, merged_mask: None };
        let guess = |k: u32| PredictedTarget {
            // All different: equal scores would stand in another order when samples are repeated.
            score: f64::from((index * 3 + k) * 37 % 121) / 121.0,
            bbox: bbox.shifted(f64::from((index * 7 + k * 5) % 13), f64::from(k)),
            mask: None,
            label: None,
        };
        let prediction = Prediction {
            phrase: phrase.clone(),
            image_size,
            targets: (0..3).map(guess).collect(),
            no_target: false,
            no_target_score: None,
            model: ModelIdentity { name: String::new(), hash: String::new() },
        };
        let (id, image) = (index.to_string(), String::new());
        let source = truth.count();
        Sample {
            prediction: Some(PredictionRecord { id: id.clone(), image: image.clone(), prediction }),
            truth: TruthRecord { id, image, phrase, image_size, truth, source },
        }
    }

    /// Taking a sample twice in the ranking is the same as having it twice.
    #[test]
    fn counted_samples_are_repeated_samples() {
        let samples: Vec<Sample> = (0..40).map(sample).collect();
        let all: Vec<usize> = (0..samples.len()).collect();
        let ranked = coco_values(&samples, &all, IouKind::Box).unwrap();
        for step in 0..4u32 {
            let counts: Vec<u32> = (0..40).map(|i| if step == 0 { 1 } else { (i * 7 + step) % (step + 2) }).collect();
            let places: Vec<usize> = all.iter().flat_map(|&i| std::iter::repeat_n(i, counts[i] as usize)).collect();
            let repeated = coco_values(&samples, &places, IouKind::Box).unwrap().values[0].1.unwrap();
            let counted = 100.0 * ranked.ranking.ap(&counts).unwrap();
            assert!(repeated > 1.0 && repeated < 99.0, "not trivial");
            assert!((repeated - counted).abs() < 1e-10, "{step}: {repeated} {counted}");
        }
        assert_eq!(ranked.ranking.ap(&[0; 40]), None);
    }
}
