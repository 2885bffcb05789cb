//! Our own lines of data.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| groundling_data::fuzzing::jsonl(bytes));
