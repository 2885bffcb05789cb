//! Sizes, presets and switches.

use serde::{Deserialize, Serialize};

use super::TooSmall;
use crate::contract::ConfigError;

/// Everything that decides shapes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScalableVitConfig {
    /// Channels of the image.
    pub in_channels: usize,
    /// Classifiers: side of the squares that they are trained and scored on, pixels. The network itself takes any size.
    #[serde(default = "published_side")]
    pub side: usize,
    /// Channels of the stages.
    pub dims: [usize; 4],
    /// Attention heads of the stages.
    pub heads: [usize; 4],
    /// Blocks of the stages.
    pub depths: [usize; 4],
    /// Width of the feed-forward part over that of the stage.
    pub mlp_ratios: [f64; 4],
    /// By how much a stage's patch embedding shrinks a side.
    pub strides: [usize; 4],
    /// By how much SSA reduces a side of its keys, `r`.
    pub reductions: [usize; 4],
    /// By how much SSA scales the width of queries and keys, `r_c`.
    pub channel_factors: [f64; 4],
    /// Side of a window in tokens.
    pub window: usize,
    /// Whether the projection to queries, keys and values has a bias.
    pub qkv_bias: bool,
    /// Width of SSA's values.
    pub value: ValueWidth,
    /// Windowed blocks.
    pub local: LocalAttention,
    /// Global blocks.
    pub global: GlobalAttention,
    /// Which blocks are which.
    pub order: Order,
    /// Whether a depthwise convolution after the first block of a stage says where tokens are (PEG).
    pub peg: bool,
    /// Added to the variance of patch embeddings.
    pub patch_epsilon: f64,
    /// Norms of the maps that are given out.
    pub output_norm: OutputNorm,
    /// The classifier, if there is one.
    pub head: Option<HeadConfig>,
    /// Share of the samples that training drops in the last block; rises from 0 in the first.
    pub drop_path: f64,
}

fn published_side() -> usize {
    224
}

/// Width of the values of SSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueWidth {
    /// That of the stage.
    Input,
    /// That of queries and keys.
    Scaled,
}

/// What windowed blocks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalAttention {
    /// Windows, and a convolution of the values over their borders.
    Iwsa,
    /// Windows alone.
    Wsa,
    /// Windows, and the same convolution inside each.
    WsaLem,
    /// The convolution alone.
    LimOnly,
    /// Nothing: the block is its feed-forward part.
    None,
}

/// What global blocks do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GlobalAttention {
    /// Scalable self-attention.
    Ssa,
    /// Attention among all tokens.
    Vanilla,
    /// Spatial-reduction attention of PVT and Twins.
    Sra,
    /// SSA with average pooling in place of the depthwise convolution.
    SsaPool,
}

/// Which blocks of a stage are windowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The first, and every second one after it.
    IwsaFirst,
    /// The second, and every second one after it.
    SsaFirst,
    /// All.
    IwsaOnly,
    /// None.
    SsaOnly,
}

impl Order {
    /// Whether the block of this index within its stage is windowed.
    pub fn is_windowed(self, index: usize) -> bool {
        match self {
            Order::IwsaFirst => index.is_multiple_of(2),
            Order::SsaFirst => !index.is_multiple_of(2),
            Order::IwsaOnly => true,
            Order::SsaOnly => false,
        }
    }
}

/// Norms of the maps that are given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputNorm {
    /// PARITY: the normalised map is given out and also enters the next stage, as in the authors' dense backbone.
    Trunk,
    /// The normalised map is given out only.
    Side,
    /// No norms.
    None,
}

/// The classifier's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadConfig {
    /// Its form.
    pub kind: HeadKind,
    /// Classes.
    pub classes: usize,
}

/// Form of a classifier's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// A hidden layer of 4096 with norm and GELU.
    Mlp,
    /// One linear layer.
    Plain,
}

