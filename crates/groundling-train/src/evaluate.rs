//! Evaluation through the inference path, as the published figures are made.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use groundling::instances::instances;
use groundling::{ClassifyError, DetectError};
use groundling_core::{BoxCxcywh, BoxXyxy, FrameError, Pixels, Placement, Rle, Unit};
use groundling_data::examples::{ExampleError, ExamplePhrase, Examples, Picture};
use groundling_data::image::preprocess::Preprocessor;
use groundling_data::text::wordpiece::WordPiece;
use groundling_eval::calibration::{Judged, auroc};
use groundling_eval::coco::CocoError;
use groundling_eval::masks::{MaskOverlap, MaskSize};
use groundling_eval::rec::{RecRule, RecScores};
use groundling_eval::res::{ResOutcome, ResScores};
use groundling_models::contract::{GroundOptions, Grounded, InputSpec, OptionError, System};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::names::listed;
use crate::sample::ids;
use crate::task::{Figures, percent};

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Expressions about something.
    pub count: usize,
    /// Percentage of expressions whose box has an IoU of 0.5 or more; `None` without expressions.
    pub acc50: Option<f64>,
    /// Mean IoU of the boxes, percent.
    pub mean_iou: Option<f64>,
    /// Figures of masks; `None` from systems that do not segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masks: Option<MaskFigures>,
    /// The same for the box of every level, and how much of it was read. Empty for systems without levels.
    pub levels: Vec<LevelFigures>,
    /// Acc@0.5 by kind of phrase, where the source has kinds, with their numbers.
    pub kinds: BTreeMap<String, KindFigures>,
    /// Mean counted operations of an expression.
    pub mean_flops: f64,
    /// The same, had everything been read.
    pub mean_dense_flops: f64,
    /// Answers that were not finite; they count as wrong.
    pub not_finite: usize,
    /// Seconds of wall clock.
    pub secs: f64,
}

/// Figures of masks at the size of the pictures, in percent; `None` without expressions of the kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaskFigures {
    /// Overall IoU of expressions about something: the sum of intersections over that of unions.
    pub overall_iou: Option<f64>,
    /// Their mean IoU.
    pub mean_iou: Option<f64>,
    /// Share of them with a mask that is not empty (T-acc).
    pub answered: Option<f64>,
    /// Expressions that nothing fits.
    pub absent: usize,
    /// Share of those with an empty mask (Acc of Ref-ZOM, N-acc of gRefCOCO).
    pub absent_accuracy: Option<f64>,
    /// Area under the ROC curve of the no-target score, 0 to 1.
    pub no_target_auroc: Option<f64>,
}

impl Figures for Evaluation {
    /// Overall IoU of masks where there are masks, else Acc@0.5 of boxes.
    fn best(&self) -> (&'static str, f64) {
        match &self.masks {
            Some(masks) => ("oIoU", masks.overall_iou.unwrap_or(0.0)),
            None => ("Acc@0.5", self.acc50.unwrap_or(0.0)),
        }
    }

    fn columns(&self) -> Vec<(&'static str, String)> {
        let levels = |of: &dyn Fn(&LevelFigures) -> String| self.levels.iter().map(of).collect::<Vec<_>>().join(" ");
        if let Some(masks) = &self.masks {
            return vec![
                ("oIoU", percent(masks.overall_iou)),
                ("mIoU", percent(masks.mean_iou)),
                ("T-acc", percent(masks.answered)),
                ("Acc", percent(masks.absent_accuracy)),
                ("AUROC", masks.no_target_auroc.map_or("-".to_owned(), |auroc| format!("{auroc:.3}"))),
                ("Acc@0.5", percent(self.acc50)),
            ];
        }
        let mut columns = vec![("Acc@0.5", percent(self.acc50)), ("mIoU", percent(self.mean_iou))];
        if !self.levels.is_empty() {
            columns.push(("by level", levels(&|level| percent(level.acc50))));
            columns.push(("kept", levels(&|level| format!("{:.2}", level.kept))));
        }
        columns.push(("GFLOPs", format!("{:.3}", self.mean_flops / 1e9)));
        columns.push(("dense", format!("{:.3}", self.mean_dense_flops / 1e9)));
        columns
    }

    fn curves(line: &Value) -> Vec<(String, String)> {
        let levels = line["levels"].as_array().map_or(0, Vec::len);
        let level = |level: usize| (format!("level {level}"), format!("/levels/{level}/acc50"));
        let whole = [("Acc@0.5", "/acc50"), ("mIoU", "/mean_iou")].map(|(name, at)| (name.to_owned(), at.to_owned()));
        let masks =
            [("oIoU", "overall_iou"), ("mask mIoU", "mean_iou"), ("T-acc", "answered"), ("Acc", "absent_accuracy")]
                .map(|(name, key)| (name.to_owned(), format!("/masks/{key}")));
        let masks = masks.into_iter().filter(|_| line.get("masks").is_some());
        whole.into_iter().chain(masks).chain((0..levels).map(level)).collect()
    }
}

