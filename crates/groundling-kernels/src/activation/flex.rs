//! GELU and tanh on slices.

use burn::backend::Flex;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::FloatTensor;
use burn_flex::FlexTensor;

use super::{ActivationOps, composed};
use crate::flex;
use crate::isa::Isa;
use crate::simd::{blocks, multiversion, tanh};

impl ActivationOps for Flex {
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&x]) {
            return composed::gelu::<Self>(x);
        }
        each(x, forward)
    }

    fn fused_gelu_backward(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&x, &grad]) {
            return composed::gelu_backward::<Self>(x, grad);
        }
        each_of_two(x, grad, backward)
    }

    fn fused_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&x]) {
            return Self::float_tanh(x);
        }
        each(x, tanh_forward)
    }

    fn fused_tanh_backward(output: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&output, &grad]) {
            return composed::tanh_backward::<Self>(output, grad);
        }
        each_of_two(output, grad, tanh_backward)
    }
}

/// A function of every element.
fn each(x: FlexTensor, function: fn(Isa, &[f32], &mut [f32])) -> FlexTensor {
    let x = flex::in_order(x);
    let input = flex::slice(&x);
    let mut out = flex::unset(input.len());
    flex::rows(&mut out, 1, |start, out| function(Isa::detect(), &input[start..start + out.len()], out));
    flex::tensor(out, x.layout().shape().clone())
}

/// A function of every element of a tensor and of a gradient.
fn each_of_two(x: FlexTensor, grad: FlexTensor, function: fn(Isa, &[f32], &[f32], &mut [f32])) -> FlexTensor {
    let (x, grad) = (flex::in_order(x), flex::in_order(grad));
    let (input, grads) = (flex::slice(&x), flex::slice(&grad));
    assert_eq!(input.len(), grads.len(), "the gradient has the shape of the input");
    let mut out = flex::unset(input.len());
    flex::rows(&mut out, 1, |start, out| {
        let range = start..start + out.len();
        function(Isa::detect(), &input[range.clone()], &grads[range], out);
    });
    flex::tensor(out, x.layout().shape().clone())
}

multiversion! {
    /// `out = gelu(x)`, lengths equal.
    pub(crate) fn forward<S>(x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len());
        let (x, to) = (x.as_ptr(), out.as_mut_ptr());
        blocks::<S>(
            out.len(),
            |i| S::store(to.add(i), crate::simd::gelu::<S>(S::load(x.add(i)))),
            |i, n| S::store_part(to.add(i), crate::simd::gelu::<S>(S::load_part(x.add(i), n)), n),
        );
    }
}

multiversion! {
    /// `out = gelu'(x) * grad`, lengths equal.
    pub(crate) fn backward<S>(x: &[f32], grad: &[f32], out: &mut [f32]) {
        assert!(x.len() == out.len() && grad.len() == out.len());
        let (x, grad, to) = (x.as_ptr(), grad.as_ptr(), out.as_mut_ptr());
        blocks::<S>(
            out.len(),
            |i| S::store(to.add(i), S::mul(crate::simd::gelu_gradient::<S>(S::load(x.add(i))), S::load(grad.add(i)))),
            |i, n| {
                let slope = crate::simd::gelu_gradient::<S>(S::load_part(x.add(i), n));
                S::store_part(to.add(i), S::mul(slope, S::load_part(grad.add(i), n)), n);
            },
        );
    }
}

multiversion! {
    /// `out = tanh(x)`, lengths equal.
    fn tanh_forward<S>(x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len());
        let (x, to) = (x.as_ptr(), out.as_mut_ptr());
        blocks::<S>(
            out.len(),
            |i| S::store(to.add(i), tanh::<S>(S::load(x.add(i)))),
            |i, n| S::store_part(to.add(i), tanh::<S>(S::load_part(x.add(i), n)), n),
        );
    }
}

multiversion! {
    /// `out = (1 - y^2) * grad`, lengths equal.
    fn tanh_backward<S>(y: &[f32], grad: &[f32], out: &mut [f32]) {
        assert!(y.len() == out.len() && grad.len() == out.len());
        let (y, grad, to) = (y.as_ptr(), grad.as_ptr(), out.as_mut_ptr());
        let slope = |y: S::V| S::fma(S::mul(y, S::splat(-1.0)), y, S::splat(1.0));
        blocks::<S>(
            out.len(),
            |i| S::store(to.add(i), S::mul(slope(S::load(y.add(i))), S::load(grad.add(i)))),
            |i, n| {
                let grad = S::load_part(grad.add(i), n);
                S::store_part(to.add(i), S::mul(slope(S::load_part(y.add(i), n)), grad), n);
            },
        );
    }
}
