//! The one product that attention is made of: broadcast elements of the left matrix times rows of the right one.

use crate::simd::{Simd, multiversion};

/// A dense right-hand matrix or result: rows begin every `row` elements, a multiple of [`LINE`].
pub(super) const LINE: usize = 16;

/// Rows of the right-hand matrix that are used at a time: 128 of 64 elements fill most of the innermost cache.
const DEPTH: usize = 128;

multiversion! {
    /// `c = a b`, or `c += a b` with `add`.
    ///
    /// `a` is `m` by `k` with any two steps (from row to row, from column to column), so transposed as well; `b` is `k` by `n`, `c` is `m` by `n`, whose
    /// rows begin `b_row` and `c_row` elements apart. `n` is a multiple of [`LINE`].
    pub(super) fn product<S>(
        sizes: [usize; 3],
        a: &[f32],
        a_steps: [usize; 2],
        b: &[f32],
        b_row: usize,
        c: &mut [f32],
        c_row: usize,
        add: bool,
    ) {
        let [m, n, k] = sizes;
        if m == 0 || n == 0 {
            return;
        }
        assert!(n % LINE == 0 && c.len() >= (m - 1) * c_row + n);
        assert!(k == 0 || (a.len() > (m - 1) * a_steps[0] + (k - 1) * a_steps[1] && b.len() >= (k - 1) * b_row + n));
        // Sixteen accumulators of a machine with 32 registers, eight of one with 16.
        let width = if S::LANES == 16 { 4 } else { 2 };
        let mut start = 0;
        loop {
            let depth = if k - start > DEPTH + DEPTH / 2 { DEPTH } else { k - start };
            let part = Part {
                k: depth,
                a_row: a_steps[0],
                a_column: a_steps[1],
                b_row,
                c_row,
                add: add || start > 0,
            };
            let a = a.as_ptr().wrapping_add(start * a_steps[1]);
            let mut column = 0;
            while column < n {
                let b = b.as_ptr().wrapping_add(start * b_row + column);
                let c = c.as_mut_ptr().add(column);
                let vectors = ((n - column) / S::LANES).min(width);
                if S::LANES == 16 {
                    match vectors {
                        4 => part.columns::<S, 4>(m, a, b, c),
                        3 => part.columns::<S, 3>(m, a, b, c),
                        2 => part.columns::<S, 2>(m, a, b, c),
                        _ => part.columns::<S, 1>(m, a, b, c),
                    }
                } else {
                    // Rows are padded to sixteen elements, two vectors of eight.
                    part.columns::<S, 2>(m, a, b, c);
                }
                column += vectors * S::LANES;
            }
            start += depth;
            if start >= k {
                break;
            }
        }
    }
}

/// A product over some of the depth.
#[derive(Clone, Copy)]
struct Part {
    k: usize,
    a_row: usize,
    a_column: usize,
    b_row: usize,
    c_row: usize,
    add: bool,
}

impl Part {
    /// `V` vectors of every row.
    #[inline(always)]
    unsafe fn columns<S: Simd, const V: usize>(&self, m: usize, a: *const f32, b: *const f32, c: *mut f32) {
        let mut row = 0;
        unsafe {
            let at = |row: usize| (a.wrapping_add(row * self.a_row), c.wrapping_add(row * self.c_row));
            if S::LANES == 16 && V <= 2 {
                while row + 8 <= m {
                    let (a, c) = at(row);
                    self.block::<S, 8, V>(a, b, c);
                    row += 8;
                }
            }
            while row + 4 <= m {
                let (a, c) = at(row);
                self.block::<S, 4, V>(a, b, c);
                row += 4;
            }
            let (a, c) = at(row);
            match m - row {
                3 => self.block::<S, 3, V>(a, b, c),
                2 => self.block::<S, 2, V>(a, b, c),
                1 => self.block::<S, 1, V>(a, b, c),
                _ => {}
            }
        }
    }

    /// `M` rows of `V` vectors, which stay in registers.
    #[inline(always)]
    unsafe fn block<S: Simd, const M: usize, const V: usize>(&self, a: *const f32, b: *const f32, c: *mut f32) {
        unsafe {
            let mut sums = [[S::splat(0.0); V]; M];
            if self.add {
                for (row, sums) in sums.iter_mut().enumerate() {
                    for (vector, sum) in sums.iter_mut().enumerate() {
                        *sum = S::load(c.add(row * self.c_row + vector * S::LANES));
                    }
                }
            }
            let (mut a, mut b) = (a, b);
            for _ in 0..self.k {
                let mut right = [S::splat(0.0); V];
                for (vector, right) in right.iter_mut().enumerate() {
                    *right = S::load(b.add(vector * S::LANES));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let left = S::splat(*a.add(row * self.a_row));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = S::fma(left, right, *sum);
                    }
                }
                a = a.wrapping_add(self.a_column);
                b = b.wrapping_add(self.b_row);
            }
            for (row, sums) in sums.iter().enumerate() {
                for (vector, sum) in sums.iter().enumerate() {
                    S::store(c.add(row * self.c_row + vector * S::LANES), *sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| (((i + salt) * 7919) % 101) as f32 / 50.0 - 1.0).collect()
    }

    #[test]
    fn every_instruction_set_multiplies() {
        for [m, n, k] in [[1, 16, 1], [3, 32, 5], [4, 48, 33], [9, 64, 2], [13, 80, 64], [22, 112, 300], [2, 16, 0]] {
            let b_row = n + 16;
            let b = numbers(k * b_row, 1);
            for a_steps in [[k + 3, 1], [1, m + 2]] {
                let a = numbers(m * a_steps[0] + k * a_steps[1], 2);
                for add in [false, true] {
                    let before = numbers(m * n, 3);
                    for isa in Isa::available() {
                        let mut c = before.clone();
                        product(isa, [m, n, k], &a, a_steps, &b, b_row, &mut c, n, add);
                        for (index, c) in c.iter().enumerate() {
                            let (row, column) = (index / n, index % n);
                            let start = if add { f64::from(before[index]) } else { 0.0 };
                            let term = |i: usize| {
                                f64::from(a[row * a_steps[0] + i * a_steps[1]]) * f64::from(b[i * b_row + column])
                            };
                            let exact = start + (0..k).map(term).sum::<f64>();
                            assert!((f64::from(*c) - exact).abs() < 2e-5, "{isa:?} {m} {n} {k}: {c} is not {exact}");
                        }
                    }
                }
            }
        }
    }
}
