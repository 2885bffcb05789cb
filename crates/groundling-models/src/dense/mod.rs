//! Heads for dense prediction over the maps of a backbone: a feature pyramid with RetinaNet (boxes) or Semantic FPN (a class for every pixel).
//!
//! They are what the backbones' papers measure themselves with. Sources: Lin et al. 2017 (arXiv:1612.03144), Lin et al. 2017
//! (arXiv:1708.02002), Kirillov et al. 2019 (arXiv:1901.02446).
//!
//! Dimension key: `B` batch, `C` channels, `H` and `W` of a map, `A` anchors of a place, `K` classes.

mod fpn;
mod retina;
mod semantic;
mod suppress;

pub use fpn::{ExtraLevels, FeaturePyramid, FeaturePyramidConfig};
pub use retina::{Anchors, Detection, PostOptions, RetinaCriterion, RetinaNet, RetinaNetConfig, RetinaOutputs};
pub use semantic::{IGNORED, SemanticFpn, SemanticFpnConfig, Step};
pub use suppress::{Scored, suppress};
