//! A tile of logits: some queries by all keys. Softmax and its gradient over it, and how matrices are laid out for the products.

use crate::shared::Shared;
use crate::simd::{Simd, blocks, exp, multiversion};

use super::product::LINE;

/// The next multiple of [`LINE`].
pub(super) fn padded(len: usize) -> usize {
    len.next_multiple_of(LINE)
}

/// Distance between rows of a matrix that is read down its columns: an odd number of cache lines, so that they do not all meet in the same sets.
pub(super) fn spread(len: usize) -> usize {
    (len.div_ceil(LINE) | 1) * LINE
}

/// What is added to the logits of a tile.
#[derive(Clone, Copy)]
pub(super) struct TileTerms<'a> {
    /// One number for each key, `-inf` beyond the last up to [`padded`].
    pub(super) key: &'a [f32],
    /// Rows of `L` numbers, one for each query of the tile.
    pub(super) pair: Option<&'a [f32]>,
    /// The same.
    pub(super) mask: Option<&'a [f32]>,
}

impl TileTerms<'_> {
    fn check(&self, rows: usize, l: usize) {
        assert!(self.key.len() >= padded(l));
        assert!([self.pair, self.mask].iter().flatten().all(|term| term.len() >= rows * l));
    }

    /// Logits of one row from `from`, which is a product to be scaled: calls `each(vector, index)` for every whole or last vector.
    #[inline(always)]
    unsafe fn row<S: Simd>(
        &self,
        row: usize,
        l: usize,
        scale: f32,
        from: *const f32,
        mut each: impl FnMut(S::V, usize),
    ) {
        let scale = unsafe { S::splat(scale) };
        let at = |term: Option<&[f32]>| term.map(|term| term.as_ptr().wrapping_add(row * l));
        let (key, pair, mask) = (self.key.as_ptr(), at(self.pair), at(self.mask));
        let start = |index: usize| unsafe { S::fma(S::load(from.add(index)), scale, S::load(key.add(index))) };
        let mut index = 0;
        while index < l {
            let mut logit = start(index);
            for term in [pair, mask].into_iter().flatten() {
                let at = term.wrapping_add(index);
                let count = l - index;
                let value = unsafe { if count >= S::LANES { S::load(at) } else { S::load_part(at, count) } };
                logit = unsafe { S::add(logit, value) };
            }
            each(logit, index);
            index += S::LANES;
        }
    }
}

multiversion! {
    /// Turns products into `e^(logit - largest logit)`, 0 in the padding; `sums` gets one over the sum of each row, or 0 where no key is visible, `log_sums` the
    /// logarithm of the sum of `e^logit`, or 0 there.
    pub(super) fn softmax<S>(
        tile: &mut [f32],
        tile_row: usize,
        l: usize,
        scale: f32,
        terms: &TileTerms<'_>,
        inverse: &mut [f32],
        log_sums: &mut [f32],
    ) {
        let rows = inverse.len();
        terms.check(rows, l);
        assert!(log_sums.len() == rows && tile_row >= padded(l) && (rows == 0 || tile.len() >= (rows - 1) * tile_row + padded(l)));
        for row in 0..rows {
            let at = tile.as_mut_ptr().add(row * tile_row);
            let mut largest = S::splat(f32::NEG_INFINITY);
            terms.row::<S>(row, l, scale, at, |logit, index| {
                S::store(at.add(index), logit);
                largest = S::max(largest, logit);
            });
            let largest = S::largest(largest);
            // A row of nothing but -inf: any number serves, all of it becomes 0.
            let largest = if largest == f32::NEG_INFINITY { 0.0 } else { largest };
            let shift = S::splat(largest);
            let mut sum = S::splat(0.0);
            let mut index = 0;
            while index < l {
                let value = exp::<S>(S::sub(S::load(at.add(index)), shift));
                S::store(at.add(index), value);
                sum = S::add(sum, value);
                index += S::LANES;
            }
            let sum = S::sum(sum);
            inverse[row] = if sum == 0.0 { 0.0 } else { 1.0 / sum };
            log_sums[row] = if sum == 0.0 { 0.0 } else { largest + sum.ln() };
        }
    }
}

/// What the gradient of a tile needs besides the products.
pub(super) struct Slopes<'a> {
    /// Of each query, from the forward pass.
    pub(super) log_sums: &'a [f32],
    /// The product of output and its gradient for each query.
    pub(super) along: &'a [f32],
}

