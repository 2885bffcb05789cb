//! Where the tokens that answer looked: maps over a model's canvas, and how much of them lies inside a box.
//!
//! TransVG, VLTVG and QRNet have one answering token ([`Trace`]), whose layers are the maps. ScanFormer has one for each level
//! ([`Explain`](crate::Explain)), and a map is one layer of one level over the patches that were read there. DMMI answers with every pixel of
//! its map and has no such token.

use groundling_core::{BoxCxcywh, BoxXyxy, Pixels, Placement, Unit};
use groundling_models::attbalance::{MaskRule, box_mask};
use groundling_models::contract::Trace;
use serde::{Deserialize, Serialize};

use crate::{Answer, GroundError, Level};

/// Which numbers a map is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKind {
    /// What AttBalance supervises: the softmax over visual tokens of the logits' mean over heads. Sums to 1. For ScanFormer, whose
    /// logits are not kept, the mean over heads of its weights on patches, divided by their sum.
    #[default]
    Map,
    /// The model's own weights on visual tokens, mean over heads. Phrase tokens have what is missing to 1.
    Weights,
}

/// Attention of one answering token in one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionMap {
    /// `layer 3`, or `level 1, layer 3`.
    pub name: String,
    /// Rows and columns of the maps that the cells are, one after the other, row by row.
    pub grids: Vec<[usize; 2]>,
    /// Attention to each cell; 0 for what is hidden or was not read.
    pub values: Vec<f32>,
    /// Whether a cell holds some of the picture.
    pub valid: Vec<bool>,
    /// The box that this token gave, in pixels of the original picture.
    pub bbox: BoxXyxy<Pixels>,
}

impl AttentionMap {
    /// Attention to the cells that belong to a box in fractions of the canvas.
    pub fn inside(&self, target: BoxCxcywh<Unit>, rule: MaskRule) -> f64 {
        let inside = self.cells(target, rule);
        self.values.iter().zip(inside).filter(|(_, inside)| *inside).map(|(&value, _)| f64::from(value)).sum()
    }

    /// What [`inside`](Self::inside) would be if every cell with some of the picture had the same attention.
    pub fn inside_if_even(&self, target: BoxCxcywh<Unit>, rule: MaskRule) -> f64 {
        let inside = self.cells(target, rule).into_iter().filter(|inside| *inside).count();
        inside as f64 / self.valid.iter().filter(|valid| **valid).count().max(1) as f64
    }

    /// All of it on the finest map: `[rows, columns]` and their values, what is not picture as NaN. A cell of a coarser map gives equal
    /// parts to the cells whose middle it covers.
    pub fn on_finest(&self) -> ([usize; 2], Vec<f32>) {
        let finest = self.grids.iter().copied().max_by_key(|[rows, columns]| rows * columns).unwrap_or([0, 0]);
        let [rows, columns] = finest;
        let mut merged = vec![f32::NAN; rows * columns];
        let mut start = 0;
        for &[height, width] in &self.grids {
            let at = |cell: usize| (cell / columns * height / rows) * width + cell % columns * width / columns;
            let mut shares = vec![0f32; height * width];
            (0..rows * columns).for_each(|cell| shares[at(cell)] += 1.0);
            for (cell, merged) in merged.iter_mut().enumerate() {
                let from = at(cell);
                if self.valid[start + from] {
                    let value = self.values[start + from] / shares[from];
                    *merged = if merged.is_nan() { value } else { *merged + value };
                }
            }
            start += height * width;
        }
        (finest, merged)
    }

    fn cells(&self, target: BoxCxcywh<Unit>, rule: MaskRule) -> Vec<bool> {
        let mut start = 0;
        let mut inside = Vec::with_capacity(self.values.len());
        for &grid in &self.grids {
            let cells = grid[0] * grid[1];
            let padding: Vec<bool> = self.valid[start..start + cells].iter().map(|valid| !valid).collect();
            inside.extend(box_mask(target, grid, Some(&padding), rule));
            start += cells;
        }
        inside
    }
}

