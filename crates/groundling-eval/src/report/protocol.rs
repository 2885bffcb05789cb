//! Names of protocols.

use std::str::FromStr;

use crate::coco::IouKind;
use crate::grec::Pairing;
use crate::gres::PredictedEmpty;
use crate::masks::MaskSize;
use crate::rec::RecRule;

/// What is computed. The name, as parsed and printed, says every choice that changes a number.
///
/// | name | protocol |
/// |---|---|
/// | `rec`, `rec-transvg`, `rec-vltvg` | [`crate::rec`] with the rule of that name |
/// | `res`, `res-480` | [`crate::res`] at the original size, or with both masks resized to 480 x 480 (any number works) |
/// | `ref-zom`, `ref-zom-480` | the same with Acc on samples without a target; the paper compares at 480 |
/// | `gres`, `gres-empty-mask`, `gres-area50` | [`crate::gres`] with "empty" from the record's flag, from an empty mask, or from fewer than 50 (any number) pixels; each also `-480` |
/// | `grec`, `grec-paper-iou` | [`crate::grec`], boxes paired by GIoU (the released evaluator; also `grec-repo-giou`) or by IoU |
/// | `coco-box`, `coco-mask` | [`crate::coco`] over samples: every (image, phrase) counts as one image, all in one category |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// One expression, one box.
    Rec(RecRule),
    /// One expression, one mask.
    Res(MaskSize),
    /// One mask, or none.
    RefZom(MaskSize),
    /// Zero, one or many; masks.
    Gres {
        /// When a prediction counts as empty.
        empty: PredictedEmpty,
        /// At which size masks are compared.
        size: MaskSize,
    },
    /// Zero, one or many; boxes.
    Grec(Pairing),
    /// Average precision over ranked targets.
    Coco(IouKind),
}

/// A name that is no protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("protocol {found:?} does not exist, expected one of {known}")]
pub struct ProtocolError {
    /// The name.
    pub found: String,
    /// The names there are.
    pub known: &'static str,
}

const KNOWN: &str = "rec, rec-transvg, rec-vltvg, res[-N], ref-zom[-N], gres[-N], gres-empty-mask[-N], gres-areaK[-N], \
                     grec, grec-paper-iou, coco-box, coco-mask (N, K: numbers such as 480 and 50)";
/// Largest N of `-N` and K of `-areaK`.
const MOST: u32 = 16_384;

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(name: &str) -> Result<Self, ProtocolError> {
        let unknown = || ProtocolError { found: name.to_owned(), known: KNOWN };
        Ok(match name {
            "rec" => Protocol::Rec(RecRule::Standard),
            "rec-transvg" => Protocol::Rec(RecRule::TransVg),
            "rec-vltvg" => Protocol::Rec(RecRule::VltVg),
            "grec" | "grec-repo-giou" => Protocol::Grec(Pairing::Giou),
            "grec-paper-iou" => Protocol::Grec(Pairing::Iou),
            "coco-box" => Protocol::Coco(IouKind::Box),
            "coco-mask" => Protocol::Coco(IouKind::Mask),
            _ => {
                let (kind, size) = split_size(name).ok_or_else(unknown)?;
                match kind {
                    "res" => Protocol::Res(size),
                    "ref-zom" => Protocol::RefZom(size),
                    "gres" => Protocol::Gres { empty: PredictedEmpty::Flag, size },
                    "gres-empty-mask" => Protocol::Gres { empty: PredictedEmpty::EmptyMask, size },
                    _ => {
                        let pixels = kind.strip_prefix("gres-area").and_then(number).ok_or_else(unknown)?;
                        Protocol::Gres { empty: PredictedEmpty::Area { min_pixels: u64::from(pixels) }, size }
                    }
                }
            }
        })
    }
}

/// The name without `-N`, and the size that says.
fn split_size(name: &str) -> Option<(&str, MaskSize)> {
    match name.rsplit_once('-') {
        Some((kind, side)) if side.starts_with(|c: char| c.is_ascii_digit()) => {
            Some((kind, MaskSize::Resized(number(side)?)))
        }
        _ => Some((name, MaskSize::Original)),
    }
}

