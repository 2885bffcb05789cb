//! The kernel for the CPU.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::Shape;

use super::{Activation, LinearOps, composed};
use crate::flex::{self, all_f32, in_order, slice};
use crate::gemm::{self, Epilogue, Right, View};
use crate::isa::Isa;
use crate::maybe::MaybeTensor;
use crate::simd::{blocks, multiversion};

impl LinearOps for Flex {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: MaybeTensor<Self>,
        activation: Activation,
    ) -> FloatTensor<Self> {
        if !all_f32([&x, &weight].into_iter().chain(bias.as_option())) {
            return composed::linear::<Self>(x, weight, bias, activation);
        }
        let weight = matrix(weight);
        let columns = weight.shape()[1];
        forward(x, Right::Plain(view(&weight)), columns, bias, activation)
    }

    fn fused_linear_grad_input(grad: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32([&grad, &weight]) {
            return composed::grad_input::<Self>(grad, weight);
        }
        let weight = matrix(weight);
        let rows = weight.shape()[0];
        forward(grad, Right::Plain(view(&weight).transposed()), rows, MaybeTensor::Absent, Activation::Identity)
    }

    fn fused_linear_grad_weight(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32([&x, &grad]) {
            return composed::grad_weight::<Self>(x, grad);
        }
        let (x, grad) = (in_order(x), in_order(grad));
        let (inputs, outputs) = (last(&x.shape()), last(&grad.shape()));
        let rows = slice(&grad).len().checked_div(outputs).unwrap_or(0);
        let mut out = flex::unset(inputs * outputs);
        let (a, b) = (View::rows(slice(&x), inputs).transposed(), View::rows(slice(&grad), outputs));
        // SAFETY: both have `rows` rows, checked by the slices' lengths.
        unsafe {
            assert_eq!(slice(&x).len(), rows * inputs, "input and gradient have the same rows");
            gemm::product(Isa::detect(), [inputs, outputs, rows], a, Right::Plain(b), &mut out, &Epilogue::default());
        }
        flex::tensor(out, [inputs, outputs])
    }

    fn fused_linear_grad_bias(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32([&grad]) {
            return composed::grad_bias::<Self>(grad);
        }
        let grad = in_order(grad);
        let columns = last(&grad.shape());
        let mut out = vec![0.0; columns];
        sum_rows(Isa::detect(), slice(&grad), &mut out);
        flex::tensor(out, [columns])
    }

    fn fused_relu_backward(output: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32([&output, &grad]) {
            return <Self as burn::backend::ops::ActivationOps<Self>>::relu_backward(output, grad);
        }
        let (output, grad) = (in_order(output), in_order(grad));
        let (values, grads) = (slice(&output), slice(&grad));
        assert_eq!(values.len(), grads.len(), "the gradient has the shape of the output");
        let mut out = flex::unset(values.len());
        flex::rows(&mut out, 1, |start, out| {
            let range = start..start + out.len();
            relu_backward(Isa::detect(), &values[range.clone()], &grads[range], out);
        });
        flex::tensor(out, output.shape())
    }

    fn pack_linear(weight: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32([&weight]) {
            return weight;
        }
        let isa = Isa::detect();
        let weight = matrix(weight);
        let [depth, columns] = [weight.shape()[0], weight.shape()[1]];
        let mut packed = flex::unset(gemm::packed_len(isa, depth, columns));
        // SAFETY: the view is the tensor's.
        unsafe { gemm::pack_right(isa, view(&weight), depth, columns, &mut packed) };
        let len = packed.len();
        flex::tensor(packed, [len])
    }

    fn packed_linear(
        x: FloatTensor<Self>,
        packed: FloatTensor<Self>,
        bias: MaybeTensor<Self>,
        width: usize,
        activation: Activation,
    ) -> FloatTensor<Self> {
        let dtype = x.dtype();
        // A packed weight is f32: an input of another type is converted there and back.
        let x = if all_f32([&x]) { x } else { flex::cast(x, burn::tensor::FloatDType::F32) };
        let packed = in_order(packed);
        let out = forward(x, Right::Packed(slice(&packed)), width, bias, activation);
        if out.dtype() == dtype { out } else { flex::cast(out, dtype.into()) }
    }
}

fn forward(
    x: FloatTensor<Flex>,
    weight: Right<'_>,
    columns: usize,
    bias: MaybeTensor<Flex>,
    activation: Activation,
) -> FloatTensor<Flex> {
    let x = in_order(x);
    let mut shape = x.shape();
    let depth = last(&shape);
    let dims = shape.num_dims();
    let rows: usize = (0..dims - 1).map(|dim| shape[dim]).product();
    shape[dims - 1] = columns;
    let bias = bias.into_option().map(in_order);
    let epilogue = Epilogue { column_shift: bias.as_ref().map(slice), activation, ..Epilogue::default() };
    let mut out = flex::unset(rows * columns);
    // SAFETY: the slice of `x` has `rows * depth` elements; the weight's depth was checked by the public functions.
    unsafe {
        gemm::product(Isa::detect(), [rows, columns, depth], View::rows(slice(&x), depth), weight, &mut out, &epilogue);
    }
    flex::tensor(out, shape)
}

fn last(shape: &Shape) -> usize {
    shape[shape.num_dims() - 1]
}

/// A weight whose rows or columns lie side by side: in order, or the transposed view of one that is.
fn matrix(weight: FloatTensor<Flex>) -> FloatTensor<Flex> {
    let strides = weight.layout().strides();
    if strides.iter().all(|stride| *stride > 0) && strides.contains(&1) { weight } else { in_order(weight) }
}

fn view(weight: &FloatTensor<Flex>) -> View {
    let layout = weight.layout();
    let data = &weight.storage::<f32>()[layout.start_offset()..];
    let strides = layout.strides();
    View { data: data.as_ptr(), row_stride: strides[0] as usize, column_stride: strides[1] as usize }
}

multiversion! {
    /// Adds every row of `grad` to `out`, four rows at a time so that `out` is read and written a quarter as often.
    fn sum_rows<S>(grad: &[f32], out: &mut [f32]) {
        let columns = out.len();
        if columns == 0 {
            return;
        }
        let to = out.as_mut_ptr();
        for rows in grad.chunks(4 * columns) {
            let (from, count) = (rows.as_ptr(), rows.len() / columns);
            blocks::<S>(
                columns,
                |i| {
                    let mut sum = S::load(from.add(i));
                    for row in 1..count {
                        sum = S::add(sum, S::load(from.add(row * columns + i)));
                    }
                    S::store(to.add(i), S::add(S::load(to.add(i)), sum));
                },
                |i, n| {
                    let mut sum = S::load_part(from.add(i), n);
                    for row in 1..count {
                        sum = S::add(sum, S::load_part(from.add(row * columns + i), n));
                    }
                    S::store_part(to.add(i), S::add(S::load_part(to.add(i), n), sum), n);
                },
            );
        }
    }
}

multiversion! {
    fn relu_backward<S>(output: &[f32], grad: &[f32], out: &mut [f32]) {
        assert!(output.len() == out.len() && grad.len() == out.len());
        let (output, grad, to) = (output.as_ptr(), grad.as_ptr(), out.as_mut_ptr());
        let zero = S::splat(0.0);
        blocks::<S>(
            out.len(),
            |i| S::store(to.add(i), S::select_greater(S::load(output.add(i)), zero, S::load(grad.add(i)), zero)),
            |i, n| {
                let kept = S::select_greater(S::load_part(output.add(i), n), zero, S::load_part(grad.add(i), n), zero);
                S::store_part(to.add(i), kept, n);
            },
        );
    }
}
