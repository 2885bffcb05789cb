//! What a module keeps beside its parameters for inference, and forgets when they may change.

use burn::module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor};
use burn::tensor::Device;

/// Something made from a module's parameters, or nothing.
///
/// No parameter itself: neither saved nor loaded. Whatever can change the parameters (a step of an optimizer, loading, averaging, another
/// device) goes through [`Module::map`] or a move and leaves nothing here, so that what was made from old weights is never used with new ones.
#[derive(Debug, Clone)]
pub struct Prepared<T>(Option<T>);

impl<T> Prepared<T> {
    /// Nothing was made yet.
    pub fn none() -> Self {
        Self(None)
    }

    /// Keeps what was made.
    pub fn set(&mut self, made: T) {
        self.0 = Some(made);
    }

    /// What was made, if it still holds.
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }
}

impl<T: Clone + std::fmt::Debug + Send> Module for Prepared<T> {
    fn visit<V: ModuleVisitor>(&self, _: &mut V) {}

    fn map<M: ModuleMapper>(self, _: &mut M) -> Self {
        Self::none()
    }

    fn to_device(self, _: &Device) -> Self {
        Self::none()
    }

    fn fork(self, _: &Device) -> Self {
        Self::none()
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn materialize(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn train(self) -> Self {
        Self::none()
    }
}

impl<T> ModuleDisplayDefault for Prepared<T> {
    fn content(&self, content: Content) -> Option<Content> {
        let state = if self.0.is_some() { "prepared" } else { "none" };
        content.add_formatted(&state.to_owned()).optional()
    }
}

impl<T> ModuleDisplay for Prepared<T> {}
