//! What a model says a phrase refers to.

use crate::{BoxXyxy, ImageSize, Phrase, Pixels, Rle};

/// One thing the model points at.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictedTarget {
    /// Confidence, 0 to 1.
    pub score: f64,
    /// Where it is, in pixels of the original image.
    pub bbox: BoxXyxy<Pixels>,
    /// Its shape, from models that segment, at the size of the original image.
    pub mask: Option<Rle>,
    /// Class name, from models that classify.
    pub label: Option<String>,
}

/// Which weights answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelIdentity {
    /// Name of the model and preset.
    pub name: String,
    /// Hash of the weights.
    pub hash: String,
}

/// The answer to one phrase in one image.
///
/// "Not here" is said by [`Prediction::no_target`], never by an empty list alone: a model may list candidates below its
/// threshold and still say that nothing fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The phrase, verbatim.
    pub phrase: Phrase,
    /// Size of the original image.
    pub image_size: ImageSize,
    /// What was found, best first.
    pub targets: Vec<PredictedTarget>,
    /// Whether the model says that nothing in the image fits.
    pub no_target: bool,
    /// Its confidence in that, 0 to 1; `None` from models that cannot tell.
    pub no_target_score: Option<f64>,
    /// Who answered.
    pub model: ModelIdentity,
}

impl Prediction {
    /// The target with the highest score; the first of equals.
    pub fn best(&self) -> Option<&PredictedTarget> {
        self.targets.iter().reduce(|best, other| if other.score > best.score { other } else { best })
    }

    /// Targets whose score reaches a threshold.
    pub fn above(&self, threshold: f64) -> impl Iterator<Item = &PredictedTarget> {
        self.targets.iter().filter(move |target| target.score >= threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_target_is_the_first_of_equals() {
        let target =
            |score, x| PredictedTarget { score, bbox: BoxXyxy::new(x, 0.0, x + 1.0, 1.0), mask: None, label: None };
        let prediction = Prediction {
            phrase: Phrase::parse("cup").unwrap(),
            image_size: ImageSize::new(4, 4).unwrap(),
            targets: vec![target(0.2, 0.0), target(0.9, 1.0), target(0.9, 2.0)],
            no_target: false,
            no_target_score: None,
            model: ModelIdentity { name: "none".into(), hash: String::new() },
        };
        assert_eq!(prediction.best().unwrap().bbox.x0, 1.0);
        assert_eq!(prediction.above(0.9).count(), 2);
    }
}
