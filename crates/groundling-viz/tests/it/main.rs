//! Integration tests of groundling-viz.
