//! COCO evaluation on real files, against a slow recomputation, and with broken files.

use groundling_core::{BoxXywh, ImageSize, Rle};
use groundling_eval::coco::{
    self, AreaRange, CocoAnnotation, CocoCategory, CocoDetection, CocoError, CocoImage, CocoOptions, CocoTruth,
    IouKind, MAX_DETECTIONS, THRESHOLDS, iou_threshold, json, recall_level,
};
use groundling_testkit::{Array, fixtures, goldens::read_json};

use crate::made::Dice;

#[test]
fn the_numbers_of_the_coco_demo() {
    let folder = fixtures().join("coco-eval");
    let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
    let expected = read_json(&folder.join("expected.json"));
    for (kind, key, results) in [
        (IouKind::Box, "bbox", "instances_val2014_fakebbox100_results.json"),
        (IouKind::Mask, "segm", "instances_val2014_fakesegm100_results.json"),
    ] {
        let truth = json::parse_truth(&read("instances_val2014_100.json"), "truth", kind).unwrap();
        let found = json::parse_results(&read(results), results, &truth, kind).unwrap();
        let stats = coco::evaluate(&truth, &found, CocoOptions::new(kind)).unwrap().stats();
        let expected = Array::from_json(&expected[key]).data;
        assert_eq!(expected.len(), 12);
        for ((name, found), expected) in coco::STAT_NAMES.iter().zip(stats).zip(expected) {
            let found = found.unwrap();
            assert!((found - expected).abs() <= 1e-12, "{key} {name}: {found}, expected {expected}");
        }
    }
}

/// A second implementation, straight from the definition: nothing shared, nothing sorted once, nothing skipped.
mod slow {
    use super::*;

    fn overlap(kind: IouKind, found: &CocoDetection, object: &CocoAnnotation) -> f64 {
        let (both, a, b) = match kind {
            IouKind::Box => {
                let ([x, y, w, h], [u, v, p, q]) = (found.bbox.unwrap().to_array(), object.bbox.unwrap().to_array());
                let width = ((x + w).min(u + p) - x.max(u)).max(0.0);
                let height = ((y + h).min(v + q) - y.max(v)).max(0.0);
                (width * height, w * h, p * q)
            }
            IouKind::Mask => {
                let (found, object) = (found.mask.as_ref().unwrap().to_mask(), object.mask.as_ref().unwrap().to_mask());
                let (both, _) = found.intersection_and_union(&object).unwrap();
                (both as f64, found.area() as f64, object.area() as f64)
            }
        };
        let over = if object.is_crowd { a } else { a + b - both };
        if both > 0.0 { both / over } else { 0.0 }
    }

    fn detection_area(kind: IouKind, found: &CocoDetection) -> f64 {
        match kind {
            IouKind::Box => found.bbox.map(|b| b.width * b.height).unwrap(),
            IouKind::Mask => found.mask.as_ref().unwrap().area() as f64,
        }
    }

    /// (score, matched, ignored) of every detection in every image, and the number of positives.
    fn judged(
        truth: &CocoTruth,
        detections: &[CocoDetection],
        kind: IouKind,
        (category, (low, high), most, threshold): (i64, (f64, f64), usize, f64),
    ) -> (Vec<(f64, bool, bool)>, usize) {
        let mut images: Vec<i64> = truth.images.iter().map(|image| image.id).collect();
        images.sort();
        let (mut all, mut positives) = (Vec::new(), 0);
        for image in images {
            let mut objects: Vec<(&CocoAnnotation, bool)> = truth
                .annotations
                .iter()
                .filter(|a| a.image_id == image && a.category_id == category)
                .map(|a| (a, a.is_crowd || a.area < low || a.area > high))
                .collect();
            objects.sort_by_key(|(_, ignored)| *ignored);
            positives += objects.iter().filter(|(_, ignored)| !ignored).count();
            let mut found: Vec<&CocoDetection> =
                detections.iter().filter(|d| d.image_id == image && d.category_id == category).collect();
            found.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap());
            found.truncate(100);
            let mut used = vec![false; objects.len()];
            for (rank, detection) in found.into_iter().enumerate() {
                let (mut best, mut hit) = (threshold.min(1.0 - 1e-10), None);
                for (place, (object, ignored)) in objects.iter().enumerate() {
                    if used[place] && !object.is_crowd {
                        continue;
                    }
                    if hit.is_some_and(|h: usize| !objects[h].1) && *ignored {
                        break;
                    }
                    let iou = overlap(kind, detection, object);
                    if iou < best {
                        continue;
                    }
                    (best, hit) = (iou, Some(place));
                }
                let area = detection_area(kind, detection);
                let outside = area < low || area > high;
                let ignored = hit.map_or(outside, |place| objects[place].1);
                if let Some(place) = hit {
                    used[place] = true;
                }
                if rank < most {
                    all.push((detection.score, hit.is_some(), ignored));
                }
            }
        }
        all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap());
        (all, positives)
    }

    /// Last recall and the 101 precisions, by looking for the best precision at or beyond each recall.
    pub(super) fn curve(
        truth: &CocoTruth,
        detections: &[CocoDetection],
        kind: IouKind,
        cell: (i64, (f64, f64), usize, f64),
    ) -> Option<(f64, Vec<f64>)> {
        let (ranking, positives) = judged(truth, detections, kind, cell);
        if positives == 0 {
            return None;
        }
        let (mut right, mut wrong, mut points) = (0.0, 0.0, Vec::new());
        for (_, matched, ignored) in ranking {
            if !ignored {
                if matched { right += 1.0 } else { wrong += 1.0 }
            }
            points.push((right / positives as f64, right / (wrong + right + f64::EPSILON)));
        }
        let precision = |level: usize| {
            let beyond = points.iter().filter(|(recall, _)| *recall >= recall_level(level));
            beyond.map(|(_, precision)| *precision).fold(0.0, f64::max)
        };
        Some((points.last().map_or(0.0, |p| p.0), (0..coco::RECALLS).map(precision).collect()))
    }
}