multiversion! {
    /// Turns products of queries and keys into weights, and products of the output's gradient and values into the gradient of the logits.
    ///
    /// The latter is added to `pair`, rows of `l`, and to `key`, summed over the rows, where those are not empty.
    pub(super) fn gradient<S>(
        tile: &mut [f32],
        slopes: &mut [f32],
        tile_row: usize,
        l: usize,
        scale: f32,
        terms: &TileTerms<'_>,
        rows: &Slopes<'_>,
        pair: &mut [f32],
        key: &mut [f32],
    ) {
        let count = rows.log_sums.len();
        terms.check(count, l);
        assert!(rows.along.len() == count && tile_row >= padded(l));
        assert!(count == 0 || tile.len().min(slopes.len()) >= (count - 1) * tile_row + padded(l));
        assert!((pair.is_empty() || pair.len() >= count * l) && (key.is_empty() || key.len() >= padded(l)));
        for row in 0..count {
            let (at, slope_at) = (tile.as_mut_ptr().add(row * tile_row), slopes.as_mut_ptr().add(row * tile_row));
            let (shift, along) = (S::splat(rows.log_sums[row]), S::splat(rows.along[row]));
            terms.row::<S>(row, l, scale, at, |logit, index| {
                let weight = exp::<S>(S::sub(logit, shift));
                S::store(at.add(index), weight);
                S::store(slope_at.add(index), S::mul(weight, S::sub(S::load(slope_at.add(index)), along)));
            });
            if !pair.is_empty() {
                let to = pair.as_mut_ptr().add(row * l);
                blocks::<S>(
                    l,
                    |i| S::store(to.add(i), S::add(S::load(to.add(i)), S::load(slope_at.add(i)))),
                    |i, n| S::store_part(to.add(i), S::add(S::load_part(to.add(i), n), S::load(slope_at.add(i))), n),
                );
            }
            if !key.is_empty() {
                let to = key.as_mut_ptr();
                let mut index = 0;
                while index < l {
                    S::store(to.add(index), S::add(S::load(to.add(index)), S::load(slope_at.add(index))));
                    index += S::LANES;
                }
            }
        }
    }
}

multiversion! {
    /// Sums of products of rows that lie at these steps.
    pub(super) fn dots<S>(a: &[f32], a_row: usize, b: &[f32], b_row: usize, width: usize, out: &mut [f32]) {
        let rows = out.len();
        assert!(rows == 0 || (a.len() >= (rows - 1) * a_row + width && b.len() >= (rows - 1) * b_row + width));
        for (row, out) in out.iter_mut().enumerate() {
            let (a, b) = (a.as_ptr().add(row * a_row), b.as_ptr().add(row * b_row));
            let sum = std::cell::Cell::new(S::splat(0.0));
            blocks::<S>(
                width,
                |i| sum.set(S::fma(S::load(a.add(i)), S::load(b.add(i)), sum.get())),
                |i, n| sum.set(S::fma(S::load_part(a.add(i), n), S::load_part(b.add(i), n), sum.get())),
            );
            *out = S::sum(sum.get());
        }
    }
}

multiversion! {
    /// Copies `rows` rows of `width` times `factor`, which begin `from_row` apart, to rows `to_row` apart; zeros up to [`padded`].
    pub(super) fn copy_rows<S>(
        from: &[f32],
        from_row: usize,
        rows: usize,
        width: usize,
        to: &mut [f32],
        to_row: usize,
        factor: f32,
    ) {
        let end = padded(width);
        assert!(rows == 0 || (from.len() >= (rows - 1) * from_row + width && to.len() >= (rows - 1) * to_row + end));
        let factor = S::splat(factor);
        for row in 0..rows {
            let (from, to) = (from.as_ptr().add(row * from_row), to.as_mut_ptr().add(row * to_row));
            blocks::<S>(
                width,
                |i| S::store(to.add(i), S::mul(S::load(from.add(i)), factor)),
                |i, n| S::store_part(to.add(i), S::mul(S::load_part(from.add(i), n), factor), n),
            );
            for i in width..end {
                *to.add(i) = 0.0;
            }
        }
    }
}

/// What rows are multiplied with.
#[derive(Clone, Copy)]
pub(super) enum Factors<'a> {
    /// All with the same.
    Same(f32),
    /// Each with its own.
    Rows(&'a [f32]),
}