impl ScalableVitConfig {
    /// The classifier S: 32,000,472 parameters (value = input).
    pub fn small() -> Self {
        Self {
            in_channels: 3,
            side: published_side(),
            dims: [64, 128, 256, 512],
            heads: [2, 4, 8, 16],
            depths: [2, 2, 20, 2],
            mlp_ratios: [4.0; 4],
            strides: [4, 2, 2, 2],
            reductions: [8, 4, 2, 1],
            channel_factors: [1.25, 1.25, 1.25, 1.0],
            window: 7,
            qkv_bias: true,
            value: ValueWidth::Input,
            local: LocalAttention::Iwsa,
            global: GlobalAttention::Ssa,
            order: Order::IwsaFirst,
            peg: true,
            patch_epsilon: 1e-6,
            output_norm: OutputNorm::None,
            head: Some(HeadConfig { kind: HeadKind::Mlp, classes: 1000 }),
            drop_path: 0.2,
        }
    }

    /// The classifier B: 81,881,624 parameters.
    pub fn base() -> Self {
        Self {
            dims: [96, 192, 384, 768],
            heads: [3, 6, 12, 24],
            depths: [2, 2, 14, 6],
            channel_factors: [2.0, 1.25, 1.25, 1.0],
            drop_path: 0.5,
            ..Self::small()
        }
    }

    /// The classifier L: 109,288,840 parameters.
    ///
    /// DEVIATION: the paper prints 104.9 M, which no assembly of its parts gives; the released class and the totals of its detectors do.
    pub fn large() -> Self {
        Self {
            dims: [128, 256, 512, 1024],
            heads: [4, 8, 16, 32],
            depths: [2, 6, 12, 4],
            channel_factors: [0.25, 0.5, 1.0, 1.0],
            drop_path: 0.5,
            ..Self::small()
        }
    }

    /// For tests and for two cores: narrow, with odd and single blocks and both directions of scaling; ten classes.
    pub fn tiny() -> Self {
        Self {
            dims: [16, 32, 48, 64],
            heads: [2, 2, 4, 4],
            depths: [2, 3, 2, 1],
            mlp_ratios: [4.0, 4.0, 2.0, 2.0],
            channel_factors: [1.25, 0.5, 2.0, 1.0],
            head: Some(HeadConfig { kind: HeadKind::Mlp, classes: 10 }),
            drop_path: 0.0,
            ..Self::small()
        }
    }

