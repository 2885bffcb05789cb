//! From the flags of a model to one that is ready.

use anyhow::{Context, bail};
use groundling::{Bundle, BundleLimits, Grounder, Options, Settings};
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
        Ok(Grounder::open_with(bundle, Settings { device: self.device, exif, ..Settings::default() })?)
    }
}

impl HowFlags {
    pub(crate) fn options(&self, attention: bool) -> Options {
        let Self { threshold, level, budget_gflops } = *self;
        Options { threshold, level, budget_gflops, attention, merge: true }
    }
}