multiversion! {
    /// Writes rows of `width`, which begin `from_row` apart, times their factors to a result that other threads write as well: the first row to
    /// `start`, the next `step` after it; with `add` they are added to what is there.
    ///
    /// No other thread may write there.
    pub(super) fn scatter_rows<S>(
        from: &[f32],
        from_row: usize,
        to: &Shared,
        start: usize,
        step: usize,
        rows: usize,
        width: usize,
        factors: Factors<'_>,
        add: bool,
    ) {
        assert!(rows == 0 || from.len() >= (rows - 1) * from_row + width);
        for row in 0..rows {
            // SAFETY: the caller's word.
            let to = to.range(start + row * step, width).as_mut_ptr();
            let from = from.as_ptr().add(row * from_row);
            let factor = S::splat(match factors {
                Factors::Same(factor) => factor,
                Factors::Rows(factors) => factors[row],
            });
            if add {
                blocks::<S>(
                    width,
                    |i| S::store(to.add(i), S::fma(S::load(from.add(i)), factor, S::load(to.add(i)))),
                    |i, n| {
                        let sum = S::fma(S::load_part(from.add(i), n), factor, S::load_part(to.add(i), n));
                        S::store_part(to.add(i), sum, n);
                    },
                );
                continue;
            }
            blocks::<S>(
                width,
                |i| S::store(to.add(i), S::mul(S::load(from.add(i)), factor)),
                |i, n| S::store_part(to.add(i), S::mul(S::load_part(from.add(i), n), factor), n),
            );
        }
    }
}

