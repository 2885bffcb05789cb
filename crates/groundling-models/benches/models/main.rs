//! Whole models, and the nearest of PyTorch's beside ours if there is a Python with it.
//!
//! `cargo bench -p groundling-models --bench models [part of a name]`; with `GROUNDLING_PEER_PYTHON` the other program takes turns
//! with ours, so that a busy machine slows both. Each figure is the median of the rounds. What both held at most is of all cases together:
//! ask for one case to see its own.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod grounders;
mod memory;
#[path = "../../../groundling-kernels/benches/kernels/peer.rs"]
mod peer;
mod scalablevit;
mod scanformer;

use std::time::Instant;

/// As in our programs.
#[global_allocator]
static MEMORY: groundling_kernels::Recycler = groundling_kernels::Recycler::new(1 << 30);

/// A piece of work that can be repeated.
type Work = Box<dyn FnMut()>;
/// Its name and what prepares it. Cases of a group take turns.
type Case = (&'static str, Box<dyn Fn() -> Work>);

const ROUNDS: usize = 9;
/// Threads that wait for more work turn in circles for some milliseconds before they sleep, in both programs.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(30);

fn main() {
    let filter: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mut peer = peer::Peer::start();
    println!("{:<34} {:>11} {:>11} {:>7}", "case", "ours", "PyTorch", "ratio");
    let groups = [scanformer::groups(), grounders::groups(), scalablevit::groups()];
    for group in groups.into_iter().flatten() {
        let wanted = |name: &str| filter.is_empty() || filter.iter().any(|part| name.contains(part.as_str()));
        let mut works: Vec<_> =
            group.into_iter().filter(|(name, _)| wanted(name)).map(|(name, make)| (name, make())).collect();
        let mut times = vec![(Vec::new(), Vec::new()); works.len()];
        for round in 0..=ROUNDS {
            for ((name, work), (ours, theirs)) in works.iter_mut().zip(&mut times) {
                std::thread::sleep(PAUSE);
                let start = Instant::now();
                work();
                let seconds = start.elapsed().as_secs_f64();
                std::thread::sleep(PAUSE);
                let other = peer.as_mut().and_then(|peer| peer.time(name, 1));
                if round > 0 {
                    // The first round warms up both.
                    ours.push(seconds);
                    theirs.extend(other);
                }
            }
        }
        for ((name, _), (ours, theirs)) in works.iter().zip(times) {
            let ours = median(ours);
            match (!theirs.is_empty()).then(|| median(theirs)) {
                Some(theirs) => {
                    println!("{name:<34} {:>8.2} ms {:>8.2} ms {:>7.2}", ours * 1e3, theirs * 1e3, ours / theirs)
                }
                None => println!("{name:<34} {:>8.2} ms", ours * 1e3),
            }
        }
    }
    memory::print(peer.as_mut());
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
