//! Our kernels, and PyTorch's beside them if there is one: `bench/peers/run [part of a name]`.
//!
//! The two programs take turns, so that a busy machine slows both; each figure is the median of the rounds. Without
//! `GROUNDLING_PEER_PYTHON` only our own times are printed.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod cases;
mod peer;

use std::time::Instant;

/// Seconds a round should take: long enough for the clock, short enough for many rounds.
const ROUND: f64 = 0.05;
const ROUNDS: usize = 11;

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mut peer = peer::Peer::start();
    println!("{:<34} {:>11} {:>11} {:>7}", "case", "ours", "PyTorch", "ratio");
    for (name, make) in cases::all() {
        if !filter.is_empty() && !filter.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let mut work = make();
        work();
        let start = Instant::now();
        work();
        let iterations = ((ROUND / start.elapsed().as_secs_f64()).ceil() as usize).clamp(1, 2000);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let start = Instant::now();
            (0..iterations).for_each(|_| work());
            let mean = start.elapsed().as_secs_f64() / iterations as f64;
            let other = peer.as_mut().and_then(|peer| peer.time(name, iterations));
            if round > 0 {
                // The first round warms up both.
                ours.push(mean);
                theirs.extend(other);
            }
        }
        let ours = median(ours);
        match (!theirs.is_empty()).then(|| median(theirs)) {
            Some(theirs) => {
                println!("{name:<34} {:>8.3} ms {:>8.3} ms {:>7.2}", ours * 1e3, theirs * 1e3, ours / theirs)
            }
            None => println!("{name:<34} {:>8.3} ms", ours * 1e3),
        }
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
