//! Against the reference implementations, one module a folder of fixtures.

mod bert;
mod dmmi;
mod resnet;
mod swin;
