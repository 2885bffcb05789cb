//! What training minimises.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use groundling_core::{BinaryMask, ImageSize};
use groundling_nn::layers::Convolution;
use groundling_nn::losses::{binary_cross_entropy, masked_cosine, paired_contrast, two_class_cross_entropy};
use serde::{Deserialize, Serialize};

use super::absence::sum_of_odds;
use super::network::{Network, Output};
use super::norms::convolution;
use crate::contract::{ConfigError, Losses, SampleTruth};
use crate::places::{PlaceLabels, named_labels};

/// Weights of the losses, and what training leaves as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criterion {
    /// Of pixels of the background and of targets in the cross-entropy of the mask.
    pub class_weights: [f64; 2],
    /// Of one minus the cosine of the recovered phrase with the whole one; 0 trains without context clue recovery.
    pub recovery: f64,
    /// Of the contrast of map and phrase over the batch; 0 trains without it.
    pub contrast: f64,
    /// By which similarities are divided in the contrast.
    pub temperature: f64,
    /// Auxiliary: of a binary cross-entropy of whether anything fits the phrase, read from the finest map as `ln(sum of e^odds) - ln p`, p
    /// being `presence_pixels`: about the odds of the likeliest pixels, which say "not here". The cross-entropy of the mask weighs pixels: of a
    /// phrase that fits nothing it hardly sees the few that are taken for a target. A model with `absence_layers` says these odds itself.
    pub presence: f64,
    /// How many pixels of the finest map, each as likely a target as not, make it as likely as not that anything fits; not read by a model
    /// with `absence_layers`.
    pub presence_pixels: f64,
    /// Auxiliary: of binary cross-entropies that tell pixels of objects that the phrase's head noun fits ("the star" of "the star left of the
    /// ring"), and of those that its other nouns fit, from all others; labels are those of the smallest object at the pixel. Read from the
    /// decoder's maps between its layers, from heads that are no part of published weights. Pairs of which nobody knows what their nouns fit
    /// do not count.
    pub named: f64,
    /// The first so many layers of BERT are trained, and neither the others nor its embeddings; `None` trains all of it.
    pub trained_text_layers: Option<usize>,
    /// Whether the decoder's batch norms use their running statistics in training, too, and leave them: for batches too small to have any.
    pub fixed_norms: bool,
}

impl Default for Criterion {
    /// The reference's weights. DEVIATION: all of BERT is trained, since most of our models do not start from a published one; a recipe
    /// that does sets `trained_text_layers = 10`.
    fn default() -> Self {
        Self {
            class_weights: [0.9, 1.1],
            recovery: 0.01,
            contrast: 0.01,
            temperature: 0.05,
            presence: 0.0,
            presence_pixels: 8.0,
            named: 0.0,
            trained_text_layers: None,
            fixed_norms: false,
        }
    }
}

impl Criterion {
    /// # Errors
    /// Naming the field that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |field, found: f64, expected: &str| {
            Err(ConfigError { field, found: found.to_string(), expected: expected.to_owned() })
        };
        let weights = [
            ("recovery", self.recovery),
            ("contrast", self.contrast),
            ("presence", self.presence),
            ("named", self.named),
        ];
        for (field, weight) in weights {
            if !(weight.is_finite() && weight >= 0.0) {
                return bad(field, weight, "at least 0");
            }
        }
        let positive = [
            ("class_weights", self.class_weights[0]),
            ("class_weights", self.class_weights[1]),
            ("temperature", self.temperature),
            ("presence_pixels", self.presence_pixels),
        ];
        match positive.into_iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
            Some((field, value)) => bad(field, value, "above 0"),
            None => Ok(()),
        }
    }

    /// Whether a loss reads what only training makes.
    pub(super) fn learns_aside(&self) -> bool {
        self.recovery > 0.0 || self.contrast > 0.0
    }
}

/// What is right for a batch.
#[derive(Debug, Clone)]
pub struct Targets {
    /// `[B, H, W]`, 1 on targets.
    pub masks: Tensor<3>,
    /// `[B]`, 0 where nothing fits the phrase.
    pub flags: Tensor<1>,
}

impl Targets {
    /// Masks of this size from what is known about each pair: its mask, resized if it has another size; where only a box is known, the
    /// box; nothing where nothing fits.
    pub(super) fn new(truths: &[SampleTruth], [height, width]: [usize; 2], device: &Device) -> Self {
        let mut values = vec![0.0f32; truths.len() * height * width];
        let mut flags = Vec::with_capacity(truths.len());
        for (truth, plane) in truths.iter().zip(values.chunks_mut((height * width).max(1))) {
            let inside = |&inside: &bool| f32::from(u8::from(inside));
            match (&truth.mask, &truth.bbox) {
                (Some(mask), _) => {
                    let pixels = sized(mask, [height, width]);
                    plane.iter_mut().zip(pixels.pixels()).for_each(|(to, from)| *to = inside(from));
                }
                (None, Some(bbox)) => {
                    let bbox = bbox.to_xyxy();
                    for (index, to) in plane.iter_mut().enumerate() {
                        let x = ((index % width) as f64 + 0.5) / width as f64;
                        let y = ((index / width) as f64 + 0.5) / height as f64;
                        let within = (bbox.x0..bbox.x1).contains(&x) && (bbox.y0..bbox.y1).contains(&y);
                        *to = inside(&within);
                    }
                }
                (None, None) => {}
            }
            let some = truth.bbox.is_some() || truth.mask.as_ref().is_some_and(|mask| !mask.is_empty());
            flags.push(inside(&some));
        }
        let count = truths.len();
        Self {
            masks: Tensor::from_data(TensorData::new(values, [count, height, width]), device),
            flags: Tensor::from_data(TensorData::new(flags, [count]), device),
        }
    }
}

