//! Eight lanes that the compiler maps to whatever there is.

use super::Simd;

/// Plain arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Portable;

const LANES: usize = 8;
type V = [f32; LANES];

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> V {
    std::array::from_fn(f)
}

impl Simd for Portable {
    type V = V;
    const LANES: usize = LANES;

    #[inline(always)]
    unsafe fn splat(value: f32) -> V {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        unsafe { from.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: V) {
        unsafe { to.cast::<V>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> V {
        let mut value = [0.0; LANES];
        unsafe { std::ptr::copy_nonoverlapping(from, value.as_mut_ptr(), count) };
        value
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, value: V, count: usize) {
        unsafe { std::ptr::copy_nonoverlapping(value.as_ptr(), to, count) }
    }
    #[inline(always)]
    unsafe fn load_masked(from: *const f32, mask: u32) -> V {
        if mask & 0xff == 0xff {
            return unsafe { Self::load(from) };
        }
        each(|i| if mask >> i & 1 == 1 { unsafe { *from.wrapping_add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        each(|i| a[i] / b[i])
    }
    // As the instructions of the other two: the second operand wins if one is NaN.
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    // Not `mul_add`: without the instruction that is a call into the mathematics library for every element.
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        // Adding and taking away 1.5 * 2^23 leaves the nearest integer of anything below 2^22, which is all that is rounded here.
        const SHIFT: f32 = 12_582_912.0;
        each(|i| (a[i] + SHIFT) - SHIFT)
    }
    #[inline(always)]
    unsafe fn scale_by_power(a: V, n: V) -> V {
        each(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn select_greater(a: V, b: V, then: V, otherwise: V) -> V {
        each(|i| if a[i] > b[i] { then[i] } else { otherwise[i] })
    }
    #[inline(always)]
    unsafe fn select_nan(a: V, then: V, otherwise: V) -> V {
        each(|i| if a[i].is_nan() { then[i] } else { otherwise[i] })
    }
    #[inline(always)]
    unsafe fn sum(a: V) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    unsafe fn largest(a: V) -> f32 {
        a.into_iter().fold(f32::NEG_INFINITY, |largest, value| if value > largest { value } else { largest })
    }
}