impl Answer {
    /// Where the tokens that answered looked, from the first layer to the last. The question must have asked for it
    /// ([`Options::attention`](crate::Options)).
    ///
    /// # Errors
    /// [`GroundError::NoAttention`] if the model has no answering token, or was not asked.
    pub fn attention(&self, kind: AttentionKind) -> Result<Vec<AttentionMap>, GroundError> {
        let levels = self.explain.levels.iter().enumerate();
        let maps: Vec<AttentionMap> = match (&self.trace, self.prediction.best()) {
            (Some(trace), Some(best)) => of_trace(trace, best.bbox, kind),
            _ => levels.flat_map(|(number, level)| of_level(number, level, kind)).collect(),
        };
        if maps.is_empty() {
            return Err(GroundError::NoAttention { model: self.prediction.model.name.clone() });
        }
        Ok(maps)
    }
}

/// A box of the original picture in fractions of a model's canvas.
pub fn on_canvas(placement: &Placement, bbox: BoxXyxy<Pixels>) -> BoxCxcywh<Unit> {
    placement.unit_from_canvas(placement.model_from_image(bbox)).to_cxcywh()
}

fn of_trace(trace: &Trace, bbox: BoxXyxy<Pixels>, kind: AttentionKind) -> Vec<AttentionMap> {
    let values = |layer: usize| match kind {
        AttentionKind::Map => trace.map(layer),
        AttentionKind::Weights => Some(trace.layers[layer].weights.clone()),
    };
    let map = |layer| {
        Some(AttentionMap {
            name: format!("layer {layer}"),
            grids: trace.grids.clone(),
            values: values(layer)?,
            valid: trace.valid.clone(),
            bbox,
        })
    };
    (0..trace.layers.len()).filter_map(map).collect()
}

fn of_level(number: usize, level: &Level, kind: AttentionKind) -> Vec<AttentionMap> {
    let cells = level.grid * level.grid;
    let mut valid = vec![false; cells];
    level.valid.iter().for_each(|&patch| valid[patch] = true);
    let map = |(layer, attention): (usize, &Vec<f32>)| {
        let sum: f32 = attention.iter().sum();
        let scale = if kind == AttentionKind::Map && sum > 0.0 { 1.0 / sum } else { 1.0 };
        let mut values = vec![0.0; cells];
        level.kept.iter().zip(attention).for_each(|(&patch, value)| values[patch] = value * scale);
        AttentionMap {
            name: format!("level {number}, layer {layer}"),
            grids: vec![[level.grid; 2]],
            values,
            valid: valid.clone(),
            bbox: level.bbox,
        }
    };
    level.attention.iter().flatten().enumerate().map(map).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(grids: Vec<[usize; 2]>, values: Vec<f32>, valid: Vec<bool>) -> AttentionMap {
        AttentionMap { name: "layer 0".into(), grids, values, valid, bbox: BoxXyxy::new(0.0, 0.0, 1.0, 1.0) }
    }

    #[test]
    fn what_lies_inside_is_summed_over_all_maps() {
        // A 2 x 2 and a 1 x 1 map; the last row of the first is padding.
        let map = map(vec![[2, 2], [1, 1]], vec![0.1, 0.2, 0.0, 0.0, 0.7], vec![true, true, false, false, true]);
        let right = BoxCxcywh::new(0.75, 0.25, 0.5, 0.5);
        assert!((map.inside(right, MaskRule::Overlap) - 0.9).abs() < 1e-6);
        assert!((map.inside_if_even(right, MaskRule::Overlap) - 2.0 / 3.0).abs() < 1e-12);
        // A box on padding alone: the nearest cell that is none, as AttBalance has it.
        let below = BoxCxcywh::new(0.2, 0.9, 0.1, 0.1);
        assert!((map.inside(below, MaskRule::Overlap) - 0.8).abs() < 1e-6);
    }

    #[test]
    fn coarse_cells_are_shared_among_fine_ones() {
        let map = map(vec![[2, 2], [1, 1]], vec![0.1, 0.2, 0.0, 0.0, 0.7], vec![true, true, false, false, true]);
        let (grid, values) = map.on_finest();
        assert_eq!(grid, [2, 2]);
        let expected = [0.275, 0.375, 0.175, 0.175];
        assert!(values.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{values:?}");
        let one = AttentionMap { grids: vec![[2, 2]], values: vec![0.5; 4], ..map };
        let (_, values) = AttentionMap { valid: vec![true, false, true, true], ..one }.on_finest();
        assert!(values[1].is_nan() && values[0] == 0.5);
    }
}
