//! Names of published weights, and what the shapes of a checkpoint say about its configuration.
//!
//! Two lines of the authors' code write the same network under different names: the classifier, and the backbone of their detectors.

use std::collections::BTreeMap;

use groundling_nn::checkpoint::{Rule, absent, ignore, rename, within};

use super::{GlobalAttention, HeadConfig, HeadKind, LocalAttention, Order, OutputNorm, ScalableVitConfig, ValueWidth};

/// What both lines share.
const COMMON: &[Rule] = &[
    rename(r"^patch_embeds\.(\d+)\.", "stages.$1.patch_embed."),
    rename(r"^pos_block\.(\d+)\.proj\.0\.", "stages.$1.peg.conv."),
    rename(r"^stages\.(\d+)\.(\d+)\.", "stages.$1.blocks.$2."),
    rename(r"\.attn\.reduction\.0\.", ".attn.reduced.depthwise."),
    rename(r"\.attn\.reduction\.1\.", ".attn.reduced.pointwise."),
    rename(r"\.attn\.norm_act\.0\.", ".attn.reduced.norm."),
    rename(r"\.attn\.sr\.", ".attn.reduced.sr."),
    rename(r"\.attn\.norm\.", ".attn.reduced.norm."),
];

/// Names of the released classifiers.
pub const CLASSIFIER_KEYS: &[Rule] = &[
    rename(r"^module\.", ""),
    within("", COMMON),
    rename(r"^head\.0\.", "head.hidden."),
    rename(r"^head\.1\.", "head.norm."),
    rename(r"^head\.3\.", "head.out."),
];

/// Names of the backbone of the authors' detectors; the detector's own parts are left out.
pub const DENSE_KEYS: &[Rule] = &[
    rename(r"^module\.", ""),
    ignore(
        r"^(neck|rpn_head|roi_head|bbox_head|mask_head|decode_head|auxiliary_head)\.",
        "a part of the detector: this is its backbone",
    ),
    rename(r"^backbone\.", ""),
    rename(r"^blocks\.", "stages."),
    rename(r"\.attn\.lepe_func\.", ".attn.lim_func."),
    within("", COMMON),
    rename(r"^norm_list\.(\d+)\.", "stages.$1.norm."),
];

/// A classifier's weights for a backbone. Its maps start with norms of gain 1 and shift 0, which change them: fine-tune.
pub const CLASSIFIER_TO_DENSE_KEYS: &[Rule] = &[
    rename(r"^module\.", ""),
    ignore(r"^(norm|head)\.", "the classifier: this model gives maps"),
    within("", COMMON),
    absent(r"^stages\.\d+\.norm\.", "a classifier has no norms of its maps"),
];

/// Whose names a checkpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyLine {
    /// The released classifiers.
    Classifier,
    /// The backbone of the authors' detectors.
    Dense,
}

/// Whose names these are; `None` if nobody's that is known.
pub fn key_line<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<KeyLine> {
    names.into_iter().find_map(|name| match bare(name) {
        name if name.starts_with("stages.0.0.") => Some(KeyLine::Classifier),
        name if name.starts_with("blocks.0.0.") => Some(KeyLine::Dense),
        _ => None,
    })
}

fn bare(name: &str) -> &str {
    let name = name.strip_prefix("module.").unwrap_or(name);
    name.strip_prefix("backbone.").unwrap_or(name)
}

/// Why a configuration cannot be read from a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// No names of a ScalableViT.
    #[error(
        "no tensor of a ScalableViT, such as stages.0.0.norm1.weight or blocks.0.0.norm1.weight, among {count} tensors"
    )]
    Unknown {
        /// Tensors of the checkpoint.
        count: usize,
    },
    /// A tensor that every form has is missing.
    #[error(
        "{name} is missing, so the configuration cannot be read from the shapes; give it, or check that the file is complete"
    )]
    Missing {
        /// The tensor.
        name: String,
    },
    /// A tensor's shape fits no form.
    #[error("{name} has shape {shape:?}, expected {expected}")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// What is possible.
        expected: &'static str,
    },
}

