//! Why joined samples cannot be scored under a protocol.

use groundling_core::RleError;

use crate::coco::CocoError;

/// Samples that do not suit the protocol.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The protocol is about one target an expression.
    #[error("sample {id:?} has {found} target boxes, expected exactly 1 for {protocol}")]
    NotOneTarget {
        /// Id of the sample.
        id: String,
        /// Name of the protocol.
        protocol: &'static str,
        /// Targets found.
        found: usize,
    },
    /// The protocol pairs boxes, and a targeted sample lists none.
    #[error("sample {id:?} is not \"no target\" but lists no target box, expected at least 1 for {protocol}")]
    NoTargetBox {
        /// Id of the sample.
        id: String,
        /// Name of the protocol.
        protocol: &'static str,
    },
    /// The protocol is about masks.
    #[error("sample {id:?}: {whose} target {target} has no mask, expected one for a protocol on masks")]
    NoMask {
        /// Id of the sample.
        id: String,
        /// `true` or `predicted`.
        whose: &'static str,
        /// Place of the target in its list, from 0.
        target: usize,
    },
    /// Masks of one sample that have different sizes.
    #[error("sample {id:?}: {source}")]
    MaskSize {
        /// Id of the sample.
        id: String,
        /// The sizes.
        source: RleError,
    },
    /// A box or score that the COCO evaluation refuses; entries are counted over all samples.
    #[error("COCO evaluation: {0}")]
    Coco(#[from] CocoError),
}
