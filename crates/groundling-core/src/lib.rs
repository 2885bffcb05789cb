//! The words of Groundling: what every other crate means by a box, a frame, a mask, a phrase and a prediction.
//!
//! This crate holds no model, reads no file, and draws no random number. Its types make the usual mistakes of the
//! field hard to write down: a rectangle carries its *format* and its *frame* in the type, sizes are structs with named
//! sides, and "nothing here" is a field of the answer rather than an empty list.
//!
//! ```
//! use groundling_core::{Anchor, BoxXyxy, ImageSize, Pixels, Placement, Rounding};
//!
//! // A 640x480 photograph goes into a 320x320 network input, long side first, content in the corner.
//! let image = ImageSize::new(480, 640)?;
//! let placement = Placement::letterbox(image, 320, Rounding::HalfUp, Anchor::TopLeft)?;
//! let cup = BoxXyxy::<Pixels>::new(100.0, 40.0, 300.0, 240.0);
//!
//! let in_model = placement.model_from_image(cup);
//! assert_eq!(in_model.to_array(), [50.0, 20.0, 150.0, 120.0]);
//! assert_eq!(placement.image_from_model(in_model), cup);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`boxes`] | [`BoxXyxy`], [`BoxXywh`], [`BoxCxcywh`] in a [`Frame`]; IoU, GIoU |
//! | [`frames`] | [`Placement`]: where an image lies in a network input, and the way back |
//! | [`mask`] | [`BinaryMask`], row-major, one byte a pixel |
//! | [`rle`] | [`Rle`], COCO run lengths (column-major), polygons, intersection without decoding |
//! | [`phrase`] | [`Phrase`]: a checked referring expression, and the words it is made of |
//! | [`truth`] | [`GroundTruth`]: what a phrase really refers to |
//! | [`prediction`] | [`Prediction`]: what a model says it refers to |
//! | [`scaling`] | [`Scaling`]: from raw scores to probabilities |
//! | [`size`] | [`ImageSize`] |

pub mod boxes;
pub mod frames;
pub mod mask;
pub mod phrase;
pub mod prediction;
pub mod rle;
pub mod scaling;
pub mod size;
pub mod truth;

pub use boxes::{BoxCxcywh, BoxError, BoxXywh, BoxXyxy, Canvas, Frame, Pixels, Unit};
pub use frames::{Anchor, ContentRect, FrameError, Placement, Rounding, shortest_edge_size};
pub use mask::{BinaryMask, MaskError};
pub use phrase::{Phrase, PhraseError, PhraseLimits};
pub use prediction::{ModelIdentity, PredictedTarget, Prediction};
pub use rle::{PolygonError, Rle, RleError};
pub use scaling::Scaling;
pub use size::{ImageSize, SizeError};
pub use truth::{GroundTruth, TargetCount, TrueTarget};
