//! For tests only: reads the golden fixtures, makes name-seeded values, compares with a stated reason.
//!
//! Fixtures live under `fixtures/goldens`, one folder a system, each with a `cases.json` that says what is tested, how
//! the inputs are made and how close the outputs must be. `GROUNDLING_GOLDENS` names another root with the same form;
//! the same tests then run on it.
//!
//! Everything here panics with a full account when something does not hold: that is what a test wants.

pub mod array;
pub mod close;
pub mod fill;
pub mod goldens;
pub mod hostile;
pub mod module;
pub mod recipe;
pub mod tiny;
pub mod torch;

pub use array::Array;
pub use close::{Tolerance, assert_close};
pub use goldens::{Case, Folder, Report};
pub use module::ProbeTerm;

use std::path::PathBuf;

/// The repository's root folder.
pub fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The `fixtures` folder of the repository.
pub fn fixtures() -> PathBuf {
    repository().join("fixtures")
}

/// A fresh empty folder for one test, in the system's temporary folder; what is there already is removed.
///
/// # Panics
/// If it cannot be made.
pub fn scratch(test_name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("groundling-test-{}-{test_name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    folder
}
