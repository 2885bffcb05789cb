//! What training minimises.

use burn::tensor::{Device, Int, Tensor, TensorData};
use groundling_core::BoxCxcywh;
use groundling_nn::losses::{Denominator, box_l1, giou, iou};
use serde::{Deserialize, Deserializer, Serialize};

use super::training::{Manner, Trained};
use super::{ScanFormer, ScanFormerConfig, geometry};
use crate::contract::{ConfigError, Losses, SampleTruth};
use crate::places::{BinaryLabels, ClassLabels, PlaceLabels, named_labels, object_at};

/// Smallest area that the GIoU divides by.
const LEAST_AREA: f64 = 1e-9;

/// Weights of the losses. Lists are by level; their last entry also holds for the levels after it. Where all levels are alike, a file may
/// give a number in place of a list of auxiliary weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criterion {
    /// Of the L1 distance of the boxes, from level 0.
    pub lambda_l1: Vec<f64>,
    /// Of one minus their GIoU, from level 0.
    pub lambda_giou: Vec<f64>,
    /// Of the squared distance of the mean selection factor from [`Criterion::beta`].
    pub lambda_sparse: f64,
    /// Share of a level's patches that it should read, from level 1.
    pub beta: Vec<f64>,
    /// Read everything and choose nothing: the dense model, for comparison.
    pub dense: bool,
    /// Choices of training are always the hard ones. DEVIATION: in the paper half of them, at random, are the soft value, which few patches
    /// have that is exactly 0: with it training can merge hardly any.
    pub hard: bool,
    /// Patches that are not read are one token in training, too, as they are in inference: faster, with the same answers and losses. So are
    /// the gradients of the paper's losses where choices are nested; those of auxiliary losses that tell one patch from another, and of
    /// choices that are not nested, are shared evenly among the patches that are one.
    pub merge: bool,
    /// Auxiliary: of a binary cross-entropy that tells the target's patches from the others. Its labels are how much of the patch the
    /// target's box covers; target and rest weigh half each. Read from the patches that enter the last layer, on every level.
    #[serde(deserialize_with = "one_or_many")]
    pub target_patches: Vec<f64>,
    /// Auxiliary: of a cross-entropy of the class of the smallest object at each patch's centre, objects and background weighing half
    /// each. Read where the target is.
    #[serde(deserialize_with = "one_or_many")]
    pub patch_classes: Vec<f64>,
    /// Auxiliary: of the box losses, with the weights of the level, of what the box head reads from patches whose centre lies on an
    /// object, against the smallest such object. Read where the target is.
    #[serde(deserialize_with = "one_or_many")]
    pub patch_boxes: Vec<f64>,
    /// Auxiliary: of two binary cross-entropies that tell patches on objects that the phrase's head noun fits ("the star" of "the star left of
    /// the ring"), and those that its other nouns fit, from all others; labels are those of the smallest object at the patch's centre. Half
    /// of the weight is on what the noun fits, a quarter on other objects, a quarter on the ground. Read before the last layer but one, so that
    /// two are left to put them together. Pairs of which nobody knows what their nouns fit do not count.
    #[serde(deserialize_with = "one_or_many")]
    pub named_patches: Vec<f64>,
    /// Auxiliary: of minus the logarithm of the share of its attention to the level's patches that the answering token gives, in the last
    /// layer, to those that the target's box touches.
    #[serde(deserialize_with = "one_or_many")]
    pub answer_attention: Vec<f64>,
    /// Classes of the training set, for [`Criterion::patch_classes`].
    pub classes: usize,
    /// Auxiliary: of a binary cross-entropy of the selection values with whether the target's box touches the patch, over what could be
    /// chosen.
    #[serde(deserialize_with = "one_or_many")]
    pub guided_selection: Vec<f64>,
    /// Choices learn from [`Criterion::guided_selection`] alone: no gradient of the other losses reaches the selection values.
    pub guide_alone: bool,
}

impl Default for Criterion {
    /// DEVIATION: the paper's weights were not available; those of DETR, and shares that read about 25, 50 and 100 of 525 patches.
    fn default() -> Self {
        Self {
            lambda_l1: vec![5.0],
            lambda_giou: vec![2.0],
            lambda_sparse: 1.0,
            beta: vec![0.5, 0.25],
            dense: false,
            hard: false,
            merge: false,
            target_patches: vec![0.0],
            patch_classes: vec![0.0],
            patch_boxes: vec![0.0],
            named_patches: vec![0.0],
            answer_attention: vec![0.0],
            classes: 0,
            guided_selection: vec![0.0],
            guide_alone: false,
        }
    }
}

