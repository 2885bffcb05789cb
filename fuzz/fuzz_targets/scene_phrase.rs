//! Phrases about a generated scene.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| groundling_data::fuzzing::scene_phrase(bytes));
