//! From the name of a system to its type.

use groundling_core::ModelIdentity;

use crate::{Bundle, BundleError, GroundError, Grounder, Settings};

/// The systems of this version, by name.
pub const NAMES: &[&str] = &[];

/// Opens a bundle of whatever system.
pub(crate) fn open(bundle: &Bundle, settings: Settings) -> Result<Grounder, GroundError> {
    let device = settings.device.open()?;
    let manifest = bundle.manifest();
    let identity = ModelIdentity { name: manifest.name.clone(), hash: manifest.weights.sha256.clone() };
    let _ = (device, identity);
    Err(BundleError::UnknownSystem {
        path: bundle.place().into(),
        found: manifest.system.clone(),
        known: NAMES.to_vec(),
    }
    .into())
}
