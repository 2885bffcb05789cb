//! Chores of the repository. `cargo xtask help` lists them.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for people

mod ci;
mod real_data;
mod real_masks;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
cargo xtask tidy              layers, dependencies and habits of the workspace; also an ordinary test
cargo xtask ci                what .ci/run runs: format, clippy, tests, docs, tidy
cargo xtask real-data [DIR]   readers, linter and evaluator on real data that may not be copied into the repository
                              (DIR holds refcoco-mini, refcoco-lists, coco-mini, coco-eval; GROUNDLING_REAL_DATA works too)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["tidy"] => tidy::run(),
        ["ci"] => ci::run(),
        ["real-data"] => real_data::run(None),
        ["real-data", folder] => real_data::run(Some(folder.into())),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        other => Err(anyhow::anyhow!("unknown task {other:?}\n{HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root folder of the repository.
fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
