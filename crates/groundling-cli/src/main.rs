//! The `groundling` program.
//!
//! Results go to stdout, talk and progress to stderr. Exit codes: 0 success, 1 a negative answer (a check that found
//! errors), 2 an error.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for people

mod commands;
mod flags;
mod memory;
mod model;
mod output;
mod progress;

use std::process::ExitCode;

use clap::Parser;

/// Keeps large blocks of memory for the next tensor of their size, which halves the time of what memory bounds.
#[global_allocator]
static MEMORY: groundling_kernels::Recycler = groundling_kernels::Recycler::new(1 << 30);

/// How a command ended, when it did not fail.
enum Outcome {
    /// It did what was asked.
    Done,
    /// It did what was asked, and the answer is no.
    Negative,
}

fn main() -> ExitCode {
    let flags = flags::Flags::parse();
    log_to_stderr(flags.verbose);
    let start = std::time::Instant::now();
    let result = commands::run(flags);
    tracing::info!("finished after {:.3} s", start.elapsed().as_secs_f64());
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Negative) => ExitCode::from(1),
        // A reader that closes the pipe early (`groundling ... | head`) ends the program quietly.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if let Some(hint) = output::hint(&error) {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(2)
        }
    }
}

fn log_to_stderr(verbose: u8) {
    let level = ["warn", "info", "debug", "trace"][usize::from(verbose.min(3))];
    let filter = tracing_subscriber::EnvFilter::try_from_env("GROUNDLING_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
}