fn random(seed: u64, kind: IouKind) -> (CocoTruth, Vec<CocoDetection>) {
    let mut dice = Dice(seed);
    let size = ImageSize::new(120, 130).unwrap();
    let categories = [4i64, 2, 9];
    let mut truth = CocoTruth {
        images: [7, 3, 5, 11].map(|id| CocoImage { id, size: Some(size) }).to_vec(),
        categories: categories.iter().map(|&id| CocoCategory { id, name: String::new() }).collect(),
        annotations: Vec::new(),
    };
    let shape = |bbox: BoxXywh<groundling_core::Pixels>| match kind {
        IouKind::Box => None,
        IouKind::Mask => Some(Rle::from_box(size, bbox.to_xyxy()).unwrap()),
    };
    let mut detections = Vec::new();
    for id in 0..24 + dice.below(12) as i64 {
        let image_id = [3, 5, 7][dice.below(3) as usize];
        let category_id = [2, 4][dice.below(2) as usize];
        let sides = [10, 32, 96, 20, 60][dice.below(5) as usize];
        let bbox =
            BoxXywh::new(dice.below(40) as f64, dice.below(30) as f64, sides as f64, (sides - dice.below(3)) as f64);
        let is_crowd = dice.below(10) == 0;
        let area = bbox.width * bbox.height;
        truth.annotations.push(CocoAnnotation {
            id: id + 1,
            image_id,
            category_id,
            bbox: Some(bbox),
            area,
            is_crowd,
            mask: shape(bbox),
        });
        for _ in 0..dice.below(4) {
            let mut step = || dice.below(7) as f64 - 3.0;
            let near = BoxXywh::new(bbox.x + step(), bbox.y + step(), bbox.width + step(), bbox.height + step());
            let score = dice.below(20) as f64 / 20.0;
            detections.push(CocoDetection { image_id, category_id, score, bbox: Some(near), mask: shape(near) });
        }
        if dice.below(4) == 0 {
            let stray = BoxXywh::new(dice.below(100) as f64, dice.below(90) as f64, 30.0, 25.0);
            let category_id = categories[dice.below(3) as usize];
            detections.push(CocoDetection {
                image_id: 11,
                category_id,
                score: 0.5,
                bbox: Some(stray),
                mask: shape(stray),
            });
        }
    }
    (truth, detections)
}

