//! Bias tables of another window.

use crate::checkpoint::Adaptation;

/// Resizes a bias table of a published checkpoint to the window of the model, as [`resize_bias_table`].
pub static BIAS_TABLE_RESIZE: Adaptation = Adaptation {
    name: "bicubic resize of the bias table to another window",
    accepts: |from, to| match (from, to) {
        (&[from_rows, from_heads], &[to_rows, to_heads]) => {
            from_heads == to_heads && odd_root(from_rows).is_some() && odd_root(to_rows).is_some()
        }
        _ => false,
    },
    apply: |values, from, to| match (from, to) {
        (&[from_rows, heads], &[to_rows, _]) => match (odd_root(from_rows), odd_root(to_rows)) {
            (Some(from), Some(to)) => resize_bias_table(&values, heads, from, to),
            _ => values,
        },
        _ => values,
    },
};

/// The odd number whose square this is.
fn odd_root(square: usize) -> Option<usize> {
    let root = square.isqrt();
    (root * root == square && root % 2 == 1).then_some(root)
}

/// Resizes a table `[from * from, heads]` to `[to * to, heads]`, sides being `2 window - 1`: bicubic (a = -0.75), half-pixel
/// centres, edges repeated, no antialiasing, as `torch.nn.functional.interpolate` does it.
///
/// # Panics
/// If the table has not that many values.
pub fn resize_bias_table(table: &[f32], heads: usize, from: usize, to: usize) -> Vec<f32> {
    assert_eq!(table.len(), from * from * heads, "a table of {from} x {from} for {heads} heads");
    let taps: Vec<[(usize, f64); 4]> = (0..to).map(|index| taps(index, from, to)).collect();
    let mut out = Vec::with_capacity(to * to * heads);
    for row in &taps {
        for column in &taps {
            for head in 0..heads {
                let at = |y: usize, x: usize| f64::from(table[(y * from + x) * heads + head]);
                let across = |y: usize| column.iter().map(|&(x, weight)| weight * at(y, x)).sum::<f64>();
                out.push(row.iter().map(|&(y, weight)| weight * across(y)).sum::<f64>() as f32);
            }
        }
    }
    out
}

/// The four source places of a target place, with their weights.
fn taps(index: usize, from: usize, to: usize) -> [(usize, f64); 4] {
    let source = (index as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let first = source.floor();
    [-1.0, 0.0, 1.0, 2.0].map(|offset| {
        let place = (first + offset).clamp(0.0, (from - 1) as f64);
        (place as usize, cubic((source - first - offset).abs()))
    })
}

/// Keys' cubic kernel with a = -0.75.
fn cubic(distance: f64) -> f64 {
    const A: f64 = -0.75;
    let d = distance;
    if d <= 1.0 { ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0 } else { ((d - 5.0) * d + 8.0) * d * A - 4.0 * A }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_is_the_same_table_and_constants_stay() {
        let table: Vec<f32> = (0..25 * 2).map(|v| v as f32).collect();
        assert_eq!(resize_bias_table(&table, 2, 5, 5), table);
        assert!(resize_bias_table(&[3.0; 9], 1, 3, 7).iter().all(|v| (v - 3.0).abs() < 1e-6));
    }

    #[test]
    fn only_tables_of_windows_are_resized() {
        assert!((BIAS_TABLE_RESIZE.accepts)(&[169, 4], &[529, 4]));
        assert!(!(BIAS_TABLE_RESIZE.accepts)(&[169, 4], &[529, 8]));
        assert!(!(BIAS_TABLE_RESIZE.accepts)(&[168, 4], &[529, 4]));
        assert!(!(BIAS_TABLE_RESIZE.accepts)(&[169], &[529]));
    }
}
