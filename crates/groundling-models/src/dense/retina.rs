//! RetinaNet: classes and boxes at every place of a pyramid, trained with the focal loss.

use burn::module::Module;
use burn::nn::Initializer;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use groundling_core::{BoxCxcywh, BoxXyxy, Canvas, Unit};
use groundling_nn::layers::{Convolution, ConvolutionConfig, PrepareInference};
use groundling_nn::losses::{FocalLoss, sigmoid_focal};
use serde::{Deserialize, Serialize};

use super::{ExtraLevels, FeaturePyramid, FeaturePyramidConfig, Scored, suppress};
use crate::contract::{Losses, TruthObject};

/// Layers before the last of each branch.
const CONVOLUTIONS: usize = 4;
/// What a class is worth at the start, so that the many places without an object do not drown the rest (Sec. 4.1).
const PRIOR: f64 = 0.01;
/// No box is wider or narrower than its anchor by more than this factor, as the framework of the published numbers has it.
const MOST_SCALE: f64 = 1000.0 / 16.0;

/// Sizes of a [`RetinaNet`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetinaNetConfig {
    /// Channels of the three maps that come in, strides 8, 16 and 32.
    pub inputs: [usize; 3],
    /// Channels of the pyramid.
    pub width: usize,
    /// Classes, `K`.
    pub classes: usize,
    /// Anchors.
    pub anchors: Anchors,
}

/// Boxes that are compared with the truth at every place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchors {
    /// Side of the smallest anchor over the stride of its level.
    pub base: f64,
    /// Sizes within a level, powers of 2 by `1 / per_octave`.
    pub per_octave: usize,
    /// Heights over widths.
    pub ratios: Vec<f64>,
}

impl RetinaNetConfig {
    /// As published: width 256, nine anchors of 4 strides and up.
    pub fn new(inputs: [usize; 3], classes: usize) -> Self {
        Self { inputs, width: 256, classes, anchors: Anchors { base: 4.0, per_octave: 3, ratios: vec![0.5, 1.0, 2.0] } }
    }

    /// The module with random weights.
    pub fn init(&self, device: &Device) -> RetinaNet {
        let (width, per_place) = (self.width, self.anchors.per_place());
        let pyramid = FeaturePyramidConfig { inputs: self.inputs.to_vec(), width, extra: ExtraLevels::OnInput(2) };
        let layer = |outputs: usize| normal(width, outputs, device);
        let tower = || (0..CONVOLUTIONS).map(|_| layer(width)).collect();
        let mut classes = layer(per_place * self.classes);
        let bias = Initializer::Constant { value: -((1.0 - PRIOR) / PRIOR).ln() };
        classes.bias = Some(bias.init([per_place * self.classes], device));
        RetinaNet {
            pyramid: pyramid.init(device),
            class_tower: tower(),
            box_tower: tower(),
            classes,
            boxes: layer(per_place * 4),
            config: self.clone(),
        }
    }
}

/// 3 x 3, normal with 0.01.
fn normal(inputs: usize, outputs: usize, device: &Device) -> Convolution {
    let mut layer = ConvolutionConfig { bias: true, ..ConvolutionConfig::same(inputs, outputs, 3) }.init(device);
    let shape = layer.weight.dims();
    layer.weight = Initializer::Normal { mean: 0.0, std: 0.01 }.init(shape, device);
    layer
}

/// The detector over a backbone's maps.
#[derive(Module, Debug)]
pub struct RetinaNet {
    /// Five levels, strides 8 to 128.
    pub pyramid: FeaturePyramid,
    /// Shared by all levels.
    pub class_tower: Vec<Convolution>,
    /// Shared by all levels.
    pub box_tower: Vec<Convolution>,
    /// To `A K` logits.
    pub classes: Convolution,
    /// To `4 A` changes of the anchors.
    pub boxes: Convolution,
    #[module(skip)]
    config: RetinaNetConfig,
}

/// What a forward pass computed, over all levels; `P` anchors in all.
#[derive(Debug, Clone)]
pub struct RetinaOutputs {
    /// `[B, P, K]`.
    pub logits: Tensor<3>,
    /// `[B, P, 4]`: changes of centre and logarithms of changes of size, in sizes of the anchor.
    pub changes: Tensor<3>,
    /// The anchors, in pixels of the canvas.
    pub anchors: Vec<BoxXyxy<Canvas>>,
    /// Anchors of each level.
    pub levels: Vec<usize>,
    /// Rows and columns of the canvas.
    pub canvas: [usize; 2],
}

