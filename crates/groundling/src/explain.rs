//! What a model looked at before it answered.

use groundling_core::{BoxXyxy, ContentRect, ImageSize, Pixels, Placement};
use groundling_models::contract::{Grounded, LevelTrace};
use serde_json::{Value, json};

/// What was read, level by level. No levels for systems that read everything at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Explain {
    /// Size of the network input, pixels.
    pub canvas: ImageSize,
    /// Where the picture lies in it.
    pub content: ContentRect,
    /// From the coarsest.
    pub levels: Vec<Level>,
}

/// One level of the pyramid. Patches are numbered in raster order, `row * grid + column`.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// The box this level answers with, in pixels of the original image, clipped to it.
    pub bbox: BoxXyxy<Pixels>,
    /// Patches a side of the canvas.
    pub grid: usize,
    /// Pixels a side of this level's picture of the canvas.
    pub side: usize,
    /// Patches that touch the picture.
    pub valid: Vec<usize>,
    /// Patches that could be chosen; on the first level all that are valid.
    pub candidates: Vec<usize>,
    /// Selection value of each candidate, kept from the threshold up; empty on the first level.
    pub values: Vec<f32>,
    /// Patches that were read.
    pub kept: Vec<usize>,
    /// Valid patches that were replaced by the constant token.
    pub constants: usize,
    /// The threshold used, `None` on the first level.
    pub threshold: Option<f32>,
    /// Counted operations of this level, a multiply-add being two.
    pub flops: u64,
    /// Attention of the answering token over the kept patches, `[layers][kept]`, if it was asked for.
    pub attention: Option<Vec<Vec<f32>>>,
}

impl Explain {
    pub(crate) fn new(placement: &Placement, levels: Vec<LevelTrace>) -> Self {
        let level = |trace: LevelTrace| Level {
            bbox: pixels(placement, trace.bbox.to_xyxy()),
            grid: trace.grid,
            side: trace.side,
            valid: trace.valid,
            candidates: trace.candidates,
            values: trace.values,
            kept: trace.kept,
            constants: trace.constants,
            threshold: trace.threshold,
            flops: trace.flops,
            attention: trace.attention,
        };
        let levels = levels.into_iter().map(level).collect();
        Self { canvas: placement.canvas(), content: placement.content(), levels }
    }

    /// Patches read and patches that touch the picture, over all levels.
    pub fn read(&self) -> (usize, usize) {
        let count = |of: fn(&Level) -> usize| self.levels.iter().map(of).sum();
        (count(|level| level.kept.len()), count(|level| level.valid.len()))
    }

    /// As JSON of the form `groundling.explain/1`, see docs/formats.md. Numbers that are not finite become `null`.
    pub fn to_json(&self) -> Value {
        let ContentRect { top, left, height, width } = self.content;
        json!({
            "schema": "groundling.explain/1",
            "canvas": [self.canvas.height(), self.canvas.width()],
            "content": [top, left, height, width],
            "levels": self.levels.iter().map(Level::to_json).collect::<Vec<_>>(),
        })
    }
}

impl Level {
    fn to_json(&self) -> Value {
        json!({
            "box": self.bbox.to_array(),
            "grid": self.grid,
            "side": self.side,
            "valid": self.valid,
            "candidates": self.candidates,
            "values": self.values,
            "kept": self.kept,
            "constants": self.constants,
            "threshold": self.threshold,
            "flops": self.flops,
            "attention": self.attention,
        })
    }

    /// Share of the patches that touch the picture which was read.
    pub fn kept_share(&self) -> f64 {
        self.kept.len() as f64 / self.valid.len().max(1) as f64
    }
}

/// A box of the model in pixels of the original image, clipped to it.
pub(crate) fn pixels(placement: &Placement, bbox: BoxXyxy<groundling_core::Unit>) -> BoxXyxy<Pixels> {
    placement.image_from_model(placement.canvas_from_unit(bbox))
}

/// Whether every number of an answer is one.
pub(crate) fn not_finite(answer: &Grounded) -> Option<&'static str> {
    let boxes = answer.targets.iter().map(|target| target.bbox).chain(answer.levels.iter().map(|level| level.bbox));
    if boxes.into_iter().any(|bbox| !bbox.to_xyxy().is_finite()) {
        return Some("box");
    }
    if answer.targets.iter().any(|target| !target.score.is_finite()) {
        return Some("score");
    }
    answer.no_target.is_some_and(|score| !score.is_finite()).then_some("no-target score")
}
