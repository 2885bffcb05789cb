//! Fixtures of the reference implementations.

mod coco_eval {
    use groundling_eval::coco::{
        self, AreaRange, CocoDetection, CocoEvaluation, CocoOptions, CocoTruth, IouKind, MAX_DETECTIONS, THRESHOLDS,
        image_matches, json,
    };
    use groundling_testkit::{Array, Folder};
    use serde::Deserialize;
    use serde_json::Value;

    #[derive(Deserialize)]
    struct Config {
        iou_type: String,
        atol: f64,
        zero_id_is_no_match: bool,
    }

    fn close(found: Option<f64>, expected: f64, atol: f64, place: &str) {
        // -1 is COCO's "absent".
        let found = found.unwrap_or(-1.0);
        assert!((found - expected).abs() <= atol, "{place}: {found}, expected {expected}");
    }

    #[test]
    fn every_number_of_every_case() {
        let mut images_checked = 0;
        for case in Folder::open("coco_eval").of_kinds(&["coco_eval"], 11) {
            let (name, config) = (case.name(), case.config::<Config>());
            let kind = match config.iou_type.as_str() {
                "bbox" => IouKind::Box,
                "segm" => IouKind::Mask,
                other => panic!("{name}: unknown iou_type {other}"),
            };
            let file = case.file_json();
            let truth = json::parse_truth(file["gt"].to_string().as_bytes(), name, kind).unwrap();
            let found = json::parse_results(file["dt"].to_string().as_bytes(), name, &truth, kind).unwrap();
            let options = CocoOptions { kind, zero_id_is_no_match: config.zero_id_is_no_match };
            let evaluation = coco::evaluate(&truth, &found, options).unwrap();
            let expected = &file["expected"];
            let stats = Array::from_json(&expected["stats"]).data;
            assert_eq!(stats.len(), 12, "{name}");
            for (index, (&expected, found)) in stats.iter().zip(evaluation.stats()).enumerate() {
                close(found, expected, config.atol, &format!("{name}: {}", coco::STAT_NAMES[index]));
            }
            arrays(&evaluation, expected, name, config.atol);
            images_checked += images(&truth, &found, options, expected, name);
        }
        assert!(images_checked > 0, "no case shows the matches of an image");
    }

    fn arrays(evaluation: &CocoEvaluation, expected: &Value, name: &str, atol: f64) {
        let per_category = expected["per_category_ap"].as_object().unwrap();
        let found = evaluation.per_category_ap();
        assert_eq!(per_category.len(), found.len(), "{name}: categories");
        for (id, ap) in found {
            let expected = per_category[&id.to_string()].as_f64().unwrap_or(-1.0);
            close(ap, expected, atol, &format!("{name}: AP of category {id}"));
        }
        let cells = |of: &str, value: &dyn Fn(usize, usize, AreaRange, usize) -> Option<f64>| {
            let array = Array::from_json(&expected[of]);
            let categories = evaluation.category_ids().len();
            let areas = AreaRange::ALL.len();
            assert_eq!(array.shape, [THRESHOLDS, categories, areas, MAX_DETECTIONS.len()], "{name}: {of}");
            for (index, &expected) in array.data.iter().enumerate() {
                let (rest, limit) = (index / 3, index % 3);
                let (rest, area) = (rest / areas, AreaRange::ALL[rest % areas]);
                let (threshold, category) = (rest / categories, rest % categories);
                let place = format!("{name}: {of} at {threshold}, {category}, {}, {limit}", area.name());
                close(value(threshold, category, area, limit), expected, atol, &place);
            }
        };
        cells("recall_T_K_A_M", &|t, k, a, m| evaluation.recall(t, k, a, m));
        cells("precision_mean_over_R_T_K_A_M", &|t, k, a, m| {
            evaluation.precision(t, k, a, m).map(|row| row.iter().sum::<f64>() / row.len() as f64)
        });
        for (key, threshold) in [("precision_iou50_all_max100", 0), ("precision_iou75_all_max100", 5)] {
            for (id, curve) in expected[key].as_object().unwrap() {
                let category = evaluation.category_ids().iter().position(|c| c.to_string() == *id).unwrap();
                let found = evaluation.precision(threshold, category, AreaRange::All, 2);
                let place = format!("{name}: {key} of {id}");
                match curve {
                    Value::Null => assert_eq!(found, None, "{place}"),
                    curve => {
                        let expected = Array::from_json(curve).data;
                        if expected.iter().all(|&v| v == -1.0) {
                            assert_eq!(found, None, "{place}");
                            continue;
                        }
                        let found = found.unwrap();
                        assert_eq!(found.len(), expected.len(), "{place}");
                        found.iter().zip(expected).for_each(|(&f, e)| close(Some(f), e, atol, &place));
                    }
                }
            }
        }
    }

