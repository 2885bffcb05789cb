//! Non-maximum suppression.

use groundling_core::{BoxXyxy, Frame};

/// A box with a class and a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored<F: Frame> {
    /// Where.
    pub bbox: BoxXyxy<F>,
    /// What, from 0.
    pub class: usize,
    /// How surely.
    pub score: f32,
}

/// Keeps the best box of those of one class that overlap by more than `overlap`, best first, at most `most`. Boxes and scores that are not
/// finite are dropped; equal scores keep their order.
pub fn suppress<F: Frame>(mut boxes: Vec<Scored<F>>, overlap: f64, most: usize) -> Vec<Scored<F>> {
    boxes.retain(|scored| scored.score.is_finite() && scored.bbox.is_finite());
    boxes.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<Scored<F>> = Vec::new();
    for scored in boxes {
        if kept.len() == most {
            break;
        }
        let covered = |other: &Scored<F>| other.class == scored.class && other.bbox.iou(scored.bbox) > overlap;
        if !kept.iter().any(covered) {
            kept.push(scored);
        }
    }
    kept
}
