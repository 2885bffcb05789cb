//! What training minimises: matched predictions of every layer, denoised targets, and the choice of tokens.

use burn::tensor::{Device, Tensor, TensorData};
use groundling_core::ImageSize;
use groundling_nn::losses::{Denominator, FocalLoss, box_l1, giou, sigmoid_focal};
use groundling_nn::matcher::{CostError, DetrCost, assign};
use serde::{Deserialize, Serialize};

use super::config::LEVELS;
use super::denoising::{DenoisingConfig, DenoisingPlan, DenoisingQueries, Noise};
use super::labels::{LabelRule, foreground_labels, select_losses};
use super::model::{FocusDetr, ForwardError, ForwardOptions, Output, Prediction};
use super::ranking;
use super::supervision::Supervision;
use crate::contract::ConfigError;

/// Objects of an image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Target {
    /// Class of each, from 0.
    pub labels: Vec<usize>,
    /// Centre x, centre y, width, height of each, as fractions of the unpadded network input.
    pub boxes: Vec<[f32; 4]>,
}

impl Target {
    /// How many objects.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Left, top, right, bottom in pixels of the network input, in single precision as the released code recovers them.
    pub fn pixels(&self, content: ImageSize) -> Vec<[f32; 4]> {
        let (w, h) = (content.width() as f32, content.height() as f32);
        let corners = |&[cx, cy, width, height]: &[f32; 4]| {
            [(cx - 0.5 * width) * w, (cy - 0.5 * height) * h, (cx + 0.5 * width) * w, (cy + 0.5 * height) * h]
        };
        self.boxes.iter().map(corners).collect()
    }
}

/// Weights and settings of the losses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criterion {
    /// Of the focal class loss.
    pub class: f64,
    /// Of the L1 distance of boxes.
    pub l1: f64,
    /// Of one minus their generalised IoU.
    pub giou: f64,
    /// Of the foreground loss of Focus-DETR's selector.
    pub select: f64,
    /// Of the loss of Sparse DETR's selector.
    pub attention: f64,
    /// Which tokens are foreground.
    pub labels: LabelRule,
    /// Denoising queries.
    pub denoising: DenoisingConfig,
}

impl Default for Criterion {
    /// As published.
    fn default() -> Self {
        Self {
            class: 1.0,
            l1: 5.0,
            giou: 2.0,
            select: 1.5,
            attention: 1.0,
            labels: LabelRule::published(),
            denoising: DenoisingConfig::default(),
        }
    }
}

impl Criterion {
    /// # Errors
    /// Naming the field that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let Self { class, l1, giou, select, attention, labels, denoising } = self;
        let DenoisingConfig { label_noise, box_noise, .. } = denoising;
        let weights = [
            ("criterion.class", class),
            ("criterion.l1", l1),
            ("criterion.giou", giou),
            ("criterion.select", select),
            ("criterion.attention", attention),
            ("criterion.denoising.label_noise", label_noise),
            ("criterion.denoising.box_noise", box_noise),
        ];
        if let Some((field, found)) = weights.into_iter().find(|(_, weight)| !(weight.is_finite() && **weight >= 0.0)) {
            return Err(ConfigError { field, found: found.to_string(), expected: "a number of 0 or more".to_owned() });
        }
        if labels.ranges().len() < LEVELS {
            let found = format!("{} ranges", labels.ranges().len());
            let expected = format!("{LEVELS}, one for each level");
            return Err(ConfigError { field: "criterion.labels", found, expected });
        }
        Ok(())
    }
}

/// One of the predictions that losses look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetKind {
    /// Of a layer of the decoder.
    Layer(usize),
    /// Of the tokens that became queries.
    Tokens,
}

/// Pairs of prediction and target for each image, by ascending prediction.
pub type Matches = Vec<Vec<(usize, usize)>>;

/// One number that is minimised.
#[derive(Debug, Clone)]
pub struct LossTerm {
    /// `loss_class`, `loss_bbox`, `loss_giou` with a suffix that says of which predictions: none for the last layer, `_0` and so on for the
    /// layers before it, `_enc` for tokens, `_dn` and `_dn_0` for denoised targets; and `select_loss`, `attention_loss`.
    pub name: String,
    /// `[1]`, unweighted.
    pub value: Tensor<1>,
    /// Its weight in the total.
    pub weight: f64,
}

/// Losses of a batch.
#[derive(Debug, Clone)]
pub struct DetectionLosses {
    /// What is differentiated, `[1]`.
    pub total: Tensor<1>,
    /// Its parts.
    pub terms: Vec<LossTerm>,
    /// Which prediction was matched with which target.
    pub matches: Vec<(SetKind, Matches)>,
}

