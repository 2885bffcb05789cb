//! Predictions to numbers.
//!
//! This crate reads record files ([`records`]), scores them under the protocols of the field ([`Protocol`]), says how sure
//! the figures are, where they come from and how two sets of predictions differ, and evaluates COCO results ([`coco`]).
//! It takes predictions, not models, and knows no data set.
//!
//! ```
//! use groundling_eval::{EvalOptions, Protocol, evaluate};
//! use groundling_eval::records::{MissingPolicy, ReadLimits, join, read_predictions, read_truths};
//!
//! let truth = r#"{"schema":"groundling.truth/1","id":"7","image":"a.jpg","phrase":"the cup","width":64,"height":48,
//!   "frame":"pixels_xyxy","source":"one","targets":[{"box":[0,0,30,40]}]}"#.replace('\n', " ");
//! let prediction = r#"{"schema":"groundling.prediction/1","id":"7","image":"a.jpg","phrase":"the cup","width":64,
//!   "height":48,"frame":"pixels_xyxy","targets":[{"score":0.9,"box":[0,0,30,32]}],"no_target":false,
//!   "no_target_score":null,"model":{"name":"transvg","hash":"00"}}"#.replace('\n', " ");
//!
//! let limits = ReadLimits::default();
//! let truths = read_truths(truth.as_bytes(), "truth.jsonl", &limits)?;
//! let predictions = read_predictions(prediction.as_bytes(), "predictions.jsonl", &limits)?;
//! let samples = join(truths, predictions, MissingPolicy::Refuse)?;
//!
//! let report = evaluate("rec".parse::<Protocol>()?, &samples, &EvalOptions::default())?;
//! assert_eq!(report.figure("Acc@0.5").and_then(|figure| figure.value), Some(100.0));
//! assert_eq!(report.figure("mIoU").and_then(|figure| figure.value), Some(80.0));
//! println!("{}", report.to_table());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`records`] | prediction and truth files, joining, other tools' formats |
//! | [`report`] | [`evaluate`]: protocol and samples to a [`Report`]; [`compare`]: two sets of predictions |
//! | [`rec`] | one expression, one box: Acc@t, mAcc, mIoU; TransVG's and VLTVG's rules |
//! | [`res`] | one expression, one mask: oIoU, mIoU, P@X; Ref-ZOM's Acc |
//! | [`gres`] | zero, one or many, masks: gIoU, cIoU, N-acc, T-acc, Pr@X |
//! | [`grec`] | zero, one or many, boxes: Pr@(F1=1), N-acc, T-acc |
//! | [`masks`] | overlap of run-length codes at the original or a fixed size |
//! | [`coco`] | COCO AP for boxes and masks, and its files |
//! | [`classification`] | top-1 and top-5 accuracy |
//! | [`calibration`] | ECE, reliability, Brier score, AUROC, threshold at a false-alarm rate |
//! | [`scaling`] | fits the scaling that makes scores probabilities |
//! | [`bootstrap`] | intervals and paired differences |
//! | [`breakdown`] | groups of samples by phrase, size and number of targets |
//! | [`correlation`] | Spearman's rho |
//! | [`attention`] | whether attention lies where answers do |
//! | [`figures`] | [`RatioFigure`], what intervals are made of |
//!
//! No figure is ever NaN: what is not defined is `None`, and "not available" in print.

pub mod attention;
pub mod bootstrap;
pub mod breakdown;
pub mod calibration;
pub mod classification;
pub mod coco;
pub mod correlation;
mod error;
pub mod figures;
#[doc(hidden)]
pub mod fuzzing;
pub mod grec;
pub mod gres;
pub mod masks;
pub mod rec;
pub mod records;
pub mod report;
pub mod res;
mod rng;
pub mod scaling;

pub use bootstrap::{BootstrapOptions, Interval};
pub use error::EvalError;
pub use figures::{FigureUnit, RatioFigure};
pub use masks::{MaskOverlap, MaskSize};
pub use report::{CompareError, Comparison, EvalOptions, Protocol, ProtocolError, Report, compare, evaluate};
