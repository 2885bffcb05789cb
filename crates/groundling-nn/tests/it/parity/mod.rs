//! Against the reference implementations, one module a folder of fixtures.

mod attbalance;
mod bert;
mod dmmi;
mod focus_detr;
mod resnet;
mod swin;
mod transvg;
