//! Against fixtures made by the original implementations.

mod attbalance;
mod dmmi;
mod focus_detr;
