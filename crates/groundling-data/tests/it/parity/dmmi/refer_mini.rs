use std::collections::BTreeMap;

use groundling_core::TargetCount;
use groundling_data::readers::refer::{Flavour, ReferFiles, in_split, read_refs};
use groundling_data::{Dataset, MaskRule};
use groundling_testkit::Folder;
use serde::Deserialize;

#[derive(Deserialize)]
struct Expected {
    splits: BTreeMap<String, Vec<i64>>,
    refs: Vec<ExpectedRef>,
    original_masks: Option<Vec<OriginalMask>>,
    dmmi_masks: Option<Vec<UnionMask>>,
    merged_masks: Option<Vec<UnionMask>>,
    all_sent_ids: Option<BTreeMap<String, Vec<i64>>>,
    zero_sent_ids: Option<BTreeMap<String, Vec<i64>>>,
}

#[derive(Deserialize)]
struct ExpectedRef {
    ref_id: i64,
    ann_id: OneOrMany,
    image_id: i64,
    split: String,
    source: Option<String>,
    sentences: Vec<ExpectedSentence>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(i64),
    Many(Vec<i64>),
}

#[derive(Deserialize)]
struct ExpectedSentence {
    raw: String,
    sent: String,
    sent_id: i64,
}

#[derive(Deserialize)]
struct OriginalMask {
    ref_id: i64,
    eq1_runs_colmajor: Vec<u32>,
}

#[derive(Deserialize)]
struct UnionMask {
    ref_id: i64,
    runs_colmajor: Vec<u32>,
}

/// The mask of the first sample of a ref, as run lengths.
fn runs(dataset: &Dataset, ref_id: i64, rule: MaskRule) -> Vec<u32> {
    let sample = dataset.samples.iter().find(|sample| sample.group == ref_id).unwrap();
    let truth = dataset.truth(sample, rule).unwrap();
    match truth.union_mask() {
        Some(mask) => mask.counts().to_vec(),
        None => {
            assert!(truth.is_absent());
            vec![dataset.image_size(sample.image).unwrap().pixels() as u32]
        }
    }
}

fn check(files: &ReferFiles, expected: &Expected) {
    let place = files.refs.display();
    let refs = read_refs(&files.refs).unwrap();
    assert_eq!(refs.len(), expected.refs.len(), "{place}");
    for (found, wanted) in refs.iter().zip(&expected.refs) {
        let ann_ids = match &wanted.ann_id {
            OneOrMany::One(id) => std::slice::from_ref(id),
            OneOrMany::Many(ids) => ids,
        };
        assert_eq!((found.ref_id, found.image_id), (wanted.ref_id, wanted.image_id), "{place}");
        assert_eq!((&found.split, &found.source), (&wanted.split, &wanted.source), "{place}");
        assert_eq!(found.ann_ids, ann_ids, "{place} ref {}", found.ref_id);
        let sentences = found.sentences.iter().map(|s| (s.raw.as_str(), s.sent.as_deref().unwrap(), s.sent_id));
        let wanted = wanted.sentences.iter().map(|s| (s.raw.as_str(), s.sent.as_str(), s.sent_id));
        assert!(sentences.eq(wanted), "{place} ref {}", found.ref_id);
    }

    let dataset = files.read().unwrap();
    for (split, ids) in &expected.splits {
        let found: Vec<i64> =
            refs.iter().filter(|r| in_split(&r.split, split, files.flavour)).map(|r| r.ref_id).collect();
        assert_eq!(&found, ids, "{place} {split}");
    }
    for mask in expected.original_masks.iter().flatten() {
        let found = runs(&dataset, mask.ref_id, MaskRule::ExactlyOne);
        assert_eq!(found, mask.eq1_runs_colmajor, "{place} ref {} (== 1)", mask.ref_id);
    }
    for mask in expected.dmmi_masks.iter().chain(&expected.merged_masks).flatten() {
        let found = runs(&dataset, mask.ref_id, MaskRule::Union);
        assert_eq!(found, mask.runs_colmajor, "{place} ref {} (union)", mask.ref_id);
    }
    let sentences = |split: &str, zero_only: bool| -> Vec<i64> {
        let wanted = |sample: &&groundling_data::Sample| {
            let zero = dataset.target_count(sample) == TargetCount::Zero;
            in_split(&sample.split, split, files.flavour) && (zero || !zero_only)
        };
        dataset.samples.iter().filter(wanted).filter_map(|sample| sample.sentence_id).collect()
    };
    for (split, ids) in expected.all_sent_ids.iter().flatten() {
        assert_eq!(&sentences(split, false), ids, "{place} {split}");
    }
    for (split, ids) in expected.zero_sent_ids.iter().flatten() {
        assert_eq!(&sentences(split, true), ids, "{place} {split} zero");
    }
}

#[test]
fn refer_layouts() {
    for case in Folder::open("dmmi").of_kinds(&["refer_dataset"], 1) {
        let expected: BTreeMap<String, Expected> = serde_json::from_value(case.file_json()).unwrap();
        let mut read = 0;
        for file in case.json["files"].as_array().unwrap() {
            let refs = case.path(file.as_str().unwrap());
            if refs.ends_with("instances.json") {
                continue;
            }
            let folder = refs.parent().unwrap();
            let set = folder.file_name().unwrap().to_str().unwrap();
            let flavour = match set {
                "ref-zom" => Flavour::RefZom,
                "grefcoco" => Flavour::GRefCoco,
                _ => Flavour::Refer,
            };
            let instances = folder.join("instances.json");
            let expected = &expected[set];
            let refs = refs.clone();
            check(&ReferFiles { instances, refs, image_folders: Vec::new(), flavour }, expected);
            read += 1;
        }
        assert!(read >= expected.len(), "{read} files read for {} layouts", expected.len());
    }
}
