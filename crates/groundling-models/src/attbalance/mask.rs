//! Which cells of a feature map a box covers.

use groundling_core::{BoxCxcywh, Unit};
use serde::{Deserialize, Serialize};

/// Corners this close to a cell's edge, in cells, count as on it.
const TOLERANCE: f64 = 1e-4;

/// When a cell belongs to a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskRule {
    /// When they overlap.
    #[default]
    Overlap,
    /// When the cell's centre lies in the box.
    Center,
}

impl MaskRule {
    /// First and last (exclusive) cell of a side: from `low` to `high`, around `middle`, in fractions of `count` cells.
    fn range(self, [low, middle, high]: [f64; 3], count: usize) -> (usize, usize) {
        let n = count as f64;
        let (first, last) = match self {
            Self::Overlap => ((low * n + TOLERANCE).floor(), (high * n - TOLERANCE).ceil()),
            Self::Center => ((low * n - 0.5 - TOLERANCE).ceil(), (high * n - 0.5 - TOLERANCE).ceil()),
        };
        let (first, last) = (first.clamp(0.0, n), last.clamp(0.0, n));
        if last > first {
            return (first as usize, last as usize);
        }
        let cell = (middle * n).floor().clamp(0.0, n - 1.0) as usize;
        (cell, cell + 1)
    }
}

/// The cells of a box `[rows * columns]`, row by row. Of those that are no padding there is at least one, the nearest if none is covered; none at
/// all where everything is padding.
///
/// Corners are those of the box in 32 bits, as models see it.
pub fn box_mask(
    bbox: BoxCxcywh<Unit>,
    [rows, columns]: [usize; 2],
    padding: Option<&[bool]>,
    rule: MaskRule,
) -> Vec<bool> {
    let [cx, cy, width, height] = bbox.to_array().map(|value| f64::from(value as f32));
    let (left, right) = rule.range([cx - width / 2.0, cx, cx + width / 2.0], columns);
    let (top, bottom) = rule.range([cy - height / 2.0, cy, cy + height / 2.0], rows);
    let hidden = |cell: usize| padding.is_some_and(|padding| padding[cell]);
    let covered = |cell: usize| (top..bottom).contains(&(cell / columns)) && (left..right).contains(&(cell % columns));
    let mut mask: Vec<bool> = (0..rows * columns).map(|cell| covered(cell) && !hidden(cell)).collect();
    if !mask.contains(&true) {
        let distance = |cell: usize| {
            let (row, column) = ((cell / columns) as f64 + 0.5, (cell % columns) as f64 + 0.5);
            (column - cx * columns as f64).powi(2) + (row - cy * rows as f64).powi(2)
        };
        let nearest =
            (0..rows * columns).filter(|&cell| !hidden(cell)).min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
        if let Some(nearest) = nearest {
            mask[nearest] = true;
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_canvas_is_every_cell_and_larger_boxes_have_more() {
        let mask = |width: f64, rule| box_mask(BoxCxcywh::new(0.5, 0.5, width, width), [7, 9], None, rule);
        for rule in [MaskRule::Overlap, MaskRule::Center] {
            assert!(mask(1.0, rule).iter().all(|&inside| inside));
            for width in 0..10 {
                let (small, large) = (mask(f64::from(width) / 10.0, rule), mask(f64::from(width + 1) / 10.0, rule));
                assert!(small.contains(&true) && small.iter().zip(&large).all(|(&small, &large)| !small || large));
            }
        }
        let everything = vec![true; 63];
        assert!(
            !box_mask(BoxCxcywh::new(0.5, 0.5, 1.0, 1.0), [7, 9], Some(&everything), MaskRule::Overlap).contains(&true)
        );
    }
}
