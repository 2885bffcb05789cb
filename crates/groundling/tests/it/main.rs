//! The library from outside: sessions, limits, folders of weights.
#![allow(clippy::unwrap_used)]

mod attention;
mod bundles;
mod classifier;
mod convert;
mod detector;
mod dmmi;
mod fake;
mod grounding;
mod scanformer;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The generator of the device is one for all threads: who seeds it and draws holds this meanwhile.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
