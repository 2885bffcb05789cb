//! Reports, break-downs and comparisons.

use groundling_core::TargetCount;
use groundling_eval::breakdown::Breakdown;
use groundling_eval::records::Sample;
use groundling_eval::{CompareError, EvalOptions, Protocol, Report, compare, evaluate};

use crate::made;

const ALL: [&str; 14] = [
    "res",
    "res-480",
    "ref-zom",
    "ref-zom-480",
    "gres",
    "gres-480",
    "gres-empty-mask",
    "gres-area50",
    "grec",
    "grec-paper-iou",
    "coco-box",
    "coco-mask",
    "gres-area3-100",
    "res-17",
];

fn protocol(name: &str) -> Protocol {
    name.parse().unwrap()
}

fn quick() -> EvalOptions {
    let mut options = EvalOptions::default();
    options.bootstrap.as_mut().unwrap().resamples = 50;
    options
}

#[test]
fn every_protocol_makes_a_report() {
    let any = made::samples(1, 120, 0, 3);
    let one = made::samples(1, 120, 1, 1);
    let rec = ["rec", "rec-transvg", "rec-vltvg"];
    for (name, samples) in ALL.map(|name| (name, &any)).into_iter().chain(rec.map(|name| (name, &one))) {
        let report = evaluate(protocol(name), samples, &quick()).unwrap();
        assert_eq!((report.protocol.as_str(), report.counts.samples), (name, 120));
        let ranks = name.starts_with("coco");
        for figure in &report.figures {
            // All objects are small: the figures of other sizes do not exist.
            let exists = !["APm", "ARm", "APl", "ARl"].contains(&figure.name.as_str());
            assert_eq!(figure.value.is_some_and(|v| (0.0..=100.0).contains(&v)), exists, "{name}: {figure:?}");
            assert_eq!(figure.interval.is_some(), !ranks || figure.name == "AP", "{name}: {figure:?}");
        }
        assert!(report.intervals.is_some());
        let json = report.to_json();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report, "{name}");
        let table = report.to_table();
        for figure in &report.figures {
            assert!(table.contains(&figure.name), "{name}: {table}");
        }
        assert!(table.lines().all(|line| line == line.trim_end()), "{table}");
        for breakdown in &report.breakdowns {
            let counted: usize = breakdown.groups.iter().map(|group| group.count).sum();
            assert_eq!(counted, 120, "{name}: {}", breakdown.name);
            assert!(breakdown.groups.iter().all(|group| !group.figures.is_empty()));
        }
        assert_eq!(report.breakdowns.len(), Breakdown::ALL.len());
    }
}

#[test]
fn nothing_is_not_available() {
    for name in ALL.into_iter().chain(["rec", "rec-vltvg"]) {
        let report = evaluate(protocol(name), &[], &quick()).unwrap();
        assert!(report.figures.iter().all(|figure| figure.value.is_none() && figure.interval.is_none()), "{name}");
        let json = report.to_json();
        assert!(!json.contains("null") && !json.contains("NaN") && !json.contains("\"value\""), "{json}");
        assert!(report.to_table().contains("not available"));
    }
    // Acc has no samples where every phrase has a target.
    let report = evaluate(protocol("ref-zom"), &made::samples(1, 9, 1, 2), &quick()).unwrap();
    assert_eq!(report.figure("Acc").unwrap().value, None);
    assert!(report.figure("oIoU").unwrap().value.is_some());
    assert_eq!(report.calibration, None);
    let report = evaluate(protocol("grec"), &made::samples(1, 9, 1, 2), &quick()).unwrap();
    assert_eq!(report.figure("N-acc").unwrap().value, Some(0.0));
    assert!(report.to_table().contains("by the protocol's convention"));
}

#[test]
fn groups_follow_their_definition() {
    let samples = made::samples(2, 200, 0, 3);
    let report = evaluate(protocol("gres"), &samples, &quick()).unwrap();
    let by_count = &report.breakdowns[3];
    for (group, count) in by_count.groups.iter().zip([TargetCount::Zero, TargetCount::One, TargetCount::Many]) {
        let part: Vec<Sample> = samples.iter().filter(|s| s.truth.source == count).cloned().collect();
        let alone = evaluate(protocol("gres"), &part, &quick()).unwrap();
        assert_eq!((group.name.as_str(), group.count), (count.name(), part.len()));
        for figure in &group.figures {
            assert_eq!(alone.figure(&figure.name).unwrap(), figure, "{}", group.name);
        }
    }
    let calibration = report.calibration.unwrap();
    assert_eq!(calibration.count, 200);
    assert_eq!(calibration.reliability.iter().map(|bin| bin.count).sum::<usize>(), 200);
    let mut unsure = samples;
    unsure.iter_mut().for_each(|s| s.prediction.as_mut().unwrap().prediction.no_target_score = None);
    assert_eq!(evaluate(protocol("gres"), &unsure, &quick()).unwrap().calibration, None);
}

