//! From burn's CPU tensors to slices and back, and how work is shared among threads.

use burn::tensor::{DType, Shape, TensorData};
use burn_flex::FlexTensor;
use rayon::prelude::*;

/// True if a kernel can take all of these: the others go the composed way.
pub(crate) fn all_f32<'a>(tensors: impl IntoIterator<Item = &'a FlexTensor>) -> bool {
    tensors.into_iter().all(|tensor| tensor.dtype() == DType::F32)
}

/// The same tensor with its elements in order, copied only if they are not.
pub(crate) fn in_order(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().contiguous_offsets().is_some() { tensor } else { tensor.to_contiguous() }
}

/// The elements of a tensor that is [`in_order`].
///
/// # Panics
/// If it is not, or not `f32`: a bug in this crate.
pub(crate) fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("checked to be f32 and in order")
}

/// A tensor of these elements.
pub(crate) fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A vector of `len` elements of which none is set: each must be written before it is read.
///
/// Zeroing first would cost a pass over memory as long as many of the kernels take.
#[allow(clippy::uninit_vec)]
pub(crate) fn unset(len: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    // SAFETY: the capacity is `len`, any bit pattern is an `f32`, and every caller writes all elements before it reads one.
    unsafe { values.set_len(len) };
    values
}

/// Elements below which a second thread costs more than it saves.
pub(crate) const PARALLEL: usize = 16 * 1024;

/// Calls `work(first row, rows)` over pieces of `out`, whose rows have `row` elements, on as many threads as that pays for.
pub(crate) fn rows(out: &mut [f32], row: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if out.is_empty() || row == 0 {
        return;
    }
    let count = out.len() / row;
    let threads = rayon::current_num_threads();
    if out.len() < PARALLEL || count < 2 || threads < 2 {
        return work(0, out);
    }
    // Four pieces a thread: the end of one that started late costs little.
    let piece = count.div_ceil(threads * 4).max(1);
    out.par_chunks_mut(piece * row).enumerate().for_each(|(index, chunk)| work(index * piece, chunk));
}

/// Another float type, or back.
pub(crate) fn cast(tensor: FlexTensor, dtype: burn::tensor::FloatDType) -> FlexTensor {
    <burn_flex::Flex as burn::backend::ops::FloatTensorOps<burn_flex::Flex>>::float_cast(tensor, dtype)
}
