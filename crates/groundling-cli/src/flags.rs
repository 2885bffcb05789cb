//! Arguments as they are typed.

mod analyze;
mod classify;
mod detect;
mod model;
pub(crate) mod train;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use analyze::{Analyze, AnalyzeAttention};
pub(crate) use classify::Classify;
pub(crate) use detect::Detect;
pub(crate) use model::{Bench, Calibrate, Convert, Doctor, Ground, HowFlags, ModelFlags, Models, PrecisionName};

/// Finds what words refer to in a picture: a box, a mask, several of them, or an honest "not here".
#[derive(Debug, Parser)]
#[command(
    name = "groundling",
    version,
    max_term_width = 110,
    after_help = "\
Data sources: scenes:SPLIT[:COUNT], refer:FOLDER:SPLIT_BY:SPLIT, refzom:ROOT:SPLIT, grefcoco:ROOT:SPLIT,
coco:IMAGES:ANNOTATIONS, jsonl:FILE, flickr:ROOT:IMAGES:SPLIT, resc:FILE:IMAGES; for classifiers folders:FOLDER (one folder a
class), imagenet:ROOT:SPLIT, and scenes, whose objects are cut out.

Exit codes: 0 success, 1 a negative answer (`data check` or `doctor` found faults), 2 an error.
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
    #[value(alias = "native")]
    Json,
    /// Of `ground`: predictions as JSON lines, as `eval --predictions` reads them. Of `detect` and `classify`: a line for each picture.
    Jsonl,
    /// Of `ground` and `detect`: as the zero-shot object detection of Hugging Face; of `classify`: as its image classification.
    Hf,
    /// Of `ground` and `detect`: a results file of COCO.
    Coco,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Find what a phrase refers to in a picture.
    Ground(Ground),
    /// Find all objects of the classes that a detector knows.
    Detect(Detect),
    /// Say what whole pictures show, among the classes that a classifier knows.
    Classify(Classify),
    /// Make, check and look at data sets.
    #[command(subcommand)]
    Data(Data),
    /// Score a model on data, or a file of predictions against a truth.
    Eval(Eval),
    /// Fit from which score on a model says that nothing fits, and store that beside its weights.
    Calibrate(Calibrate),
    /// Look into what a model does on data.
    #[command(subcommand)]
    Analyze(Analyze),
    /// List the models this version knows and the weights that are there.
    Models(Models),
    /// Turn a checkpoint of another program into a folder of weights.
    Convert(Convert),
    /// Measure how long each stage of an answer takes, and how much memory.
    Bench(Bench),
    /// Look for what keeps this program from working well; exit code 1 if something is wrong.
    Doctor(Doctor),
    /// Train a model by a recipe; a run that was interrupted goes on where it was.
    Train(train::Train),
    /// Print a script that completes commands in a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
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
#[command(after_help = "\
Examples:
  groundling eval --data scenes:test:500 --json
  groundling eval --weights my-weights --data refer:data/refcoco:unc:val --save predictions.jsonl
  groundling eval --data scenes:test:500 --sweep=-inf,-1,0,1,inf --chart curve.svg
  groundling eval --predictions predictions.jsonl --truth refer:data/refcoco:unc:val --protocol rec")]
pub(crate) struct Eval {
    /// Predictions: JSON lines of `groundling.prediction/1`; for `coco-box` and `coco-mask` also COCO's results JSON.
    #[arg(short, long, requires_all = ["truth", "protocol"], required_unless_present = "data")]
    pub(crate) predictions: Option<PathBuf>,
    /// The truth: a data source, a file of `groundling.truth/1` lines, or COCO's annotation JSON.
    #[arg(short, long, requires = "predictions")]
    pub(crate) truth: Option<String>,
    /// Run a model on this data source.
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["predictions", "compare"])]
    pub(crate) data: Option<String>,
    /// What to compute: rec, rec-transvg, rec-vltvg, res[-N], ref-zom[-N], gres[-N], gres-areaK[-N], grec, grec-paper-iou,
    /// coco-box, coco-mask. The name says every choice that changes a number. -N compares masks resized to N x N; where that is the model's
    /// canvas, the answer is taken as the network gives it and only the truth is resized, as released programs do. With --data and a model
    /// that makes masks: gres for gRefCOCO, ref-zom for Ref-ZOM and scenes, res for refer; else grec for gRefCOCO, rec for the rest.
    #[arg(long)]
    pub(crate) protocol: Option<String>,
    /// Other predictions to compare with, sample by sample.
    #[arg(long)]
    pub(crate) compare: Option<PathBuf>,
    /// Count a missing prediction as wrong instead of refusing.
    #[arg(long)]
    pub(crate) missing_as_wrong: bool,
    /// Which phrases of a data source count: those about one thing, or all. One for the protocols rec*, else all, unless given.
    #[arg(long, value_enum)]
    pub(crate) targets: Option<TargetsName>,
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
    /// Keep what the model said as JSON lines; `--predictions` reads those about phrases.
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(crate) save: Option<PathBuf>,
    /// Ask at each of these thresholds (`--sweep=-inf,0,inf`): accuracy against what was read. The report is that of the first.
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true, requires = "data", conflicts_with = "threshold")]
    pub(crate) sweep: Vec<f32>,
    /// Detectors: average shares of the feature tokens that the encoder works on (`--keep-ratio 1.0,0.5,0.3,0.1`); as the model was trained
    /// by default. The figures of each are reported.
    #[arg(long, value_delimiter = ',', value_name = "SHARES", requires = "data")]
    pub(crate) keep_ratio: Vec<f32>,
    /// Draw the sweep, or a detector's AP against its operations (.svg or .png).
    #[arg(long, value_name = "FILE", requires = "data")]
    pub(crate) chart: Option<PathBuf>,
    /// Detectors: what `--json` said of other models on the same data, drawn into the same chart.
    #[arg(long, value_delimiter = ',', value_name = "FILES", requires = "chart")]
    pub(crate) beside: Vec<PathBuf>,
    /// Only the first pictures of the source; for classifiers on scenes, the objects of the first scenes.
    #[arg(long, value_name = "PICTURES", requires = "data")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    #[command(flatten)]
    pub(crate) how: HowFlags,
}

/// Which phrases of a source count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetsName {
    /// Those about exactly one thing.
    One,
    /// All, those about nothing and about several things among them.
    All,
}
