//! Runs of the program as a user types them.
#![allow(clippy::unwrap_used)]

mod analyze;
mod classify;
mod detect;
mod formats;
mod masks;
mod model;
mod program;
mod train;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The generator of the device is one for all threads: who seeds it and draws holds this meanwhile.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
