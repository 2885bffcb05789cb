//! Values on a grid of cells that covers a picture.

/// A row-major grid of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid<T> {
    rows: usize,
    columns: usize,
    values: Vec<T>,
}

/// Why values are not a grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GridError {
    /// No rows or no columns.
    #[error("grid has {rows} rows and {columns} columns, expected at least one of each")]
    Empty {
        /// Rows stated.
        rows: usize,
        /// Columns stated.
        columns: usize,
    },
    /// Wrong number of values.
    #[error("grid has {found} values, expected {rows} rows x {columns} columns")]
    Length {
        /// Rows stated.
        rows: usize,
        /// Columns stated.
        columns: usize,
        /// Values found.
        found: usize,
    },
    /// Two grids that belong together differ in size.
    #[error(
        "grid of values is {found_rows} x {found_columns}, expected {rows} x {columns} (rows x columns) as the patches are"
    )]
    Mismatch {
        /// Rows of the first.
        rows: usize,
        /// Columns of the first.
        columns: usize,
        /// Rows of the second.
        found_rows: usize,
        /// Columns of the second.
        found_columns: usize,
    },
    /// Patches without extent.
    #[error("patch side is 0, expected at least 1 pixel")]
    PatchSide,
}

impl<T: Copy> Grid<T> {
    /// From row-major values.
    ///
    /// # Errors
    /// If a side is zero or the number of values is not rows x columns.
    pub fn new(rows: usize, columns: usize, values: Vec<T>) -> Result<Self, GridError> {
        if rows == 0 || columns == 0 {
            return Err(GridError::Empty { rows, columns });
        }
        if rows.checked_mul(columns) != Some(values.len()) {
            return Err(GridError::Length { rows, columns, found: values.len() });
        }
        Ok(Self { rows, columns, values })
    }

    /// Number of rows, at least 1.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns, at least 1.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Row-major values.
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// The value at a place, `None` outside.
    pub fn get(&self, row: usize, column: usize) -> Option<T> {
        (row < self.rows && column < self.columns).then(|| self.values[row * self.columns + column])
    }
}

impl Grid<f32> {
    /// Least and greatest finite value; `None` if there is none.
    pub fn range(&self) -> Option<(f32, f32)> {
        let finite = self.values.iter().copied().filter(|value| value.is_finite());
        finite.fold(None, |range, value| match range {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_checked() {
        assert_eq!(Grid::new(0, 3, vec![0.0; 0]), Err(GridError::Empty { rows: 0, columns: 3 }));
        let error = Grid::new(2, 3, vec![true; 5]).unwrap_err();
        assert_eq!(error.to_string(), "grid has 5 values, expected 2 rows x 3 columns");
        assert!(Grid::new(usize::MAX, 2, vec![0u8]).is_err());
        let grid = Grid::new(1, 3, vec![f32::NAN, 2.0, -1.0]).unwrap();
        assert_eq!((grid.range(), grid.get(0, 1), grid.get(1, 0)), (Some((-1.0, 2.0)), Some(2.0), None));
    }
}
