//! Arguments of `groundling train`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Arguments of `groundling train`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  groundling train recipes/scanformer/scenes-tiny.toml
  groundling train my.toml -o schedule.steps=200 -o optimizer.lr=3e-4 --out runs/try
  groundling train my.toml --dry-run --json

The run's folder gets: recipe.toml (every default written out), state.safetensors (what a killed run goes on from), log.jsonl,
curves as loss.svg and accuracy.svg, and the weights folders `best` and `last`. Start it again after an interruption: it goes on
where it was, and ends with the same bits.")]
pub(crate) struct Train {
    /// The recipe, TOML; those of this project are in `recipes/`.
    pub(crate) recipe: PathBuf,
    /// Change a key of the recipe: `dotted.key=value`, values as in TOML. May be given several times.
    #[arg(short = 'o', long = "override", value_name = "KEY=VALUE")]
    pub(crate) overrides: Vec<String>,
    /// The run's folder; `runs/` and the name of the recipe if not said.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Whether to go on with the state in the run's folder.
    #[arg(long, value_enum, default_value_t = ResumeName::Auto, num_args = 0..=1, default_missing_value = "required")]
    pub(crate) resume: ResumeName,
    /// Check everything, try a few samples and say what the run would take; write nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where to compute: auto, cpu, or a GPU this program was built for.
    #[arg(long, default_value = "cpu")]
    pub(crate) device: String,
    /// Threads of the CPU; all of them if not said.
    #[arg(long)]
    pub(crate) threads: Option<usize>,
}

/// Whether to go on with a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResumeName {
    /// If there is one; it must be of the same recipe.
    Auto,
    /// There must be one.
    Required,
    /// Start again, over what is there.
    Never,
}
