//! A protocol applied to samples.

use groundling_core::{BoxXyxy, Pixels, Rle};

use super::{Counts, EvalOptions, Protocol};
use crate::coco::{
    self, CocoAnnotation, CocoCategory, CocoDetection, CocoImage, CocoOptions, CocoTruth, IouKind, STAT_NAMES,
};
use crate::grec::GrecOptions;
use crate::gres::GresOptions;
use crate::rec::RecRule;
use crate::records::Sample;
use crate::res::{ResOptions, ResOutcome};
use crate::{EvalError, RatioFigure, grec, gres, rec, res};

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
    /// Numbers that only the whole gives, in percent.
    Values(Vec<(&'static str, Option<f64>)>),
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
                Ok(Self { scoring: Scoring::Values(coco_values(samples, &places, kind)?), right: Vec::new() })
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
            (Scoring::Values(_), Protocol::Coco(kind)) => {
                let mut values = coco_values(samples, places, kind)?;
                values.truncate(1);
                Scoring::Values(values)
            }
            (Scoring::Values(_), _) => Scoring::Values(Vec::new()),
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
            notes.push("AP ranks over all samples: no intervals".to_owned());
        }
        notes
    }
}

/// The twelve numbers in percent: every sample an image, one category.
fn coco_values(
    samples: &[Sample],
    places: &[usize],
    kind: IouKind,
) -> Result<Vec<(&'static str, Option<f64>)>, EvalError> {
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
    let stats = coco::evaluate(&truth, &detections, CocoOptions::new(kind))?.stats();
    Ok(STAT_NAMES.into_iter().zip(stats.map(|value| value.map(|value| 100.0 * value))).collect())
}

/// The mask where masks are compared, and the area; `None` if a mask is missing.
fn shape(kind: IouKind, mask: Option<&Rle>, bbox: BoxXyxy<Pixels>) -> Option<(Option<Rle>, f64)> {
    match kind {
        IouKind::Box => Some((None, bbox.area())),
        IouKind::Mask => mask.map(|mask| (Some(mask.clone()), mask.area() as f64)),
    }
}
