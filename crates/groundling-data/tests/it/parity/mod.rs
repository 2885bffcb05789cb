//! Fixtures of the reference implementations.

mod bert;
mod dmmi;
mod focus_detr;
mod scanformer;
mod transvg;

use groundling_testkit::Array;
use image::RgbImage;

/// An `[H, W, 3]` array of bytes as a picture.
fn picture(array: &Array) -> RgbImage {
    let &[height, width, 3] = array.shape.as_slice() else { panic!("shape {:?} is no picture", array.shape) };
    RgbImage::from_raw(width as u32, height as u32, array.to_u8()).unwrap()
}

/// A picture as an `[H, W, 3]` array.
fn array(picture: &RgbImage) -> Array {
    Array::from_values([picture.height() as usize, picture.width() as usize, 3], picture.as_raw())
}
