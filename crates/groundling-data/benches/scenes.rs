//! Images a second, masks and phrases included: `cargo bench -p groundling-data --bench scenes`.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::Instant;

use groundling_data::scenes::{SceneConfig, Scenes, Split};
use rayon::prelude::*;

fn main() {
    let scenes = Scenes::new(SceneConfig::default(), Split::Train, 1).unwrap();
    let count = 1500u64;
    (0..100).into_par_iter().for_each(|index| {
        std::hint::black_box(scenes.scene(index));
    });
    let start = Instant::now();
    let phrases: usize = (0..count).into_par_iter().map(|index| scenes.scene(index).expressions.len()).sum();
    let seconds = start.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    println!("{rate:.0} images/s of 256x256 on {} threads, {phrases} phrases", rayon::current_num_threads());
}
