//! What classifiers and detectors have in common: a model and the names of its classes.

use burn::module::Module;
use burn::tensor::Device;
use groundling_core::ModelIdentity;
use groundling_models::contract::Trainable;
use groundling_nn::layers::PrepareInference;

use crate::grounder::Settings;
use crate::{Bundle, OpenError};

/// A model that is ready for inference, on the device where it is.
pub(crate) struct Named<M> {
    pub(crate) model: M,
    pub(crate) device: Device,
    pub(crate) classes: Vec<String>,
    pub(crate) identity: ModelIdentity,
    pub(crate) settings: Settings,
}

impl<M: Module + PrepareInference> Named<M> {
    /// # Errors
    /// If there is not one name for each of the `expected` classes.
    ///
    /// # Panics
    /// If the model has no parameter, and so no device.
    pub(crate) fn new(
        mut model: M,
        expected: usize,
        classes: Vec<String>,
        identity: ModelIdentity,
        settings: Settings,
    ) -> Result<Self, OpenError> {
        if classes.len() != expected {
            return Err(OpenError::Classes { found: classes.len(), expected });
        }
        let device = model.devices().into_iter().next().expect("a model has parameters");
        model.prepare_inference();
        Ok(Self { model, device, classes, identity, settings })
    }
}

/// Reads a folder's model onto the device of the settings, and makes something of it.
///
/// # Errors
/// If the folder or the device cannot be used, or `make` says so.
pub(crate) fn open<M: Trainable, T, E: From<OpenError>>(
    bundle: &Bundle,
    settings: Settings,
    make: impl FnOnce(M, Vec<String>, ModelIdentity, Settings) -> Result<T, E>,
) -> Result<T, E> {
    let device = settings.device.open().map_err(OpenError::from)?;
    let model = bundle.load::<M>(&device).map_err(OpenError::from)?;
    make(model, bundle.manifest().classes.clone(), bundle.identity(), settings)
}

impl<M> std::fmt::Debug for Named<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { identity, classes, .. } = self;
        f.debug_struct("Named").field("identity", identity).field("classes", &classes.len()).finish_non_exhaustive()
    }
}