impl Criterion {
    /// # Errors
    /// Naming the field that cannot be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad =
            |field, found: String, expected: &str| Err(ConfigError { field, found, expected: expected.to_owned() });
        for (field, list) in [
            ("lambda_l1", &self.lambda_l1),
            ("lambda_giou", &self.lambda_giou),
            ("beta", &self.beta),
            ("target_patches", &self.target_patches),
            ("patch_classes", &self.patch_classes),
            ("patch_boxes", &self.patch_boxes),
            ("named_patches", &self.named_patches),
            ("answer_attention", &self.answer_attention),
            ("guided_selection", &self.guided_selection),
        ] {
            if list.is_empty() || list.iter().any(|value| !(value.is_finite() && *value >= 0.0)) {
                return bad(field, format!("{list:?}"), "one or more numbers of at least 0");
            }
        }
        if !(self.lambda_sparse.is_finite() && self.lambda_sparse >= 0.0) {
            return bad("lambda_sparse", self.lambda_sparse.to_string(), "at least 0");
        }
        if self.reads_classes() && !(1..=100_000).contains(&self.classes) {
            return bad("classes", self.classes.to_string(), "1 to 100000 where patch_classes is not 0");
        }
        if self.guide_alone && !self.guided_selection.iter().any(|&weight| weight > 0.0) {
            return bad(
                "guide_alone",
                "true".to_owned(),
                "false where guided_selection is 0: nothing else teaches choices",
            );
        }
        Ok(())
    }

    /// How a training pass reads.
    pub(super) fn manner(&self) -> Manner {
        let Self { dense, hard, merge, guide_alone: apart, .. } = *self;
        Manner { dense, hard, merge, apart }
    }

    /// Whether a loss reads which patches are the target's.
    pub(super) fn reads_targets(&self) -> bool {
        self.target_patches.iter().any(|&weight| weight > 0.0)
    }

    /// Whether a loss reads what nouns fit.
    pub(super) fn reads_named(&self) -> bool {
        self.named_patches.iter().any(|&weight| weight > 0.0)
    }

    /// Whether a loss reads classes of patches.
    pub(super) fn reads_classes(&self) -> bool {
        self.patch_classes.iter().any(|&weight| weight > 0.0)
    }
}

/// A list, or the only entry of one.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number, or a list of them")]
    enum OneOrMany {
        One(f64),
        Many(Vec<f64>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(weight) => vec![weight],
        OneOrMany::Many(weights) => weights,
    })
}

/// The entry of a level.
fn at(list: &[f64], index: usize) -> f64 {
    list.get(index).or(list.last()).copied().unwrap_or(0.0)
}

/// Collects terms with their weights.
struct Sum {
    total: Tensor<1>,
    terms: Vec<(String, Tensor<1>)>,
}

impl Sum {
    fn log(&mut self, name: &str, level: usize, value: Tensor<1>) {
        self.terms.push((format!("{name}.{level}"), value.without_autodiff()));
    }

    fn add(&mut self, name: &str, level: usize, weight: f64, value: Tensor<1>) {
        self.log(name, level, value.clone());
        self.total = self.total.clone() + value * weight;
    }
}

/// The losses of what a training pass computed. Pairs without a box count only where no box is needed.
///
/// # Panics
/// If there is not one truth for each pair, or the criterion asks for heads that the model was not given.
pub(super) fn losses(model: &ScanFormer, trained: &Trained, truths: &[SampleTruth], criterion: &Criterion) -> Losses {
    let [b, levels, _] = trained.boxes.dims();
    assert_eq!(truths.len(), b, "a truth for each pair");
    let mut sum = box_losses(&trained.boxes, truths, criterion);
    for (level, trained_level) in trained.levels.iter().enumerate() {
        let Some(choice) = &trained_level.choice else { continue };
        let valid = trained_level.valid.clone().sum_dim(1);
        let mean = choice.factors.clone().sum_dim(1) / valid.clone();
        let apart = mean.sub_scalar(at(&criterion.beta, level - 1));
        sum.add("sparse", level, criterion.lambda_sparse, (apart.clone() * apart).mean());
        sum.log("kept", level, (choice.kept.clone().sum_dim(1) / valid).mean());
    }
    for level in 0..levels {
        Level { model, trained, truths, criterion, level }.auxiliary_losses(&mut sum);
    }
    Losses { total: sum.total, terms: sum.terms }
}

