//! Arguments of the commands that run a model.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use groundling::DeviceChoice;

/// Which model, where.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelFlags {
    /// Folder of weights. Without it: $GROUNDLING_WEIGHTS, else the model that is part of the program.
    #[arg(short, long, value_name = "DIR")]
    pub(crate) weights: Option<PathBuf>,
    /// Where the model runs: auto, cpu, or vulkan, wgpu, metal, cuda with or without `:NUMBER`, if this build has it.
    #[arg(long, default_value = "auto", env = "GROUNDLING_DEVICE")]
    pub(crate) device: DeviceChoice,
    /// Threads of the CPU to use; all by default.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

/// How a model answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct HowFlags {
    /// Patches with a selection value from here up are read: `-inf` reads everything, `inf` only the coarsest level.
    #[arg(long, default_value_t = 0.0, allow_hyphen_values = true)]
    pub(crate) threshold: f32,
    /// Answer with this level (from 0, the coarsest) and read none after it.
    #[arg(long)]
    pub(crate) level: Option<usize>,
    /// Most operations of one answer, in GFLOPs (a multiply-add is two); less is read to stay below.
    #[arg(long, value_name = "GFLOPS")]
    pub(crate) budget_gflops: Option<f64>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  groundling ground photo.jpg \"the left cup\"
  groundling ground photo.jpg \"the left cup\" --draw found.png --explain looked-at.png
  groundling ground holiday/ *.png -p \"the dog\" -p \"a red car\" --format jsonl > answers.jsonl
  groundling ground --input pairs.jsonl --format coco > results.json

