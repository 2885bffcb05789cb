//! Attention on slices.
//!
//! One head of one element of the batch at a time: its keys are laid out so that vectors run over keys, then tiles of queries
//! go through product, softmax and product while they are in cache. The matrix of logits exists a tile at a time only.

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{DType, Shape};
use burn_flex::{FlexTensor, Layout};
use rayon::prelude::*;

use super::backward::{Results, Source};
use super::product::product;
use super::tiles::{Factors, TileTerms, copy_rows, padded, scatter_rows, softmax, spread, transpose};
use super::{AttentionGrads, AttentionOps, AttentionTerms, BiasGrads, composed};
use crate::flex;
use crate::isa::Isa;
use crate::maybe::MaybeTensor;
use crate::shared::Shared;

impl AttentionOps for Flex {
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        terms: AttentionTerms<Self>,
        scale: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if !takes([&q, &k, &v], &terms) {
            return composed::attention::<Self>(q, k, v, terms, scale);
        }
        let (q, k, v) = (rows_in_order(q), rows_in_order(k), rows_in_order(v));
        let terms = Terms::new(&terms);
        let job = Job::new(&q, &k, Some(&v), &terms, scale as f32);
        job.forward_all()
    }

    fn fused_attention_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        terms: AttentionTerms<Self>,
        scale: f64,
        out: FloatTensor<Self>,
        log_sum: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        wanted: BiasGrads,
    ) -> AttentionGrads<Self> {
        if !takes([&q, &k, &v, &out, &log_sum, &grad], &terms) {
            return composed::attention_backward::<Self>([q, k, v], terms, scale, [out, log_sum, grad], wanted);
        }
        let (q, k, v) = (rows_in_order(q), rows_in_order(k), rows_in_order(v));
        let (out, grad, log_sum) = (rows_in_order(out), rows_in_order(grad), flex::in_order(log_sum));
        let terms = Terms::new(&terms);
        let job = Job::new(&q, &k, Some(&v), &terms, scale as f32);
        let (out, grad) = (Heads::new(&out), Heads::new(&grad));
        let results = Results { out, grad, log_sums: flex::slice(&log_sum) };
        job.backward_all(&Source::Output(results), wanted)
    }

    fn fused_attention_weights(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        terms: AttentionTerms<Self>,
        scale: f64,
    ) -> FloatTensor<Self> {
        if !takes([&q, &k], &terms) {
            return composed::weights::<Self>(q, k, terms, scale);
        }
        let (q, k, terms) = (rows_in_order(q), rows_in_order(k), Terms::new(&terms));
        let job = Job::new(&q, &k, None, &terms, scale as f32);
        job.weights_all()
    }

    fn fused_attention_weights_backward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        terms: AttentionTerms<Self>,
        scale: f64,
        grad: FloatTensor<Self>,
        wanted: BiasGrads,
    ) -> AttentionGrads<Self> {
        if !takes([&q, &k, &grad], &terms) {
            return composed::weights_backward::<Self>([q, k], terms, scale, grad, wanted);
        }
        let (q, k, grad, terms) = (rows_in_order(q), rows_in_order(k), flex::in_order(grad), Terms::new(&terms));
        let job = Job::new(&q, &k, None, &terms, scale as f32);
        job.backward_all(&Source::Weights(flex::slice(&grad)), wanted)
    }
}

/// True if the kernels can take these. Empty ones are left to the composed body, which knows them.
fn takes<'a>(tensors: impl IntoIterator<Item = &'a FlexTensor>, terms: &'a AttentionTerms<Flex>) -> bool {
    let terms = [&terms.pair, &terms.mask, &terms.key].map(|term| term.as_option());
    tensors
        .into_iter()
        .chain(terms.into_iter().flatten())
        .all(|tensor| tensor.dtype() == DType::F32 && tensor.layout().num_elements() > 0)
}

/// The same tensor with the elements of the last dimension side by side, copied only if they are not.
fn rows_in_order(tensor: FlexTensor) -> FlexTensor {
    let (shape, strides) = (tensor.layout().shape(), tensor.layout().strides());
    let last = strides.len() - 1;
    let in_order = (shape[last] == 1 || strides[last] == 1) && strides.iter().all(|stride| *stride >= 0);
    if in_order { tensor } else { tensor.to_contiguous() }
}

/// A `[B, G, N, E]` view of elements that lie as `[B, N, G, E]`.
pub(super) fn by_head(values: Vec<f32>, [b, n, g, e]: [usize; 4]) -> FlexTensor {
    let strides = [n * g * e, e, g * e, 1].map(|stride| stride as isize);
    flex::tensor(values, [b, n, g, e]).with_layout(Layout::new(Shape::from([b, g, n, e]), strides.to_vec(), 0))
}

