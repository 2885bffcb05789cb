//! The model that is part of the program, so that the first command works anywhere.
//!
//! To change it: write a folder of weights below `weights/` and name its two files in [`files`].

/// The files of a folder of weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files {
    /// `config.json`.
    pub(crate) manifest: &'static [u8],
    /// The file of weights.
    pub(crate) weights: &'static [u8],
}

/// The default model; `None` in a build without one.
pub(crate) fn files() -> Option<Files> {
    None
}
