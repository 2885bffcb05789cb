//! Record files: what is written comes back, and what is wrong is refused by name.

use groundling_eval::records::{
    JoinError, MissingPolicy, PredictionRecord, ReadLimits, RecordError, RecordProblem, TruthRecord, coco_results,
    hf_detections, join, read_predictions, read_truths, write_predictions, write_truths,
};
use groundling_testkit::hostile;
use proptest::prelude::*;

use crate::made;

const GOOD: &str = r#"{"schema":"groundling.prediction/1","id":"a","image":"1.jpg","phrase":"the cup","width":4,"height":2,"frame":"pixels_xyxy","targets":[{"score":0.5,"box":[0,0,2.5,2],"mask":{"size":[2,4],"counts":"044"},"label":"cup"}],"no_target":false,"no_target_score":0.25,"model":{"name":"m","hash":"00"}}"#;
const GOOD_TRUTH: &str = r#"{"schema":"groundling.truth/1","id":"a","image":"1.jpg","phrase":"the cup","width":4,"height":2,"frame":"pixels_xyxy","source":"one","targets":[{"box":[0,0,2.5,2],"mask":{"size":[2,4],"counts":"044"},"category_id":7}],"merged_mask":{"size":[2,4],"counts":"044"}}"#;

fn read(text: &[u8]) -> Result<Vec<PredictionRecord>, RecordError> {
    read_predictions(text, "p.jsonl", &ReadLimits::default())
}

fn read_truth(text: &[u8]) -> Result<Vec<TruthRecord>, RecordError> {
    read_truths(text, "t.jsonl", &ReadLimits::default())
}

fn problem(error: &RecordError) -> &RecordProblem {
    match error {
        RecordError::Record { problem, .. } => problem,
        other => panic!("{other}"),
    }
}

#[test]
fn a_good_record_is_read() {
    let records = read(GOOD.as_bytes()).unwrap();
    let target = &records[0].prediction.targets[0];
    assert_eq!((target.score, target.bbox.to_array()), (0.5, [0.0, 0.0, 2.5, 2.0]));
    assert_eq!(target.mask.as_ref().unwrap().area(), 4);
    assert_eq!(records[0].prediction.no_target_score, Some(0.25));
    assert_eq!(records[0].to_json().unwrap().len(), GOOD.replace("[0,0,2.5,2]", "[0.0,0.0,2.5,2.0]").len());
    let truths = read_truth(GOOD_TRUTH.as_bytes()).unwrap();
    assert_eq!(truths[0].truth.targets[0].category_id, Some(7));
    assert_eq!(truths[0].truth.merged_mask.as_ref().unwrap().area(), 4);
    assert!(read(b"").unwrap().is_empty() && read(b"\n  \n").unwrap().is_empty());
    assert_eq!(read(format!("\r\n{GOOD}\r\n").as_bytes()).unwrap().len(), 1);
}