/// A `[B, G, rows, width]` tensor whose rows are in order.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    data: &'a [f32],
    steps: [usize; 3],
}

impl<'a> Heads<'a> {
    pub(super) fn new(tensor: &'a FlexTensor) -> Self {
        let layout = tensor.layout();
        let strides = layout.strides();
        Self {
            data: &tensor.storage::<f32>()[layout.start_offset()..],
            steps: [strides[0] as usize, strides[1] as usize, strides[2] as usize],
        }
    }

    /// From this row on.
    pub(super) fn rows(&self, b: usize, g: usize, row: usize) -> &'a [f32] {
        &self.data[b * self.steps[0] + g * self.steps[1] + row * self.steps[2]..]
    }

    pub(super) fn step(&self) -> usize {
        self.steps[2]
    }
}

/// The biases in order.
pub(super) struct Terms {
    pair: Option<FlexTensor>,
    mask: Option<FlexTensor>,
    key: Option<FlexTensor>,
}

impl Terms {
    fn new(terms: &AttentionTerms<Flex>) -> Self {
        let in_order = |term: &MaybeTensor<Flex>| term.as_option().cloned().map(flex::in_order);
        Self { pair: in_order(&terms.pair), mask: in_order(&terms.mask), key: in_order(&terms.key) }
    }
}

/// Sixteen elements on a cache line of their own.
#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line(#[allow(dead_code, reason = "read as a slice of f32")] [f32; 16]);

/// Memory of one thread for one head; kept for the next.
#[derive(Default)]
pub(super) struct Scratch(Vec<Line>);

impl Scratch {
    /// Pieces of these lengths, each beginning on a cache line, with whatever is in them.
    pub(super) fn pieces<const P: usize>(&mut self, lens: [usize; P]) -> [&mut [f32]; P] {
        let lens = lens.map(padded);
        let lines = lens.iter().sum::<usize>() / 16;
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        // SAFETY: a line is sixteen `f32` without gaps.
        let mut rest: &mut [f32] =
            unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * 16) };
        lens.map(|len| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(len);
            rest = after;
            piece
        })
    }
}

thread_local! {
    static SCRATCH: std::cell::RefCell<Scratch> = std::cell::RefCell::default();
}

/// Multiplications below which a second thread costs more than it saves.
const PARALLEL: usize = 1 << 20;

/// Elements of a tile of logits, at most: it stays in the second cache beside keys and values.
const TILE: usize = 32 * 1024;

/// Sizes and inputs.
pub(super) struct Job<'a> {
    pub(super) isa: Isa,
    pub(super) b: usize,
    pub(super) g: usize,
    pub(super) n: usize,
    pub(super) l: usize,
    pub(super) e: usize,
    pub(super) f: usize,
    pub(super) scale: f32,
    pub(super) q: Heads<'a>,
    pub(super) k: Heads<'a>,
    pub(super) v: Heads<'a>,
    pub(super) terms: &'a Terms,
    /// Queries at a time.
    pub(super) tile: usize,
    /// Distance of rows whose elements are keys.
    pub(super) wide: usize,
}

impl<'a> Job<'a> {
    fn new(q: &'a FlexTensor, k: &'a FlexTensor, v: Option<&'a FlexTensor>, terms: &'a Terms, scale: f32) -> Self {
        let [b, g, n, e] = q.layout().shape().dims();
        let [_, _, l, f] = v.unwrap_or(k).layout().shape().dims();
        let wide = spread(l);
        let tile = (TILE / wide / 8 * 8).clamp(8, 64).min(n);
        let (q, k, v) = (Heads::new(q), Heads::new(k), Heads::new(v.unwrap_or(k)));
        Self { isa: Isa::detect(), b, g, n, l, e, f, scale, q, k, v, terms, tile, wide }
    }

    /// Calls `work` for every task, on several threads if that pays.
    pub(super) fn each(&self, tasks: usize, work: impl Fn(usize, &mut Scratch) + Sync) {
        let work = |task: usize| SCRATCH.with_borrow_mut(|scratch| work(task, scratch));
        let products = self.b * self.g * self.n * self.l * (self.e + self.f);
        if products < PARALLEL || tasks < 2 || rayon::current_num_threads() < 2 {
            (0..tasks).for_each(work);
        } else {
            (0..tasks).into_par_iter().for_each(work);
        }
    }

    /// Into how many parts the queries of a head are cut, so that there are tasks enough for many threads. Depends on sizes only: so do results.
    pub(super) fn parts(&self) -> usize {
        (16 / (self.b * self.g)).min(self.n / 128).max(1)
    }

