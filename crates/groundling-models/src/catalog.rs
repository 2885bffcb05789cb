//! Every model that can be named: its sizes, what it wants, where it comes from.

use burn::tensor::Device;
use groundling_nn::checkpoint::{ParameterInfo, parameters};
use serde::de::DeserializeOwned;

use crate::contract::{ConfigError, InputSpec, System, Trainable};
use crate::dmmi::{Dmmi, DmmiConfig};
use crate::focus_detr::FocusDetrConfig;
use crate::qrnet::{QrNet, QrNetConfig};
use crate::scalablevit::ScalableVitConfig;
use crate::scanformer::{ScanFormer, ScanFormerConfig};
use crate::transvg::{TransVg, TransVgConfig};
use crate::vltvg::{Vltvg, VltvgConfig};

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

const TRANSVG: Paper = Paper {
    title: "TransVG: End-to-End Visual Grounding with Transformers",
    venue: "ICCV 2021",
    arxiv: "2104.08541",
    licence: "MIT OR Apache-2.0",
};

const VLTVG: Paper = Paper {
    title: "Improving Visual Grounding with Visual-Linguistic Verification and Iterative Reasoning",
    venue: "CVPR 2022",
    arxiv: "2205.00272",
    licence: "MIT OR Apache-2.0",
};

const QRNET: Paper = Paper {
    title: "Shifting More Attention to Visual Backbone: Query-modulated Refinement Networks for End-to-End Visual Grounding",
    venue: "CVPR 2022",
    arxiv: "2203.15442",
    licence: "MIT OR Apache-2.0",
};

const FOCUS_DETR: Paper = Paper {
    title: "Less is More: Focus Attention for Efficient DETR",
    venue: "ICCV 2023",
    arxiv: "2307.12612",
    licence: "MIT OR Apache-2.0",
};

/// A detector of the catalogue: it finds objects of known classes and reads no phrases.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorSpec {
    /// `focus-detr-r50`.
    pub name: &'static str,
    /// Name of its preset: `r50`.
    pub preset: &'static str,
    /// Its sizes.
    pub config: FocusDetrConfig,
    /// What it is for, in a sentence.
    pub about: &'static str,
    /// The paper of the system.
    pub paper: Paper,
    /// Numbers in its parameters.
    pub parameters: usize,
    /// Operations for a picture of three to four at the size of its input when the encoder works on all tokens, a multiply-add being two.
    pub dense_flops: u64,
}

/// All detectors, smallest first.
pub fn detectors() -> Vec<DetectorSpec> {
    let spec = |name, preset, config, about, parameters, dense_flops| DetectorSpec {
        name,
        preset,
        config,
        about,
        paper: FOCUS_DETR,
        parameters,
        dense_flops,
    };
    let of_paper = "the size of the paper; reads weights of its authors";
    vec![
        spec("focus-detr-tiny", "tiny", FocusDetrConfig::tiny(), "for tests and experiments", 698_228, 192_240_128),
        spec("focus-detr-r50", "r50", FocusDetrConfig::r50(), of_paper, 49_446_160, 468_627_322_880),
        spec("focus-detr-r101", "r101", FocusDetrConfig::r101(), of_paper, 68_490_512, 595_524_679_680),
        spec("focus-detr-swin-l", "swin_l", FocusDetrConfig::swin_l(), of_paper, 219_677_188, 1_652_649_787_392),
    ]
}

const SCALABLEVIT: Paper = Paper {
    title: "ScalableViT: Rethinking the Context-oriented Generalization of Vision Transformer",
    venue: "ECCV 2022",
    arxiv: "2203.10790",
    licence: "MIT OR Apache-2.0",
};

/// A classifier of the catalogue: it names what a whole picture shows.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassifierSpec {
    /// `scalablevit-small`.
    pub name: &'static str,
    /// Name of its preset: `small`.
    pub preset: &'static str,
    /// Its sizes.
    pub config: ScalableVitConfig,
    /// What it is for, in a sentence.
    pub about: &'static str,
    /// The paper of the system.
    pub paper: Paper,
    /// Numbers in its parameters.
    pub parameters: usize,
    /// Operations for a picture, a multiply-add being two.
    pub flops: u64,
}

/// All classifiers, smallest first.
pub fn classifiers() -> Vec<ClassifierSpec> {
    let spec = |name, preset, config, about, parameters, flops| ClassifierSpec {
        name,
        preset,
        config,
        about,
        paper: SCALABLEVIT,
        parameters,
        flops,
    };
    let of_paper = "the size of the paper; reads weights of its authors";
    let tiny = ScalableVitConfig::tiny();
    vec![
        spec("scalablevit-tiny", "tiny", tiny, "for tests and experiments", 501_758, 182_445_600),
        spec("scalablevit-small", "small", ScalableVitConfig::small(), of_paper, 32_000_472, 8_530_590_208),
        spec("scalablevit-base", "base", ScalableVitConfig::base(), of_paper, 81_881_624, 17_601_986_816),
        spec("scalablevit-large", "large", ScalableVitConfig::large(), of_paper, 109_288_840, 29_975_064_576),
    ]
}

