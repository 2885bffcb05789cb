//! The logistic loss on slices.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;

use super::{LogisticOps, composed};
use crate::flex;
use crate::isa::Isa;
use crate::simd::{Simd, blocks, exp, ln_1p, multiversion};

impl LogisticOps for Flex {
    fn fused_logistic_loss(x: FloatTensor<Self>, targets: FloatTensor<Self>) -> FloatTensor<Self> {
        if !flex::all_f32([&x, &targets]) {
            return composed::loss::<Self>(x, targets);
        }
        let (x, targets) = (flex::in_order(x), flex::in_order(targets));
        let (logits, labels) = (flex::slice(&x), flex::slice(&targets));
        assert_eq!(logits.len(), labels.len(), "a target for each logit");
        let mut out = flex::unset(logits.len());
        flex::rows(&mut out, 1, |start, out| {
            let range = start..start + out.len();
            forward(Isa::detect(), &logits[range.clone()], &labels[range], out);
        });
        flex::tensor(out, x.layout().shape().clone())
    }

    fn fused_logistic_loss_backward(
        x: FloatTensor<Self>,
        targets: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if !flex::all_f32([&x, &targets, &grad]) {
            return composed::loss_backward::<Self>(x, targets, grad);
        }
        let [x, targets, grad] = [x, targets, grad].map(flex::in_order);
        let (logits, labels, grads) = (flex::slice(&x), flex::slice(&targets), flex::slice(&grad));
        assert!(logits.len() == labels.len() && logits.len() == grads.len(), "a gradient for each logit");
        let mut out = flex::unset(logits.len());
        flex::rows(&mut out, 1, |start, out| {
            let range = start..start + out.len();
            backward(Isa::detect(), &logits[range.clone()], &labels[range.clone()], &grads[range], out);
        });
        flex::tensor(out, x.layout().shape().clone())
    }
}

/// `e^-abs(x)`, `ln(1 + e^-abs(x))`, and `max(x, 0)` and `max(-x, 0)`.
#[inline(always)]
unsafe fn parts<S: Simd>(x: S::V) -> (S::V, S::V, [S::V; 2]) {
    unsafe {
        let zero = S::splat(0.0);
        let minus = S::sub(zero, x);
        // The operand that may be NaN comes second: it is the one that survives.
        let sides = [S::max(zero, x), S::max(zero, minus)];
        let small = exp::<S>(S::min(x, minus));
        (small, ln_1p::<S>(small), sides)
    }
}

#[inline(always)]
unsafe fn loss<S: Simd>(x: S::V, target: S::V) -> S::V {
    unsafe {
        let (_, tail, [above, below]) = parts::<S>(x);
        let off = S::sub(S::splat(1.0), target);
        S::fma(target, S::add(below, tail), S::mul(off, S::add(above, tail)))
    }
}

/// `(1 - t) sigmoid(x) - t sigmoid(-x)`.
#[inline(always)]
unsafe fn slope<S: Simd>(x: S::V, target: S::V) -> S::V {
    unsafe {
        let (zero, one) = (S::splat(0.0), S::splat(1.0));
        let small = exp::<S>(S::min(x, S::sub(zero, x)));
        let share = S::div(one, S::add(one, small));
        let rest = S::mul(small, share);
        let (on, off) = (S::select_greater(x, zero, share, rest), S::select_greater(x, zero, rest, share));
        S::sub(S::mul(S::sub(one, target), on), S::mul(target, off))
    }
}

multiversion! {
    /// Lengths equal.
    fn forward<S>(x: &[f32], targets: &[f32], out: &mut [f32]) {
        assert!(x.len() == out.len() && targets.len() == out.len());
        let (x, t, to) = (x.as_ptr(), targets.as_ptr(), out.as_mut_ptr());
        blocks::<S>(
            out.len(),
            |i| S::store(to.add(i), loss::<S>(S::load(x.add(i)), S::load(t.add(i)))),
            |i, n| S::store_part(to.add(i), loss::<S>(S::load_part(x.add(i), n), S::load_part(t.add(i), n)), n),
        );
    }
}

multiversion! {
    /// Lengths equal.
    fn backward<S>(x: &[f32], targets: &[f32], grad: &[f32], out: &mut [f32]) {
        assert!(x.len() == out.len() && targets.len() == out.len() && grad.len() == out.len());
        let (x, t, g, to) = (x.as_ptr(), targets.as_ptr(), grad.as_ptr(), out.as_mut_ptr());
        blocks::<S>(
            out.len(),
            |i| {
                let slope = slope::<S>(S::load(x.add(i)), S::load(t.add(i)));
                S::store(to.add(i), S::mul(slope, S::load(g.add(i))));
            },
            |i, n| {
                let slope = slope::<S>(S::load_part(x.add(i), n), S::load_part(t.add(i), n));
                S::store_part(to.add(i), S::mul(slope, S::load_part(g.add(i), n)), n);
            },
        );
    }
}
