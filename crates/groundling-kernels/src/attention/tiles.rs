//! A tile of logits: some queries by all keys. Softmax and its gradient over it, and how matrices are laid out for the products.

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
        for row in 0..rows {
            let (a, b) = (a.as_ptr().add(row * a_row), b.as_ptr().add(row * b_row));
            let sum = std::cell::Cell::new(S::splat(0.0));
            blocks::<S>(
                width,
                |i| sum.set(S::fma(S::load(a.add(i)), S::load(b.add(i)), sum.get())),
                |i, n| sum.set(S::fma(S::load_part(a.add(i), n), S::load_part(b.add(i), n), sum.get())),
            );
            out[row] = S::sum(sum.get());
        }
    }
}

multiversion! {
    /// Copies `rows` rows of `width` times `factor`, which begin `from_row` apart, to rows `to_row` apart; zeros up to [`padded`] if `pad`.
    pub(super) fn copy_rows<S>(
        from: &[f32],
        from_row: usize,
        rows: usize,
        width: usize,
        to: &mut [f32],
        to_row: usize,
        pad: bool,
        factor: f32,
    ) {
        let end = if pad { padded(width) } else { width };
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

/// Copies the transposed matrix: `rows` rows of `width`, `from_row` apart, become `width` rows of `rows`, `to_row` apart; zeros up to [`padded`].
pub(super) fn transpose(from: &[f32], from_row: usize, rows: usize, width: usize, to: &mut [f32], to_row: usize) {
    if width == 0 {
        return;
    }
    let end = padded(rows);
    assert!(rows == 0 || from.len() >= (rows - 1) * from_row + width);
    assert!(to.len() >= (width - 1) * to_row + end);
    // Squares of eight: what is read and what is written stay in the innermost cache.
    for row in (0..rows).step_by(8) {
        let high = (row + 8).min(rows);
        for column in 0..width {
            let line = &mut to[column * to_row + row..column * to_row + high];
            for (offset, value) in line.iter_mut().enumerate() {
                *value = from[(row + offset) * from_row + column];
            }
        }
    }
    for column in 0..width {
        to[column * to_row + rows..column * to_row + end].fill(0.0);
    }
}