fn box_losses(boxes: &Tensor<3>, truths: &[SampleTruth], criterion: &Criterion) -> Sum {
    let ([b, s, _], device) = (boxes.dims(), boxes.device());
    // A box in the middle stands where there is none; its weight is 0.
    let some = |truth: &SampleTruth| truth.bbox.unwrap_or(BoxCxcywh::new(0.5, 0.5, 0.5, 0.5));
    let targets: Vec<f32> = truths
        .iter()
        .flat_map(|truth| std::iter::repeat_n(some(truth).to_array(), s))
        .flatten()
        .map(|value| value as f32)
        .collect();
    let count = truths.iter().filter(|truth| truth.bbox.is_some()).count().max(1);
    let weight = |truth: &SampleTruth| f64::from(u8::from(truth.bbox.is_some())) / count as f64;
    let weights = |of_level: &dyn Fn(usize) -> f64| -> Tensor<2> {
        let all = truths.iter().flat_map(|truth| (0..s).map(move |level| (weight(truth) * of_level(level)) as f32));
        Tensor::from_data(TensorData::new(all.collect(), [b, s]), &device)
    };
    let targets = Tensor::<2>::from_data(TensorData::new(targets, [b * s, 4]), &device);
    let flat = boxes.clone().reshape([b * s, 4]);
    let l1: Tensor<2> = box_l1(flat.clone(), targets.clone()).reshape([b, s]);
    let denominator = Denominator::AtLeast(LEAST_AREA);
    let apart: Tensor<2> = giou(flat.clone(), targets.clone(), denominator).neg().add_scalar(1.0).reshape([b, s]);
    let weighted = l1.clone() * weights(&|level| at(&criterion.lambda_l1, level))
        + apart.clone() * weights(&|level| at(&criterion.lambda_giou, level));
    let mut sum = Sum { total: weighted.sum(), terms: Vec::new() };
    let overlap: Tensor<2> = iou(flat.without_autodiff(), targets.without_autodiff(), denominator).reshape([b, s]);
    let mean = weights(&|_| 1.0).without_autodiff();
    for (name, values) in [("l1", l1), ("giou", apart), ("iou", overlap)] {
        let means: Tensor<1> = (values.without_autodiff() * mean.clone()).sum_dim(0).reshape([s]);
        for level in 0..s {
            sum.log(name, level, means.clone().narrow(0, level, 1));
        }
    }
    sum
}

/// One level of a training pass, for the auxiliary losses.
#[derive(Clone, Copy)]
struct Level<'a> {
    model: &'a ScanFormer,
    trained: &'a Trained,
    truths: &'a [SampleTruth],
    criterion: &'a Criterion,
    level: usize,
}