/// The configuration that the names and shapes of a checkpoint belong to.
///
/// Heads leave no trace in shapes: `head_width` says how many channels one has (32 in all published variants). Nor do the side of windows (7)
/// and the channel factor of stages that reduce nothing (1).
///
/// # Errors
/// If the tensors are no ScalableViT's.
pub fn detect(
    shapes: &BTreeMap<String, Vec<usize>>,
    head_width: usize,
) -> Result<(KeyLine, ScalableVitConfig), DetectError> {
    let line = key_line(shapes.keys().map(String::as_str)).ok_or(DetectError::Unknown { count: shapes.len() })?;
    let shapes = Shapes(shapes.iter().map(|(name, shape)| (bare(name), shape.as_slice())).collect());
    let blocks = if line == KeyLine::Classifier { "stages" } else { "blocks" };
    let lim = if line == KeyLine::Classifier { "lim_func" } else { "lepe_func" };
    let mut config = ScalableVitConfig { drop_path: 0.0, ..ScalableVitConfig::small() };
    (config.local, config.global) = (LocalAttention::Wsa, GlobalAttention::Vanilla);
    let mut windowed_first = None;
    for stage in 0..4 {
        let proj = format!("patch_embeds.{stage}.proj.weight");
        let &[dim, inputs, kernel, _] = shapes.get(&proj)? else {
            return Err(shapes.unfit(&proj, "[C, Cin, kernel, kernel]"));
        };
        if stage == 0 {
            config.in_channels = inputs;
        }
        config.dims[stage] = dim;
        config.strides[stage] = kernel.div_ceil(2);
        config.heads[stage] = (dim / head_width.max(1)).max(1);
        let block = |index: usize, part: &str| format!("{blocks}.{stage}.{index}.{part}");
        config.depths[stage] = (0..).take_while(|&index| shapes.has(&block(index, "norm2.weight"))).count();
        let fc1 = block(0, "mlp.fc1.weight");
        let &[hidden, _] = shapes.get(&fc1)? else { return Err(shapes.unfit(&fc1, "[hidden, C]")) };
        config.mlp_ratios[stage] = hidden as f64 / dim as f64;
        (config.reductions[stage], config.channel_factors[stage]) = (1, 1.0);
        for index in 0..config.depths[stage] {
            if shapes.has(&block(index, "attn.qkv.weight")) {
                windowed_first.get_or_insert(index == 0);
                config.qkv_bias = shapes.has(&block(index, "attn.qkv.bias"));
                if shapes.has(&block(index, &format!("attn.{lim}.weight"))) {
                    config.local = LocalAttention::Iwsa;
                }
                continue;
            }
            let q = block(index, "attn.q.weight");
            let &[width, _] = shapes.get(&q)? else { return Err(shapes.unfit(&q, "[c, C]")) };
            windowed_first.get_or_insert(index != 0);
            let cell = |part: &str| shapes.0.get(block(index, part).as_str()).and_then(|shape| shape.get(2)).copied();
            if let Some(side) = cell("attn.reduction.0.weight") {
                config.global = GlobalAttention::Ssa;
                config.reductions[stage] = side;
                config.channel_factors[stage] = width as f64 / dim as f64;
                let apart = shapes.has(&block(index, "attn.k.weight"));
                config.value = if apart { ValueWidth::Input } else { ValueWidth::Scaled };
            } else if let Some(side) = cell("attn.sr.weight") {
                config.global = GlobalAttention::Sra;
                config.reductions[stage] = side;
            }
        }
        config.peg = shapes.has(&format!("pos_block.{stage}.proj.0.weight"));
    }
    if windowed_first == Some(false) {
        config.order = Order::SsaFirst;
    }
    let classes = |name: &str| shapes.0.get(name).and_then(|shape| shape.first()).copied();
    config.head = match (classes("head.3.weight"), classes("head.weight")) {
        (Some(classes), _) => Some(HeadConfig { kind: HeadKind::Mlp, classes }),
        (None, Some(classes)) => Some(HeadConfig { kind: HeadKind::Plain, classes }),
        (None, None) => None,
    };
    config.output_norm = if shapes.has("norm_list.0.weight") { OutputNorm::Trunk } else { OutputNorm::None };
    config.patch_epsilon = if line == KeyLine::Classifier { 1e-6 } else { 1e-5 };
    Ok((line, config))
}

/// Shapes by name without prefixes.
struct Shapes<'a>(BTreeMap<&'a str, &'a [usize]>);

impl<'a> Shapes<'a> {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn get(&self, name: &str) -> Result<&'a [usize], DetectError> {
        self.0.get(name).copied().ok_or_else(|| DetectError::Missing { name: name.to_owned() })
    }

    fn unfit(&self, name: &str, expected: &'static str) -> DetectError {
        let shape = self.0.get(name).map(|shape| shape.to_vec()).unwrap_or_default();
        DetectError::Shape { name: name.to_owned(), shape, expected }
    }
}
