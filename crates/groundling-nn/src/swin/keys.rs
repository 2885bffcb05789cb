//! Names of published Swin weights.

use super::BIAS_TABLE_RESIZE;
use crate::checkpoint::{Rule, absent, adapt, ignore, rename, within};

/// For the layout of detectors: a norm for each of the four maps. Bias tables of another window are resized.
pub const KEYS: &[Rule] = &[
    ignore(r"\.relative_position_index$", "which row of the bias table belongs to which pair: not a weight"),
    ignore(r"\.attn_mask$", "the mask of shifted windows for one image size: not a weight"),
    adapt(r"\.relative_position_bias_table$", &BIAS_TABLE_RESIZE),
];

/// For the layout of the official classifiers (`swin_base_patch4_window12_384_22k.pth` and the like), which have no norms for the maps.
pub const CLASSIFIER_KEYS: &[Rule] = &[
    within("", KEYS),
    ignore(r"^norm\.", "the norm before the classifier"),
    ignore(r"^head\.", "the classifier: this model uses the maps"),
    absent(r"^norm[0-3]\.", "a classifier has no norm for each map: starts at gain 1, shift 0"),
];

/// For the classifiers of timm: as [`CLASSIFIER_KEYS`], but a stage begins with the step from the one before instead of ending with
/// the step to the next.
pub const TIMM_KEYS: &[Rule] = &[
    rename(r"^layers\.1\.downsample\.", "layers.0.downsample."),
    rename(r"^layers\.2\.downsample\.", "layers.1.downsample."),
    rename(r"^layers\.3\.downsample\.", "layers.2.downsample."),
    within("", CLASSIFIER_KEYS),
];