#[test]
fn wrong_predictions_are_refused_by_name() {
    let nested = String::from_utf8(hostile::nested_json(100_000)).unwrap();
    for (from, to, message) in [
        ("/1\"", "/2\"", r#"schema is "groundling.prediction/2", expected "groundling.prediction/1""#),
        ("/1\",", "/2\",\"new\":1,", r#"schema is "groundling.prediction/2", expected "groundling.prediction/1""#),
        ("prediction/1", "truth/1", r#"schema is "groundling.truth/1", expected"#),
        (r#""schema":"groundling.prediction/1","#, "", "field schema is missing"),
        (r#""frame":"pixels_xyxy","#, "", "field frame is missing"),
        (r#","no_target_score":0.25"#, "", "field no_target_score is missing"),
        (r#""score":0.5,"#, "", "field targets[0].score is missing"),
        (r#","hash":"00""#, "", "field model.hash is missing"),
        (r#","counts":"044""#, "", "field targets[0].mask.counts is missing"),
        (
            r#""label""#,
            r#""name""#,
            "unknown field targets[0].name, expected one of [\"score\", \"box\", \"mask\", \"label\"]",
        ),
        (r#""no_target":false"#, r#""no_target":false,"extra":[]"#, "unknown field extra, expected one of [\"schema\""),
        ("pixels_xyxy", "pixels_xywh", r#"frame is "pixels_xywh", expected "pixels_xyxy""#),
        ("the cup", "  ", "phrase: the phrase is empty"),
        (r#""id":"a""#, r#""id":" ""#, "id is empty"),
        (r#""id":"a""#, r#""id":7"#, "unexpected value: invalid type: integer `7`, expected a string"),
        (r#""width":4"#, r#""width":0"#, "image size is 2x0"),
        (r#""width":4"#, r#""width":4294967295"#, "expected fewer than 2^32"),
        (r#""width":4"#, r#""width":-4"#, "unexpected value: invalid value: integer `-4`"),
        ("0.5", "1.5", "targets[0].score is 1.5, expected 0 to 1"),
        ("0.25", "-0.25", "no_target_score is -0.25, expected 0 to 1"),
        ("0.5", "NaN", "is NaN, expected a finite number"),
        ("2.5", "Infinity", "is Infinity, expected a finite number"),
        ("2.5", "-Infinity", "is -Infinity, expected a finite number"),
        ("2.5", "1e999", "is 1e999, expected a finite number"),
        ("2.5", "-1", "targets[0].box is [0, 0, -1, 2], expected x0 <= x1 and y0 <= y1"),
        ("[0,0,2.5,2]", "[0,0,2.5]", "unexpected value: invalid length 3"),
        ("[2,4]", "[4,2]", "targets[0].mask.size is [4, 2], expected [2, 4] (height, width of the image)"),
        ("\"044\"", "\"045\"", "targets[0].mask.counts: run lengths add up to"),
        ("\"044\"", "\"04\"", "targets[0].mask.counts: run lengths add up to 4, expected 8"),
        ("\"044\"", "\" 44\"", "targets[0].mask.counts: compressed run-length code has byte 0x20 at position 0"),
        ("\"targets\":[", "\"targets\":[,", "bad JSON: "),
        ("}}", "}", "bad JSON: EOF"),
        ("}}", "}} x", "bad JSON: trailing characters"),
        (r#""id":"a""#, r#""id":"a","id":"b""#, "unexpected value: duplicate field `id`"),
        ("\"cup\"}]", &format!("{nested}}}]"), "bad JSON: "),
        (GOOD, "[1, 2]", "unexpected value: "),
        (GOOD, "null", "unexpected value: "),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let line = GOOD.replacen(from, to, 1);
        let error = read(format!("\n{line}").as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("p.jsonl:2: ") && error.contains(message), "{from} -> {to}:\n  {error}");
    }
}

#[test]
fn wrong_truths_are_refused_by_name() {
    for (from, to, message) in [
        ("/1\"", "/9\"", r#"schema is "groundling.truth/9", expected "groundling.truth/1""#),
        (r#""source":"one","#, "", "field source is missing"),
        ("\"one\"", "\"two\"", "unexpected value: unknown variant `two`"),
        ("\"one\"", "\"zero\"", r#"source is "zero" with 1 targets and a merged_mask, expected no target"#),
        ("category_id", "category", "unknown field targets[0].category"),
        ("2.5", "-1", "targets[0].box is [0, 0, -1, 2]"),
        (
            r#""merged_mask":{"size":[2,4]"#,
            r#""merged_mask":{"size":[2,3]"#,
            "merged_mask.size is [2, 3], expected [2, 4]",
        ),
        (
            &GOOD_TRUTH[GOOD_TRUTH.find("{\"box").unwrap()..],
            "]}",
            r#"source is "one" with 0 targets and no merged_mask"#,
        ),
    ] {
        assert!(GOOD_TRUTH.contains(from), "{from}");
        let error = read_truth(GOOD_TRUTH.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with("t.jsonl:1: ") && error.contains(message), "{from} -> {to}:\n  {error}");
    }
}

#[test]
fn double_ids_and_limits() {
    let error = read(format!("{GOOD}\n\n{GOOD}\n").as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "p.jsonl:3: id \"a\" stands on line 1 already, expected every id once");
    let limited = |limits| read_predictions(GOOD.as_bytes(), "p.jsonl", &limits).unwrap_err();
    let default = ReadLimits::default();
    let error = limited(ReadLimits { max_line_bytes: 100, ..default });
    assert!(matches!(problem(&error), RecordProblem::LineTooLong { limit: 100 }));
    let error = limited(ReadLimits { max_records: 0, ..default });
    assert!(matches!(problem(&error), RecordProblem::TooManyRecords { limit: 0 }));
    let error = limited(ReadLimits { max_targets: 0, ..default });
    assert!(matches!(problem(&error), RecordProblem::TooManyTargets { found: 1, limit: 0 }));
    // A line of exactly the limit is read, with or without its end.
    let exact = ReadLimits { max_line_bytes: GOOD.len(), ..default };
    assert_eq!(read_predictions(format!("{GOOD}\n").as_bytes(), "", &exact).unwrap().len(), 1);
    assert_eq!(read_predictions(GOOD.as_bytes(), "", &exact).unwrap().len(), 1);
    let missing = groundling_eval::records::read_predictions_file("no/such/file", &default).unwrap_err();
    assert!(matches!(missing, RecordError::Io { .. }) && missing.to_string().starts_with("no/such/file: "));
}

#[test]
fn what_cannot_be_read_is_not_written() {
    let mut record = read(GOOD.as_bytes()).unwrap().remove(0);
    record.prediction.targets[0].score = f64::NAN;
    let mut out = Vec::new();
    let error = write_predictions(&mut out, "out.jsonl", [&record]).unwrap_err();
    assert_eq!(error.to_string(), "out.jsonl:1: targets[0].score is NaN, expected a finite number");
    assert!(out.is_empty());
    record.prediction.targets[0].score = 0.5;
    record.prediction.targets[0].bbox.x1 = f64::INFINITY;
    assert!(matches!(record.to_json(), Err(RecordProblem::NotFinite { .. })));
}

#[test]
fn files_survive_writing_and_reading() {
    let samples = made::samples(5, 60, 0, 3);
    let (mut truths, mut predictions) = (Vec::new(), Vec::new());
    write_truths(&mut truths, "t", samples.iter().map(|s| &s.truth)).unwrap();
    write_predictions(&mut predictions, "p", samples.iter().filter_map(|s| s.prediction.as_ref())).unwrap();
    let back = join(read_truth(&truths).unwrap(), read(&predictions).unwrap(), MissingPolicy::Refuse).unwrap();
    assert_eq!(back, samples);
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = read(&bytes);
        let _ = read_truth(&bytes);
    }

    #[test]
    fn any_change_of_a_byte_is_read_or_refused(place in 0..GOOD.len(), byte in any::<u8>()) {
        let mut line = GOOD.as_bytes().to_vec();
        line[place] = byte;
        if let Ok(records) = read(&line) {
            for record in records {
                prop_assert_eq!(&read(record.to_json().unwrap().as_bytes()).unwrap()[0], &record);
            }
        }
    }

    #[test]
    fn numbers_come_back_bit_for_bit(x in -1e6..1e6f64, width in 0.0..1e6f64, score in 0.0..=1.0f64) {
        let mut record = read(GOOD.as_bytes()).unwrap().remove(0);
        let target = &mut record.prediction.targets[0];
        (target.bbox.x0, target.bbox.x1, target.score) = (x, x + width, score);
        prop_assert_eq!(&read(record.to_json().unwrap().as_bytes()).unwrap()[0], &record);
    }
}

#[test]
fn joining_wants_one_prediction_a_truth() {
    let samples = made::samples(1, 9, 0, 2);
    let truths: Vec<_> = samples.iter().map(|s| s.truth.clone()).collect();
    let predictions: Vec<_> = samples.iter().filter_map(|s| s.prediction.clone()).collect();
    let joined = |t: &[TruthRecord], p: &[PredictionRecord], policy| join(t.to_vec(), p.to_vec(), policy);

    let mut reversed = predictions.clone();
    reversed.reverse();
    assert_eq!(joined(&truths, &reversed, MissingPolicy::Refuse).unwrap(), samples);

    let error = joined(&truths, &predictions[..2], MissingPolicy::Refuse).unwrap_err();
    let examples = ["2", "3", "4", "5", "6"].map(String::from).to_vec();
    assert_eq!(error, JoinError::Missing { count: 7, truths: 9, examples });
    let partial = joined(&truths, &predictions[..2], MissingPolicy::CountAsWrong).unwrap();
    assert_eq!(partial.iter().filter(|s| s.prediction.is_none()).count(), 7);

    let error = joined(&truths[..8], &predictions, MissingPolicy::CountAsWrong).unwrap_err();
    assert_eq!(error, JoinError::Surplus { count: 1, predictions: 9, examples: vec!["8".into()] });

    let double = [&predictions[..], &predictions[3..4]].concat();
    let error = joined(&truths, &double, MissingPolicy::Refuse).unwrap_err();
    assert_eq!(error, JoinError::Duplicate { what: "predictions", id: "3".into() });
    let double = [&truths[..], &truths[..1]].concat();
    let error = joined(&double, &predictions, MissingPolicy::Refuse).unwrap_err();
    assert_eq!(error, JoinError::Duplicate { what: "truths", id: "0".into() });

    let mut other = predictions.clone();
    other[4].prediction.phrase = groundling_core::Phrase::parse("something else").unwrap();
    assert!(matches!(joined(&truths, &other, MissingPolicy::Refuse), Err(JoinError::Phrase { id, .. }) if id == "4"));
    let mut other = predictions;
    other[4].prediction.image_size = groundling_core::ImageSize::new(9, 9).unwrap();
    assert!(matches!(joined(&truths, &other, MissingPolicy::Refuse), Err(JoinError::Size { id, .. }) if id == "4"));
}

#[test]
fn other_formats() {
    let record = read(GOOD.replace("2.5", "2.9").as_bytes()).unwrap().remove(0);
    let json = serde_json::to_string(&hf_detections(&record.prediction)).unwrap();
    assert_eq!(json, r#"[{"label":"cup","score":0.5,"box":{"xmin":0,"ymin":0,"xmax":2,"ymax":2}}]"#);
    let json = serde_json::to_string(&coco_results(&record, 42, 3)).unwrap();
    assert_eq!(
        json,
        r#"[{"image_id":42,"category_id":3,"bbox":[0.0,0.0,2.9,2.0],"score":0.5,"segmentation":{"size":[2,4],"counts":"044"}}]"#
    );
    let unlabelled = read(GOOD.replace(r#","label":"cup""#, "").as_bytes()).unwrap().remove(0);
    assert_eq!(hf_detections(&unlabelled.prediction)[0].label, "the cup");
}
