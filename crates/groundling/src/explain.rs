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

/// One level of the pyramid; its box is in pixels of the original image, clipped to it.
pub type Level = LevelTrace<BoxXyxy<Pixels>>;

impl Explain {
    pub(crate) fn new(placement: &Placement, levels: Vec<LevelTrace>) -> Self {
        let level = |trace: LevelTrace| trace.map_box(|bbox| pixels(placement, bbox.to_xyxy()));
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
            "levels": self.levels.iter().map(level_json).collect::<Vec<_>>(),
        })
    }
}

fn level_json(level: &Level) -> Value {
    json!({
        "box": level.bbox.to_array(),
        "grid": level.grid,
        "side": level.side,
        "valid": level.valid,
        "candidates": level.candidates,
        "values": level.values,
        "kept": level.kept,
        "constants": level.constants,
        "threshold": level.threshold,
        "flops": level.flops,
        "attention": level.attention,
    })
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
    if answer.mask.as_ref().is_some_and(|mask| mask.logits.iter().any(|logit| !logit.is_finite())) {
        return Some("mask");
    }
    answer.no_target.is_some_and(|score| !score.is_finite()).then_some("no-target score")
}