/// How an anchor is compared with the truth, and what the losses weigh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetinaCriterion {
    /// From this overlap an anchor stands for an object.
    pub positive: f64,
    /// Below this one it stands for none; between both it is left out.
    pub negative: f64,
    /// Weight of the boxes' L1.
    pub boxes: f64,
}

impl Default for RetinaCriterion {
    fn default() -> Self {
        Self { positive: 0.5, negative: 0.4, boxes: 1.0 }
    }
}

/// What is answered.
pub type Detection = Scored<Canvas>;

/// From outputs to answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PostOptions {
    /// Best anchors of a level that are looked at.
    pub per_level: usize,
    /// Least score.
    pub least: f32,
    /// Overlap of two boxes of one class from which only the better is kept.
    pub overlap: f64,
    /// Answers of a picture.
    pub most: usize,
}

impl Default for PostOptions {
    fn default() -> Self {
        Self { per_level: 1000, least: 0.05, overlap: 0.5, most: 100 }
    }
}

impl Anchors {
    /// `A`.
    pub fn per_place(&self) -> usize {
        self.per_octave * self.ratios.len()
    }

    /// Those of a level, place by place in raster order, at each place ratio by ratio.
    pub fn of_level(&self, stride: usize, [rows, columns]: [usize; 2]) -> Vec<BoxXyxy<Canvas>> {
        let stride = stride as f64;
        let shapes: Vec<(f64, f64)> = self
            .ratios
            .iter()
            .flat_map(|ratio| (0..self.per_octave).map(move |step| (ratio.sqrt(), step)))
            .map(|(root, step)| {
                let side = self.base * stride * 2f64.powf(step as f64 / self.per_octave as f64);
                (side / root, side * root)
            })
            .collect();
        let mut anchors = Vec::with_capacity(rows * columns * shapes.len());
        for row in 0..rows {
            for column in 0..columns {
                let (x, y) = (column as f64 * stride, row as f64 * stride);
                anchors.extend(
                    shapes.iter().map(|(w, h)| BoxXyxy::new(x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0)),
                );
            }
        }
        anchors
    }
}

impl RetinaNet {
    /// # Shapes
    /// - `maps` `[B, C_i, H_i, W_i]` of strides 8, 16 and 32
    /// - `canvas`: rows and columns of the picture that they come from
    ///
    /// # Panics
    /// If the maps have other channels.
    pub fn forward(&self, maps: [Tensor<4>; 3], canvas: [usize; 2]) -> RetinaOutputs {
        let per_place = self.config.anchors.per_place();
        let (mut logits, mut changes, mut anchors, mut levels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, map) in self.pyramid.forward(maps.to_vec()).into_iter().enumerate() {
            let [_, _, rows, columns] = map.dims();
            let tower = |layers: &[Convolution], map: Tensor<4>| {
                layers.iter().fold(map, |map, layer| activation::relu(layer.forward(map)))
            };
            logits.push(flat(self.classes.forward(tower(&self.class_tower, map.clone())), per_place));
            changes.push(flat(self.boxes.forward(tower(&self.box_tower, map)), per_place));
            anchors.extend(self.config.anchors.of_level(8 << index, [rows, columns]));
            levels.push(rows * columns * per_place);
        }
        RetinaOutputs { logits: Tensor::cat(logits, 1), changes: Tensor::cat(changes, 1), anchors, levels, canvas }
    }