    /// The key bias of one element of the batch, `-inf` after the last key.
    pub(super) fn key_row(&self, b: usize, row: &mut [f32]) {
        match &self.terms.key {
            Some(key) => row[..self.l].copy_from_slice(&flex::slice(key)[b * self.l..][..self.l]),
            None => row[..self.l].fill(0.0),
        }
        row[self.l..].fill(f32::NEG_INFINITY);
    }

    /// The other biases from this query on.
    pub(super) fn tile_terms<'s>(&'s self, b: usize, g: usize, row: usize, key: &'s [f32]) -> TileTerms<'s> {
        let pair = self.terms.pair.as_ref().map(|pair| &flex::slice(pair)[self.pair_entry(b, g) * self.n * self.l..]);
        let mask = self.terms.mask.as_ref().map(|mask| {
            let entries = mask.layout().shape()[0];
            &flex::slice(mask)[(b % entries) * self.n * self.l..]
        });
        let from_row = |term: &'s [f32]| &term[row * self.l..];
        TileTerms { key, pair: pair.map(from_row), mask: mask.map(from_row) }
    }

    /// Which `[N, L]` matrix of the pair bias a head uses.
    fn pair_entry(&self, b: usize, g: usize) -> usize {
        let [entries, heads] = self.pair_sizes();
        (b % entries) * heads + g % heads
    }

    /// Windows and heads of the pair bias.
    pub(super) fn pair_sizes(&self) -> [usize; 2] {
        let shape = self.terms.pair.as_ref().expect("there is a pair bias").layout().shape();
        [shape[0], shape[1]]
    }

    /// Output and logarithms of sums.
    fn forward_all(&self) -> (FlexTensor, FlexTensor) {
        let Self { b, g, n, f, .. } = *self;
        let mut out = flex::unset(b * n * g * f);
        let mut log_sums = flex::unset(b * g * n);
        {
            let (out, log_sums) = (Shared::new(&mut out), Shared::new(&mut log_sums));
            let parts = self.parts();
            self.each(b * g * parts, |task, scratch| {
                let (head, part) = (task / parts, task % parts);
                let rows = part * n / parts..(part + 1) * n / parts;
                self.forward(head / g, head % g, rows, scratch, &out, &log_sums);
            });
        }
        (by_head(out, [b, n, g, f]), flex::tensor(log_sums, [b, g, n]))
    }

    /// Weights averaged over heads.
    fn weights_all(&self) -> FlexTensor {
        let Self { b, n, l, .. } = *self;
        let mut out = flex::unset(b * n * l);
        {
            let out = Shared::new(&mut out);
            let parts = (16 / b).min(n / 16).max(1);
            self.each(b * parts, |task, scratch| {
                let (b, part) = (task / parts, task % parts);
                self.weights(b, part * n / parts..(part + 1) * n / parts, scratch, &out);
            });
        }
        flex::tensor(out, [b, n, l])
    }

    fn forward(
        &self,
        b: usize,
        g: usize,
        rows: std::ops::Range<usize>,
        scratch: &mut Scratch,
        out: &Shared,
        log_sums: &Shared,
    ) {
        let (isa, wide, f) = (self.isa, self.wide, padded(self.f));
        let [keys, values, key, tile, sums, inverse] =
            scratch.pieces([self.e * wide, self.l * f, padded(self.l), self.tile * wide, self.tile * f, self.tile]);
        transpose(isa, self.k.rows(b, g, 0), self.k.step(), self.l, self.e, keys, wide);
        // For a few queries a copy of the values costs more than reading rows that are far apart.
        let (values, values_row) = if rows.len() <= 16 && self.f == f {
            (self.v.rows(b, g, 0), self.v.step())
        } else {
            copy_rows(isa, self.v.rows(b, g, 0), self.v.step(), self.l, self.f, values, f, 1.0);
            (&*values, f)
        };
        self.key_row(b, key);
        for start in rows.clone().step_by(self.tile) {
            let count = self.tile.min(rows.end - start);
            let q_steps = [self.q.step(), 1];
            let columns = padded(self.l);
            product(isa, [count, columns, self.e], self.q.rows(b, g, start), q_steps, keys, wide, tile, wide, false);
            // SAFETY: every task has queries of its own.
            let logs = unsafe { log_sums.range((b * self.g + g) * self.n + start, count) };
            let terms = self.tile_terms(b, g, start, key);
            softmax(isa, tile, wide, self.l, self.scale, &terms, &mut inverse[..count], logs);
            product(isa, [count, f, self.l], tile, [wide, 1], values, values_row, sums, f, false);
            let (to, step) = ((b * self.n + start) * self.g + g, self.g * self.f);
            let factors = Factors::Rows(&inverse[..count]);
            scatter_rows(isa, sums, f, out, to * self.f, step, count, self.f, factors, false);
        }
    }