/// Figures of one level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelFigures {
    /// Acc@0.5 of this level's box.
    pub acc50: Option<f64>,
    /// Its mean IoU, percent.
    pub mean_iou: Option<f64>,
    /// Mean over expressions of patches read over patches that touch the picture.
    pub kept: f64,
}

/// Figures of one kind of phrase.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindFigures {
    /// Expressions.
    pub count: usize,
    /// Acc@0.5.
    pub acc50: Option<f64>,
}

/// Why an evaluation ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluationError {
    /// A picture cannot be read.
    #[error(transparent)]
    Examples(#[from] ExampleError),
    /// A picture cannot be placed in the canvas.
    #[error("{file_name}: {error}")]
    Frame {
        /// The picture.
        file_name: String,
        /// What is wrong.
        #[source]
        error: FrameError,
    },
    /// The system cannot do what was asked.
    #[error(transparent)]
    Options(#[from] OptionError),
    /// The detector cannot do what was asked.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// What was detected cannot be scored.
    #[error(transparent)]
    Coco(#[from] CocoError),
    /// The classifier cannot do what was asked.
    #[error(transparent)]
    Classify(#[from] ClassifyError),
    /// The data have classes that the model does not know.
    #[error("the model does not know the classes {}; it knows {}", listed(unknown), listed(known))]
    Classes {
        /// Classes of the data.
        unknown: Vec<String>,
        /// Classes of the model.
        known: Vec<String>,
    },
}

/// One expression's result.
struct Scored {
    /// Of the box; `None` where nothing fits.
    iou: Option<f64>,
    mask: Option<ScoredMask>,
    levels: Vec<(f64, f64)>,
    kind: Option<String>,
    flops: u64,
    dense_flops: u64,
    finite: bool,
}

/// One expression's mask.
struct ScoredMask {
    outcome: ResOutcome,
    is_empty: bool,
    no_target: Option<f32>,
}

/// Evaluates a prepared model on the first `limit` pictures of a source, pictures in parallel. The true box is the one around all targets,
/// the true mask theirs together. Expressions that nothing fits count for systems that segment and are passed over by others.
///
/// # Errors
/// If a picture cannot be read, or the options do not fit the system.
pub fn evaluate<S: System>(
    model: &S,
    examples: &Examples,
    limit: Option<usize>,
    options: &GroundOptions,
    device: &Device,
) -> Result<Evaluation, EvaluationError> {
    let start = Instant::now();
    let input = S::input(model.config());
    let reader = Reader {
        input,
        preprocessor: groundling::input::preprocessor(&input),
        words: WordPiece::bert_base_uncased(),
        options: *options,
        device: device.clone(),
    };
    let count = limit.map_or(examples.len(), |limit| examples.len().min(limit));
    // A module can be sent to a thread, but not shared by several: each gets its own handle on the same weights.
    let shared = Mutex::new(model.clone());
    let own = || shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let of_picture = |model: &mut S, index: usize| reader.score(model, &examples.picture(index)?);
    let scored: Result<Vec<_>, EvaluationError> = (0..count).into_par_iter().map_init(own, of_picture).collect();
    let scored: Vec<Scored> = scored?.into_iter().flatten().collect();
    Ok(figures(&scored, start.elapsed().as_secs_f64()))
}

struct Reader {
    input: InputSpec,
    preprocessor: Preprocessor,
    words: WordPiece,
    options: GroundOptions,
    device: Device,
}

impl Reader {
    fn score<S: System>(&self, model: &S, picture: &Picture) -> Result<Vec<Scored>, EvaluationError> {
        let wrong = |error| EvaluationError::Frame { file_name: picture.about.file_name.clone(), error };
        let prepared = self.preprocessor.prepare(&picture.image).map_err(wrong)?;
        let side = self.input.side as usize;
        let canvas = Tensor::<4>::from_data(TensorData::new(prepared.pixels, [1, 3, side, side]), &self.device);
        let view = model.read_canvas(canvas, prepared.placement.content());
        let scored = |phrase: &ExamplePhrase| -> Option<Result<Scored, EvaluationError>> {
            if phrase.truth.targets.is_empty() && !S::SEGMENTS {
                return None;
            }
            let ids = ids(&self.words, phrase.phrase.as_str(), &self.input);
            let grounded = model.ground(&model.read_phrase(&ids), &view, &self.options);
            Some(grounded.map(|grounded| self.scored(&grounded, phrase, &prepared.placement)).map_err(Into::into))
        };
        picture.about.phrases.iter().filter_map(scored).collect()
    }

    fn scored(&self, grounded: &Grounded, phrase: &ExamplePhrase, placement: &Placement) -> Scored {
        let truth = phrase.truth.enclosing_box();
        let iou = |bbox: BoxCxcywh<Unit>, truth: BoxXyxy<Pixels>| -> f64 {
            let found = placement.image_from_model(placement.canvas_from_unit(bbox.to_xyxy()));
            if found.is_finite() { RecRule::Standard.iou(found, truth, placement.image()) } else { 0.0 }
        };
        let best = grounded.targets.first().map(|target| target.bbox);
        let level =
            |trace: &groundling_models::contract::LevelTrace| Some((iou(trace.bbox, truth?), trace.kept_share()));
        Scored {
            iou: truth.map(|truth| best.map_or(0.0, |bbox| iou(bbox, truth))),
            mask: scored_mask(grounded, phrase, placement),
            levels: grounded.levels.iter().filter_map(level).collect(),
            kind: phrase.kind.clone(),
            flops: grounded.flops,
            dense_flops: grounded.dense_flops,
            finite: best.is_none_or(|bbox| bbox.to_array().iter().all(|value| value.is_finite())),
        }
    }
}

/// At the size of the picture; `None` from systems that do not segment.
fn scored_mask(grounded: &Grounded, phrase: &ExamplePhrase, placement: &Placement) -> Option<ScoredMask> {
    let size = placement.image();
    let parts: Vec<Rle> =
        instances(grounded.mask.as_ref()?, placement, 0.0).into_iter().filter_map(|part| part.mask).collect();
    let found = Rle::layered(size, &parts, |covering| covering > 0).ok()?;
    let outcome = if phrase.truth.targets.is_empty() {
        ResOutcome::Absent { right: found.area() == 0 }
    } else {
        let truth = phrase.truth.union_mask().unwrap_or_else(|| Rle::empty(size));
        ResOutcome::targeted(MaskOverlap::count(&found, &truth, MaskSize::Original).ok()?)
    };
    Some(ScoredMask { outcome, is_empty: found.area() == 0, no_target: grounded.no_target })
}

fn mask_figures(scored: &[Scored]) -> Option<MaskFigures> {
    let masks: Vec<&ScoredMask> = scored.iter().filter_map(|scored| scored.mask.as_ref()).collect();
    if masks.is_empty() {
        return None;
    }
    let scores = ResScores::of(&masks.iter().map(|mask| mask.outcome).collect::<Vec<_>>());
    let is_absent = |mask: &ScoredMask| matches!(mask.outcome, ResOutcome::Absent { .. });
    let answered = masks.iter().filter(|mask| !is_absent(mask) && !mask.is_empty).count();
    let judged = |mask: &&ScoredMask| Some(Judged { score: f64::from(mask.no_target?), holds: is_absent(mask) });
    Some(MaskFigures {
        overall_iou: scores.overall_iou,
        mean_iou: scores.mean_iou,
        answered: (scores.targeted > 0).then(|| 100.0 * answered as f64 / scores.targeted as f64),
        absent: scores.absent,
        absent_accuracy: scores.absent_accuracy,
        no_target_auroc: auroc(&masks.iter().filter_map(judged).collect::<Vec<_>>()),
    })
}

fn figures(scored: &[Scored], secs: f64) -> Evaluation {
    let of = |ious: &[f64]| RecScores::of(ious, RecRule::Standard);
    let acc50 = |scores: &RecScores| {
        scores.accuracy.iter().find(|(threshold, _)| *threshold == 0.5).and_then(|(_, accuracy)| *accuracy)
    };
    let all = of(&scored.iter().filter_map(|scored| scored.iou).collect::<Vec<_>>());
    let mean = |value: &dyn Fn(&Scored) -> f64| scored.iter().map(value).sum::<f64>() / scored.len().max(1) as f64;
    let level = |index: usize| {
        let of_level: Vec<(f64, f64)> = scored.iter().filter_map(|scored| scored.levels.get(index).copied()).collect();
        let scores = of(&of_level.iter().map(|(iou, _)| *iou).collect::<Vec<_>>());
        let kept = of_level.iter().map(|(_, kept)| kept).sum::<f64>() / of_level.len().max(1) as f64;
        LevelFigures { acc50: acc50(&scores), mean_iou: scores.mean_iou, kept }
    };
    let mut by_kind: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for scored in scored {
        if let (Some(kind), Some(iou)) = (&scored.kind, scored.iou) {
            by_kind.entry(kind.clone()).or_default().push(iou);
        }
    }
    let kind = |(name, ious): (String, Vec<f64>)| (name, KindFigures { count: ious.len(), acc50: acc50(&of(&ious)) });
    Evaluation {
        count: all.count,
        acc50: acc50(&all),
        mean_iou: all.mean_iou,
        masks: mask_figures(scored),
        levels: (0..scored.first().map_or(0, |first| first.levels.len())).map(level).collect(),
        kinds: by_kind.into_iter().map(kind).collect(),
        mean_flops: mean(&|scored| scored.flops as f64),
        mean_dense_flops: mean(&|scored| scored.dense_flops as f64),
        not_finite: scored.iter().filter(|scored| !scored.finite).count(),
        secs,
    }
}