    /// Focal loss of the classes and L1 of the boxes, both over the number of anchors that stand for an object, at least one a picture.
    ///
    /// # Panics
    /// If there is not a list of objects for each picture.
    pub fn losses(&self, outputs: &RetinaOutputs, truths: &[Vec<TruthObject>], criterion: &RetinaCriterion) -> Losses {
        let ([b, count, classes], device) = (outputs.logits.dims(), outputs.logits.device());
        assert_eq!(truths.len(), b, "objects for each picture");
        let (mut wanted, mut weights) = (vec![0.0f32; b * count * classes], vec![0.0f32; b * count]);
        let (mut rows, mut targets) = (Vec::<i64>::new(), Vec::<f32>::new());
        let mut positives = 0usize;
        for (picture, objects) in truths.iter().enumerate() {
            let known: Vec<(BoxXyxy<Canvas>, usize)> = objects
                .iter()
                .filter_map(|object| {
                    Some((on_canvas(object.bbox, outputs.canvas), object.class.filter(|&class| class < classes)?))
                })
                .collect();
            let mut own = 0;
            let boxes: Vec<BoxXyxy<Canvas>> = known.iter().map(|(bbox, _)| *bbox).collect();
            for (place, assigned) in assign(&outputs.anchors, &boxes, criterion).into_iter().enumerate() {
                let row = picture * count + place;
                match assigned {
                    Assigned::Nothing => weights[row] = 1.0,
                    Assigned::LeftOut => {}
                    Assigned::Object(object) => {
                        weights[row] = 1.0;
                        wanted[row * classes + known[object].1] = 1.0;
                        rows.push(row as i64);
                        targets.extend(change(outputs.anchors[place], known[object].0));
                        own += 1;
                    }
                }
            }
            positives += own.max(1);
        }
        let wanted = Tensor::<3>::from_data(TensorData::new(wanted, [b, count, classes]), &device);
        let weights = Tensor::<3>::from_data(TensorData::new(weights, [b, count, 1]), &device);
        let focal = sigmoid_focal(outputs.logits.clone(), wanted, FocalLoss::PUBLISHED) * weights;
        let focal = focal.sum().div_scalar(positives as f64);
        let boxes = match rows.len() {
            // The sum over nothing, which has a gradient of zero.
            0 => outputs.changes.clone().sum() * 0.0,
            found => {
                let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [found]), &device);
                let targets = Tensor::<2>::from_data(TensorData::new(targets, [found, 4]), &device);
                let changes = outputs.changes.clone().reshape([b * count, 4]).select(0, rows);
                (changes - targets).abs().sum().div_scalar(positives as f64)
            }
        };
        let terms = vec![
            ("class".to_owned(), focal.clone().without_autodiff()),
            ("l1".to_owned(), boxes.clone().without_autodiff()),
        ];
        Losses { total: focal + boxes * criterion.boxes, terms }
    }

    /// Answers for every picture, best first.
    pub fn detect(&self, outputs: &RetinaOutputs, options: &PostOptions) -> Vec<Vec<Detection>> {
        let [b, count, classes] = outputs.logits.dims();
        let scores = activation::sigmoid(outputs.logits.clone()).into_data_as::<f32>();
        let scores = scores.try_into_vec::<f32>().expect("converted to f32");
        let changes = outputs.changes.clone().into_data_as::<f32>().try_into_vec::<f32>().expect("converted to f32");
        (0..b)
            .map(|picture| {
                let mut found = Vec::new();
                let mut start = 0;
                for &level in &outputs.levels {
                    let best = |place: usize| {
                        let row = &scores[(picture * count + place) * classes..][..classes];
                        row.iter().copied().fold(0.0f32, f32::max)
                    };
                    let mut places: Vec<(f32, usize)> = (start..start + level)
                        .map(|place| (best(place), place))
                        .filter(|(score, _)| *score >= options.least)
                        .collect();
                    places.sort_by(|a, b| b.0.total_cmp(&a.0));
                    for (_, place) in places.into_iter().take(options.per_level) {
                        let row = picture * count + place;
                        let change = &changes[row * 4..row * 4 + 4];
                        let bbox = changed(outputs.anchors[place], change, outputs.canvas);
                        let classes = scores[row * classes..(row + 1) * classes].iter().enumerate();
                        found.extend(
                            classes.filter(|(_, score)| **score >= options.least).map(|(class, &score)| Detection {
                                bbox,
                                class,
                                score,
                            }),
                        );
                    }
                    start += level;
                }
                suppress(found, options.overlap, options.most)
            })
            .collect()
    }
}

/// `[B, A D, H, W]` as `[B, H W A, D]`.
fn flat(map: Tensor<4>, per_place: usize) -> Tensor<3> {
    let [b, channels, height, width] = map.dims();
    map.permute([0, 2, 3, 1]).reshape([b, height * width * per_place, channels / per_place])
}

fn on_canvas(bbox: BoxCxcywh<Unit>, [height, width]: [usize; 2]) -> BoxXyxy<Canvas> {
    bbox.to_xyxy().scaled_into(width as f64, height as f64)
}

/// What an anchor stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assigned {
    Nothing,
    LeftOut,
    Object(usize),
}

