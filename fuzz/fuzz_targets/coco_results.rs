//! COCO annotations and results, evaluated.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| groundling_eval::fuzzing::coco_results(bytes));
