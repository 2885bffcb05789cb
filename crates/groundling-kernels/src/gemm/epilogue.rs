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

    /// On the `rows` by `columns` elements from `c`, which lie at `row`, `column` of the whole.
    ///
    /// # Safety
    /// `c` is valid for them with `stride` between rows, a residual for the whole.
    #[inline]
    pub(crate) unsafe fn apply(
        &self,
        isa: Isa,
        c: *mut f32,
        stride: usize,
        [row, column]: [usize; 2],
        [rows, columns]: [usize; 2],
    ) {
        if self.is_empty() {
            return;
        }
        for offset in 0..rows {
            let at = row + offset;
            // SAFETY: as the caller promises.
            unsafe {
                one_row(
                    isa,
                    c.add(offset * stride),
                    columns,
                    self.row_scale.map_or(1.0, |scale| scale[at]),
                    self.row_shift.map_or(0.0, |shift| shift[at]),
                    self.column_shift.map(|shift| shift[column..column + columns].as_ptr()),
                    self.residual.map(|residual| residual.at(at, column)),
                    self.activation,
                );
            }
        }
    }
}

multiversion! {
    fn one_row<S>(
        c: *mut f32,
        columns: usize,
        scale: f32,
        shift: f32,
        column_shift: Option<*const f32>,
        residual: Option<*const f32>,
        activation: Activation,
    ) {
        let (scale, shift) = (S::splat(scale), S::splat(shift));
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
                S::store(c.add(i), activate::<S>(value, activation));
            },
            |i, n| {
                let mut value = S::fma(S::load_part(c.add(i), n), scale, shift);
                if let Some(more) = column_shift {
                    value = S::add(value, S::load_part(more.add(i), n));
                }
                if let Some(more) = residual {
                    value = S::add(value, S::load_part(more.add(i), n));
                }
                S::store_part(c.add(i), activate::<S>(value, activation), n);
            },
        );
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
