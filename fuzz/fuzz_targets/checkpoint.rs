//! Files of weights.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| groundling_nn::fuzzing::checkpoint(bytes));