/// A number from 1, without sign or leading zeros, so that every protocol has one name.
fn number(text: &str) -> Option<u32> {
    let plain = text.starts_with(|c: char| ('1'..='9').contains(&c)) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| plain && *number <= MOST)
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = |f: &mut std::fmt::Formatter<'_>, size: &MaskSize| match size {
            MaskSize::Original => Ok(()),
            MaskSize::Resized(side) => write!(f, "-{side}"),
        };
        match self {
            Protocol::Rec(rule) => f.write_str(rule.name()),
            Protocol::Res(at) => f.write_str("res").and_then(|()| size(f, at)),
            Protocol::RefZom(at) => f.write_str("ref-zom").and_then(|()| size(f, at)),
            Protocol::Gres { empty, size: at } => {
                match empty {
                    PredictedEmpty::Flag => f.write_str("gres"),
                    PredictedEmpty::EmptyMask => f.write_str("gres-empty-mask"),
                    PredictedEmpty::Area { min_pixels } => write!(f, "gres-area{min_pixels}"),
                }?;
                size(f, at)
            }
            Protocol::Grec(Pairing::Giou) => f.write_str("grec"),
            Protocol::Grec(Pairing::Iou) => f.write_str("grec-paper-iou"),
            Protocol::Coco(IouKind::Box) => f.write_str("coco-box"),
            Protocol::Coco(IouKind::Mask) => f.write_str("coco-mask"),
        }
    }
}

impl Protocol {
    /// At which size masks are compared; `None` where none are, or where they are ranked as COCO does.
    pub fn mask_size(self) -> Option<MaskSize> {
        match self {
            Protocol::Res(size) | Protocol::RefZom(size) | Protocol::Gres { size, .. } => Some(size),
            Protocol::Rec(_) | Protocol::Grec(_) | Protocol::Coco(_) => None,
        }
    }

    /// Whether it compares masks.
    pub fn needs_masks(self) -> bool {
        self.mask_size().is_some() || self == Protocol::Coco(IouKind::Mask)
    }

    /// What the choices in the name mean, in one sentence.
    pub fn description(self) -> String {
        let size = |size: MaskSize| match size {
            MaskSize::Original => "at the size of the image".to_owned(),
            MaskSize::Resized(side) => format!("resized to {side} x {side}"),
        };
        match self {
            Protocol::Rec(RecRule::Standard) => "best box, clipped to the image, right if IoU >= t".into(),
            Protocol::Rec(RecRule::TransVg) => "best box, clipped to the square canvas, right if IoU >= t".into(),
            Protocol::Rec(RecRule::VltVg) => "best box, clipped to the image, right if IoU > t".into(),
            Protocol::Res(at) => format!("masks {}, samples with a target only", size(at)),
            Protocol::RefZom(at) => format!("masks {}, Acc on samples without a target", size(at)),
            Protocol::Gres { empty, size: at } => {
                let empty = match empty {
                    PredictedEmpty::Flag => "the no_target flag".to_owned(),
                    PredictedEmpty::EmptyMask => "an empty mask".to_owned(),
                    PredictedEmpty::Area { min_pixels } => format!("fewer than {min_pixels} pixels, cleared first"),
                };
                format!("masks {}, predicted empty by {empty}", size(at))
            }
            Protocol::Grec(Pairing::Giou) => "boxes paired by GIoU (repo-giou)".into(),
            Protocol::Grec(Pairing::Iou) => "boxes paired by IoU (paper-iou)".into(),
            Protocol::Coco(IouKind::Box) => "AP of ranked boxes, every sample an image, one category".into(),
            Protocol::Coco(IouKind::Mask) => "AP of ranked masks, every sample an image, one category".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back() {
        for name in [
            "rec",
            "rec-transvg",
            "rec-vltvg",
            "res",
            "res-480",
            "ref-zom",
            "ref-zom-480",
            "gres",
            "gres-480",
            "gres-empty-mask",
            "gres-empty-mask-480",
            "gres-area50",
            "gres-area50-480",
            "grec",
            "grec-paper-iou",
            "coco-box",
            "coco-mask",
        ] {
            let protocol: Protocol = name.parse().unwrap();
            assert_eq!(protocol.to_string(), name);
            assert!(!protocol.description().is_empty());
        }
        assert_eq!("grec-repo-giou".parse::<Protocol>().unwrap().to_string(), "grec");
    }

    #[test]
    fn other_names_are_errors() {
        for name in
            ["", "REC", "res-0", "res-+5", "res-05", "res-99999", "gres-area", "gres-area0", "rec-480", "gres-", "-480"]
        {
            let error = name.parse::<Protocol>().unwrap_err();
            assert!(error.to_string().contains("does not exist, expected one of rec, "), "{error}");
        }
    }
}
