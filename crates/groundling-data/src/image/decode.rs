//! The door for images: bytes of any origin become RGB pixels or a typed error, within stated limits.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use groundling_core::ImageSize;
use image::{ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

/// What an image file may cost. Checked against the header, before any pixel is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Bytes of the file.
    pub max_file_bytes: u64,
    /// Rows.
    pub max_height: u32,
    /// Columns.
    pub max_width: u32,
    /// Rows times columns.
    pub max_pixels: u64,
    /// Bytes the decoder may allocate; wide pixel formats reach this before `max_pixels`.
    pub max_alloc_bytes: u64,
}

impl Default for ImageLimits {
    /// 64 MiB of file, 16 384 pixels a side, 100 million pixels, 512 MiB of decoder memory.
    fn default() -> Self {
        Self {
            max_file_bytes: 64 << 20,
            max_height: 16_384,
            max_width: 16_384,
            max_pixels: 100_000_000,
            max_alloc_bytes: 512 << 20,
        }
    }
}

/// What to do with the orientation a camera wrote into the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExifOrientation {
    /// Take the stored pixels as they are. Right for COCO, RefCOCO and their like: their boxes assume it.
    #[default]
    Ignore,
    /// Turn the picture the way a viewer shows it. Right for photographs that people send in.
    Apply,
}

/// Why bytes are not a usable image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A folder stands where a file should be.
    #[error("{path}: is a folder, expected an image file")]
    IsFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The file is too large.
    #[error("{place}: the file is {found} bytes long, expected at most {limit}")]
    FileTooLarge {
        /// The file, or "image".
        place: String,
        /// Bytes found.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The content is of no format we read.
    #[error("{place}: not a JPEG, PNG, WebP or BMP image (first bytes {start:02x?})")]
    UnknownFormat {
        /// The file, or "image".
        place: String,
        /// The first bytes.
        start: Vec<u8>,
    },
    /// The picture is too large.
    #[error(
        "{place}: the image is {width}x{height} (width x height), expected at most {max_width}x{max_height} \
         and {max_pixels} pixels"
    )]
    TooLarge {
        /// The file, or "image".
        place: String,
        /// Rows found.
        height: u32,
        /// Columns found.
        width: u32,
        /// Rows allowed.
        max_height: u32,
        /// Columns allowed.
        max_width: u32,
        /// Pixels allowed.
        max_pixels: u64,
    },
    /// Decoding would take too much memory.
    #[error("{place}: decoding takes {found} bytes of memory, expected at most {limit}")]
    Memory {
        /// The file, or "image".
        place: String,
        /// Bytes needed for the decoded pixels.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The picture has no pixels.
    #[error("{place}: the image is {width}x{height} (width x height), expected at least one pixel")]
    Empty {
        /// The file, or "image".
        place: String,
        /// Rows found.
        height: u32,
        /// Columns found.
        width: u32,
    },
    /// The decoder refused the content: truncated, damaged, or of an unusual kind.
    #[error("{place}: cannot decode this {format}: {message}")]
    Decode {
        /// The file, or "image".
        place: String,
        /// The format by its first bytes.
        format: &'static str,
        /// What the decoder said.
        message: String,
    },
    /// The decoder panicked; a bug in it that this file found.
    #[error("{place}: the {format} decoder failed on this file: {message}")]
    DecoderPanic {
        /// The file, or "image".
        place: String,
        /// The format by its first bytes.
        format: &'static str,
        /// The panic's message.
        message: String,
    },
}

/// Decodes an image file to RGB, 8 bits a channel. Grey is replicated, alpha dropped, 16 bits rounded to 8.
///
/// # Errors
/// [`ImageError`] if the file cannot be read, is over a limit, or is no image.
pub fn decode_file(path: &Path, limits: ImageLimits, exif: ExifOrientation) -> Result<RgbImage, ImageError> {
    let reader = open(path, limits)?;
    decode_from(reader, &path.display().to_string(), limits, exif)
}

/// Decodes an image in memory; as [`decode_file`].
///
/// # Errors
/// [`ImageError`].
pub fn decode_bytes(bytes: &[u8], limits: ImageLimits, exif: ExifOrientation) -> Result<RgbImage, ImageError> {
    check_file_size("image", bytes.len() as u64, limits)?;
    decode_from(Cursor::new(bytes), "image", limits, exif)
}

/// Reads only the size of the stored pixels.
///
/// # Errors
/// [`ImageError`], also for sizes over the limits.
pub fn size_of_file(path: &Path, limits: ImageLimits) -> Result<ImageSize, ImageError> {
    let place = path.display().to_string();
    let (reader, format) = guess(open(path, limits)?, &place)?;
    let (width, height) = guarded(&place, format, || reader.into_dimensions().map_err(|e| e.to_string()))?;
    check_size(&place, height, width, limits)
}

fn open(path: &Path, limits: ImageLimits) -> Result<BufReader<File>, ImageError> {
    let io = |source| ImageError::Io { path: path.to_owned(), source };
    let meta = std::fs::metadata(path).map_err(io)?;
    if meta.is_dir() {
        return Err(ImageError::IsFolder { path: path.to_owned() });
    }
    check_file_size(&path.display().to_string(), meta.len(), limits)?;
    Ok(BufReader::new(File::open(path).map_err(io)?))
}