    #[derive(Deserialize)]
    struct ImageRow {
        image_id: i64,
        category_id: i64,
        area: String,
        dt_ids: Vec<usize>,
        gt_ids: Vec<i64>,
        dt_matches_iou50: Vec<i64>,
        dt_matches_iou75: Vec<i64>,
        dt_ignore_iou50: Vec<u8>,
        gt_ignore: Vec<u8>,
    }

    fn images(truth: &CocoTruth, found: &[CocoDetection], options: CocoOptions, expected: &Value, name: &str) -> usize {
        let Some(rows) = expected.get("eval_imgs") else { return 0 };
        let rows: Vec<ImageRow> = serde_json::from_value(rows.clone()).unwrap();
        for row in &rows {
            let area = *AreaRange::ALL.iter().find(|area| area.name() == row.area).unwrap();
            let matches = image_matches(truth, found, options, (row.image_id, row.category_id, area)).unwrap();
            let place = format!("{name}: image {}, category {}, {}", row.image_id, row.category_id, row.area);
            let ids = |places: &[usize]| places.iter().map(|&p| truth.annotations[p].id).collect::<Vec<_>>();
            let matched = |threshold: usize| -> Vec<i64> {
                matches.matched[threshold].iter().map(|m| m.map_or(0, |p| truth.annotations[p].id)).collect()
            };
            let flags = |flags: &[bool]| flags.iter().map(|&f| u8::from(f)).collect::<Vec<_>>();
            let detections: Vec<usize> = matches.detections.iter().map(|&d| d + 1).collect();
            assert_eq!(detections, row.dt_ids, "{place}");
            assert_eq!(ids(&matches.annotations), row.gt_ids, "{place}");
            assert_eq!(matched(0), row.dt_matches_iou50, "{place}");
            assert_eq!(matched(5), row.dt_matches_iou75, "{place}");
            assert_eq!(flags(&matches.ignored[0]), row.dt_ignore_iou50, "{place}");
            assert_eq!(flags(&matches.annotation_ignored), row.gt_ignore, "{place}");
        }
        rows.len()
    }

    /// Where the reference is wrong we are right: the number does not depend on which id an annotation has.
    #[test]
    fn an_annotation_with_id_zero_is_an_annotation() {
        let mut checked = 0;
        for case in Folder::open("coco_eval").of_kinds(&["coco_eval"], 11) {
            if !case.config::<Config>().zero_id_is_no_match {
                continue;
            }
            let file = case.file_json();
            let truth = json::parse_truth(file["gt"].to_string().as_bytes(), "", IouKind::Box).unwrap();
            let found = json::parse_results(file["dt"].to_string().as_bytes(), "", &truth, IouKind::Box).unwrap();
            assert!(truth.annotations.iter().any(|annotation| annotation.id == 0), "{}", case.name());
            let mut shifted = truth.clone();
            shifted.annotations.iter_mut().for_each(|annotation| annotation.id += 1);
            let ours = |truth| coco::evaluate(truth, &found, CocoOptions::new(IouKind::Box)).unwrap();
            assert_eq!(ours(&truth), ours(&shifted));
            checked += 1;
        }
        assert!(checked > 0, "no case has an annotation with id 0");
    }
}

mod dmmi {
    use groundling_core::{BinaryMask, BoxXyxy, GroundTruth, ImageSize, PredictedTarget, Rle, TargetCount};
    use groundling_eval::gres::{self, GresOptions, GresScores, PredictedEmpty};
    use groundling_eval::records::{Sample, TruthRecord};
    use groundling_eval::res::{self, ResOptions, ResOutcome, ResScores};
    use groundling_eval::{EvalOptions, MaskSize, Protocol, evaluate};
    use groundling_testkit::Folder;
    use serde::Deserialize;
    use serde_json::Value;

    use crate::made;

    #[derive(Deserialize)]
    struct Config {
        atol: f64,
        area_rule_pixels: u64,
    }

    #[derive(Deserialize)]
    struct Row {
        source: String,
        pred: Vec<String>,
        gt: Vec<String>,
        pred_no_target: bool,
        expect: Value,
    }

