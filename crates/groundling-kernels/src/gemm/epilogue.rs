//! What follows a product, on a tile that is still in the first-level cache.

use super::pack::View;
use crate::isa::Isa;
use crate::linear::Activation;
use crate::simd::{Simd, blocks, multiversion};

/// `activation((sum * row_scale + row_shift) + column_shift + residual)`, each part optional.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Epilogue<'a> {
    pub(crate) column_shift: Option<&'a [f32]>,
    pub(crate) row_scale: Option<&'a [f32]>,
    pub(crate) row_shift: Option<&'a [f32]>,
    pub(crate) residual: Option<View>,
    pub(crate) activation: Activation,
}

impl Epilogue<'_> {
    fn is_empty(&self) -> bool {
        self.column_shift.is_none()
            && self.row_scale.is_none()
            && self.row_shift.is_none()
            && self.residual.is_none()
            && self.activation == Activation::Identity
    }

    /// On `rows` by `columns` sums at `c`, which lie at `row`, `column` of the whole.
    ///
    /// # Safety
    /// `c` is valid for them, a residual for the whole.
    #[inline]
    pub(crate) unsafe fn apply(&self, isa: Isa, c: Rows, at: [usize; 2], size: [usize; 2]) {
        if !self.is_empty() {
            tile(isa, self, c, at, size);
        }
    }
}

/// Rows in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) data: *mut f32,
    pub(crate) stride: usize,
}

multiversion! {
    fn tile<S>(epilogue: &Epilogue<'_>, c: Rows, at: [usize; 2], size: [usize; 2]) {
        let ([row, column], [rows, columns]) = (at, size);
        let column_shift = epilogue.column_shift.map(|shift| shift[column..column + columns].as_ptr());
        for offset in 0..rows {
            let c = c.data.add(offset * c.stride);
            let scale = S::splat(epilogue.row_scale.map_or(1.0, |scale| scale[row + offset]));
            let shift = S::splat(epilogue.row_shift.map_or(0.0, |shift| shift[row + offset]));
            let residual = epilogue.residual.map(|residual| residual.at(row + offset, column));
            blocks::<S>(
                columns,
                |i| {
                    let mut value = S::fma(S::load(c.add(i)), scale, shift);
                    if let Some(more) = column_shift {
                        value = S::add(value, S::load(more.add(i)));
                    }
                    if let Some(more) = residual {
                        value = S::add(value, S::load(more.add(i)));
                    }
                    S::store(c.add(i), activate::<S>(value, epilogue.activation));
                },
                |i, n| {
                    let mut value = S::fma(S::load_part(c.add(i), n), scale, shift);
                    if let Some(more) = column_shift {
                        value = S::add(value, S::load_part(more.add(i), n));
                    }
                    if let Some(more) = residual {
                        value = S::add(value, S::load_part(more.add(i), n));
                    }
                    S::store_part(c.add(i), activate::<S>(value, epilogue.activation), n);
                },
            );
        }
    }
}

#[inline(always)]
unsafe fn activate<S: Simd>(value: S::V, activation: Activation) -> S::V {
    // SAFETY: the caller has the instructions.
    unsafe {
        match activation {
            Activation::Identity => value,
            // The operand that may be NaN comes second, so that it stays visible.
            Activation::Relu => S::max(S::splat(0.0), value),
            Activation::Gelu => crate::simd::gelu::<S>(value),
        }
    }
}
