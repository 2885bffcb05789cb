//! Top-k accuracy of a classifier.
//!
//! A sample is right within k if fewer than k classes stand before its label, where class `j` stands before class `y` if its
//! score is higher, or equal with `j < y`: ties go to the class with the lower index, as `argmax` and a stable sort have
//! it. So a classifier that gives every class the same score is right on class 0 only, and not on everything.

/// Why scores cannot be ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClassificationError {
    /// The scores are not one row of `classes` for every label.
    #[error("{found} scores, expected {labels} labels x {classes} classes")]
    Length {
        /// Scores found.
        found: usize,
        /// Labels given.
        labels: usize,
        /// Classes stated.
        classes: usize,
    },
    /// A label that is no class.
    #[error("label of sample {sample} is {found}, expected below {classes}")]
    Label {
        /// Which sample.
        sample: usize,
        /// Its label.
        found: usize,
        /// Classes stated.
        classes: usize,
    },
    /// A score that is NaN.
    #[error("score of class {class} for sample {sample} is NaN, expected a number")]
    Nan {
        /// Which sample.
        sample: usize,
        /// Which class.
        class: usize,
    },
}

/// Number of classes that stand before the label of every sample: 0 if the label is the best.
///
/// `scores` `[N, classes]`, row-major; `labels` `[N]`.
///
/// # Errors
/// If lengths disagree, a label is no class, or a score is NaN.
pub fn label_ranks(scores: &[f64], labels: &[usize], classes: usize) -> Result<Vec<usize>, ClassificationError> {
    if labels.len().checked_mul(classes) != Some(scores.len()) {
        return Err(ClassificationError::Length { found: scores.len(), labels: labels.len(), classes });
    }
    let rank = |(sample, &label): (usize, &usize)| {
        let row = &scores[sample * classes..(sample + 1) * classes];
        let Some(&own) = row.get(label) else {
            return Err(ClassificationError::Label { sample, found: label, classes });
        };
        if let Some(class) = row.iter().position(|score| score.is_nan()) {
            return Err(ClassificationError::Nan { sample, class });
        }
        Ok(row.iter().enumerate().filter(|&(class, &score)| score > own || (score == own && class < label)).count())
    };
    labels.iter().enumerate().map(rank).collect()
}

/// Share of samples within the best `k`, in percent; `None` without samples.
pub fn top_k_accuracy(ranks: &[usize], k: usize) -> Option<f64> {
    crate::figures::percent(ranks.iter().filter(|&&rank| rank < k).count() as f64, ranks.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_class() {
        let flat = label_ranks(&[0.5; 12], &[0, 1, 2], 4).unwrap();
        assert_eq!(flat, [0, 1, 2]);
        assert_eq!(top_k_accuracy(&flat, 1), Some(100.0 / 3.0));
        assert_eq!(top_k_accuracy(&flat, 5), Some(100.0));
        assert_eq!(top_k_accuracy(&[], 1), None);
        let ranks = label_ranks(&[0.1, 0.9, 0.3, 0.2, 0.2, 0.7], &[2, 0], 3).unwrap();
        assert_eq!(ranks, [1, 1]);
    }

    #[test]
    fn wrong_input_is_an_error() {
        assert_eq!(
            label_ranks(&[0.0; 5], &[0, 1], 3),
            Err(ClassificationError::Length { found: 5, labels: 2, classes: 3 })
        );
        assert_eq!(
            label_ranks(&[0.0; 3], &[3], 3),
            Err(ClassificationError::Label { sample: 0, found: 3, classes: 3 })
        );
        assert_eq!(label_ranks(&[0.0, f64::NAN], &[0], 2), Err(ClassificationError::Nan { sample: 0, class: 1 }));
    }
}