multiversion! {
    /// Copies the transposed matrix: `rows` rows of `width`, `from_row` apart, become `width` rows of `rows`, `to_row` apart; zeros up to [`padded`].
    pub(super) fn transpose<S>(from: &[f32], from_row: usize, rows: usize, width: usize, to: &mut [f32], to_row: usize) {
        if width == 0 || rows == 0 {
            return;
        }
        assert!(from.len() >= (rows - 1) * from_row + width && to.len() >= (width - 1) * to_row + padded(rows));
        for row in (0..rows).step_by(LINE) {
            for column in (0..width).step_by(LINE) {
                let square = [(rows - row).min(LINE), (width - column).min(LINE)];
                let (from, to) = (&from[row * from_row + column..], &mut to[column * to_row + row..]);
                #[cfg(target_arch = "x86_64")]
                if S::LANES == 16 {
                    transpose_512(square, from.as_ptr(), from_row, to.as_mut_ptr(), to_row);
                    continue;
                }
                for column in 0..square[1] {
                    let line = &mut to[column * to_row..][..LINE];
                    for (row, value) in line.iter_mut().enumerate() {
                        *value = if row < square[0] { from[row * from_row + column] } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Transposes a square of sixteen, or what there is of it, in registers; missing rows become zeros.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn transpose_512([rows, columns]: [usize; 2], from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
    use std::arch::x86_64::*;
    let mask = (0xffffu32 >> (16 - columns)) as __mmask16;
    unsafe {
        let mut r = [_mm512_setzero_ps(); 16];
        for (row, r) in r.iter_mut().enumerate() {
            if row < rows {
                *r = _mm512_maskz_loadu_ps(mask, from.add(row * from_row));
            }
        }
        // Pairs of rows, then quarters of four rows: quarter `4 j + c` has, in part `k`, column `4 k + c` of rows `4 j` to `4 j + 3`.
        let mut quarters = [_mm512_setzero_pd(); 16];
        for j in 0..4 {
            let low = [0, 2].map(|i| _mm512_castps_pd(_mm512_unpacklo_ps(r[4 * j + i], r[4 * j + i + 1])));
            let high = [0, 2].map(|i| _mm512_castps_pd(_mm512_unpackhi_ps(r[4 * j + i], r[4 * j + i + 1])));
            quarters[4 * j] = _mm512_unpacklo_pd(low[0], low[1]);
            quarters[4 * j + 1] = _mm512_unpackhi_pd(low[0], low[1]);
            quarters[4 * j + 2] = _mm512_unpacklo_pd(high[0], high[1]);
            quarters[4 * j + 3] = _mm512_unpackhi_pd(high[0], high[1]);
        }
        for c in 0..4 {
            let q = [0, 4, 8, 12].map(|j| _mm512_castpd_ps(quarters[j + c]));
            let even = [_mm512_shuffle_f32x4::<0x88>(q[0], q[1]), _mm512_shuffle_f32x4::<0x88>(q[2], q[3])];
            let odd = [_mm512_shuffle_f32x4::<0xdd>(q[0], q[1]), _mm512_shuffle_f32x4::<0xdd>(q[2], q[3])];
            let lines = [
                _mm512_shuffle_f32x4::<0x88>(even[0], even[1]),
                _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]),
                _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]),
                _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]),
            ];
            for (k, line) in lines.into_iter().enumerate() {
                if 4 * k + c < columns {
                    _mm512_storeu_ps(to.add((4 * k + c) * to_row), line);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    #[test]
    fn every_instruction_set_transposes() {
        for [rows, width, from_row] in [[1, 1, 1], [3, 16, 20], [16, 16, 16], [17, 5, 9], [40, 33, 40], [31, 64, 64]] {
            let from: Vec<f32> = (0..rows * from_row).map(|i| i as f32 + 1.0).collect();
            for isa in Isa::available() {
                let to_row = spread(rows);
                let mut to = vec![-1.0; width * to_row];
                transpose(isa, &from, from_row, rows, width, &mut to, to_row);
                for column in 0..width {
                    for row in 0..padded(rows) {
                        let want = if row < rows { from[row * from_row + column] } else { 0.0 };
                        assert_eq!(to[column * to_row + row], want, "{isa:?}: {rows} by {width}, {row}, {column}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_weighs_and_a_row_of_nothing_is_zero() {
        for l in [1, 7, 16, 37] {
            let wide = spread(l);
            let logit = |row: usize, column: usize| ((row * 31 + column * 17) % 23) as f32 / 4.0 - 2.0;
            let mut key = vec![f32::NEG_INFINITY; padded(l)];
            (0..l).for_each(|column| key[column] = 0.25 * column as f32);
            let mut mask = vec![0.0; 3 * l];
            mask[l..2 * l].fill(f32::NEG_INFINITY);
            for isa in Isa::available() {
                let mut tile = vec![9.0; 3 * wide];
                (0..3).for_each(|row| (0..l).for_each(|column| tile[row * wide + column] = logit(row, column)));
                let products = tile.clone();
                let (mut inverse, mut log_sums) = ([7.0; 3], [7.0; 3]);
                let terms = TileTerms { key: &key, pair: None, mask: Some(&mask) };
                softmax(isa, &mut tile, wide, l, 0.5, &terms, &mut inverse, &mut log_sums);
                for row in 0..3 {
                    let exact: Vec<f64> =
                        (0..l).map(|column| f64::from(logit(row, column) * 0.5 + key[column]).exp()).collect();
                    let sum: f64 = exact.iter().sum();
                    for (column, exact) in exact.iter().enumerate() {
                        let want = if row == 1 { 0.0 } else { exact / sum };
                        let got = f64::from(tile[row * wide + column] * inverse[row]);
                        assert!((got - want).abs() < 1e-6, "{isa:?} {l}: {got} is not {want}");
                    }
                    let want = if row == 1 { 0.0 } else { sum.ln() };
                    assert!((f64::from(log_sums[row]) - want).abs() < 1e-5, "{isa:?} {l}: {}", log_sums[row]);
                }
                // The gradient starts from the products again: slopes of 1 everywhere are slopes of nothing.
                let (mut tile, mut slopes, mut pair, mut sums) =
                    (products, vec![1.0; 3 * wide], vec![0.0; 3 * l], vec![0.0; padded(l)]);
                let rows = Slopes { log_sums: &log_sums, along: &[1.0, 1.0, 0.0] };
                gradient(isa, &mut tile, &mut slopes, wide, l, 0.5, &terms, &rows, &mut pair, &mut sums);
                assert!(pair[..2 * l].iter().all(|slope| slope.abs() < 1e-6), "{isa:?} {l}");
                for column in 0..l {
                    let weight = (logit(2, column) * 0.5 + key[column] - log_sums[2]).exp();
                    assert!((pair[2 * l + column] - weight).abs() < 1e-6, "{isa:?} {l}: {}", pair[2 * l + column]);
                    assert!((sums[column] - weight).abs() < 2e-6, "{isa:?} {l}: {}", sums[column]);
                }
            }
        }
    }
}
