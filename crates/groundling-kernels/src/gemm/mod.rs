//! Products of `f32` matrices with what follows them, on rearranged operands.
//!
//! `C = A B`: the rows of A are cut into *strips* of up to 14, the columns of B into *panels* of 32 (with AVX-512), both rearranged so that the
//! innermost loop reads straight ahead, and the depth into blocks so that a panel stays in the first-level cache while the strips of
//! a block of A pass by (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication").

pub(crate) mod epilogue;
pub(crate) mod kernel;
pub(crate) mod pack;
pub(crate) mod scratch;

use rayon::prelude::*;

use crate::isa::Isa;
use crate::shared::Shared;
pub(crate) use epilogue::{Epilogue, Rows};
use kernel::{Call, Tile};
pub(crate) use pack::View;

/// Depth of a block: a panel of it takes 32 of the 48 KB that first-level caches have today.
pub(crate) const DEPTH: usize = 256;

/// Rows of A that a task rearranges at once: with [`DEPTH`] 168 KB, a part of the second-level cache.
const ROWS: usize = 168;

/// Multiplications below which a second thread does not pay.
const SERIAL: usize = 1 << 17;

/// Rows up to which a plain B is read where it lies: rearranging it would cost as much as the product.
const DIRECT_ROWS: usize = 28;

/// The right operand.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Right<'a> {
    /// As it lies in memory.
    Plain(View),
    /// As [`pack_right`] made it, on the same instruction set.
    Packed(&'a [f32]),
}

/// Length of what [`pack_right`] makes of a matrix of `depth` rows by `columns`.
pub(crate) fn packed_len(isa: Isa, depth: usize, columns: usize) -> usize {
    let width = Tile::of(isa).columns;
    columns.div_ceil(width) * width * depth
}

/// Rearranges B into panels: `to[(panel * depth + k) * width + column]`, filled up with zeros.
///
/// # Safety
/// `b` is valid for `depth` by `columns`.
pub(crate) unsafe fn pack_right(isa: Isa, b: View, depth: usize, columns: usize, to: &mut [f32]) {
    assert_eq!(to.len(), packed_len(isa, depth, columns));
    if depth == 0 {
        return;
    }
    let width = Tile::of(isa).columns;
    let pack = |(panel, to): (usize, &mut [f32])| {
        let count = (columns - panel * width).min(width);
        // SAFETY: the panel lies inside the matrix, `to` has `depth * width` elements.
        unsafe { pack::interleave(isa, b.from(0, panel * width).transposed(), count, depth, to.as_mut_ptr(), width) };
    };
    if to.len() < crate::flex::PARALLEL {
        to.chunks_mut(depth * width).enumerate().for_each(pack);
    } else {
        to.par_chunks_mut(depth * width).enumerate().for_each(pack);
    }
}

/// `C = epilogue(A B)` with C `rows` by `columns`, one row after the other.
///
/// # Safety
/// `a` is valid for `rows` by `depth`, a plain `b` for `depth` by `columns`.
pub(crate) unsafe fn product(
    isa: Isa,
    [rows, columns, depth]: [usize; 3],
    a: View,
    b: Right<'_>,
    c: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    assert_eq!(c.len(), rows * columns);
    if c.is_empty() {
        return;
    }
    if depth == 0 {
        c.fill(0.0);
        // SAFETY: C is all of it.
        let all = Rows { data: c.as_mut_ptr(), stride: columns };
        unsafe { epilogue.apply(isa, all, [0, 0], [rows, columns]) };
        return;
    }
    let width = Tile::of(isa).columns;
    let c = Shared::new(c);
    let job = |b| Product { isa, rows, columns, depth, a, b, c, epilogue };
    // SAFETY: as the caller promises; scratch holds what is packed into it.
    unsafe {
        match b {
            Right::Packed(packed) => {
                assert_eq!(packed.len(), packed_len(isa, depth, columns), "packed for another shape or machine");
                let panels = Panels { data: packed.as_ptr(), stride: width, panel: depth * width, tail: None };
                job(panels).run();
            }
            Right::Plain(view) if rows <= DIRECT_ROWS && view.column_stride == 1 => {
                // The last panel, if it has not all its columns, is copied: a kernel reads them all.
                let rest = columns % width;
                let mut tail = scratch::take(if rest > 0 { depth * width } else { 0 });
                if rest > 0 {
                    let last = view.from(0, columns - rest).transposed();
                    pack::interleave(isa, last, rest, depth, tail.as_mut_ptr(), width);
                }
                let tail_of = (rest > 0).then(|| (columns / width, tail.as_ptr()));
                job(Panels { data: view.data, stride: view.row_stride, panel: width, tail: tail_of }).run();
            }
            Right::Plain(view) => {
                let mut packed = scratch::take(packed_len(isa, depth, columns));
                pack_right(isa, view, depth, columns, &mut packed);
                job(Panels { data: packed.as_ptr(), stride: width, panel: depth * width, tail: None }).run();
            }
        }
    }
}

