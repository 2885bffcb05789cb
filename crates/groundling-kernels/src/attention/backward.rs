//! Gradients of attention on slices: tiles are computed again, so that nothing of the size of the logits is kept.

use burn::backend::Flex;

use super::flex::{Heads, Job, Scratch, by_head, sum_parts};
use super::product::product;
use super::tiles::{Factors, Slopes, copy_rows, dots, gradient, padded, scatter_rows, softmax, transpose};
use super::{AttentionGrads, BiasGrads};
use crate::flex;
use crate::shared::Shared;

/// What the gradient is of.
pub(super) enum Source<'a> {
    /// The output of attention.
    Output(Results<'a>),
    /// The weights averaged over heads: their gradient, `[B, N, L]`.
    Weights(&'a [f32]),
}

/// Output, its gradient and the logarithms of sums.
pub(super) struct Results<'a> {
    pub(super) out: Heads<'a>,
    pub(super) grad: Heads<'a>,
    pub(super) log_sums: &'a [f32],
}

/// Where gradients go. Keys, values and key bias have one copy for each part of the queries.
struct Gradients {
    q: Shared,
    k: Shared,
    v: Shared,
    key: Shared,
}

impl Job<'_> {
    /// Every gradient that is wanted.
    pub(super) fn backward_all(&self, source: &Source<'_>, wanted: BiasGrads) -> AttentionGrads<Flex> {
        let Self { b, g, n, l, e, f, .. } = *self;
        let parts = if wanted.pair { 1 } else { self.parts() };
        let mut dq = flex::unset(b * n * g * e);
        let mut dk = flex::unset(parts * b * l * g * e);
        let with_values = matches!(source, Source::Output(_));
        let mut dv = if with_values { flex::unset(parts * b * l * g * f) } else { Vec::new() };
        let mut key = if wanted.key { flex::unset(parts * b * g * l) } else { Vec::new() };
        let mut pair = Vec::new();
        {
            let to = Gradients {
                q: Shared::new(&mut dq),
                k: Shared::new(&mut dk),
                v: Shared::new(&mut dv),
                key: Shared::new(&mut key),
            };
            if wanted.pair {
                pair = self.backward_with_pair(source, &to);
            } else {
                self.each(b * g * parts, |task, scratch| {
                    let (head, part) = (task / parts, task % parts);
                    let rows = part * n / parts..(part + 1) * n / parts;
                    self.backward([head / g, head % g, part], rows, source, scratch, &to, &mut []);
                });
            }
        }
        let pair = wanted.pair.then(|| {
            let [entries, heads] = self.pair_sizes();
            flex::tensor(pair, [entries, heads, n, l])
        });
        let key = wanted.key.then(|| {
            let mut sums = vec![0.0; b * l];
            let per_head = sum_parts(key, parts);
            for (sums, heads) in sums.chunks_exact_mut(l).zip(per_head.chunks_exact(g * l)) {
                heads.chunks_exact(l).for_each(|head| sums.iter_mut().zip(head).for_each(|(sum, value)| *sum += value));
            }
            flex::tensor(sums, [b, l])
        });
        AttentionGrads {
            q: by_head(dq, [b, n, g, e]),
            k: by_head(sum_parts(dk, parts), [b, l, g, e]),
            v: with_values.then(|| by_head(sum_parts(dv, parts), [b, l, g, f])).into(),
            pair: pair.into(),
            key: key.into(),
        }
    }

    /// The gradient of the pair bias: what uses the same matrix is summed in one task, in order, or in a few whose sums are added in order.
    fn backward_with_pair(&self, source: &Source<'_>, to: &Gradients) -> Vec<f32> {
        let [entries, heads] = self.pair_sizes();
        let (matrices, size) = (entries * heads, self.n * self.l);
        let users = self.b * self.g / matrices;
        let parts = 16usize.div_ceil(matrices).min(users);
        let mut sums = vec![0.0; parts * matrices * size];
        {
            let sums = Shared::new(&mut sums);
            self.each(matrices * parts, |task, scratch| {
                let (matrix, part) = (task % matrices, task / matrices);
                // SAFETY: one matrix and part for each task.
                let sum = unsafe { sums.range(task * size, size) };
                for user in part * users / parts..(part + 1) * users / parts {
                    // Users are numbered with heads fastest where they share a matrix.
                    let shared = self.g / heads;
                    let b = user / shared * entries + matrix / heads;
                    let g = if heads == 1 { user % shared } else { matrix % heads };
                    self.backward([b, g, 0], 0..self.n, source, scratch, to, sum);
                }
            });
        }
        sum_parts(sums, parts)
    }

    /// Writes rows of [`padded`] width, times `factor`, into a `[B, rows, G, width]` tensor from `[b, row, g]` on.
    ///
    /// No other task may write these rows of this head.
    fn put(&self, to: &Shared, [b, row, g]: [usize; 3], [rows, count, width]: [usize; 3], from: &[f32], factor: f32) {
        let step = self.g * width;
        let start = (b * rows + row) * step + g * width;
        scatter_rows(self.isa, from, padded(width), to, start, step, count, width, Factors::Same(factor), false);
    }

    fn backward(
        &self,
        [b, g, part]: [usize; 3],
        rows: std::ops::Range<usize>,
        source: &Source<'_>,
        scratch: &mut Scratch,
        to: &Gradients,
        pair: &mut [f32],
    ) {
        let (isa, wide, l) = (self.isa, self.wide, self.l);
        let (e, f, columns) = (padded(self.e), padded(self.f), padded(self.l));
        let wants_key = !to.key.is_empty();
        let [keys, values, keys_by_row, dk, dv, tile, slopes, q, grad, dq, key, key_sum, along, logs, inverse] =
            scratch.pieces([
                self.e * wide,
                self.f * wide,
                l * e,
                l * e,
                l * f,
                self.tile * wide,
                self.tile * wide,
                self.tile * e,
                self.tile * f,
                self.tile * e,
                columns,
                if wants_key { columns } else { 0 },
                self.tile,
                self.tile,
                self.tile,
            ]);
        transpose(isa, self.k.rows(b, g, 0), self.k.step(), l, self.e, keys, wide);
        let wants_values = matches!(source, Source::Output(_));
        if wants_values {
            transpose(isa, self.v.rows(b, g, 0), self.v.step(), l, self.f, values, wide);
        }
        copy_rows(isa, self.k.rows(b, g, 0), self.k.step(), l, self.e, keys_by_row, e, 1.0);
        self.key_row(b, key);
        key_sum.fill(0.0);
        for start in rows.clone().step_by(self.tile) {
            let count = self.tile.min(rows.end - start);
            let first = start == rows.start;
            copy_rows(isa, self.q.rows(b, g, start), self.q.step(), count, self.e, q, e, self.scale);
            product(isa, [count, columns, self.e], q, [e, 1], keys, wide, tile, wide, false);
            let terms = self.tile_terms(b, g, start, key);
            let (along, logs) = (&mut along[..count], &mut logs[..count]);
            match source {
                Source::Output(results) => {
                    let (from, from_row) = (results.grad.rows(b, g, start), results.grad.step());
                    copy_rows(isa, from, from_row, count, self.f, grad, f, 1.0);
                    dots(isa, grad, f, results.out.rows(b, g, start), results.out.step(), self.f, along);
                    product(isa, [count, columns, self.f], grad, [f, 1], values, wide, slopes, wide, false);
                    logs.copy_from_slice(&results.log_sums[(b * self.g + g) * self.n + start..][..count]);
                }
                Source::Weights(map) => {
                    let from = &map[(b * self.n + start) * l..];
                    copy_rows(isa, from, l, count, l, slopes, wide, 1.0 / self.g as f32);
                    softmax(isa, tile, wide, l, 1.0, &terms, &mut inverse[..count], logs);
                    dots(isa, tile, wide, slopes, wide, l, along);
                    along.iter_mut().zip(&*inverse).for_each(|(along, inverse)| *along *= inverse);
                    product(isa, [count, columns, self.e], q, [e, 1], keys, wide, tile, wide, false);
                }
            }
            let pair = if pair.is_empty() { &mut [] } else { &mut pair[start * l..] };
            gradient(isa, tile, slopes, wide, l, 1.0, &terms, &Slopes { log_sums: logs, along }, pair, key_sum);
            product(isa, [count, e, l], slopes, [wide, 1], keys_by_row, e, dq, e, false);
            product(isa, [l, e, count], slopes, [1, wide], q, e, dk, e, !first);
            if wants_values {
                product(isa, [l, f, count], tile, [1, wide], grad, f, dv, f, !first);
            }
            // Every task has heads, or queries of a head and a part, of its own.
            self.put(&to.q, [b, start, g], [self.n, count, self.e], dq, self.scale);
        }
        let batch = part * self.b + b;
        self.put(&to.k, [batch, 0, g], [l, l, self.e], dk, 1.0);
        if wants_values {
            self.put(&to.v, [batch, 0, g], [l, l, self.f], dv, 1.0);
        }
        if wants_key {
            // SAFETY: as said above.
            unsafe { to.key.range((batch * self.g + g) * l, l) }.copy_from_slice(&key_sum[..l]);
        }
    }
}
