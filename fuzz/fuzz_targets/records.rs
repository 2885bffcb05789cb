//! Prediction and truth records.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| groundling_eval::fuzzing::records(bytes));