fn check_file_size(place: &str, found: u64, limits: ImageLimits) -> Result<(), ImageError> {
    let limit = limits.max_file_bytes;
    if found > limit {
        return Err(ImageError::FileTooLarge { place: place.to_owned(), found, limit });
    }
    Ok(())
}

fn check_size(place: &str, height: u32, width: u32, limits: ImageLimits) -> Result<ImageSize, ImageError> {
    let ImageLimits { max_height, max_width, max_pixels, .. } = limits;
    let place = place.to_owned();
    let pixels = u64::from(height) * u64::from(width);
    if height > max_height || width > max_width || pixels > max_pixels {
        return Err(ImageError::TooLarge { place, height, width, max_height, max_width, max_pixels });
    }
    ImageSize::new(height, width).map_err(|_| ImageError::Empty { place, height, width })
}

fn decode_from<R: BufRead + Seek>(
    reader: R,
    place: &str,
    limits: ImageLimits,
    exif: ExifOrientation,
) -> Result<RgbImage, ImageError> {
    let (mut reader, format) = guess(reader, place)?;
    let mut allowed = Limits::default();
    allowed.max_alloc = Some(limits.max_alloc_bytes);
    reader.limits(allowed);
    let decoder = guarded(place, format, || reader.into_decoder().map_err(|e| e.to_string()))?;
    // The header decides; nothing has been allocated for pixels yet.
    let (width, height) = decoder.dimensions();
    check_size(place, height, width, limits)?;
    let (found, limit) = (decoder.total_bytes(), limits.max_alloc_bytes);
    if found > limit {
        return Err(ImageError::Memory { place: place.to_owned(), found, limit });
    }
    guarded(place, format, move || {
        let mut decoder = decoder;
        let orientation = match exif {
            ExifOrientation::Apply => decoder.orientation().ok(),
            ExifOrientation::Ignore => None,
        };
        let mut picture = image::DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
        if let Some(orientation) = orientation {
            picture.apply_orientation(orientation);
        }
        Ok(picture.into_rgb8())
    })
}

fn guess<R: BufRead + Seek>(mut reader: R, place: &str) -> Result<(ImageReader<R>, &'static str), ImageError> {
    let io = |source| ImageError::Io { path: PathBuf::from(place), source };
    let mut start = [0; 16];
    let mut filled = 0;
    while filled < start.len() {
        match reader.read(&mut start[filled..]).map_err(io)? {
            0 => break,
            n => filled += n,
        }
    }
    reader.rewind().map_err(io)?;
    let start = &start[..filled];
    let name = match image::guess_format(start) {
        Ok(ImageFormat::Jpeg) => "JPEG",
        Ok(ImageFormat::Png) => "PNG",
        Ok(ImageFormat::WebP) => "WebP",
        Ok(ImageFormat::Bmp) => "BMP",
        _ => return Err(ImageError::UnknownFormat { place: place.to_owned(), start: start.to_vec() }),
    };
    let format = image::guess_format(start).unwrap_or(ImageFormat::Png);
    Ok((ImageReader::with_format(reader, format), name))
}

/// Runs a decoder; a panic in it becomes an error, since a decoder's bug is not our caller's.
fn guarded<T>(place: &str, format: &'static str, decode: impl FnOnce() -> Result<T, String>) -> Result<T, ImageError> {
    let place = place.to_owned();
    match catch_unwind(AssertUnwindSafe(decode)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(message)) => Err(ImageError::Decode { place, format, message }),
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_else(|| "it panicked".to_owned());
            Err(ImageError::DecoderPanic { place, format, message })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panicking_decoder_is_an_error() {
        let error = guarded::<()>("cup.jpg", "JPEG", || panic!("index out of bounds")).unwrap_err();
        assert_eq!(error.to_string(), "cup.jpg: the JPEG decoder failed on this file: index out of bounds");
    }

    #[test]
    fn pixels_survive_png_and_bmp() {
        let picture = RgbImage::from_fn(5, 3, |x, y| image::Rgb([x as u8 * 50, y as u8 * 80, 7]));
        for format in [ImageFormat::Png, ImageFormat::Bmp] {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).unwrap();
            let decoded = decode_bytes(bytes.get_ref(), ImageLimits::default(), ExifOrientation::Ignore).unwrap();
            assert_eq!(decoded, picture, "{format:?}");
        }
    }

    #[test]
    fn grey_is_replicated_and_alpha_dropped() {
        let mut bytes = Cursor::new(Vec::new());
        image::GrayAlphaImage::from_pixel(2, 2, image::LumaA([90, 10])).write_to(&mut bytes, ImageFormat::Png).unwrap();
        let decoded = decode_bytes(bytes.get_ref(), ImageLimits::default(), ExifOrientation::Apply).unwrap();
        assert_eq!(decoded.get_pixel(1, 1).0, [90, 90, 90]);
    }
}
