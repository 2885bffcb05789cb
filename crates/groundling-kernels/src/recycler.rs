//! An allocator that keeps large blocks for the next tensor of the same size.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;

/// Blocks below this go straight to the system: its own lists are good at them.
const LARGE: usize = 64 * 1024;

/// Eight sizes between one power of two and the next, from [`LARGE`] to 16 GiB: at most an eighth of a block is wasted.
const CLASSES: usize = 8 * 18 + 1;

/// Keeps freed blocks of 64 KiB and more, and hands them out again.
///
/// A model's step allocates and frees the same large tensors over and over. The C library gives such memory back to the operating
/// system, which hands it out again page by page, each set to zero: for operations bound by memory that takes several times as long as
/// the operation. Programs that run models install this once; results do not depend on it.
///
/// ```
/// use groundling_kernels::Recycler;
///
/// #[global_allocator]
/// static MEMORY: Recycler = Recycler::new(1 << 30);
/// ```
#[derive(Debug)]
pub struct Recycler {
    kept: Mutex<Kept>,
    limit: usize,
}

#[derive(Debug)]
struct Kept {
    /// The first free block of each class; a block begins with the address of the next.
    first: [*mut u8; CLASSES],
    bytes: usize,
}

// SAFETY: the blocks belong to nobody while they are in the lists.
unsafe impl Send for Kept {}

impl Recycler {
    /// Keeps `limit` bytes of free blocks at most; what is freed beyond that goes back to the system.
    pub const fn new(limit: usize) -> Self {
        Self { kept: Mutex::new(Kept { first: [std::ptr::null_mut(); CLASSES], bytes: 0 }), limit }
    }

    fn take(&self, class: usize, size: usize) -> Option<*mut u8> {
        let mut kept = self.kept.lock().ok()?;
        let block = kept.first[class];
        if block.is_null() {
            return None;
        }
        // SAFETY: blocks in the lists are large and aligned, and begin with the address of the next.
        kept.first[class] = unsafe { block.cast::<*mut u8>().read() };
        kept.bytes -= size;
        Some(block)
    }

    /// False if there is no room.
    fn keep(&self, block: *mut u8, class: usize, size: usize) -> bool {
        let Ok(mut kept) = self.kept.lock() else { return false };
        if kept.bytes + size > self.limit {
            return false;
        }
        // SAFETY: the block is free, large and aligned.
        unsafe { block.cast::<*mut u8>().write(kept.first[class]) };
        kept.first[class] = block;
        kept.bytes += size;
        true
    }
}

/// Class and rounded layout of a large block; `None` for all others.
fn class(layout: Layout) -> Option<(usize, Layout)> {
    if layout.size() < LARGE || layout.align() > 64 {
        return None;
    }
    let step = (layout.size().next_power_of_two() / 16).max(LARGE / 8);
    let size = layout.size().checked_next_multiple_of(step)?;
    let power = size.ilog2() as usize;
    let class = (power - LARGE.ilog2() as usize) * 8 + ((size >> (power - 3)) & 7);
    // Cache lines, so that vectors do not straddle two.
    let layout = Layout::from_size_align(size, 64).ok()?;
    (class < CLASSES).then_some((class, layout))
}

// SAFETY: blocks come from the system, are large enough for every layout of their class, and are in a list only while they are free.
unsafe impl GlobalAlloc for Recycler {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class(layout) {
            // SAFETY: as the caller promises.
            None => unsafe { System.alloc(layout) },
            Some((class, layout)) => self.take(class, layout.size()).unwrap_or_else(|| unsafe { System.alloc(layout) }),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some((class, rounded)) = class(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc_zeroed(layout) };
        };
        match self.take(class, rounded.size()) {
            Some(block) => {
                // SAFETY: the block is at least as large.
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            // SAFETY: as the caller promises.
            None => unsafe { System.alloc_zeroed(rounded) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class(layout) {
            // SAFETY: as the caller promises.
            None => unsafe { System.dealloc(block, layout) },
            Some((class, layout)) => {
                if !self.keep(block, class, layout.size()) {
                    // SAFETY: it came from the system with this layout.
                    unsafe { System.dealloc(block, layout) };
                }
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return std::ptr::null_mut() };
        match (class(layout), class(wanted)) {
            // SAFETY: as the caller promises.
            (None, None) => unsafe { System.realloc(block, layout, size) },
            (Some((old, _)), Some((new, _))) if old == new => block,
            _ => {
                // SAFETY: as the caller promises; the two blocks are different.
                unsafe {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

impl Drop for Recycler {
    fn drop(&mut self) {
        // A global one is never dropped; others give back what they kept.
        for size in 0..CLASSES {
            while let Some((block, layout)) = layout_of(size).and_then(|l| Some((self.take(size, l.size())?, l))) {
                // SAFETY: it came from the system with the layout of its class.
                unsafe { System.dealloc(block, layout) };
            }
        }
    }
}

fn layout_of(class: usize) -> Option<Layout> {
    let power = class / 8 + LARGE.ilog2() as usize;
    Layout::from_size_align((8 + class % 8) << (power - 3), 64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_hold_what_they_are_asked_for_and_waste_an_eighth_at_most() {
        for shift in 16..33 {
            for part in 0..64usize {
                let size = (1usize << shift) + (part << (shift - 6)) + part % 3;
                let Some((class, rounded)) = class(Layout::from_size_align(size, 4).unwrap()) else { panic!("{size}") };
                assert!(rounded.size() >= size && rounded.size() - size <= size / 8, "{size} in {}", rounded.size());
                assert_eq!(layout_of(class).unwrap(), rounded, "{size}");
            }
        }
        assert!(super::class(Layout::from_size_align(LARGE - 1, 4).unwrap()).is_none());
        assert!(super::class(Layout::from_size_align(1 << 60, 4).unwrap()).is_none());
    }

    #[test]
    fn a_freed_block_is_handed_out_again_and_the_limit_holds() {
        let memory = Recycler::new(300 << 10);
        let layout = Layout::from_size_align(100 << 10, 4).unwrap();
        // SAFETY: every block is used within its layout and freed once.
        unsafe {
            let [a, b, c] = [0; 3].map(|_| memory.alloc(layout));
            assert!([a, b, c].iter().all(|block| block.align_offset(64) == 0));
            a.write_bytes(7, 100 << 10);
            for block in [a, b, c] {
                memory.dealloc(block, layout);
            }
            assert!(memory.kept.lock().unwrap().bytes <= 300 << 10);
            let again = memory.alloc_zeroed(Layout::from_size_align(99 << 10, 8).unwrap());
            assert!([a, b].contains(&again), "the third did not fit under the limit");
            assert!((0..99 << 10).all(|i| again.add(i).read() == 0));
            let grown = memory.realloc(again, Layout::from_size_align(99 << 10, 8).unwrap(), 500 << 10);
            assert_eq!(grown.read(), 0);
            let shrunk = memory.realloc(grown, Layout::from_size_align(500 << 10, 8).unwrap(), 10);
            memory.dealloc(shrunk, Layout::from_size_align(10, 8).unwrap());
        }
    }
}