/// Why a batch has no losses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// An image that the network cannot take.
    #[error(transparent)]
    Forward(#[from] ForwardError),
    /// A prediction that is not finite: the model has diverged.
    #[error("the predictions cannot be matched")]
    Diverged(#[from] CostError),
    /// A label that the network has no class for.
    #[error("object {object} of image {image} has class {found}, expected one below {classes}")]
    Label {
        /// Which image.
        image: usize,
        /// Which of its objects.
        object: usize,
        /// Its class.
        found: usize,
        /// Classes of the network.
        classes: usize,
    },
}

impl FocusDetr {
    /// Losses of a batch with denoising queries, noise from the device's generator. To differentiate them the module must be on an autodiff
    /// device.
    ///
    /// # Shapes
    /// - `image` `[B, 3, H, W]`, normalised, padded right and below; `contents` are the sizes without padding
    ///
    /// # Errors
    /// If an image, a content or a label is not possible, or the model has diverged.
    ///
    /// # Panics
    /// If there is not one target for each image, or one with as many labels as boxes.
    pub fn losses(
        &self,
        image: Tensor<4>,
        contents: &[ImageSize],
        targets: &[Target],
        criterion: &Criterion,
    ) -> Result<DetectionLosses, StepError> {
        let classes = self.config().classes;
        for (image, target) in targets.iter().enumerate() {
            assert_eq!(target.labels.len(), target.boxes.len(), "a label for each box");
            if let Some(object) = target.labels.iter().position(|&label| label >= classes) {
                return Err(StepError::Label { image, object, found: target.labels[object], classes });
            }
        }
        let settings = &criterion.denoising;
        let table = self.label_embedding.as_ref().map(|table| table.val());
        let planned = DenoisingPlan::new(settings, targets).zip(table);
        let plan = planned.as_ref().map(|(plan, _)| *plan);
        let queries = planned.map(|(plan, table)| {
            let noise = Noise::draw(&plan, classes, &image.device());
            DenoisingQueries::new(settings, &plan, targets, &noise, table)
        });
        let options = ForwardOptions::default();
        let output = self.forward_denoising(image, Some(contents), &options, plan.as_ref().zip(queries))?;
        Ok(criterion.losses(&output, targets, contents, plan.as_ref())?)
    }
}

/// Targets of a batch on the device.
struct Batch<'a> {
    targets: &'a [Target],
    classes: usize,
    device: Device,
}

impl Criterion {
    /// Losses of a forward pass. `contents` are the sizes of the images without padding; `denoising` is the plan of the denoising queries, if
    /// there were any. Without them their losses are absent.
    ///
    /// # Errors
    /// If a prediction is not finite: the model has diverged.
    ///
    /// # Panics
    /// If there is not one target and one content for each image, or a label is not below the number of classes.
    pub fn losses(
        &self,
        output: &Output,
        targets: &[Target],
        contents: &[ImageSize],
        denoising: Option<&DenoisingPlan>,
    ) -> Result<DetectionLosses, CostError> {
        let [images, _, classes] = output.last().logits.dims();
        assert_eq!((targets.len(), contents.len()), (images, images), "a target and a content for each image");
        let batch = Batch { targets, classes, device: output.last().logits.device() };
        let count = targets.iter().map(Target::len).sum::<usize>().max(1) as f64;
        let last = output.layers.len() - 1;
        let mut terms = Vec::new();
        let mut matches = Vec::new();

        let mut matched = |prediction: &Prediction, kind: SetKind, suffix: &str, terms: &mut Vec<LossTerm>| {
            let pairs = self.matches(prediction, targets)?;
            self.push_set(terms, &batch, prediction, &pairs, count, suffix);
            matches.push((kind, pairs));
            Ok(())
        };
        matched(output.last(), SetKind::Layer(last), "", &mut terms)?;
        self.push_selection(&mut terms, output, targets, contents);
        for (layer, prediction) in output.layers[..last].iter().enumerate() {
            matched(prediction, SetKind::Layer(layer), &format!("_{layer}"), &mut terms)?;
        }
        matched(&output.proposals.prediction, SetKind::Tokens, "_enc", &mut terms)?;

        if let Some(plan) = denoising.filter(|_| !output.denoising.is_empty()) {
            let own = |target: &Target| -> Vec<(usize, usize)> {
                let group = |group| (0..target.len()).map(move |index| (plan.positive(group, index), index));
                (0..plan.groups).flat_map(group).collect()
            };
            let pairs: Matches = targets.iter().map(own).collect();
            let count = count * plan.groups as f64;
            self.push_set(&mut terms, &batch, &output.denoising[last], &pairs, count, "_dn");
            for (layer, prediction) in output.denoising[..last].iter().enumerate() {
                self.push_set(&mut terms, &batch, prediction, &pairs, count, &format!("_dn_{layer}"));
            }
        }
        let total = terms.iter().map(|term| term.value.clone().mul_scalar(term.weight)).reduce(|a, b| a + b);
        let total = total.unwrap_or_else(|| Tensor::zeros([1], &batch.device));
        Ok(DetectionLosses { total, terms, matches })
    }