    fn mask(rows: &[String]) -> Rle {
        let size = ImageSize::new(rows.len() as u32, rows[0].len() as u32).unwrap();
        let pixels = rows.iter().flat_map(|row| row.bytes().map(|b| b == b'1')).collect();
        Rle::from_mask(&BinaryMask::from_pixels(size, pixels).unwrap())
    }

    fn sample(index: usize, row: &Row) -> Sample {
        let (predicted, truth) = (mask(&row.pred), mask(&row.gt));
        let source = match row.source.as_str() {
            "zero" => TargetCount::Zero,
            "one" => TargetCount::One,
            "many" => TargetCount::Many,
            other => panic!("sample {index}: unknown source {other}"),
        };
        let truth = TruthRecord {
            id: index.to_string(),
            image_size: truth.size(),
            truth: GroundTruth { targets: vec![], merged_mask: Some(truth) },
            source,
            ..made::truth("x", &[])
        };
        let mut prediction = made::prediction(&truth, &[]);
        let bbox = predicted.bbox().unwrap_or(BoxXyxy::new(0.0, 0.0, 0.0, 0.0));
        prediction.prediction.targets = vec![PredictedTarget { score: 1.0, bbox, mask: Some(predicted), label: None }];
        prediction.prediction.no_target = row.pred_no_target;
        Sample { truth, prediction: Some(prediction) }
    }

    fn check(found: &[(&str, Option<f64>)], expected: &Value, known: &[&str], atol: f64, place: &str) {
        for (key, expected) in expected.as_object().unwrap() {
            if known.contains(&key.as_str()) {
                continue;
            }
            let found = found.iter().find(|(name, _)| name == key);
            let (_, found) = found.unwrap_or_else(|| panic!("{place}: {key} is not compared"));
            match (found, expected.as_f64()) {
                (Some(found), Some(expected)) => {
                    assert!((found - expected).abs() <= atol, "{place}: {key} is {found}, expected {expected}");
                }
                (None, None) => {}
                other => panic!("{place}: {key}: {other:?}"),
            }
        }
    }

    fn check_dmmi(samples: &[Sample], expected: &Value, atol: f64, place: &str) {
        let scores = res::score(samples, ResOptions::new(MaskSize::Original)).unwrap();
        let mut found = dmmi_values(&scores);
        check(&found, expected, &["printed"], atol, place);
        let printed = [
            ("precision@0.5", "Prec@0.5"),
            ("precision@0.6", "Prec@0.6"),
            ("precision@0.7", "Prec@0.7"),
            ("precision@0.8", "Prec@0.8"),
            ("precision@0.9", "Prec@0.9"),
            ("overall IoU", "oIoU"),
            ("mean IoU", "mIoU"),
            ("Acc", "Acc"),
        ];
        let rounded = |value: f64| (100.0 * value).round() / 100.0;
        found = printed
            .iter()
            .map(|(name, of)| (*name, found.iter().find(|(key, _)| key == of).unwrap().1.map(rounded)))
            .collect();
        check(&found, &expected["printed"], &[], 1e-9, &format!("{place} printed"));
    }

    fn dmmi_values(scores: &ResScores) -> Vec<(&'static str, Option<f64>)> {
        let mut values = vec![
            ("oIoU", scores.overall_iou),
            ("mIoU", scores.mean_iou),
            ("Acc", scores.absent_accuracy),
            ("n_target", Some(scores.targeted as f64)),
            ("n_zero", Some(scores.absent as f64)),
            ("cum_I", Some(scores.intersection as f64)),
            ("cum_U", Some(scores.union as f64)),
        ];
        let names = ["Prec@0.5", "Prec@0.6", "Prec@0.7", "Prec@0.8", "Prec@0.9"];
        values.extend(names.iter().zip(scores.precision).map(|(name, (_, value))| (*name, value)));
        values
    }

    fn gres_values(scores: &GresScores) -> Vec<(&'static str, Option<f64>)> {
        let [(_, p7), (_, p8), (_, p9)] = scores.precision;
        vec![
            ("gIoU", scores.generalized_iou),
            ("cIoU", scores.cumulative_iou),
            ("T_acc", Some(scores.target_accuracy)),
            ("N_acc", Some(scores.no_target_accuracy)),
            ("Pr@0.7", p7),
            ("Pr@0.8", p8),
            ("Pr@0.9", p9),
        ]
    }

