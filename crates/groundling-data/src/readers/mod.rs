//! Readers of the layouts the field uses. All end in a [`Dataset`](crate::Dataset); each error names file and place.
//!
//! | layout | module |
//! |---|---|
//! | `refs(unc\|umd\|google).p` + `instances.json` (RefCOCO/+/g, ReferItGame, Ref-ZOM), `grefs(unc).json` (gRefCOCO) | [`refer`] |
//! | COCO `instances_*.json` | [`coco`] |
//! | Flickr30k Entities XML + sentences | [`flickr`] |
//! | ReSC / TransVG split lists (`.pth`) | [`resc`] |
//! | our own JSON lines | [`jsonl`] |

use std::path::Path;

use crate::dataset::DatasetError;

pub mod coco;
pub mod flickr;
pub mod jsonl;
pub mod refer;
pub mod resc;

/// What may be copied out of a pickle. Values there are shared: a list that names one list of a million sentences a million
/// times is a file of megabytes and a data set of terabytes.
struct CopyBudget<'a> {
    path: &'a Path,
    left: usize,
}

impl<'a> CopyBudget<'a> {
    /// Real files keep each record apart and share only short words, the split for instance; they need a twentieth of this.
    fn for_file(bytes: &[u8], path: &'a Path) -> Self {
        Self { path, left: bytes.len().saturating_mul(64).saturating_add(1 << 20) }
    }

    /// Pays for one record with this many bytes of text.
    fn pay(&mut self, place: &str, text_bytes: usize) -> Result<(), DatasetError> {
        const RECORD_BYTES: usize = 64;
        match self.left.checked_sub(RECORD_BYTES.saturating_add(text_bytes)) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(DatasetError::Field {
                path: self.path.to_owned(),
                place: place.to_owned(),
                field: "the record".to_owned(),
                found: "one of so many that the file must repeat itself".to_owned(),
                expected: "records that stand in the file one by one",
            }),
        }
    }
}
