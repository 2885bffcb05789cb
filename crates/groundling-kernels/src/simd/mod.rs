//! Vectors of `f32` in three widths behind one trait, and the macro that compiles a function for each.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod math;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use math::{exp, gelu, gelu_gradient, ln_1p, tanh};
pub(crate) use portable::Portable;

/// Operations on one vector of [`LANES`](Simd::LANES) values.
///
/// # Safety
/// Every function may be called only where the machine has the instructions, that is inside a function made by [`multiversion`];
/// pointers must be valid for as many elements as the function reads or writes. They need no alignment.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// The vector.
    type V: Copy;
    /// How many values it holds.
    const LANES: usize;

    /// Asks for a cache line that will be read soon; the address need not be valid.
    #[inline(always)]
    unsafe fn prefetch(_from: *const f32) {}
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    /// The first `count < LANES` elements; the others are zero.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::V;
    /// Writes the first `count < LANES` elements.
    unsafe fn store_part(to: *mut f32, value: Self::V, count: usize);
    /// Elements whose bit of `mask` is set, zeros for the others, which are not read: their addresses need not be valid.
    unsafe fn load_masked(from: *const f32, mask: u32) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once where the machine can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// To the nearest integer, halves to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// `a * 2^n` for integers `n` in [-126, 127].
    unsafe fn scale_by_power(a: Self::V, n: Self::V) -> Self::V;
    /// `then` where `a > b`, else `otherwise`.
    unsafe fn select_greater(a: Self::V, b: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    /// `then` where `a` is NaN, else `otherwise`.
    unsafe fn select_nan(a: Self::V, then: Self::V, otherwise: Self::V) -> Self::V;
    unsafe fn sum(a: Self::V) -> f32;
    unsafe fn largest(a: Self::V) -> f32;
}

/// Compiles a function once for each instruction set and picks one by its first argument.
///
/// `multiversion!(fn name<S>(a: A, ...) -> R { body })` makes `fn name(isa: Isa, a: A, ...) -> R`. The body is unsafe code over `S: Simd`;
/// what it calls must be `#[inline(always)]`, or it is compiled without the instructions.
macro_rules! multiversion {
    ($(#[$attribute:meta])* $vis:vis fn $name:ident<$S:ident $(, const $K:ident: usize)?>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<const $K: usize>)? (isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            unsafe fn body<$S: $crate::simd::Simd $(, const $K: usize)?>($($arg: $ty),*) $(-> $ret)? {
                #[allow(unused_unsafe)]
                unsafe { $body }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512 $(<const $K: usize>)? ($($arg: $ty),*) $(-> $ret)? {
                unsafe { body::<$crate::simd::Avx512 $(, $K)?>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2 $(<const $K: usize>)? ($($arg: $ty),*) $(-> $ret)? {
                unsafe { body::<$crate::simd::Avx2 $(, $K)?>($($arg),*) }
            }
            // SAFETY: an `Isa` other than `Portable` comes from looking at the machine (`Isa::detect`, `Isa::available`).
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx512 => avx512 $(::<$K>)? ($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx2 => avx2 $(::<$K>)? ($($arg),*),
                    _ => body::<$crate::simd::Portable $(, $K)?>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use multiversion;

/// Calls `full(index)` for every whole vector of `len` elements and `part(index, count)` for what is left.
#[inline(always)]
pub(crate) fn blocks<S: Simd>(len: usize, mut full: impl FnMut(usize), mut part: impl FnMut(usize, usize)) {
    let mut index = 0;
    while index + S::LANES <= len {
        full(index);
        index += S::LANES;
    }
    if index < len {
        part(index, len - index);
    }
}
