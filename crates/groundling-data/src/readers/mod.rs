//! Readers of the layouts the field uses. All end in a [`Dataset`](crate::Dataset); each error names file and place.
//!
//! | layout | module |
//! |---|---|
//! | `refs(unc\|umd\|google).p` + `instances.json` (RefCOCO/+/g, ReferItGame, Ref-ZOM), `grefs(unc).json` (gRefCOCO) | [`refer`] |
//! | COCO `instances_*.json` | [`coco`] |
//! | Flickr30k Entities XML + sentences | [`flickr`] |
//! | ReSC / TransVG split lists (`.pth`) | [`resc`] |
//! | our own JSON lines | [`jsonl`] |

pub mod coco;
pub mod flickr;
pub mod jsonl;
pub mod refer;
pub mod resc;
