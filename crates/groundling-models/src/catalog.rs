//! Every model that can be named: its sizes, what it wants, where it comes from.

use burn::tensor::Device;
use groundling_nn::checkpoint::{ParameterInfo, parameters};
use serde::de::DeserializeOwned;

use crate::contract::{ConfigError, InputSpec, System};
use crate::dmmi::{Dmmi, DmmiConfig};
use crate::scanformer::{ScanFormer, ScanFormerConfig};

/// A model of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// `scanformer-small`.
    pub name: &'static str,
    /// Name of its preset: `small`.
    pub preset: &'static str,
    /// Its sizes.
    pub config: AnyConfig,
    /// What it is for, in a sentence.
    pub about: &'static str,
    /// The paper of the system.
    pub paper: Paper,
    /// Numbers in its parameters.
    pub parameters: usize,
    /// Operations for a phrase of 11 pieces and a square picture when everything is read, a multiply-add being two.
    pub dense_flops: u64,
}

/// Where a system comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    /// Its title.
    pub title: &'static str,
    /// Where it appeared.
    pub venue: &'static str,
    /// Its number at arXiv.
    pub arxiv: &'static str,
    /// The licence of this implementation; weights have their own.
    pub licence: &'static str,
}

const SCANFORMER: Paper = Paper {
    title: "ScanFormer: Referring Expression Comprehension by Iteratively Scanning",
    venue: "CVPR 2024",
    arxiv: "2406.18048",
    licence: "MIT OR Apache-2.0",
};

const DMMI: Paper = Paper {
    title: "Beyond One-to-One: Rethinking the Referring Image Segmentation",
    venue: "ICCV 2023",
    arxiv: "2308.13853",
    licence: "MIT OR Apache-2.0",
};

/// All models, smallest first within a system.
pub fn all() -> Vec<ModelSpec> {
    let scanformer = |name, preset, config, about, parameters, dense_flops| ModelSpec {
        name,
        preset,
        config: AnyConfig::ScanFormer(config),
        about,
        paper: SCANFORMER,
        parameters,
        dense_flops,
    };
    let dmmi = |name, preset, config: DmmiConfig, about, parameters, dense_flops| ModelSpec {
        name,
        preset,
        config: AnyConfig::Dmmi(config),
        about,
        paper: DMMI,
        parameters,
        dense_flops,
    };
    vec![
        scanformer(
            "scanformer-tiny",
            "tiny",
            ScanFormerConfig::tiny(),
            "for tests and experiments",
            1_564_952,
            21_604_992,
        ),
        scanformer(
            "scanformer-small",
            "small",
            ScanFormerConfig::small(),
            "for a laptop's processor; the default model",
            5_276_296,
            270_511_104,
        ),
        scanformer(
            "scanformer-vilt-b",
            "vilt_b",
            ScanFormerConfig::vilt_b(),
            "the size of the paper; starts from ViLT-B/32",
            113_377_544,
            102_713_622_528,
        ),
        dmmi("dmmi-tiny", "tiny", DmmiConfig::tiny(), "for tests and experiments", 2_717_966, 74_530_816),
        dmmi("dmmi-small", "small", DmmiConfig::small(), "masks on a laptop's processor", 11_196_747, 1_643_651_072),
        dmmi(
            "dmmi-swin-b",
            "swin_b",
            DmmiConfig::swin_b(),
            "the published model with Swin-B; starts from its checkpoints",
            316_955_248,
            784_687_865_856,
        ),
        dmmi(
            "dmmi-resnet101",
            "resnet101",
            DmmiConfig::resnet101(),
            "the published model with ResNet-101; starts from its checkpoint",
            382_192_536,
            871_164_518_400,
        ),
    ]
}

/// The model of this name.
pub fn find(name: &str) -> Option<ModelSpec> {
    all().into_iter().find(|spec| spec.name == name)
}

/// The configuration of some system.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum AnyConfig {
    /// Of ScanFormer.
    ScanFormer(ScanFormerConfig),
    /// Of DMMI.
    Dmmi(DmmiConfig),
}

/// Why a description is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptionError {
    /// There is no such system.
    #[error("no system is called {found:?}; there are {known:?}")]
    System {
        /// The name.
        found: String,
        /// Those there are.
        known: &'static [&'static str],
    },
    /// It is not what the system writes.
    #[error("the configuration of {system}: {source}")]
    Json {
        /// The system.
        system: &'static str,
        /// Where and what.
        source: serde_json::Error,
    },
    /// It contradicts itself.
    #[error("the configuration of {system}: {source}")]
    Config {
        /// The system.
        system: &'static str,
        /// What does.
        source: ConfigError,
    },
}

impl AnyConfig {
    /// Names of the systems.
    pub const SYSTEMS: &'static [&'static str] = &[ScanFormer::NAME, Dmmi::NAME];

    /// Reads and checks the configuration of a system.
    ///
    /// # Errors
    /// If there is no such system, or the text is not its configuration.
    pub fn from_json(system: &str, json: &str) -> Result<Self, DescriptionError> {
        match system {
            ScanFormer::NAME => {
                let config: ScanFormerConfig = read(ScanFormer::NAME, json)?;
                let check = config.check();
                check.map_err(|source| DescriptionError::Config { system: ScanFormer::NAME, source })?;
                Ok(Self::ScanFormer(config))
            }
            Dmmi::NAME => {
                let config: DmmiConfig = read(Dmmi::NAME, json)?;
                let check = config.check();
                check.map_err(|source| DescriptionError::Config { system: Dmmi::NAME, source })?;
                Ok(Self::Dmmi(config))
            }
            found => Err(DescriptionError::System { found: found.to_owned(), known: Self::SYSTEMS }),
        }
    }

    /// As [`AnyConfig::from_json`] reads it.
    ///
    /// # Errors
    /// If a number is none that JSON can write; a configuration that was checked has none.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        match self {
            Self::ScanFormer(config) => serde_json::to_string_pretty(config),
            Self::Dmmi(config) => serde_json::to_string_pretty(config),
        }
    }

    /// Name of the system.
    pub fn system(&self) -> &'static str {
        match self {
            Self::ScanFormer(_) => ScanFormer::NAME,
            Self::Dmmi(_) => Dmmi::NAME,
        }
    }

    /// How it wants pictures and phrases.
    pub fn input(&self) -> InputSpec {
        match self {
            Self::ScanFormer(config) => ScanFormer::input(config),
            Self::Dmmi(config) => Dmmi::input(config),
        }
    }

    /// Names and shapes of the parameters. Nothing is drawn and little memory taken, whatever the size.
    ///
    /// # Errors
    /// If the configuration contradicts itself.
    pub fn parameters(&self, device: &Device) -> Result<Vec<ParameterInfo>, ConfigError> {
        match self {
            Self::ScanFormer(config) => Ok(parameters(&ScanFormer::init(config, device)?)),
            Self::Dmmi(config) => Ok(parameters(&Dmmi::init(config, device)?)),
        }
    }
}

fn read<C: DeserializeOwned>(system: &'static str, json: &str) -> Result<C, DescriptionError> {
    serde_json::from_str(json).map_err(|source| DescriptionError::Json { system, source })
}
