//! Contrastive denoising: queries made of the targets with noise, which must find them again, and of more noise, which must not
//! (DINO, arXiv:2203.03605, Sec. 3.3).

use burn::tensor::{Bool, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::geometry::inverse_sigmoid;
use super::selector::uniform;
use super::{Target, ranking};

/// Distance of a noised coordinate from 0 and 1 when its logit is taken.
const LOGIT_EPSILON: f64 = 1e-3;

/// How much noise, and how many queries.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DenoisingConfig {
    /// Positive queries of an image, about: groups are as many as fit, at least one. 0: no denoising.
    pub number: usize,
    /// Twice the share of labels that are replaced by a random one.
    pub label_noise: f64,
    /// Largest shift of a positive's corner over half the side of its box; negatives shift by once to twice as much.
    pub box_noise: f64,
}

impl Default for DenoisingConfig {
    /// As published.
    fn default() -> Self {
        Self { number: 100, label_noise: 0.5, box_noise: 1.0 }
    }
}

/// Slots of the denoising queries in each image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenoisingPlan {
    /// Most targets of an image.
    pub targets: usize,
    /// Groups, each of `targets` positives and as many negatives.
    pub groups: usize,
    /// Targets of the batch.
    pub total: usize,
}

impl DenoisingPlan {
    /// `None` if there is nothing to denoise.
    pub fn new(config: &DenoisingConfig, targets: &[Target]) -> Option<Self> {
        let most = targets.iter().map(Target::len).max().unwrap_or(0);
        let total = targets.iter().map(Target::len).sum();
        (most > 0 && config.number > 0).then(|| Self { targets: most, groups: (config.number / most).max(1), total })
    }

    /// Slots of a group.
    pub fn group_slots(&self) -> usize {
        2 * self.targets
    }

    /// Slots of an image.
    pub fn slots(&self) -> usize {
        self.group_slots() * self.groups
    }

    /// Noised targets of the batch: every target in every copy.
    pub fn entries(&self) -> usize {
        2 * self.groups * self.total
    }

    /// Which query does not see which: matching queries see no denoising query, groups do not see one another; `[slots + queries, ..]`.
    pub fn hidden(&self, queries: usize, device: &Device) -> Tensor<2, Bool> {
        let all = self.slots() + queries;
        // The matching queries are a group of their own, which the others may look at.
        let group = |query: usize| (query < self.slots()).then(|| query / self.group_slots());
        let hides = |pair: usize| {
            let (row, column) = (group(pair / all), group(pair % all));
            column.is_some() && row != column
        };
        let values: Vec<bool> = (0..all * all).map(hides).collect();
        Tensor::from_data(TensorData::new(values, [all, all]), device)
    }

    /// Slot of a target in the positive copy of a group.
    pub fn positive(&self, group: usize, target: usize) -> usize {
        group * self.group_slots() + target
    }
}

/// What is drawn for every entry: copy by copy, the targets of all images in each.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// In `[0, 1)`: the label is replaced where it is below half of [`DenoisingConfig::label_noise`].
    pub label_draws: Vec<f32>,
    /// The label that takes its place.
    pub labels: Vec<usize>,
    /// Whether each corner coordinate grows.
    pub grows: Vec<[bool; 4]>,
    /// How far it goes, in `[0, 1)`.
    pub shares: Vec<[f32; 4]>,
}

impl Noise {
    /// Draws from the device's generator.
    pub fn draw(plan: &DenoisingPlan, classes: usize, device: &Device) -> Self {
        let count = plan.entries();
        let quads = |values: Vec<f32>| -> Vec<[f32; 4]> {
            values.chunks_exact(4).map(|four| [four[0], four[1], four[2], four[3]]).collect()
        };
        let label_draws = uniform(count, device);
        let class = |u: f32| ((u * classes as f32) as usize).min(classes - 1);
        let labels = uniform(count, device).into_iter().map(class).collect();
        let grows = quads(uniform(4 * count, device)).into_iter().map(|four| four.map(|u| u >= 0.5)).collect();
        Self { label_draws, labels, grows, shares: quads(uniform(4 * count, device)) }
    }
}

/// Queries in front of the matching ones.
#[derive(Debug, Clone)]
pub struct DenoisingQueries {
    /// `[B, slots, C]`: embedded labels, zero where a slot is not filled.
    pub content: Tensor<3>,
    /// `[B, slots, 4]`: logits of boxes, zero where a slot is not filled.
    pub box_logits: Tensor<3>,
}

impl DenoisingQueries {
    /// # Shapes
    /// - `label_embedding` `[K, C]`
    ///
    /// # Panics
    /// If a label is not below `K`, or the noise is for another plan.
    pub fn new(
        config: &DenoisingConfig,
        plan: &DenoisingPlan,
        targets: &[Target],
        noise: &Noise,
        label_embedding: Tensor<2>,
    ) -> Self {
        let [classes, width] = label_embedding.dims();
        let device = label_embedding.device();
        let (images, slots) = (targets.len(), plan.slots());
        // A row of zeros behind the table is the content of what is not filled.
        let mut labels = vec![classes as i64; images * slots];
        let mut boxes = vec![0.5f32; images * slots * 4];
        let mut entry = 0;
        for copy in 0..2 * plan.groups {
            for (image, target) in targets.iter().enumerate() {
                for (index, (label, bbox)) in target.labels.iter().zip(&target.boxes).enumerate() {
                    let replaced = f64::from(noise.label_draws[entry]) < 0.5 * config.label_noise;
                    let label = if replaced { noise.labels[entry] } else { *label };
                    assert!(label < classes, "label {label} of {classes} classes");
                    let slot = image * slots + copy * plan.targets + index;
                    labels[slot] = label as i64;
                    let shares = noise.shares[entry].map(|share| if copy % 2 == 1 { share + 1.0 } else { share });
                    let moved = shifted(*bbox, noise.grows[entry], shares, config.box_noise as f32);
                    boxes[4 * slot..][..4].copy_from_slice(&moved);
                    entry += 1;
                }
            }
        }
        let table = Tensor::cat(vec![label_embedding, Tensor::zeros([1, width], &device)], 0);
        let content = table.select(0, ranking::indices(labels, &device)).reshape([images, slots, width]);
        let boxes = Tensor::<3>::from_data(TensorData::new(boxes, [images, slots, 4]), &device);
        Self { content, box_logits: inverse_sigmoid(boxes, LOGIT_EPSILON) }
    }
}

/// A box with every corner coordinate moved by its share of half the side, kept on the image. Its sides may become negative.
fn shifted([cx, cy, width, height]: [f32; 4], grows: [bool; 4], shares: [f32; 4], scale: f32) -> [f32; 4] {
    let (half_width, half_height) = (width / 2.0, height / 2.0);
    let corners = [cx - half_width, cy - half_height, cx + half_width, cy + half_height];
    let halves = [half_width, half_height, half_width, half_height];
    let [x0, y0, x1, y1] = [0, 1, 2, 3].map(|side| {
        let sign = if grows[side] { 1.0 } else { -1.0 };
        (corners[side] + sign * shares[side] * halves[side] * scale).clamp(0.0, 1.0)
    });
    [(x0 + x1) / 2.0, (y0 + y1) / 2.0, x1 - x0, y1 - y0]
}
