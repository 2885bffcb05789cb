//! PNG files, written so that nobody ever sees half of one.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

/// Why a picture was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The encoder refused it; pictures without pixels are the only known case.
    #[error("a picture of {width}x{height} (width x height) cannot be encoded as PNG")]
    Encode {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// What the encoder says.
        source: image::ImageError,
    },
    /// The path names no file.
    #[error("{path}: expected the path of a file")]
    NoFileName {
        /// The path given.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{path}: cannot {action}")]
    Io {
        /// The file concerned.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// The picture as the bytes of a PNG file.
///
/// # Errors
/// [`WriteError::Encode`] if it has no pixels.
pub fn encode_png(image: &RgbImage) -> Result<Vec<u8>, WriteError> {
    let (width, height) = image.dimensions();
    let mut bytes = Vec::new();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
        .write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8)
        .map_err(|source| WriteError::Encode { width, height, source })?;
    Ok(bytes)
}

/// Writes the picture as a PNG file, as [`write_atomically`] does.
///
/// # Errors
/// [`WriteError`] naming what failed and where; the file is then as it was before.
pub fn write_png(path: &Path, image: &RgbImage) -> Result<(), WriteError> {
    write_atomically(path, &encode_png(image)?)
}

/// Writes a whole file or nothing: the bytes go to a temporary file in the same folder, which then takes the name.
///
/// # Errors
/// [`WriteError`] naming what failed and where; the file is then as it was before.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else { return Err(WriteError::NoFileName { path: path.to_owned() }) };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(temporary);

    let written = write_new(&temporary, bytes).and_then(|()| {
        std::fs::rename(&temporary, path).map_err(|source| io(path, "give the finished file its name", source))
    });
    if written.is_err() {
        // The first failure is what matters; a temporary file that was never made cannot be removed either.
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path).map_err(|e| io(path, "create the file", e))?;
    file.write_all(bytes).map_err(|source| io(path, "write the file", source))?;
    file.sync_all().map_err(|source| io(path, "write the file to the disk", source))
}

fn io(path: &Path, action: &'static str, source: std::io::Error) -> WriteError {
    WriteError::Io { path: path.to_owned(), action, source }
}
