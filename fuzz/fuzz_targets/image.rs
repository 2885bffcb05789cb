//! Image files.
//!
//! A panic inside a decoder is not a finding: the library turns it into an error. libFuzzer's panic hook aborts before
//! any `catch_unwind` is reached, so this target replaces it; what counts is a panic that leaves the library.
#![no_main]

use std::panic::{catch_unwind, set_hook};

libfuzzer_sys::fuzz_target!(init: set_hook(Box::new(|panic| eprintln!("panicked: {panic}"))), |bytes: &[u8]| {
    if catch_unwind(|| groundling_data::fuzzing::image(bytes)).is_err() {
        std::process::abort();
    }
});
