//! Arguments of `analyze`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use groundling::attention::AttentionKind;
use groundling_models::attbalance::MaskRule;

use super::{HowFlags, ModelFlags};

#[derive(Debug, Subcommand)]
pub(crate) enum Analyze {
    /// Compare where a model looks with where its answers are, layer by layer.
    Attention(AnalyzeAttention),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  groundling analyze attention --weights runs/transvg/best --data scenes:test:500 --out attention
  groundling analyze attention --weights vltvg-r50 --data refer:data/refcoco:unc:testA --json > attention.json

With --out DIR: report.html (one file with everything), report.json, samples.csv, layers.png, scatter.png, best.png, worst.png.
docs/attention.md says what the numbers are.")]
pub(crate) struct AnalyzeAttention {
    /// Run the model on this data source; phrases about one thing count.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) data: String,
    /// Folder for the report, made if it is not there.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Which numbers: the map that AttBalance supervises, or the model's own weights.
    #[arg(long, value_enum, default_value_t = KindName::Map)]
    pub(crate) attention: KindName,
    /// Which cells of a map belong to a box.
    #[arg(long, value_enum, default_value_t = RuleName::Overlap)]
    pub(crate) cells: RuleName,
    /// Samples drawn of the best and of the worst.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) pictures: usize,
    /// Only the first pictures of the source.
    #[arg(long, value_name = "PICTURES")]
    pub(crate) limit: Option<usize>,
    /// Seed of the world, for `scenes:`.
    #[arg(long, default_value_t = groundling_data::source::SCENES_SEED)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    #[command(flatten)]
    pub(crate) how: HowFlags,
}

/// Numbers that a map is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindName {
    /// Softmax over visual tokens of the logits' mean over heads.
    Map,
    /// Mean over heads of the model's weights on visual tokens; phrase tokens have the rest.
    Weights,
}

/// Cells that belong to a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RuleName {
    /// Those that it overlaps.
    Overlap,
    /// Those whose centre it holds.
    Center,
}

impl From<KindName> for AttentionKind {
    fn from(name: KindName) -> Self {
        match name {
            KindName::Map => AttentionKind::Map,
            KindName::Weights => AttentionKind::Weights,
        }
    }
}

impl From<RuleName> for MaskRule {
    fn from(name: RuleName) -> Self {
        match name {
            RuleName::Overlap => MaskRule::Overlap,
            RuleName::Center => MaskRule::Center,
        }
    }
}