/// Compares anchors with objects. Every object has at least the anchors that overlap it most, however little.
fn assign(anchors: &[BoxXyxy<Canvas>], objects: &[BoxXyxy<Canvas>], criterion: &RetinaCriterion) -> Vec<Assigned> {
    let mut assigned = vec![Assigned::Nothing; anchors.len()];
    let mut most = vec![0.0f64; objects.len()];
    for (anchor, assigned) in anchors.iter().zip(&mut assigned) {
        let mut best = (0.0, 0);
        for (index, object) in objects.iter().enumerate() {
            let overlap = anchor.iou(*object);
            most[index] = most[index].max(overlap);
            if overlap > best.0 {
                best = (overlap, index);
            }
        }
        *assigned = match best.0 {
            overlap if overlap >= criterion.positive => Assigned::Object(best.1),
            overlap if overlap >= criterion.negative => Assigned::LeftOut,
            _ => Assigned::Nothing,
        };
    }
    for (index, object) in objects.iter().enumerate() {
        if most[index] > 0.0 {
            let equal = anchors.iter().zip(&mut assigned).filter(|(anchor, _)| anchor.iou(*object) == most[index]);
            equal.for_each(|(_, assigned)| *assigned = Assigned::Object(index));
        }
    }
    assigned
}

/// From an anchor to a box: centre in sizes of the anchor, logarithms of the sizes.
fn change(anchor: BoxXyxy<Canvas>, bbox: BoxXyxy<Canvas>) -> [f32; 4] {
    let ((ax, ay), (x, y)) = (anchor.centre(), bbox.centre());
    // A box without area has no logarithm; a thousandth of a pixel stands for none.
    let side = |side: f64| side.max(1e-3);
    let (aw, ah) = (side(anchor.width()), side(anchor.height()));
    [(x - ax) / aw, (y - ay) / ah, (side(bbox.width()) / aw).ln(), (side(bbox.height()) / ah).ln()].map(|v| v as f32)
}

/// The inverse of [`change`], clipped to the canvas.
fn changed(anchor: BoxXyxy<Canvas>, change: &[f32], [height, width]: [usize; 2]) -> BoxXyxy<Canvas> {
    let [dx, dy, dw, dh] = [0, 1, 2, 3].map(|index| f64::from(change[index]));
    let limit = MOST_SCALE.ln();
    let (aw, ah, (ax, ay)) = (anchor.width(), anchor.height(), anchor.centre());
    let (w, h) = (aw * dw.clamp(-limit, limit).exp(), ah * dh.clamp(-limit, limit).exp());
    let centred = BoxCxcywh::new(ax + dx * aw, ay + dy * ah, w, h);
    centred.to_xyxy().clipped(width as f64, height as f64)
}

impl PrepareInference for RetinaNet {
    fn prepare_inference(&mut self) {
        self.pyramid.prepare_inference();
        self.class_tower.prepare_inference();
        self.box_tower.prepare_inference();
        self.classes.prepare_inference();
        self.boxes.prepare_inference();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_lead_back() {
        let (anchor, bbox) = (BoxXyxy::new(10.0, 20.0, 50.0, 40.0), BoxXyxy::new(12.0, 8.0, 40.0, 61.0));
        let found = changed(anchor, &change(anchor, bbox), [100, 100]).to_array();
        assert!(found.iter().zip(bbox.to_array()).all(|(a, b)| (a - b).abs() < 1e-4), "{found:?}");
        assert!(change(anchor, BoxXyxy::new(5.0, 5.0, 5.0, 9.0)).iter().all(|value| value.is_finite()));
        let far = changed(anchor, &[0.0, 0.0, 99.0, f32::INFINITY], [100, 100]);
        assert_eq!(far.to_array(), [0.0, 0.0, 100.0, 100.0]);
    }

    #[test]
    fn every_object_has_an_anchor() {
        let anchors = Anchors { base: 4.0, per_octave: 3, ratios: vec![0.5, 1.0, 2.0] }.of_level(8, [4, 4]);
        assert_eq!(anchors.len(), 4 * 4 * 9);
        // The second of a place: ratio one half, the next size up.
        let side = 32.0 * 2f64.powf(1.0 / 3.0);
        assert!(
            (anchors[1].width() - side * 2f64.sqrt()).abs() < 1e-9
                && (anchors[1].height() - side / 2f64.sqrt()).abs() < 1e-9
        );
        // Smaller than any anchor: only the closest stands for it.
        let tiny = BoxXyxy::new(15.0, 15.0, 17.0, 17.0);
        let same = anchors[4 * 9 + 3];
        let assigned = assign(&anchors, &[tiny, same], &RetinaCriterion::default());
        assert!(assigned.contains(&Assigned::Object(0)));
        assert_eq!(assigned[4 * 9 + 3], Assigned::Object(1));
        assert!(assigned.contains(&Assigned::Nothing) && assigned.contains(&Assigned::LeftOut));
        assert!(assign(&anchors, &[], &RetinaCriterion::default()).iter().all(|one| *one == Assigned::Nothing));
    }
}
