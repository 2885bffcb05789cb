//! The assignment against all permutations.

use groundling_nn::matcher::{CostError, CostMatrix, DetrCost, assign};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The smallest total cost over every way to pair all of the fewer side.
fn brute_force(costs: &CostMatrix) -> f64 {
    fn best(costs: &CostMatrix, flip: bool, line: usize, used: &mut Vec<bool>) -> f64 {
        let (lines, others) = if flip { (costs.columns(), costs.rows()) } else { (costs.rows(), costs.columns()) };
        if line == lines {
            return 0.0;
        }
        let mut least = f64::INFINITY;
        for other in 0..others {
            if !used[other] {
                used[other] = true;
                let cost = if flip { costs.get(other, line) } else { costs.get(line, other) };
                least = least.min(cost + best(costs, flip, line + 1, used));
                used[other] = false;
            }
        }
        least
    }
    let flip = costs.rows() > costs.columns();
    best(costs, flip, 0, &mut vec![false; costs.rows().max(costs.columns())])
}

fn check(costs: &CostMatrix) -> f64 {
    let pairs = assign(costs);
    assert_eq!(pairs.len(), costs.rows().min(costs.columns()));
    assert!(pairs.windows(2).all(|pair| pair[0].0 < pair[1].0), "rows ascend: {pairs:?}");
    let mut columns: Vec<usize> = pairs.iter().map(|pair| pair.1).collect();
    columns.sort_unstable();
    columns.dedup();
    assert_eq!(columns.len(), pairs.len(), "columns differ: {pairs:?}");
    pairs.iter().map(|&(row, column)| costs.get(row, column)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(4), ..ProptestConfig::default() })]

    #[test]
    fn no_other_assignment_is_cheaper(rows in 0usize..7, columns in 0usize..7, values in prop::collection::vec(-9.0f64..9.0, 36)) {
        let costs = CostMatrix::new(rows, columns, values[..rows * columns].to_vec()).unwrap();
        prop_assert!((check(&costs) - brute_force(&costs)).abs() < 1e-9);
    }

    #[test]
    fn ties_are_cheapest_as_well(rows in 1usize..7, columns in 1usize..7, values in prop::collection::vec(0u8..3, 36)) {
        let values = values[..rows * columns].iter().map(|value| f64::from(*value)).collect();
        let costs = CostMatrix::new(rows, columns, values).unwrap();
        prop_assert_eq!(check(&costs), brute_force(&costs));
    }

    #[test]
    fn turning_the_matrix_turns_the_pairs(rows in 1usize..9, columns in 1usize..9, values in prop::collection::vec(-1.0f64..1.0, 64)) {
        let costs = CostMatrix::new(rows, columns, values[..rows * columns].to_vec()).unwrap();
        let turned = (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| costs.get(r, c)).collect();
        let mut turned: Vec<_> =
            assign(&CostMatrix::new(columns, rows, turned).unwrap()).into_iter().map(|(c, r)| (r, c)).collect();
        turned.sort_unstable();
        prop_assert_eq!(assign(&costs), turned);
    }
}

#[test]
fn equal_costs_give_the_diagonal() {
    for (rows, columns) in [(4, 4), (2, 5), (5, 2)] {
        let costs = CostMatrix::new(rows, columns, vec![1.5; rows * columns]).unwrap();
        let diagonal: Vec<_> = (0..rows.min(columns)).map(|i| (i, i)).collect();
        assert_eq!(assign(&costs), diagonal);
    }
}

#[test]
fn large_and_structured_matrices_have_a_certificate() {
    // The products i * j are smallest in sum where one side descends: known for any size.
    for (rows, columns) in [(300, 300), (900, 300), (300, 900)] {
        let few = rows.min(columns);
        let values = (0..rows).flat_map(|r| (0..columns).map(move |c| (r.min(few) * c.min(few)) as f64)).collect();
        let costs = CostMatrix::new(rows, columns, values).unwrap();
        let total = check(&costs);
        let want: usize = if rows == columns {
            (0..few).map(|i| i * (few - 1 - i)).sum()
        } else {
            (0..few).map(|i| i * (few - i)).sum()
        };
        // With more columns than rows, the rows may also share the zero column's neighbours: never dearer than descending ones.
        assert!(total <= want as f64, "{rows} x {columns}: {total}, descending {want}");
        if rows == columns {
            assert_eq!(total, want as f64);
        }
    }
}

#[test]
fn what_cannot_be_minimised_is_an_error() {
    assert_eq!(CostMatrix::new(2, 2, vec![0.0; 3]).unwrap_err(), CostError::Count { rows: 2, columns: 2, found: 3 });
    assert!(CostMatrix::new(usize::MAX, 2, vec![]).is_err());
    let infinite = CostMatrix::new(2, 2, vec![0.0, 0.0, f64::INFINITY, 0.0]).unwrap_err();
    assert_eq!(infinite.to_string(), "cost of row 1 and column 0 is inf, expected a finite number");
    assert!(matches!(
        CostMatrix::new(1, 3, vec![0.0, f64::NAN, 0.0]),
        Err(CostError::NotFinite { row: 0, column: 1, found }) if found.is_nan()
    ));
    for (rows, columns) in [(0, 0), (0, 5), (5, 0)] {
        assert_eq!(assign(&CostMatrix::new(rows, columns, vec![]).unwrap()), []);
    }
}

#[test]
fn a_diverged_model_is_an_error_and_extreme_scores_are_not() {
    let target = [[0.5, 0.5, 0.2, 0.2]];
    let cost = |logit: f32, bbox: [f32; 4]| DetrCost::FOCUS_DETR.matrix(&[logit], 1, &[bbox], &[0], &target);
    for logit in [-100.0, 0.0, 100.0, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(cost(logit, target[0]).unwrap().get(0, 0).is_finite(), "logit {logit}");
    }
    assert!(cost(f32::NAN, target[0]).is_err());
    for place in 0..4 {
        let mut bbox = target[0];
        bbox[place] = f32::NAN;
        assert!(cost(0.0, bbox).is_err(), "NaN at {place}");
    }
    assert!(cost(5.0, target[0]).unwrap().get(0, 0) < cost(-5.0, target[0]).unwrap().get(0, 0));
}
