//! Groups of samples: where a figure comes from.
//!
//! | break-down | groups |
//! |---|---|
//! | phrase length | 1-2, 3-5, 6-10, more than 10 words between white space |
//! | spatial words | phrase has a word of [`SPATIAL_WORDS`], or not |
//! | target size | small, medium, large by the mean area of the true boxes: below 32^2, below 96^2, the rest; else no box |
//! | number of targets | zero, one, many, by the data set's word |

use groundling_core::TargetCount;

use crate::records::{Sample, TruthRecord};

/// Words that say where something is. A phrase is spatial if one of them is among its words, in any case; words are runs
/// of letters, so "left-hand" has "left", and "leftover" has none.
pub const SPATIAL_WORDS: [&str; 68] = [
    "above",
    "across",
    "adjacent",
    "against",
    "ahead",
    "along",
    "alongside",
    "among",
    "around",
    "aside",
    "away",
    "back",
    "background",
    "before",
    "behind",
    "below",
    "beneath",
    "beside",
    "besides",
    "between",
    "beyond",
    "bottom",
    "bottommost",
    "center",
    "central",
    "centre",
    "close",
    "closer",
    "closest",
    "corner",
    "down",
    "edge",
    "far",
    "farther",
    "farthest",
    "foreground",
    "front",
    "furthest",
    "inside",
    "left",
    "leftmost",
    "lower",
    "lowest",
    "mid",
    "middle",
    "near",
    "nearer",
    "nearest",
    "next",
    "opposite",
    "outside",
    "over",
    "rear",
    "right",
    "rightmost",
    "side",
    "sides",
    "top",
    "topmost",
    "toward",
    "towards",
    "under",
    "underneath",
    "up",
    "upper",
    "uppermost",
    "upside",
    "within",
];

/// A way to divide samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Breakdown {
    /// By the number of words.
    PhraseLength,
    /// By whether the phrase has spatial words.
    SpatialWords,
    /// By the size of the targets.
    TargetSize,
    /// By the number of targets.
    TargetCount,
}

impl Breakdown {
    /// All of them, in the order of reports.
    pub const ALL: [Breakdown; 4] =
        [Breakdown::PhraseLength, Breakdown::SpatialWords, Breakdown::TargetSize, Breakdown::TargetCount];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Breakdown::PhraseLength => "phrase length",
            Breakdown::SpatialWords => "spatial words",
            Breakdown::TargetSize => "target size",
            Breakdown::TargetCount => "number of targets",
        }
    }

    /// Names of the groups, in order.
    pub fn groups(self) -> &'static [&'static str] {
        match self {
            Breakdown::PhraseLength => &["1-2 words", "3-5 words", "6-10 words", ">10 words"],
            Breakdown::SpatialWords => &["with", "without"],
            Breakdown::TargetSize => &["small", "medium", "large", "no box"],
            Breakdown::TargetCount => &["zero", "one", "many"],
        }
    }

    /// The group of a sample, as its place in [`Breakdown::groups`].
    pub fn group_of(self, truth: &TruthRecord) -> usize {
        match self {
            Breakdown::PhraseLength => match truth.phrase.word_count() {
                0..=2 => 0,
                3..=5 => 1,
                6..=10 => 2,
                _ => 3,
            },
            Breakdown::SpatialWords => usize::from(!is_spatial(truth.phrase.as_str())),
            Breakdown::TargetSize => match mean_box_area(truth) {
                None => 3,
                Some(area) if area < 1024.0 => 0,
                Some(area) if area < 9216.0 => 1,
                Some(_) => 2,
            },
            Breakdown::TargetCount => match truth.source {
                TargetCount::Zero => 0,
                TargetCount::One => 1,
                TargetCount::Many => 2,
            },
        }
    }

    /// Places of the samples of every group, in the order of [`Breakdown::groups`].
    pub fn divide(self, samples: &[Sample]) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); self.groups().len()];
        for (place, sample) in samples.iter().enumerate() {
            groups[self.group_of(&sample.truth)].push(place);
        }
        groups
    }
}

/// Whether a phrase has a word of [`SPATIAL_WORDS`].
pub fn is_spatial(phrase: &str) -> bool {
    phrase
        .split(|c: char| !c.is_alphabetic())
        .any(|word| SPATIAL_WORDS.binary_search(&word.to_lowercase().as_str()).is_ok())
}

/// Boxes of the targets, or the box of the merged mask where the data set gives nothing else.
fn mean_box_area(truth: &TruthRecord) -> Option<f64> {
    let targets = &truth.truth.targets;
    if targets.is_empty() {
        return truth.truth.merged_mask.as_ref()?.bbox().map(|bbox| bbox.area());
    }
    Some(targets.iter().map(|target| target.bbox.area()).sum::<f64>() / targets.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_for_the_search() {
        assert!(SPATIAL_WORDS.is_sorted(), "binary search needs order");
    }

    #[test]
    fn whole_words_count() {
        for (phrase, spatial) in [
            ("LEFT man", true),
            ("left-hand cup", true),
            ("leftover pizza", false),
            ("the man who is nearest.", true),
            ("red cup", false),
        ] {
            assert_eq!(is_spatial(phrase), spatial, "{phrase}");
        }
    }
}
