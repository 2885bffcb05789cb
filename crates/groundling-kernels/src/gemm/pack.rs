//! Rearranging operands into the order in which the kernels read them.

use crate::isa::Isa;

/// A matrix in memory: `data[row * row_stride + column * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View {
    pub(crate) data: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

// SAFETY: only read, and every user keeps the slice it points into alive while it works.
unsafe impl Send for View {}
unsafe impl Sync for View {}

impl View {
    pub(crate) fn rows(data: &[f32], columns: usize) -> Self {
        Self { data: data.as_ptr(), row_stride: columns, column_stride: 1 }
    }

    /// The same matrix with rows and columns exchanged.
    pub(crate) fn transposed(self) -> Self {
        Self { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }

    /// # Safety
    /// `row` and `column` are inside or one past the end.
    pub(crate) unsafe fn at(self, row: usize, column: usize) -> *const f32 {
        unsafe { self.data.add(row * self.row_stride + column * self.column_stride) }
    }

    /// # Safety
    /// As [`at`](Self::at).
    pub(crate) unsafe fn from(self, row: usize, column: usize) -> Self {
        Self { data: unsafe { self.at(row, column) }, ..self }
    }
}

/// `to[k * width + i] = source[i, k]` for `i < count` and `k < depth`; for `count <= i < width` zero.
///
/// `source` is a matrix of `count` rows by `depth` columns: rows of A for a strip, and columns of B, transposed, for a panel.
///
/// # Safety
/// `source` is valid for `count` by `depth`, `to` for `depth * width`.
pub(crate) unsafe fn interleave(isa: Isa, source: View, count: usize, depth: usize, to: *mut f32, width: usize) {
    debug_assert!(count <= width);
    unsafe {
        if source.row_stride == 1 {
            copy(source, count, depth, to, width);
        } else {
            transpose(isa, source, count, depth, to, width);
        }
    }
}

/// Values that lie side by side already.
unsafe fn copy(source: View, count: usize, depth: usize, to: *mut f32, width: usize) {
    unsafe {
        for k in 0..depth {
            let (from, to) = (source.at(0, k), to.add(k * width));
            if count == 32 {
                // The usual panel: a constant length becomes four instructions.
                std::ptr::copy_nonoverlapping(from, to, 32);
            } else {
                std::ptr::copy_nonoverlapping(from, to, count);
            }
            if count < width {
                std::ptr::write_bytes(to.add(count), 0, width - count);
            }
        }
    }
}

unsafe fn transpose(isa: Isa, source: View, count: usize, depth: usize, to: *mut f32, width: usize) {
    unsafe {
        let mut done = 0;
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx512 && source.column_stride == 1 {
            done = depth / 16 * 16;
            x86::transpose16(source, count, done, to, width);
        }
        #[cfg(target_arch = "x86_64")]
        if isa == Isa::Avx2 && source.column_stride == 1 {
            done = depth / 8 * 8;
            x86::transpose8(source, count, done, to, width);
        }
        let _ = isa;
        for k in done..depth {
            let to = to.add(k * width);
            for i in 0..count {
                *to.add(i) = *source.at(i, k);
            }
            if count < width {
                std::ptr::write_bytes(to.add(count), 0, width - count);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::View;

    /// `depth` is a multiple of 16, the source has its columns side by side.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    pub(super) unsafe fn transpose16(source: View, count: usize, depth: usize, to: *mut f32, width: usize) {
        unsafe {
            for start in (0..width).step_by(16) {
                let rows = count.saturating_sub(start).min(16);
                let lanes = (width - start).min(16);
                let mask = if lanes == 16 { !0u16 } else { (1u16 << lanes) - 1 };
                for k in (0..depth).step_by(16) {
                    let mut block = [_mm512_setzero_ps(); 16];
                    for (row, value) in block.iter_mut().enumerate() {
                        if row < rows {
                            *value = _mm512_loadu_ps(source.at(start + row, k));
                        }
                    }
                    let block = transposed16(block);
                    for (column, value) in block.into_iter().enumerate() {
                        _mm512_mask_storeu_ps(to.add((k + column) * width + start), mask, value);
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    fn transposed16(r: [__m512; 16]) -> [__m512; 16] {
        let mut pairs = [_mm512_setzero_ps(); 16];
        for i in 0..8 {
            pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        let mut quads = [_mm512_setzero_ps(); 16];
        for i in 0..4 {
            for half in 0..2 {
                let (a, b) = (pairs[4 * i + half], pairs[4 * i + 2 + half]);
                quads[4 * i + 2 * half] = _mm512_shuffle_ps::<0b01_00_01_00>(a, b);
                quads[4 * i + 2 * half + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(a, b);
            }
        }
        // Quad `4 i + c` holds, in its four lanes l, rows 4i..4i+4 of column 4 l + c.
        let mut out = [_mm512_setzero_ps(); 16];
        for c in 0..4 {
            let (a, b, d, e) = (quads[c], quads[4 + c], quads[8 + c], quads[12 + c]);
            let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
            let high = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
            let low2 = _mm512_shuffle_f32x4::<0b10_00_10_00>(d, e);
            let high2 = _mm512_shuffle_f32x4::<0b11_01_11_01>(d, e);
            out[c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(low, low2);
            out[8 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(low, low2);
            out[4 + c] = _mm512_shuffle_f32x4::<0b10_00_10_00>(high, high2);
            out[12 + c] = _mm512_shuffle_f32x4::<0b11_01_11_01>(high, high2);
        }
        out
    }

    /// `depth` is a multiple of 8, the source has its columns side by side.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn transpose8(source: View, count: usize, depth: usize, to: *mut f32, width: usize) {
        unsafe {
            for start in (0..width).step_by(8) {
                let rows = count.saturating_sub(start).min(8);
                let lanes = (width - start).min(8);
                for k in (0..depth).step_by(8) {
                    let mut block = [_mm256_setzero_ps(); 8];
                    for (row, value) in block.iter_mut().enumerate() {
                        if row < rows {
                            *value = _mm256_loadu_ps(source.at(start + row, k));
                        }
                    }
                    let block = transposed8(block);
                    for (column, value) in block.into_iter().enumerate() {
                        let to = to.add((k + column) * width + start);
                        if lanes == 8 {
                            _mm256_storeu_ps(to, value);
                        } else {
                            let mut values = [0.0f32; 8];
                            _mm256_storeu_ps(values.as_mut_ptr(), value);
                            std::ptr::copy_nonoverlapping(values.as_ptr(), to, lanes);
                        }
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx2,fma")]
    fn transposed8(r: [__m256; 8]) -> [__m256; 8] {
        let mut quads = [_mm256_setzero_ps(); 8];
        for i in 0..2 {
            let (a, b, c, d) = (r[4 * i], r[4 * i + 1], r[4 * i + 2], r[4 * i + 3]);
            let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd0, cd1) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            quads[4 * i] = _mm256_shuffle_ps::<0b01_00_01_00>(ab0, cd0);
            quads[4 * i + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(ab0, cd0);
            quads[4 * i + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(ab1, cd1);
            quads[4 * i + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(ab1, cd1);
        }
        let mut out = [_mm256_setzero_ps(); 8];
        for c in 0..4 {
            out[c] = _mm256_permute2f128_ps::<0x20>(quads[c], quads[4 + c]);
            out[4 + c] = _mm256_permute2f128_ps::<0x31>(quads[c], quads[4 + c]);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_interleaving_agrees_with_its_definition() {
        for isa in Isa::available() {
            for (count, depth, width) in [
                (14, 33, 14),
                (13, 16, 13),
                (1, 5, 1),
                (32, 40, 32),
                (7, 70, 32),
                (16, 15, 16),
                (6, 24, 6),
                (9, 17, 16),
            ] {
                let rows: Vec<f32> = (0..count * depth).map(|i| i as f32 + 1.0).collect();
                let columns: Vec<f32> = (0..count * depth).map(|i| rows[i % count * depth + i / count]).collect();
                for source in
                    [View::rows(&rows, depth), View { data: columns.as_ptr(), row_stride: 1, column_stride: count }]
                {
                    let mut out = vec![-1.0; depth * width];
                    // SAFETY: sizes as made above.
                    unsafe { interleave(isa, source, count, depth, out.as_mut_ptr(), width) };
                    for k in 0..depth {
                        for i in 0..width {
                            let want = if i < count { rows[i * depth + k] } else { 0.0 };
                            assert_eq!(out[k * width + i], want, "{isa:?} {count}x{depth} into {width}: {i}, {k}");
                        }
                    }
                }
            }
        }
    }
}
