//! What has to pass before anything lands. Stops at the first failure.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

/// (what for, arguments of cargo, environment).
type Step = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

/// The kernels and the networks on them. Of the whole workspace, because that is how they were built a step before.
const KERNELS: [&str; 17] = [
    "test",
    "--workspace",
    "--locked",
    "--test",
    "it",
    "--",
    "activation::",
    "attention::",
    "conv::",
    "deform::",
    "batch_norm::",
    "linear::",
    "logistic::",
    "norm::",
    "softmax::",
    "parity::resnet",
    "parity::swin",
];

const STEPS: [Step; 9] = [
    ("format", &["fmt", "--all", "--check"], &[]),
    ("clippy", &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"], &[]),
    ("tests", &["test", "--workspace", "--locked"], &[]),
    // Each machine takes its best instructions: the others have to be asked for.
    ("kernels with AVX2", &KERNELS, &[("GROUNDLING_ISA", "avx2")]),
    ("portable kernels", &KERNELS, &[("GROUNDLING_ISA", "portable")]),
    ("GPU features compile", &["check", "--package", "groundling-nn", "--features", "vulkan", "--locked"], &[]),
    ("docs", &["doc", "--workspace", "--no-deps", "--locked"], &[("RUSTDOCFLAGS", "-D warnings")]),
    ("tidy", &["xtask", "tidy"], &[]),
    ("benches build", &["check", "--workspace", "--benches", "--locked"], &[]),
];

pub(crate) fn run() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for (name, arguments, environment) in STEPS {
        let start = Instant::now();
        eprintln!("== {name}: cargo {}", arguments.join(" "));
        let status = Command::new(&cargo)
            .args(arguments)
            .envs(environment.iter().copied())
            .current_dir(crate::repository())
            .status()
            .with_context(|| format!("{name}: cargo does not start"))?;
        if !status.success() {
            bail!("{name} failed ({status})");
        }
        eprintln!("== {name}: passed in {:.0} s", start.elapsed().as_secs_f64());
    }
    Ok(())
}
