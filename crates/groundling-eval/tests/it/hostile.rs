//! Files made to hurt: the corpus of the fuzzers.

use groundling_eval::fuzzing;
use groundling_eval::records::{ReadLimits, read_predictions, read_truths};
use groundling_testkit::fixtures;

type Target = (&'static str, fn(&[u8]));

/// Files in the folders of the two targets.
const RECORDS: usize = 5;
const COCO_RESULTS: usize = 3;

#[test]
fn the_corpus_of_the_fuzzers_panics_nowhere() {
    let targets: [Target; 2] = [("records", fuzzing::records), ("coco_results", fuzzing::coco_results)];
    let mut replayed = Vec::new();
    for (target, run) in targets {
        let folder = fixtures().join("corpus").join(target);
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            run(&std::fs::read(entry.unwrap().path()).unwrap());
            replayed.push(target);
        }
    }
    let count = |target| replayed.iter().filter(|replayed| **replayed == target).count();
    assert_eq!((count("records"), count("coco_results")), (RECORDS, COCO_RESULTS), "files in fixtures/corpus");
}

/// The files that should be good are good, so that the fuzzer starts behind the reader.
#[test]
fn the_corpus_holds_records_that_can_be_read() {
    for name in ["one", "mixed", "merged_mask", "one_row"] {
        let text = std::fs::read_to_string(fixtures().join("corpus/records").join(name)).unwrap();
        let (truths, predictions) = text.split_once("\n\n").unwrap();
        assert!(!read_truths(truths.as_bytes(), name, &ReadLimits::default()).unwrap().is_empty());
        read_predictions(predictions.as_bytes(), name, &ReadLimits::default()).unwrap();
    }
}
