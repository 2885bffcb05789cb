//! Kernels against the golden fixtures.

mod focus_detr;