#[test]
fn phrases_and_sizes_fall_in_their_groups() {
    let mut truth = made::truth("x", &[]);
    for (phrase, length, spatial) in [
        ("cup", 0, 1),
        ("left cup", 0, 0),
        ("the red cup", 1, 1),
        ("a b c d e", 1, 1),
        ("a b c d e f", 2, 1),
        ("a b c d e f g h i Behind", 2, 0),
        ("a b c d e f g h i j k", 3, 1),
    ] {
        truth.phrase = groundling_core::Phrase::parse(phrase).unwrap();
        assert_eq!(Breakdown::PhraseLength.group_of(&truth), length, "{phrase}");
        assert_eq!(Breakdown::SpatialWords.group_of(&truth), spatial, "{phrase}");
    }
    for (width, height, size) in [(31.0, 33.0, 0), (32.0, 32.0, 1), (95.0, 97.0, 1), (96.0, 96.0, 2)] {
        let bbox = groundling_core::BoxXyxy::new(0.0, 0.0, width, height);
        truth.truth.targets = vec![groundling_core::TrueTarget { bbox, mask: None, category_id: None }];
        assert_eq!(Breakdown::TargetSize.group_of(&truth), size, "{width} {height}");
    }
    truth.truth.targets.clear();
    assert_eq!(Breakdown::TargetSize.group_of(&truth), 3);
}

#[test]
fn a_comparison_names_what_changed() {
    let first = made::samples(3, 150, 0, 3);
    let mut second = first.clone();
    let outcomes = groundling_eval::grec::outcomes(
        &first,
        groundling_eval::grec::GrecOptions::new(groundling_eval::grec::Pairing::Giou),
    )
    .unwrap();
    let place = |right: bool| outcomes.iter().position(|o| o.is_perfect() == right && !o.absent).unwrap();
    let (lost, gained) = (place(true), place(false));
    second[lost].prediction = Some(made::prediction(&first[lost].truth, &[]));
    second[gained] = made::perfect(&first[gained..=gained]).remove(0);
    let comparison = compare(protocol("grec"), &first, &second, &quick()).unwrap();
    let ids = |changes: &[groundling_eval::report::SampleChange]| {
        changes.iter().map(|change| change.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&comparison.gained), [gained.to_string()]);
    assert_eq!(ids(&comparison.lost), [lost.to_string()]);
    assert_eq!(comparison.figures[0].difference, Some(0.0));
    assert!(comparison.figures[0].interval.is_some() && comparison.figures[0].p_value == Some(1.0));
    assert!(comparison.to_table().contains("gained: 1\n") && comparison.to_json().contains("Pr@(F1=1)"));

    let better = compare(protocol("gres"), &first, &made::perfect(&first), &quick()).unwrap();
    let giou = &better.figures[0];
    assert!(giou.difference.unwrap() > 0.0 && giou.interval.unwrap().low > 0.0 && giou.p_value.unwrap() < 0.05);
    assert!(better.lost.is_empty() && !better.gained.is_empty());
    let ranked = compare(protocol("coco-box"), &first, &made::perfect(&first), &quick()).unwrap();
    assert!(ranked.figures[0].difference.unwrap() > 0.0 && ranked.gained.is_empty());
    assert!(ranked.figures[0].interval.unwrap().low > 0.0 && ranked.figures[0].p_value.unwrap() < 0.05);
    assert_eq!(ranked.figures[1].interval, None);

    let error = compare(protocol("grec"), &first, &second[1..], &quick()).unwrap_err();
    assert_eq!(error, CompareError::Length { first: 150, second: 149 });
    second.swap(4, 5);
    let error = compare(protocol("grec"), &first, &second, &quick()).unwrap_err();
    assert_eq!(error, CompareError::Truth { place: 4, first: "4".into(), second: "5".into() });
}

#[test]
fn a_table_reads_like_this() {
    let samples = made::perfect(&made::samples(4, 8, 1, 1));
    let options = EvalOptions { breakdowns: false, ..quick() };
    let table = evaluate(protocol("rec"), &samples, &options).unwrap().to_table();
    let expected = "\
rec (best box, clipped to the image, right if IoU >= t)
8 samples: 0 without a target, 8 with one, 0 with several
95% intervals, 50 resamples, seed 0

Acc@0.5   100.00%  [100.00, 100.00]
Acc@0.75  100.00%  [100.00, 100.00]
Acc@0.9   100.00%  [100.00, 100.00]
mAcc      100.00%  [100.00, 100.00]
mIoU      100.00%  [100.00, 100.00]
";
    assert_eq!(table, expected);
}
