//! Record files: what a model said and what is true, one JSON object a line.
//!
//! A record is one (image, phrase) pair. Predictions ([`PredictionRecord`], schema [`PREDICTION_SCHEMA`]) and truths
//! ([`TruthRecord`], schema [`TRUTH_SCHEMA`]) meet by their `id` in [`join`]. Boxes are left, top, right, bottom in pixels
//! of the original image (`"frame": "pixels_xyxy"`, the only one there is); masks are COCO run-length codes at the size
//! of the original image. Readers refuse what they do not fully understand, naming file, line, place, expected and found.
//!
//! ```
//! use groundling_eval::records::{ReadLimits, read_predictions};
//!
//! let line = r#"{"schema":"groundling.prediction/1","id":"7","image":"a.jpg","phrase":"the cup","width":64,"height":48,
//!   "frame":"pixels_xyxy","targets":[{"score":0.9,"box":[1,2,30,40]}],"no_target":false,"no_target_score":null,
//!   "model":{"name":"transvg","hash":"00"}}"#.replace('\n', " ");
//! let records = read_predictions(line.as_bytes(), "predictions.jsonl", &ReadLimits::default())?;
//! assert_eq!(records[0].prediction.best().map(|target| target.bbox.to_array()), Some([1.0, 2.0, 30.0, 40.0]));
//!
//! let broken = line.replace("[1,2,30,40]", "[31,2,30,40]");
//! let error = read_predictions(broken.as_bytes(), "predictions.jsonl", &ReadLimits::default()).unwrap_err();
//! assert_eq!(error.to_string(), "predictions.jsonl:1: targets[0].box is [31, 2, 30, 40], expected x0 <= x1 and y0 <= y1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod formats;
mod join;
mod lines;
mod prediction;
mod truth;
mod wire;

pub use error::{Place, RecordError, RecordProblem};
pub use formats::{HfBox, HfDetection, coco_results, hf_detections};
pub use join::{JoinError, MissingPolicy, Sample, join};
pub use lines::ReadLimits;
pub use prediction::{PREDICTION_SCHEMA, PredictionRecord, read_predictions, read_predictions_file, write_predictions};
pub use truth::{TRUTH_SCHEMA, TruthRecord, read_truths, read_truths_file, write_truths};

/// The name of the only coordinate system of record files: left, top, right, bottom in pixels of the original image.
pub const FRAME: &str = "pixels_xyxy";
