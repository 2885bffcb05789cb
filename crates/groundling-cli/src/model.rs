//! From the flags of a model to one that is ready.

use std::path::Path;

use anyhow::{Context, bail};
use groundling::bundle::WEIGHTS_VARIABLE;
use groundling::{Bundle, BundleLimits, Classifier, Detector, Grounder, Options, Settings};
use groundling_data::image::decode::ExifOrientation;

use crate::flags::{HowFlags, ModelFlags};

/// Starts the threads that share the work; as many as the machine has where no number is given.
///
/// The first is the one that calls: with another, each product, however small, would wait for that other to wake.
///
/// # Errors
/// If the number is 0, or they cannot be started.
pub(crate) fn start_threads(threads: Option<usize>) -> anyhow::Result<()> {
    if threads == Some(0) {
        bail!("--threads is 0, expected at least 1");
    }
    let pool = rayon::ThreadPoolBuilder::new().use_current_thread();
    let pool = threads.iter().fold(pool, |pool, &threads| pool.num_threads(threads));
    pool.build_global().context("starting threads")
}

impl ModelFlags {
    /// Limits the threads of everything that follows.
    pub(crate) fn set_threads(&self) -> anyhow::Result<()> {
        start_threads(self.threads)
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
        Ok(Detector::open_with(&self.named("detector")?, self.settings(exif))?)
    }

    /// The classifier, ready. There is none by default.
    pub(crate) fn open_classifier(&self, exif: ExifOrientation) -> anyhow::Result<Classifier> {
        Ok(Classifier::open_with(&self.named("classifier")?, self.settings(exif))?)
    }

    /// Weights of a kind of which the program has none of its own.
    fn named(&self, kind: &str) -> anyhow::Result<Bundle> {
        self.set_threads()?;
        let named = self.weights.is_some() || std::env::var_os(WEIGHTS_VARIABLE).is_some_and(|name| !name.is_empty());
        if !named {
            bail!("no {kind} is part of this program: name a folder of weights with --weights");
        }
        self.bundle()
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