    /// The weights of some queries, averaged over heads, one head after the other.
    fn weights(&self, b: usize, rows: std::ops::Range<usize>, scratch: &mut Scratch, out: &Shared) {
        let (isa, wide, l) = (self.isa, self.wide, self.l);
        let [keys, key, tile, inverse, logs] =
            scratch.pieces([self.e * wide, padded(l), self.tile * wide, self.tile, self.tile]);
        self.key_row(b, key);
        for g in 0..self.g {
            transpose(isa, self.k.rows(b, g, 0), self.k.step(), l, self.e, keys, wide);
            for start in rows.clone().step_by(self.tile) {
                let count = self.tile.min(rows.end - start);
                let (q, q_steps) = (self.q.rows(b, g, start), [self.q.step(), 1]);
                product(isa, [count, padded(l), self.e], q, q_steps, keys, wide, tile, wide, false);
                let (terms, inverse) = (self.tile_terms(b, g, start, key), &mut inverse[..count]);
                softmax(isa, tile, wide, l, self.scale, &terms, inverse, &mut logs[..count]);
                inverse.iter_mut().for_each(|factor| *factor /= self.g as f32);
                // Every task has queries of its own.
                let to = (b * self.n + start) * l;
                scatter_rows(isa, tile, wide, out, to, l, count, l, Factors::Rows(inverse), g > 0);
            }
        }
    }
}

/// The sum of `parts` tensors that lie one after the other, in their order.
pub(super) fn sum_parts(mut values: Vec<f32>, parts: usize) -> Vec<f32> {
    let len = values.len() / parts.max(1);
    let (sum, others) = values.split_at_mut(len);
    for other in others.chunks_exact(len.max(1)) {
        sum.iter_mut().zip(other).for_each(|(sum, value)| *sum += value);
    }
    values.truncate(len);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between -1 and 1 without a pattern that matters.
    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| (((i * 37 + salt) * 7919) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    fn values(tensor: FlexTensor) -> Vec<f32> {
        flex::slice(&flex::in_order(tensor)).to_vec()
    }

    #[test]
    fn every_instruction_set_gives_the_same() {
        for [b, g, n, l, e, f] in [[2, 3, 9, 21, 7, 18], [1, 2, 130, 37, 32, 16], [4, 1, 1, 5, 16, 33]] {
            let heads =
                |rows: usize, width: usize, salt| by_head(numbers(b * rows * g * width, salt), [b, rows, g, width]);
            let (q, k, v, grad) = (heads(n, e, 1), heads(l, e, 2), heads(l, f, 3), heads(n, f, 4));
            let terms = Terms {
                pair: Some(flex::tensor(numbers(g * n * l, 5), [1, g, n, l])),
                mask: Some(flex::tensor(numbers(n * l, 6), [1, n, l])),
                key: Some(flex::tensor(numbers(b * l, 7), [b, l])),
            };
            let map_grad = numbers(b * n * l, 8);
            let run = |isa| {
                let job = Job { isa, ..Job::new(&q, &k, Some(&v), &terms, 0.4) };
                let wanted = BiasGrads { pair: true, key: true };
                let (out, log_sums) = job.forward_all();
                let results =
                    Results { out: Heads::new(&out), grad: Heads::new(&grad), log_sums: flex::slice(&log_sums) };
                let of_output = job.backward_all(&Source::Output(results), wanted);
                let job = Job { isa, ..Job::new(&q, &k, None, &terms, 0.4) };
                let (weights, of_weights) = (job.weights_all(), job.backward_all(&Source::Weights(&map_grad), wanted));
                let mut all = vec![out, log_sums, weights];
                for grads in [of_output, of_weights] {
                    all.extend([grads.q, grads.k]);
                    all.extend([grads.v, grads.pair, grads.key].into_iter().filter_map(MaybeTensor::into_option));
                }
                all.into_iter().map(values).collect::<Vec<_>>()
            };
            let want = run(Isa::Portable);
            for isa in Isa::available() {
                for (index, (got, want)) in run(isa).iter().zip(&want).enumerate() {
                    assert_eq!(got.len(), want.len());
                    let near = got.iter().zip(want).all(|(got, want)| (got - want).abs() < 2e-5);
                    assert!(near, "{isa:?}: result {index} of {b} {g} {n} {l} {e} {f}");
                }
            }
        }
    }
}
