//! Figures of a detector, as COCO makes them.

use std::collections::BTreeMap;
use std::time::Instant;

use groundling::{DetectOptions, Detected, Detector};
use groundling_data::examples::{About, Examples};
use groundling_eval::coco::{
    self, CocoAnnotation, CocoCategory, CocoDetection, CocoImage, CocoOptions, CocoTruth, IouKind,
};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::evaluate::EvaluationError;
use crate::task::{Figures, percent};

/// What an evaluation found. Figures are percentages, `None` where there is nothing to average.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ObjectFigures {
    /// Pictures.
    pub count: usize,
    /// Their objects, crowds not counted.
    pub objects: usize,
    /// Average precision over IoU 0.5 to 0.95 and all classes, 100 objects a picture: COCO's AP.
    pub ap: Option<f64>,
    /// At an IoU of 0.5.
    pub ap50: Option<f64>,
    /// At an IoU of 0.75.
    pub ap75: Option<f64>,
    /// AP by the size of objects in the original pictures.
    pub ap_by_area: AreaFigures,
    /// Average recall with 1, 10 and 100 objects a picture.
    pub ar: [Option<f64>; 3],
    /// Average recall with 100, by the size of objects.
    pub ar_by_area: AreaFigures,
    /// AP of each class.
    pub classes: BTreeMap<String, Option<f64>>,
    /// Mean counted operations of a picture.
    pub mean_flops: f64,
    /// The same, had the encoder worked on all tokens.
    pub mean_dense_flops: f64,
    /// Mean over pictures and layers of the share of tokens that the encoder worked on.
    pub kept: f64,
    /// Seconds of wall clock.
    pub secs: f64,
}

/// A figure by COCO's sizes of objects.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AreaFigures {
    /// Up to 32 x 32 pixels.
    pub small: Option<f64>,
    /// Up to 96 x 96.
    pub medium: Option<f64>,
    /// Larger ones.
    pub large: Option<f64>,
}

impl ObjectFigures {
    /// The twelve figures in COCO's order, [`coco::STAT_NAMES`], percent.
    pub fn twelve(&self) -> [Option<f64>; 12] {
        let [ar1, ar10, ar100] = self.ar;
        let (ap, ar) = (self.ap_by_area, self.ar_by_area);
        [self.ap, self.ap50, self.ap75, ap.small, ap.medium, ap.large, ar1, ar10, ar100, ar.small, ar.medium, ar.large]
    }
}

impl Figures for ObjectFigures {
    fn best(&self) -> (&'static str, f64) {
        ("AP", self.ap.unwrap_or(0.0))
    }

    fn columns(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AP", percent(self.ap)),
            ("AP50", percent(self.ap50)),
            ("AP75", percent(self.ap75)),
            ("AR100", percent(self.ar[2])),
            ("kept", format!("{:.2}", self.kept)),
            ("GFLOPs", format!("{:.3}", self.mean_flops / 1e9)),
            ("dense", format!("{:.3}", self.mean_dense_flops / 1e9)),
        ]
    }

    fn curves(_: &Value) -> Vec<(String, String)> {
        let curves = [("AP", "/ap"), ("AP50", "/ap50"), ("AP75", "/ap75"), ("AR100", "/ar/2")];
        curves.map(|(name, at)| (name.to_owned(), at.to_owned())).to_vec()
    }
}

/// Scores a detector on a source.
#[derive(Debug)]
pub struct ObjectScorer<'a> {
    detector: &'a Detector,
    examples: &'a Examples,
    /// The source's class for each of the detector's, where it has one.
    class_of: Vec<Option<usize>>,
}

impl<'a> ObjectScorer<'a> {
    /// Matches the classes of detector and source by their names.
    ///
    /// # Errors
    /// If the source has a class that the detector does not know, which it could never find.
    pub fn new(detector: &'a Detector, examples: &'a Examples) -> Result<Self, EvaluationError> {
        let (known, wanted) = (detector.classes(), examples.classes());
        let unknown: Vec<String> = wanted.iter().filter(|name| !known.contains(name)).cloned().collect();
        if !unknown.is_empty() {
            return Err(EvaluationError::Classes { unknown, known: known.to_vec() });
        }
        let class_of = known.iter().map(|name| wanted.iter().position(|other| other == name)).collect();
        Ok(Self { detector, examples, class_of })
    }

