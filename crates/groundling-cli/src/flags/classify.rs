//! Arguments of `groundling classify`.

use std::path::PathBuf;

use clap::Args;

use super::ModelFlags;

/// Arguments of `groundling classify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  groundling classify photo.jpg --weights weights/classifier
  groundling classify holiday/ *.png -w weights/classifier --top 1 --format jsonl > classes.jsonl

A folder stands for the pictures in it. Pictures that cannot be read are listed at the end and stop no other.")]
pub(crate) struct Classify {
    /// Pictures (JPEG, PNG, WebP, BMP; files, folders or patterns).
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) inputs: Vec<PathBuf>,
    /// Most classes of a picture, best first.
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub(crate) top: usize,
    /// Turn pictures as the camera's orientation mark says; off by default, as data sets expect.
    #[arg(long)]
    pub(crate) exif: bool,
    #[command(flatten)]
    pub(crate) model: ModelFlags,
}