/// Where the panels of B are.
#[derive(Clone, Copy)]
struct Panels {
    data: *const f32,
    /// From one row of a panel to the next.
    stride: usize,
    /// From one panel to the next.
    panel: usize,
    /// The last panel, if it lies elsewhere: its number and its rows, one behind the other.
    tail: Option<(usize, *const f32)>,
}

/// A part of the depth, as it is multiplied.
struct Block {
    /// Its part of A, strip by strip.
    packed: *const f32,
    start: usize,
    depth: usize,
    /// The rows of B that are read after it.
    ahead: *const f32,
}

struct Product<'a> {
    isa: Isa,
    rows: usize,
    columns: usize,
    depth: usize,
    a: View,
    b: Panels,
    c: Shared,
    epilogue: &'a Epilogue<'a>,
}

// SAFETY: the pointers are read, but for `c`, of which every task writes its own rows and columns.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// Cuts C into tasks and runs them.
    unsafe fn run(&self) {
        let tile = Tile::of(self.isa);
        let panels = self.columns.div_ceil(tile.columns);
        let threads = rayon::current_num_threads();
        if threads < 2 || self.rows * self.columns * self.depth < SERIAL {
            for start in (0..self.rows).step_by(ROWS) {
                // SAFETY: the only task.
                unsafe { self.task(start..(start + ROWS).min(self.rows), 0..panels) };
            }
            return;
        }
        let by_rows = self.rows.div_ceil(threads * ROWS) * threads;
        let (row_tasks, panel_tasks) =
            if self.rows >= threads * 3 * tile.rows { (by_rows, 1) } else { (1, panels.min(2 * threads)) };
        let rows = self.rows.div_ceil(row_tasks).next_multiple_of(tile.rows.min(2));
        (0..row_tasks * panel_tasks).into_par_iter().with_max_len(1).for_each(|index| {
            let (row, part) = (index / panel_tasks, index % panel_tasks);
            let range = (row * rows).min(self.rows)..((row + 1) * rows).min(self.rows);
            let part = part * panels / panel_tasks..(part + 1) * panels / panel_tasks;
            // SAFETY: tasks differ in their rows or in their panels.
            unsafe { self.task(range, part) };
        });
    }

    /// `C[rows, panels]`.
    unsafe fn task(&self, rows: std::ops::Range<usize>, panels: std::ops::Range<usize>) {
        if rows.is_empty() || panels.is_empty() {
            return;
        }
        let tile = Tile::of(self.isa);
        let strips = Strips::new(rows.len(), tile.rows);
        // Sums are always cut at the same places, so that a row's result does not depend on the rows beside it. With few rows several blocks of A
        // fit beside the panels, and B is read straight ahead.
        let chunk = if rows.len() <= 2 * tile.rows { 4 * DEPTH } else { DEPTH };
        scratch::local(rows.len() * chunk.min(self.depth), |packed| {
            for chunk_start in (0..self.depth).step_by(chunk) {
                let chunk_end = (chunk_start + chunk).min(self.depth);
                let blocks =
                    || (chunk_start..chunk_end).step_by(DEPTH).map(|start| (start, (chunk_end - start).min(DEPTH)));
                for ((start, depth), (row, count)) in
                    blocks().flat_map(|block| strips.iter().map(move |strip| (block, strip)))
                {
                    // SAFETY: rows and depth are inside A, the strips of a block fill `rows.len() * depth` elements behind those of the blocks before.
                    unsafe {
                        let from = self.a.from(rows.start + row, start);
                        let to = packed.add((start - chunk_start) * rows.len() + row * depth);
                        pack::interleave(self.isa, from, count, depth, to, count);
                    }
                }
                for panel in panels.clone() {
                    for (start, depth) in blocks() {
                        // What is read after this: the panel's next block, the next panel, or the first one of the next chunk.
                        let end = start + depth;
                        let [next, from] = if end < chunk_end {
                            [panel, end]
                        } else if panel + 1 < panels.end {
                            [panel + 1, chunk_start]
                        } else {
                            [panels.start, chunk_end]
                        };
                        let ahead = self.b.data.wrapping_add(next * self.b.panel + from * self.b.stride);
                        // SAFETY: the panel is one of B's, C has its rows and columns, and they are this task's alone.
                        unsafe {
                            let packed = packed.add((start - chunk_start) * rows.len());
                            let block = Block { packed, start, depth, ahead };
                            self.panel(&strips, rows.start, panel, &block);
                        }
                    }
                }
            }
        });
    }

    unsafe fn panel(&self, strips: &Strips, row: usize, panel: usize, block: &Block) {
        let width = Tile::of(self.isa).columns;
        let columns = (self.columns - panel * width).min(width);
        let &Block { packed, start, depth, ahead: lines } = block;
        // SAFETY: as the caller promises.
        unsafe {
            let (b, b_stride) = match self.b.tail {
                Some((tail, data)) if tail == panel => (data.add(start * width), width),
                _ => (self.b.data.add(panel * self.b.panel + start * self.b.stride), self.b.stride),
            };
            for (strip, (offset, count)) in strips.iter().enumerate() {
                // With AVX-512 a row of a panel is two cache lines: one for each of the first two strips.
                let ahead = if strip < 2 { lines.wrapping_add(strip * width / 2) } else { b };
                let c = self.c.add((row + offset) * self.columns + panel * width);
                let to = Rows { data: c, stride: self.columns };
                let call = Call {
                    rows: count,
                    columns,
                    depth,
                    a: packed.add(offset * depth),
                    b,
                    b_stride,
                    ahead,
                    c: to,
                    accumulate: start > 0,
                };
                let last = start + depth == self.depth;
                let at = [row + offset, panel * width];
                finish(self.isa, call, last.then_some((self.epilogue, at)));
            }
        }
    }
}