fn sized(mask: &BinaryMask, [height, width]: [usize; 2]) -> BinaryMask {
    let size = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
    match ImageSize::new(size(height), size(width)) {
        Ok(size) if size != mask.size() => mask.resized_nearest(size),
        _ => mask.clone(),
    }
}

impl Network {
    /// The losses of an output.
    ///
    /// # Shapes
    /// - `valid` `[B, L]`, 1 for a real token, 0 for padding
    ///
    /// # Panics
    /// If shapes disagree, or the criterion reads what was not made because no phrase was to be recovered.
    pub fn losses(&self, output: &Output, valid: Tensor<2>, targets: &Targets, criterion: &Criterion) -> Losses {
        let segmentation =
            two_class_cross_entropy(output.logits.clone(), targets.masks.clone(), criterion.class_weights);
        let mut terms = vec![("segmentation".to_owned(), segmentation.clone().without_autodiff())];
        let mut total = segmentation;
        let mut add = |name: &str, weight: f64, loss: Tensor<1>| {
            terms.push((name.to_owned(), loss.clone().without_autodiff()));
            total = total.clone() + loss.mul_scalar(weight);
        };
        let learned = || output.decoded.learned.clone().expect("an erased phrase is given where a loss reads it");
        if criterion.recovery > 0.0 {
            // PARITY: a phrase that fits nothing adds a constant, where the paper has 0; gradients are the same.
            let recovered = learned().recovered;
            let loss = masked_cosine(output.language.clone(), recovered, valid, targets.flags.clone());
            add("recovery", criterion.recovery, loss);
        }
        if criterion.contrast > 0.0 {
            let summary = self.summary(output.language.clone());
            let loss = paired_contrast(learned().pooled, summary, targets.flags.clone(), criterion.temperature);
            add("contrast", criterion.contrast, loss);
        }
        if criterion.presence > 0.0 {
            let odds = output.present.clone().unwrap_or_else(|| {
                sum_of_odds(output.decoded.low_logits.clone()).sub_scalar(criterion.presence_pixels.ln())
            });
            let flags = targets.flags.clone().reshape(odds.dims());
            add("presence", criterion.presence, binary_cross_entropy(odds, flags).mean());
        }
        Losses { total, terms }
    }
}

/// Heads that only training reads; no part of the published weights.
#[derive(Module, Debug)]
pub(super) struct Auxiliary {
    /// On the decoder's maps between its layers, coarsest first: whether the phrase's head noun fits the object at a pixel, and whether another
    /// of its nouns does.
    named: Vec<Convolution>,
}

impl Auxiliary {
    /// The heads that a criterion asks for, on maps of so many channels; `None` if it asks for none.
    pub(super) fn new(criterion: &Criterion, width: usize, device: &Device) -> Option<Self> {
        let head = |_| convolution(width, 2, 1, true, device);
        (criterion.named > 0.0).then(|| Self { named: (0..2).map(head).collect() })
    }

    /// Adds the losses of what only training reads.
    ///
    /// # Panics
    /// If there is not one truth for each pair.
    pub(super) fn add_losses(
        &self,
        losses: &mut Losses,
        maps: &[Tensor<4>; 2],
        truths: &[SampleTruth],
        criterion: &Criterion,
    ) {
        for (head, map) in self.named.iter().zip(maps) {
            let logits = head.forward(map.clone());
            let [b, _, h, w] = logits.dims();
            assert_eq!(truths.len(), b, "a truth for each pair");
            let centre = |index: usize, side: usize| (index as f64 + 0.5) / side as f64;
            let places: Vec<(f64, f64)> =
                (0..h * w).map(|index| (centre(index % w, w), centre(index / w, h))).collect();
            let term = |noun: usize, labels: PlaceLabels| {
                let of_noun = logits.clone().narrow(1, noun, 1).reshape([b, h * w]);
                labels.to_device(&logits.device()).cross_entropy(of_noun).sum()
            };
            let [head, others] = named_labels(truths, &places, |_, _| true);
            let loss = term(0, head) + term(1, others);
            losses.terms.push((format!("named.{h}"), loss.clone().without_autodiff()));
            losses.total = losses.total.clone() + loss.mul_scalar(criterion.named);
        }
    }
}

/// The module with fixed parameters: those whose name, fields joined by dots, `is_fixed` says so.
pub(super) fn fixed<M: Module>(module: M, is_fixed: impl Fn(&str) -> bool) -> M {
    struct Fix<F> {
        path: Vec<String>,
        is_fixed: F,
    }
    impl<F: Fn(&str) -> bool> ModuleMapper for Fix<F> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            if (self.is_fixed)(&self.path.join(".")) { param.set_require_grad(false) } else { param }
        }
    }
    module.map(&mut Fix { path: Vec::new(), is_fixed })
}