A folder stands for the pictures in it. Boxes are in pixels of the original picture: left, top, right, bottom.")]
pub(crate) struct Ground {
    /// Pictures (JPEG, PNG, WebP, BMP; files, folders or patterns), then the phrase; with --phrase or --input, only pictures.
    #[arg(value_name = "IMAGE.. PHRASE")]
    pub(crate) inputs: Vec<OsString>,
    /// A phrase; every phrase is asked about every picture.
    #[arg(short, long = "phrase", value_name = "PHRASE")]
    pub(crate) phrases: Vec<OsString>,
    /// Pairs from JSON lines with `image` (relative to the file) and `phrase`, perhaps `id`; other fields are left alone.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["inputs", "phrases"])]
    pub(crate) input: Option<PathBuf>,
    /// Draw the boxes on the pictures: a PNG file for one answer, else a folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) draw: Option<PathBuf>,
    /// Draw what was looked at, level by level: a PNG file for one answer, else a folder. A name ending in .json writes numbers.
    #[arg(long, value_name = "PATH")]
    pub(crate) explain: Option<PathBuf>,
    /// List the objects that this detector finds beside every answer: a folder of weights.
    #[arg(long, value_name = "DIR")]
    pub(crate) candidates: Option<PathBuf>,
    /// Turn pictures as the camera's orientation mark says; off by default, as data sets expect.
    #[arg(long)]
    pub(crate) exif: bool,
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    #[command(flatten)]
    pub(crate) how: HowFlags,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  groundling convert vilt.ckpt --system scanformer --preset vilt_b -o weights/from-vilt
  groundling convert pytorch_model.bin --system scanformer --preset vilt_b_hf --layout hf --dry-run
  groundling convert TransVG_R50_unc.pth --system transvg -o weights/transvg-r50
  groundling convert scalable_vit_small.pth --system scalablevit --classes imagenet-names.txt -o weights/scalablevit-small")]
pub(crate) struct Convert {
    /// The checkpoint: safetensors, or anything that `torch.save` wrote.
    pub(crate) checkpoint: PathBuf,
    /// The system it becomes.
    #[arg(long)]
    pub(crate) system: String,
    /// Sizes of the model by name, see `groundling models`. Checkpoints of the authors of TransVG, VLTVG, QRNet and ScalableViT tell theirs.
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// Sizes of the model from a JSON file (the `config` of a config.json).
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub(crate) config: Option<PathBuf>,
    /// Whose names the checkpoint has, such as official or hf; told by the names if it is auto.
    #[arg(long, default_value = "auto")]
    pub(crate) layout: String,
    /// Which set of weights to take from a file with several: auto, ema, everything, or its name in the file.
    #[arg(long, default_value = "auto")]
    pub(crate) take: String,
    /// Folder of weights to write.
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    pub(crate) out: Option<PathBuf>,
    /// Only say what would happen; exit code 1 if it does not fit.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Numbers of the file written.
    #[arg(long, value_enum, default_value_t = PrecisionName::F16)]
    pub(crate) precision: PrecisionName,
    /// Name of the model; that of the folder by default.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Licence of the weights, as their authors state it.
    #[arg(long, default_value = "unknown: see where the checkpoint comes from")]
    pub(crate) licence: String,
    /// Detectors and classifiers: a text file with the names of the classes, one a line, in the order of the model's outputs; for detectors
    /// COCO's for 80 if not said.
    #[arg(long, value_name = "FILE")]
    pub(crate) classes: Option<PathBuf>,
    /// Seed of the parameters that the checkpoint lacks.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

/// Numbers of a file of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PrecisionName {
    /// Half the size; what inference needs.
    F16,
    /// As trained.
    F32,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  groundling calibrate --weights my-weights --data grefcoco:data:val --false-alarm-rate 0.05 --reliability score.png

Whatever is stored changes what `ground` and `eval` answer with these weights.")]
pub(crate) struct Calibrate {
    /// Where phrases and pictures come from, those about nothing among them; not what the model was trained or will be tested on.
    #[arg(long, value_name = "SOURCE")]
    pub(crate) data: String,
    /// Most phrases about something that may be answered with "not here", as a share of them: 0.05 for one in twenty.
    #[arg(long, value_name = "SHARE", allow_hyphen_values = true)]
    pub(crate) false_alarm_rate: f64,
    /// Only the first pictures of the source.
    #[arg(long, value_name = "PICTURES")]
    pub(crate) limit: Option<usize>,
    /// Seed of the world, for `scenes:`.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Draw how far the calibrated score means what it says (.svg or .png).
    #[arg(long, value_name = "FILE")]
    pub(crate) reliability: Option<PathBuf>,
    /// Only say what would be stored.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) model: ModelFlags,
}

#[derive(Debug, Args)]
pub(crate) struct Models {
    /// Folders to look for weights in, besides ./weights.
    #[arg(value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  groundling bench
  groundling bench --image photo.jpg --phrase \"the left cup\" --threads 2 --json
  groundling bench --system scanformer --preset vilt_b --size 480 640 --keep 50,100
  groundling bench --system focus_detr --preset r50 --size 800 1066 --repeats 3

Of detectors and classifiers, which read no phrase, only the picture, --size, --repeats and --budget-gflops count.")]
pub(crate) struct Bench {
    /// The picture; one of random pixels of --size by default.
    #[arg(long)]
    pub(crate) image: Option<PathBuf>,
    /// Height and width of the picture without --image.
    #[arg(long, num_args = 2, value_names = ["HEIGHT", "WIDTH"], default_values_t = [480, 640])]
    pub(crate) size: Vec<u32>,
    /// The phrase.
    #[arg(short, long, default_value = "the left cup on the table")]
    pub(crate) phrase: String,
    /// A model with random weights instead of a folder of weights: its system.
    #[arg(long, requires = "preset", conflicts_with = "weights")]
    pub(crate) system: Option<String>,
    /// A model with random weights: its sizes by name.
    #[arg(long, requires = "system")]
    pub(crate) preset: Option<String>,
    /// Patches to read on the levels after the first, by choosing the budget that allows as many; by the threshold if left out.
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["level", "budget_gflops"])]
    pub(crate) keep: Option<Vec<usize>>,
    /// How often everything is measured.
    #[arg(short = 'n', long, default_value_t = 30)]
    pub(crate) repeats: usize,
    #[command(flatten)]
    pub(crate) model: ModelFlags,
    #[command(flatten)]
    pub(crate) how: HowFlags,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) model: ModelFlags,
}
