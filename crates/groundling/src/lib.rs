//! Finds what words refer to in a picture.
//!
//! ```
//! use groundling::{DeviceChoice, Grounder, Options, Settings};
//! # use groundling_core::ModelIdentity;
//! # use groundling_models::contract::Trainable;
//! # use groundling_models::scanformer::{ScanFormer, ScanFormerConfig};
//! # let model = ScanFormer::init(&ScanFormerConfig::tiny(), &DeviceChoice::Cpu.open()?)?;
//! # let identity = ModelIdentity { name: "random".into(), hash: String::new() };
//! # let open_default = || Ok::<_, groundling::GroundError>(Grounder::from_model(model, identity, Settings::default()));
//!
//! // `Grounder::open_default()?`, or `Grounder::open("weights/my-model")?`
//! let grounder = open_default()?;
//! let photo = image::RgbImage::new(640, 480); // or the path of a file, or its bytes
//! let session = grounder.open_image(&photo)?;
//!
//! let prediction = session.ground("the left cup")?;
//! let best = prediction.best().ok_or("nothing found")?;
//! assert!(best.bbox.x1 <= 640.0 && best.bbox.y1 <= 480.0, "pixels of the original picture");
//!
//! // The same model, looking at no more than half a gigaflop of it.
//! let frugal = Options { budget_gflops: Some(0.5), ..Options::default() };
//! let answer = session.ground_with("the left cup", &frugal)?;
//! let (read, all) = answer.explain.read();
//! assert!(answer.flops <= 500_000_000 && read <= all);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Work is shared among rayon's threads. A program that answers one question after another is faster, with few threads noticeably, if the thread that asks is one of
//! them: `rayon::ThreadPoolBuilder::new().use_current_thread().build_global()` at its start.
//!
//! # Map
//!
//! | item | what |
//! |---|---|
//! | [`Grounder`] | a model that is ready: opens pictures, keeps phrases |
//! | [`Session`] | a picture that was read: answers phrases |
//! | [`Options`], [`Answer`], [`Explain`] | how to answer, what it took, what was looked at |
//! | [`Detector`], [`Classifier`] | all objects of known classes in a picture, and the class of a whole one |
//! | [`attention`] | where the tokens that answer looked |
//! | [`Bundle`] | a folder of weights: opened, verified, written |
//! | [`convert`] | checkpoints of other programs as models of ours |
//! | [`DeviceChoice`] | where a model runs: the one place that chooses |
//! | [`input`] | pictures in all their forms, and how models want them |
//! | [`instances`] | what a model says about pixels as masks of the original picture |
//! | [`hash`] | names by content |

pub mod attention;
mod builtin;
pub mod bundle;
mod cache;
pub mod classifier;
pub mod convert;
mod deduce;
pub mod detector;
pub mod device;
mod engine;
mod error;
mod explain;
mod grounder;
pub mod hash;
pub mod input;
pub mod instances;
mod named;
pub mod systems;
mod verdict;

pub use bundle::{Bundle, BundleError, BundleLimits, Description};
pub use classifier::{Classified, Classifier, ClassifyError, RankedClass};
pub use detector::{DetectError, DetectOptions, Detected, Detector, FoundObject, KeptTokens};
pub use device::{DeviceChoice, DeviceError};
pub use error::{GroundError, OpenError};
pub use explain::{Explain, Level};
pub use grounder::{Answer, Grounder, Options, Question, Session, Settings};
pub use input::Picture;
