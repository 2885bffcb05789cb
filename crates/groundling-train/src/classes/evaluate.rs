//! Figures of a classifier: how often the right class is the best, or among the best five.

use std::time::Instant;

use groundling::Classifier;
use groundling_data::labelled::ClassExamples;
use groundling_eval::classification::{label_ranks, top_k_accuracy};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::evaluate::EvaluationError;
use crate::task::{Figures, percent};

/// What an evaluation found. Figures are percentages, `None` where there is nothing to average.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassFigures {
    /// Pictures.
    pub count: usize,
    /// How often the right class is the best.
    pub top1: Option<f64>,
    /// How often it is among the best five.
    pub top5: Option<f64>,
    /// Counted operations of a picture.
    pub flops: u64,
    /// Seconds of wall clock.
    pub secs: f64,
}

impl Figures for ClassFigures {
    fn best(&self) -> (&'static str, f64) {
        ("top-1", self.top1.unwrap_or(0.0))
    }

    fn columns(&self) -> Vec<(&'static str, String)> {
        vec![
            ("top-1", percent(self.top1)),
            ("top-5", percent(self.top5)),
            ("pictures", self.count.to_string()),
            ("GFLOPs", format!("{:.3}", self.flops as f64 / 1e9)),
        ]
    }

    fn curves(_: &Value) -> Vec<(String, String)> {
        [("top-1", "/top1"), ("top-5", "/top5")].map(|(name, at)| (name.to_owned(), at.to_owned())).to_vec()
    }
}

/// What a classifier said about a picture whose class is known.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassAnswer {
    /// The picture.
    pub name: String,
    /// Its class, as the classifier numbers it.
    pub class: usize,
    /// The class that was found.
    pub found: usize,
    /// Its probability.
    pub score: f64,
    /// Classes that stand before the right one; ties go to the lower number.
    pub rank: usize,
}

/// Scores a classifier on a source.
#[derive(Debug)]
pub struct ClassScorer<'a> {
    classifier: &'a Classifier,
    examples: &'a ClassExamples,
    /// The classifier's class for each of the source's.
    class_of: Vec<usize>,
}

impl<'a> ClassScorer<'a> {
    /// Matches the classes of classifier and source by their names.
    ///
    /// # Errors
    /// If the source has a class that the classifier does not know, which it could never find.
    pub fn new(classifier: &'a Classifier, examples: &'a ClassExamples) -> Result<Self, EvaluationError> {
        let (known, wanted) = (classifier.classes(), examples.classes());
        let number = |name: &String| known.iter().position(|other| other == name).ok_or_else(|| name.clone());
        let (found, unknown): (Vec<_>, Vec<_>) = wanted.iter().map(number).partition(Result::is_ok);
        if !unknown.is_empty() {
            let unknown = unknown.into_iter().filter_map(Result::err).collect();
            return Err(EvaluationError::Classes { unknown, known: known.to_vec() });
        }
        Ok(Self { classifier, examples, class_of: found.into_iter().flatten().collect() })
    }

    /// Classifies the first `limit` pictures, or those of the first scenes, in parallel; in the order of the source.
    ///
    /// # Errors
    /// If a picture cannot be read, or a probability is not finite.
    pub fn answers(&self, limit: Option<usize>) -> Result<Vec<ClassAnswer>, EvaluationError> {
        let count = limit.map_or(self.examples.len(), |limit| self.examples.len().min(limit));
        let of_index = |index: usize| {
            let pictures = self.examples.pictures(index)?;
            let answer = |picture: groundling_data::labelled::ClassPicture| {
                let scores = self.classifier.scores(&picture.image)?;
                let class = self.class_of[picture.class];
                let ranks = label_ranks(&scores, &[class], scores.len());
                let rank = ranks.expect("a row of finite scores with a label of it")[0];
                let better = |best: (usize, f64), (class, &score): (usize, &f64)| {
                    if score > best.1 { (class, score) } else { best }
                };
                let (found, score) = scores.iter().enumerate().fold((0, f64::NEG_INFINITY), better);
                Ok(ClassAnswer { name: picture.name, class, found, score, rank })
            };
            pictures.into_iter().map(answer).collect::<Result<Vec<_>, EvaluationError>>()
        };
        let answers: Vec<_> = (0..count).into_par_iter().map(of_index).collect::<Result<_, _>>()?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Classifies and scores.
    ///
    /// # Errors
    /// As [`ClassScorer::answers`].
    pub fn score(&self, limit: Option<usize>) -> Result<ClassFigures, EvaluationError> {
        let start = Instant::now();
        let answers = self.answers(limit)?;
        Ok(ClassFigures { secs: start.elapsed().as_secs_f64(), ..self.figures(&answers) })
    }

    /// The figures of answers.
    pub fn figures(&self, answers: &[ClassAnswer]) -> ClassFigures {
        let ranks: Vec<usize> = answers.iter().map(|answer| answer.rank).collect();
        ClassFigures {
            count: answers.len(),
            top1: top_k_accuracy(&ranks, 1),
            top5: top_k_accuracy(&ranks, 5),
            flops: self.classifier.flops(),
            secs: 0.0,
        }
    }
}