    #[test]
    fn every_key_and_every_sample() {
        for case in Folder::open("dmmi").of_kinds(&["metrics"], 1) {
            let Config { atol, area_rule_pixels: min_pixels } = case.config();
            let file = case.file_json();
            let rows: Vec<Row> = serde_json::from_value(file["samples"].clone()).unwrap();
            let samples: Vec<Sample> = rows.iter().enumerate().map(|(index, row)| sample(index, row)).collect();

            let outcomes = res::outcomes(&samples, ResOptions::new(MaskSize::Original)).unwrap();
            for (index, (row, outcome)) in rows.iter().zip(&outcomes).enumerate() {
                let place = format!("sample {index}");
                let values = match *outcome {
                    ResOutcome::Targeted { intersection, union } => {
                        vec![("I", Some(intersection as f64)), ("U", Some(union as f64)), ("iou", outcome.iou())]
                    }
                    ResOutcome::Absent { right } => vec![("acc", Some(f64::from(u8::from(right))))],
                };
                check(&values, &row.expect, &["source"], atol, &place);
                assert_eq!(values.len() + 1, row.expect.as_object().unwrap().len(), "{place}");
            }

            let targeted: Vec<Sample> = samples.iter().filter(|s| !s.truth.is_absent()).cloned().collect();
            let never = targeted.iter().cloned().map(|mut sample| {
                sample.prediction.as_mut().unwrap().prediction.no_target = false;
                sample
            });
            let never: Vec<Sample> = never.collect();
            let gres = |samples: &[Sample], empty| gres_values(&gres::score(samples, GresOptions::new(empty)).unwrap());
            let mut compared = 0;
            for (key, expected) in file.as_object().unwrap() {
                match key.as_str() {
                    "dmmi_protocol" => check_dmmi(&samples, expected, atol, key),
                    "dmmi_protocol_without_zero_samples" => check_dmmi(&targeted, expected, atol, key),
                    "gres_protocol_with_nt_flags" => {
                        check(&gres(&samples, PredictedEmpty::Flag), expected, &[], atol, key);
                    }
                    "gres_protocol_area_rule" => {
                        assert_eq!(expected["min_pixels"], min_pixels);
                        let found = gres(&samples, PredictedEmpty::Area { min_pixels });
                        check(&found, &expected["result"], &[], atol, key);
                    }
                    "gres_protocol_without_zero_samples_all_flags_false" => {
                        check(&gres(&never, PredictedEmpty::Flag), expected, &[], atol, key);
                    }
                    "height" | "width" | "samples" => continue,
                    other => panic!("{other} is not compared"),
                }
                compared += 1;
            }
            assert!(compared > 0, "no result was compared");
            reports_agree(&samples, &file, min_pixels, atol);
        }
    }

    /// The report says what the protocol says; its N-acc and T-acc are in percent.
    fn reports_agree(samples: &[Sample], file: &Value, min_pixels: u64, atol: f64) {
        let gres = [("gIoU", "gIoU", 1.0), ("cIoU", "cIoU", 1.0), ("N-acc", "N_acc", 100.0), ("T-acc", "T_acc", 100.0)];
        let res = [("oIoU", "oIoU", 1.0), ("mIoU", "mIoU", 1.0), ("Acc", "Acc", 1.0), ("P@0.7", "Prec@0.7", 1.0)];
        let area = format!("gres-area{min_pixels}");
        for (protocol, expected, names) in [
            ("ref-zom", &file["dmmi_protocol"], res),
            ("gres", &file["gres_protocol_with_nt_flags"], gres),
            (area.as_str(), &file["gres_protocol_area_rule"]["result"], gres),
        ] {
            let report = evaluate(protocol.parse::<Protocol>().unwrap(), samples, &EvalOptions::default()).unwrap();
            for (name, key, factor) in names {
                let found = report.figure(name).unwrap().value.unwrap();
                let expected = factor * expected[key].as_f64().unwrap();
                assert!((found - expected).abs() <= 100.0 * atol, "{protocol}: {name} is {found}, expected {expected}");
            }
        }
    }
}

mod attbalance {
    use groundling_eval::correlation::{average_ranks, spearman};
    use groundling_testkit::{Array, Folder};

    #[test]
    fn spearman_is_that_of_scipy() {
        for case in Folder::open("attbalance").of_kinds(&["spearman"], 26) {
            let (x, y) = (case.input("x").data, case.input("y").data);
            let ranks = average_ranks(&x);
            // The stored convention for "not defined" is 0.
            let rho = spearman(&x, &y).map_or(0.0, |correlation| correlation.rho);
            let mut report = case.report();
            report.check("ranks_x", &Array::new([ranks.len()], ranks));
            report.check("rho", &Array::scalar(rho));
            report.finish();
        }
    }
}
