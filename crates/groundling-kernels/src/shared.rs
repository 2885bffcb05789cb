//! One result that several threads write.

/// A slice of which threads write places of their own.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    at: *mut f32,
    len: usize,
}

// SAFETY: what is written is stated at each use of `range` and `add`, and does not overlap.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self { at: values.as_mut_ptr(), len: values.len() }
    }

    /// The address of one element, for kernels that write a tile of rows far apart.
    ///
    /// # Safety
    /// `offset` is inside, and what is written from there belongs to nobody else.
    pub(crate) unsafe fn add(&self, offset: usize) -> *mut f32 {
        debug_assert!(offset < self.len);
        unsafe { self.at.add(offset) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// # Safety
    /// No one else may hold an overlapping range, and the values must outlive it.
    ///
    /// # Panics
    /// If there is no such range.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn range<'a>(&self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start + len <= self.len, "a range inside");
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start), len) }
    }
}