impl Level<'_> {
    fn config(&self) -> &ScanFormerConfig {
        &self.model.config
    }

    fn device(&self) -> Device {
        self.trained.boxes.device()
    }

    /// Patches of the canvas on this level.
    fn patches(&self) -> usize {
        self.config().grid(self.level).pow(2)
    }

    /// Which patches of a pair touch its picture.
    fn valid(&self, pair: usize) -> &[bool] {
        let n = self.patches();
        &self.trained.levels[self.level].valid_host[pair * n..(pair + 1) * n]
    }

    fn auxiliary_losses(&self, sum: &mut Sum) {
        let (criterion, level) = (self.criterion, self.level);
        let trained_level = &self.trained.levels[level];
        let weight = |list: &[f64]| Some(at(list, level)).filter(|&weight| weight > 0.0);
        if let (Some(weight), Some(choice)) = (weight(&criterion.guided_selection), &trained_level.choice) {
            let touched = self.labels(|share| f32::from(u8::from(share > 0.0)));
            let loss = touched.cross_entropy(choice.values.clone()) * choice.gate.clone();
            sum.add("guide", level, weight, loss.sum());
        }
        if let Some(weight) = weight(&criterion.answer_attention) {
            sum.add("attention", level, weight, self.answer_attention_loss());
        }
        if let Some((weight, loss)) = weight(&criterion.patch_boxes).zip(self.patch_box_loss()) {
            sum.add("objects", level, weight, loss);
        }
        let (of_targets, of_classes) = (weight(&criterion.target_patches), weight(&criterion.patch_classes));
        let of_named = weight(&criterion.named_patches);
        if of_targets.is_none() && of_classes.is_none() && of_named.is_none() {
            return;
        }
        let auxiliary =
            self.model.aux.as_ref().expect("`for_training` gave the model the heads that its criterion asks for");
        if let Some((logits, weight)) = auxiliary.named(trained_level.middle.clone()).zip(of_named) {
            let centres = geometry::centres(self.config(), level);
            let [head, others] = named_labels(self.truths, &centres, |pair, index| self.valid(pair)[index]);
            let term = |noun: usize, labels: PlaceLabels| {
                labels.to_device(&self.device()).cross_entropy(logits.clone().narrow(2, noun, 1).squeeze_dim(2)).sum()
            };
            sum.add("named", level, weight, term(0, head) + term(1, others));
        }
        let (target, classes) = auxiliary.forward(trained_level.patches.clone());
        if let Some((logits, weight)) = target.zip(of_targets) {
            sum.add("target", level, weight, self.labels(|share| share).cross_entropy(logits).sum());
        }
        if let Some((logits, weight)) = classes.zip(of_classes) {
            let centres = geometry::centres(self.config(), level);
            let counts = |pair, index: usize| self.valid(pair)[index];
            let labels = ClassLabels::new(self.truths, &centres, criterion.classes, counts);
            sum.add("class", level, weight, labels.cross_entropy(logits));
        }
    }

    /// Minus the logarithm of the share of attention that falls on the target, mean over the pairs with one.
    fn answer_attention_loss(&self) -> Tensor<1> {
        let reading = self.trained.levels[self.level].reading.clone();
        let layer = self.model.layers.last().expect("there is at least one layer");
        let map = layer.attention_map(reading.queries, &reading.cache, reading.bias); // [B, 1, M]
        let ([b, _, m], n) = (map.dims(), self.patches());
        let map = map.narrow(2, m - n, n).reshape([b, n]);
        let (mut inside, mut weights) = (Vec::with_capacity(b * n), vec![0.0f32; b]);
        for (row, truth) in self.truths.iter().enumerate() {
            let covered = |bbox| geometry::coverage(self.config(), self.level, bbox);
            let shares = truth.bbox.map(covered).unwrap_or(vec![0.0; n]);
            weights[row] = f32::from(u8::from(truth.bbox.is_some()));
            inside.extend(shares.into_iter().map(|share| f32::from(u8::from(share > 0.0))));
        }
        let count = weights.iter().sum::<f32>().max(1.0);
        let inside = Tensor::<2>::from_data(TensorData::new(inside, [b, n]), &self.device());
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [b, 1]), &self.device()).div_scalar(count);
        let hit = (map.clone() * inside).sum_dim(1) / map.sum_dim(1).add_scalar(LEAST_AREA);
        (hit.add_scalar(1e-6).log() * weights).sum().neg()
    }

    /// The box head on patches, against the objects that lie there; `None` where none lies.
    fn patch_box_loss(&self) -> Option<Tensor<1>> {
        let (criterion, level) = (self.criterion, self.level);
        if at(&criterion.patch_boxes, level) == 0.0 {
            return None;
        }
        let centres = geometry::centres(self.config(), level);
        let n = centres.len();
        let (mut rows, mut boxes) = (Vec::<i64>::new(), Vec::<f32>::new());
        for (row, truth) in self.truths.iter().enumerate() {
            let valid = self.valid(row);
            for (index, centre) in centres.iter().enumerate().filter(|(index, _)| valid[*index]) {
                if let Some(object) = object_at(truth, centre) {
                    rows.push((row * n + index) as i64);
                    boxes.extend(object.bbox.to_array().map(|value| value as f32));
                }
            }
        }
        if rows.is_empty() {
            return None;
        }
        let (count, device) = (rows.len(), self.device());
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
        let targets = Tensor::<2>::from_data(TensorData::new(boxes, [count, 4]), &device);
        let tokens = self.trained.levels[level].patches.clone().flatten::<2>(0, 1).select(0, rows).unsqueeze();
        let found = self.model.r#box.forward(self.model.norm.forward(tokens)).reshape([count, 4]);
        let l1 = box_l1(found.clone(), targets.clone()).mean();
        let apart = giou(found, targets, Denominator::AtLeast(LEAST_AREA)).neg().add_scalar(1.0).mean();
        Some(l1 * at(&criterion.lambda_l1, level) + apart * at(&criterion.lambda_giou, level))
    }

    /// Labels made of the share that the target covers of each valid patch.
    fn labels(&self, label: impl Fn(f32) -> f32) -> BinaryLabels {
        let (truths, n) = (self.truths, self.patches());
        let (mut positive, mut negative) = (vec![0.0f32; truths.len() * n], vec![0.0f32; truths.len() * n]);
        for (row, truth) in truths.iter().enumerate() {
            let Some(bbox) = truth.bbox else { continue };
            let shares = geometry::coverage(self.config(), self.level, bbox);
            let marks: Vec<(f32, f32)> = shares
                .into_iter()
                .zip(self.valid(row))
                .map(|(share, &valid)| if valid { (label(share), 1.0 - label(share)) } else { (0.0, 0.0) })
                .collect();
            let (on, off) = marks.iter().fold((0.0, 0.0), |(on, off), mark| (on + mark.0, off + mark.1));
            let scale = |sum: f32| if sum > 0.0 { 0.5 / (sum * truths.len() as f32) } else { 0.0 };
            for (index, mark) in marks.into_iter().enumerate() {
                positive[row * n + index] = mark.0 * scale(on);
                negative[row * n + index] = mark.1 * scale(off);
            }
        }
        PlaceLabels { positive, negative, places: n }.to_device(&self.device())
    }
}
