//! Files to samples to arrays.
//!
//! Everything a grounding model is trained, asked or scored with comes through this crate: images within limits,
//! phrases as word pieces, data sets in the layouts the field uses, and a generated world. Nothing here needs a tensor
//! library, and nothing in a file is ever executed.
//!
//! ```
//! use groundling_data::image::preprocess::Preprocessor;
//! use groundling_data::text::wordpiece::{Truncation, WordPiece};
//!
//! let words = WordPiece::bert_base_uncased();
//! let encoded = words.encode("the left cup").fitted(40, Truncation::KeepSeparator);
//! assert_eq!(encoded.ids, [101, 1996, 2187, 2452, 102]);
//!
//! let photo = image::RgbImage::new(640, 480);
//! let input = Preprocessor::scanformer(384).prepare(&photo)?;
//! assert_eq!(input.placement.resized().to_string(), "384x288"); // width x height
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`image`] | decoding within limits, Pillow-exact resizing, preprocessing, augmentation |
//! | [`text`] | WordPiece, noun phrases, phrase erasing |
//! | [`dataset`] | [`Dataset`]: images, annotations and expressions of any layout, with truth on demand |
//! | [`readers`] | the layouts: refer, gRefCOCO, Ref-ZOM, COCO, Flickr30k Entities, ReSC lists, JSONL |
//! | [`source`] | names of data sources that every command understands: `refer:ROOT/refcoco:unc:val` |
//! | [`pickle`] | Python pickles, read over a closed list of opcodes |
//! | [`examples`] | one view of every source: pictures with their phrases and objects |
//! | [`labelled`] | pictures with one class each: a folder a class, ImageNet with its development kit, objects cut out of scenes |
//! | [`scenes`] | a generated world: pictures, exact masks, phrases and their truth |
//! | [`write`](mod@write) | data sets in five layouts, written so that the readers read them back |
//! | [`check`](mod@check) | a linter for data sets |
//! | [`sampler`] | orders of training samples |
//! | [`rng`] | seeded random numbers, the same everywhere |

pub mod check;
pub mod dataset;
pub mod examples;
#[doc(hidden)]
pub mod fuzzing;
pub mod image;
pub mod labelled;
pub mod pickle;
pub mod readers;
pub mod rng;
pub mod sampler;
pub mod scenes;
pub mod source;
pub mod text;
pub mod write;

pub use dataset::{Annotation, Dataset, DatasetError, ImageRecord, MaskRule, Sample, Shape};
pub use source::DataSource;
