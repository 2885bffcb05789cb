//! Memory for rearranged operands: aligned to cache lines, reused from call to call.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [f32; 16]);

const EMPTY: Line = Line([0.0; 16]);

/// Bytes that stay allocated between calls, at most; more is given back at once.
const KEPT: usize = 64 << 20;

static POOL: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// Memory that several threads share for one call; contents are left over from earlier ones.
#[derive(Debug)]
pub(crate) struct Scratch {
    lines: Vec<Line>,
    len: usize,
}

/// `len` elements.
pub(crate) fn take(len: usize) -> Scratch {
    let wanted = len.div_ceil(16);
    let mut lines =
        if len == 0 { Vec::new() } else { POOL.lock().ok().and_then(|mut pool| pool.pop()).unwrap_or_default() };
    if lines.len() < wanted {
        lines = vec![EMPTY; wanted];
    }
    Scratch { lines, len }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.lines.is_empty() {
            return;
        }
        if let Ok(mut pool) = POOL.lock() {
            let kept: usize = pool.iter().map(Vec::len).sum();
            if (kept + self.lines.len()) * size_of::<Line>() <= KEPT {
                pool.push(std::mem::take(&mut self.lines));
            }
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: the lines hold at least `len` floats.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Calls `work` with memory of this thread, `len` elements of anything.
///
/// `work` must not hand tasks to other threads: while it waited, another task could start on this thread and want the same memory.
pub(crate) fn local<R>(len: usize, work: impl FnOnce(*mut f32) -> R) -> R {
    thread_local! {
        static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    }
    LINES.with_borrow_mut(|lines| {
        let wanted = len.div_ceil(16);
        if lines.len() < wanted {
            *lines = vec![EMPTY; wanted];
        }
        work(lines.as_mut_ptr().cast())
    })
}
