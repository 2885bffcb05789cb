//! Texts for the tokeniser.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| groundling_data::fuzzing::wordpiece(bytes));
