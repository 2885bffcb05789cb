//! One-to-one assignment of predictions to targets with the smallest total cost (Kuhn 1955), on the host.
//!
//! ```
//! use groundling_nn::matcher::{CostMatrix, assign};
//!
//! let costs = CostMatrix::new(2, 3, vec![4.0, 1.0, 3.0, 2.0, 0.0, 5.0])?;
//! assert_eq!(assign(&costs), [(0, 1), (1, 0)]);
//! # Ok::<(), groundling_nn::matcher::CostError>(())
//! ```

/// Finite costs of pairing each row with each column.
#[derive(Debug, Clone, PartialEq)]
pub struct CostMatrix {
    rows: usize,
    columns: usize,
    /// Row by row.
    values: Vec<f64>,
}

/// Why costs cannot be minimised.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CostError {
    /// The number of values is not rows times columns.
    #[error("{found} costs, expected {rows} rows of {columns}")]
    Count {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
        /// Values given.
        found: usize,
    },
    /// A cost is NaN or infinite: a diverged model, usually.
    #[error("cost of row {row} and column {column} is {found}, expected a finite number")]
    NotFinite {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The cost.
        found: f64,
    },
}

impl CostMatrix {
    /// Costs given row by row; either number may be zero.
    ///
    /// # Errors
    /// If the number of values is wrong, or one is not finite.
    pub fn new(rows: usize, columns: usize, values: Vec<f64>) -> Result<Self, CostError> {
        if rows.checked_mul(columns) != Some(values.len()) {
            return Err(CostError::Count { rows, columns, found: values.len() });
        }
        if let Some(index) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (index / columns, index % columns);
            return Err(CostError::NotFinite { row, column, found: values[index] });
        }
        Ok(Self { rows, columns, values })
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The cost of a pair.
    ///
    /// # Panics
    /// If there is no such pair.
    pub fn get(&self, row: usize, column: usize) -> f64 {
        assert!(row < self.rows && column < self.columns, "pair ({row}, {column}) of {} x {}", self.rows, self.columns);
        self.values[row * self.columns + column]
    }

    fn transposed(&self) -> Self {
        let values =
            (0..self.columns).flat_map(|column| (0..self.rows).map(move |row| self.get(row, column))).collect();
        Self { rows: self.columns, columns: self.rows, values }
    }
}

/// The pairs (row, column) of smallest total cost, by ascending row: every row or every column, whichever are fewer, is in one.
///
/// Shortest augmenting paths with dual variables (Jonker and Volgenant 1987, doi:10.1007/BF02278710; rectangular form as Crouse 2016,
/// doi:10.1109/TAES.2016.140952), `O(n^2 m)` for `n <= m`. Where several assignments cost the same, the rows (of the transpose, if there are
/// fewer columns than rows) are placed in order, and a row takes the lowest column that ends its shortest path: the same on every
/// machine. A constant added to a row or column changes nothing but rounding.
pub fn assign(costs: &CostMatrix) -> Vec<(usize, usize)> {
    if costs.rows <= costs.columns {
        return columns_of_rows(costs).into_iter().enumerate().collect();
    }
    let mut pairs: Vec<_> = columns_of_rows(&costs.transposed()).into_iter().enumerate().map(|(c, r)| (r, c)).collect();
    pairs.sort_unstable();
    pairs
}

/// No row, no column.
const NONE: usize = usize::MAX;

/// The column of each row, for no more rows than columns.
fn columns_of_rows(costs: &CostMatrix) -> Vec<usize> {
    let (rows, columns) = (costs.rows, costs.columns);
    let mut search = Search {
        costs,
        row_dual: vec![0.0; rows],
        column_dual: vec![0.0; columns],
        row_of: vec![NONE; columns],
        column_of: vec![NONE; rows],
        distance: vec![0.0; columns],
        reached_from: vec![NONE; columns],
        open: Vec::with_capacity(columns),
        settled: Vec::with_capacity(columns),
    };
    for row in 0..rows {
        search.place(row);
    }
    search.column_of
}

struct Search<'a> {
    costs: &'a CostMatrix,
    row_dual: Vec<f64>,
    column_dual: Vec<f64>,
    row_of: Vec<usize>,
    column_of: Vec<usize>,
    /// Of the shortest path to each column, reduced costs summed.
    distance: Vec<f64>,
    /// The row before each column on that path.
    reached_from: Vec<usize>,
    /// Columns not settled yet, ascending.
    open: Vec<usize>,
    /// Columns whose distance is final, all of them taken by a row.
    settled: Vec<usize>,
}

