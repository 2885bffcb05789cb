//! The innermost loops: a strip of rows times a panel of columns, held in registers.

use super::epilogue::Rows;
use crate::isa::Isa;
use crate::simd::Simd;

/// How an instruction set cuts a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tile {
    /// Rows of a strip, at most.
    pub(crate) rows: usize,
    /// Columns of a panel: two vectors.
    pub(crate) columns: usize,
}

impl Tile {
    pub(crate) fn of(isa: Isa) -> Self {
        match isa {
            // 28 sums, 2 values of the panel and one of the strip: 31 of 32 registers.
            Isa::Avx512 => Self { rows: 14, columns: 32 },
            // 12 sums, 2 and 1: 15 of 16 registers.
            Isa::Avx2 => Self { rows: 6, columns: 16 },
            // The registers of SSE2 and NEON hold four values: 2 of 8 columns in 4 or 8 of them for each row.
            Isa::Portable => Self { rows: if cfg!(target_arch = "aarch64") { 6 } else { 2 }, columns: 16 },
        }
    }
}

/// One call of a kernel: `C[rows, columns] (+)= A[rows, depth] B[depth, columns]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// Rows of the strip, 1 to the tile's.
    pub(crate) rows: usize,
    /// Columns that exist, 1 to the tile's. The panel has them all, filled up with anything.
    pub(crate) columns: usize,
    pub(crate) depth: usize,
    /// `a[k * rows + row]`.
    pub(crate) a: *const f32,
    /// `b[k * b_stride + column]`.
    pub(crate) b: *const f32,
    pub(crate) b_stride: usize,
    /// What will be read soon, brought into the second-level cache meanwhile: one cache line for each step of the depth, as far apart as the
    /// rows of `b`. Need not be valid; `b` where nothing is known.
    pub(crate) ahead: *const f32,
    pub(crate) c: Rows,
    /// Adds to `c` instead of overwriting it.
    pub(crate) accumulate: bool,
}

/// Runs one call.
///
/// # Safety
/// The machine has `isa`, the pointers are valid for what [`Call`] says, `rows` is not above the tile's.
#[inline]
pub(crate) unsafe fn run(isa: Isa, call: &Call) {
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512(call),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2(call),
            _ => by_rows::<crate::simd::Portable>(call),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
unsafe fn avx512(call: &Call) {
    unsafe { by_rows::<crate::simd::Avx512>(call) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(call: &Call) {
    unsafe { by_rows::<crate::simd::Avx2>(call) }
}

#[inline(always)]
unsafe fn by_rows<S: Simd>(call: &Call) {
    unsafe {
        match call.rows {
            1 => strip::<S, 1>(call),
            2 => strip::<S, 2>(call),
            3 => strip::<S, 3>(call),
            4 => strip::<S, 4>(call),
            5 => strip::<S, 5>(call),
            6 => strip::<S, 6>(call),
            // Narrower instruction sets have no taller strips: the arms below are dead code there.
            _ if S::LANES < 16 => unreachable!("a strip is at most as tall as the tile"),
            7 => strip::<S, 7>(call),
            8 => strip::<S, 8>(call),
            9 => strip::<S, 9>(call),
            10 => strip::<S, 10>(call),
            11 => strip::<S, 11>(call),
            12 => strip::<S, 12>(call),
            13 => strip::<S, 13>(call),
            14 => strip::<S, 14>(call),
            rows => unreachable!("a strip of {rows} rows"),
        }
    }
}

#[inline(always)]
unsafe fn strip<S: Simd, const ROWS: usize>(call: &Call) {
    unsafe {
        let mut sums = [[S::splat(0.0); 2]; ROWS];
        let (mut a, mut b, mut ahead) = (call.a, call.b, call.ahead);
        for _ in 0..call.depth {
            S::prefetch(ahead);
            ahead = ahead.wrapping_add(call.b_stride);
            let (left, right) = (S::load(b), S::load(b.add(S::LANES)));
            for (row, sum) in sums.iter_mut().enumerate() {
                let value = S::splat(*a.add(row));
                sum[0] = S::fma(value, left, sum[0]);
                sum[1] = S::fma(value, right, sum[1]);
            }
            a = a.add(ROWS);
            b = b.add(call.b_stride);
        }
        for (row, sum) in sums.into_iter().enumerate() {
            let to = call.c.data.add(row * call.c.stride);
            put::<S>(to, sum[0], call.columns, call.accumulate);
            if call.columns > S::LANES {
                put::<S>(to.add(S::LANES), sum[1], call.columns - S::LANES, call.accumulate);
            }
        }
    }
}

/// Writes `min(columns, LANES)` values.
#[inline(always)]
unsafe fn put<S: Simd>(to: *mut f32, value: S::V, columns: usize, accumulate: bool) {
    unsafe {
        if columns >= S::LANES {
            S::store(to, if accumulate { S::add(S::load(to), value) } else { value });
        } else {
            let value = if accumulate { S::add(S::load_part(to, columns), value) } else { value };
            S::store_part(to, value, columns);
        }
    }
}