    /// The cheapest one-to-one assignment of predictions to the targets of each image.
    ///
    /// # Errors
    /// If a prediction is not finite.
    ///
    /// # Panics
    /// If there is not one target for each image, or a label is not below the number of classes.
    pub fn matches(&self, prediction: &Prediction, targets: &[Target]) -> Result<Matches, CostError> {
        let [images, queries, classes] = prediction.logits.dims();
        assert_eq!(targets.len(), images, "a target for each image");
        let logits = ranking::host(prediction.logits.clone().detach());
        let boxes: Vec<[f32; 4]> = ranking::host(prediction.boxes.clone().detach())
            .chunks_exact(4)
            .map(|four| [four[0], four[1], four[2], four[3]])
            .collect();
        let one = |(image, target): (usize, &Target)| {
            let logits = &logits[image * queries * classes..][..queries * classes];
            let boxes = &boxes[image * queries..][..queries];
            let costs = DetrCost::FOCUS_DETR.matrix(logits, classes, boxes, &target.labels, &target.boxes)?;
            Ok(assign(&costs))
        };
        targets.iter().enumerate().map(one).collect()
    }

    /// Class, L1 and GIoU losses of one set of predictions.
    fn push_set(
        &self,
        terms: &mut Vec<LossTerm>,
        batch: &Batch<'_>,
        prediction: &Prediction,
        pairs: &Matches,
        count: f64,
        suffix: &str,
    ) {
        let [images, queries, classes] = prediction.logits.dims();
        let mut hot = vec![0f32; images * queries * batch.classes];
        let (mut places, mut wanted) = (Vec::new(), Vec::new());
        for (image, (pairs, target)) in pairs.iter().zip(batch.targets).enumerate() {
            for &(query, index) in pairs {
                let place = image * queries + query;
                hot[place * classes + target.labels[index]] = 1.0;
                places.push(place as i64);
                wanted.extend(target.boxes[index]);
            }
        }
        let hot = Tensor::<3>::from_data(TensorData::new(hot, [images, queries, classes]), &batch.device);
        let class = sigmoid_focal(prediction.logits.clone(), hot, FocalLoss::PUBLISHED).sum().div_scalar(count);
        let (l1, overlap) = if places.is_empty() {
            (Tensor::zeros([1], &batch.device), Tensor::zeros([1], &batch.device))
        } else {
            let rows = places.len();
            let found = prediction.boxes.clone().reshape([images * queries, 4]);
            let found = found.select(0, ranking::indices(places, &batch.device));
            let wanted = Tensor::<2>::from_data(TensorData::new(wanted, [rows, 4]), &batch.device);
            let overlap = giou(found.clone(), wanted.clone(), Denominator::Plus(1e-6));
            (box_l1(found, wanted).sum().div_scalar(count), overlap.neg().add_scalar(1.0).sum().div_scalar(count))
        };
        for (name, value, weight) in
            [("loss_class", class, self.class), ("loss_bbox", l1, self.l1), ("loss_giou", overlap, self.giou)]
        {
            terms.push(LossTerm { name: format!("{name}{suffix}"), value, weight });
        }
    }

    /// The loss of the choice of tokens: against boxes, or against where the decoder looked.
    fn push_selection(&self, terms: &mut Vec<LossTerm>, output: &Output, targets: &[Target], contents: &[ImageSize]) {
        let Some(selection) = &output.encoding.selection else { return };
        let geometry = &output.encoding.geometry;
        if output.encoding.fine.is_empty() {
            let supervision = Supervision::new(&output.samples, geometry, selection);
            let value = supervision.loss(selection.masked.clone());
            terms.push(LossTerm { name: "attention_loss".to_owned(), value, weight: self.attention });
            return;
        }
        let of_image = |(target, content): (&Target, &ImageSize)| {
            foreground_labels(&self.labels, &target.pixels(*content), geometry.sizes())
        };
        let labels: Vec<Vec<bool>> = targets.iter().zip(contents).map(of_image).collect();
        let value = select_losses(selection.raw.clone(), &labels, FocalLoss::PUBLISHED).mean();
        terms.push(LossTerm { name: "select_loss".to_owned(), value, weight: self.select });
    }
}