impl Search<'_> {
    /// Finds the shortest path from `start` to a free column, and moves the rows on it by one.
    fn place(&mut self, start: usize) {
        let columns = self.costs.columns;
        self.open.clear();
        self.open.extend(0..columns);
        self.settled.clear();
        self.distance.fill(f64::INFINITY);

        let (mut row, mut shortest) = (start, 0.0);
        let end = loop {
            let (next, distance) = self.step(row, shortest);
            shortest = distance;
            let column = self.open.remove(next);
            match self.row_of[column] {
                NONE => break column,
                taker => row = taker,
            }
            self.settled.push(column);
        };

        self.row_dual[start] += shortest;
        for &column in &self.settled {
            let slack = shortest - self.distance[column];
            self.row_dual[self.row_of[column]] += slack;
            self.column_dual[column] -= slack;
        }
        let mut column = end;
        loop {
            let row = self.reached_from[column];
            self.row_of[column] = row;
            std::mem::swap(&mut self.column_of[row], &mut column);
            if row == start {
                return;
            }
        }
    }

    /// Shortens paths by way of `row`, which is `base` away; the place in `open` of the nearest column, the first of equals but a free
    /// one before a taken one, and its distance.
    fn step(&mut self, row: usize, base: f64) -> (usize, f64) {
        let costs = &self.costs.values[row * self.costs.columns..][..self.costs.columns];
        let base = base - self.row_dual[row];
        let (mut nearest, mut least, mut free) = (NONE, f64::INFINITY, false);
        for (place, &column) in self.open.iter().enumerate() {
            let distance = base + costs[column] - self.column_dual[column];
            if distance < self.distance[column] {
                self.distance[column] = distance;
                self.reached_from[column] = row;
            }
            let distance = self.distance[column];
            let is_free = self.row_of[column] == NONE;
            if distance < least || (distance == least && is_free && !free) || nearest == NONE {
                (nearest, least, free) = (place, distance, is_free);
            }
        }
        (nearest, least)
    }
}

/// Weights and constants of the matching cost of DETR-like models with focal class scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DetrCost {
    /// Weight of the class term.
    pub class: f64,
    /// Weight of the L1 distance of centre x, centre y, width and height.
    pub l1: f64,
    /// Weight of the negative generalised IoU.
    pub giou: f64,
    /// Added to the denominators of IoU and of the enclosing box.
    pub area_epsilon: f64,
}

impl DetrCost {
    /// 2, 5, 2, as Deformable DETR (arXiv:2010.04159) and its successors, with the constants of Focus-DETR's released code.
    pub const FOCUS_DETR: Self = Self { class: 2.0, l1: 5.0, giou: 2.0, area_epsilon: 1e-6 };

    /// Costs of every prediction (row) with every target (column) of one image.
    ///
    /// `logits` holds `classes` scores for each of the boxes, row by row; boxes are centre x, centre y, width, height in one unit. The
    /// class term is `0.25 (1 - p)^2 (-ln(p + 1e-8)) - 0.75 p^2 (-ln(1 - p + 1e-8))` at the target's class.
    ///
    /// # Errors
    /// If the number of logits is wrong, or a cost is not finite because a logit or a box is not.
    ///
    /// # Panics
    /// If a label is not below `classes`, which the data set's reader guarantees.
    pub fn matrix(
        &self,
        logits: &[f32],
        classes: usize,
        boxes: &[[f32; 4]],
        labels: &[usize],
        targets: &[[f32; 4]],
    ) -> Result<CostMatrix, CostError> {
        if logits.len() != boxes.len() * classes {
            return Err(CostError::Count { rows: boxes.len(), columns: classes, found: logits.len() });
        }
        assert_eq!(labels.len(), targets.len(), "one label for each target box");
        let wide =
            |values: &[[f32; 4]]| -> Vec<[f64; 4]> { values.iter().map(|values| values.map(f64::from)).collect() };
        let (boxes, targets) = (wide(boxes), wide(targets));
        let mut costs = Vec::with_capacity(boxes.len() * targets.len());
        for (index, bbox) in boxes.iter().enumerate() {
            let logits = &logits[index * classes..][..classes];
            for (label, target) in labels.iter().zip(&targets) {
                let class = focal_cost(f64::from(logits[*label]));
                let l1: f64 = bbox.iter().zip(target).map(|(a, b)| (a - b).abs()).sum();
                let overlap = giou(bbox, target, self.area_epsilon);
                costs.push(self.class * class + self.l1 * l1 - self.giou * overlap);
            }
        }
        CostMatrix::new(boxes.len(), targets.len(), costs)
    }
}

fn focal_cost(logit: f64) -> f64 {
    let p = 1.0 / (1.0 + (-logit).exp());
    let on = 0.25 * (1.0 - p).powi(2) * -(p + 1e-8).ln();
    let off = 0.75 * p.powi(2) * -(1.0 - p + 1e-8).ln();
    on - off
}

fn giou(a: &[f64; 4], b: &[f64; 4], epsilon: f64) -> f64 {
    let side = |axis: usize| {
        let ends = |bbox: &[f64; 4]| (bbox[axis] - bbox[axis + 2] / 2.0, bbox[axis] + bbox[axis + 2] / 2.0);
        let ((a_low, a_high), (b_low, b_high)) = (ends(a), ends(b));
        // `clamp` and `max` of floats drop NaN, which must reach the check of the costs: hence comparisons.
        let positive = |length: f64| if length < 0.0 { 0.0 } else { length };
        (positive(a_high.min(b_high) - a_low.max(b_low)), positive(a_high.max(b_high) - a_low.min(b_low)))
    };
    let ((inner_width, hull_width), (inner_height, hull_height)) = (side(0), side(1));
    let (inner, hull) = (inner_width * inner_height, hull_width * hull_height);
    let union = a[2] * a[3] + b[2] * b[3] - inner;
    inner / (union + epsilon) - (hull - union) / (hull + epsilon)
}
