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
    #[cfg(feature = "default-model")]
    return Some(Files {
        manifest: include_bytes!("../../../weights/scanformer-small/config.json"),
        weights: include_bytes!("../../../weights/scanformer-small/model.safetensors"),
    });
    #[cfg(not(feature = "default-model"))]
    None
}

#[cfg(all(test, feature = "default-model"))]
mod tests {
    use crate::{Bundle, Grounder, Settings};

    #[test]
    fn the_builtin_model_opens_and_is_what_it_says() {
        let Some(bundle) = Bundle::builtin() else { panic!("the manifest in the program is none") };
        assert!(bundle.verify().is_ok(), "{:?}", bundle.verify());
        assert_eq!(bundle.place(), "part of the program");
        let grounder = Grounder::open_with(&bundle, Settings::default());
        let answer =
            grounder.and_then(|grounder| grounder.open_image(&image::RgbImage::new(40, 30))?.ground("the red cup"));
        assert!(answer.is_ok_and(|answer| answer.best().is_some()));
    }
}