    /// Finds the objects of the first `limit` pictures, pictures in parallel.
    ///
    /// # Errors
    /// If a picture cannot be read, or the options do not fit the detector.
    pub fn detect(
        &self,
        limit: Option<usize>,
        options: &DetectOptions,
    ) -> Result<Vec<(About, Detected)>, EvaluationError> {
        let count = limit.map_or(self.examples.len(), |limit| self.examples.len().min(limit));
        let of_picture = |index: usize| {
            let picture = self.examples.picture(index)?;
            let detected = self.detector.detect(&picture.image, options)?;
            Ok((picture.about, detected))
        };
        (0..count).into_par_iter().map(of_picture).collect()
    }

    /// Detects and scores.
    ///
    /// # Errors
    /// As [`ObjectScorer::detect`].
    pub fn score(&self, limit: Option<usize>, options: &DetectOptions) -> Result<ObjectFigures, EvaluationError> {
        let start = Instant::now();
        let found = self.detect(limit, options)?;
        let mut figures = self.figures(&found)?;
        figures.secs = start.elapsed().as_secs_f64();
        Ok(figures)
    }

    /// The figures of what was found. Classes that the source does not have are left aside, as they have no truth.
    ///
    /// # Errors
    /// If a number is not finite.
    pub fn figures(&self, found: &[(About, Detected)]) -> Result<ObjectFigures, EvaluationError> {
        let truth = self.truth(found);
        let detections: Vec<CocoDetection> =
            found.iter().zip(1..).flat_map(|(one, id)| self.detections(&one.1, id)).collect();
        let evaluation = coco::evaluate(&truth, &detections, CocoOptions::new(IouKind::Box))?;
        let [ap, ap50, ap75, aps, apm, apl, ar1, ar10, ar100, ars, arm, arl] =
            evaluation.stats().map(|value| value.map(|value| 100.0 * value));
        let name = |id: i64| self.examples.classes()[(id - 1) as usize].clone();
        let mean = |of: &dyn Fn(&Detected) -> f64| {
            found.iter().map(|(_, detected)| of(detected)).sum::<f64>() / found.len().max(1) as f64
        };
        Ok(ObjectFigures {
            count: found.len(),
            objects: truth.annotations.iter().filter(|annotation| !annotation.is_crowd).count(),
            ap,
            ap50,
            ap75,
            ap_by_area: AreaFigures { small: aps, medium: apm, large: apl },
            ar: [ar1, ar10, ar100],
            ar_by_area: AreaFigures { small: ars, medium: arm, large: arl },
            classes: evaluation
                .per_category_ap()
                .into_iter()
                .map(|(id, ap)| (name(id), ap.map(|ap| 100.0 * ap)))
                .collect(),
            mean_flops: mean(&|detected| detected.flops as f64),
            mean_dense_flops: mean(&|detected| detected.dense_flops as f64),
            kept: mean(&|detected| detected.kept.share()),
            secs: 0.0,
        })
    }

    /// Pictures are numbered from 1, and classes by their place in the source, from 1.
    fn truth(&self, found: &[(About, Detected)]) -> CocoTruth {
        let images = found.iter().zip(1..).map(|((about, _), id)| CocoImage { id, size: Some(about.size) });
        let categories = self.examples.classes().iter().zip(1..);
        let objects = found.iter().zip(1..).flat_map(|((about, _), image_id)| {
            let classed = about.objects.iter().filter_map(|object| Some((object, object.class?)));
            classed.map(move |(object, class)| (image_id, object, class))
        });
        let annotation =
            |((image_id, object, class), id): ((i64, &groundling_data::examples::ExampleObject, usize), i64)| {
                CocoAnnotation {
                    id,
                    image_id,
                    category_id: class as i64 + 1,
                    bbox: Some(object.bbox.to_xywh()),
                    area: object.area.unwrap_or_else(|| object.bbox.area()),
                    is_crowd: object.is_crowd,
                    mask: None,
                }
            };
        CocoTruth {
            images: images.collect(),
            categories: categories.map(|(name, id)| CocoCategory { id, name: name.clone() }).collect(),
            annotations: objects.zip(1..).map(annotation).collect(),
        }
    }

    fn detections(&self, detected: &Detected, image_id: i64) -> Vec<CocoDetection> {
        let detection = |object: &groundling::FoundObject| {
            Some(CocoDetection {
                image_id,
                category_id: self.class_of[object.class]? as i64 + 1,
                score: object.score,
                bbox: Some(object.bbox.to_xywh()),
                mask: None,
            })
        };
        detected.objects.iter().filter_map(detection).collect()
    }
}
