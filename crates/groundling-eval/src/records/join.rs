//! Every truth meets its prediction.

use std::collections::{HashMap, HashSet};

use groundling_core::ImageSize;

use super::{PredictionRecord, TruthRecord};

/// A truth and what was said about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What is true.
    pub truth: TruthRecord,
    /// What was said; `None` if nothing was and [`MissingPolicy::CountAsWrong`] allows it. Such a sample is wrong under
    /// every protocol, also where the truth is "no target".
    pub prediction: Option<PredictionRecord>,
}

/// What to do about truths without a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingPolicy {
    /// An error: a score over part of a data set is no score.
    #[default]
    Refuse,
    /// The sample counts as wrong.
    CountAsWrong,
}

/// Why truths and predictions do not go together. At most five examples are listed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Truths without a prediction.
    #[error("{count} of {truths} truths have no prediction, for example {examples:?}")]
    Missing {
        /// How many.
        count: usize,
        /// Truths there are.
        truths: usize,
        /// Their ids.
        examples: Vec<String>,
    },
    /// Predictions without a truth.
    #[error("{count} of {predictions} predictions have no truth, for example {examples:?}")]
    Surplus {
        /// How many.
        count: usize,
        /// Predictions there are.
        predictions: usize,
        /// Their ids.
        examples: Vec<String>,
    },
    /// An id that stands for several records.
    #[error("id {id:?} stands for several {what}, expected every id once")]
    Duplicate {
        /// `truths` or `predictions`.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// The prediction is about another phrase.
    #[error("id {id:?}: the prediction is for {found:?}, expected {expected:?}")]
    Phrase {
        /// The id.
        id: String,
        /// Phrase of the truth.
        expected: String,
        /// Phrase of the prediction.
        found: String,
    },
    /// The prediction is about an image of another size.
    #[error("id {id:?}: the prediction is for an image of {found}, expected {expected} (width x height)")]
    Size {
        /// The id.
        id: String,
        /// Size by the truth.
        expected: ImageSize,
        /// Size by the prediction.
        found: ImageSize,
    },
}

/// Pairs truths and predictions by id, in the order of the truths.
///
/// # Errors
/// [`JoinError`] if an id is missing (unless `missing` allows it), surplus or double, or if the two records of an id
/// disagree about the phrase or the size of the image.
pub fn join(
    truths: Vec<TruthRecord>,
    predictions: Vec<PredictionRecord>,
    missing: MissingPolicy,
) -> Result<Vec<Sample>, JoinError> {
    let ids: HashSet<&str> = truths.iter().map(|truth| truth.id.as_str()).collect();
    if ids.len() != truths.len() {
        return Err(duplicate("truths", truths.iter().map(|truth| &truth.id)));
    }
    let surplus: Vec<&String> = predictions.iter().map(|p| &p.id).filter(|id| !ids.contains(id.as_str())).collect();
    if !surplus.is_empty() {
        let (count, examples) = (surplus.len(), five(surplus));
        return Err(JoinError::Surplus { count, predictions: predictions.len(), examples });
    }
    let found = predictions.len();
    if predictions.iter().map(|p| &p.id).collect::<HashSet<_>>().len() != found {
        return Err(duplicate("predictions", predictions.iter().map(|p| &p.id)));
    }
    let mut by_id: HashMap<String, PredictionRecord> = predictions.into_iter().map(|p| (p.id.clone(), p)).collect();
    if by_id.len() < truths.len() && missing == MissingPolicy::Refuse {
        let absent: Vec<&String> = truths.iter().map(|t| &t.id).filter(|id| !by_id.contains_key(*id)).collect();
        return Err(JoinError::Missing { count: absent.len(), truths: truths.len(), examples: five(absent) });
    }
    let pair = |truth: TruthRecord| {
        let prediction = by_id.remove(&truth.id);
        if let Some(record) = &prediction {
            agree(&truth, record)?;
        }
        Ok(Sample { truth, prediction })
    };
    truths.into_iter().map(pair).collect()
}

fn agree(truth: &TruthRecord, record: &PredictionRecord) -> Result<(), JoinError> {
    let prediction = &record.prediction;
    if prediction.phrase != truth.phrase {
        return Err(JoinError::Phrase {
            id: truth.id.clone(),
            expected: truth.phrase.as_str().to_owned(),
            found: prediction.phrase.as_str().to_owned(),
        });
    }
    if prediction.image_size != truth.image_size {
        let (expected, found) = (truth.image_size, prediction.image_size);
        return Err(JoinError::Size { id: truth.id.clone(), expected, found });
    }
    Ok(())
}

fn five(ids: Vec<&String>) -> Vec<String> {
    ids.into_iter().take(5).cloned().collect()
}

fn duplicate<'a>(what: &'static str, ids: impl Iterator<Item = &'a String>) -> JoinError {
    let mut seen = HashSet::new();
    let mut ids = ids;
    let id = ids.find(|id| !seen.insert(id.as_str())).cloned();
    JoinError::Duplicate { what, id: id.unwrap_or_default() }
}