#[test]
fn a_slow_recomputation_agrees() {
    for (seed, kind) in (0..8).map(|seed| (seed, if seed < 5 { IouKind::Box } else { IouKind::Mask })) {
        let (truth, detections) = random(seed, kind);
        let evaluation = coco::evaluate(&truth, &detections, CocoOptions::new(kind)).unwrap();
        assert_eq!(evaluation.category_ids(), [2, 4, 9]);
        let mut sums: Vec<(f64, usize)> = vec![(0.0, 0); 12];
        let mut add = |index: usize, values: &[f64]| {
            sums[index].0 += values.iter().sum::<f64>();
            sums[index].1 += values.len();
        };
        for (category, &id) in evaluation.category_ids().iter().enumerate() {
            for (a, area) in AreaRange::ALL.into_iter().enumerate() {
                for (m, &most) in MAX_DETECTIONS.iter().enumerate() {
                    for k in 0..THRESHOLDS {
                        let curve = slow::curve(&truth, &detections, kind, (id, area.bounds(), most, iou_threshold(k)));
                        let place = format!("seed {seed}, category {id}, {}, {most}, threshold {k}", area.name());
                        let recall = curve.as_ref().map(|curve| curve.0);
                        assert_eq!(evaluation.recall(k, category, area, m), recall, "{place}");
                        let precision = curve.as_ref().map(|curve| curve.1.as_slice());
                        assert_eq!(evaluation.precision(k, category, area, m), precision, "{place}");
                        let Some((recall, precision)) = curve else { continue };
                        if most == 100 {
                            add([0, 3, 4, 5][a], &precision);
                            add([8, 9, 10, 11][a], &[recall]);
                        } else if a == 0 {
                            add([6, 7][m], &[recall]);
                        }
                        if most == 100 && a == 0 && (k == 0 || k == 5) {
                            add(if k == 0 { 1 } else { 2 }, &precision);
                        }
                    }
                }
            }
        }
        for ((name, found), (sum, count)) in coco::STAT_NAMES.iter().zip(evaluation.stats()).zip(sums) {
            let expected = (count > 0).then(|| sum / count as f64);
            assert_eq!(found.is_some(), expected.is_some(), "seed {seed}: {name}");
            let distance = (found.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs();
            assert!(distance < 1e-13, "seed {seed}: {name} is {found:?}, expected {expected:?}");
        }
        assert!(evaluation.stats()[0].unwrap() > 0.05, "the case is not trivial");
    }
}

#[test]
fn annotations_in_any_order_and_ids_of_any_kind() {
    let (truth, detections) = random(3, IouKind::Box);
    let stats = coco::evaluate(&truth, &detections, CocoOptions::new(IouKind::Box)).unwrap().stats();
    let mut other = truth.clone();
    other.images.reverse();
    other.categories.reverse();
    other.annotations.iter_mut().for_each(|annotation| annotation.id = -annotation.id);
    assert_eq!(coco::evaluate(&other, &detections, CocoOptions::new(IouKind::Box)).unwrap().stats(), stats);
}

#[test]
fn the_truth_itself_is_perfect() {
    let (truth, _) = random(4, IouKind::Mask);
    let objects = truth.annotations.iter().filter(|annotation| !annotation.is_crowd);
    let mut said = Vec::new();
    let detections: Vec<CocoDetection> = objects
        .filter(|a| {
            // Two equal objects may take each other's detection, which is right as well; keep the case plain.
            let new = !said.contains(&(a.image_id, a.category_id, a.mask.clone()));
            said.push((a.image_id, a.category_id, a.mask.clone()));
            new
        })
        .map(|a| CocoDetection {
            image_id: a.image_id,
            category_id: a.category_id,
            score: 0.9,
            bbox: None,
            mask: a.mask.clone(),
        })
        .collect();
    let stats = coco::evaluate(&truth, &detections, CocoOptions::new(IouKind::Mask)).unwrap().stats();
    assert!((stats[0].unwrap() - 1.0).abs() < 1e-12 && stats[8] == Some(1.0), "{stats:?}");
}

#[test]
fn wrong_lists_are_errors() {
    let (truth, detections) = random(0, IouKind::Box);
    let evaluate = |truth: &CocoTruth, detections: &[CocoDetection], kind| {
        coco::evaluate(truth, detections, CocoOptions::new(kind)).unwrap_err()
    };
    let with = |change: fn(&mut CocoDetection)| {
        let mut detections = detections.clone();
        change(&mut detections[2]);
        evaluate(&truth, &detections, IouKind::Box)
    };
    assert_eq!(with(|d| d.image_id = 99), CocoError::UnknownImage { what: "detection", index: 2, id: 99 });
    assert_eq!(with(|d| d.category_id = 99), CocoError::UnknownCategory { what: "detection", index: 2, id: 99 });
    assert_eq!(with(|d| d.bbox = None), CocoError::NoShape { what: "detection", index: 2, missing: "box" });
    assert!(matches!(with(|d| d.score = f64::NAN), CocoError::NotFinite { field: "score", .. }));
    assert!(matches!(
        with(|d| d.bbox = Some(BoxXywh::new(0.0, f64::INFINITY, 1.0, 1.0))),
        CocoError::NotFinite { field: "box", .. }
    ));
    assert!(matches!(evaluate(&truth, &detections, IouKind::Mask), CocoError::NoShape { what: "annotation", .. }));
    let (truth, mut detections) = random(0, IouKind::Mask);
    detections[0].mask = Some(Rle::empty(ImageSize::new(3, 3).unwrap()));
    assert!(matches!(evaluate(&truth, &detections, IouKind::Mask), CocoError::MaskSizes { .. }));
}

const TRUTH: &str = r#"{"info":{},"images":[{"id":1,"height":4,"width":6,"file_name":"a"}],"categories":[{"id":3,"name":"cup"}],
"annotations":[{"id":1,"image_id":1,"category_id":3,"bbox":[0,0,4,4],"area":16,"iscrowd":0,"segmentation":[[0,0,4,0,4,4,0,4]]},
{"id":2,"image_id":1,"category_id":3,"bbox":[0,0,1,4],"area":4,"iscrowd":1,"segmentation":{"size":[4,6],"counts":[0,4,20]}}]}"#;
const RESULTS: &str =
    r#"[{"image_id":1,"category_id":3,"bbox":[0,0,4,4],"score":0.5,"segmentation":{"size":[4,6],"counts":"0`08"}}]"#;

