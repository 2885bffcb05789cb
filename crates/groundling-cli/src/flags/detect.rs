//! Arguments of `groundling detect`.

use std::path::PathBuf;

use clap::Args;

use super::ModelFlags;

/// Arguments of `groundling detect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  groundling detect photo.jpg --weights weights/detector
  groundling detect photo.jpg -w weights/detector --draw found.png --explain looked-at.png
  groundling detect holiday/ *.png -w weights/detector --keep-ratio 0.1 --format coco > results.json

A folder stands for the pictures in it. Boxes are in pixels of the original picture: left, top, right, bottom.")]
pub(crate) struct Detect {
    /// Pictures (JPEG, PNG, WebP, BMP; files, folders or patterns).
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Objects with a lower score are left out.
    #[arg(long, default_value_t = 0.3)]
    pub(crate) threshold: f32,
    /// Most objects of a picture, best first.
    #[arg(long, default_value_t = 300)]
    pub(crate) limit: usize,
    /// Average share of the feature tokens that the encoder works on; as the model was trained by default.
    #[arg(long, value_name = "SHARE")]
    pub(crate) keep_ratio: Option<f32>,
    /// Most operations of one picture, in GFLOPs (a multiply-add is two); fewer tokens are kept to stay below.
    #[arg(long, value_name = "GFLOPS")]
    pub(crate) budget_gflops: Option<f64>,
    /// Draw the objects on the pictures: a PNG file for one picture, else a folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) draw: Option<PathBuf>,
    /// Draw the tokens that the encoder kept, by level and layer: a PNG file for one picture, else a folder. A name ending in .json writes
    /// their numbers.
    #[arg(long, value_name = "PATH")]
    pub(crate) explain: Option<PathBuf>,
    /// Turn pictures as the camera's orientation mark says; off by default, as data sets expect.
    #[arg(long)]
    pub(crate) exif: bool,
    #[command(flatten)]
    pub(crate) model: ModelFlags,
}