    /// The preset of this name: `tiny`, `small`, `base`, `large`.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "small" => Some(Self::small()),
            "base" => Some(Self::base()),
            "large" => Some(Self::large()),
            _ => None,
        }
    }

    /// The same trunk for dense prediction: norms of the maps, no head, and the epsilon of the authors' dense line. S is published with
    /// scaled values there; set [`ScalableVitConfig::value`].
    pub fn dense(self) -> Self {
        Self { output_norm: OutputNorm::Trunk, head: None, patch_epsilon: 1e-5, ..self }
    }

    /// With a head for this many classes, of the same kind.
    pub fn with_classes(self, classes: usize) -> Self {
        let kind = self.head.map_or(HeadKind::Mlp, |head| head.kind);
        Self { head: Some(HeadConfig { kind, classes }), ..self }
    }

    /// Channels of the four maps.
    pub fn channels(&self) -> [usize; 4] {
        self.dims
    }

    /// Width of queries and keys of a stage's global attention, `floor(C r_c)` where keys are reduced.
    pub fn scaled(&self, stage: usize) -> usize {
        match self.global {
            GlobalAttention::Ssa | GlobalAttention::SsaPool if self.reductions[stage] > 1 => {
                (self.dims[stage] as f64 * self.channel_factors[stage]).floor() as usize
            }
            _ => self.dims[stage],
        }
    }

    /// Shares of the samples that training drops in each block, through all stages: `p g / (blocks - 1)`.
    pub fn drop_path_rates(&self) -> Vec<f64> {
        let blocks: usize = self.depths.iter().sum();
        let last = blocks.saturating_sub(1).max(1) as f64;
        (0..blocks).map(|block| self.drop_path * block as f64 / last).collect()
    }

    /// Rows and columns of the four stages' grids for an image.
    pub fn grids(&self, height: usize, width: usize) -> [[usize; 2]; 4] {
        let mut grid = [height, width];
        self.strides.map(|stride| {
            grid = grid.map(|side| side.div_ceil(stride));
            grid
        })
    }

    /// # Errors
    /// If an image of this size is too small for a stage.
    pub fn fits(&self, height: usize, width: usize) -> Result<(), TooSmall> {
        let reduces = |stage: &usize| {
            let has = |index: usize| index < self.depths[*stage] && !self.order.is_windowed(index);
            self.global != GlobalAttention::Vanilla && (has(0) || has(1))
        };
        let grids = self.grids(height, width);
        let narrow = |stage: &usize| grids[*stage].into_iter().any(|side| side < self.reductions[*stage].max(1));
        let Some(stage) = (0..4).filter(reduces).find(narrow).or((height.min(width) == 0).then_some(0)) else {
            return Ok(());
        };
        // The stage's grid has at least r rows once the image has (r - 1) strides and a pixel.
        let least =
            |stage: usize| (self.reductions[stage].max(1) - 1) * self.strides[..=stage].iter().product::<usize>() + 1;
        let least = (0..4).filter(reduces).map(least).max().unwrap_or(1);
        Err(TooSmall { height, width, least, stage: stage + 1, reduction: self.reductions[stage] })
    }

    /// As [`ScalableVitConfig::check`], for the backbone of another system.
    ///
    /// # Errors
    /// Naming the field that cannot be, or that belongs to a classifier.
    pub fn check_dense(&self) -> Result<(), ConfigError> {
        let bad =
            |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
        if let Some(head) = self.head {
            return bad("head", format!("{} classes", head.classes), "none: the maps are used");
        }
        if self.in_channels != 3 {
            return bad("in_channels", self.in_channels.to_string(), "3, those of a picture");
        }
        self.check()
    }

    /// # Errors
    /// Naming the field that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad =
            |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
        if !(1..=1 << 10).contains(&self.in_channels) {
            return bad("in_channels", self.in_channels.to_string(), "1 to 1024");
        }
        if !(2..=1 << 10).contains(&self.window) {
            return bad("window", self.window.to_string(), "2 to 1024");
        }
        // Beyond these, products of sizes would not fit their type.
        let sizes = [
            ("dims", self.dims, 1 << 14),
            ("depths", self.depths, 1000),
            ("strides", self.strides, 64),
            ("reductions", self.reductions, 1 << 10),
        ];
        for (field, sizes, most) in sizes {
            if sizes.iter().any(|size| !(1..=most).contains(size)) {
                return bad(field, format!("{sizes:?}"), &format!("1 to {most} in every stage"));
            }
        }
        self.check_stages()?;
        if self.head.is_some_and(|head| head.classes == 0) {
            return bad("head.classes", "0".into(), "at least 1");
        }
        if self.head.is_some()
            && let Err(TooSmall { least, .. }) = self.fits(self.side, self.side)
        {
            return bad("side", self.side.to_string(), &format!("at least {least}"));
        }
        if !(0.0..1.0).contains(&self.drop_path) {
            return bad("drop_path", self.drop_path.to_string(), "from 0 to below 1");
        }
        if !(self.patch_epsilon.is_finite() && self.patch_epsilon > 0.0) {
            return bad("patch_epsilon", self.patch_epsilon.to_string(), "above 0");
        }
        Ok(())
    }

    /// What must go together within a stage.
    fn check_stages(&self) -> Result<(), ConfigError> {
        let bad =
            |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
        for stage in 0..4 {
            let (dim, heads) = (self.dims[stage], self.heads[stage]);
            if heads == 0 || !dim.is_multiple_of(heads) {
                return bad(
                    "heads",
                    format!("{heads} for {dim} channels in stage {}", stage + 1),
                    "a divisor of the channels",
                );
            }
            let hidden = dim as f64 * self.mlp_ratios[stage];
            if !(hidden.is_finite() && (1.0..1e6).contains(&hidden)) {
                return bad("mlp_ratios", format!("{:?}", self.mlp_ratios), "a hidden width of at least 1");
            }
            let scaled = self.scaled(stage);
            if !self.channel_factors[stage].is_finite() || scaled == 0 || !scaled.is_multiple_of(heads) {
                let found = format!("{} for {dim} channels and {heads} heads", self.channel_factors[stage]);
                return bad("channel_factors", found, "floor(channels factor) a multiple of the heads, above 0");
            }
        }
        Ok(())
    }
}