/// Runs a call and, if it was the last of its tile, what follows.
///
/// # Safety
/// As [`kernel::run`] and [`Epilogue::apply`].
#[inline]
pub(crate) unsafe fn finish(isa: Isa, call: Call, then: Option<(&Epilogue<'_>, [usize; 2])>) {
    // SAFETY: as the caller promises.
    unsafe {
        kernel::run(isa, &call);
        if let Some((epilogue, at)) = then {
            epilogue.apply(isa, call.c, at, [call.rows, call.columns]);
        }
    }
}

/// How many rows are cut into strips: as few as can be, of heights that differ by one at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strips {
    count: usize,
    rows: usize,
}

impl Strips {
    pub(crate) fn new(rows: usize, tallest: usize) -> Self {
        Self { count: rows.div_ceil(tallest), rows }
    }

    /// First row and number of rows of each.
    pub(crate) fn iter(self) -> impl Iterator<Item = (usize, usize)> {
        let (low, taller) = (self.rows / self.count.max(1), self.rows % self.count.max(1));
        (0..self.count).map(move |strip| (strip * low + strip.min(taller), low + usize::from(strip < taller)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: u32, len: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn strips_cover_all_rows_once() {
        for rows in 0..100 {
            let mut next = 0;
            for (start, count) in Strips::new(rows, 14).iter() {
                assert_eq!(start, next);
                assert!((1..=14).contains(&count));
                next += count;
            }
            assert_eq!(next, rows);
        }
    }

    /// The answer to one question does not change with those that are asked beside it.
    #[test]
    fn rows_do_not_depend_on_the_rows_beside_them() {
        let (n, k) = (70, 1300);
        let (a, b) = (values(4, 200 * k), values(5, k * n));
        for isa in Isa::available() {
            let product_of = |rows: usize| {
                let mut c = vec![f32::NAN; rows * n];
                // SAFETY: the views are as large as stated.
                unsafe {
                    let (a, b) = (View::rows(&a, k), Right::Plain(View::rows(&b, n)));
                    product(isa, [rows, n, k], a, b, &mut c, &Epilogue::default());
                }
                c
            };
            let all = product_of(200);
            for rows in [1, 11, 28, 29, 84, 170] {
                assert!(product_of(rows) == all[..rows * n], "{isa:?}: {rows} rows");
            }
        }
    }

    #[test]
    fn products_of_all_layouts_agree_with_the_definition() {
        let shapes = [
            [1, 1, 1],
            [3, 5, 7],
            [14, 32, 16],
            [15, 33, 17],
            [29, 64, 300],
            [60, 31, 40],
            [100, 70, 600],
            [2, 100, 1100],
            [400, 40, 20],
        ];
        for isa in Isa::available() {
            for [m, n, k] in shapes {
                let (a, b) = (values(1, m * k), values(2, k * n));
                let turned = |data: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                    (0..rows * columns).map(|i| data[i % rows * columns + i / rows]).collect()
                };
                let (a_turned, b_turned) = (turned(&a, m, k), turned(&b, k, n));
                let bias = values(3, n);
                let want: Vec<f32> = (0..m * n)
                    .map(|i| {
                        let sum: f64 = (0..k).map(|d| f64::from(a[i / n * k + d]) * f64::from(b[d * n + i % n])).sum();
                        sum as f32 + bias[i % n]
                    })
                    .collect();
                let mut packed = vec![0.0; packed_len(isa, k, n)];
                // SAFETY: the views are as large as stated.
                unsafe { pack_right(isa, View::rows(&b, n), k, n, &mut packed) };
                let lefts = [View::rows(&a, k), View::rows(&a_turned, m).transposed()];
                let rights = [
                    Right::Plain(View::rows(&b, n)),
                    Right::Plain(View::rows(&b_turned, k).transposed()),
                    Right::Packed(&packed),
                ];
                for (left, right) in lefts.into_iter().flat_map(|left| rights.map(|right| (left, right))) {
                    let mut c = vec![f32::NAN; m * n];
                    let epilogue = Epilogue { column_shift: Some(&bias), ..Epilogue::default() };
                    // SAFETY: as above.
                    unsafe { product(isa, [m, n, k], left, right, &mut c, &epilogue) };
                    for (got, want) in c.iter().zip(&want) {
                        assert!(
                            (got - want).abs() <= 1e-6 * (k as f32).sqrt().max(4.0),
                            "{isa:?} {m}x{n}x{k}: {got}, not {want}"
                        );
                    }
                }
            }
        }
    }
}