/// All models that ground phrases, smallest first within a system.
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
    let mut all = vec![
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
    ];
    all.extend(bases());
    all
}

/// The models that one encoder of pictures and one of phrases feed.
fn bases() -> Vec<ModelSpec> {
    const TINY: &str = "for tests and experiments";
    let spec = |paper, name, preset, config, about, [parameters, dense_flops]: [u64; 2]| ModelSpec {
        name,
        preset,
        config,
        about,
        paper,
        parameters: parameters as usize,
        dense_flops,
    };
    let transvg =
        |name, preset, config, about, sizes| spec(TRANSVG, name, preset, AnyConfig::TransVg(config), about, sizes);
    let vltvg = |name, preset, config, about, sizes| spec(VLTVG, name, preset, AnyConfig::Vltvg(config), about, sizes);
    let qrnet = |name, preset, config, about, sizes| spec(QRNET, name, preset, AnyConfig::QrNet(config), about, sizes);
    let of_paper = "the size of the paper; reads weights of its authors";
    vec![
        transvg("transvg-tiny", "tiny", TransVgConfig::tiny(), TINY, [1_247_068, 51_979_904]),
        transvg("transvg-r50", "r50", TransVgConfig::r50(), of_paper, [149_261_508, 83_875_829_760]),
        transvg("transvg-r101", "r101", TransVgConfig::r101(), of_paper, [168_305_860, 144_483_522_560]),
        vltvg("vltvg-tiny", "tiny", VltvgConfig::tiny(), TINY, [1_302_222, 46_695_488]),
        vltvg("vltvg-r50", "r50", VltvgConfig::r50(), of_paper, [151_592_902, 77_691_389_952]),
        vltvg("vltvg-r101", "r101", VltvgConfig::r101(), of_paper, [170_637_254, 138_299_082_752]),
        qrnet("qrnet-tiny", "tiny", QrNetConfig::tiny(), TINY, [1_339_854, 24_075_372]),
        qrnet("qrnet-swin-s", "swin_s", QrNetConfig::swin_s(), of_paper, [272_136_366, 161_506_577_404]),
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
    /// Of TransVG.
    TransVg(TransVgConfig),
    /// Of VLTVG.
    Vltvg(VltvgConfig),
    /// Of QRNet.
    QrNet(QrNetConfig),
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
    pub const SYSTEMS: &'static [&'static str] =
        &[ScanFormer::NAME, Dmmi::NAME, TransVg::NAME, Vltvg::NAME, QrNet::NAME];

    /// Reads and checks the configuration of a system.
    ///
    /// # Errors
    /// If there is no such system, or the text is not its configuration.
    pub fn from_json(system: &str, json: &str) -> Result<Self, DescriptionError> {
        match system {
            ScanFormer::NAME => Ok(Self::ScanFormer(read(ScanFormer::NAME, json, ScanFormerConfig::check)?)),
            Dmmi::NAME => Ok(Self::Dmmi(read(Dmmi::NAME, json, DmmiConfig::check)?)),
            TransVg::NAME => Ok(Self::TransVg(read(TransVg::NAME, json, TransVgConfig::check)?)),
            Vltvg::NAME => Ok(Self::Vltvg(read(Vltvg::NAME, json, VltvgConfig::check)?)),
            QrNet::NAME => Ok(Self::QrNet(read(QrNet::NAME, json, QrNetConfig::check)?)),
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
            Self::TransVg(config) => serde_json::to_string_pretty(config),
            Self::Vltvg(config) => serde_json::to_string_pretty(config),
            Self::QrNet(config) => serde_json::to_string_pretty(config),
        }
    }

    /// Name of the system.
    pub fn system(&self) -> &'static str {
        match self {
            Self::ScanFormer(_) => ScanFormer::NAME,
            Self::Dmmi(_) => Dmmi::NAME,
            Self::TransVg(_) => TransVg::NAME,
            Self::Vltvg(_) => Vltvg::NAME,
            Self::QrNet(_) => QrNet::NAME,
        }
    }

    /// How it wants pictures and phrases.
    pub fn input(&self) -> InputSpec {
        match self {
            Self::ScanFormer(config) => ScanFormer::input(config),
            Self::Dmmi(config) => Dmmi::input(config),
            Self::TransVg(config) => TransVg::input(config),
            Self::Vltvg(config) => Vltvg::input(config),
            Self::QrNet(config) => QrNet::input(config),
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
            Self::TransVg(config) => Ok(parameters(&TransVg::init(config, device)?)),
            Self::Vltvg(config) => Ok(parameters(&Vltvg::init(config, device)?)),
            Self::QrNet(config) => Ok(parameters(&QrNet::init(config, device)?)),
        }
    }
}

fn read<C: DeserializeOwned>(
    system: &'static str,
    json: &str,
    check: fn(&C) -> Result<(), ConfigError>,
) -> Result<C, DescriptionError> {
    let config = serde_json::from_str(json).map_err(|source| DescriptionError::Json { system, source })?;
    check(&config).map_err(|source| DescriptionError::Config { system, source })?;
    Ok(config)
}
