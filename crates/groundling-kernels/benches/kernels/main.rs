//! Our kernels, and PyTorch's beside them if there is one: `bench/peers/run [part of a name]`.
//!
//! The two programs take turns, so that a busy machine slows both; each figure is the median of the rounds. Without
//! `GROUNDLING_PEER_PYTHON` only our own times are printed. On a machine that does other work at the same time, `GROUNDLING_CLOCK=cpu` with
//! `GROUNDLING_THREADS=1` counts the time on the processor instead of the time on the wall.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod cases;
mod peer;

use std::time::Instant;

/// As in our programs.
#[global_allocator]
static MEMORY: groundling_kernels::Recycler = groundling_kernels::Recycler::new(1 << 30);

/// Seconds since some moment.
fn now(start: Instant) -> f64 {
    if std::env::var_os("GROUNDLING_CLOCK").is_none_or(|clock| clock != "cpu") {
        return start.elapsed().as_secs_f64();
    }
    // Linux counts the nanoseconds of each thread.
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let nanoseconds = |entry: std::io::Result<std::fs::DirEntry>| {
        let line = std::fs::read_to_string(entry.unwrap().path().join("schedstat")).unwrap_or_default();
        line.split_whitespace().next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0)
    };
    threads.map(nanoseconds).sum::<f64>() * 1e-9
}

/// Seconds a round should take: long enough for the clock, short enough for many rounds.
const ROUND: f64 = 0.05;
const ROUNDS: usize = 11;
/// Between the two: threads that wait for more work turn in circles for some milliseconds before they sleep, in both programs.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(30);

fn main() {
    if let Some(name) = std::env::var_os("GROUNDLING_PEAK_OF") {
        return peak_of(&name.to_string_lossy());
    }
    let clock = Instant::now();
    let filter: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let mut peer = peer::Peer::start();
    println!("{:<34} {:>11} {:>11} {:>7}", "case", "ours", "PyTorch", "ratio");
    for (name, make) in cases::all() {
        if !filter.is_empty() && !filter.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let mut work = make();
        work();
        let start = now(clock);
        work();
        let iterations = ((ROUND / (now(clock) - start).max(1e-6)).ceil() as usize).clamp(1, 2000);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            std::thread::sleep(PAUSE);
            let start = now(clock);
            (0..iterations).for_each(|_| work());
            let mean = (now(clock) - start) / iterations as f64;
            std::thread::sleep(PAUSE);
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
    if filter.is_empty() || filter.iter().any(|part| "memory".contains(part.as_str())) {
        memory();
    }
}

/// Runs one case three times and prints the most memory that this process ever had resident, in bytes.
fn peak_of(name: &str) {
    let (_, make) = cases::all().into_iter().find(|(known, _)| *known == name).expect("a case");
    let mut work = make();
    (0..3).for_each(|_| work());
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("{}", line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024);
}

/// Peak memory of a forward and of a training step, each in a process of its own.
fn memory() {
    println!("\n{:<34} {:>11} {:>11} {:>7}", "peak resident memory", "ours", "PyTorch", "ratio");
    for name in ["bert-base 8x40 plain", "bert-base 8x40", "encoder training step 16x128"] {
        let ours =
            std::process::Command::new(std::env::current_exe().unwrap()).env("GROUNDLING_PEAK_OF", name).output();
        let ours: f64 = String::from_utf8(ours.unwrap().stdout).unwrap().trim().parse().unwrap();
        let theirs = peer::Peer::start().and_then(|mut peer| {
            peer.time(name, 3);
            peer.peak()
        });
        let ours = ours / 1e6;
        match theirs.map(|bytes| bytes / 1e6) {
            Some(theirs) => println!("{name:<34} {ours:>8.0} MB {theirs:>8.0} MB {:>7.2}", ours / theirs),
            None => println!("{name:<34} {ours:>8.0} MB"),
        }
    }
}

fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
