//! From the name of a system to its type.

use groundling_core::ModelIdentity;
use groundling_models::contract::System;
use groundling_models::scanformer::ScanFormer;

use crate::{Bundle, BundleError, GroundError, Grounder, Settings};

/// The systems of this version, by name.
pub const NAMES: &[&str] = &[ScanFormer::NAME];

/// Opens a bundle of whatever system.
pub(crate) fn open(bundle: &Bundle, settings: Settings) -> Result<Grounder, GroundError> {
    match bundle.manifest().system.as_str() {
        ScanFormer::NAME => open_as::<ScanFormer>(bundle, settings),
        found => {
            let (path, found, known) = (bundle.place().into(), found.to_owned(), NAMES.to_vec());
            Err(BundleError::UnknownSystem { path, found, known }.into())
        }
    }
}

fn open_as<M>(bundle: &Bundle, settings: Settings) -> Result<Grounder, GroundError>
where
    M: System + Sync + 'static,
    M::Phrase: Sync + 'static,
    M::View: Sync + 'static,
{
    let device = settings.device.open()?;
    let manifest = bundle.manifest();
    let identity = ModelIdentity { name: manifest.name.clone(), hash: manifest.weights.sha256.clone() };
    Ok(Grounder::from_model(bundle.load::<M>(&device)?, identity, settings))
}
