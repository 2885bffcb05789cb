//! Arguments as they are typed.

pub(crate) mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Finds what words refer to in a picture: a box, a mask, several of them, or an honest "not here".
#[derive(Debug, Parser)]
#[command(
    name = "groundling",
    version,
    max_term_width = 110,
    after_help = "\
Data sources: scenes:SPLIT[:COUNT], refer:FOLDER:SPLIT_BY:SPLIT, refzom:ROOT:SPLIT, grefcoco:ROOT:SPLIT,
coco:IMAGES:ANNOTATIONS, jsonl:FILE, flickr:ROOT:IMAGES:SPLIT, resc:FILE:IMAGES.

Exit codes: 0 success, 1 a negative answer (`data check` found errors), 2 an error.
NO_COLOR is respected; GROUNDLING_LOG sets what is logged (for instance `debug`)."
)]
pub(crate) struct Flags {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Form of the result on stdout.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text, env = "GROUNDLING_FORMAT")]
    pub(crate) format: Format,

    /// Short for `--format json`.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// No progress on stderr.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Say more on stderr; twice for still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// Form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON object, whose form is stable.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Read a picture and a phrase. This version has no model yet: it prints what a model would be given.
    Ground(Ground),
    /// Make, check and look at data sets.
    #[command(subcommand)]
    Data(Data),
    /// Score a file of predictions against a truth.
    Eval(Eval),
    /// Train a model by a recipe; a run that was interrupted goes on where it was.
    Train(train::Train),
    /// Print a script that completes commands in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Ground {
    /// The picture: JPEG, PNG, WebP or BMP.
    pub(crate) image: PathBuf,
    /// The referring expression.
    pub(crate) phrase: String,
    /// Turn the picture as the camera's orientation mark says; off by default, as data sets expect.
    #[arg(long)]
    pub(crate) exif: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Data {
    /// Write generated scenes as a data set that the ordinary readers read back.
    Make(Make),
    /// Look for faults in every data set at or below a path; exit code 1 if there are errors.
    Check {
        /// A `.jsonl`, `.json` or `.pth` file, or a folder in one of the layouts.
        path: PathBuf,
    },
    /// Draw samples of a source with their phrases, boxes and masks on one page.
    Sheet(Sheet),
    /// Write the truth of a source as records that `eval --truth` reads.
    Truth(Truth),
}

#[derive(Debug, Args)]
pub(crate) struct Make {
    /// What to make: `scenes:SPLIT[:COUNT]`; several are written side by side.
    #[arg(required = true)]
    pub(crate) sources: Vec<String>,
    /// Folder to write to.
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Layout of the data set.
    #[arg(short, long, value_enum, default_value_t = LayoutName::Jsonl)]
    pub(crate) layout: LayoutName,
    /// Seed of the world; the same seed gives the same scenes on every machine.
    #[arg(long, default_value_t = groundling_data::source::SCENES_SEED)]
    pub(crate) seed: u64,
    /// Height and width of the pictures, in pixels.
    #[arg(long, num_args = 2, value_names = ["HEIGHT", "WIDTH"], default_values_t = [256, 256])]
    pub(crate) size: Vec<u32>,
}

/// Layouts that can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LayoutName {
    /// Our own JSON lines.
    Jsonl,
    /// `refs(unc).p` and `instances.json`, as RefCOCO; one-target phrases only.
    Refer,
    /// `refs(final).p` with zero, one and many targets, as Ref-ZOM.
    Refzom,
    /// `grefs(unc).json`, as gRefCOCO.
    Grefcoco,
    /// `instances_<split>.json`, as COCO; no phrases.
    Coco,
}

#[derive(Debug, Args)]
pub(crate) struct Sheet {
    /// The data source.
    pub(crate) source: String,
    /// PNG file to write.
    #[arg(short, long)]
    pub(crate) out: PathBuf,
    /// Pictures on the page.
    #[arg(short, long, default_value_t = 24)]
    pub(crate) count: usize,
    /// Pictures in a row.
    #[arg(long, default_value_t = 6)]
    pub(crate) columns: u32,
    /// Side of a picture on the page, in pixels.
    #[arg(long, default_value_t = 256)]
    pub(crate) cell: u32,
    /// Seed of the world, for `scenes:`.
    #[arg(long, default_value_t = groundling_data::source::SCENES_SEED)]
    pub(crate) seed: u64,
    /// Dark page.
    #[arg(long)]
    pub(crate) dark: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Truth {
    /// The data source.
    pub(crate) source: String,
    /// File to write; `-` for stdout.
    #[arg(short, long, default_value = "-")]
    pub(crate) out: PathBuf,
    /// How several outlines become one mask.
    #[arg(long, value_enum, default_value_t = MaskRuleName::Union)]
    pub(crate) masks: MaskRuleName,
    /// Seed of the world, for `scenes:`.
    #[arg(long, default_value_t = groundling_data::source::SCENES_SEED)]
    pub(crate) seed: u64,
}

/// How several outlines become one mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MaskRuleName {
    /// Any pixel inside any of them (DMMI, gRefCOCO).
    Union,
    /// Pixels inside exactly one, as the original refer API and LAVT have it.
    ExactlyOne,
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// Predictions: JSON lines of `groundling.prediction/1`; for `coco-box` and `coco-mask` also COCO's results JSON.
    #[arg(short, long)]
    pub(crate) predictions: PathBuf,
    /// The truth: a data source, a file of `groundling.truth/1` lines, or COCO's annotation JSON.
    #[arg(short, long)]
    pub(crate) truth: String,
    /// What to compute: rec, rec-transvg, rec-vltvg, res[-N], ref-zom[-N], gres[-N], gres-areaK[-N], grec, grec-paper-iou,
    /// coco-box, coco-mask. The name says every choice that changes a number.
    #[arg(long)]
    pub(crate) protocol: String,
    /// Other predictions to compare with, sample by sample.
    #[arg(long)]
    pub(crate) compare: Option<PathBuf>,
    /// Count a missing prediction as wrong instead of refusing.
    #[arg(long)]
    pub(crate) missing_as_wrong: bool,
    /// How several outlines become one mask.
    #[arg(long, value_enum, default_value_t = MaskRuleName::Union)]
    pub(crate) masks: MaskRuleName,
    /// Resamples of the bootstrap intervals; 0 for none.
    #[arg(long, default_value_t = 1000)]
    pub(crate) resamples: usize,
    /// Seed of the resamples, and of the world for `scenes:`.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Write the reliability of the no-target score as a picture (.svg or .png).
    #[arg(long)]
    pub(crate) reliability: Option<PathBuf>,
}