#[test]
fn every_form_of_mask_is_read() {
    let truth = json::parse_truth(TRUTH.as_bytes(), "t", IouKind::Mask).unwrap();
    let areas: Vec<u64> = truth.annotations.iter().map(|a| a.mask.as_ref().unwrap().area()).collect();
    assert_eq!(areas, [16, 4]);
    let found = json::parse_results(RESULTS.as_bytes(), "r", &truth, IouKind::Mask).unwrap();
    assert_eq!(found[0].mask.as_ref().unwrap().area(), 16);
    assert_eq!(json::parse_results(RESULTS.as_bytes(), "r", &truth, IouKind::Box).unwrap()[0].mask, None);
}

#[test]
fn broken_coco_files_are_refused_by_name() {
    for (from, to, message) in [
        ("\"id\":2", "\"id\":1", "t: annotations[1]: id 1 stands there twice"),
        ("\"image_id\":1", "\"image_id\":8", "t: annotations[0]: image_id is 8, expected one of the 1 images"),
        (
            "\"category_id\":3",
            "\"category_id\":8",
            "t: annotations[0]: category_id is 8, expected one of the 1 categories",
        ),
        ("[0,0,4,4]", "[0,0,-4,4]", "t: annotations[0]: bbox is [0.0, 0.0, -4.0, 4.0]"),
        ("\"area\":16", "\"area\":-1", "t: annotations[0]: area is -1"),
        ("\"area\":16", "\"area\":NaN", "t: expected value"),
        ("\"iscrowd\":1", "\"iscrowd\":2", "t: annotations[1]: iscrowd is 2, expected 0 or 1"),
        ("[0,4,20]", "[0,4,21]", "t: annotations[1]: segmentation: run lengths add up to 25"),
        ("\"size\":[4,6]", "\"size\":[6,4]", "t: annotations[1]: segmentation is for 4x6, expected 6x4"),
        ("[[0,0,4,0,4,4,0,4]]", "[[0,0,4]]", "t: annotations[0]: segmentation: polygon has 3 numbers"),
        (",\"segmentation\":[[0,0,4,0,4,4,0,4]]", "", "t: annotations[0]: segmentation is missing"),
        ("\"height\":4,", "", "t: annotations[0]: image 1 states no height and width"),
        ("\"height\":4,", "\"height\":0,", "t: images[0]: image size is 0x6"),
        ("\"images\"", "\"pictures\"", "t: missing field `images`"),
    ] {
        assert!(TRUTH.contains(from), "{from}");
        let error = json::parse_truth(TRUTH.replacen(from, to, 1).as_bytes(), "t", IouKind::Mask).unwrap_err();
        assert!(error.to_string().starts_with(message), "{from} -> {to}:\n  {error}");
    }
    let truth = json::parse_truth(TRUTH.as_bytes(), "t", IouKind::Mask).unwrap();
    for (from, to, kind, message) in [
        (
            "\"image_id\":1",
            "\"image_id\":2",
            IouKind::Box,
            "r: results[0]: image_id is 2, expected one of the 1 images",
        ),
        ("\"category_id\":3", "\"category_id\":2", IouKind::Box, "r: results[0]: category_id is 2"),
        ("[0,0,4,4]", "[0,0,4,-4]", IouKind::Box, "r: results[0]: bbox is"),
        ("\"bbox\":[0,0,4,4],", "", IouKind::Box, "r: results[0]: bbox is missing"),
        ("0`08", "0`09", IouKind::Mask, "r: results[0]: segmentation: run lengths add up to"),
        ("0`08", "0\u{7f}", IouKind::Mask, "r: results[0]: segmentation: compressed run-length code has byte 0x7f"),
        ("[4,6]", "[0,6]", IouKind::Mask, "r: results[0]: image size is 0x6"),
        ("[{", "{", IouKind::Box, "r: invalid type"),
    ] {
        assert!(RESULTS.contains(from), "{from}");
        let error = json::parse_results(RESULTS.replacen(from, to, 1).as_bytes(), "r", &truth, kind).unwrap_err();
        assert!(error.to_string().starts_with(message), "{from} -> {to}:\n  {error}");
    }
}
