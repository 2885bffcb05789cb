//! What evaluations do where nobody says otherwise: by the data, the protocol and the model.

use groundling::Grounder;
use groundling_core::ImageSize;
use groundling_data::DataSource;
use groundling_data::readers::refer::Flavour;
use groundling_eval::grec::Pairing;
use groundling_eval::gres::PredictedEmpty;
use groundling_eval::rec::RecRule;
use groundling_eval::{MaskSize, Protocol};
use groundling_models::contract::Fit;
use serde::Serialize;

use crate::flags::TargetsName;

/// In whose pixels answers are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    /// Those of the original picture.
    Original,
    /// Those of the model's canvas: the truth is resized to it, as the released programs of segmentation do, and the answer is taken as
    /// the network gives it.
    Canvas(ImageSize),
}

impl Frame {
    /// The canvas where a protocol compares masks of just its size and pictures fill it.
    pub(super) fn of(protocol: Protocol, grounder: &Grounder) -> Self {
        let input = grounder.input();
        match protocol.mask_size() {
            Some(MaskSize::Resized(side)) if side == input.side && input.fit == Fit::Square => {
                ImageSize::square(side).map_or(Self::Original, Self::Canvas)
            }
            _ => Self::Original,
        }
    }
}

impl Serialize for Frame {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Original => serializer.serialize_str("original"),
            Self::Canvas(size) => serializer.collect_str(&format_args!("canvas {size}")),
        }
    }
}

/// The seed of generated data; other data have none.
pub(super) fn seed_of(data: &DataSource, seed: u64) -> Option<u64> {
    matches!(data, DataSource::Scenes { .. }).then_some(seed)
}

/// gRefCOCO has phrases about nothing and about several things, Ref-ZOM and scenes too, which only masks are scored on; everything else is
/// scored by its phrases about one thing.
pub(super) fn usual_protocol(data: &DataSource, segments: bool) -> Protocol {
    let flavour = match data {
        DataSource::Refer { flavour, .. } => Some(flavour),
        _ => None,
    };
    match (flavour, segments) {
        (Some(Flavour::GRefCoco), false) => Protocol::Grec(Pairing::Giou),
        (Some(Flavour::GRefCoco), true) => Protocol::Gres { empty: PredictedEmpty::Flag, size: MaskSize::Original },
        (Some(Flavour::Refer), true) => Protocol::Res(MaskSize::Original),
        (Some(Flavour::RefZom), true) => Protocol::RefZom(MaskSize::Original),
        (None, true) if matches!(data, DataSource::Scenes { .. }) => Protocol::RefZom(MaskSize::Original),
        _ => Protocol::Rec(RecRule::Standard),
    }
}

/// One target where a protocol scores one box, else every phrase.
pub(super) fn usual_targets(protocol: Protocol) -> TargetsName {
    if matches!(protocol, Protocol::Rec(_)) { TargetsName::One } else { TargetsName::All }
}
