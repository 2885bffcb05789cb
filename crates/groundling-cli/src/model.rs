//! From the flags of a model to one that is ready.

use std::path::Path;

use anyhow::{Context, bail};
use groundling::bundle::WEIGHTS_VARIABLE;
use groundling::{Bundle, BundleLimits, Detector, Grounder, Options, Settings};
use groundling_data::image::decode::ExifOrientation;

use crate::flags::{HowFlags, ModelFlags};

impl ModelFlags {
    /// Limits the threads of everything that follows.
    pub(crate) fn set_threads(&self) -> anyhow::Result<()> {
        let Some(threads) = self.threads else { return Ok(()) };
        if threads == 0 {
            bail!("--threads is 0, expected at least 1");
        }
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("starting threads")
    }

    /// The weights that were named, or the default ones.
    pub(crate) fn bundle(&self) -> anyhow::Result<Bundle> {
        Ok(Bundle::find(self.weights.as_deref(), &BundleLimits::default())?)
    }

    /// The model, ready.
    pub(crate) fn open(&self, exif: ExifOrientation) -> anyhow::Result<Grounder> {
        self.set_threads()?;
        self.open_bundle(&self.bundle()?, exif)
    }

    /// The model of a folder of weights, ready.
    pub(crate) fn open_bundle(&self, bundle: &Bundle, exif: ExifOrientation) -> anyhow::Result<Grounder> {
        tracing::info!("{} ({})", bundle.manifest().name, bundle.place());
        Ok(Grounder::open_with(bundle, self.settings(exif))?)
    }

    /// The detector, ready. There is none by default.
    pub(crate) fn open_detector(&self, exif: ExifOrientation) -> anyhow::Result<Detector> {
        self.set_threads()?;
        let named = self.weights.is_some() || std::env::var_os(WEIGHTS_VARIABLE).is_some_and(|name| !name.is_empty());
        if !named {
            bail!("no detector is part of this program: name a folder of weights with --weights");
        }
        Ok(Detector::open_with(&self.bundle()?, self.settings(exif))?)
    }

    /// The detector of another folder of weights, on the same device.
    pub(crate) fn detector_of(&self, weights: &Path, exif: ExifOrientation) -> anyhow::Result<Detector> {
        let bundle = Bundle::open(weights, &BundleLimits::default())?;
        Ok(Detector::open_with(&bundle, self.settings(exif))?)
    }

    fn settings(&self, exif: ExifOrientation) -> Settings {
        Settings { device: self.device, exif, ..Settings::default() }
    }
}

impl HowFlags {
    pub(crate) fn options(&self, attention: bool) -> Options {
        let Self { threshold, level, budget_gflops } = *self;
        Options { threshold, level, budget_gflops, attention, merge: true }
    }
}
